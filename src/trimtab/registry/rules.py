"""May this be registered, served, deleted, pointed at?

Pure decisions: values in, a verdict with its reason out. Nothing here reads a store.
"""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.errors import UsageError
from trimtab.registry.model import GateVerdict, Verdict, Version
from trimtab.registry.names import CHAMPION, file_path

MAX_FILES = 1_000
MAX_VERSION_BYTES = 8 << 30
_MEASURED = ("task", "metric", "dataset", "split", "predictions", "test")


def may_register(sizes: Mapping[str, int]) -> Verdict:
    """Are these files (path → bytes) a version? At least one, plain relative paths, within the bounds."""
    if not sizes:
        return Verdict.no("a version needs at least one file")
    if len(sizes) > MAX_FILES:
        return Verdict.no(f"{len(sizes):,} files are over the bound of {MAX_FILES:,}")
    if (total := sum(sizes.values())) > MAX_VERSION_BYTES:
        return Verdict.no(f"{total:,} bytes are over the bound of {MAX_VERSION_BYTES:,}")
    for path in sizes:
        try:
            file_path(path)
        except UsageError as error:
            return Verdict.no(str(error))
    return Verdict.yes(f"{len(sizes)} files, {total:,} bytes")


def is_same(existing: Version, existing_evaluation: object, *, evaluation: object, gates: GateVerdict,
            note: str) -> bool:
    """Would registering the same bytes again add nothing to `existing`? (The digests are already known to be equal.)

    True unless the new registration brings a note, a gate verdict or a measurement that differs. What was not
    brought (no evaluation, an empty note, gates "none") can't differ; nor does how long a prediction took
    or how often the hold-out was opened make another measurement.
    """
    if existing.deleted_at is not None:
        return False
    if note and note != existing.note:
        return False
    if gates not in ("none", existing.gates):
        return False
    return evaluation is None or _measured(evaluation) == _measured(existing_evaluation)


def may_serve(version: Version) -> Verdict:
    """Only a version whose gates passed, and that was not deleted, may answer requests."""
    if version.deleted_at is not None:
        return Verdict.no(f"{version.name} was deleted on {version.deleted_at[:10]}; register its files again or "
                          "deploy another version")
    if version.gates == "failed":
        return Verdict.no(f"{version.name} failed its gates; see `trimtab evaluate`, mend the model, or change "
                          "[gates] in trimtab.toml and evaluate again")
    if version.gates == "none":
        return Verdict.no(f"{version.name} has no gate verdict: it was registered without an evaluation. Run "
                          "`trimtab evaluate` so that the gates can judge it")
    return Verdict.yes("its gates passed")


def may_delete(version: Version, *, live: bool, why: str) -> Verdict:
    """Deleting needs a reason, and a version that does not serve."""
    if version.deleted_at is not None:
        return Verdict.no(f"{version.name} was already deleted on {version.deleted_at[:10]}")
    if not why.strip():
        return Verdict.no(f"deleting {version.name} needs a reason; the journal keeps it")
    if live:
        return Verdict.no(f"{version.name} serves traffic now; roll back, promote another version or end its trial "
                          "first")
    return Verdict.yes("it does not serve, and a reason was given")


def may_point_at(version: Version, alias: str) -> Verdict:
    """An alias may name any version that was not deleted."""
    if version.deleted_at is not None:
        return Verdict.no(f"{alias!r} can't name {version.name}: it was deleted on {version.deleted_at[:10]}")
    return Verdict.yes(f"{version.name} exists")


def may_remove_alias(alias: str) -> Verdict:
    """`champion` belongs to the rollout: it moves, it never goes away."""
    if alias == CHAMPION:
        return Verdict.no("'champion' names what is live and can't be removed; promote another version, or roll back")
    return Verdict.yes("a name like any other")


def _measured(evaluation: object) -> dict[str, object]:
    return {key: evaluation.get(key) for key in _MEASURED} if isinstance(evaluation, dict) else {}
