"""The requests that OHIF 3 makes, header by header, answered in a way that it can use.

Read in its sources: ``extensions/default/src/DicomWebDataSource`` (search, metadata, bulk data) and
``platform/core/src/utils/generateAcceptHeader.ts`` (frames), with dicomweb-client of JavaScript underneath.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from pydicom.encaps import generate_frames

from harness.samples import sample
from harness.samples_archive import Sample, ServedSamples, read_sample, served_samples
from harness.web import DICOM_JSON, Answer

STUDY_FIELDS = "00081030,00080060,00080090,00100030"
PAGE = f"limit=101&offset=0&fuzzymatching=true&includefield={quote(STUDY_FIELDS, safe='')}"
ANY_SYNTAX = 'multipart/related; type="application/octet-stream"; transfer-syntax="*"'
NAMED_SYNTAX = 'multipart/related; type="image/jpeg"; transfer-syntax="1.2.840.10008.1.2.4.50"; transfer-syntax="*"'
UNQUOTED = "multipart/related; type=application/octet-stream; transfer-syntax=*"
EXPLICIT_LITTLE_ENDIAN, JPEG_BASELINE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSamples]:
    with served_samples(tmp_path_factory.mktemp("ohif")) as served:
        yield served


@pytest.fixture(scope="module")
def ct() -> Sample:
    return read_sample(sample("CT_small.dcm"))


@pytest.fixture(scope="module")
def jpeg() -> Sample:
    return read_sample(sample("examples_ybr_color.dcm"))


def text(attribute: dict[str, object]) -> str:
    """OHIF's getString."""
    values = attribute.get("Value")
    return str(values[0]) if isinstance(values, list) and values else ""


def documented() -> set[str]:
    """The Accept headers of the table in docs."""
    page = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
    return set(re.findall(r"\| `([^`|]+)` \|$", page.read_text(encoding="utf-8"), re.M))


def test_the_documentation_names_the_accept_headers_that_are_tried() -> None:
    assert documented() == {DICOM_JSON, ANY_SYNTAX, NAMED_SYNTAX, UNQUOTED, "image/jpeg"}


def test_the_study_list_has_the_columns_that_are_shown(served: ServedSamples, ct: Sample) -> None:
    file = ct.read()
    name, patient_id, date = str(file.PatientName)[2:8], str(file.PatientID)[1:], file.StudyDate
    query = f"PatientName=*{name.lower()}*&00100020=*{patient_id}*&ModalitiesInStudy=CT,MR&StudyDate=19700102-{date}"
    (study,) = served.client.get(f"/studies?{query}&{PAGE}", DICOM_JSON).json
    assert text(study["0020000D"]) == ct.study
    assert text(study["00080020"]) == date
    assert {"00080030", "00080050", "00080061", "00080090", "00100010", "00100020", "00100030"} <= study.keys()
    assert {"00081030", "00201208"} <= study.keys()
    assert study["00100010"]["Value"][0]["Alphabetic"] == str(file.PatientName)
    assert text(study["00201208"]) == "1"


def test_studies_are_found_by_a_list_of_uids(served: ServedSamples, ct: Sample, jpeg: Sample) -> None:
    uids = quote(f"{ct.study}\\{jpeg.study}", safe="")
    found = served.client.get(f"/studies?StudyInstanceUID={uids}&{PAGE}", DICOM_JSON).json
    assert {text(each["0020000D"]) for each in found} == {ct.study, jpeg.study}


def test_a_study_without_results_is_an_empty_answer(served: ServedSamples) -> None:
    answer = served.client.get(f"/studies?AccessionNumber=*nothing*&{PAGE}", DICOM_JSON)
    assert (answer.status, answer.content) == (204, b"")


