"""Is everything that was recorded still what was recorded?

The journal's chain and signed head, each version's signature and bytes, each closed table of traffic, and that what is
live, named and registered now is what the journal's rows lead to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trimtab import canon
from trimtab.errors import JournalBroken, UsageError
from trimtab.registry import history, signing
from trimtab.store.journal import Head
from trimtab.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What was verified. Nothing in it is false: whatever does not hold raises instead."""

    rows: int
    head: Head
    versions: int
    tombstones: int
    tables: int                               # of traffic, closed
    kept_seq: int | None                      # the row of the head that was kept elsewhere, if one was given
    journal_only: bool

    def to_json(self) -> dict[str, object]:
        """As `audit verify --json` prints it."""
        return {"schema": "trimtab.audit/1", "ok": True, "rows": self.rows, "head": self.head.to_json(),
                "versions": self.versions, "tombstones": self.tombstones, "tables": self.tables,
                "kept_head": self.kept_seq,
                "journal_only": self.journal_only}


def verify(workspace: Workspace, *, head_file: Path | None = None, journal_only: bool = False) -> AuditReport:
    """Verify a workspace. Raises JournalBroken, SignatureInvalid, DigestMismatch, BlobMissing; UsageError for a head
    file that can't be read."""
    kept = read_head(head_file) if head_file is not None else None
    head = workspace.journal.verify(kept)
    count = tombstones = tables = 0
    if not journal_only:
        _check_state(workspace)
        tables = workspace.tables.verify()
        for model in workspace.versions.models():
            for version in workspace.versions.list(model, deleted=True):
                if version.deleted_at is None:
                    workspace.versions.verify(version)
                    count += 1
                else:
                    signing.check(workspace.keyring, version)
                    tombstones += 1
    return AuditReport(rows=head.seq, head=head, versions=count, tombstones=tombstones, tables=tables,
                       journal_only=journal_only, kept_seq=kept.seq if kept else None)


def read_head(path: Path) -> Head:
    """A head as `trimtab audit head` printed it. Raises UsageError."""
    try:
        value = canon.loads(path.read_bytes())
        assert isinstance(value, dict)
        return Head(seq=int(value["seq"]), hash=str(value["hash"]), key_id=str(value["key_id"]),
                    signature=str(value["signature"]))
    except OSError as problem:
        raise UsageError(f"{path.name} can't be read: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError, AssertionError):
        raise UsageError(f"{path.name} is not a head; make one with trimtab audit head > head.json") from None


def _check_state(workspace: Workspace) -> None:
    """The tables against the journal: a row that was changed behind the journal's back is found here."""
    rows = workspace.journal.rows()
    registered = {(row.model, row.subject) for row in rows if row.kind == "version.register"}
    stored = {(model, f"v{version.number}") for model in workspace.versions.models()
              for version in workspace.versions.list(model, deleted=True)}
    if registered != stored:
        model, number = sorted(registered ^ stored)[0]
        where = "journal" if (model, number) in registered else "registry"
        raise JournalBroken(f"{model}@{number} is in the {where} only: a row of the other was removed or added by "
                            "hand. Restore the database from a backup.", model=model, version=number)
    named = {(alias.model, alias.alias): alias.number for alias in workspace.aliases.list()}
    _compare("alias", named, history.replayed_aliases(rows))
    live = {(row.model, row.endpoint): row.version for row in workspace.rollouts.all_live()}
    told = {(row.model, row.subject): int(str(row.body["to"])) for row in rows if row.kind.startswith("rollout.")}
    _compare("endpoint", live, told)
    beside = {(one.model, one.endpoint): one.version for one in workspace.stages.all_open()}
    tried = {(row.model, row.subject): 0 if row.kind == "trial.stop" else int(str(row.body["version"]))
             for row in rows if row.kind.startswith("trial.")}
    _compare("trial at", beside, {key: number for key, number in tried.items() if number})


def _compare(what: str, table: dict[tuple[str, str], int], told: dict[tuple[str, str], int]) -> None:
    for key in sorted(table.keys() | told.keys()):
        if table.get(key) != told.get(key):
            model, name = key
            raise JournalBroken(f"the {what} {name} of {model} is at {_shown(table.get(key))}, the journal says "
                                f"{_shown(told.get(key))}: it was changed behind the journal's back. Restore the "
                                "database from a backup.", model=model, name=name)


def _shown(number: int | None) -> str:
    return "nothing" if number is None else f"v{number}"
