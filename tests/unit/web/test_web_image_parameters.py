"""Parameters of rendered images: what each says, and what none may say (PS3.18 8.3.5, 9.1.2)."""

from __future__ import annotations

import pytest

from strongroom.errors import MalformedRequest
from strongroom.pixels.rendering import Annotation, IccProfile, Region, Size, Window, WindowFunction
from strongroom.web.image_parameters import (
    THUMBNAIL,
    parse_frames,
    parse_rendering,
    parse_thumbnail,
    parse_uri_rendering,
)

PNG = "image/png"


def test_nothing_asked_for_is_the_object_as_it_wants_to_be_shown() -> None:
    found = parse_rendering({"unknown": "x"}, PNG, (0,))
    assert (found.window, found.region, found.size, found.annotations) == (None, None, None, ())
    assert (found.quality, found.icc_profile) == (90, IccProfile.NO)


@pytest.mark.parametrize(
    ("text", "size", "region"),
    [
        ("100,50", Size(100, 50), None),
        ("100,50,,,,", Size(100, 50), Region()),
        ("100,50,10,20,30,40", Size(100, 50), Region(10, 20, 30, 40)),
        ("100,50,10.5,20,-30,40", Size(100, 50), Region(10.5, 20, 30, 40, flip_x=True)),
        ("100,50,,,-512,-512", Size(100, 50), Region(0, 0, 512, 512, flip_x=True, flip_y=True)),
    ],
)
def test_viewport(text: str, size: Size, region: Region | None) -> None:
    found = parse_rendering({"viewport": text}, PNG, (0,))
    assert (found.size, found.region) == (size, region)


def test_window_annotation_quality_and_profile() -> None:
    query = {"window": "-600.5,1500,sigmoid", "annotation": "technique,patient", "quality": "1", "iccprofile": "srgb"}
    found = parse_rendering(query, PNG, (0,))
    assert found.window == Window(-600.5, 1500, WindowFunction.SIGMOID)
    assert found.annotations == (Annotation.PATIENT, Annotation.TECHNIQUE)
    assert (found.quality, found.icc_profile) == (1, IccProfile.SRGB)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("viewport", ""), ("viewport", "100"), ("viewport", "100,0"), ("viewport", "0,100"), ("viewport", "-1,5"),
        ("viewport", "100,100,1"), ("viewport", "1,1,1,1,0,1"), ("viewport", "1,1,-1,0,1,1"), ("viewport", "1e9,1"),
        ("viewport", "1,1,nan,0,1,1"), ("viewport", "65536,1"), ("window", "40,400"), ("window", "40,0.5,linear"),
        ("window", "40,0,sigmoid"), ("window", "x,400,linear"), ("window", "40,400,LINEAR"), ("window", "inf,1,linear"),
        ("window", "1_0,400,linear"), ("quality", "0"), ("quality", "101"), ("quality", "9.5"), ("quality", "٣"),
        ("annotation", ""), ("annotation", "patient,all"), ("iccprofile", "adobergb"), ("window", "1," * 200),
    ],
)  # fmt: skip
def test_what_is_refused(name: str, text: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_rendering({name: text}, PNG, (0,))
    assert len(text) < 4 or text not in str(caught.value)


def test_thumbnails_take_a_size_only() -> None:
    assert parse_thumbnail({"window": "nonsense"}, PNG, (0,)).size == THUMBNAIL
    assert parse_thumbnail({"viewport": "64,32"}, PNG, (0,)).size == Size(64, 32)
    with pytest.raises(MalformedRequest):
        parse_thumbnail({"viewport": "64,32,0,0,1,1"}, PNG, (0,))


def test_frames() -> None:
    assert parse_frames("1, 7,3", 3) == (1, 7, 3)
    for text in ("", "0", "1,,2", "1-3", "1,2,3,4", "-1", "99999999999"):
        with pytest.raises(MalformedRequest):
            parse_frames(text, 3)


def test_wado_uri() -> None:
    query = {"rows": "100", "region": "0.25,0,0.75,1", "windowCenter": "40", "windowWidth": "400", "imageQuality": "50"}
    found = parse_uri_rendering(query, PNG, (0,))
    assert found.size == Size(0, 100)
    assert found.region == Region(0.25, 0.0, 0.5, 1.0, is_normalized=True)
    assert (found.window, found.quality) == (Window(40, 400), 50)


@pytest.mark.parametrize(
    "query",
    [
        {"windowWidth": "400"}, {"windowCenter": "x", "windowWidth": "1"}, {"rows": "-1"}, {"columns": "1.5"},
        {"region": "0,0,1"}, {"region": "0.5,0,0.5,1"}, {"region": "-0.1,0,1,1"}, {"region": "0,0,1,1.01"},
    ],
)  # fmt: skip
def test_what_wado_uri_refuses(query: dict[str, str]) -> None:
    with pytest.raises(MalformedRequest):
        parse_uri_rendering(query, PNG, (0,))
