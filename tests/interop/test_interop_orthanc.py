"""The same samples in Orthanc's DICOMweb plugin and here, asked the same: every difference is one that docs explain.

``docs/differences-orthanc.md`` is the table ``EXPLANATIONS``; an unexplained difference fails, and so does an
explanation that nothing needs.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from harness import web
from harness.orthanc import Orthanc, is_installed, orthanc
from harness.samples_archive import Sample, ServedSamples, served_samples
from harness.web import DICOM_JSON, Answer, WebClient

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not is_installed(), reason="Orthanc or its DICOMweb plugin is not installed"),
]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "differences-orthanc.md"
LEVELS = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}
ANY_SYNTAX = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
OCTETS = 'multipart/related; type="application/octet-stream"'
Json = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One thing that the two said differently. ``theirs`` and ``ours`` are None for what one did not say."""

    about: str
    request: str
    what: str
    theirs: Any = None
    ours: Any = None


@dataclass(frozen=True)
class Both:
    """The two archives, with the samples that both took."""

    orthanc: Orthanc
    client: WebClient
    samples: list[Sample] = field(repr=False)

    def ask(self, path: str, accept: str) -> tuple[Answer, Answer]:
        """Their answer and ours."""
        return self.orthanc.get(path, accept), self.client.get(path, accept)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    root = tmp_path_factory.mktemp("orthanc")
    with (
        served_samples(root / "ours") as served,
        orthanc(root / "theirs") as peer,
        closing(replace(served.client, keeps_alive=True)) as client,
    ):
        yield Both(peer, client, taken_by_both(served, peer))


def taken_by_both(served: ServedSamples, peer: Orthanc) -> list[Sample]:
    """Store in Orthanc what is here; what it refuses is left out, and taken out here."""
    headers, body = web.multipart([("application/dicom", sample.raw) for sample in served.samples])
    answer = peer.request("POST", "/studies", {**headers, "Accept": DICOM_JSON}, body)
    taken = {item["00081155"]["Value"][0] for item in answer.json["00081199"]["Value"]}
    left = [sample for sample in served.samples if sample.instance not in taken]
    for study in {sample.study for sample in left}:
        served.running.delete_study(study)
        for sample in served.samples:
            if sample.study == study and sample.instance in taken:
                peer.request("DELETE", f"/studies/{study}", {})
    gone = {sample.study for sample in left}
    return [sample for sample in served.samples if sample.study not in gone]


# -- what is asked


def searches(samples: list[Sample]) -> Iterator[tuple[str, str]]:
    """Paths by level: every kind of matching, with values that the samples have."""
    ct = next(sample for sample in samples if sample.path.name == "CT_small.dcm")
    file = ct.read()
    name = quote(str(file.PatientName))
    for query in (
        "",
        f"StudyInstanceUID={ct.study}",
        f"0020000D={ct.study}",
        f"PatientID={file.PatientID}",
        f"PatientID={str(file.PatientID)[:2]}*",
        f"PatientID=?{str(file.PatientID)[1:]}",
        f"PatientName={name}",
        f"PatientName={name.lower()}",
        f"PatientName={name[:6]}*",
        f"StudyDate={file.StudyDate}",
        f"StudyDate=20040101-{file.StudyDate}",
        "StudyDate=20040101-",
        "StudyDate=-20040101",
        "StudyTime=070000-080000",
        f"StudyDescription={quote(file.StudyDescription)}",
        "StudyDescription=*e*",
        f"StudyID={file.StudyID}",
        "AccessionNumber=*",
        "ModalitiesInStudy=CT",
        f"PatientID={file.PatientID}&StudyDate={file.StudyDate}&ModalitiesInStudy=CT",
        f"PatientID={file.PatientID}&ModalitiesInStudy=MR",
        f"PatientID={file.PatientID}&includefield=StudyDescription&includefield=00101020",
        f"PatientID={file.PatientID}&includefield=all",
        "PatientID=nobody",
    ):
        yield "studies", f"/studies?{query}"
    for path in ("/series?", f"/studies/{ct.study}/series?"):
        for query in ("", "Modality=CT", f"SeriesInstanceUID={ct.series}", f"SeriesNumber={file.SeriesNumber}"):
            yield "series", path + query
        yield "series", f"{path}Modality=CT&PatientID={file.PatientID}&includefield=SeriesDescription"
    for path in (
        "/instances?",
        f"/studies/{ct.study}/instances?",
        f"/studies/{ct.study}/series/{ct.series}/instances?",
    ):
        for query in (f"SOPInstanceUID={ct.instance}", f"SOPClassUID={ct.sop_class}", "Modality=MR", "Rows=128"):
            yield "instances", path + query
        yield "instances", f"{path}InstanceNumber={file.InstanceNumber}&includefield=all"


