"""One digest for everything that a study holds, the same for an export as for a deletion."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256


def manifest_sha256(objects: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 in hex over the lines ``<SOP Instance UID> <SHA-256 of the data set in hex>``, sorted, each ended by LF.

    Both parts are in the trail record of every object that was stored: the digest can be recomputed from the trail
    alone, or from exported files.
    """
    digest = sha256()
    for line in sorted(f"{sop_uid} {data_set_sha256.hex()}\n" for sop_uid, data_set_sha256 in objects):
        digest.update(line.encode("ascii"))
    return digest.hexdigest()
