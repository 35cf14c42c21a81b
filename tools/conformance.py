"""docs/conformance.md: the conformance statement in the template of DICOM PS3.2 annex N, made from the code's tables.

Chapters without a number of their own here have nothing to say of an archive and are left out by the template's rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from conformance_web import overview_rows, web_configuration, web_services, web_statuses
from strongroom import __version__
from strongroom.archive import refusals
from strongroom.archive.constraint import NUMBER_VRS, WILDCARD_VRS
from strongroom.archive.ingest import Verdict
from strongroom.archive.keys import ANSWERED, ATTRIBUTES, COLUMN_OF, COMPUTED, UNIQUE_KEYS, Attribute
from strongroom.archive.model import Level
from strongroom.config import Config, DicomSection, HttpsSection, LimitsSection
from strongroom.dicom import text
from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES, UID_NAMES
from strongroom.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from strongroom.dimse.status import STATUS_TABLE, Status
from strongroom.dimse.status import Service as StatusService
from strongroom.errors import Denied, LimitExceeded, MalformedDataset, Quarantined, Refused, StorageUnavailable
from strongroom.net.services import (
    QUERY_RETRIEVE,
    STORAGE_COMMITMENT,
    UNCOMPRESSED,
    VERIFICATION,
    Service,
)
from strongroom.net.tls import tls12_suites
from strongroom.types import Right
from strongroom.ul import APPLICATION_CONTEXT

Row = Sequence[object]


def table(head: Row, rows: Iterable[Row]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| " + " | ".join(map(str, head)) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
    yield ""


def _tag(number: int) -> str:
    return f"({number >> 16:04X},{number & 0xFFFF:04X})"


def _name(uid: str) -> str:
    return UID_NAMES.get(uid, uid)


_NETWORK = (
    ("Verification", "no", "yes", "echo"),
    ("Storage", "yes: sub-operations of C-MOVE and C-GET", "yes", "store; get for the SCP role of the caller"),
    ("Query/Retrieve, FIND", "no", "yes", "find"),
    ("Query/Retrieve, MOVE", "no", "yes", "move"),
    ("Query/Retrieve, GET", "no", "yes", "get"),
    ("Storage Commitment Push Model", "no", "yes", "commit"),
)


def overview() -> Iterator[str]:
    yield f"""# DICOM conformance statement

Product: Strongroom {__version__}, an archive for DICOM objects. This statement follows the template of DICOM PS3.2,
annex N. `tools/make_docs.py` makes it from the tables that the program itself runs on, and a test fails when it
differs from them.

## 1 Overview

Strongroom takes composite objects in over the DICOM upper layer and over HTTPS, keeps them sealed, and lets registered
peers and token holders find and fetch them. Nothing is served without TLS and a known caller: a caller has rights, each
given on its own, and may be limited to patients, studies, modalities or dates (its scope); what lies outside the scope
is answered as if it were not stored, in every service.

### 1.1 Content and transfer

