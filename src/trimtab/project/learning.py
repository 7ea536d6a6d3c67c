"""How is a model trained anew on what its traffic taught?

The champion's own rows and the labelled, contract-clean rows of its endpoint become a new dataset version; the
champion's own code, configuration and candidates are trained on it, in a scratch folder. What was held out of the
champion's training stays held out, and of the new rows the same share is (of a split by time the newest stretch), so
champion and challenger are compared on rows that neither has seen. Everything follows from the decision that ordered
it: done again, it makes the same version, once.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab import canon
from trimtab.canon import Digest
from trimtab.data.contract import Contract
from trimtab.data.table import Table
from trimtab.errors import CheckFailed
from trimtab.loop.actions import Beat
from trimtab.loop.model import Stored
from trimtab.monitor.asked import Asked
from trimtab.pipeline import artifacts
from trimtab.pipeline.evaluate import Champion
from trimtab.pipeline.model import Split
from trimtab.pipeline.prepare import Prepared, split_of
from trimtab.pipeline.quarantine import keep_contract
from trimtab.project import judging
from trimtab.project.folder import Folder
from trimtab.project.taught import lately, lessons
from trimtab.registry.bundle import load_bundle
from trimtab.registry.checkout import checkout
from trimtab.registry.model import Version
from trimtab.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

BY = "loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """The rows of a retrain. before: of the champion's dataset; traffic: new ones; lately: how many of these, the last,
    came in since what they are learned for began; aside: quarantined, and why first; dataset: all of them; split: which
    train."""

    dataset: Digest
    split: Split
    before: int
    traffic: int
    lately: int
    aside: int
    first: str
    fair: bool


def retrain(workspace: Workspace, order: Stored, beat: Beat = lambda: None, *,
            timer: Callable[[], float] = time.perf_counter) -> dict[str, Any]:
    """Train, judge and register the challenger that a decision ordered, once: {"version", "gates", "why", …}.

    beat: called between the steps; what it raises ends the work. Raises CheckFailed where the champion's version can't
    be trained anew, or no row of traffic can be learned from; and as training does.
    """
    made = order.decision
    known = _made(workspace, made.model, made.key)
    if known is None:
        champion = workspace.versions.get(made.model, made.champion)
        _require_trained_here(champion)
        with tempfile.TemporaryDirectory(prefix="trimtab-retrain-") as scratch:
            folder = Path(scratch).resolve() / "project"
            checkout(workspace.versions, champion, folder)
            known = _train(Folder.open(folder, workspace), champion, order, beat, timer)
    return _result(workspace, known)


def _train(project: Folder, champion: Version, order: Stored, beat: Beat, timer: Callable[[], float]) -> Version:
    made, workspace = order.decision, project.workspace
    lesson = gather(project, champion, made.endpoint, until=order.at, began=_began(order))
    pipeline = replace(project.pipeline, by=BY)
    prepared = replace(pipeline.prepare(dataset=lesson.dataset), split=lesson.split)
    beat()
    trained, _ = pipeline.train(prepared=prepared, timer=timer)
    beat()
    rival = Champion(bundle=load_bundle(workspace.versions, champion), frame=prepared.frame,
                     split=lesson.split.digest if lesson.fair else None)
    done = judging.judged(
        project, trained, prepared, rival, register=True, by=BY, timer=timer,
        note=f"retrained from v{champion.number} on {lesson.traffic:,} rows of traffic ({order.id})",
        rows=artifacts.save_split(workspace.blobs, lesson.split), facts={"retrained": {
            "decision": order.id, "key": made.key, "from": champion.number, "until": order.at,
            "before": lesson.before, "traffic": lesson.traffic, "lately": lesson.lately, "aside": lesson.aside,
            "first_aside": lesson.first}})
    assert done.version is not None
    return done.version.record


def gather(project: Folder, champion: Version, endpoint: str, *, until: str, began: str = "") -> Lesson:
    """The champion's rows and those that the traffic taught up to a moment, as a dataset version and its split."""
    import polars as pl

    workspace, contract = project.workspace, project.contract
    data = workspace.versions.ingredient(champion, "data")
    version = workspace.datasets.get(str(data["dataset"]))
    base = workspace.datasets.load(version.digest)
    rows = lessons(workspace, champion, endpoint, until=until)
    if not rows.height:
        raise CheckFailed(f"no labelled row at {endpoint!r} of {champion.model} is new to v{champion.number}; tell "
                          "labels with trimtab label")
    whole_rows = rows.filter(pl.col("redacted") == "[]")
    redacted = rows.height - whole_rows.height
    hidden = f"{redacted:,} have columns that recorded traffic redacts (log, in contract.toml)"
    if not whole_rows.height:
        raise CheckFailed(f"none of {rows.height:,} labelled rows can be learned from: {hidden}")
    table = keep_contract(_table(whole_rows, contract), _told_of(rows, contract), most=1.0)
    if not table.rows:
        raise CheckFailed(f"none of {whole_rows.height:,} labelled rows can be learned from; the first: "
                          f"{table.quarantined[0]}")
    new = _like(table.frame, base)
    whole = Table(frame=pl.concat([base, new]), source=f"{version.source.split(' + ')[0]} + traffic until {until[:16]}")
    recorded = workspace.datasets.record(whole, contract, by=BY)
    before = _split_before(project, data, base)
    split = _extended(project, before, base, new, whole.frame)
    return Lesson(dataset=recorded.digest, split=split, before=base.height, traffic=new.height,
                  lately=max(0, lately(rows, began) - len(table.quarantined) - redacted) if began else 0,
                  aside=len(table.quarantined) + redacted,
                  first=str(table.quarantined[0]) if table.quarantined else hidden if redacted else "",
                  fair=not np.isin(split.test, before.train).any())


