"""Does a blob store keep what `store.blobs.BlobStore` promises?  The published exam that every backend sits.

Subclass it in a test module with a `blobs` fixture that gives an empty store.
"""

from __future__ import annotations

import io
import threading
from typing import BinaryIO, cast

import pytest

from trimtab.canon import Digest, digest_bytes
from trimtab.errors import BlobMissing
from trimtab.store.blobs import BlobStore, put_bytes, put_json, read_bytes, read_json


class _Breaks(io.RawIOBase):
    """A source whose reading fails half way."""

    def __init__(self) -> None:
        self._reads = 0

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        if self._reads > 1:
            raise OSError("the source went away")
        return b"half"


class BlobStoreExam:
    """The promises, one test each."""

    def test_bytes_come_back_under_their_digest(self, blobs: BlobStore) -> None:
        for data in (b"", b"x", bytes(range(256)) * 9000):
            digest = put_bytes(blobs, data)
            assert digest == digest_bytes(data)
            assert read_bytes(blobs, digest) == data

    def test_putting_twice_is_putting_once(self, blobs: BlobStore) -> None:
        assert put_bytes(blobs, b"same") == put_bytes(blobs, b"same")
        assert list(blobs.list()) == [digest_bytes(b"same")]

    def test_an_absent_blob_is_said_to_be_missing(self, blobs: BlobStore) -> None:
        absent = digest_bytes(b"never stored")
        assert not blobs.has(absent)
        with pytest.raises(BlobMissing, match=absent.short):
            blobs.open(absent)

    def test_deleting_is_final_and_deleting_the_absent_is_fine(self, blobs: BlobStore) -> None:
        digest = put_bytes(blobs, b"gone soon")
        blobs.delete(digest)
        blobs.delete(digest)
        assert not blobs.has(digest)
        assert list(blobs.list()) == []

    def test_a_source_that_breaks_leaves_nothing(self, blobs: BlobStore) -> None:
        with pytest.raises(Exception, match=r"written|went away"):
            blobs.put(cast(BinaryIO, _Breaks()))
        assert list(blobs.list()) == []

    def test_many_threads_may_put_the_same_bytes(self, blobs: BlobStore) -> None:
        found: list[Digest] = []
        data = b"shared" * 10_000
        threads = [threading.Thread(target=lambda: found.append(put_bytes(blobs, data))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert set(found) == {digest_bytes(data)}

    def test_json_has_one_text_and_so_one_digest(self, blobs: BlobStore) -> None:
        digest = put_json(blobs, {"b": [1, 2.5], "a": "值"})
        assert digest == put_json(blobs, {"a": "值", "b": [1, 2.5]})
        assert read_json(blobs, digest) == {"a": "值", "b": [1, 2.5]}
