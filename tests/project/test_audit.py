"""What was changed behind the journal's back is found, and said where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from trimtab import canon
from trimtab.errors import DigestMismatch, IntegrityError, JournalBroken, NotFound, SignatureInvalid, UsageError
from trimtab.project import audit, health
from trimtab.project.project import Project
from trimtab.store.schema import aliases, rollouts, versions


def change(project: Project, statement: sa.Executable) -> None:
    """Tamper with a table."""
    with project.workspace.db.write() as conn:
        conn.execute(statement)


def test_an_untouched_workspace_verifies(live: Project) -> None:
    report = audit.verify(live.workspace)
    assert report.versions == 1
    assert report.rows == live.workspace.journal.head().seq


def test_a_live_version_that_was_switched_in_the_table_is_found(live: Project) -> None:
    change(live, rollouts.update().values(version=1, endpoint="elsewhere"))
    with pytest.raises(JournalBroken, match=r"endpoint .* of y"):
        audit.verify(live.workspace)


def test_an_alias_that_was_moved_in_the_table_is_found(live: Project) -> None:
    change(live, aliases.insert().values(model="y", alias="approved", number=1, moved_at="", moved_by="eve"))
    with pytest.raises(JournalBroken, match="the alias approved of y is at v1, the journal says nothing"):
        audit.verify(live.workspace)


def test_a_gate_verdict_that_was_edited_is_found(live: Project) -> None:
    change(live, versions.update().values(gates="none"))
    with pytest.raises(IntegrityError):
        audit.verify(live.workspace)


def test_a_version_that_was_removed_by_hand_is_found(live: Project) -> None:
    for table in (aliases, rollouts, versions):
        change(live, table.delete())
    with pytest.raises(JournalBroken, match="y@v1 is in the journal only"):
        audit.verify(live.workspace)


def test_one_flipped_bit_of_a_model_file_is_found(live: Project) -> None:
    version = live.version(1).record
    digest = version.manifest.files["model.skops"]
    path = live.workspace.folder / "objects" / digest.hex[:2] / digest.hex[2:]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(DigestMismatch, match=r"y@v1: model\.skops: expected"):
        audit.verify(live.workspace)
    with pytest.raises(DigestMismatch):
        live.version(1).predict({"a": 0.1, "b": 5.0})


def test_the_head_that_was_kept_elsewhere_must_be_contained(live: Project, tmp_path: Path) -> None:
    kept = tmp_path / "head.json"
    kept.write_bytes(canon.dumps(live.workspace.journal.head().to_json()))
    live.workspace.aliases.set("y", "later", 1, by="ann")
    assert audit.verify(live.workspace, head_file=kept).kept_seq is not None
    head = live.workspace.journal.head().to_json()
    kept.write_bytes(canon.dumps({**head, "hash": "0" * 64}))
    with pytest.raises(JournalBroken, match="rewritten or cut"):
        audit.verify(live.workspace, head_file=kept)
    kept.write_bytes(canon.dumps({**head, "signature": "AAAA" + str(head["signature"])[4:]}))
    with pytest.raises(SignatureInvalid):
        audit.verify(live.workspace, head_file=kept)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"seq": "x"}', '{"seq": 1, "seq": 2}', "not json"])
def test_a_file_that_is_no_head_is_said_so(live: Project, tmp_path: Path, text: str) -> None:
    (tmp_path / "head.json").write_text(text)
    with pytest.raises(UsageError, match="is not a head"):
        audit.verify(live.workspace, head_file=tmp_path / "head.json")


def test_a_missing_public_key_is_said_so(live: Project) -> None:
    for path in (live.workspace.folder / "keys").glob("*.pub"):
        path.unlink()
    with pytest.raises(NotFound, match="no public key"):
        audit.verify(live.workspace)


def test_the_doctor_finds_what_is_wrong(live: Project) -> None:
    folder = live.workspace.folder
    assert all(check.ok for check in health.examine(folder))
    (folder / "keys" / "signing.pem").chmod(0o644)
    left = folder / "objects" / ".put-killed"
    left.write_bytes(b"ha")
    os.utime(left, (0, 0))
    bad = {check.name: check.text for check in health.examine(folder) if not check.ok}
    assert set(bad) == {"Key", "Leftovers"}
    health.examine(folder, fix=True)
    assert not left.exists()