def search_differences(both: Both) -> Iterator[Difference]:
    for level, path in searches(both.samples):
        request = re.sub(r"[0-9]+(\.[0-9]+){6,}", "UID", path)
        theirs, ours = both.ask(path, DICOM_JSON)
        if theirs.status != ours.status:
            yield Difference("search", request, "status", theirs.status, ours.status)
        left, right = (by_uid(answer, LEVELS[level]) for answer in (theirs, ours))
        for uid in left.keys() ^ right.keys():
            yield Difference("search", request, "result", *(side.get(uid) for side in (left, right)))
        for uid in left.keys() & right.keys():
            yield from attribute_differences("search", request, left[uid], right[uid])


def by_uid(answer: Answer, tag: str) -> dict[str, Json]:
    results = json.loads(answer.content) if answer.content else []
    return {result[tag]["Value"][0]: result for result in results}


def attribute_differences(about: str, request: str, theirs: Json, ours: Json, path: str = "") -> Iterator[Difference]:
    for tag in sorted(theirs.keys() | ours.keys()):
        one, other = theirs.get(tag), ours.get(tag)
        if one is not None and other is not None and one["vr"] == other["vr"] == "SQ":
            items, its = one.get("Value", []), other.get("Value", [])
            if len(items) != len(its):
                yield Difference(about, request, path + tag, one, other)
            for item, twin in zip(items, its, strict=False):
                yield from attribute_differences(about, request, item, twin, f"{path}{tag}.")
        elif one != other:
            yield Difference(about, request, path + tag, one, other)


def metadata_differences(both: Both) -> Iterator[Difference]:
    for sample in both.samples:
        theirs, ours = both.ask(f"{sample.url}/metadata", DICOM_JSON)
        if (theirs.status, ours.status) != (200, 200):
            yield Difference("metadata", sample.path.name, "status", theirs.status, ours.status)
            continue
        yield from attribute_differences("metadata", sample.path.name, theirs.json[0], ours.json[0])
        yield from bulkdata_differences(both, sample, theirs.json[0], ours.json[0])


def bulkdata_differences(both: Both, sample: Sample, theirs: Json, ours: Json) -> Iterator[Difference]:
    """What lies behind the links that Orthanc gives, compared with what we give for the same attribute."""
    for tag, attribute in theirs.items():
        if "BulkDataURI" not in attribute or tag not in ours:
            continue
        answer = both.orthanc.get(attribute["BulkDataURI"].removeprefix(both.orthanc.base_url), "*/*")
        if answer.status != 200:
            yield Difference("bulk data", sample.path.name, tag, answer.status)
            continue
        one = answer.content if answer.media_type != "multipart/related" else b"".join(p for _, p in answer.parts)
        other = content_of(both, ours[tag])
        if one != other:
            yield Difference("bulk data", sample.path.name, tag, one, other)


def content_of(both: Both, attribute: Json) -> bytes | None:
    if "InlineBinary" in attribute:
        return b64decode(attribute["InlineBinary"])
    if "BulkDataURI" not in attribute:
        return None
    answer = both.client.get(attribute["BulkDataURI"].removeprefix(both.client.base_url), ANY_SYNTAX)
    return b"".join(part for _, part in answer.parts) if answer.status == 200 else None


def frame_differences(both: Both) -> Iterator[Difference]:
    for sample in both.samples:
        file = sample.read()
        if "PixelData" not in file:
            continue
        path = f"{sample.url}/frames/{'1,2' if int(file.get('NumberOfFrames') or 1) > 1 else '1'}"
        accept = ANY_SYNTAX if file.file_meta.TransferSyntaxUID.is_encapsulated else OCTETS
        theirs, ours = both.ask(path, accept)
        if theirs.status != ours.status:
            yield Difference("frames", sample.path.name, "status", theirs.status, ours.status)
        elif theirs.status == 200:
            left, right = ([part for _, part in answer.parts] for answer in (theirs, ours))
            if left != right:
                yield Difference("frames", sample.path.name, "content", left, right)


