"""Local files sit the blob store's exam, and stay whole when the disk is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trimtab.errors import DigestMismatch, StoreUnreachable
from trimtab.store.blobs import put_bytes, read_bytes
from trimtab.store.blobs_local import LocalBlobs
from trimtab.testing import BlobStoreExam


class TestLocalBlobs(BlobStoreExam):
    """In a folder that does not exist yet."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> LocalBlobs:
        return LocalBlobs(tmp_path / "objects")


def test_a_changed_file_is_found_out(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    digest = put_bytes(blobs, b"as it was registered")
    path = tmp_path / digest.hex[:2] / digest.hex[2:]
    path.chmod(0o644)
    path.write_bytes(b"as it was tampered with")
    with pytest.raises(DigestMismatch, match="changed after it was stored"):
        read_bytes(blobs, digest)


def test_stored_files_are_read_only(tmp_path: Path) -> None:
    digest = put_bytes(LocalBlobs(tmp_path), b"x")
    assert (tmp_path / digest.hex[:2] / digest.hex[2:]).stat().st_mode & 0o222 == 0


def test_file_and_folder_are_on_disk_before_the_digest_is_returned(tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that a power cut can't break: write, fsync the file, rename, fsync the folder."""
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}")
        order.append("fsync file" if ".put-" in name else "fsync folder")
        fsync(handle)

    def seen_rename(old: str, new: Path) -> None:
        order.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)
    put_bytes(LocalBlobs(tmp_path), b"x")
    assert order[-2:] == ["rename", "fsync folder"]
    assert order.index("fsync file") < order.index("rename")


def test_what_a_killed_writer_left_is_never_a_blob(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    put_bytes(blobs, b"whole")
    (tmp_path / ".put-killed").write_bytes(b"ha")
    assert len(list(blobs.list())) == 1
    assert [path.name for path in blobs.leftovers()] == [".put-killed"]


def test_a_place_that_can_not_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("a file where a folder should be")
    with pytest.raises(StoreUnreachable, match="can't be written"):
        put_bytes(LocalBlobs(tmp_path / "objects"), b"x")
