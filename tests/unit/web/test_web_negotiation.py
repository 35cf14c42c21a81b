"""Accept headers as clients write them, and as they should not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import MalformedRequest, NotAcceptable
from strongroom.web.negotiation import (
    MAX_HEADER_CHARS,
    MAX_RANGES,
    STORED,
    Offer,
    negotiate,
    parse_media_type,
    require_utf_8,
)

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
J2K = "1.2.840.10008.1.2.4.90"

DICOM = Offer("application/dicom", True, (STORED, EXPLICIT, J2K))
SINGLE = Offer("application/dicom", False, (STORED, EXPLICIT))
OCTETS = Offer("application/octet-stream", True, (EXPLICIT,))
JPEGS = Offer("image/jpeg", True, (JPEG,))
JSON = Offer("application/dicom+json")
PLAIN_JSON = Offer("application/json")
XML = Offer("application/dicom+xml", True)
PNG = Offer("image/png")
GIF = Offer("image/gif")

STUDY = (DICOM,)
INSTANCE = (DICOM, SINGLE)
METADATA = (JSON, PLAIN_JSON, XML)
FRAMES = (JPEGS, OCTETS)
RENDERED = (PNG, GIF)


def chosen(accept: str | None, offers: tuple[Offer, ...], query: str | None = None) -> str:
    best = negotiate(accept, offers, query)[0]
    return best.content_type() + (" stored" if best.transfer_syntax == STORED else f" {best.transfer_syntax}")


PARTS = 'multipart/related; type="application/dicom"'

CASES = [
    (None, STUDY, f"{PARTS} stored"),
    ("", STUDY, f"{PARTS} stored"),
    ("*/*", STUDY, f"{PARTS} stored"),
    ('multipart/related; type="application/dicom"', STUDY, f"{PARTS} stored"),
    ("multipart/related; type=application/dicom", STUDY, f"{PARTS} stored"),
    ("multipart/related;type=application/dicom;boundary=x:y", STUDY, f"{PARTS} stored"),
    ("Multipart/Related; Type=Application/DICOM", STUDY, f"{PARTS} stored"),
    ("multipart/related", STUDY, f"{PARTS} stored"),
    ("multipart/*", STUDY, f"{PARTS} stored"),
    ('multipart/related; type="application/dicom"; transfer-syntax=*', STUDY, f"{PARTS} stored"),
    (f'multipart/related; type="application/dicom"; transfer-syntax="{J2K}"', STUDY, f"{PARTS} {J2K}"),
    (f"multipart/related; type=application/dicom; transfer-syntax={EXPLICIT}", STUDY, f"{PARTS} {EXPLICIT}"),
    (f"{PARTS}; transfer-syntax={J2K}; q=0.5, {PARTS}; transfer-syntax={EXPLICIT}", STUDY, f"{PARTS} {EXPLICIT}"),
    (f"{PARTS}; transfer-syntax=1.2.3, {PARTS}; transfer-syntax=*;q=0.1", STUDY, f"{PARTS} stored"),
    ("application/dicom", INSTANCE, "application/dicom stored"),
    (f"application/dicom; transfer-syntax={EXPLICIT}", INSTANCE, f"application/dicom; transfer-syntax={EXPLICIT} "
     f"{EXPLICIT}"),
    ("application/*", INSTANCE, "application/dicom stored"),
    ("application/dicom, multipart/related; type=application/dicom; q=0.9", INSTANCE, "application/dicom stored"),
    ("application/dicom+json", METADATA, "application/dicom+json "),
    ("application/json", METADATA, "application/json "),
    ("application/dicom+json; charset=utf-8; transfer-syntax=*", METADATA, "application/dicom+json "),
    ('multipart/related; type="application/dicom+xml"', METADATA,
     'multipart/related; type="application/dicom+xml" '),
    ("application/dicom+xml, application/dicom+json;q=0.2", METADATA, "application/dicom+json "),
    ("text/html, application/xhtml+xml, */*;q=0.8", METADATA, "application/dicom+json "),
    ("application/json;q=0.9, */*;q=0.1", METADATA, "application/json "),
    ("*/*, application/json", METADATA, "application/json "),
    ("multipart/related; type=application/octet-stream", FRAMES, 'multipart/related; type="application/octet-stream" '
     f"{EXPLICIT}"),
    ("multipart/related; type=image/*", FRAMES, f'multipart/related; type="image/jpeg" {JPEG}'),
    (f"multipart/related; type=application/octet-stream; transfer-syntax={JPEG}, multipart/related; type=image/jpeg; "
     "q=0.1", FRAMES, f'multipart/related; type="image/jpeg" {JPEG}'),
    ("multipart/related; type=application/octet-stream; transfer-syntax=*", FRAMES,
     f'multipart/related; type="application/octet-stream" {EXPLICIT}'),
    ("image/gif", RENDERED, "image/gif "),
    ("image/png;q=0.1, image/*", RENDERED, "image/gif "),
    ("image/webp,image/*,*/*;q=0.8", RENDERED, "image/png "),
    ("image/png;q=0, image/*", RENDERED, "image/gif "),
    ("image/png;q=nonsense, image/gif;q=0.5", RENDERED, "image/png "),
    ("rubbish, ;;, =, image/gif", RENDERED, "image/gif "),
    ("image/gif;", RENDERED, "image/gif "),
    (",, ,image/gif,", RENDERED, "image/gif "),
    ('image/gif; x="', RENDERED, "image/gif "),
]  # fmt: skip


@pytest.mark.parametrize(("accept", "offers", "expected"), CASES)
def test_chooses_what_is_asked_for(accept: str | None, offers: tuple[Offer, ...], expected: str) -> None:
    assert chosen(accept, offers) == expected


@pytest.mark.parametrize(
    ("accept", "offers"),
    [
        ("application/dicom", STUDY),
        ("text/plain", METADATA),
        (f"{PARTS}; transfer-syntax=1.2.3", STUDY),
        ("*/*;q=0", METADATA),
        ("image/png;q=0, image/gif;q=0.0, */*", RENDERED),
        ("multipart/related; type=image/png", RENDERED),
        ("rubbish", METADATA),
        ("multipart/form-data", STUDY),
    ],
)
def test_refuses_what_is_not_available_and_says_what_is(accept: str, offers: tuple[Offer, ...]) -> None:
    with pytest.raises(NotAcceptable) as refused:
        negotiate(accept, offers)
    assert refused.value.available
    for each in refused.value.available:
        assert negotiate(each, offers)


def test_lists_all_that_is_taken_best_first() -> None:
    choices = negotiate(
        f"{PARTS}; transfer-syntax={J2K}; q=0.5, {PARTS}; transfer-syntax={EXPLICIT};q=0.7, */*;q=0.1", STUDY
    )
    assert [(choice.transfer_syntax, choice.quality) for choice in choices] == [
        (EXPLICIT, 700),
        (J2K, 500),
        (STORED, 100),
    ]


def test_takes_the_query_parameter_first_and_the_header_where_it_does_not_help() -> None:
    assert chosen("*/*", RENDERED, "image/gif") == "image/gif "
    assert chosen("image/*", RENDERED, "image/gif") == "image/gif "
    assert chosen("image/png", RENDERED, "image/gif") == "image/png "
    assert chosen("image/png", RENDERED, "text/plain") == "image/png "
    assert chosen(None, INSTANCE, "application/dicom") == "application/dicom stored"
    with pytest.raises(NotAcceptable):
        negotiate("text/plain", RENDERED, "image/gif")


def test_says_the_boundary_without_quotes_in_the_content_type() -> None:
    assert negotiate("*/*", STUDY)[0].content_type("abc") == f"{PARTS}; boundary=abc"


@pytest.mark.parametrize("accept", ["a" * (MAX_HEADER_CHARS + 1), "image/png," * (MAX_RANGES + 1)])
def test_caps_length_and_number(accept: str) -> None:
    with pytest.raises(MalformedRequest):
        negotiate(accept, RENDERED)


def test_media_types_are_taken_apart() -> None:
    media = parse_media_type('Multipart/Related; boundary="a \\"b\\" ; c" ;type=application/dicom; Boundary=later')
    assert media.essence == "multipart/related"
    assert dict(media.parameters) == {"boundary": 'a "b" ; c', "type": "application/dicom"}


@pytest.mark.parametrize(
    "text", ["", "dicom", "a/b c", 'a/b; c="d', "a/b" + "".join(f";p{n}=1" for n in range(17)), "/", "a/"]
)
def test_media_types_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(MalformedRequest):
        parse_media_type(text)


@pytest.mark.parametrize(
    ("header", "query"),
    [(None, None), ("utf-8", None), ("*", None), ("iso-8859-1;q=0.5, utf-8;q=0.1", None), ("", '"ISO_IR 192"'),
     ("iso-8859-1, *;q=0.1", "UTF-8")],
)  # fmt: skip
def test_utf_8_is_taken(header: str | None, query: str | None) -> None:
    require_utf_8(header, query)


@pytest.mark.parametrize(
    ("header", "query"), [("iso-8859-1", None), ("utf-8;q=0, *", None), (None, "iso-8859-1"), ("utf-8", "ascii")]
)
def test_another_character_set_is_refused(header: str | None, query: str | None) -> None:
    with pytest.raises(NotAcceptable):
        require_utf_8(header, query)


@given(st.text(alphabet='*/;=, "\\qtype0.1abmultipart/related', max_size=200))
def test_any_text_ends_in_a_choice_or_a_named_refusal(text: str) -> None:
    for offers in (STUDY, METADATA, RENDERED):
        try:
            choices = negotiate(text, offers, text)
        except (NotAcceptable, MalformedRequest):
            continue
        assert choices
        assert all(choice.quality > 0 for choice in choices)
        assert [choice.quality for choice in choices] == sorted((choice.quality for choice in choices), reverse=True)