def test_the_series_list_has_what_is_sorted_by(served: ServedSamples, ct: Sample) -> None:
    (series,) = served.client.get(f"/studies/{ct.study}/series?includefield=0008103E%2C00080021", DICOM_JSON).json
    assert text(series["0020000E"]) == ct.series
    assert text(series["0020000D"]) == ct.study
    assert text(series["00080060"]) == "CT"
    assert text(series["00201209"]) == "1"
    assert {"00200011", "00080021", "0008103E"} <= series.keys()


def test_series_metadata_says_how_to_make_an_image(served: ServedSamples, ct: Sample) -> None:
    (instance,) = served.client.get(f"/studies/{ct.study}/series/{ct.series}/metadata", DICOM_JSON).json
    for tag in ("00280010", "00280011", "00280100", "00280103", "00280004", "00080016", "00080018"):
        assert text(instance[tag])
    assert "BulkDataURI" in instance["7FE00010"]


def frame(answer: Answer) -> tuple[str, bytes]:
    """The transfer syntax and the bytes of the one part, as cornerstone's loader takes them apart."""
    assert answer.status == 200
    assert answer.media_type == "multipart/related"
    ((headers, content),) = answer.parts
    found = re.search(r'transfer-syntax="?([0-9.]+)', headers["content-type"])
    return found[1] if found else EXPLICIT_LITTLE_ENDIAN, content


@pytest.mark.parametrize("accept", [ANY_SYNTAX, UNQUOTED])
def test_an_uncompressed_frame_is_its_pixels(served: ServedSamples, ct: Sample, accept: str) -> None:
    assert frame(served.client.get(f"{ct.url}/frames/1", accept)) == (EXPLICIT_LITTLE_ENDIAN, ct.read().PixelData)


@pytest.mark.parametrize("accept", [ANY_SYNTAX, NAMED_SYNTAX, UNQUOTED])
def test_a_compressed_frame_is_one_that_the_viewer_can_decode(served: ServedSamples, jpeg: Sample, accept: str) -> None:
    """As it is stored, or decompressed, and the part says which."""
    file = jpeg.read()
    syntax, content = frame(served.client.get(f"{jpeg.url}/frames/2", accept))
    if syntax == JPEG_BASELINE:
        stored = list(generate_frames(file.PixelData, number_of_frames=file.NumberOfFrames))
        assert content.rstrip(b"\0") == stored[1].rstrip(b"\0")
    else:
        assert syntax == EXPLICIT_LITTLE_ENDIAN
        assert len(content) == file.Rows * file.Columns * file.SamplesPerPixel


def test_bulk_data_comes_by_the_uri_in_the_metadata(served: ServedSamples, ct: Sample) -> None:
    (instance,) = served.client.get(f"/studies/{ct.study}/series/{ct.series}/metadata", DICOM_JSON).json
    path = instance["7FE00010"]["BulkDataURI"].removeprefix(served.client.base_url)
    ((_, content),) = served.client.get(path, ANY_SYNTAX).parts
    assert content == ct.read().PixelData


@pytest.mark.parametrize("what", ["thumbnail", "rendered"])
def test_images_come_rendered(served: ServedSamples, ct: Sample, jpeg: Sample, what: str) -> None:
    for each in (ct, jpeg):
        answer = served.client.get(f"{each.url}/{what}", "image/jpeg")
        assert (answer.status, answer.media_type) == (200, "image/jpeg")
        assert answer.content.startswith(b"\xff\xd8")


def test_priors_of_a_patient_are_found(served: ServedSamples, ct: Sample) -> None:
    found = served.client.get(f"/studies?00100020={quote(str(ct.read().PatientID))}&{PAGE}", DICOM_JSON).json
    assert ct.study in {text(each["0020000D"]) for each in found}


def test_no_other_origin_may_read_answers(served: ServedSamples) -> None:
    """The archive sends no CORS headers: a page of somebody else's learns nothing from a browser that has a token."""
    answer = served.client.get("/studies?limit=1", DICOM_JSON, Origin="https://viewer.example")
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
