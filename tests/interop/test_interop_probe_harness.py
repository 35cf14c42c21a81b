"""The servers that the probe is proved against, looked at with clients of others: they are what they say."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from harness import probe_hostile, probe_lures, probe_planted, probe_products
from harness.probe_certificates import Issuer, Pair, Subject
from harness.probe_dcmtk import (
    ARCHIVE_AET,
    KNOWN_PEER,
    STORE_AET,
    WORKLIST_AET,
    dcmqrscp,
    store_files,
    storescp,
    tls_options,
    wlmscpfs,
)
from harness.probe_dicom import Conduct, playing, scp
from harness.probe_http import Page, Site, web
from harness.probe_listener import listening
from harness.probe_neighbours import neighbours
from harness.probe_network import network
from harness.probe_nginx import (
    OLD_SUITES,
    REFLECTING_CORS,
    SAFE_HEADERS,
    STRONG_TLS,
    WEAK_TLS,
    Server,
    behind_password,
    files_of,
    nginx,
    password_file,
    proxy_to,
    redirect_to,
)
from harness.probe_orthanc import (
    Place,
    default_credentials_settings,
    locked_settings,
    opened_settings,
    orthanc_with,
    shipped_orthanc,
)
from harness.probe_processes import requires
from harness.probe_pynetdicom import ARCHIVE_AET as QRSCP_AET
from harness.probe_pynetdicom import qrscp, workflow_scp
from harness.probe_strongroom import PEER, strongroom
from harness.samples import sample
from harness.wire import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    C_CANCEL_RQ,
    C_FIND_RQ,
    COMMAND,
    IMPLICIT,
    LAST,
    P_DATA_TF,
    STUDY_ROOT_FIND,
    Asks,
    RawPeer,
    command,
    identifier,
    p_data,
    pdu,
    pdv,
    user_identity,
)

pytestmark = pytest.mark.interop
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """An authority for the servers of this file."""
    return Issuer(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(issuer: Issuer) -> Pair:
    """A good certificate."""
    return issuer.issue("server", Subject("127.0.0.1"))


def run(*command: str | Path) -> str:
    """Run a client; all that it prints."""
    done = subprocess.run(
        list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    return done.stdout.decode("utf-8", "replace")


def echo(port: int, *options: str | Path, calling: str = "NOBODY", called: str = "ANY-SCP") -> str:
    """ "yes", or why there was no echo."""
    said = run("echoscu", "-v", "-to", "5", "-aet", calling, "-aec", called, *options, "127.0.0.1", str(port))
    return "yes" if "Received Echo Response (Success)" in said else said


def find(port: int, called: str, *keys: str, calling: str = "NOBODY", options: tuple[str, ...] = ("-S",)) -> str:
    """What findscu prints about a query."""
    asked = [word for key in keys for word in ("-k", key)]
    return run("findscu", "-v", *options, "-aet", calling, "-aec", called, *asked, "127.0.0.1", str(port))


STUDY_QUERY = ("QueryRetrieveLevel=STUDY", "StudyDate=19000101-20991231", "StudyInstanceUID")


def fetch(url: str, *options: str) -> tuple[int, str]:
    """Status and head of a GET by curl."""
    said = run("curl", "-sk", "--noproxy", "*", "-m", "20", "-i", *options, url)
    words = said.split(" ", 2)
    return (int(words[1]) if said.startswith("HTTP/") else 0), said


def handshake(port: int, *options: str | Path) -> str:
    """What openssl says of a handshake."""
    return run("openssl", "s_client", "-brief", *options, "-connect", f"127.0.0.1:{port}")


# --- Orthanc


def test_the_shipped_orthanc_has_debians_defaults(tmp_path: Path) -> None:
    with shipped_orthanc(Place(tmp_path / "orthanc")) as target:
        assert echo(target.dicom_port) == "yes"
        assert "Success" not in find(target.dicom_port, "ORTHANC", *STUDY_QUERY)
        store_files(target.dicom_port, "ORTHANC", [sample("CT_small.dcm")])
        status, said = fetch(f"http://127.0.0.1:{target.http_port}/system")
        assert status == 200
        assert '"Version" : "1.' in said


def test_the_shipped_orthanc_keeps_other_machines_from_its_web_server(tmp_path: Path) -> None:
    requires("/usr/sbin/Orthanc")
    with network() as net, shipped_orthanc(Place(tmp_path / "o", net.address(9), net.inside)) as target:
        url = f"http://{target.address}:{target.http_port}"
        assert " 401 " in run(*net.inside, "curl", "-s", "-i", "-m", "10", f"{url}/system").split("\n")[0]
        titles = ("-aet", "NOBODY", "-aec", "ANY-SCP")
        said = run(*net.inside, "echoscu", "-v", *titles, target.address, str(target.dicom_port))
        assert "Received Echo Response (Success)" in said


def test_the_open_orthanc_is_open(tmp_path: Path) -> None:
    with orthanc_with(Place(tmp_path / "orthanc"), opened_settings()) as target:
        store_files(target.dicom_port, "ORTHANC", [sample("CT_small.dcm")])
        assert "Received Final Find Response (Success)" in find(target.dicom_port, "ANYTHING", *STUDY_QUERY)
        base = f"http://127.0.0.1:{target.http_port}"
        assert fetch(f"{base}/patients")[0] == 200
        assert "0020000D" in fetch(f"{base}/dicom-web/studies?limit=1", "-H", "Accept: application/dicom+json")[1]


def test_the_orthanc_with_default_credentials_has_them(tmp_path: Path) -> None:
    with orthanc_with(Place(tmp_path / "orthanc"), default_credentials_settings()) as target:
        url = f"http://127.0.0.1:{target.http_port}/system"
        assert fetch(url)[0] == 401
        assert fetch(url, "-u", "orthanc:orthanc")[0] == 200


def test_the_locked_orthanc_wants_a_certificate_and_a_password(tmp_path: Path, issuer: Issuer, server: Pair) -> None:
    own = issuer.issue("client", Subject("MODALITY", client=True))
    place = Place(tmp_path / "orthanc")
    modalities = {"DicomModalities": {"mod": ["MODALITY", "127.0.0.1", 104]}, "DicomAlwaysAllowEcho": True}
    with (
        orthanc_with(place, {**locked_settings(server), **modalities}) as target,
        nginx(tmp_path / "front", Server(STRONG_TLS + proxy_to(target.http_port), server)) as front,
    ):
        assert echo(target.dicom_port, called="ORTHANC") != "yes"
        trusted = ("+cf", issuer.certificate)
        assert echo(target.dicom_port, "+tla", *trusted, called="ORTHANC") != "yes"
        known = ("+tls", own.key, own.certificate, *trusted)
        assert echo(target.dicom_port, *known, calling="MODALITY", called="ORTHANC") == "yes"
        assert echo(target.dicom_port, *known, calling="MODALITY", called="ANOTHER") != "yes"
        assert fetch(f"https://127.0.0.1:{front.ports[0]}/system")[0] == 401
        assert fetch(f"https://127.0.0.1:{front.ports[0]}/system", "-u", "tests:a-long-pass-phrase")[0] == 200


# --- DCMTK and pynetdicom


def test_dcmqrscp_serves_everybody_or_one(tmp_path: Path) -> None:
    with dcmqrscp(tmp_path / "open") as target:
        store_files(target.port, ARCHIVE_AET, [sample("CT_small.dcm")])
        said = find(target.port, ARCHIVE_AET, *STUDY_QUERY)
        assert "Find Response: 1 (Pending)" in said
        assert "Called AE Title Not Recognized" in echo(target.port, called="NOT-IT")
    with dcmqrscp(tmp_path / "closed", peers="known") as target:
        assert "Received Final Find Response (Success)" in find(
            target.port, ARCHIVE_AET, *STUDY_QUERY, calling=KNOWN_PEER
        )
        assert "Rejected" in find(target.port, ARCHIVE_AET, *STUDY_QUERY)


def test_storescp_in_the_clear_over_tls_and_with_client_certificates(
    tmp_path: Path, issuer: Issuer, server: Pair
) -> None:
    own = issuer.issue("sender", Subject("SENDER", client=True))
    trusted = ("+cf", issuer.certificate)
    with storescp(tmp_path / "plain") as target:
        assert echo(target.port) == "yes"
        store_files(target.port, STORE_AET, [sample("CT_small.dcm")])
        assert len(list(target.storage.iterdir())) == 1
    with storescp(tmp_path / "tls", *tls_options(server, client_certificate="ignored")) as target:
        assert echo(target.port) != "yes"
        assert echo(target.port, "+tla", *trusted) == "yes"
    with storescp(tmp_path / "mutual", *tls_options(server)) as target:
        assert echo(target.port, "+tla", *trusted) != "yes"
        assert echo(target.port, "+tls", own.key, own.certificate, *trusted) == "yes"


def test_the_worklist_has_its_patients(tmp_path: Path) -> None:
    with wlmscpfs(tmp_path / "worklist") as target:
        said = find(target.port, WORKLIST_AET, "PatientName", options=("-W",))
        assert said.count("(Pending)") == 10


def test_qrscp_is_open(tmp_path: Path) -> None:
    with qrscp(tmp_path / "qrscp") as target:
        store_files(target.port, QRSCP_AET, [sample("CT_small.dcm")])
        assert "Find Response: 1 (Pending)" in find(target.port, "ANYTHING", *STUDY_QUERY)


def test_the_workflow_scp_takes_procedure_steps() -> None:
    from pydicom.dataset import Dataset
    from pynetdicom import AE

    mpps, instance = "1.2.840.10008.3.1.2.3.3", "2.25.1"
    with workflow_scp() as target, workflow_scp(known=KNOWN_PEER) as closed:
        ae = AE("NOBODY")
        ae.add_requested_context(mpps)
        association = ae.associate("127.0.0.1", target.port)
        step = Dataset()
        step.PerformedProcedureStepStatus = "IN PROGRESS"
        status, _ = association.send_n_create(step, mpps, instance)
        assert status.Status == 0
        association.release()
        assert target.events == ["EVT_N_CREATE"]
        assert ae.associate("127.0.0.1", closed.port).is_rejected


# --- nginx, Strongroom


def test_nginx_has_the_tls_that_it_is_told_to_have(tmp_path: Path, issuer: Issuer) -> None:
    # Suites without forward secrecy need a key that can decrypt.
    server = issuer.issue("rsa", Subject("127.0.0.1", rsa_bits=2048))
    page = "return 200 ok;"
    blocks = [Server(tls + page, server) for tls in (WEAK_TLS, OLD_SUITES, STRONG_TLS)]
    old = ("-cipher", "ALL:@SECLEVEL=0")
    with nginx(tmp_path / "nginx", *blocks) as target:
        weak, suites, strong = target.ports
        assert "Protocol version: TLSv1\n" in handshake(weak, "-tls1", *old)
        assert "Protocol version: TLSv1.1\n" in handshake(weak, "-tls1_1", *old)
        assert "Protocol version" not in handshake(strong, "-tls1_1", *old)
        assert "Ciphersuite: AES128-SHA\n" in handshake(suites, "-tls1_2", "-cipher", "AES128-SHA")
        assert "Ciphersuite" not in handshake(strong, "-tls1_2", "-cipher", "AES128-SHA")
        assert "Protocol version: TLSv1.3\n" in handshake(strong)


def test_nginx_lists_redirects_reflects_and_asks_for_a_password(tmp_path: Path, server: Pair) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "one.dcm").write_bytes(b"no image")
    passwords = password_file(tmp_path, "tests", "tests")
    with web(Site({"/": Page(200, "behind")})) as behind:
        blocks = (
            Server(files_of(images, listing=True)),
            Server(files_of(images, listing=False)),
            Server(redirect_to("https://elsewhere.example/")),
            Server(STRONG_TLS + SAFE_HEADERS + proxy_to(behind.port), server),
            Server(STRONG_TLS + REFLECTING_CORS + proxy_to(behind.port), server),
            Server(STRONG_TLS + behind_password(passwords, proxy_to(behind.port)), server),
        )
        with nginx(tmp_path / "nginx", *blocks) as target:
            ports = target.ports
            assert "one.dcm" in fetch(f"http://127.0.0.1:{ports[0]}/")[1]
            assert fetch(f"http://127.0.0.1:{ports[1]}/")[0] == 403
            status, said = fetch(f"http://127.0.0.1:{ports[2]}/")
            assert status == 301
            assert "https://elsewhere.example/" in said
            assert "Strict-Transport-Security" in fetch(f"https://127.0.0.1:{ports[3]}/")[1]
            said = fetch(f"https://127.0.0.1:{ports[4]}/", "-H", "Origin: https://evil.example")[1]
            assert "Access-Control-Allow-Origin: https://evil.example" in said
            assert fetch(f"https://127.0.0.1:{ports[5]}/")[0] == 401
            assert fetch(f"https://127.0.0.1:{ports[5]}/", "-u", "tests:tests")[0] == 200


def test_strongroom_lets_in_its_peer_alone(tmp_path: Path) -> None:
    with strongroom(tmp_path) as target:
        own = target.credentials
        assert echo(target.dicom_port, called="STRONGROOM") != "yes"
        assert echo(target.dicom_port, "+tla", "+cf", own.authority, called="STRONGROOM") != "yes"
        assert echo(target.dicom_port, *own.dcmtk, calling=PEER, called="STRONGROOM") == "yes"
        assert fetch(f"https://127.0.0.1:{target.https_port}/dicomweb/studies")[0] == 401


# --- mocks


def test_the_scp_of_bytes_is_one_for_dcmtk_and_counts() -> None:
    with scp(probe_planted.planted_scp()) as mock:
        assert echo(mock.port) == "yes"
        said = find(mock.port, "ANY", *STUDY_QUERY, "PatientName")
        assert said.count("(Pending)") == 5
        assert probe_planted.FAMILY in said
        empty = find(mock.port, "ANY", "QueryRetrieveLevel=STUDY", "StudyDate=18000101", "StudyInstanceUID")
        assert "(Pending)" not in empty
        assert "Received Final Find Response (Success)" in empty
        assert len(mock.requests("associate")) == 3
        assert len(mock.requests("C-FIND")) == 2
        assert len(mock.requests("release")) == 3
        assert mock.listener.most_at_once == 1
        assert mock.requests("C-FIND")[1].sop_class == STUDY_ROOT_FIND


def test_the_scp_of_bytes_takes_objects_and_refuses_by_title_class_and_user() -> None:
    closed = Conduct(called=frozenset({"RIGHT"}), calling=frozenset({KNOWN_PEER}), classes=frozenset({"1.2.3"}))
    with scp() as mock, scp(closed) as strict, scp(Conduct(user_required=True)) as asking:
        store_files(mock.port, "ANY", [sample("CT_small.dcm")])
        assert [len(each) for each in mock.stored.values()] == [1]
        assert "Called AE Title Not Recognized" in echo(strict.port)
        assert "Calling AE Title Not Recognized" in echo(strict.port, called="RIGHT")
        assert "No Acceptable Presentation Contexts" in echo(strict.port, calling=KNOWN_PEER, called="RIGHT")
        assert "Rejected" in echo(asking.port)
        with RawPeer(asking.port) as peer:
            named = Asks("X", user=user_identity(2, b"user", b"secret", wants_answer=True))
            pdu_type, body = peer.associate(named)
            assert pdu_type == A_ASSOCIATE_AC
            assert struct.pack(">BBH", 0x59, 0, 2) in body


def test_a_played_script_comes_as_it_is_written() -> None:
    with playing([pdu(A_ASSOCIATE_RJ, b"\0\1\1\3"), lambda visit: visit.reset()]) as mock, RawPeer(mock.port) as peer:
        assert peer.associate(Asks("X")) == (A_ASSOCIATE_RJ, b"\0\1\1\3")
        assert peer.read_pdu() == (0, b"")
        peer.send(pdu(A_ABORT, bytes(4)))


def test_the_web_mock_keeps_count_and_its_login() -> None:
    site = Site({"/": Page(200, "in")}, login=Page(401, ""), credentials="Basic eDp5", cors="reflect")
    with web(site) as mock:
        base = f"http://127.0.0.1:{mock.port}/"
        assert fetch(base)[0] == 401
        assert fetch(base, "-u", "x:y")[0] == 200
        assert "Access-Control-Allow-Credentials: true" in fetch(base, "-H", "Origin: https://a.example")[1]
        assert fetch(base, "-X", "POST", "-d", "some=body")[0] == 401
        assert [each.method for each in mock.asked] == ["GET", "GET", "GET", "POST"]
        assert mock.asked[3].body == b"some=body"


def test_the_web_mock_speaks_tls(server: Pair) -> None:
    with web(Site({"/": Page(200, "in")}), tls=server.server_context(client_required=True)) as mock:
        assert fetch(f"https://127.0.0.1:{mock.port}/")[0] == 0
        own = ("--cert", str(server.certificate), "--key", str(server.key))
        assert fetch(f"https://127.0.0.1:{mock.port}/", *own)[0] in (0, 200)


@pytest.mark.parametrize("name", sorted(probe_products.OPEN))
def test_each_product_answers_openly_or_behind_its_login(name: str) -> None:
    opened, locked = probe_products.OPEN[name], probe_products.LOCKED[name]
    with web(opened) as mock, web(locked) as closed:
        for path in opened.pages:
            target = path.replace("*", "1")
            status = fetch(f"http://127.0.0.1:{mock.port}{target}")[0]
            assert status in ((302, 404) if "studies/" in target or "wado" in target else (200, 302, 404)), path
            if "/studies" in path:
                assert fetch(f"http://127.0.0.1:{closed.port}{target}")[0] in (200, 302, 401, 404)
        assert len(mock.asked) == len(opened.pages)


def test_qido_keeps_to_limit_and_dates() -> None:
    with web(probe_products.OPEN["OHIF"]) as mock:
        base = f"http://127.0.0.1:{mock.port}/dicom-web/studies"
        assert fetch(base)[1].count("0020000D") == 5
        assert fetch(f"{base}?limit=2")[1].count("0020000D") == 2
        assert fetch(f"{base}?StudyDate=20240101-20240103")[1].count("0020000D") == 3
        assert fetch(f"{base}?StudyDate=18000101")[1].count("0020000D") == 0


def _speak_to_a_neighbour() -> None:
    with neighbours(["redis"]) as told, socket.create_connection(("127.0.0.1", told.ports["redis"]), 5) as sock:
        sock.sendall(b"PING\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


def test_neighbours_notice_a_word(tmp_path: Path) -> None:
    with neighbours(["redis", "mllp"]) as quiet:
        for port in quiet.ports.values():
            socket.create_connection(("127.0.0.1", port), 5).close()
    assert quiet.visits == {"redis": 1, "mllp": 1}
    with pytest.raises(AssertionError, match="PING"):
        _speak_to_a_neighbour()


def test_planted_strings_are_found_in_every_form(tmp_path: Path) -> None:
    for text in probe_planted.PLANTED:
        for form in probe_planted.forms(text):
            assert probe_planted.leaks(b"\0before" + form + b"after\0"), (text, form)
    assert not probe_planted.leaks(b"an innocent report of 5 studies, ***-**-4f2a91c0")
    (tmp_path / probe_planted.FAMILY.lower()).write_text("nothing")
    assert probe_planted.leaks_below([tmp_path])


def test_planted_people_come_out_of_every_mock() -> None:
    with web(probe_planted.planted_site()) as mock:
        for path in ("/", "/system", "/studies", "/dicom-web/studies?limit=1", "/wado", "/dicom-web/studies/1.2.3"):
            assert probe_planted.leaks(fetch(f"http://127.0.0.1:{mock.port}{path}")[1].encode()), path


def test_lures_differ_from_what_looks_real() -> None:
    uid = probe_planted.STUDY_UID
    assert len({each[uid] for each in probe_lures.real_looking().answers}) == 30
    assert len({each[uid] for each in probe_lures.identical().answers}) == 1
    assert all(each[uid].startswith(b"1.3.6.1.4.1.14519.") for each in probe_lures.tcia().answers)


# --- hostile servers: each does its worst to a client that takes it, and ends with the test


def _answer(port: int, request: bytes, wanted_bytes: int, within_s: float) -> bytes:
    """What comes back, until there is so much of it or the time is over; a reset ends it, the first one as well."""
    got, deadline = bytearray(), time.monotonic() + within_s
    with suppress(TimeoutError, ConnectionError), socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(request)
        while len(got) < wanted_bytes and (left_s := deadline - time.monotonic()) > 0:
            sock.settimeout(left_s)
            more = sock.recv(65536)
            if not more:
                break
            got += more
    return bytes(got)


FLOOD_BYTES = 1 << 20
FLOODS = {"huge_pdu", "endless_items", "random_bytes"}
SILENT = {"slow_silence", "immediate_reset", "immediate_close"}
SILENCE_S, ANSWER_S = 1.5, 30.0
"""How long to listen to those that are to say nothing, and at most to those that are to say something."""


@pytest.mark.parametrize("name", sorted(probe_hostile.DICOM))
def test_hostile_dicom_servers_do_what_they_say(name: str) -> None:
    request = Asks("X").pdu()
    with listening(probe_hostile.DICOM[name]) as listener:
        if name in FLOODS:
            assert len(_answer(listener.port, request, FLOOD_BYTES, ANSWER_S)) >= FLOOD_BYTES
        elif name in SILENT:
            assert _answer(listener.port, request, 1, SILENCE_S) == b""
        elif name == "one_byte_a_second":
            assert 1 <= len(_answer(listener.port, request, 1, ANSWER_S)) <= 3
        else:
            assert _answer(listener.port, request, 1, ANSWER_S)


@pytest.mark.parametrize("name", sorted(probe_hostile.HTTP))
def test_hostile_web_servers_do_what_they_say(name: str) -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with listening(probe_hostile.HTTP[name]) as listener:
        if "endless" in name or "for ever" in name:
            assert len(_answer(listener.port, request, FLOOD_BYTES, ANSWER_S)) >= FLOOD_BYTES
        elif name in ("no answer", "immediate reset"):
            assert _answer(listener.port, request, 1, SILENCE_S) == b""
        else:
            assert _answer(listener.port, request, 1, ANSWER_S)


def test_endless_answers_end_for_nobody_that_cancels() -> None:
    with listening(probe_hostile.DICOM["endless_answers"]) as listener:
        with RawPeer(listener.port) as peer:
            peer.associate(Asks("X", contexts=((STUDY_ROOT_FIND, (IMPLICIT,)),)))
            peer.ask(command(C_FIND_RQ, 1, STUDY_ROOT_FIND, dataset=True), identifier("STUDY", {0x0020000D: b""}))
            peer.send(p_data(pdv(1, COMMAND | LAST, command(C_CANCEL_RQ, 1, STUDY_ROOT_FIND))))
            kinds = [peer.read_pdu()[0] for _ in range(2000)]
        assert set(kinds) == {P_DATA_TF}


def test_unfinished_tls_keeps_a_client_waiting() -> None:
    with listening(probe_hostile.DICOM["unfinished_tls"]) as listener:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", listener.port), 1) as sock, pytest.raises(TimeoutError):
            context.wrap_socket(sock)


# --- the network, and that nothing stays


def test_the_network_has_every_address_and_no_way_out() -> None:
    with network() as net:
        with web(Site({"/": Page(200, "inside")}), sockets=net.sockets([1, 77, 254], 8042)) as mock:
            for number in (1, 77, 254):
                assert "inside" in run(*net.inside, "curl", "-s", "-m", "5", f"http://{net.address(number)}:8042/")
            assert [visit.address[0] for visit in mock.listener.visits] == [net.address(n) for n in (1, 77, 254)]
            assert "Couldn't connect" in run(*net.inside, "curl", "-sS", "-m", "5", f"http://{net.address(2)}:8042/")
            said = run(*net.inside, "curl", "-sS", "-m", "5", "http://192.0.2.1:8042/")
            assert "unreachable" in said or "Couldn't connect" in said
        assert Path("/run/netns", net.name).exists()
    assert not Path("/run/netns", net.name).exists()


def test_no_process_outlives_its_server(tmp_path: Path) -> None:
    with storescp(tmp_path / "store") as target:
        group = os.getpgid(target.server.process.pid)
        with socket.create_connection(("127.0.0.1", target.port), 5):
            pass
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_a_server_ends_with_the_tests_when_they_are_killed(tmp_path: Path) -> None:
    requires("storescp")
    script = (
        "import pathlib, sys, os, signal\nfrom harness.probe_dcmtk import storescp\n"
        "with storescp(pathlib.Path(sys.argv[1])) as target:\n"
        "    print(target.server.process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", script, str(tmp_path / "store")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == -9
    process = Path("/proc", done.stdout.strip())
    deadline = time.monotonic() + 10
    while process.exists() and "State:\tZ" not in (process / "status").read_text():
        assert time.monotonic() < deadline, "the server lives"
