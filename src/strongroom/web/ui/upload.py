"""Uploading: files and folders from a browser, each sent by itself as STOW-RS has it, and what became of each in words.

The page sends with the session of who is signed in, so that right and scope are those of whatever else stores. It opens
no archives: what is inside a ZIP file would have to be unpacked by somebody, and whoever has it can do that.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from strongroom.archive.ingest import Verdict
from strongroom.archive.refusals import SCREENING
from strongroom.types import Right
from strongroom.web.call import Call
from strongroom.web.operation import PREFIX, Operation
from strongroom.web.ui.pages import page
from strongroom.web.ui.studies import may

UPLOAD: Final = "/upload"

STORED: Final = {
    Verdict.STORED.value: "Stored.",
    Verdict.RESENT.value: "Was there already, the same to the last bit.",
    Verdict.VARIANT.value: "Was there already in another encoding; the first one stays.",
    Verdict.RESTORED.value: "Was there and damaged; it is whole again.",
    Verdict.COERCED.value: "Was there already with another description of the patient or the request, which stays.",
    Verdict.UNVERIFIED.value: "Stored and flagged: it came late, to a study that had come from elsewhere.",
}
"""What became of a file, by the word in the answer to STOW-RS."""

REFUSED: Final = {
    SCREENING: "Something was found in it that does not belong into an image. A reviewer can look at it.",
    "sop-instance-altered": "Another image is stored under its UID. A reviewer can compare the two.",
    "sop-instance-metadata-altered": "What is stored under its UID says otherwise. A reviewer can compare the two.",
    "sop-instance-lossy-copy": "It is a lossy copy of what is stored. The stored one stays.",
    "sop-instance-in-another-series": "Its UID is stored in another series. Ask where the file was made.",
    "study-of-another-patient": "Its study is stored under another patient. Correct the Patient ID where it was made.",
    "series-in-another-study": "Its series is stored in another study. Ask where the file was made.",
    "sop-class-not-supported": "Objects of this kind are not stored here.",
    "transfer-syntax-unknown": "It is encoded in a way that is not known here. Export it again, uncompressed.",
    "outside-scope": "It is not in the part of the archive that you may store to.",
    "not-dicom": "It is no DICOM file.",
    "no-transfer-syntax": "It is no DICOM file: it does not say how it is encoded.",
    "incomplete": "It did not come whole. Send it again.",
    "StorageUnavailable": "The archive cannot store for now. Try again later.",
}
"""What to do about a file that was not taken in, by the word in the answer to STOW-RS."""

OTHERWISE: Final = "It is damaged, or not as DICOM wants it. Export it again where it was made."
HELD: Final = "Held in the quarantine"
NOT_STORED: Final = "Not stored"


async def show_upload(call: Call) -> Response:
    """The page."""
    words = {"stored": STORED, "refused": REFUSED, "otherwise": OTHERWISE, "held": HELD, "notStored": NOT_STORED}
    limits = call.services.limits
    limit = min(limits.max_request_bytes, limits.max_message_bytes)
    return page("upload.html", call, words=words, to=f"{PREFIX}/studies", max_bytes=limit, may=may(call))


OPERATIONS: Final = (
    Operation(
        "pageUpload", "GET", UPLOAD, show_upload, "Uploading files.", Right.STORE,
        produces=("text/html",), is_page=True,
    ),
)  # fmt: skip