All {len(STORAGE_SOP_CLASSES)} storage SOP classes of [annex A.A](#annex-aa-storage-sop-classes) and the private ones
that the operator names are received, stored at level 2 (full: every attribute, private ones included, byte for byte),
and sent. The archive creates no objects of its own, displays none, and changes nothing in what it stores.

### 1.2 DIMSE services
"""
    yield from table(("service class", "SCU", "SCP", "right that the caller needs"), _NETWORK)
    yield "### 1.3 DICOM web services\n"
    yield from table(("service", "user agent", "origin server"), overview_rows())
    yield """### 1.4 Media services

None on the network. `strongroom import` reads file-sets and single files of PS3.10; `strongroom export` writes a
file-set with a DICOMDIR (General Purpose; the media is the operator's).

### 1.5 Real-time video services

Not supported.

### 1.6 De-identification profiles

Not supported.

### 1.7 Specific Character Sets

All of PS3.3 C.12.1.1.2: see [5.7](#57-specific-character-sets).
"""


CONTENTS = """## 2 Table of contents

1 Overview, 2 Table of contents, 3 Introduction, 4 Implementation model, 5 Service and interoperability description,
6 Configuration, 7 Network and media communication details, 8 Security, annexes A.A to A.E.
"""

INTRODUCTION = """## 3 Introduction

### 3.1 Revision history

The history of this file in the source repository; it changes in the commit that changes what it says.

### 3.2 Audience

Whoever connects modalities, viewers, scripts or other archives to Strongroom, and knows the terms of DICOM.

### 3.3 Remarks

Conformance by itself does not warrant that two products work together. What was tried with which product is listed in
[STATUS.md](STATUS.md); differences from one other archive in
[differences-orthanc.md](differences-orthanc.md).

### 3.4 Terms and definitions

Those of the DICOM standard. *Peer*: a registered AE with its certificate. *Right*: {rights}. *Scope*: the part of the
archive that a caller is limited to. *Trail*: the audit trail, in which an act stands before its answer leaves.

### 3.5 Abbreviations

AE, AET, DIMSE, IOD, PDU, SCP, SCU, SOP, UID, VR as in the standard; QIDO-RS, WADO-RS, STOW-RS: the search, retrieve and
store transactions of PS3.18 10; WADO-URI: PS3.18 9.

### 3.6 References

NEMA PS3 / ISO 12052, Digital Imaging and Communications in Medicine (DICOM) Standard, https://dicomstandard.org
"""

IMPLEMENTATION = """## 4 Implementation model

### 4.1 Application entities and data flow

One application entity, `STRONGROOM` (its title is configurable), listens for associations; DICOMweb is served by worker
processes beside it on the same archive. Both go through the same two doors: `Ingest` for what comes in, `Reader` for
what is searched and leaves. See [ARCHITECTURE.md](../ARCHITECTURE.md).

#### 4.1.1 Functional definition of the application entity

- A C-STORE or STOW-RS object is parsed, hashed, sealed and made durable, then indexed in one transaction with its
  record in the trail; only then is success answered.
- A query is answered from the index, exactly: both databases give one answer.
- A retrieval sends the stored bytes, converted to another transfer syntax only if that is asked for or negotiated.
- A storage commitment is answered from the index, after the object's bytes have been found.

### 4.2 Sequencing of real-world activities

None is required. Objects of one study may come in any order, over any number of associations and requests at once.
"""


def services() -> Iterator[str]:
    yield "## 5 Service and interoperability description\n\n### 5.1 Mapping of services to application entities\n"
    yield from table(
        ("service", "over DIMSE", "over HTTPS"),
        (
            ("store", "C-STORE", "STOW-RS"),
            ("search", "C-FIND", "QIDO-RS"),
            ("retrieve", "C-MOVE, C-GET", "WADO-RS, WADO-URI"),
            ("commitment", "N-ACTION, N-EVENT-REPORT", "not supported"),
            ("delete", "none", "DELETE (an extension)"),
        ),
    )
    yield "### 5.2 DIMSE services\n\n#### 5.2.1 Verification\n"
    yield from table(("SOP class", "UID", "SCU", "SCP"), [(_name(VERIFICATION), VERIFICATION, "no", "yes")])
    yield """#### 5.2.5 Storage

As SCP: level 2 (full). The transfer syntax that is stored is the one that was negotiated; pixel data is not decoded.
The same SOP Instance UID again: the first copy always stays, unchanged. The same bytes, or the same content in another
lossless encoding, are answered with success. A copy that differs only in how it describes the patient or the request is
answered with the warning B000 (coercion of data elements), for the archive describes them as before, and held in
quarantine unless `screening.altered` is "refuse". Anything else is answered with a failure of [7.3](#73-status-codes).
Optional attributes are never discarded, no attribute of what is stored is changed, Digital Signatures stay valid.

As SCU, for the sub-operations of C-MOVE and C-GET: an object is sent in the transfer syntax that it is stored in; if
the receiver does not take that, an uncompressed object is converted to Explicit or Implicit VR Little Endian. There is
no conversion from or to encapsulated transfer syntaxes over DIMSE.

#### 5.2.6 Storage commitment
"""
    yield from table(("SOP class", "UID", "SCU", "SCP"), [(_name(STORAGE_COMMITMENT), STORAGE_COMMITMENT, "no", "yes")])
    yield """The report is sent over the association of the request while the peer keeps it open, else over a new one to
the peer's registered address with the roles of PS3.7 D.3.3.4, tried again with growing pauses, after a restart too.
Objects are not deleted by age, so a commitment ends only when two people have deleted the study.

#### 5.2.7 Query/Retrieve
"""
    yield from table(
        ("SOP class", "UID", "SCU", "SCP"),
        ((_name(uid), uid, "no", "yes") for uid in QUERY_RETRIEVE),
    )
    yield """Extended negotiation (PS3.4 C.5): relational queries, combined date-time matching, fuzzy matching of person
names (without it, names match without regard to case and accents, by component groups) and time zone adjustment are
agreed to where they are asked for; enhanced multi-frame conversion is not.

Matching by VR, over DIMSE and in QIDO-RS alike:
"""
    yield from table(("matching", "VRs"), _matching())
    yield """Attributes that are matched and returned. R: required, U: unique, O: optional key of PS3.4 C.6. An
attribute is taken at its level, and in relational queries and QIDO-RS at every level below. Other attributes constrain
nothing and are not returned: a C-FIND then answers status FF01, QIDO-RS a Warning header.
"""
    for level in Level:
        yield f"**{level.name.title()} level**\n"
        yield from table(("attribute", "tag", "VR", "key", "from"), _attributes(level))
    yield "**Answered at every level, never matched**\n"
    yield from table(("attribute", "tag", "VR"), ((a.keyword, _tag(a.tag), a.vr) for a in ANSWERED))
    yield from web_services(table)
    yield """### 5.4 Media services

None.

### 5.5 Real-time video services

None.

### 5.6 Cross-service considerations

What was stored over one protocol is found and retrieved over the other at once. Rights, scopes and the trail are the
same.

### 5.7 Specific Character Sets

Read in stored objects and in queries. Answers are in Unicode, encoded in ISO_IR 192, or over DIMSE in the caller's own
character set where that can express them.
"""
    yield from table(("defined term", "kind"), _charsets())


def _matching() -> Iterator[Row]:
    yield "single value, list of values (any of them)", "all that can be matched"
    yield "wildcard (`*`, `?`)", " ".join(sorted(WILDCARD_VRS))
    yield "range", "DA TM DT"
    yield "list of UIDs", "UI"
    yield "sequence (one item)", "SQ"
    yield "number by value", " ".join(sorted(NUMBER_VRS))
    yield "universal", "all"
    yield "empty value matching, multiple value matching with all values (extended negotiation)", "not supported"


_REQUIRED = {
    "PatientName", "PatientID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "Modality", "SeriesNumber",
    "InstanceNumber",
}  # fmt: skip


def _attributes(level: Level) -> Iterator[Row]:
    def key_of(attribute: Attribute) -> str:
        if attribute.tag == UNIQUE_KEYS[level]:
            return "U"
        return "R" if attribute.keyword in _REQUIRED else "O"

    for attribute in ATTRIBUTES[level]:
        where = "column" if attribute.tag in COLUMN_OF else "object"
        yield attribute.keyword, _tag(attribute.tag), attribute.vr, key_of(attribute), where
    for attribute in COMPUTED[level]:
        yield attribute.keyword, _tag(attribute.tag), attribute.vr, "O", "computed"


def _charsets() -> Iterator[Row]:
    single, extended, whole = text.defined_terms()
    yield "(empty), ISO_IR 6", "default repertoire"
    yield ", ".join(single), "single byte, without code extensions"
    yield ", ".join(extended), "with code extensions"
    yield ", ".join(whole), "multi-byte, without code extensions"


def configuration() -> Iterator[str]:
    yield """## 6 Configuration

Everything is in [configuration.md](configuration.md). What bears on communication:

### 6.1 General
"""
    yield from table(("key", "default", "meaning"), _keys("archive", ("aet",)))
    yield "### 6.2 DIMSE services\n"
    yield from table(("key", "default", "meaning"), _keys("dicom"))
    yield "Remote AEs: `strongroom peer add`, with title, certificate, rights, address and scope.\n"
    yield "### 6.3 DICOM web services\n"
    yield from web_configuration(table, _keys)
    yield "### 6.6 Audit trail\n\nThe trail is the archive's own; there is no syslog.\n"


def _keys(section: str, only: tuple[str, ...] = ()) -> Iterator[Row]:
    kind = next(field.type for field in msgspec.structs.fields(Config) if field.name == section)
    properties = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]
    for field in msgspec.structs.fields(kind):
        if not only or field.name in only:
            default = f"`{field.default}`" if field.default != () else "none"
            yield f"`{section}.{field.name}`", default, properties[field.name]["description"]


def communication() -> Iterator[str]:
    limits = LimitsSection()
    yield "## 7 Network and media communication details\n\n### 7.1 General\n"
    yield from table(
        ("parameter", "value"),
        (
            ("application context", f"{APPLICATION_CONTEXT}"),
            ("implementation class UID", IMPLEMENTATION_CLASS_UID),
            ("implementation version name", IMPLEMENTATION_VERSION_NAME),
            ("maximum PDU received", f"{limits.max_pdu_body_bytes} bytes (`limits.max_pdu_body_bytes`)"),
            ("maximum PDU sent", "what the peer announces"),
            ("associations accepted at once", f"{limits.max_associations}, {limits.max_associations_per_peer} a peer"),
            ("associations initiated at once", "one for each C-MOVE, one for commitment reports"),
            ("asynchronous operations window", "not negotiated: one operation at a time"),
            ("ARTIM", f"{limits.artim_timeout_s:g} s"),
            ("idle", f"{limits.idle_timeout_s:g} s"),
            ("one message", f"{limits.message_timeout_s:g} s and at least {limits.min_receive_bytes_per_s} bytes/s"),
            ("largest data set", f"{limits.max_message_bytes} bytes"),
        ),
    )
    yield """### 7.2 The application entity STRONGROOM

#### 7.2.1 Association acceptance

An association is accepted if the called AE title is the archive's and the calling one is a registered peer whose
certificate is the one bound to it, not revoked; else it is rejected (permanent, service user: 7 called AE title not
recognized, 3 calling AE title not recognized, 2 application context not supported, and 1 no reason for a user identity
that does not verify). A presentation context is accepted if its SOP class is in the table and the peer has a right to
it; of its transfer syntaxes the first acceptable in the peer's order is taken.
"""
    every = f"all {len(TRANSFER_SYNTAXES)} of [annex A.B](#annex-ab-transfer-syntaxes)"
    uncompressed = ", ".join(_name(uid) for uid in UNCOMPRESSED)
    rows = [(_name(VERIFICATION), VERIFICATION, uncompressed, "SCP", "none")]
    rows += [
        (
            _name(uid),
            uid,
            uncompressed,
            "SCP",
            "relational, date-time, fuzzy, zone" if s is Service.FIND else "relational",
        )
        for uid, (s, _) in QUERY_RETRIEVE.items()
    ]
    rows += [
        (_name(STORAGE_COMMITMENT), STORAGE_COMMITMENT, uncompressed, "SCP", "none"),
        (
            "storage, [annex A.A](#annex-aa-storage-sop-classes)",
            "",
            every,
            "SCP; SCU where the peer is SCP too",
            "none",
        ),
    ]
    yield from table(("abstract syntax", "UID", "transfer syntaxes", "role", "extended negotiation"), rows)
    yield """#### 7.2.2 Association initiation

For the sub-operations of a C-MOVE, to a registered peer with an address: one context for each SOP class and transfer
syntax among the objects, and one with the uncompressed transfer syntaxes for those that can be converted. For
a storage commitment report: Storage Commitment Push Model with the archive as SCP. The peer's certificate is compared
with its binding before anything is sent. There is no association without TLS in this direction.

### 7.3 Status codes

#### 7.3.1 DIMSE services

C-STORE, and STOW-RS as Failure Reason (0008,1197), B000 as Warning Reason (0008,1196):
"""
    yield from table(("status", "reason in the Error Comment and in the trail"), _store_statuses())
    for label, service, codes in _SENT:
        yield f"{label}:\n"
        yield from table(("status", "meaning", "when"), _statuses(service, codes))
    yield from web_statuses(table)


def _store_statuses() -> Iterator[Row]:
    yield "0000", "stored, or stored before (same bytes, or same content in another lossless encoding)"
    yield (
        f"{Status.COERCION_OF_DATA_ELEMENTS:04X}",
        f"`{Verdict.COERCED.value}`: stored before; the copy describes the patient or the request otherwise",
    )
    for reason in refusals.REASONS:
        yield f"{refusals.store_status(Refused(reason)):04X}", f"`{reason}`"
    held = Quarantined(refusals.SCREENING, "Q1")
    yield f"{refusals.store_status(held):04X}", f"`{refusals.comment_of(held)}`: held, not stored"
    yield f"{refusals.store_status(Refused('x')):04X}", "another refusal, by its word: a UID is missing or invalid, ..."
    yield f"{refusals.store_status(MalformedDataset('x')):04X}", "what is malformed, its tag and byte"
    yield f"{refusals.store_status(LimitExceeded('x', 0)):04X}", "`over-LIMIT`: a key of `[limits]`"
    yield f"{refusals.store_status(Denied('x')):04X}", "`no-right-store`, `no-scu-role`, `outside-scope`"
    yield (
        f"{refusals.store_status(StorageUnavailable('x')):04X}",
        "disk, index, trail, or a full quarantine: send again",
    )
    yield f"{refusals.store_status(RuntimeError()):04X}", "a fault of the archive"


_SENT: Sequence[tuple[str, StatusService, dict[int, str]]] = (
    (
        "C-FIND",
        StatusService.FIND,
        {
            0x0000: "all answers are sent",
            0xFF00: "an answer",
            0xFF01: "an answer; the identifier has attributes that are not kept",
            0xB001: "`limits.max_query_results` or `limits.max_query_bytes` is reached",
            0xFE00: "C-CANCEL",
            0xA700: "a limit, or the index is away",
            0xA900: "the identifier breaks the model, or the SOP class is not the context's",
            0x0124: "no right",
            0xC000: "malformed identifier, or an answer could not be built",
        },
    ),
    (
        "C-GET",
        StatusService.GET,
        {
            0x0000: "all objects are sent",
            0xFF00: "one object is sent",
            0xB000: "some objects failed: they are listed",
            0xFE00: "C-CANCEL",
            0xA702: "every object failed, too many are asked for, or the index is away",
            0xA900: "the identifier breaks the model",
            0x0122: "the SOP class is not the context's",
            0x0124: "no right",
            0xC000: "malformed identifier",
        },
    ),
    (
        "C-MOVE",
        StatusService.MOVE,
        {
            0x0000: "all objects are sent",
            0xFF00: "one object is sent",
            0xB000: "some objects failed: they are listed",
            0xFE00: "C-CANCEL",
            0xA702: "every object failed, too many are asked for, or the index is away",
            0xA801: "the destination is no registered peer with an address",
            0xA900: "the identifier breaks the model",
            0x0122: "the SOP class is not the context's",
            0x0124: "no right",
            0xC000: "malformed identifier",
        },
    ),
    (
        "N-ACTION (Storage Commitment)",
        StatusService.COMMITMENT,
        {
            0x0000: "the request is noted",
            0x0112: "not the well-known instance",
            0x0118: "not the SOP class",
            0x0123: "not action type 1",
            0x0124: "no right",
            0x0131: "this Transaction UID is open already",
            0x0213: "a limit",
            0x0110: "malformed, or the index is away",
        },
    ),
    ("C-ECHO", StatusService.GENERAL, {0x0000: "always, with the right", 0x0124: "no right"}),
    ("any other request", StatusService.GENERAL, {0x0211: "not served"}),
)


def _statuses(service: StatusService, codes: dict[int, str]) -> Iterator[Row]:
    for code, when in codes.items():
        fitting = [row for row in STATUS_TABLE if row.first <= code <= row.last]
        own = [row for row in fitting if row.service is service] or [
            row for row in fitting if row.service is StatusService.GENERAL
        ]
        yield f"{code:04X}", own[0].meaning, when


def security() -> Iterator[str]:
    limits = LimitsSection()
    yield """## 8 Security

### 8.1 Introduction

See the [threat model](threat-model.md). The archive protects itself by TLS on every port, by knowing every caller, by
sealing what it stores, and by a trail of every act.

### 8.2 External network requirements

None: no DNS, no DHCP, no LDAP, no time protocol, nothing is called that the operator has not registered. The system
clock has to be right, for certificates and tokens.

### 8.3 TCP ports
"""
    yield from table(
        ("port", "protocol", "key"),
        (
            (DicomSection().port, "DICOM upper layer over TLS", "`dicom.port`"),
            (HttpsSection().port, "HTTPS", "`https.port`"),
        ),
    )
    yield "### 8.4 DICOM security profiles\n"
    yield from table(
        ("profile", "supported"),
        (
            ("BCP 195 TLS Secure Transport Connection (PS3.15 B.12)", 'yes, `dicom.tls_profile = "bcp195"`'),
            ("Modified BCP 195 (RFC 8996, 9325) TLS (PS3.15 B.13)", 'yes, `"bcp195-strict"`'),
            ("retired TLS profiles (PS3.15 B.1, B.2, B.9, B.10), ISCL", "no"),
            ("Digital Signature Profiles (PS3.15 C.1 to C.4)", "[verified](signatures.md), none is made"),
            ("Secure use, media security, attribute confidentiality profiles", "no"),
            ("Audit Trail Message Format (PS3.15 A.5)", "no: the trail has a [format of its own](trail-format.md)"),
        ),
    )
    for profile in ("bcp195", "bcp195-strict"):
        suites = ", ".join(tls12_suites(profile))
        yield f"Cipher suites of TLS 1.2 with `{profile}` (TLS 1.3: OpenSSL's own): {suites}.\n"
    yield """Both sides show certificates on the DICOM port. No session tickets, no renegotiation, no compression.

### 8.5 User identity negotiation

As acceptor: type 2 (user name and passcode), over TLS only; a peer may be registered to require it. Other types count
as no user. A positive response is sent if it is asked for. After too many wrong passcodes the rejection is transient.
As requestor: none.

### 8.6 Web services security

HTTPS with the archive's own certificate, issued by its CA (`ca.pem`), TLS as above. A caller shows a bearer token of
`strongroom token`, a bearer JWT of a configured issuer, or a client certificate that is bound to a registered peer.
Everybody else gets 401, but for the health line.

### 8.7 Other security features
"""
    yield (
        f"Objects and index are encrypted at rest. Rights are given one by one: {_rights()}. Scopes limit a caller to "
        "patients, studies, modalities and dates in every service. Every length, count, depth, ratio and wait has a "
        f"cap ({len(limits.__struct_fields__)} keys of `[limits]`).\n"
    )


def _rights() -> str:
    return ", ".join(f"`{right.value}`" for right in Right)


def annexes() -> Iterator[str]:
    yield "## Annex A.A Storage SOP classes\n"
    rows = sorted((_name(uid), uid) for uid in STORAGE_SOP_CLASSES)
    yield from table(("SOP class", "UID"), rows)
    yield "## Annex A.B Transfer syntaxes\n\nOf stored objects, over DIMSE and STOW-RS.\n"
    yield from table(
        ("transfer syntax", "UID", "pixel data", "retired"),
        (
            (s.name, uid, "encapsulated" if s.encapsulated else "native", "yes" if s.retired else "")
            for uid, s in sorted(TRANSFER_SYNTAXES.items(), key=lambda item: item[1].name)
        ),
    )
    yield """## Annex A.C Security details

None beyond chapter 8.

## Annex A.D Mapping of attributes

None: the archive creates no objects and maps no attributes.

## Annex A.E Code set usage

None."""


def conformance() -> str:
    """The whole page."""
    parts = [
        *overview(),
        CONTENTS,
        INTRODUCTION.format(rights=_rights()),
        IMPLEMENTATION,
        *services(),
        *configuration(),
        *communication(),
        *security(),
        *annexes(),
    ]
    return "\n".join(parts) + "\n"
