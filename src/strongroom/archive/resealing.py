"""What an ingest has sealed and nobody has indexed yet: read again, and sealed under another key."""

from __future__ import annotations

from contextlib import closing

from strongroom.archive.model import DataKey, NewInstance
from strongroom.archive.ports import BlobReader, BlobStore, BlobWriter


def open_sealed(blobs: BlobStore, new: NewInstance) -> BlobReader:
    """The object, before it is indexed; the caller closes it. Raises IntegrityError, NotFound, StorageUnavailable."""
    stored = new.stored
    if new.sealed:
        return blobs.open_small(stored.object_id, stored.key.key, new.sealed)
    return blobs.open(stored.object_id, stored.key.key)


def sealed_under(blobs: BlobStore, object_id: bytes, key: DataKey, new: NewInstance) -> tuple[bytes, bytes, BlobWriter]:
    """A second copy of the object under ``key``, durable: its id, its bytes if it is small, and what takes it back.

    Raises as ``open_sealed``; nothing of the copy is left then.
    """
    writer = blobs.create(object_id, key.key)
    try:
        with closing(open_sealed(blobs, new)) as reader:
            for chunk in reader.chunks():
                writer.write(chunk)
        return object_id, writer.commit(), writer
    except BaseException:
        writer.abort()
        raise
