"""Rendered images, thumbnails and WADO-URI of every sample over HTTPS, held against pydicom's own functions."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.pixels import shown
from harness.samples_archive import Sample, ServedSamples, served_samples
from strongroom.archive.model import Event
from strongroom.pixels.syntaxes import JPEG_BASELINE, JPEG_EXTENDED, JPEG_LS, RLE

PNG, JPEG, GIF, MP4 = "image/png", "image/jpeg", "image/gif", "video/mp4"
NO_ORACLE = {JPEG_EXTENDED}
"""pydicom's plugins have no decoder for 12 bits of it."""

MULTIFRAME = "rtdose_rle.dcm"
COLOUR = "examples_rgb_color.dcm"
CT = "CT_small.dcm"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSamples]:
    with served_samples(tmp_path_factory.mktemp("rendered")) as found:
        yield found


def named(served: ServedSamples, name: str) -> Sample:
    (found,) = [each for each in served.samples if each.path.name == name]
    return found


def picture(content: bytes) -> Any:
    return Image.open(BytesIO(content))


def test_every_sample_looks_as_pydicom_shows_it(served: ServedSamples) -> None:
    different, compared = [], 0
    for each in served.samples:
        dataset = each.read()
        if "PixelData" not in dataset or str(dataset.file_meta.TransferSyntaxUID) in NO_ORACLE:
            continue
        answer = served.client.get(f"{each.url}/rendered", PNG)
        if answer.status == 406:
            different.append((each.path.name, answer.json.get("detail")))
            continue
        assert answer.status == 200, (each.path.name, answer.content)
        compared += 1
        found, wanted = np.asarray(picture(answer.content)), shown(dataset)
        if found.shape != wanted.shape or not np.array_equal(found, wanted):
            different.append((each.path.name, "differs"))
    assert compared > 40
    assert sorted(name for name, _ in different) == sorted(UNDECODABLE & {each.path.name for each in served.samples})


UNDECODABLE = {
    "MR_truncated.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm",
}
"""Samples of what cannot be decoded: too short for its frames; a code stream that begins in the middle."""


def test_windows_regions_and_sizes(served: ServedSamples) -> None:
    ct = named(served, CT)
    whole = np.asarray(picture(served.client.get(f"{ct.url}/rendered", PNG).content))
    cut = served.client.get(f"{ct.url}/rendered?viewport=20,20,10,30,-20,20", PNG)
    assert np.array_equal(np.asarray(picture(cut.content)), whole[30:50, 10:30][:, ::-1])
    narrow = served.client.get(f"{ct.url}/rendered?window=40,1,linear", PNG)
    assert set(np.unique(np.asarray(picture(narrow.content)))) == {0, 255}
    half = served.client.get(f"{ct.url}/rendered?viewport=64,64", JPEG)
    assert picture(half.content).size == (64, 64)
    assert served.client.get(f"{ct.url}/rendered?window=40,0,linear", PNG).status == 400
    assert served.client.get(f"{ct.url}/rendered?viewport=20,20,10,30,200,20", PNG).status == 400


def test_several_frames_move(served: ServedSamples) -> None:
    dose = named(served, MULTIFRAME)
    frames = int(dose.read().NumberOfFrames)
    gif = picture(served.client.get(f"{dose.url}/rendered", GIF).content)
    assert (gif.n_frames, gif.size) == (frames, (10, 10))
    video = served.client.get(f"{dose.url}/rendered", MP4)
    assert video.media_type == MP4
    assert video.content[4:12] == b"ftypisom"
    assert b"av01" in video.content
    one = served.client.get(f"{dose.url}/rendered", PNG)
    assert one.headers["content-location"].endswith(f"/frames/{(frames + 1) // 2}/rendered")
    some = served.client.get(f"{dose.url}/frames/2,3/rendered", 'multipart/related; type="image/png"')
    assert [content for _, content in some.parts] == [
        served.client.get(f"{dose.url}/frames/{number}/rendered", PNG).content for number in (2, 3)
    ]
    assert served.client.get(f"{dose.url}/frames/{frames + 1}/rendered", PNG).status == 404
    series = served.client.get(f"/studies/{dose.study}/series/{dose.series}/rendered")
    assert len(series.parts) >= frames
    assert served.client.get(f"{named(served, CT).url}/rendered", MP4).status == 406


