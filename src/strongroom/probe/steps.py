"""Every step that the probe may take, as data: what is sent, at which level, and what may be kept of the answer.

This table is the whole of what a run can do to a server and the whole of what it can remember. ``kept`` names the
details of an observation: numbers, flags, words of our own, UIDs of the standard, and texts that went through
``shown``. An observation with any other detail cannot be made (``session.Session.observe``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from strongroom.probe.model import Level


@dataclass(frozen=True, slots=True)
class Step:
    """``sends`` and ``keeps`` are for the report's reader; ``connections`` is the most that one step may open.

    ``consent`` names the key of the scope's ``[consent]`` table without which the step is left out.
    """

    name: str
    level: Level
    sends: str
    kept: frozenset[str]
    connections: int = 1
    consent: str = ""


def _step(name: str, level: int, sends: str, kept: str = "", connections: int = 1, consent: str = "") -> Step:
    return Step(name, Level(level), sends, frozenset({"reason", *kept.split()}), connections, consent)


_ASSOCIATION = "result source rejection abort"
"""Words for the fields of an A-ASSOCIATE-RJ or A-ABORT (PS3.8 9.3.4, 9.3.8): result permanent or transient; source
user, acse or presentation; rejection "calling title", "called title", "no reason" and so on; abort provider, user or
"instead of answering". ``status`` of a DICOM step is the DIMSE status as a number."""
_HTTP = "status scheme authenticate location_host body_kind"
"""Status code, scheme of the URL and of WWW-Authenticate, where a redirect leads (own, other), kind of body.

