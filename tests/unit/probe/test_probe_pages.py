"""What pages of servers are taken for: by what they are, not by what they are called."""

from __future__ import annotations

import pytest

from strongroom.probe.model import Answer
from strongroom.probe.web.httpclient import Response
from strongroom.probe.web.pages import (
    answer_of,
    asks_for_login,
    body_kind,
    dicom_files,
    http_details,
    json_of,
    lists_files,
    own_target,
    security_headers,
    title_of,
    where_to,
)


def page(body: bytes = b"", status: int = 200, **headers: str) -> Response:
    return Response(status, tuple((name.replace("_", "-"), value) for name, value in headers.items()), body)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (page(b""), "empty"),
        (page(b"<!DOCTYPE html><title>x</title>", content_type="application/json"), "html"),
        (page(b'[{"x": 1}]', content_type="application/dicom+json"), "dicom-json"),
        (page(b' {"x": 1}', content_type="text/html"), "json"),
        (page(bytes(128) + b"DICM"), "dicom"),
        (page(b"\x1f\x8b", content_encoding="gzip"), "coded"),
        (page(b"<?xml version='1.0'?><a/>"), "xml"),
        (page(b"--x", content_type="multipart/related; boundary=x"), "multipart"),
        (page(b"hello", content_type="text/plain"), "text"),
        (page(b"<html>400 No required SSL certificate was sent</html>", 400), "certificate-wanted"),
        (page(b"<html>The plain HTTP request was sent to HTTPS port</html>", 400), "tls-wanted"),
        (page(b"\0\1\2"), "other"),
    ],
)
def test_a_body_is_what_it_begins_with(response: Response, kind: str) -> None:
    assert body_kind(response) == kind


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (page(status=204), Answer.DONE),
        (page(status=401), Answer.REFUSED),
        (page(status=302, location="/auth/realms/dcm4che/protocol/openid-connect/auth?x"), Answer.REFUSED),
        (page(status=302, location="/pacs/login.php"), Answer.REFUSED),
        (page(status=302, location="/app/explorer.html"), Answer.FAILED),
        (page(status=404), Answer.FAILED),
        (page(b"No required SSL certificate was sent", 400), Answer.REFUSED),
        (page(status=503), Answer.FAILED),
    ],
)
def test_a_status_is_told_in_a_word(response: Response, answer: Answer) -> None:
    assert answer_of(response) is answer


@pytest.mark.parametrize(
    ("response", "login"),
    [
        (page(b"<input type=password>"), True),
        (page(b"<form action='j_security_check'>"), True),
        (page(status=401), True),
        (page(status=302, location="/oauth2/sign_in"), True),
        (page(status=302, location="/blogging"), False),
        (page(b"<p>welcome, no password needed</p>"), False),
        (page(status=404), False),
    ],
)
def test_a_login_is_told_from_a_page_that_speaks_of_one(response: Response, login: bool) -> None:
    assert asks_for_login(response) is login


@pytest.mark.parametrize(
    ("location", "where", "target"),
    [
        ("/app/", "own", "/app/"),
        ("app/?x=1", "own", "/app/?x=1"),
        ("http://pacs.example:8042/app/", "own", "/app/"),
        ("https://pacs.example/", "own-https", ""),
        ("https://evil.example/", "other", ""),
        ("//evil.example/", "other", ""),
        ("file:///etc/passwd", "other", ""),
        ("http://[::1", "other", ""),
        ("/x\r\nInjected: y", "own", ""),
        ("/" + "x" * 600, "own", ""),
    ],
)
def test_a_redirect_is_followed_only_where_it_stays(location: str, where: str, target: str) -> None:
    assert where_to(location, "http", "pacs.example") == where
    assert own_target(location, "http", "pacs.example") == target


def test_details_hold_words_of_ours_only() -> None:
    asked = page(b"{}", 401, www_authenticate='Basic realm="Dr. Miller"', location="https://x.example/")
    assert http_details(asked, "http", "pacs") == {
        "status": 401, "scheme": "http", "body_kind": "json", "authenticate": "basic", "location_host": "other",
    }  # fmt: skip
    assert http_details(page(www_authenticate="Miller"), "https", "pacs")["authenticate"] == "other"


def test_listings_and_the_dicom_files_in_them_are_counted() -> None:
    nginx = page(b'<html><head><title>Index of /</title></head><a href="a.dcm">a.dcm</a><a href="DICOMDIR">D</a>')
    assert (lists_files(nginx), dicom_files(nginx)) == ("directory", 2)
    bucket = page(b"<ListBucketResult><Contents><Key>DOE^JANE/1.dcm</Key></Contents></ListBucketResult>")
    assert (lists_files(bucket), dicom_files(bucket)) == ("bucket", 1)
    assert lists_files(page(b"<title>Index of nothing</title>", 404)) == ""
    assert lists_files(page(b"<title>Welcome</title>")) == ""


def test_headers_that_protect_are_told_apart() -> None:
    assert security_headers(page()) == {"hsts": False, "csp": False, "frame_options": False}
    good = page(
        strict_transport_security="max-age=31536000; includeSubDomains",
        content_security_policy="default-src 'self'; frame-ancestors 'none'",
        set_cookie="s=1; Path=/; Secure; HttpOnly",
    )
    assert security_headers(good) == {
        "hsts": True, "csp": True, "frame_options": True, "cookies_secure": True, "cookies_http_only": True,
    }  # fmt: skip
    bad = page(strict_transport_security="max-age=0", x_frame_options="ALLOWALL", set_cookie="secure=httponly")
    assert security_headers(bad) == {
        "hsts": False, "csp": False, "frame_options": False, "cookies_secure": False, "cookies_http_only": False,
    }  # fmt: skip


def test_json_is_read_only_if_it_is_whole() -> None:
    assert json_of(page(b"[1, 2]")) == [1, 2]
    assert json_of(Response(200, (), b"[1, 2]", cut=True)) is None
    assert json_of(page(b"[1, 2]", content_encoding="gzip")) is None
    assert json_of(page(b"[" * 100_000)) is None
    assert json_of(page(b"\xff")) is None


def test_a_title_is_found_wherever_it_stands() -> None:
    assert title_of(page(b"<TITLE lang=en>\n Orthanc\n Explorer </TITLE>")) == "Orthanc Explorer"
    assert title_of(page(b"no title")) == ""
