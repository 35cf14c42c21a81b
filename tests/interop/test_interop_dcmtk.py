"""DCMTK's tools against a running archive: over TLS where they can, else through the exception for an old modality."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

from harness import archives
from harness.archives import Credentials, RunningArchive
from harness.postgres import free_port
from harness.samples import sample
from strongroom.archive.model import Action, Outcome

pytestmark = pytest.mark.interop
AEC = ["-aec", archives.AET]
TIMEOUT_S = 60


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip without these programs."""
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningArchive]:
    """An archive with the peers DCMTK (TLS), STRICT, OLD (plaintext exception) and a C-MOVE destination."""
    root = tmp_path_factory.mktemp("dcmtk")
    exception = {"peer": "OLD", "addresses": "127.0.0.1/32", "expires": archives.SOON, "port": 0, "reason": "old"}
    home = archives.new_home(root / "home", {"unsafe_plaintext": [exception]})
    with archives.opened(home) as opened:
        for aet in ("DCMTK", "OLD"):
            archives.add_peer(opened, aet)
        archives.add_peer(opened, "QUERY", "echo,find")
    with archives.serving(home) as running:
        yield running
        assert running.stop() == 0
        assert "Traceback" not in running.output


def run(*command: str | Path, check: bool = True) -> str:
    """Run a tool; its output. With ``check`` it has to succeed."""
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False
    )
    output = done.stdout.decode("utf-8", "replace")
    assert not check or done.returncode == 0, output
    return output


def over_tls(archive: RunningArchive, program: str, *arguments: str | Path, aet: str = "DCMTK") -> list[str | Path]:
    credentials = archive.credentials(aet)
    options = [*credentials.dcmtk, "-aet", aet, *AEC]
    return [program, *options, "127.0.0.1", str(archive.port), *arguments]


def in_the_clear(archive: RunningArchive, program: str, *arguments: str | Path) -> list[str | Path]:
    return [program, "-aet", "OLD", *AEC, "127.0.0.1", str(archive.plaintext_ports[0]), *arguments]


def refusal(output: str) -> str:
    return output if "Reject" in output or "Abort" in output or "error" in output.lower() else ""


# --- verification


@needs("echoscu")
def test_echoscu(archive: RunningArchive) -> None:
    assert "Received Echo Response (Success)" in run(*over_tls(archive, "echoscu", "-v", "--repeat", "5"))


@needs("echoscu")
def test_echoscu_without_tls_reaches_nothing(archive: RunningArchive) -> None:
    done = run("echoscu", "-aet", "DCMTK", *AEC, "-to", "5", "127.0.0.1", str(archive.port), check=False)
    assert "Received Echo Response" not in done


@needs("echoscu")
def test_echoscu_with_another_title_is_rejected(archive: RunningArchive) -> None:
    command = over_tls(archive, "echoscu", "-v")
    command[command.index("-aet") + 1] = "QUERY"
    assert "Calling AE Title Not Recognized" in run(*command, check=False)
    command = over_tls(archive, "echoscu", "-v")
    command[command.index("-aec") + 1] = "ANOTHER"
    assert "Called AE Title Not Recognized" in run(*command, check=False)


@needs("termscu")
def test_termscu_terminates_nothing(archive: RunningArchive) -> None:
    """Its private shutdown class is no class of ours: the association is accepted without it, or not at all."""
    run(*in_the_clear(archive, "termscu"), check=False)
    assert "Received Echo Response (Success)" in run(*over_tls(archive, "echoscu", "-v"))


# --- storage

SAMPLES = {
    "CT_small.dcm": [],
    "MR_small_implicit.dcm": ["-xi"],
    "ExplVR_BigEnd.dcm": ["-xb"],
    "JPEG2000.dcm": ["-xw"],
    "JPEG-lossy.dcm": ["-xx"],
    "examples_jpeg2k.dcm": ["-xv"],
    "SC_rgb_rle.dcm": ["-xr"],
    "reportsi.dcm": [],
    "image_dfl.dcm": ["-xd"],
}
"""File to the option that proposes its transfer syntax; no two share a SOP Instance UID."""
ALSO_STORED = "rtplan.dcm"


@pytest.fixture(scope="module")
def stored(archive: RunningArchive) -> dict[str, str]:
    """Sample files that storescu has stored, with their SOP Instance UIDs."""
    found = {}
    for name, options in SAMPLES.items():
        output = run(*over_tls(archive, "storescu", "-v", *options, sample(name)))
        assert "Received Store Response (Success)" in output, (name, output)
        found[name] = str(pydicom.dcmread(sample(name), stop_before_pixels=True).SOPInstanceUID)
    return found


