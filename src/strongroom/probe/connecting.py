"""Connections with nothing on them: which ports answer at all."""

from __future__ import annotations

import time

from strongroom.errors import Unanswered
from strongroom.probe.model import Answer, Channel, Identity
from strongroom.probe.session import Session

SERVICES = {
    389: "LDAP",
    445: "SMB",
    1433: "SQL Server",
    1521: "Oracle",
    2575: "HL7 MLLP",
    3306: "MySQL",
    3389: "RDP",
    5432: "PostgreSQL",
    6379: "Redis",
    9200: "Elasticsearch",
    27017: "MongoDB",
}


def connect(session: Session) -> None:
    """Try each DICOM and HTTP port of the target."""
    for port in session.target.ports:
        _connect(session, "tcp.connect", port)


def connect_neighbours(session: Session) -> None:
    """Try each port of another service, if the address is there at all."""
    for port in session.target.neighbour_ports:
        _connect(session, "neighbour.connect", port, service=SERVICES.get(port, "unknown"))


def _connect(session: Session, step: str, port: int, **details: str) -> None:
    began = time.monotonic()
    try:
        session.line(port, framing="raw").close()
    except Unanswered as error:
        session.observe(
            step, port, Channel.PLAIN, Identity.STRANGER, Answer(error.answer), reason=error.reason, **details
        )
        return
    if step == "tcp.connect":
        session.observe(
            step, port, Channel.PLAIN, Identity.STRANGER, Answer.DONE, ms=round((time.monotonic() - began) * 1000)
        )
    else:
        session.observe(step, port, Channel.PLAIN, Identity.STRANGER, Answer.DONE, **details)
