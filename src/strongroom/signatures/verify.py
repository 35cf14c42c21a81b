"""Check every digital signature of a data set: what it covers, whether it holds, and whose it is (PS3.15 annex C)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from strongroom.dicom.dictionary import TRANSFER_SYNTAXES, TransferSyntax
from strongroom.dicom.elements import ScanLimits
from strongroom.dicom.stream import Read
from strongroom.errors import LimitExceeded, MalformedDataset, Refused
from strongroom.signatures.certificates import MAC_ALGORITHMS, Anchors, SignerCertificate
from strongroom.signatures.contents import (
    DIGITAL_SIGNATURES,
    MAC_PARAMETERS,
    Contents,
    Level,
    contents_of,
    signed_levels,
)
from strongroom.signatures.coverage import NEVER_OF_THE_ITEM, Coverage, is_content, is_signable
from strongroom.signatures.items import Item, parse_date_time
from strongroom.signatures.model import CertifiedTime, Checked, Report, Trust, Validity
from strongroom.signatures.profiles import BASE, met_by
from strongroom.signatures.revocation import RevocationLists
from strongroom.signatures.timestamp import check_timestamp

MAX_INFLATED_BYTES: Final = 64 << 20
MAX_PASSES: Final = 8
"""How often all of a data set may be read for signatures that cover different things of it."""

NAMED_FIRST: Final = frozenset(
    {
        0x00080018, 0x00080020, 0x00080060, 0x00100010, 0x00100020, 0x00100030, 0x00100040, 0x00200060, 0x00200062,
        0x0020000D, 0x0020000E, 0x00280030, 0x00281052, 0x00281053, 0x0040A730, 0x00420011, 0x7FE00010,
    }
)  # fmt: skip
"""What says whose an object is, of what and when, and what it shows: nobody should overlook that it is not signed."""
MOST_UNSIGNED: Final = 1000

_HEADER_BYTES: Final = 8
_MAC_ID: Final = 0x04000005
_MAC_TRANSFER_SYNTAX: Final = 0x04000010
_MAC_ALGORITHM: Final = 0x04000015
_ELEMENTS_SIGNED: Final = 0x04000020
_UID: Final = 0x04000100
_SIGNED_AT: Final = 0x04000105
_CERTIFICATE_TYPE: Final = 0x04000110
_CERTIFICATE: Final = 0x04000115
_SIGNATURE: Final = 0x04000120
_TIMESTAMP_TYPE: Final = 0x04000305
_TIMESTAMP: Final = 0x04000310
_PURPOSE: Final = 0x04000401
_CODE_VALUE: Final = 0x00080100
_VERIFICATION_FLAG: Final = 0x0040A493


@dataclass(frozen=True, slots=True)
class Rules:
    """What signatures are checked against. ``proven_at`` is when the data set certainly was there: now, or when it was
    received. ``max_signatures`` are of one data set."""

    anchors: Anchors
    proven_at: datetime
    scan: ScanLimits
    max_signatures: int = 64
    lists: RevocationLists = ()


@dataclass(frozen=True, slots=True)
class _Tags:
    """Those of one level: all, what may be signed, and what says something, in the order in which it is named."""

    present: frozenset[int]
    signable: frozenset[int]
    content: tuple[int, ...]

    @classmethod
    def of(cls, level: Level) -> _Tags:
        """Of the elements of ``level``."""
        content = {node.tag for node in level.elements if is_content(node)}
        return cls(
            frozenset(node.tag for node in level.elements),
            frozenset(node.tag for node in level.elements if is_signable(node)),
            tuple(sorted(content, key=lambda tag: (tag not in NAMED_FIRST, tag))),
        )


@dataclass(frozen=True, slots=True)
class _Mac:
    """An item of MAC Parameters Sequence (4FFE,0001)."""

    algorithm: str
    transfer_syntax: str
    listed: frozenset[int]


def verify(read: Read, size_bytes: int, transfer_syntax: TransferSyntax, rules: Rules) -> Report:
    """Return what there is to say of every signature in the data set behind ``read``, at its top level and in items.

    A data set that cannot be read to its end, or has more signatures than ``max_signatures``, or ones that cover more
    different things than ``MAX_PASSES``, gives a report with its ``problem``. What ``read`` raises passes.
    """
    found: list[Checked] = []
    limits = replace(rules.scan, max_inflated_bytes=min(rules.scan.max_inflated_bytes, MAX_INFLATED_BYTES))
    try:
        contents = contents_of(read, size_bytes, transfer_syntax, limits)
        work = _Work(contents, rules, big_endian=not transfer_syntax.little_endian)
        for level in signed_levels(contents.elements):
            for checked in work.check(level):
                found.append(checked)
                if len(found) > rules.max_signatures:
                    raise LimitExceeded("max_signatures", rules.max_signatures)
    except (MalformedDataset, LimitExceeded) as error:
        return Report(tuple(found[: rules.max_signatures]), str(error))
    return Report(tuple(found))


class _Work:
    """One data set. Keeps the state of MACs, for signatures over the same elements are common."""

    def __init__(self, contents: Contents, rules: Rules, *, big_endian: bool) -> None:
        self._contents = contents
        self._rules = rules
        self._big_endian = big_endian
        self._coverages: dict[str, Coverage] = {}
        self._hashed: dict[tuple[object, ...], Any] = {}
        self._budget_bytes = MAX_PASSES * contents.size_bytes

    def check(self, level: Level) -> Iterator[Checked]:
        """Check the signatures of one data set or item, in their order."""
        macs, tags = self._macs(level), _Tags.of(level)
        for node in level.elements:
            for item in node.items or () if node.tag == DIGITAL_SIGNATURES else ():
                yield self._signature(level, tags, Item(self._contents, item), macs)

    def _macs(self, level: Level) -> dict[int, _Mac]:
        macs: dict[int, _Mac] = {}
        for node in level.elements:
            for raw in node.items or () if node.tag == MAC_PARAMETERS else ():
                if len(macs) >= self._rules.max_signatures:
                    raise LimitExceeded("max_signatures", self._rules.max_signatures)
                item = Item(self._contents, raw)
                mac = _Mac(
                    item.text(_MAC_ALGORITHM), item.text(_MAC_TRANSFER_SYNTAX), frozenset(item.tags(_ELEMENTS_SIGNED))
                )
                macs.setdefault(item.number(_MAC_ID), mac)
        return macs

    def _signature(self, level: Level, tags: _Tags, item: Item, macs: dict[int, _Mac]) -> Checked:
        base = Checked(
            place=level.place,
            uid=item.text(_UID),
            validity=Validity.UNCHECKED,
            reason="",
            signed_at=item.text(_SIGNED_AT),
            purpose=self._purpose(item),
        )
        mac = macs.get(item.number(_MAC_ID))
        if mac is None:
            return replace(base, reason="no-mac-parameters")
        unsigned = [tag for tag in tags.content if tag not in mac.listed]
        base = replace(
            base,
            mac_algorithm=mac.algorithm,
            transfer_syntax=mac.transfer_syntax,
            signed=tuple(sorted(mac.listed & tags.signable)),
            unsigned=tuple(unsigned[:MOST_UNSIGNED]),
            unsigned_count=len(unsigned),
            missing=tuple(sorted(mac.listed - tags.present)),
        )
        try:
            return self._judged(base, level, tags, item, mac)
        except Refused as refused:
            return replace(base, reason=refused.reason)

    def _judged(self, base: Checked, level: Level, tags: _Tags, item: Item, mac: _Mac) -> Checked:
        """``base``, with everything that the certificate and the key say. Raises Refused if there is no such key."""
        certificate = SignerCertificate(item.value(_CERTIFICATE))
        base = replace(base, signer=certificate.signer, weak=certificate.weaknesses(mac.algorithm))
        if item.text(_CERTIFICATE_TYPE) != "X509_1993_SIG":
            return replace(base, reason="certificate-type-unknown")
        signature = item.value(_SIGNATURE)
        try:
            digest = self._digest(level, item, mac)
        except Refused as refused:
            return replace(base, reason=refused.reason)
        if not certificate.holds(signature, mac.algorithm, digest):
            return replace(base, validity=Validity.INVALID, reason="changed")
        time = self._certified_time(item, signature)
        proven_at = min(time.time, self._rules.proven_at) if time and time.time else self._rules.proven_at
        rules = self._rules
        trust, why = certificate.trust(rules.anchors, parse_date_time(base.signed_at), proven_at, rules.lists)
        base = replace(base, validity=Validity.VALID, trust=trust, trust_reason=why, time=time)
        return replace(base, profiles=self._profiles(base, level, tags, certificate.family))

    def _certified_time(self, item: Item, signature: bytes) -> CertifiedTime | None:
        kind, raw = item.text(_TIMESTAMP_TYPE), item.value(_TIMESTAMP)
        if not kind and not raw:
            return None
        if kind != "CMS_TSP":
            return CertifiedTime(None, Trust.UNKNOWN, "a type of timestamp that is not known here")
        return check_timestamp(raw, signature, self._rules.anchors, self._rules.lists)

    def _profiles(self, base: Checked, level: Level, tags: _Tags, family: str) -> tuple[str, ...]:
        if family != "RSA" or (base.time is not None and base.time.reason.startswith("a type")):
            return ()
        if level.place:
            return (BASE,)
        flag = Item(self._contents, level.elements).text(_VERIFICATION_FLAG)
        met = met_by(frozenset(base.signed), tags.signable, purpose=base.purpose, is_verified=flag == "VERIFIED")
        return (BASE, *met)

    def _purpose(self, item: Item) -> str:
        for code in item.items(_PURPOSE):
            return Item(self._contents, code).text(_CODE_VALUE)
        return ""

    # -- the MAC

    def _digest(self, level: Level, item: Item, mac: _Mac) -> bytes:
        """The MAC of what this signature covers. Raises Refused as ``Coverage.add``, and for what the MAC is not."""
        syntax = TRANSFER_SYNTAXES.get(mac.transfer_syntax)
        if syntax is None or not syntax.explicit:
            raise Refused("mac-transfer-syntax-unknown")
        name = MAC_ALGORITHMS.get(mac.algorithm)
        if name is None:
            raise Refused("mac-algorithm-unknown")
        coverage = self._coverages.get(syntax.uid)
        if coverage is None:
            coverage = Coverage(self._contents, syntax, big_endian=self._big_endian)
            self._coverages[syntax.uid] = coverage
        key = (level.place, mac)
        state = self._hashed.get(key)
        if state is None:
            state = self._hashed[key] = self._hash_of(coverage, level, mac, name)
        own = state.copy()
        coverage.add(
            [node for node in item.elements if node.tag not in NEVER_OF_THE_ITEM and is_signable(node)],
            item.elements,
            own.update,
        )
        digest: bytes = own.digest()
        return digest

    def _hash_of(self, coverage: Coverage, level: Level, mac: _Mac, name: str) -> Any:
        try:
            state = hashlib.new(name, usedforsecurity=False)
        except ValueError:  # RIPEMD-160 is not in every OpenSSL
            raise Refused("mac-algorithm-unavailable") from None
        covered = [node for node in level.elements if node.tag in mac.listed]
        for node in covered:
            if not is_signable(node):
                raise Refused("unknown-vr" if is_content(node) else "unsignable-listed")
        self._budget_bytes -= sum(_HEADER_BYTES + node.length for node in covered if node.items is None)
        self._budget_bytes -= self._contents.size_bytes if any(node.items for node in covered) else 0
        if self._budget_bytes < 0:
            raise LimitExceeded("max_signature_passes", MAX_PASSES)
        coverage.add(covered, level.elements, state.update)
        return state
