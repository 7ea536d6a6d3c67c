"""What does a version answer for every row of a large table?  Batch scoring, from a file into a file.

The same contract and the same loaded version as everywhere, a stretch of rows at a time, so that 10⁷ rows need no more
memory than 10⁵. Rows that break the contract are set aside into a file beside the answers, each with its number and all
its reasons. With `log` the flight recorder has every prediction, of the stage "batch" at the endpoint "(batch)", which
nothing can be deployed to: labels find them, and what watches live traffic does not see them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from trimtab import clock
from trimtab.data.sink import Sink
from trimtab.data.stretches import stretches
from trimtab.data.table import BadRow, Table
from trimtab.errors import Conflict, NotFound, UsageError
from trimtab.pipeline.agreed import agreed, check_agreed
from trimtab.pipeline.quarantine import reasons
from trimtab.project.endpoint import plain
from trimtab.registry.bundle import Bundle, Prediction, load_bundle
from trimtab.registry.model import Version
from trimtab.serving.recording import recorded
from trimtab.serving.rollout import PRODUCTION
from trimtab.serving.source import Place
from trimtab.traffic import closing
from trimtab.traffic.log import TrafficLog
from trimtab.traffic.redaction import redacted
from trimtab.traffic.segments import BATCH
from trimtab.workspace import Workspace, locate

TOGETHER: Final = 1 << 14                      # rows that are computed at once: a kernel matrix of them must fit
RECORDED: Final = 1 << 10                      # where they are recorded: a request's worth
_ENDPOINT: Final = "(batch)"
_EVERY: Final = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What became of the rows of a table. reasons: (column, rule) → rows; what could not be read is under ("", "line").
    """

    version: str
    rows: int
    predicted: int
    reasons: dict[tuple[str, str], int]
    out: Path
    aside: Path | None                         # None where no row was set aside
    recorded: bool
    seconds: float

    @property
    def set_aside(self) -> int:
        """How many rows have no prediction."""
        return self.rows - self.predicted

    def to_json(self) -> dict[str, object]:
        """As `score --json` prints it."""
        return {"schema": "trimtab.scored/1", "version": self.version, "rows": self.rows, "predicted": self.predicted,
                "set_aside": self.set_aside, "out": str(self.out),
                "quarantine": None if self.aside is None else str(self.aside), "recorded": self.recorded,
                "counts": [{"column": column, "rule": rule, "count": count}
                           for (column, rule), count in self.reasons.items()]}


def score(source: Any, out: str | Path, version: str | None = None, *, log: bool = False, force: bool = False,
          workspace: str | Path | Workspace | None = None) -> Scored:
    """Predict every row of a table into `out` (.parquet or .csv); rows that break the contract go to a file beside it.

    source: path of a Parquet or CSV file, a Polars or pandas frame. version: "model@v3", "model@alias", or "model": the
    one that is live at production; None: the only model's. log: record each prediction as traffic of the version.
    force: write over what is there. Columns of `out`: row (its number in the source, from 1), the contract's id column,
    prediction, p_CLASS of a classifier, prediction_id where recorded. Raises NotFound, Conflict (`out` is there),
    DataUnreadable, UsageError, StoreFull; then `out` is as it was.
    """
    if isinstance(workspace, Workspace):
        return _score(workspace, source, Path(out), version, log, force)
    with Workspace.open(locate(workspace)) as opened:
        return _score(opened, source, Path(out), version, log, force)


def chosen(workspace: Workspace, reference: str | None) -> Version:
    """The version that is meant: a model alone means what is live of it at production. Raises NotFound."""
    if reference is None:
        models = workspace.versions.models()
        if len(models) != 1:
            raise NotFound(f"which model? This workspace has {', '.join(models) or 'none yet'}")
        reference = models[0]
    if "@" in reference:
        return workspace.versions.resolve(reference)
    live = workspace.rollouts.current(reference, PRODUCTION)
    if live is None:
        newest = workspace.versions.resolve(reference)
        raise NotFound(f"no version of {reference} is live at {PRODUCTION}; name one, as {newest.name}, or put it "
                       f"there: trimtab deploy {newest.name}")
    return workspace.versions.get(reference, live.version)


def _score(workspace: Workspace, source: Any, out: Path, reference: str | None, log: bool, force: bool) -> Scored:
    begun = workspace.timer()
    bundle = load_bundle(workspace.versions, chosen(workspace, reference))
    beside = out.with_name(out.name + ".quarantine.parquet")
    if isinstance(source, str | Path) and Path(source).exists() and any(
            path.exists() and path.samefile(source) for path in (out, beside)):
        raise Conflict(f"{Path(source).name} is what is read; name another file to write")
    contract = bundle.contract
    wanted = [*(column.name for column in contract.features), *([contract.id_column] if contract.id_column else [])]
    rows, counts = 0, Counter[tuple[str, str]]()
    book = _Book(workspace, bundle) if log else None
    try:
        with Sink(out, force=force) as good, Sink(beside, force=force) as aside:
            for table in stretches(source, columns=wanted):
                rows += table.rows + len(table.quarantined)
                kept, bad = _parted(table, bundle, counts)
                if bad:
                    aside.put(_aside(bad))
                good.put(_answers(kept, bundle, book))
            predicted, set_aside = good.rows, aside.rows
    finally:
        if book is not None:
            book.close()
    if not set_aside:
        beside.unlink(missing_ok=True)
    return Scored(version=bundle.name, rows=rows, predicted=predicted, reasons=dict(counts.most_common()), out=out,
                  aside=beside if set_aside else None, recorded=log, seconds=workspace.timer() - begun)


