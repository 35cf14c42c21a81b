"""Alerts and the quarantine in the browser: two people decide, with a fresh proof, and all of it is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from harness import archives
from harness.archives import RunningArchive
from harness.ingesting import Sample
from harness.people import signed_in
from harness.quarantines import hold
from harness.watching import HOSTILE, watched
from harness.web import WebClient
from strongroom.archive.model import Action, Outcome
from strongroom.archive.roles import Role

pytestmark = pytest.mark.interop

WHY = "looked at it"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    home = archives.new_home(tmp_path_factory.mktemp("review") / "home", {"https": {"workers": 1}})
    with archives.serving(home) as running:
        yield running


@pytest.fixture(scope="module")
def there(served: RunningArchive) -> Mapping[str, str]:
    return watched(served)


@pytest.fixture(scope="module")
def officer(served: RunningArchive) -> WebClient:
    return signed_in(served, "olga", Role.SECURITY_OFFICER)


@pytest.fixture(scope="module")
def other(served: RunningArchive) -> WebClient:
    return signed_in(served, "otto", Role.ADMINISTRATOR)


def held(served: RunningArchive, number: int) -> str:
    with archives.opened(served.home) as archive:
        return hold(archive, Sample(number, study=number))


def decide(client: WebClient, name: str, what: str, reason: str = WHY) -> tuple[int, str]:
    answer = client.page(f"/quarantine/{name}/{what}", {"reason": reason})
    return answer.status, answer.headers.get("Location", "") or answer.content.decode()


def test_two_people_destroy(served: RunningArchive, officer: WebClient, other: WebClient) -> None:
    name = held(served, 100)
    assert decide(officer, name, "destroy") == (303, f"/quarantine/{name}?done=asked")
    status, page = decide(officer, name, "destroy")
    assert (status, "it takes another person" in page) == (403, True)
    assert "You have asked for it" in officer.page(f"/quarantine/{name}/destroy").content.decode()
    assert "olga" in other.page(f"/quarantine/{name}/destroy").content.decode()
    assert decide(other, name, "destroy") == (303, "/quarantine?done=destroyed")
    assert officer.page(f"/quarantine/{name}").status == 404
    assert decide(officer, name, "destroy")[0] == 404
    told = [each for each in served.events() if each.details.get("quarantine") == name and "user" in each.details]
    assert [(each.principal.user, each.principal.address, each.details["what"], each.outcome) for each in told[:3]] == [
        ("olga", "127.0.0.1", "ask-destroy", Outcome.SUCCESS),
        ("olga", "127.0.0.1", "destroy", Outcome.REFUSED),
        ("otto", "127.0.0.1", "destroy", Outcome.SUCCESS),
    ]


def test_two_people_release(served: RunningArchive, officer: WebClient, other: WebClient) -> None:
    name = held(served, 101)
    assert decide(other, name, "release")[0] == 303
    assert decide(officer, name, "release") == (303, "/quarantine?done=released")
    reader = signed_in(served, "vera", Role.VIEWER)
    assert Sample(101, study=101).study_uid in reader.page("/studies").content.decode()
    (stored,) = [each for each in served.events() if each.details.get("verdict") == "stored"]
    assert (stored.principal.user, stored.details["asked_by"]) == ("olga", "otto")


def test_what_one_person_asked_for_is_not_what_the_other_agrees_to(
    served: RunningArchive, officer: WebClient, other: WebClient
) -> None:
    name = held(served, 102)
    assert decide(officer, name, "release")[1].endswith("done=asked")
    assert decide(other, name, "destroy")[1].endswith("done=asked")
    assert officer.page(f"/quarantine/{name}").status == 200


def test_it_takes_a_fresh_proof_and_a_reason(served: RunningArchive, officer: WebClient) -> None:
    name = held(served, 103)
    stale = signed_in(served, "stan", Role.SECURITY_OFFICER, proved_s_ago=86_400.0)
    for answer in (
        stale.page(f"/quarantine/{name}/destroy"),
        stale.page(f"/quarantine/{name}/destroy", {"reason": WHY}),
    ):
        assert answer.status == 303
        assert answer.headers["Location"].startswith("/account/prove?next=")
    for reason in ("", " ", "x" * 201, "a\nb"):
        assert decide(officer, name, "destroy", reason)[0] == 400
    assert decide(officer, name, "open")[0] == 404
    assert "asked" not in officer.page(f"/quarantine/{name}").content.decode()


def test_a_page_of_another_origin_decides_nothing(served: RunningArchive, officer: WebClient) -> None:
    name = held(served, 104)
    answer = officer.page(f"/quarantine/{name}/destroy", {"reason": WHY}, Origin="https://evil.example")
    assert answer.status == 403
    assert "asked" not in officer.page(f"/quarantine/{name}").content.decode()


def test_no_byte_of_what_is_held_is_shown(served: RunningArchive, officer: WebClient, there: Mapping[str, str]) -> None:
    page = officer.page(f"/quarantine/{there['held']}").content
    assert Sample(0).patient_name.encode() not in page
    assert b"Windows program" in page
    assert HOSTILE.encode() not in page


def test_an_alert_is_open_until_somebody_has_seen_to_it(
    served: RunningArchive, officer: WebClient, there: Mapping[str, str]
) -> None:
    place = f"/alerts/{there['alert']}"
    before = officer.page("/alerts").content.decode()
    assert place in before
    assert "\u202e" not in before
    assert officer.page(place, {"remark": " "}).status == 400
    answer = officer.page(place, {"remark": "asked <b>CT1</b>"})
    assert (answer.status, answer.headers["Location"]) == (303, "/alerts?done=seen")
    assert place not in officer.page("/alerts").content.decode()
    everything = officer.page("/alerts?all=yes").content.decode()
    assert "seen to by <bdi>olga</bdi>" in everything
    assert "asked &lt;b&gt;CT1&lt;/b&gt;" in everything
    assert officer.page(place, {"remark": "again"}).status == 409
    (seen,) = [each for each in served.events() if each.action is Action.ALERT_SEEN]
    assert (seen.principal.user, seen.details["remark"]) == ("olga", "asked <b>CT1</b>")


@pytest.mark.parametrize("place", ["serve/0", "nowhere/0", "serve/99999999", "serve/x"])
def test_what_is_no_alert_cannot_be_seen_to(officer: WebClient, place: str) -> None:
    assert officer.page(f"/alerts/{place}", {"remark": "x"}).status == 404


def test_who_has_no_business_with_it_is_refused(served: RunningArchive, there: Mapping[str, str]) -> None:
    for role in (Role.AUDITOR, Role.PHYSICIAN, Role.TECHNOLOGIST, Role.VIEWER, Role.RESEARCHER):
        person = signed_in(served, f"no-{role}", role)
        assert person.page(f"/quarantine/{there['held']}").status == 403
        assert decide(person, there["held"], "destroy")[0] == 403
        assert person.page(f"/alerts/{there['alert']}", {"remark": "x"}).status == 403
