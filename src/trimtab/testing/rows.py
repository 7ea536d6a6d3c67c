"""Which rows are asked about in a simulation?  Made up by the pump station, drawn from a table, or replayed in order.

The pump station is synthetic: what its pumps use is known by a formula, so that what a scenario does to it is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from trimtab.data.contract import Contract
from trimtab.data.readers import read_table
from trimtab.errors import UsageError
from trimtab.testing.scenario import ROWS, Event, Scenario

Rng = np.random.Generator
TARGET: Final = "energy"
TRAINING_ROWS: Final = 3_000
PUMP_TOML: Final = f'''[model]
name   = "pumps"
data   = "data.csv"
target = "{TARGET}"
split  = {{ test = 0.2, seed = 42 }}
owner  = "simulation"

[train]
candidates = ["ridge", "hgb"]

[train.params.hgb]                       # one setting and no search: a simulation trains often
max_iter       = 80
max_leaf_nodes = 15
learning_rate  = 0.1

[deploy.production]
canary = {{ loss_clip = 25 }}

[monitor]
window   = 250
labels   = {{ expected_lag = "1d" }}
on_drift = "retrain"
'''
PUMP_LIFTED: Final = ("flow", "head", "temperature", "vibration", TARGET)     # columns whose bounds are lifted


def pump_station(rng: Rng, rows: int) -> pl.DataFrame:
    """Rows of a made-up pump station: what it pumps, how high, how warm it is, and the energy that it takes in kWh.

    Energy bends upwards with the flow, so that a straight line misses what lies beyond its training.
    """
    flow, head = rng.normal(100, 15, rows), rng.normal(30, 4, rows)
    temperature, vibration = rng.normal(18, 6, rows), rng.lognormal(0.5, 0.3, rows)
    site = rng.integers(3, size=rows)
    energy = (flow * head / 300 + 0.02 * np.maximum(flow - 110, 0) ** 1.6 + 0.01 * (temperature - 18) ** 2
              + 0.8 * (site == 2) + rng.normal(0, 0.5, rows))
    shaken = pl.Series("vibration", vibration.round(3))
    return pl.DataFrame({
        "flow": flow.round(2), "head": head.round(2), "temperature": temperature.round(1),
        "vibration": shaken.scatter(np.flatnonzero(rng.random(rows) < 0.02), None),
        "site": np.array(["east", "north", "south"])[site], TARGET: energy.round(3)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Rows of one request, with their truths in the target's column, and when it is made."""

    at: datetime
    rows: pl.DataFrame


def requests(scenario: Scenario, training: pl.DataFrame, start: datetime, rng: Rng) -> Iterator[Asked]:
    """The requests of a scenario, in the order of time, before any fault.

    training: the project's own rows, to draw from where the scenario names no table. Raises UsageError.
    """
    table, end = training, start + timedelta(days=scenario.days)
    if scenario.rows is not None:
        table = read_table(scenario.rows.data, root=scenario.root).frame
        if scenario.rows.time:
            yield from _replayed(table, scenario.rows.time, scenario.request, end)
            return
    step, at = timedelta(hours=scenario.request / scenario.rate), start
    while at < end:
        made_up = not scenario.project and scenario.rows is None
        rows = pump_station(rng, scenario.request) if made_up else table[rng.integers(table.height,
                                                                                      size=scenario.request)]
        yield Asked(at=at, rows=rows)
        at += step


def first_moment(scenario: Scenario, otherwise: datetime) -> datetime:
    """When the traffic begins: the first moment of a replayed table, else as given."""
    if scenario.rows is None or not scenario.rows.time:
        return otherwise
    table = read_table(scenario.rows.data, root=scenario.root).frame
    first: datetime = _moments(table, scenario.rows.time).min()                         # type: ignore[assignment]
    return first


def _replayed(table: pl.DataFrame, time: str, request: int, end: datetime) -> Iterator[Asked]:
    ordered = table.with_columns(_moments(table, time).alias(" at")).sort(" at", maintain_order=True)
    for part in ordered.iter_slices(request):
        at: datetime = part[" at"][-1]                                                   # when its last row is known
        if at > end:
            return
        yield Asked(at=at, rows=part.drop(" at"))


def _moments(table: pl.DataFrame, time: str) -> pl.Series:
    if time not in table.columns or not table[time].dtype.is_temporal():
        raise UsageError(f"the rows have no column of moments {time!r} to be replayed by; they have "
                         f"{', '.join(table.columns[:12])}")
    return table[time].cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


class Faults:
    """What a scenario does to rows while its events last. Holds the value at which a stuck sensor stands."""

    def __init__(self, events: tuple[Event, ...], training: pl.DataFrame, contract: Contract, rng: Rng) -> None:
        self._events = tuple(event for event in events if event.kind in ROWS)
        self._training, self._target, self._rng = training, contract.target.name, rng
        self._stuck: dict[Event, Any] = {}
        for event in self._events:
            if event.column and event.column not in training.columns:
                raise UsageError(f"a scenario's event names the column {event.column!r}, which the data do not have; "
                                 f"they have {', '.join(training.columns[:12])}")

    def applied(self, rows: pl.DataFrame, since_start_s: float) -> pl.DataFrame:
        """The rows as they are sent, and their truths, `since_start_s` seconds into the traffic."""
        for event in self._events:
            if event.at_s <= since_start_s < event.at_s + event.lasts_s:
                rows = self._one(event, rows)
        return rows

    def _one(self, event: Event, rows: pl.DataFrame) -> pl.DataFrame:
        name = self._target if event.kind == "concept" else event.column
        column, hit = pl.col(name), pl.Series(self._rng.random(rows.height) < event.share)
        match event.kind:
            case "drift":
                spread = self._training[name].std()
                made = column + event.sd * float(spread)                                 # type: ignore[arg-type]
            case "stuck":
                made = pl.lit(self._stuck.setdefault(event, rows[name][0]), dtype=rows[name].dtype)
            case "unit" | "concept":
                made = column * event.factor + event.offset
            case "missing":
                made = pl.when(hit).then(None).otherwise(column)
            case _:
                made = pl.when(hit).then(pl.lit(event.value)).otherwise(column)
        return rows.with_columns(made.alias(name))
