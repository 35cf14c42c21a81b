"""Clients that people use: the dicomweb-client package, and curl with the archive's CA."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import add_certs_to_session, create_session
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from harness.archives import RunningArchive
from harness.samples import sample
from harness.samples_archive import Sample, ServedSamples, read_sample, served_samples, store
from harness.web import client_of

CT = "CT_small.dcm"
MULTIFRAME = "examples_ybr_color.dcm"
DICOM_TYPE = (("application/dicom", "*"),)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSamples]:
    with served_samples(tmp_path_factory.mktemp("clients")) as served:
        yield served


@pytest.fixture
def client(served: ServedSamples) -> Iterator[DICOMwebClient]:
    session: requests.Session = add_certs_to_session(create_session(), ca_bundle=str(served.client.authority))
    session.trust_env = False  # a bundle of other CAs in the environment would stand in for ours
    session.headers["Authorization"] = f"Bearer {served.client.token}"
    with session:
        yield DICOMwebClient(served.client.base_url, session=session)


@pytest.fixture(scope="module")
def ct() -> Sample:
    return read_sample(sample(CT))


@pytest.fixture(scope="module")
def multiframe() -> Sample:
    return read_sample(sample(MULTIFRAME))


# -- dicomweb-client


def value(result: dict[str, dict[str, Any]], keyword: str) -> Any:
    """The one value of an attribute. Some samples hold dates that pydicom would refuse to load."""
    return result[f"{tag_for_keyword(keyword):08X}"]["Value"][0]


def test_dicomweb_client_searches_on_every_level(client: DICOMwebClient, served: ServedSamples, ct: Sample) -> None:
    studies = client.search_for_studies(search_filters={"StudyInstanceUID": ct.study}, fields=["StudyDescription"])
    assert [value(each, "StudyInstanceUID") for each in studies] == [ct.study]
    series = client.search_for_series(ct.study)
    assert [value(each, "SeriesInstanceUID") for each in series] == [ct.series]
    instances = client.search_for_instances(ct.study, ct.series)
    assert [value(each, "SOPInstanceUID") for each in instances] == [ct.instance]
    everything = client.search_for_instances(get_remaining=True, limit=10)
    assert {value(each, "SOPInstanceUID") for each in everything} == {each.instance for each in served.samples}


def test_dicomweb_client_matches_a_name_with_wildcards(client: DICOMwebClient, ct: Sample) -> None:
    name = str(ct.read().PatientName)
    found = client.search_for_studies(search_filters={"PatientName": f"{name[:4]}*"}, fuzzymatching=False)
    assert ct.study in {value(each, "StudyInstanceUID") for each in found}


def test_dicomweb_client_retrieves_the_same_objects(client: DICOMwebClient, ct: Sample) -> None:
    whole = client.retrieve_instance(ct.study, ct.series, ct.instance, media_types=DICOM_TYPE)
    assert whole == ct.read()
    for found in (
        client.retrieve_study(ct.study, media_types=DICOM_TYPE),
        client.retrieve_series(ct.study, ct.series, media_types=DICOM_TYPE),
        list(client.iter_series(ct.study, ct.series, media_types=DICOM_TYPE)),
    ):
        assert found == [ct.read()]


def test_dicomweb_client_reads_metadata_and_bulk_data(client: DICOMwebClient, ct: Sample) -> None:
    (metadata,) = client.retrieve_series_metadata(ct.study, ct.series)
    assert client.retrieve_instance_metadata(ct.study, ct.series, ct.instance) == metadata
    assert client.retrieve_study_metadata(ct.study) == [metadata]
    found = Dataset.from_json(metadata, lambda _tag, _vr, uri: b"".join(client.retrieve_bulkdata(uri)))
    file = ct.read()
    assert found.PixelData == file.PixelData
    assert (found.PatientName, found.Rows, found.PixelSpacing) == (file.PatientName, file.Rows, file.PixelSpacing)


def test_links_name_the_port_for_clients_that_leave_it_out(served: ServedSamples, ct: Sample) -> None:
    """dicomweb-client sends a Host header without the port, and follows the links of the answer."""
    (found,) = served.client.get(f"{ct.url}/metadata", Host="127.0.0.1").json
    assert found["7FE00010"]["BulkDataURI"] == f"{served.client.base_url}{ct.url}/bulkdata/7FE00010"
    (found,) = served.client.get(f"{ct.url}/metadata", Host="127.0.0.1:443").json
    assert found["7FE00010"]["BulkDataURI"].startswith("https://127.0.0.1:443/dicomweb/studies/")


def test_links_name_the_port_that_clients_call(running_archive: Callable[..., RunningArchive], ct: Sample) -> None:
    """Where 443 is forwarded to the archive, a Host header without a port is right."""
    client = client_of(running := running_archive(https={"workers": 1, "public_port": 443}))
    client = replace(client, token=running.add_token("reader"))
    store(client, [ct])
    (found,) = client.get(f"{ct.url}/metadata", Host="127.0.0.1").json
    assert found["7FE00010"]["BulkDataURI"].startswith("https://127.0.0.1/dicomweb/studies/")


def test_dicomweb_client_retrieves_frames(client: DICOMwebClient, ct: Sample, multiframe: Sample) -> None:
    (frame,) = client.retrieve_instance_frames(
        ct.study, ct.series, ct.instance, [1], media_types=(("application/octet-stream", "1.2.840.10008.1.2.1"),)
    )
    assert frame == ct.read().PixelData
    frames = client.retrieve_instance_frames(
        multiframe.study,
        multiframe.series,
        multiframe.instance,
        [2, 1],
        media_types=(("image/jpeg", "1.2.840.10008.1.2.4.50"),),
    )
    stored = list(pydicom.encaps.generate_frames(multiframe.read().PixelData, number_of_frames=30))
    assert [each.rstrip(b"\0") for each in frames] == [stored[1].rstrip(b"\0"), stored[0].rstrip(b"\0")]


def test_dicomweb_client_retrieves_rendered_images(client: DICOMwebClient, ct: Sample) -> None:
    raw = client.retrieve_instance_rendered(ct.study, ct.series, ct.instance, media_types=("image/png",))
    assert raw.startswith(b"\x89PNG")
    raw = client.retrieve_instance_frames_rendered(ct.study, ct.series, ct.instance, [1], media_types=("image/jpeg",))
    assert raw.startswith(b"\xff\xd8")


def test_dicomweb_client_stores(client: DICOMwebClient, ct: Sample) -> None:
    dataset = ct.read()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.100", "2.25.100.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.100.1.1"
    response = client.store_instances([dataset])
    assert [item.ReferencedSOPInstanceUID for item in response.ReferencedSOPSequence] == ["2.25.100.1.1"]
    found = client.retrieve_instance("2.25.100", "2.25.100.1", "2.25.100.1.1", media_types=DICOM_TYPE)
    assert np.array_equal(found.pixel_array, dataset.pixel_array)
    assert found == dataset


# -- curl


@pytest.fixture(scope="module")
def curl() -> str:
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed")
    return found


def run(curl: str, served: ServedSamples, *arguments: str, path: str = "", trusted: bool = True) -> tuple[int, bytes]:
    """Exit status and output; credentials come from a file, as nobody writes them on a command line."""
    config = Path(served.client.authority).with_name("curlrc")
    config.write_text(f'header = "Authorization: Bearer {served.client.token}"\n')
    options = ["--silent", "--show-error", "--fail-with-body", "--config", str(config)]
    options += ["--cacert", str(served.client.authority)] if trusted else []
    done = subprocess.run([curl, *options, *arguments, served.client.base_url + path], capture_output=True, timeout=60)
    return done.returncode, done.stdout


def test_curl_refuses_the_archive_until_its_ca_is_trusted(curl: str, served: ServedSamples) -> None:
    assert run(curl, served, path="/studies", trusted=False)[0] == 60  # CURLE_PEER_FAILED_VERIFICATION
    assert run(curl, served, path="/studies")[0] == 0


def test_curl_searches_and_retrieves(curl: str, served: ServedSamples, ct: Sample) -> None:
    status, raw = run(curl, served, path=f"/studies?StudyInstanceUID={ct.study}")
    assert status == 0
    assert json.loads(raw)[0]["0020000D"]["Value"] == [ct.study]
    status, raw = run(curl, served, "--header", "Accept: application/dicom; transfer-syntax=*", path=ct.url)
    assert status == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pydicom.dcmread(BytesIO(raw)) == ct.read()


def test_curl_stores_a_file(curl: str, served: ServedSamples, tmp_path: Path, ct: Sample) -> None:
    """``--data-binary`` of a file: one DICOM file with no multipart around it."""
    dataset = ct.read()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.200", "2.25.200.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.200.1.1"
    dataset.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    arguments = ["--header", "Content-Type: application/dicom", "--data-binary", f"@{tmp_path / 'one.dcm'}"]
    status, raw = run(curl, served, *arguments, path="/studies")
    assert (status, json.loads(raw)["00081199"]["Value"][0]["00081155"]["Value"]) == (0, ["2.25.200.1.1"])


def test_curl_gets_ranges_and_compares_entity_tags(curl: str, served: ServedSamples, ct: Sample) -> None:
    accept = ("--header", "Accept: application/dicom; transfer-syntax=*")
    whole = run(curl, served, *accept, path=ct.url)[1]
    assert run(curl, served, *accept, "--range", "128-131", path=ct.url) == (0, b"DICM")
    _, head = run(curl, served, *accept, "--head", path=ct.url)
    (tag,) = [line[5:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"etag:")]
    status, raw = run(curl, served, *accept, "--header", f"If-None-Match: {tag.decode()}", path=ct.url)
    assert (status, raw) == (0, b"")
    assert len(whole) > len(raw)