@pytest.mark.parametrize("level", ["study", "series", "instance", "frame"])
def test_thumbnails_at_every_level(served: ServedSamples, level: str) -> None:
    ct = named(served, CT)
    path = {
        "study": f"/studies/{ct.study}",
        "series": f"/studies/{ct.study}/series/{ct.series}",
        "instance": ct.url,
        "frame": f"{ct.url}/frames/1",
    }[level]
    answer = served.client.get(f"{path}/thumbnail?viewport=50,40")
    assert (answer.status, answer.media_type) == (200, JPEG)
    assert picture(answer.content).size == (40, 40)
    again = served.client.get(f"{path}/thumbnail?viewport=50,40", If_None_Match=answer.headers["etag"])
    assert (again.status, again.content) == (304, b"")


def test_what_has_no_pixels_is_not_acceptable_as_an_image(served: ServedSamples) -> None:
    report = next(each for each in served.samples if "PixelData" not in each.read() and "SR" in each.read().Modality)
    answer = served.client.get(f"{report.url}/rendered")
    assert (answer.status, answer.media_type) == (406, "application/problem+json")
    assert answer.json["available"]


def uri(each: Sample, **more: str) -> str:
    query = {"requestType": "WADO", "studyUID": each.study, "seriesUID": each.series, "objectUID": each.instance}
    return "/wado?" + "&".join(f"{name}={value}" for name, value in {**query, **more}.items())


def test_wado_uri_gives_images_and_files(served: ServedSamples) -> None:
    ct = named(served, CT)
    image = served.client.get(uri(ct, columns="64", region="0,0,0.5,1"))
    assert (image.media_type, picture(image.content).size) == (JPEG, (64, 128))
    png = served.client.get(uri(ct, contentType="image/png", windowCenter="40", windowWidth="400"))
    same = served.client.get(f"{ct.url}/rendered?window=40,400,linear", PNG)
    assert png.content == same.content
    lossless = served.client.get(uri(ct, contentType="application/dicom", transferSyntax=JPEG_LS))
    assert lossless.headers["content-type"].endswith(JPEG_LS)
    compressed = next(each for each in served.samples if each.read().file_meta.TransferSyntaxUID == RLE)
    plain = served.client.get(uri(compressed, contentType="application/dicom"))
    assert plain.headers["content-type"].endswith("1.2.840.10008.1.2.1")


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"anonymize": "yes"}, 400),
        ({"presentationUID": "1.2"}, 400),
        ({"requestType": "OTHER"}, 400),
        ({"objectUID": "x"}, 400),
        ({"objectUID": "1.2.3.4"}, 404),
        ({"frameNumber": "2"}, 404),
        ({"frameNumber": "0"}, 400),
        ({"windowCenter": "40"}, 400),
        ({"rows": "0"}, 400),
        ({"region": "0,0,2,1"}, 400),
        ({"imageQuality": "101"}, 400),
        ({"contentType": "image/tiff"}, 406),
        ({"contentType": "application/dicom", "rows": "10"}, 400),
        ({"transferSyntax": JPEG_BASELINE}, 400),
    ],
)
def test_wado_uri_refuses_what_it_does_not_do(served: ServedSamples, more: dict[str, str], status: int) -> None:
    assert served.client.get(uri(named(served, CT), **more)).status == status


def test_a_rendered_image_is_in_the_trail_from_before_to_after(served: ServedSamples) -> None:
    ct = named(served, CT)
    answer = served.client.get(f"{ct.url}/rendered?viewport=33,33", PNG)  # of a length that no other one has

    def is_its_end(event: Event) -> bool:
        return event.details.get("phase") == "end" and event.details.get("bytes") == len(answer.content)

    def is_its_beginning(event: Event) -> bool:
        return event.details.get("phase") == "begin" and event.details.get("studies") == (ct.study,)

    end = served.running.wait_for_event(is_its_end, log="https-1")
    begin = served.running.wait_for_event(is_its_beginning, log="https-1")
    assert begin.details["service"] == "wado-rs"
    assert (end.details["resource"], end.details["objects"]) == ("rendered", 1)
