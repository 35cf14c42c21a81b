"""What is seen of web servers, open and behind logins, well and badly configured, and of those that mean harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.probe_certificates import Issuer, Subject
from harness.probe_http import Asked, Page, Site, json_page, web
from harness.probe_listener import Visit, listening
from harness.probe_nginx import Server, nginx, redirect_to
from harness.probe_observed import judged
from harness.probe_products import LOCKED, OPEN
from harness.probe_session import FAST, Probed, probed, target_with
from strongroom.probe.connecting import connect
from strongroom.probe.model import Answer, Channel, Identity, Observation
from strongroom.probe.tls import transport
from strongroom.probe.web.site import MOST_CONNECTIONS, default_credentials, look, strange_certificates

NAME = "WINTERBOTTOM"


def looked_at(port: int, steps: tuple[Callable[..., None], ...] = (look,), **fields: Any) -> Probed:
    """A port after these steps, and those that they need."""
    made = probed(target_with(http_ports=(port,)), **{"rates": replace(FAST, answer_s=2.0), **fields})
    for step in (connect, transport.handshakes, *steps):
        step(made.session)
    return made


def all_of(made: Probed, step: str, channel: Channel = Channel.PLAIN) -> list[Observation]:
    return list(made.session.all_found(step, channel=channel))


def one_of(made: Probed, step: str, channel: Channel = Channel.PLAIN) -> Observation:
    found = all_of(made, step, channel)
    assert len(found) == 1, [seen.details for seen in found]
    return found[0]


FOUND_OPEN = {
    "dcm4chee-arc": ("dcm4chee-arc", ""), "OHIF": ("OHIF viewer", ""), "Dicoogle": ("Dicoogle", "3.3.1"),
    "MedDream": ("MedDream", ""), "PACSOne": ("PacsOne", "6.6.2"), "Conquest": ("Conquest DICOM server", "1.5.0c"),
    "Oviyam": ("Oviyam", "2.8.2"), "Weasis": ("Weasis", ""), "Stone": ("Orthanc", "1.12.3"),
}  # fmt: skip
FOUND_LOCKED = {"dcm4chee-arc": "dcm4chee-arc", "PACSOne": "PacsOne", "Oviyam": "Oviyam", "Stone": "Orthanc"}


@pytest.mark.parametrize("name", sorted(FOUND_OPEN))
def test_an_open_product_is_recognised_with_its_version(name: str) -> None:
    with web(OPEN[name]) as site:
        made = looked_at(site.port)
    product, version = FOUND_OPEN[name]
    found = [seen for seen in all_of(made, "http.paths") if seen.details.get("product") == product]
    assert any(seen.details["open"] and seen.answer is Answer.DONE for seen in found)
    assert version in {seen.details.get("version", "") for seen in found}
    assert made.session.connections <= MOST_CONNECTIONS + 2


@pytest.mark.parametrize("name", sorted(LOCKED))
def test_nothing_behind_a_login_is_taken_for_open(name: str) -> None:
    with web(LOCKED[name]) as site:
        made = looked_at(site.port)
    found = all_of(made, "http.paths")
    assert not any(seen.details.get("open") for seen in found)
    expected = FOUND_LOCKED.get(name)
    if expected:
        assert {seen.details["product"] for seen in found if seen.details.get("login")} == {expected}


def test_only_gets_and_one_options_leave_at_this_level() -> None:
    with web(OPEN["Stone"]) as site:
        looked_at(site.port)
        assert site.methods == {"GET", "OPTIONS"}
        assert len(site.paths("OPTIONS")) == 1
        assert not any("/studies/" in path or "StudyInstanceUID" in path for path in site.paths())


def test_a_page_for_every_path_is_no_product() -> None:
    everything = Page(200, "<title>Our hospital</title>orthanc explorer 2, oviyam, weasis, conquest, uniview")
    with web(Site({"/*": everything})) as site:
        made = looked_at(site.port)
    assert one_of(made, "http.paths").answer is Answer.FAILED
    assert one_of(made, "http.paths").details["reason"] == "no page of a known product"


def test_a_server_that_repeats_the_path_is_no_product() -> None:
    def echo(asked: Asked) -> Page:
        return json_page({"message": "Unknown resource", "uri": asked.target})

    with web(Site({"/*": lambda asked: replace(echo(asked), status=404)})) as site:
        made = looked_at(site.port)
    assert one_of(made, "http.paths").answer is Answer.FAILED


def test_one_login_for_everything_costs_few_questions() -> None:
    with web(LOCKED["Conquest"]) as site:
        made = looked_at(site.port)
        assert len(site.asked) <= 20
    assert one_of(made, "http.paths").answer is Answer.REFUSED


def test_what_a_server_calls_itself_is_shown_in_known_words_only() -> None:
    page = Page(200, f"<title>{NAME}^ROSALIND 19510407 DICOM Viewer</title>", headers={"Server": f"{NAME}/1.2"})
    with web(Site({"/*": page})) as site:
        made = looked_at(site.port)
    details = one_of(made, "http.root").details
    assert details["title"] == "AAA^AAA 999 AAA Aaaa"
    assert details["server"] == "AAA/9.9"
    assert NAME not in made.log


def test_the_page_is_judged_that_a_redirect_leads_to() -> None:
    policy = {"Content-Security-Policy": "default-src 'self'", "X-Frame-Options": "DENY"}
    for headers, verdict in (({}, "warn"), (policy, "pass")):
        page = Page(200, "<html><title>Orthanc Explorer</title></html>", headers=headers)
        with web(Site({"/": Page(301, "", headers={"Location": "/app/", **policy}), "/app/": page})) as site:
            made = looked_at(site.port)
        (finding,) = [each for each in judged(list(made.session.known)).findings if each.check_id == "SP-031"]
        assert str(finding.verdict) == verdict


def test_a_redirect_is_followed_where_it_stays_and_nowhere_else() -> None:
    def visited(location: str) -> list[str]:
        page = Page(302, "", headers={"Location": location})
        with web(Site({"/": page, "/app/": Page(200, "<title>Orthanc Explorer</title>")})) as site:
            looked_at(site.port)
            return site.paths()

    assert "/app/" in visited("/app/")
    assert visited("//elsewhere.invalid/app/")[1] != "/app/"
    assert "/app/" not in visited("http://elsewhere.invalid/app/")


def test_plain_http_that_leads_to_https_is_asked_nothing_more() -> None:
    with web(Site({"/*": Page(301, "", headers={"Location": "https://pacs.invalid/"})})) as site:
        made = looked_at(site.port)
        assert len(site.asked) == 1
    root = one_of(made, "http.root")
    assert (root.details["to_https"], root.details["location_host"]) == (True, "other")


@pytest.mark.parametrize(
    ("cors", "origin", "credentials"), [("reflect", "reflected", True), ("any", "any", False), ("", "none", False)]
)
def test_who_may_read_through_a_browser_is_seen(cors: str, origin: str, credentials: bool) -> None:
    with web(Site({"/": Page(200, "hello")}, cors=cors)) as site:
        details = one_of(looked_at(site.port), "http.cors").details
    assert (details["allow_origin"], details["allow_credentials"]) == (origin, credentials)


def test_a_listing_is_counted_and_no_name_of_it_kept() -> None:
    with web(OPEN["S3"]) as site:
        made = looked_at(site.port)
    listing = all_of(made, "http.listing")[0]
    assert (listing.details["listing"], listing.details["dicom_files"]) == (True, 4)
    assert "ct/" not in made.log


def test_of_a_dicomdir_only_the_prefix_is_read() -> None:
    file = bytes(128) + b"DICM" + f"{NAME}^ROSALIND".encode() * 10_000
    with web(Site({"/DICOMDIR": Page(200, file, "application/octet-stream")})) as site:
        made = looked_at(site.port)
        asked = next(each for each in site.asked if each.path == "/DICOMDIR")
        assert asked.headers["range"] == "bytes=0-131"
    assert [seen.details["path"] for seen in all_of(made, "http.listing")] == ["/DICOMDIR"]
    assert NAME not in made.log


CREDENTIALS = "Basic b3J0aGFuYzpvcnRoYW5j"
LOGIN = Page(401, "", headers={"WWW-Authenticate": 'Basic realm="Orthanc Secure Area"'})


@pytest.mark.parametrize(("known", "works"), [(CREDENTIALS, True), ("Basic bm9ib2R5Om5v", False)])
def test_a_shipped_password_is_tried_once_where_the_product_is_known(known: str, works: bool) -> None:
    site = Site({"/system": json_page({"ApiVersion": 1, "DicomAet": "X"})}, login=LOGIN, credentials=known)
    with web(site) as running:
        made = looked_at(running.port, (look, default_credentials))
        tried = [asked for asked in running.asked if "authorization" in asked.headers]
    assert [asked.headers["authorization"] for asked in tried] == [CREDENTIALS]
    seen = one_of(made, "http.credentials")
    assert (seen.identity, seen.details["works"]) == (Identity.DEFAULT_CREDENTIALS, works)
    assert "orthanc:orthanc" not in made.log
    assert CREDENTIALS not in made.log


def test_a_login_that_is_a_form_is_posted_to_once() -> None:
    with web(LOCKED["Dicoogle"]) as site:
        made = looked_at(site.port, (look, default_credentials))
        posted = [asked for asked in site.asked if asked.method == "POST"]
    assert [(asked.target, asked.body) for asked in posted] == [("/login", b"username=dicoogle&password=dicoogle")]
    assert one_of(made, "http.credentials").details["works"] is False


def test_no_password_is_tried_on_what_is_open_anyway() -> None:
    with web(OPEN["Stone"]) as site:
        made = looked_at(site.port, (look, default_credentials))
        assert not any("authorization" in asked.headers for asked in site.asked)
    assert all_of(made, "http.credentials") == []


def test_no_password_is_tried_without_consent() -> None:
    with web(Site({}, login=LOGIN)) as running:
        made = looked_at(running.port, (look, default_credentials), consents=frozenset())
        assert not any("authorization" in asked.headers for asked in running.asked)
    assert one_of(made, "http.credentials").answer is Answer.NOT_ASKED


def test_a_certificate_that_is_wanted_only_in_the_answer_is_seen(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "ca")
    pair = issuer.issue("web", Subject("web"))
    mutual = f"ssl_verify_client on; ssl_client_certificate {issuer.certificate}; return 200 hello;"
    with nginx(tmp_path / "nginx", Server(mutual, pair), Server("return 200 hello;", pair)) as target:
        wanted, open_ = (looked_at(port, (look, strange_certificates)) for port in target.ports)
    seen = wanted.session.found("tls.client_certificate")
    assert seen is not None
    assert (seen.answer, seen.details["required"]) == (Answer.REFUSED, True)
    assert one_of(wanted, "http.root", Channel.TLS).answer is Answer.REFUSED
    refused = one_of(wanted, "tls.certificate_refused", Channel.TLS)
    assert (refused.answer, refused.details) == (Answer.REFUSED, {"self_signed": False, "expired": False})
    assert one_of(open_, "http.root", Channel.TLS).answer is Answer.DONE
    assert all_of(open_, "tls.certificate_refused", Channel.TLS) == []


def test_a_tls_port_is_not_taken_for_a_plain_one(tmp_path: Path) -> None:
    pair = Issuer(tmp_path / "ca").issue("web", Subject("web"))
    with nginx(
        tmp_path / "nginx", Server("return 200 hello;", pair), Server(redirect_to("https://x.invalid/"))
    ) as target:
        tls, redirecting = (looked_at(port) for port in target.ports)
    assert one_of(tls, "http.root", Channel.PLAIN).answer is Answer.OTHER
    assert one_of(tls, "http.root", Channel.TLS).answer is Answer.DONE
    assert one_of(redirecting, "http.root").details["to_https"] is True


def endless_headers(visit: Visit) -> None:
    visit.read_some()
    visit.send(b"HTTP/1.1 200 OK\r\n")
    while visit.send(b"X: y\r\n" * 1000):
        pass


def endless_body(visit: Visit) -> None:
    visit.read_some()
    visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while visit.send(b"fff\r\n" + b"x" * 0xFFF + b"\r\n"):
        pass


def dicom(visit: Visit) -> None:
    if visit.read_some():
        visit.send(b"\x07\0\0\0\0\4\0\0\2\1")


def escape_sequences(visit: Visit) -> None:
    visit.read_some()
    body = b"<title>\x1b]0;owned\x07\x1b[2J</title>"
    visit.send(
        b"HTTP/1.1 200 OK\r\nServer: \x9b31mred\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
        % (len(body), body)
    )


@pytest.mark.parametrize(
    ("handle", "answer", "most"),
    [
        (endless_headers, Answer.HOSTILE, 3),
        (dicom, Answer.OTHER, 3),
        (Visit.wait_until_closed, Answer.TIMEOUT, 3),
        (endless_body, Answer.DONE, 7),
        (escape_sequences, Answer.DONE, MOST_CONNECTIONS + 2),
    ],
)
def test_a_server_that_means_harm_costs_little(handle: Callable[[Visit], None], answer: Answer, most: int) -> None:
    with listening(handle) as server:
        made = looked_at(server.port, rates=replace(FAST, answer_s=0.7))
        assert len(server.visits) <= most
        assert server.sent_bytes < 32 * 2**20
    assert one_of(made, "http.root").answer is answer
    assert "\x1b" not in made.log
    assert "\\u001b" not in made.log
