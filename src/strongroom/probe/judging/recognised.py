"""Which product it is and what it tells of its version, from what the server says of itself: a hint, and no proof."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from strongroom.probe.judging.catalogue import catalogue
from strongroom.probe.judging.vulnerable import faults_of, version_of_implementation
from strongroom.probe.model import NEEDS_NO_SECRET, Answer, Observation

_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "product": ("http.paths", "http.rest", "http.root"),
    "implementation_version": ("dicom.associate",),
    "implementation_uid": ("dicom.associate",),
    "server": ("http.root",),
}
"""Details that name a product, the most specific first, and the steps that have them."""

_SPELLED: Final[Mapping[str, str]] = {"dcm4che": "dcm4chee", "offis": "dcmtk"}
"""Other words for a product than its key."""
_VERSION: Final = re.compile(r"\d+(?:\.\d+)+[a-z]?(?![a-z])")
_MASKED: Final = re.compile(r"(?<![0-9.])9+(?:\.9+)*(?![0-9.])")
"""What ``shown`` makes of a number that it does not show: the shape of one, and no version."""
_NAMED_CVES: Final = 2
"""CVEs that a sentence names; how many more there are it says."""
_VERSION_DETAILS: Final = ("version", "implementation_version", "server")


@dataclass(frozen=True, slots=True)
class Recognised:
    """Keys of the catalogue's products, most specific first; ``version`` is a value of the fact of that name."""

    products: tuple[str, ...]
    version: str
    faults: tuple[str, ...]
    """What is known of the version, one sentence for each fault."""


def recognise(observations: Sequence[Observation]) -> Recognised:
    """Return what the observations of one subject tell of its product."""
    found: dict[str, None] = {}
    for detail, steps in _WORDS.items():
        for seen in observations:
            text = seen.details.get(detail)
            if seen.step in steps and isinstance(text, str):
                found.update(dict.fromkeys(_products_in(text)))
    has_web = any(seen.step.startswith("http.") and seen.answer in _TOLD for seen in observations)
    if "dcmtk" in found and "orthanc" not in found and has_web:
        found["orthanc"] = None  # it is built on DCMTK and says so of itself; DCMTK's own servers have no web interface
    versions = list(_versions(observations, tuple(found)))
    faults = tuple(dict.fromkeys(words for product, version in versions for words in _faults(product, version)))
    return Recognised(tuple(found), _verdict(observations, faults), faults)


def _products_in(text: str) -> Iterable[str]:
    words = set(re.findall(r"[a-z]+[0-9]*[a-z]*", text.lower()))
    for word, key in _SPELLED.items():
        if word in words:
            yield key
    yield from (key for key in catalogue().products if key in words)


def _versions(observations: Sequence[Observation], products: Sequence[str]) -> Iterable[tuple[str, str]]:
    for seen in observations:
        if seen.step.startswith("tls."):  # the version of TLS is nobody's secret
            continue
        for detail in _VERSION_DETAILS:
            text = seen.details.get(detail)
            if not isinstance(text, str):
                continue
            text = _MASKED.sub("", text)
            if built := version_of_implementation(text):
                yield built
            elif number := _VERSION.search(text):
                named = [*_products_in(f"{seen.details.get('product', '')} {text}")]
                product = named[0] if named else products[0] if products and detail == "version" else ""
                yield product, number.group()


def _faults(product: str, version: str) -> Iterable[str]:
    for fault in faults_of(product, version):
        more = len(fault.cve) - _NAMED_CVES
        cves = ", ".join(fault.cve[:_NAMED_CVES]) + (f" and {more} more" if more > 0 else "")
        yield f"{catalogue().products[product]} below {fault.below}: {cves}, {fault.what}"


def _verdict(observations: Sequence[Observation], faults: Sequence[str]) -> str:
    if faults:
        return "vulnerable"
    told = [each for each in observations if each.identity in NEEDS_NO_SECRET]
    if any(True for _ in _versions(told, ())):
        return "named"
    asked = any(seen.step in ("dicom.associate", "http.root") and seen.answer in _TOLD for seen in observations)
    return "silent" if asked else "unknown"


_TOLD: Final = frozenset({Answer.DONE, Answer.REFUSED, Answer.FAILED, Answer.ABORTED})