@pytest.fixture(scope="module")
def differences(both: Both) -> list[Difference]:
    return [*search_differences(both), *metadata_differences(both), *frame_differences(both)]


# -- why


@dataclass(frozen=True)
class Explanation:
    """Why some differences are right: what Orthanc does, what is done here, and by which clause."""

    about: str
    orthanc: str
    strongroom: str
    clause: str
    covers: Callable[[Difference], Any] = field(repr=False)


def _is_binary(attribute: Any) -> bool:
    return isinstance(attribute, dict) and bool({"BulkDataURI", "InlineBinary"} & attribute.keys())


def _text(attribute: Any) -> str:
    return json.dumps(attribute, ensure_ascii=False) if attribute else ""


def _stripped(attribute: Any) -> Any:
    """An attribute without padding in its values, and without empty component groups."""
    if not isinstance(attribute, dict):
        return attribute
    values = []
    for value in attribute.get("Value", ()):
        if isinstance(value, dict):
            values.append({group: text for group, text in value.items() if text})
        else:
            values.append(value.strip() if isinstance(value, str) else value)
    return {"vr": attribute["vr"], "Value": values}


def _plain(value: str | None) -> str:
    return value or ""


def _is_of_study(difference: Difference) -> bool:
    return difference.request.startswith("/studies/UID/")


EXPLANATIONS: tuple[Explanation, ...] = (
    Explanation(
        "search",
        "200 with an empty array if nothing matches",
        "204 without content",
        "PS3.18 10.6.3.1",
        lambda d: d.what == "status" and (d.theirs, d.ours) == (200, 204),
    ),
    Explanation(
        "search",
        "percent-encoded values are compared as they are written, so that `%5E` is no caret",
        "they are decoded first",
        "RFC 3986 2.1",
        lambda d: d.what == "result" and d.theirs is None and "%" in d.request,
    ),
    Explanation(
        "search",
        "a range of dates matches studies without a date",
        "it does not: there is nothing that lies in it",
        "PS3.4 C.2.2.2.5",
        lambda d: d.what == "result" and "StudyDate=-" in d.request and "Value" not in d.theirs["00080020"],
    ),
    Explanation(
        "search",
        "`*` matches no empty value",
        "it matches any, so that it is universal matching",
        "PS3.4 C.2.2.2.4",
        lambda d: d.what == "result" and d.request.endswith("AccessionNumber=*") and d.theirs is None,
    ),
    Explanation(
        "search",
        "text is compared without regard to case in every attribute",
        "in person names only",
        "PS3.4 C.2.2.2.1",
        lambda d: d.what == "result" and d.request.endswith("StudyDescription=*e*") and d.ours is None,
    ),
    Explanation(
        "search",
        "Retrieve URL of its own",
        "Retrieve URL of its own",
        "PS3.18 10.6.3.3",
        lambda d: d.what == "00081190" and d.theirs is not None and d.ours is not None,
    ),
    Explanation(
        "search",
        "no Instance Availability",
        "Instance Availability: ONLINE",
        "PS3.18 tables 10.6.3-3 to 10.6.3-5",
        lambda d: d.what == "00080056" and d.theirs is None,
    ),
    Explanation(
        "search",
        "Specific Character Set ISO_IR 100, though JSON is in UTF-8",
        "ISO_IR 192, and none if all values are ASCII",
        "PS3.18 F.2, 8.8.2",
        lambda d: d.what == "00080005",
    ),
    Explanation(
        "search",
        "characters that its own default character set does not have are dropped",
        "text is kept in Unicode",
        "PS3.5 6.1.2",
        lambda d: d.theirs is not None and not _text(d.ours).isascii() and d.what.isalnum() and len(d.what) == 8,
    ),
    Explanation(
        "search",
        "not all attributes of the level and those above are returned, and none that is empty",
        "all that the archive keeps, if they are required or asked for; an empty one as empty",
        "PS3.18 10.6.3.3, 8.3.4.3",
        lambda d: d.theirs is None and d.ours is not None and d.what not in ("result", "status"),
    ),
    Explanation(
        "search",
        "attributes of the study in every series and instance of `/studies/{study}/...`",
        "only if they are asked for: whoever names the study knows them",
        "PS3.18 tables 10.6.3-4, 10.6.3-5",
        lambda d: d.ours is None and _is_of_study(d) and d.what not in ("result", "status"),
    ),
    Explanation(
        "metadata",
        "binary values always by link, in other words than ours",
        "short ones inline, others by link; the bytes are compared below",
        "PS3.18 F.2.6, F.2.7",
        lambda d: _is_binary(d.theirs) and _is_binary(d.ours),
    ),
    Explanation(
        "metadata",
        "no Pixel Data where it is compressed",
        "a link to its frames",
        "PS3.18 F.2.6",
        lambda d: d.what.endswith("7FE00010") and d.theirs is None,
    ),
    Explanation(
        "metadata",
        "Specific Character Set as in the file, though JSON is in UTF-8",
        "ISO_IR 192",
        "PS3.18 F.2",
        lambda d: d.what.endswith("00080005"),
    ),
    Explanation(
        "metadata",
        "numbers of type FL below about 1e-28 are written as 0",
        "as the shortest decimal that reads back as the same number",
        "PS3.18 F.2.3",
        lambda d: "FL" in _text(d.ours) and all(abs(number) < 1e-28 for number in d.ours["Value"]),
    ),
    Explanation(
        "metadata",
        "padding is kept in some values, and empty component groups in names",
        "neither has a meaning, and both are left out",
        "PS3.5 6.2, PS3.18 F.2.2",
        lambda d: _stripped(d.theirs) == _stripped(d.ours),
    ),
    Explanation(
        "metadata",
        "text of type UT is cut into values at every backslash",
        "it is one value: a backslash is a character of it",
        "PS3.5 6.2",
        lambda d: d.ours and d.ours["vr"] == "UT" and "\\".join(map(_plain, d.theirs["Value"])) == d.ours["Value"][0],
    ),
    Explanation(
        "metadata",
        "multi-byte characters and code extensions are not decoded; in a file with ISO_IR 13 the backslash between "
        "values becomes a yen sign, and numbers are lost",
        "they are; a backslash divides values of VRs that no character set applies to",
        "PS3.5 6.1.2.3, 6.1.2.5",
        lambda d: d.request in ("chrH32.dcm", "J2K_pixelrep_mismatch.dcm"),
    ),
)


