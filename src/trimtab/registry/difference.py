"""What does a comparison of two versions say?  The nouns, and their JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from trimtab.canon import finite
from trimtab.registry.changes import Changed, FileChange
from trimtab.registry.disagree import Search
from trimtab.stats.interval import Interval
from trimtab.stats.paired import Paired
from trimtab.stats.scores import direction

Verdict = Literal["better", "worse", "tie", "not paired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricChange:
    """One metric of both versions. `change`: b less a, paired on the same rows; None where they can't be paired."""

    metric: str
    a: float | None
    b: float | None
    change: Interval | None = None

    @property
    def verdict(self) -> Verdict:
        """What b is, as far as the interval allows us to say: a tie where it holds zero."""
        if self.change is None or not (math.isfinite(self.change.low) and math.isfinite(self.change.high)):
            return "not paired"
        if self.change.low <= 0 <= self.change.high:
            return "tie"
        return "better" if (self.change.high < 0) == (direction(self.metric) == "lower") else "worse"

    def to_json(self) -> dict[str, object]:
        """All fields and the verdict."""
        return {"metric": self.metric, "a": self.a, "b": self.b, "verdict": self.verdict,
                "change": None if self.change is None else self.change.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row on which they disagree: its position in the dataset, the truth, both answers, some of its values."""

    row: int
    y: object
    a: object
    b: object
    values: dict[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """All fields."""
        return {"row": self.row, "y": self.y, "a": self.a, "b": self.b,
                "values": {name: value if isinstance(value, int | float | str | bool | None) else str(value)
                           for name, value in self.values.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Everything that differs between version `a` and version `b`."""

    a: str
    b: str
    same_bytes: bool
    metrics: tuple[MetricChange, ...] = ()
    rows: int = 0                             # that both scored
    loss: Paired | None = None                # of the selection metric, row by row: positive means b is better
    pairing: str = ""                         # on what they were compared, or precisely why they could not be
    can_rescore: bool = False                 # would `rescore=True` be able to compare them?
    parameters: tuple[Changed, ...] = ()
    features: tuple[Changed, ...] = ()
    contract: tuple[Changed, ...] = ()        # column by column
    environment: tuple[Changed, ...] = ()
    config: tuple[Changed, ...] = ()
    data: tuple[Changed, ...] = ()
    code: tuple[FileChange, ...] = ()
    git: tuple[Changed, ...] = ()
    disagree: int = 0
    rule: str = ""                            # what counts as disagreement
    examples: tuple[Example, ...] = ()        # the largest first
    search: Search | None = None              # the slice; None where nothing was searched

    @property
    def slice_words(self) -> str:
        """The slice in one sentence, or that none stands out and among how many, or why none was looked for."""
        if self.search is None:
            return ""
        return self.search.slice.words if self.search.slice else self.search.note

    def to_json(self) -> dict[str, object]:
        """`trimtab diff --json`."""
        value = finite({
            "schema": "trimtab.diff/1", "a": self.a, "b": self.b, "same_bytes": self.same_bytes,
            "metrics": [one.to_json() for one in self.metrics], "rows": self.rows, "pairing": self.pairing,
            "loss": None if self.loss is None else self.loss.to_json(), "can_rescore": self.can_rescore,
            **{name: [one.to_json() for one in getattr(self, name)] for name in
               ("parameters", "features", "contract", "environment", "config", "data", "code", "git")},
            "disagree": {"rows": self.disagree, "rule": self.rule,
                         "examples": [one.to_json() for one in self.examples],
                         "slice": None if self.search is None or self.search.slice is None
                         else self.search.slice.to_json(),
                         "slices_looked_at": 0 if self.search is None else self.search.looked_at,
                         "words": self.slice_words}})
        assert isinstance(value, dict)
        return value
