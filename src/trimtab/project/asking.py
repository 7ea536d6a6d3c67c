"""What would a version answer for the rows of a table?  Without a server, through the same bundle and contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trimtab.data.check import check_table
from trimtab.data.readers import read_table
from trimtab.pipeline.agreed import agreed, check_agreed
from trimtab.registry.bundle import Bundle, Prediction, load_bundle
from trimtab.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Predictions for the rows that keep the contract, and the sentences about those that don't."""

    version: str
    rows: tuple[int, ...]                      # from 1, of the table: those that were predicted
    prediction: Prediction
    classes: tuple[Any, ...]
    violations: tuple[dict[str, object], ...]
    warning: str

    def to_json(self) -> dict[str, object]:
        """As `predict --json` prints it."""
        made: list[dict[str, object]] = [
            {"row": row, "value": value} for row, value in zip(self.rows, self.prediction.values, strict=True)]
        if self.prediction.probabilities is not None:
            for one, shares in zip(made, self.prediction.probabilities.tolist(), strict=True):
                one["probabilities"] = {str(name): share for name, share in zip(self.classes, shares, strict=True)}
        return {"schema": "trimtab.table_predictions/1", "version": self.version, "predictions": made,
                "violations": list(self.violations), "warning": self.warning}

    def lines(self, limit: int) -> Iterator[str]:
        """For people: at most `limit` rows, and the same number of complaints."""
        if self.warning:
            yield f" {self.warning}"
        for place, (row, value) in enumerate(zip(self.rows[:limit], self.prediction.values, strict=False)):
            shown = f"{value:.6g}" if isinstance(value, float) else str(value)
            p = self.prediction.probabilities
            tail = "" if p is None else "   " + "  ".join(
                f"p({name}) {share:.3f}" for name, share in zip(self.classes, p[place], strict=True))
            yield f" row {row:<6} {shown}{tail}"
        if len(self.rows) > limit:
            yield f" … {len(self.rows) - limit:,} more (--limit, or --json for all)"
        for violation in self.violations[:limit]:
            yield f" not predicted: {violation['message']}"


def predict_batch(bundle: Bundle, rows: Any) -> Prediction:
    """Answers for a frame or a matrix, all or none. Raises ContractViolation, UsageError (no table of numbers)."""
    from trimtab.project.watching import as_frame

    names = [column.name for column in bundle.contract.features]
    frame = as_frame(rows, names)
    if known := [name for name in frame.columns if name in names]:
        frame = frame.select(known)
    check_table(bundle.contract, frame, roles=("feature",)).raise_if_bad("the rows")
    return bundle.predict_frame(frame)


def predict_table(workspace: Workspace, reference: str, source: Path | pl.DataFrame) -> Answered:
    """Ask a version about a table. Rows that break its contract are not predicted, and said so."""
    version = workspace.versions.resolve(reference)
    bundle = load_bundle(workspace.versions, version)
    given = agreed(read_table(source), bundle.contract)
    report = check_agreed(bundle.contract, given, roles=("feature",))
    bad = pl.Series(report.bad_rows)
    kept = given.table.only(~bad)
    return Answered(
        version=version.name, rows=tuple(kept.number(place) for place in range(kept.rows)),
        prediction=bundle.predict_frame(kept.frame), classes=bundle.classes, warning=bundle.warning,
        violations=tuple(violation.to_json() for violation in report.violations))