def _parted(table: Table, bundle: Bundle, counts: Counter[tuple[str, str]]) -> tuple[Table, Sequence[BadRow]]:
    """The rows that keep the contract, and the others."""
    if table.quarantined:
        counts["", "line"] += len(table.quarantined)
    given = agreed(table, bundle.contract)
    report = check_agreed(bundle.contract, given, roles=("feature",), listed=_EVERY)
    for (column, rule), count in report.counts.items():
        counts[column, rule] += count
    if report.ok:
        return given.table, table.quarantined
    parted = given.table.without(pl.Series(report.bad_rows), reasons(given.table, report))
    return parted, parted.quarantined


def _aside(bad: Sequence[BadRow]) -> pl.DataFrame:
    return pl.DataFrame({"unit": [one.unit for one in bad], "number": [one.line for one in bad],
                         "reason": [one.reason for one in bad], "text": [one.text for one in bad]},
                        schema={"unit": pl.String, "number": pl.Int64, "reason": pl.String, "text": pl.String})


def _answers(table: Table, bundle: Bundle, book: _Book | None) -> pl.DataFrame:
    """The answers to a table whose rows keep the contract, in the columns of the file."""
    numbers = np.arange(1, table.rows + 1) if table.numbers is None else table.numbers
    made: dict[str, Any] = {"row": pl.Series(numbers, dtype=pl.Int64)}
    key = bundle.contract.id_column
    if key is not None and key in table.frame.columns:
        text = table.encoding not in ("", "parquet")           # each stretch of a text file has types of its own
        made[key] = table.frame[key].cast(pl.String) if text else table.frame[key]
    step = TOGETHER if book is None else RECORDED
    parts = [table.frame.slice(start, step) for start in range(0, table.rows, step)] or [table.frame]
    answers, ids = [], list[str]()
    for part in parts:
        begun = time.perf_counter()
        answers.append(bundle.predict_frame(part))
        if book is not None and part.height:
            ids += book.keep(part, answers[-1], int((time.perf_counter() - begun) * 1e6))
    kind = pl.Float64 if not bundle.classes else {str: pl.String, bool: pl.Boolean}.get(type(bundle.classes[0]),
                                                                                          pl.Int64)
    made["prediction"] = pl.concat([pl.Series(one.values, dtype=kind) for one in answers])
    shares = [one.probabilities for one in answers if one.probabilities is not None]
    if shares:
        together = np.concatenate(shares)
        made |= {f"p_{name}": together[:, place] for place, name in enumerate(bundle.classes)}
    if book is not None:
        made["prediction_id"] = pl.Series(ids, dtype=pl.String)
    if key in ("row", "prediction", "prediction_id") or (shares and key in {f"p_{name}" for name in bundle.classes}):
        raise UsageError(f"the id column is called {key}, as a column of the answers is; give it another name in "
                         "contract.toml")
    return pl.DataFrame(made)


class _Book:
    """Has each prediction recorded as traffic of a version."""

    def __init__(self, workspace: Workspace, bundle: Bundle) -> None:
        self._space, self._bundle, self._place = workspace, bundle, Place(bundle.name.rpartition("@")[0], _ENDPOINT)
        self._due = False
        self._log = TrafficLog(workspace.folder / "traffic", writer=workspace.ids.short("w"), now=workspace.clock,
                               on_finished=self._finished)

    def keep(self, frame: pl.DataFrame, made: Prediction, latency_us: int) -> list[str]:
        """Record the answers to the rows of a frame; their ids."""
        now = self._space.clock.now()
        ids = sorted(self._space.ids.prediction(now) for _ in range(frame.height))
        rows = [{name: plain(value) for name, value in row.items()} for row in frame.iter_rows(named=True)]
        self._log.append(redacted(recorded(self._bundle, self._place, ids, rows, clock.to_text(now), BATCH, latency_us,
                                           made), self._bundle.contract, lambda: self._space.redaction))
        if self._due:
            self._due = False
            closing.close_all(self._space.folder / "traffic")
        return ids

    def close(self) -> None:
        """Bring it to the disk, as tables, each with its row in the journal."""
        self._log.close()
        closing.close_all(self._space.folder / "traffic")
        self._space.tables.note(by=self._space.actor)

    def _finished(self) -> None:
        self._due = True