def explanation_of(difference: Difference) -> Explanation | None:
    return next((each for each in EXPLANATIONS if each.about == difference.about and each.covers(difference)), None)


HEAD = """# Differences from Orthanc

pydicom's samples, as far as both take them, in Orthanc 1.10.1 with its DICOMweb plugin 1.7 (Debian 12) and here, asked
the same: searches on every level with every kind of matching, the metadata of every instance, its bulk data and its
frames. `tests/interop/test_interop_orthanc.py` fails for any other difference, and for a line here that none needs.
Frames and bulk data are the same bytes in both.

| in | Orthanc | Strongroom | by |
|---|---|---|---|
"""


def page() -> str:
    """What docs have to say."""
    return HEAD + "".join(
        f"| {each.about} | {each.orthanc} | {each.strongroom} | {each.clause} |\n" for each in EXPLANATIONS
    )


def test_every_difference_is_explained(differences: list[Difference]) -> None:
    unexplained = [each for each in differences if explanation_of(each) is None]
    assert unexplained == []


def test_frames_and_bulk_data_are_the_same(differences: list[Difference]) -> None:
    assert [each for each in differences if each.about in ("frames", "bulk data")] == []


def test_every_explanation_is_needed(differences: list[Difference]) -> None:
    used = {id(explanation_of(each)) for each in differences}
    assert [each for each in EXPLANATIONS if id(each) not in used] == []


def test_the_table_in_docs_is_this_one() -> None:
    assert PAGE.exists(), page()
    assert PAGE.read_text(encoding="utf-8") == page()


def test_there_is_enough_to_compare(both: Both) -> None:
    assert len(both.samples) > 100
