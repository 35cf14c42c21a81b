"""All that can be retrieved of every sample over HTTPS: by dicomweb-client, by curl, and held against pydicom."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.encaps import generate_frames

from harness.samples_archive import Sample, ServedSamples, read_quietly, served_samples
from strongroom.dicom.part10 import parse_file_header

pytestmark = [
    pytest.mark.interop,
    # Of the clients, whose connections the garbage collector closes.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSamples]:
    with served_samples(tmp_path_factory.mktemp("retrieved")) as found:
        yield found


@pytest.fixture(scope="module")
def dicomweb(served: ServedSamples) -> Iterator[DICOMwebClient]:
    with requests.Session() as session:
        session.trust_env = False  # or the machine's own authorities would take the place of ours
        session.verify = str(served.client.authority)
        session.headers["Authorization"] = f"Bearer {served.client.token}"
        yield DICOMwebClient(served.client.base_url, session=session)


def data_set_of(raw: bytes) -> bytes:
    return raw[parse_file_header(raw[:65536]).data_set_offset :]


def named(served: ServedSamples, name: str) -> Sample:
    (found,) = [each for each in served.samples if each.path.name == name]
    return found


def dimse_values(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """A data set without what the DICOM JSON model leaves out: group lengths, and padding that means nothing."""
    for element in list(dataset):
        if element.tag.element == 0:
            del dataset[element.tag]
    return dataset


def test_every_sample_comes_out_as_it_went_in(served: ServedSamples) -> None:
    assert len(served.samples) > 80
    for sample in served.samples:
        answer = served.client.get(sample.url, DICOM)
        assert answer.status == 200, sample.path.name
        ((headers, content),) = answer.parts
        assert data_set_of(content) == data_set_of(sample.raw), sample.path.name
        assert headers["content-type"].startswith("application/dicom; transfer-syntax=")
        alone = served.client.get(sample.url, "application/dicom; transfer-syntax=*")
        assert alone.content == content
        assert int(alone.headers["content-length"]) == len(content)


def test_dicomweb_client_retrieves_study_series_and_instance(served: ServedSamples, dicomweb: DICOMwebClient) -> None:
    sample = named(served, "CT_small.dcm")
    wanted = sample.read()
    uids = (sample.study, sample.series, sample.instance)
    any_syntax = (("application/dicom", "*"),)
    assert dicomweb.retrieve_instance(*uids, media_types=any_syntax) == wanted
    for found in (
        dicomweb.retrieve_study(sample.study, media_types=any_syntax),
        dicomweb.retrieve_series(*uids[:2], media_types=any_syntax),
        list(dicomweb.iter_series(*uids[:2], media_types=any_syntax)),
    ):
        of_series = {each.instance for each in served.samples if each.study == sample.study}
        assert {each.SOPInstanceUID for each in found} == of_series


def test_metadata_of_every_sample_reads_back_as_the_sample_is(served: ServedSamples) -> None:
    different = []
    for sample in served.samples:
        answer = served.client.get(f"{sample.url}/metadata", "application/dicom+json")
        assert answer.status == 200, (sample.path.name, answer.content)
        (metadata,) = answer.json
        assert list(metadata) == sorted(metadata)
        different += [(sample.path.name, *each) for each in differences(served, sample, metadata)]
    assert not different


def differences(served: ServedSamples, sample: Sample, metadata: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    """What pydicom's JSON reader has otherwise than its file reader, bulk data followed by its URI."""

    def fetch(tag: str, vr: str, uri: str) -> object:
        root = served.client.base_url
        assert uri.startswith(root + sample.url), uri
        return served.client.get(uri.removeprefix(root), "*/*").content if tag != "7FE00010" else b""

    dataset = sample.read()
    big_endian = not dataset.original_encoding[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.Dataset.from_json(json.dumps(metadata), fetch)
        yield from compared(found, dimse_values(dataset), big_endian, "")


def compared(found: Any, wanted: Any, big_endian: bool, path: str) -> Iterator[tuple[object, ...]]:
    for element in wanted:
        here = f"{path}{element.tag}"
        if element.tag.element == 0 or element.tag in (0x00080005, 0x7FE00010):
            continue  # text is UTF-8 and says so; pixel data has tests of its own
        if element.tag not in found:
            yield here, "missing"
            continue
        got = found[element.tag]
        if element.VR == "SQ" and got.VR == "SQ":
            if len(got.value) != len(element.value):
                yield here, "items"
            for number, (ours, theirs) in enumerate(zip(got.value, element.value, strict=False)):
                yield from compared(ours, theirs, big_endian, f"{here}/{number}/")
        elif got.VR == "UN" and element.tag.is_private:
            continue  # pydicom knows private attributes by a dictionary of its own
        elif big_endian and element.VR in ("OW", "OF", "OD"):
            continue  # pydicom leaves them as they are stored
        elif got.value != element.value and stripped(got.value) != stripped(element.value):
            yield here, got.VR, element.VR


def stripped(value: Any) -> object:
    """A value without spaces that mean nothing (PS3.5 6.2)."""
    if isinstance(value, str):
        return value.strip()
    return [stripped(each) for each in value] if isinstance(value, list | pydicom.multival.MultiValue) else value


def test_metadata_is_the_same_in_json_and_xml(served: ServedSamples, dicomweb: DICOMwebClient) -> None:
    from strongroom.dicom.xmlmodel import from_xml

    for name in ("CT_small.dcm", "chrX1.dcm", "rtplan.dcm"):
        sample = named(served, name) if any(each.path.name == name for each in served.samples) else served.samples[0]
        (json_metadata,) = dicomweb.retrieve_series_metadata(sample.study, sample.series)[:1]
        answer = served.client.get(
            f"/studies/{sample.study}/series/{sample.series}/metadata",
            'multipart/related; type="application/dicom+xml"',
        )
        (_, xml), *_ = answer.parts
        assert {tag: each["vr"] for tag, each in from_xml(xml).items()} == {
            tag: each["vr"] for tag, each in json_metadata.items()
        }


def test_frames_of_every_sample_are_those_that_pydicom_has(served: ServedSamples) -> None:
    checked = 0
    for sample in served.samples:
        dataset = sample.read()
        if "PixelData" not in dataset or "Rows" not in dataset:
            continue
        count = int(dataset.get("NumberOfFrames", 1) or 1)
        numbers = ",".join(map(str, range(1, count + 1)))
        answer = served.client.get(
            f"{sample.url}/frames/{numbers}", f'multipart/related; type="{OCTETS}"; transfer-syntax=*'
        )
        assert answer.status == 200, (sample.path.name, answer.content)
        frames = [content for _, content in answer.parts]
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            assert frames == list(generate_frames(dataset.PixelData, number_of_frames=count)), sample.path.name
        else:
            assert frames == native_frames(dataset, count), sample.path.name
        checked += 1
    assert checked > 50


def native_frames(dataset: Any, count: int) -> list[bytes]:
    pixels = dataset.PixelData
    if dataset.BitsAllocated == 1:
        bits = np.unpackbits(np.frombuffer(pixels, np.uint8), bitorder="little")
        size = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel
        return [np.packbits(bits[at * size : (at + 1) * size], bitorder="little").tobytes() for at in range(count)]
    if not dataset.original_encoding[1] and dataset["PixelData"].VR == "OW":
        word = max(2, dataset.BitsAllocated // 8)
        pixels = np.frombuffer(pixels, f">u{word}").astype(f"<u{word}").tobytes()
    samples = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else dataset.SamplesPerPixel
    size = dataset.Rows * dataset.Columns * samples * dataset.BitsAllocated // 8
    return [pixels[at * size : (at + 1) * size] for at in range(count)]


def test_dicomweb_client_retrieves_frames(served: ServedSamples, dicomweb: DICOMwebClient) -> None:
    ct, jpeg = named(served, "CT_small.dcm"), named(served, "SC_rgb_jpeg_dcmtk.dcm")
    (frame,) = dicomweb.retrieve_instance_frames(ct.study, ct.series, ct.instance, [1])
    assert frame == ct.read().PixelData
    (stream,) = dicomweb.retrieve_instance_frames(
        jpeg.study, jpeg.series, jpeg.instance, [1], media_types=(("image/jpeg", "1.2.840.10008.1.2.4.50"),)
    )
    assert stream == next(generate_frames(jpeg.read().PixelData, number_of_frames=1))


def test_dicomweb_client_retrieves_bulk_data(served: ServedSamples, dicomweb: DICOMwebClient) -> None:
    sample = named(served, "CT_small.dcm")
    metadata = dicomweb.retrieve_instance_metadata(sample.study, sample.series, sample.instance)
    # It leaves the port out of Host, and the URIs in an answer are made of what Host says.
    uri = metadata["7FE00010"]["BulkDataURI"].replace("https://127.0.0.1/", f"https://127.0.0.1:{served.client.port}/")
    pixels = sample.read().PixelData
    assert dicomweb.retrieve_bulkdata(uri) == [pixels]
    part = served.client.get(uri.removeprefix(served.client.base_url), OCTETS, Range="bytes=10-19")
    assert (part.status, part.content) == (206, pixels[10:20])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_goes_on_where_it_was_cut_off(served: ServedSamples, tmp_path: Any) -> None:
    sample = named(served, "CT_small.dcm")
    target = tmp_path / "instance.dcm"
    url = served.client.base_url + sample.url
    command = ["curl", "-sS", "--fail", "--cacert", str(served.client.authority), "-H", "Accept: application/dicom"]
    command += ["-H", f"Authorization: Bearer {served.client.token}", "-o", str(target), url]
    subprocess.run(command, check=True)
    whole = target.read_bytes()
    target.write_bytes(whole[:1000])
    subprocess.run([*command, "-C", "-"], check=True)
    assert target.read_bytes() == whole
    assert read_quietly(whole).SOPInstanceUID == sample.instance


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_keeps_its_connection_and_decompresses(served: ServedSamples) -> None:
    sample = named(served, "CT_small.dcm")
    url = f"{served.client.base_url}{sample.url}/metadata"
    command = ["curl", "-sS", "--compressed", "--cacert", str(served.client.authority), "-w", "%{num_connects} "]
    command += ["-H", f"Authorization: Bearer {served.client.token}", "-o", "/dev/null", "-o", "/dev/null", url, url]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "1 0 "


def test_a_study_as_a_zip_archive_is_one(served: ServedSamples) -> None:
    sample = named(served, "CT_small.dcm")
    answer = served.client.get(f"/studies/{sample.study}", "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        of_study = [each for each in served.samples if each.study == sample.study]
        assert sorted(archive.namelist()) == sorted(f"{each.series}/{each.instance}.dcm" for each in of_study)
        assert data_set_of(archive.read(f"{sample.series}/{sample.instance}.dcm")) == data_set_of(sample.raw)


def test_any_uncompressed_sample_can_be_had_in_explicit_vr(served: ServedSamples) -> None:
    checked = 0
    for sample in served.samples:
        dataset = sample.read()
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_encapsulated or syntax == pydicom.uid.ExplicitVRLittleEndian:
            continue
        answer = served.client.get(sample.url, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
        assert answer.status == 200, (sample.path.name, answer.content)
        converted = read_quietly(answer.content)
        assert converted.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        if syntax.is_little_endian:
            assert converted.get("PixelData") == dataset.get("PixelData")
        checked += 1
    assert checked >= 2
