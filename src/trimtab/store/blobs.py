"""Where do bytes live, and how are they found again?  By the digest of their content.

The port, and small helpers over it. Backends: `blobs_local.py` (files); others wrap or replace it behind the same port.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from trimtab import canon
from trimtab.canon import Digest


class BlobStore(Protocol):
    """Bytes by content address.

    Promises: `put` is atomic (a reader sees all of a blob or none), durable when it returns, and idempotent; a returned
    digest stays readable until `delete`; safe to share between threads and processes.
    """

    def put(self, source: BinaryIO) -> Digest: ...              # raises StoreFull
    def open(self, digest: Digest) -> BinaryIO: ...             # raises BlobMissing
    def has(self, digest: Digest) -> bool: ...
    def delete(self, digest: Digest) -> None: ...               # absent is fine
    def list(self) -> Iterator[Digest]: ...


def put_bytes(blobs: BlobStore, data: bytes) -> Digest:
    """Store bytes held in memory."""
    return blobs.put(io.BytesIO(data))


def read_bytes(blobs: BlobStore, digest: Digest) -> bytes:
    """All bytes of a blob, whose digest is checked. Raises BlobMissing, DigestMismatch."""
    from trimtab.errors import DigestMismatch

    with blobs.open(digest) as source:
        data = source.read()
    if (found := canon.digest_bytes(data)) != digest:
        raise DigestMismatch(f"the blob {digest.short} holds other bytes ({found.short}): the file changed after it "
                             "was stored. Restore it from a backup.", want=digest, got=found)
    return data


def put_json(blobs: BlobStore, value: object) -> Digest:
    """Store the canonical JSON of a value."""
    return put_bytes(blobs, canon.dumps(value))


def read_json(blobs: BlobStore, digest: Digest) -> object:
    """The value that `put_json` stored. Raises BlobMissing, DigestMismatch."""
    return canon.loads(read_bytes(blobs, digest))
