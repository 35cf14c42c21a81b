"""What an HTTP answer is, without keeping what it says: its kind, whether it is a login, whether it lists files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from strongroom.probe.model import Answer, Detail
from strongroom.probe.web.httpclient import Response

_TITLE: Final = re.compile(rb"<title[^>]{0,200}>([^<]{0,300})", re.IGNORECASE)
_PASSWORD_FIELD: Final = re.compile(rb"type\s{0,5}=\s{0,5}[\"']?password", re.IGNORECASE)
_LOGIN_WORDS: Final = (b"j_security_check", b"kc-form-login", b"openid-connect/auth", b"oauth2/sign_in", b"saml2")
_LOGIN_PATH: Final = re.compile(r"log-?[io]n|sign[-_]?in|/auth(?:/|\?|$)|oauth|openid|saml|sso|/realms/", re.IGNORECASE)
_LISTING_MARKS: Final = (
    b"<title>index of", b"<h1>index of", b"directory listing", b"[to parent directory]", b"<h1>directory: ",
)  # fmt: skip
_DICOM_FILE: Final = re.compile(
    rb"(?:href=[\"']?|<key>)([^\"'<>?#]{0,400}?(?:\.dcm|\.dicom|dicomdir))[\"'<]", re.IGNORECASE
)
_MAX_AGE: Final = re.compile(r"max-age\s*=\s*\"?([0-9]{1,12})")
_BUCKET: Final = re.compile(rb"<(?:ListBucketResult|EnumerationResults)\b")
_CERTIFICATE_WANTED: Final = (
    b"no required ssl certificate",
    b"the ssl certificate error",
    b"client certificate required",
)
_TLS_WANTED: Final = (b"plain http request was sent to https port", b"speaking plain http to an ssl", b"requires tls")
_SCHEMES: Final = ("basic", "bearer", "digest", "negotiate", "ntlm")


def answer_of(response: Response) -> Answer:
    """Return what the status says: done, refused (a login counts as a refusal) or failed."""
    if body_kind(response) in ("certificate-wanted", "tls-wanted") or response.status in (401, 403, 407):
        return Answer.REFUSED
    if 300 <= response.status < 400:
        return Answer.REFUSED if _LOGIN_PATH.search(response.header("location")) else Answer.FAILED
    return Answer.DONE if 200 <= response.status < 300 else Answer.FAILED


def body_kind(response: Response) -> str:
    """Return the kind of a body, by what it is rather than by what it is called.

    One of: empty, coded, dicom, dicom-json, json, multipart, html, xml, pdf, image, text, other; and tls-wanted or
    certificate-wanted for the pages with which servers say that they speak to nobody otherwise.
    """
    body = response.body
    start = body[:2048].lstrip().lower()
    if response.status == 400 and any(words in body[:2048].lower() for words in _CERTIFICATE_WANTED):
        return "certificate-wanted"
    if response.status in (400, 403, 426) and any(words in body[:2048].lower() for words in _TLS_WANTED):
        return "tls-wanted"
    if not body:
        return "empty"
    if response.header("content-encoding").lower() not in ("", "identity"):
        return "coded"
    declared = response.header("content-type").partition(";")[0].strip().lower()
    if body[128:132] == b"DICM" or declared == "application/dicom":
        return "dicom"
    if declared.startswith("multipart/"):
        return "multipart"
    if start[:1] in (b"[", b"{"):
        return "dicom-json" if declared == "application/dicom+json" else "json"
    if start.startswith((b"<!doctype html", b"<html")) or b"<head" in start:
        return "html"
    if start.startswith((b"<?xml", b"<")):
        return "xml" if "html" not in declared else "html"
    if start.startswith(b"%pdf"):
        return "pdf"
    kind = declared.partition("/")[0]
    return kind if kind in ("image", "text") else "other"


def http_details(response: Response, scheme: str, host: str) -> dict[str, Detail]:
    """Return the details that every HTTP step keeps: status, scheme, what is asked for, where a redirect leads."""
    details: dict[str, Detail] = {"status": response.status, "scheme": scheme, "body_kind": body_kind(response)}
    asked = response.header("www-authenticate").partition(" ")[0].strip(",").lower()
    if asked:
        details["authenticate"] = asked if asked in _SCHEMES else "other"
    if response.header("location"):
        details["location_host"] = where_to(response.header("location"), scheme, host)
    return details


def where_to(location: str, scheme: str, host: str) -> str:
    """Return where a redirect leads: "own", "own-https" (the same host by HTTPS), "own-http" or "other"."""
    try:
        parts = urlsplit(location)
        name = parts.hostname
    except ValueError:
        return "other"
    if name is not None and name != host.lower():
        return "other"
    if parts.scheme in ("", scheme):
        return "own"
    return f"own-{parts.scheme}" if parts.scheme in ("http", "https") else "other"


def own_target(location: str, scheme: str, host: str) -> str:
    """Return the path of a redirect that stays where it is, "" of any other and of one that is too long."""
    if where_to(location, scheme, host) != "own" or len(location) > 500 or not location.isascii():
        return ""
    parts = urlsplit(location)
    path = parts.path if parts.path.startswith("/") else "/" + parts.path
    target = path + (f"?{parts.query}" if parts.query else "")
    return target if target.isprintable() and " " not in target else ""


def title_of(response: Response) -> str:
    """Return the title of a page as the server wrote it: for fingerprints and ``shown``, never to be kept."""
    found = _TITLE.search(response.body)
    return " ".join(found.group(1).decode("utf-8", "replace").split()) if found else ""


def asks_for_login(response: Response) -> bool:
    """Whether it refuses with a challenge, leads to a login, or is one."""
    if response.status in (401, 407) or (300 <= response.status < 400 and answer_of(response) is Answer.REFUSED):
        return True
    lowered = response.body.lower()
    return bool(_PASSWORD_FIELD.search(response.body)) or any(word in lowered for word in _LOGIN_WORDS)


def lists_files(response: Response) -> str:
    """Return what kind of listing it is: "directory", "bucket" or ""."""
    if response.status != 200:
        return ""
    if _BUCKET.search(response.body[:4096]):
        return "bucket"
    lowered = response.body[:8192].lower()
    return "directory" if any(mark in lowered for mark in _LISTING_MARKS) else ""


def dicom_files(response: Response) -> int:
    """Return how many names of DICOM files it has, of which no name is kept."""
    return len(_DICOM_FILE.findall(response.body))


def json_of(response: Response) -> object:
    """Return the body as JSON, None if it is none, or if it is not whole."""
    if response.cut or response.header("content-encoding").lower() not in ("", "identity"):
        return None
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        return None


def security_headers(response: Response) -> Mapping[str, Detail]:
    """Return what ``http.root`` keeps of the headers that protect a browser, and of the flags of cookies."""
    policy = response.header("content-security-policy").lower()
    frames = response.header("x-frame-options").strip().lower()
    age = _MAX_AGE.search(response.header("strict-transport-security").lower())
    details: dict[str, Detail] = {
        "hsts": age is not None and int(age.group(1)) > 0,
        "csp": bool(policy),
        "frame_options": frames in ("deny", "sameorigin") or "frame-ancestors" in policy,
    }
    cookies = [{part.strip() for part in cookie.lower().split(";")[1:]} for cookie in response.all("set-cookie")]
    if cookies:
        details["cookies_secure"] = all("secure" in flags for flags in cookies)
        details["cookies_http_only"] = all("httponly" in flags for flags in cookies)
    return details