@needs("storescu")
def test_storescu_stores_every_kind(archive: RunningArchive, stored: dict[str, str]) -> None:
    kept = {
        event.details["sop_uid"]
        for event in archive.served_events()
        if event.action is Action.STORE and event.outcome is Outcome.SUCCESS
    }
    assert set(stored.values()) <= kept


@needs("storescu")
def test_storescu_sends_again_without_harm(archive: RunningArchive, stored: dict[str, str]) -> None:
    since = len(archive.served_events())
    assert "(Success)" in run(*over_tls(archive, "storescu", "-v", sample("CT_small.dcm")))
    verdicts = [event.details.get("verdict") for event in archive.served_events(since) if event.action is Action.STORE]
    assert verdicts == ["resent"]


@needs("storescu")
def test_storescu_without_the_right_is_refused(archive: RunningArchive) -> None:
    output = run(*over_tls(archive, "storescu", "-v", sample("CT_small.dcm"), aet="QUERY"), check=False)
    assert "No Acceptable Presentation Contexts" in output or "No presentation context" in output


@needs("storescu")
def test_storescu_through_the_exception(archive: RunningArchive) -> None:
    assert "(Success)" in run(*in_the_clear(archive, "storescu", "-v", sample(ALSO_STORED)))


@needs("storescu", "dcmodify")
def test_storescu_hears_why_an_object_is_refused(archive: RunningArchive, tmp_path: Path, stored: object) -> None:
    """The same study under another patient."""
    changed = tmp_path / "changed.dcm"
    shutil.copy(sample("CT_small.dcm"), changed)
    run("dcmodify", "-nb", "-m", "PatientID=another", "-gin", changed)
    output = run(*over_tls(archive, "storescu", "-d", changed), check=False)
    assert "0xc012" in output.lower()


# --- query


def found(output: str, keyword: str) -> list[str]:
    """The values of an attribute in the responses that findscu shows."""
    responses = output[output.index("Find Response") :] if "Find Response" in output else ""
    values = re.findall(rf"\[([^\]]*)\]\s*#\s*\d+,\s*\d+ {keyword}", responses)
    return [value.strip(" \0") for value in values]


def find(archive: RunningArchive, *arguments: str) -> str:
    return run(*over_tls(archive, "findscu", "-v", *arguments))


@needs("findscu", "storescu")
@pytest.mark.parametrize("model", ["-S", "-P"])
@pytest.mark.parametrize("syntax", ["-xi", "-xe", "-xb", "-xd"])
def test_findscu_finds_a_study(archive: RunningArchive, stored: object, model: str, syntax: str) -> None:
    above = ["-k", "PatientID=1CT1"]
    keys = ["-k", "QueryRetrieveLevel=STUDY", *above, "-k", "StudyInstanceUID", "-k", "PatientName"]
    output = find(archive, model, syntax, *keys, "-k", "ModalitiesInStudy", "-k", "NumberOfStudyRelatedInstances")
    assert found(output, "PatientName") == ["CompressedSamples^CT1"]
    assert found(output, "ModalitiesInStudy") == ["CT"]
    assert found(output, "NumberOfStudyRelatedInstances") == ["1"]