def again(project: Folder, source: Workspace, version: Version) -> Prepared | None:
    """The rows of a version of `source` whose split its configuration does not give, for a project that trains it
    again; None for any other."""
    rows = rows_of(source, version)
    if rows is None:
        return None
    return replace(project.pipeline.prepare(), split=artifacts.load_split(source.blobs, rows))


def rows_of(workspace: Workspace, version: Version) -> Digest | None:
    """The blob that lists which rows trained a version, where its configuration does not give them."""
    rows = workspace.versions.ingredient(version, "data").get("rows")
    return None if rows is None else Digest(str(rows))


def _table(rows: pl.DataFrame, contract: Contract) -> Table:
    """Recorded rows as a table in raw columns; what JSON can't type is read as the contract says."""
    import polars as pl

    asked = Asked.of(rows)
    columns = [asked.features[column.name] for column in contract.features if column.name in asked.features.columns]
    truth = pl.Series(contract.target.name, [canon.loads(text) for text in rows["label"]], strict=False)
    moment = [pl.Series(column.name, list(asked.at)).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us")
              for column in contract.columns if column.role == "time"]
    return Table(frame=pl.DataFrame([*columns, *moment, truth]), source="traffic", encoding="json")


def _told_of(rows: pl.DataFrame, contract: Contract) -> Contract:
    """The rules of the columns that a recorded row has; a group is not recorded."""
    return replace(contract, columns=tuple(column for column in contract.columns if column.role != "group"))


def _like(new: pl.DataFrame, base: pl.DataFrame) -> pl.DataFrame:
    """The rows in the columns and types of another frame; what they don't have is missing."""
    import polars as pl

    try:
        return new.select((pl.col(name).cast(kind) if name in new.columns else pl.lit(None, dtype=kind)).alias(name)
                          for name, kind in base.schema.items())
    except pl.exceptions.PolarsError as problem:
        raise CheckFailed("the recorded rows can't be put beside the rows that the champion was trained on: "
                          f"{str(problem).splitlines()[0]}") from problem


def _split_before(project: Folder, data: dict[str, object], base: pl.DataFrame) -> Split:
    if "rows" in data:
        return artifacts.load_split(project.workspace.blobs, Digest(str(data["rows"])))
    found = split_of(project.config, project.contract, base)
    if found.digest != data["split"]:
        raise CheckFailed("which rows the champion was judged on can't be told again; train a version by hand: "
                          "trimtab train")
    return found


def _extended(project: Folder, before: Split, base: pl.DataFrame, new: pl.DataFrame, whole: pl.DataFrame) -> Split:
    """What was held out stays so; the new rows are divided by the same rule."""
    by = project.config.model.split
    if before.kind == "time":
        return split_of(project.config, project.contract, whole)
    order = np.random.RandomState(by.seed).permutation(new.height).astype(np.int64)
    held = np.zeros(new.height, dtype=np.bool_)
    held[order[:math.ceil(by.test * new.height)]] = True
    if before.kind == "group":
        groups, column = new[str(by.group)], base[str(by.group)]
        if groups.null_count():
            raise CheckFailed(f"rows are held out by {by.group}, which is not recorded with a request, so new rows "
                              "could stand on both sides; make it a feature, or train by hand")
        held = _by_group(groups, column, before, held)
    at = np.arange(base.height, whole.height, dtype=np.int64)
    train, test = np.concatenate([before.train, at[~held]]), np.concatenate([before.test, at[held]])
    digest = canon.digest_json(["extended", by.seed, before.digest, *(canon.digest_bytes(side.tobytes())
                                                                      for side in (train, test))])
    return Split(train=train, test=test, kind=before.kind, seed=by.seed, digest=digest)


def _by_group(groups: pl.Series, known: pl.Series, before: Split, chosen: Any) -> Any:
    """A group that was on one side stays there; a new one goes where its first row does."""
    side = dict.fromkeys(known.gather(before.test).to_list(), True)
    side |= dict.fromkeys(known.gather(before.train).to_list(), False)
    return np.array([side.setdefault(value, bool(one)) for value, one in zip(groups.to_list(), chosen, strict=True)])


def _began(order: Stored) -> str:
    """When the rows began to move that the retrain is about; "" where it is not about such rows."""
    incident = order.decision.evidence.get("seen", {}).get("incident") or {}
    return str(incident.get("began", ""))


def _require_trained_here(champion: Version) -> None:
    if champion.facts.get("brought") or not isinstance(champion.facts.get("candidate"), str):
        raise CheckFailed(f"{champion.name} was fitted outside trimtab, so how to train it anew is not known here; fit "
                          "it on the new rows and register it, or deploy a version that trimtab trained",
                          version=champion.name)


def _made(workspace: Workspace, model: str, key: str) -> Version | None:
    """The version that a decision made already."""
    for version in reversed(workspace.versions.list(model, deleted=True)):
        retrained = version.facts.get("retrained")
        if isinstance(retrained, dict) and retrained.get("key") == key:
            return version
    return None


def _result(workspace: Workspace, version: Version) -> dict[str, Any]:
    told: Any = version.facts["retrained"]
    evaluation: Any = workspace.versions.evaluation(version) or {}
    dataset = str(workspace.versions.ingredient(version, "data")["dataset"])
    return {"version": version.number, "gates": version.gates, "dataset": dataset,
            "why": evaluation.get("gates", {}).get("first_failure") or "",
            "rows": {name: told[name] for name in ("before", "traffic", "lately", "aside", "first_aside")}}
