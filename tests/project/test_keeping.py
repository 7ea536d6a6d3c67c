"""A backup taken while the workspace is used makes the same workspace again, elsewhere and on another database."""

from __future__ import annotations

import io
import tarfile
import threading
from pathlib import Path

import pytest
from tests.conftest import PostgresServer

from trimtab.errors import Conflict, TrimtabError, UsageError
from trimtab.project import audit, keeping
from trimtab.project.project import Project
from trimtab.workspace import Workspace


def test_a_restored_workspace_has_the_same_head_versions_and_answers(live: Project, tmp_path: Path) -> None:
    made = keeping.backup(live.workspace, tmp_path / "kept.tar")
    assert made.blobs > 5
    assert (tmp_path / "kept.tar").stat().st_mode & 0o077 == 0
    again = keeping.restore(tmp_path / "kept.tar", tmp_path / "elsewhere")
    assert again.seq == live.workspace.journal.head().seq
    with Workspace.open(tmp_path / "elsewhere") as other:
        assert other.journal.head() == live.workspace.journal.head()
        audit.verify(other)
        row = {"a": 0.1, "b": 5.0}
        mine = Project.open(tmp_path, other).version("champion").predict(row)
        assert mine.values == live.version("champion").predict(row).values


def test_a_backup_moves_a_workspace_to_another_database(live: Project, tmp_path: Path,
                                                          postgres_server: PostgresServer) -> None:
    postgres_server.execute("create database moved_to")
    keeping.backup(live.workspace, tmp_path / "kept.tar")
    keeping.restore(tmp_path / "kept.tar", tmp_path / "elsewhere", database=postgres_server.url("moved_to"))
    assert not (tmp_path / "elsewhere" / "trimtab.db").exists()
    assert (tmp_path / "elsewhere" / "workspace.toml").stat().st_mode & 0o077 == 0
    with Workspace.open(tmp_path / "elsewhere") as other:
        audit.verify(other)
        other.aliases.set("y", "kept", 1, by="bob")               # and it goes on there
        audit.verify(other)
    postgres_server.execute("drop database moved_to with (force)")


def test_a_backup_is_one_moment_while_others_write(live: Project, tmp_path: Path) -> None:
    stop = threading.Event()

    def move() -> None:
        for number in range(200):
            if stop.is_set():
                return
            live.workspace.aliases.set("y", f"mark-{number}", 1, by="bob")

    writer = threading.Thread(target=move)
    writer.start()
    try:
        for number in range(3):
            keeping.backup(live.workspace, tmp_path / f"{number}.tar")
    finally:
        stop.set()
        writer.join()
    for number in range(3):
        keeping.restore(tmp_path / f"{number}.tar", tmp_path / f"w{number}")
        with Workspace.open(tmp_path / f"w{number}") as other:
            audit.verify(other)


def test_nothing_is_overwritten(live: Project, tmp_path: Path) -> None:
    keeping.backup(live.workspace, tmp_path / "kept.tar")
    with pytest.raises(Conflict, match="exists already"):
        keeping.backup(live.workspace, tmp_path / "kept.tar")
    with pytest.raises(Conflict, match="not empty"):
        keeping.restore(tmp_path / "kept.tar", tmp_path)


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    """A tar with these members."""
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "objects/ab/../../escaped", "keys/../escaped", "a.txt",
                                  "objects/ab/" + "0" * 61, "keys/signing.pem.bak", "trimtab.db/x"])
def test_a_file_that_is_no_backup_writes_nothing(tmp_path: Path, name: str) -> None:
    file = tar_of(tmp_path / "evil.tar", (tarfile.TarInfo(name), b"x"))
    with pytest.raises(UsageError, match="not a trimtab backup"):
        keeping.restore(file, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.tar"]


def test_links_in_a_backup_are_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("keys/signing.pem")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(UsageError, match="not a trimtab backup"):
        keeping.restore(tar_of(tmp_path / "evil.tar", (link, b"")), tmp_path / "new")


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"not a tar at all",
                                    lambda data: b""])
def test_a_part_of_a_backup_is_said_so(live: Project, tmp_path: Path, damage: object) -> None:
    keeping.backup(live.workspace, tmp_path / "kept.tar")
    data = (tmp_path / "kept.tar").read_bytes()
    (tmp_path / "part.tar").write_bytes(damage(data))  # type: ignore[operator]
    with pytest.raises(TrimtabError):
        keeping.restore(tmp_path / "part.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()