@needs("findscu", "storescu")
@pytest.mark.parametrize(
    ("key", "is_wanted"),
    [
        ("PatientName=CompressedSamples^CT1", lambda each: each.PatientName == "CompressedSamples^CT1"),
        ("PatientName=compressedsamples^*", lambda each: str(each.PatientName).startswith("CompressedSamples^")),
        ("PatientName=*nobody*", lambda each: False),
        ("StudyDate=20040119", lambda each: each.get("StudyDate") == "20040119"),
        ("StudyDate=20040101-20041231", lambda each: "20040101" <= each.get("StudyDate", "") <= "20041231"),
        ("StudyDate=-19900101", lambda each: "0" < each.get("StudyDate", "") <= "19900101"),
        ("PatientID=?CT1", lambda each: str(each.get("PatientID", ""))[1:] == "CT1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_findscu_matches(
    archive: RunningArchive, stored: object, key: str, is_wanted: Callable[[pydicom.Dataset], bool]
) -> None:
    output = find(archive, "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", key)
    datasets = [pydicom.dcmread(sample(name), stop_before_pixels=True) for name in (*SAMPLES, ALSO_STORED)]
    uids = found(output, "StudyInstanceUID")
    optional = {str(each.StudyInstanceUID) for each in datasets[-1:]}  # whose test may not have run
    assert set(uids) - optional == {str(each.StudyInstanceUID) for each in datasets if is_wanted(each)} - optional
    assert len(uids) == len(set(uids))


@needs("findscu", "storescu")
def test_findscu_goes_down_to_the_image(archive: RunningArchive, stored: dict[str, str]) -> None:
    dataset = pydicom.dcmread(sample("CT_small.dcm"))
    above = [f"StudyInstanceUID={dataset.StudyInstanceUID}", f"SeriesInstanceUID={dataset.SeriesInstanceUID}"]
    keys = [word for key in ("QueryRetrieveLevel=IMAGE", *above, "SOPInstanceUID", "Rows") for word in ("-k", key)]
    output = find(archive, "-S", *keys)
    assert found(output, "SOPInstanceUID") == [stored["CT_small.dcm"]]


@needs("findscu")
def test_findscu_hears_of_a_query_that_breaks_the_model(archive: RunningArchive) -> None:
    output = run(*over_tls(archive, "findscu", "-v", "-S", "-k", "QueryRetrieveLevel=PATIENT"), check=False)
    assert "Failed" in output or "Identifier" in output


@needs("findscu", "storescu")
def test_findscu_cancels(archive: RunningArchive, stored: object) -> None:
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"]
    run(*over_tls(archive, "findscu", "-v", "-S", "--cancel", "1", *keys), check=False)
    assert "(Success)" in run(*over_tls(archive, "echoscu", "-v"))


# --- retrieval


@contextmanager
def storescp(credentials: Credentials, port: int, folder: Path) -> Iterator[Path]:
    """A receiver over TLS that writes what it gets, bit by bit."""
    folder.mkdir()
    options = [*credentials.dcmtk, "-aet", credentials.aet, "+xa", "+B", "-od", str(folder)]
    command = ["storescp", "-v", *options, str(port)]
    with (folder.parent / "storescp.txt").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            wait_for_port(port, process)
            yield folder
        finally:
            process.terminate()
            process.wait(10)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when something listens: asked of the kernel, because a connection would be an association to the tool."""
    pause = threading.Event()
    wanted = re.compile(rf"^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F:]+ 0A ", re.M)  # 0A is LISTEN
    while process.poll() is None:
        if any(wanted.search(Path(f"/proc/net/{name}").read_text()) for name in ("tcp", "tcp6")):
            return
        pause.wait(0.02)
    raise AssertionError("storescp did not start")


@needs("movescu", "storescp", "storescu")
def test_movescu_to_a_receiver_over_tls(archive: RunningArchive, stored: dict[str, str], tmp_path: Path) -> None:
    """The tool itself speaks no TLS: it asks through the exception; what is moved goes out encrypted all the same."""
    port = free_port()
    destination = archive.add_peer("RECEIVER", "", host="127.0.0.1", port=port)
    with storescp(destination, port, tmp_path / "received") as folder:
        for name, sop_uid in stored.items():
            dataset = pydicom.dcmread(sample(name))
            keys = [f"StudyInstanceUID={dataset.StudyInstanceUID}", "QueryRetrieveLevel=STUDY"]
            options = [word for key in keys for word in ("-k", key)]
            output = run(*in_the_clear(archive, "movescu", "-v", "-S", "-aem", "RECEIVER", *options))
            assert "Success" in output, output
            check_returned(name, sop_uid, folder)


def check_returned(name: str, sop_uid: str, folder: Path) -> None:
    """The one file of that SOP Instance UID has the same data set, in the transfer syntax it was stored in."""
    (path,) = (path for path in folder.iterdir() if path.name.endswith(sop_uid))
    returned, original = pydicom.dcmread(path), pydicom.dcmread(sample(name))
    assert returned.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    # DCMTK leaves out group lengths and may add padding after the data set when it sends.
    for dataset in (returned, original):
        for tag in [element.tag for element in dataset if element.tag.element == 0 or element.tag == 0xFFFCFFFC]:
            del dataset[tag]
    assert returned == original


@needs("movescu")
@pytest.mark.parametrize("destination", ["NOBODY", "QUERY"])
def test_movescu_to_who_is_no_destination_is_refused(archive: RunningArchive, destination: str, stored: object) -> None:
    """Unknown, or known without an address: both are an unknown destination, A801."""
    study = str(pydicom.dcmread(sample("CT_small.dcm"), stop_before_pixels=True).StudyInstanceUID)
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    command = in_the_clear(archive, "movescu", "-v", "-S", "-aem", destination, *keys)
    output = run(*command, check=False)
    assert "MoveDestinationUnknown" in output or "0xa801" in output.lower()


@needs("getscu", "storescu")
def test_getscu(archive: RunningArchive, stored: dict[str, str], tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "MR_small_implicit.dcm", "reportsi.dcm"):
        folder = tmp_path / name
        folder.mkdir()
        study = str(pydicom.dcmread(sample(name), stop_before_pixels=True).StudyInstanceUID)
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
        run(*in_the_clear(archive, "getscu", "-v", "-S", "+B", "-od", folder, *keys))
        assert len(list(folder.iterdir())) >= 1


# --- TLS, looked at with OpenSSL's own tool


def handshake(port: int, credentials: Credentials, *options: str) -> str:
    """What ``openssl s_client`` says of a handshake; it says no DICOM."""
    files = ["-cert", credentials.certificate, "-key", credentials.key, "-CAfile", credentials.authority]
    done = subprocess.run(
        list(map(str, ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *files, *options])),
        input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    return done.stdout.decode("utf-8", "replace")


def agreed(output: str) -> tuple[str, str]:
    """Version and cipher suite, "" where there is none."""
    match = re.search(r"New, (TLSv[0-9.]+), Cipher is (\S+)", output)
    return (match[1], match[2]) if match else ("", "")


BCP_195 = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
]
NOT_BCP_195 = [
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-ECDSA-AES128-SHA",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "DHE-RSA-AES128-SHA",
    "NULL-SHA256",
    "ECDHE-ECDSA-NULL-SHA",
    "ADH-AES128-SHA",
    "AECDH-AES128-SHA",
    "DES-CBC3-SHA",
    "PSK-AES128-CBC-SHA",
]


@needs("openssl")
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_tls_of_today_is_spoken(archive: RunningArchive, version: str) -> None:
    option = "-tls" + version.replace(".", "_")
    assert agreed(handshake(archive.port, archive.credentials("DCMTK"), option))[1] != ""


@needs("openssl")
@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_tls_of_yesterday_is_refused(archive: RunningArchive, version: str) -> None:
    """Also to a client that would allow everything."""
    output = handshake(archive.port, archive.credentials("DCMTK"), version, "-cipher", "ALL:@SECLEVEL=0")
    assert "Cipher is (NONE)" in output
    assert "alert" in output


@needs("openssl")
@pytest.mark.parametrize("suite", BCP_195)
def test_the_suites_of_bcp_195_are_agreed_to(archive: RunningArchive, suite: str) -> None:
    output = handshake(archive.port, archive.credentials("DCMTK"), "-tls1_2", "-cipher", suite)
    assert agreed(output)[1] == suite


@needs("openssl")
@pytest.mark.parametrize("suite", NOT_BCP_195)
def test_other_suites_are_refused(archive: RunningArchive, suite: str) -> None:
    output = handshake(archive.port, archive.credentials("DCMTK"), "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0")
    assert agreed(output)[1] in ("", "(NONE)")


@needs("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_nothing_is_compressed_and_no_ticket_is_given(archive: RunningArchive, version: str) -> None:
    output = handshake(archive.port, archive.credentials("DCMTK"), version)
    assert "Compression: NONE" in output
    assert "TLS session ticket:" not in output
    assert "Secure Renegotiation IS supported" in output or version == "-tls1_3"


@needs("openssl")
def test_the_strict_profile_has_a_shorter_list(
    local_archive: Callable[..., RunningArchive],
) -> None:
    strict = local_archive({"DCMTK": "echo"}, dicom={"tls_profile": "bcp195-strict"})
    credentials = strict.credentials("DCMTK")
    refused = handshake(strict.port, credentials, "-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305")
    assert agreed(refused)[1] in ("", "(NONE)")
    for suite in ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"):
        assert agreed(handshake(strict.port, credentials, "-tls1_2", "-cipher", suite))[1] == suite


@needs("echoscu")
@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
@pytest.mark.parametrize("ours", ["bcp195", "bcp195-strict"])
def test_dcmtk_agrees_with_both_profiles(local_archive: Callable[..., RunningArchive], profile: str, ours: str) -> None:
    archive = local_archive({"DCMTK": "echo"}, dicom={"tls_profile": ours})
    assert "(Success)" in run(*over_tls(archive, "echoscu", "-v", profile))


@needs("echoscu")
@pytest.mark.parametrize("profile", ["+pn", "+pb"])
def test_dcmtk_with_a_retired_profile_is_refused(archive: RunningArchive, profile: str) -> None:
    output = run(*over_tls(archive, "echoscu", "-v", profile), check=False)
    assert "(Success)" not in output
