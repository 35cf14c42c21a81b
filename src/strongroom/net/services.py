"""Which services the archive offers, as tables: SOP classes, transfer syntaxes, and the right that each one needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from strongroom.archive.query import Model
from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES
from strongroom.types import Right, Uid
from strongroom.ul import Supported

IMPLICIT_VR_LITTLE_ENDIAN: Final = Uid("1.2.840.10008.1.2")
EXPLICIT_VR_LITTLE_ENDIAN: Final = Uid("1.2.840.10008.1.2.1")
UNCOMPRESSED: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

VERIFICATION: Final = Uid("1.2.840.10008.1.1")
STORAGE_COMMITMENT: Final = Uid("1.2.840.10008.1.20.1")
STORAGE_COMMITMENT_INSTANCE: Final = Uid("1.2.840.10008.1.20.1.1")


class Service(StrEnum):
    """What a presentation context is for."""

    ECHO = "echo"
    STORE = "store"
    FIND = "find"
    MOVE = "move"
    GET = "get"
    COMMIT = "commit"


QUERY_RETRIEVE: Final[Mapping[Uid, tuple[Service, Model]]] = {
    Uid("1.2.840.10008.5.1.4.1.2.1.1"): (Service.FIND, Model.PATIENT_ROOT),
    Uid("1.2.840.10008.5.1.4.1.2.1.2"): (Service.MOVE, Model.PATIENT_ROOT),
    Uid("1.2.840.10008.5.1.4.1.2.1.3"): (Service.GET, Model.PATIENT_ROOT),
    Uid("1.2.840.10008.5.1.4.1.2.2.1"): (Service.FIND, Model.STUDY_ROOT),
    Uid("1.2.840.10008.5.1.4.1.2.2.2"): (Service.MOVE, Model.STUDY_ROOT),
    Uid("1.2.840.10008.5.1.4.1.2.2.3"): (Service.GET, Model.STUDY_ROOT),
}
"""Query/Retrieve information models (PS3.4 C.6)."""

_RIGHT: Final = {service: Right(service.value) for service in Service}


def service_of(abstract_syntax: Uid) -> Service:
    """The service of an offered abstract syntax; everything that is nothing else is storage."""
    if abstract_syntax == VERIFICATION:
        return Service.ECHO
    if abstract_syntax == STORAGE_COMMITMENT:
        return Service.COMMIT
    known = QUERY_RETRIEVE.get(abstract_syntax)
    return known[0] if known else Service.STORE


def offered(rights: frozenset[Right], private_classes: Iterable[Uid] = ()) -> dict[Uid, Supported]:
    """What a peer with these rights may negotiate. A class it has no right to is there, but not permitted."""
    table = {
        uid: Supported(UNCOMPRESSED, permitted=_RIGHT[service] in rights)
        for uid, service in [
            (VERIFICATION, Service.ECHO),
            (STORAGE_COMMITMENT, Service.COMMIT),
            *((uid, service) for uid, (service, _) in QUERY_RETRIEVE.items()),
        ]
    }
    every_syntax = tuple(map(Uid, TRANSFER_SYNTAXES))
    storage = Supported(
        every_syntax,
        requestor_scu=Right.STORE in rights,
        requestor_scp=Right.GET in rights,
        permitted=Right.STORE in rights or Right.GET in rights,
    )
    table.update(dict.fromkeys(map(Uid, (*STORAGE_SOP_CLASSES, *private_classes)), storage))
    return table
