"""Every public sample of pydicom by STOW-RS: taken in, or refused with the word that C-STORE has for it."""

from __future__ import annotations

import pytest

from harness import archives
from harness.https import Answer, serving_https
from harness.sample_rounds import documented, in_rounds, read
from harness.samples import SAMPLES_ROOT, sample_files

ONLY_OVER_HTTPS = {"no-presentation-context": "0122 sop-class-not-supported"}
"""What negotiation refuses over DIMSE, and STOW-RS has no negotiation."""

SENT_OTHERWISE = {"test_files/meta_missing_tsyntax.dcm": "C001 no-transfer-syntax"}
"""A file that does not say how it is encoded: whoever sends it over DIMSE has to guess, and says what was guessed."""


def refused_as(answer: Answer) -> str:
    """Failure Reason and word of the one instance of a request."""
    (item,) = [item for name in ("00081198", "0008119A") for item in answer.json.get(name, {}).get("Value", [])]
    return f"{item['00081197']['Value'][0]:04X} {item['00091001']['Value'][0]}"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_sample_is_taken_in_or_refused_as_over_c_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    refused = {}
    for number, members in enumerate(in_rounds([read(path) for path in sample_files()])):
        home = archives.new_home(tmp_path_factory.mktemp("samples") / f"round{number}")
        with archives.opened(home) as archive:
            archives.add_peer(archive, "SENDER", "store")
        with serving_https(home) as running, running.client("SENDER") as client:
            for each in members:
                answer = client.store([(SAMPLES_ROOT / each.name).read_bytes()])
                if answer.status == 200:
                    stored = running.archive.index.find_object(each.sop_instance)
                    assert stored is not None
                    assert stored.transfer_syntax == each.transfer_syntax
                else:
                    refused[each.name] = refused_as(answer)
    over_c_store = {name: ONLY_OVER_HTTPS.get(reason, reason) for name, reason in documented().items()}
    assert refused == over_c_store | SENT_OTHERWISE