Of a path, ``kind`` is "interface" or "viewer"; of a plain page, ``to_https`` says that it sends one on to HTTPS."""

_TABLE: Final = (
    # Connections. Every port of the scope.
    _step("tcp.connect", 0, "a TCP connection, nothing on it", "ms"),
    _step("neighbour.connect", 0, "a TCP connection to a port of another service, nothing on it", "service"),
    # TLS, on DICOM and HTTPS ports alike.
    _step("tls.handshake", 0, "a TLS handshake as a current client makes it, no client certificate",
          "version suite certificate_sha256 alert", 1),
    _step("tls.versions", 0, "a ClientHello for each version from SSL 3.0 to TLS 1.3", "accepted refused preferred", 5),
    _step("tls.suites", 0, "ClientHellos that offer weak suites only",
          "weak forbidden dh_bits ecdhe_bits", 7),
    _step("tls.certificate", 0, "nothing more: the certificate of the handshake is looked at",
          "days_left key_kind key_bits signature self_signed chain_complete name_matches serial_bits too_long", 0),
    _step("tls.client_certificate", 0, "a handshake without a client certificate, and a wait for the alert",
          "requested required alert", 2),
    _step("tls.certificate_refused", 0, "handshakes with client certificates of the probe's own making",
          "expired self_signed alert", 2),
    # Associations.
    _step("dicom.associate", 1, "an A-ASSOCIATE-RQ for Verification with the titles of the identity, then A-RELEASE-RQ",
          f"{_ASSOCIATION} called implementation_uid implementation_version max_pdu_bytes", 1),
    _step("dicom.called_title", 1, "the same with a called title that nobody has", _ASSOCIATION),
    _step("dicom.calling_title", 1, "the same with two calling titles that nobody has", _ASSOCIATION + " tried", 2),
    _step("dicom.guess", 1, "the same with up to 20 titles that vendors print", _ASSOCIATION + " tried guessed",
          21, "guess_titles"),
    _step("dicom.user_identity", 1, "the same with a junk user and passcode, a positive response asked for",
          _ASSOCIATION + " response", 1),
    _step("dicom.echo", 1, "a C-ECHO-RQ on the association of dicom.associate", "status " + _ASSOCIATION, 0),
    _step("dicom.services", 1, "an A-ASSOCIATE-RQ for every service, then A-RELEASE-RQ: nothing is asked of any",
          f"accepted refused models storage_classes rare_storage_classes get_with_storage {_ASSOCIATION}", 2),
    _step("dicom.syntaxes", 1, "an A-ASSOCIATE-RQ with one context for each transfer syntax",
          f"accepted retired {_ASSOCIATION}"),
    _step("dicom.idle", 1, "an association that says nothing for up to a minute", f"seconds {_ASSOCIATION}", 1,
          "idle"),
    # Queries that count.
    _step("dicom.find_empty", 2, "a C-FIND-RQ, study level, StudyInstanceUID for one day in the year 2099",
          f"status pending {_ASSOCIATION}"),
    _step("dicom.find_count", 2, "C-FIND-RQs for StudyInstanceUID, PatientID and NumberOfStudyRelatedInstances: of "
          "everything, then of a week in each of seven years, cancelled at 1,000 answers; UID and ID are hashed with a "
          "key that is thrown away", f"status studies images patients slices capped from_date to_date "
          f"cancelled keys estimated_studies estimated_images {_ASSOCIATION}", 1),
    _step("dicom.find_shape", 2, "a C-FIND-RQ, cancelled after 25 studies, for the names of patient and physician, "
          "PatientID, OtherPatientIDs, birth date, telephone numbers, comments, accession number, study description, "
          "StudyInstanceUID; values are looked at in memory and dropped",
          f"status looked_at has_name has_birth_date has_patient_id has_physician ssn_shaped "
          f"ssn_bare itin_shaped email_shaped phone_shaped synthetic phantom teaching identical demo_uids shapes "
          f"{_ASSOCIATION}"),
    _step("dicom.worklist", 2, "a C-FIND-RQ to the worklist for the status of steps alone, cancelled after the "
          "first answer",
          f"status pending {_ASSOCIATION}"),
    _step("dicom.get_nothing", 2, "a C-GET-RQ for a study UID that nobody has", f"status {_ASSOCIATION}"),
    _step("dicom.move_nowhere", 2, "a C-MOVE-RQ for a study UID that nobody has, to a destination that nobody is",
          f"status {_ASSOCIATION}"),
    _step("dicom.commit_nothing", 2, "an N-ACTION-RQ for a UID that nobody has", f"status {_ASSOCIATION}"),
    _step("dicom.mpps_nothing", 2, "an N-SET-RQ for a UID that nobody has", f"status {_ASSOCIATION}"),
    # The canary.
    _step("dicom.store_canary", 3, "a C-STORE-RQ of a synthetic object", f"status {_ASSOCIATION} sop_instance_uid "
          "study_instance_uid"),
    _step("dicom.read_canary", 3, "a C-GET-RQ of that object, or a C-FIND-RQ for it",
          f"status {_ASSOCIATION} found same_pixels"),
    _step("dicom.overwrite_canary", 3, "the same object with other pixels, read again",
          f"status {_ASSOCIATION} overwritten", 2),
    _step("dicom.cross_study_canary", 3, "a second object of another synthetic patient in the same study",
          f"status {_ASSOCIATION} sop_instance_uid study_instance_uid", 1),
    # HTTP and HTTPS.
    _step("http.root", 1, "GET /", f"{_HTTP} server product version title hsts csp frame_options cookies_secure "
          "cookies_http_only login listing to_https", 2),
    _step("http.cors", 1, "GET / and the DICOMweb root with an Origin that nobody has",
          f"{_HTTP} allow_origin allow_credentials", 2),
    _step("http.methods", 1, "OPTIONS at the DICOMweb root", f"{_HTTP} allow"),
    _step("http.paths", 1, "GET of the fixed paths of known products, none of which names a study",
          f"{_HTTP} path product version open login kind csp frame_options", 40),
    _step("http.listing", 1, "GET of paths at which files lie", f"{_HTTP} path listing dicom_files", 6),
    _step("http.credentials", 1, "one request with the user name and password that the product ships with",
          f"{_HTTP} product works", 4, "default_credentials"),
    _step("http.qido", 2, "GET /studies?limit=1 and /patients at each DICOMweb root, counted and dropped",
          f"{_HTTP} root answers", 16),
    _step("http.qido_count", 2, "GET /studies by slices of dates with a limit, counted and dropped",
          f"{_HTTP} root studies images patients capped slices from_date to_date keys estimated_studies "
          "estimated_images", 8),
    _step("http.qido_shape", 2, "GET /studies with a few answers; values are looked at in memory and dropped",
          f"{_HTTP} root looked_at has_name has_birth_date has_patient_id has_physician ssn_shaped ssn_bare "
          "itin_shaped email_shaped phone_shaped synthetic phantom teaching identical demo_uids shapes", 1),
    _step("http.wado_rs", 2, "GET of a study UID that nobody has", f"{_HTTP} root", 4),
    _step("http.wado_uri", 2, "GET of a WADO-URI for UIDs that nobody has", f"{_HTTP} path", 4),
    _step("http.stow", 2, "OPTIONS, and a POST of a multipart body without parts", f"{_HTTP} root", 2),
    _step("http.rest", 2, "GET of the management interface's own counts", f"{_HTTP} path product version "
          "patients studies instances", 6),
    _step("http.stow_canary", 3, "a POST of a synthetic object, read again", f"{_HTTP} root stored read "
          "sop_instance_uid study_instance_uid", 3),
)  # fmt: skip

STEPS: Final = {step.name: step for step in _TABLE}


def require_kept(name: str, details: Iterable[str]) -> None:
    """Raise KeyError if the step is none, or keeps no detail of such a name: a mistake of ours, found at once."""
    unknown = set(details) - STEPS[name].kept
    if unknown:
        raise KeyError(f"{name} keeps no {', '.join(sorted(unknown))}")
