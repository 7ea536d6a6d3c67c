"""A small world to watch: a contract, its training data, and rows of traffic that may go wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.data.contract import Column, Contract
from trimtab.data.profile import profile
from trimtab.monitor.drift import Detector, Rate
from trimtab.monitor.harm import Risk
from trimtab.monitor.windows import PREDICTION, Sketch, Window
from trimtab.sketch.column import NumericSketch


@dataclass
class World:
    """Rows with a temperature (°C), a rate around zero, a volume (heavy tail), a kind; the answer follows them."""

    rng: np.random.Generator
    contract: Contract
    baseline: dict[str, Sketch]
    risk: Risk | None

    def rows(self, n: int = 1000) -> pl.DataFrame:
        """Raw features, as they were in training."""
        return _rows(self.rng, n)

    def window(self, frame: pl.DataFrame, *, answers: pl.Series | None = None) -> Window:
        """The window of these rows."""
        told = _answers(frame) if answers is None else answers
        return Window.of(frame, self.contract, self.baseline, answers=told)

    def detector(self, **more: Any) -> Detector:
        """A detector at one false alarm a year of daily windows."""
        return Detector(self.baseline, Rate(), **more)


def _rows(rng: np.random.Generator, n: int) -> pl.DataFrame:
    return pl.DataFrame({
        "temperature": rng.normal(15.0, 6.0, n), "rate": rng.normal(0.0, 1.0, n),
        "volume": np.exp(rng.normal(3.0, 0.7, n)), "kind": rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1])})


def _answers(frame: pl.DataFrame) -> pl.Series:
    plain = frame.with_columns(pl.col("temperature", "rate").cast(pl.Float64, strict=False).fill_null(0.0))
    return (2.0 * plain["rate"] + 0.1 * plain["temperature"]).alias("answer")


def make_world(seed: int = 1, rows: int = 20_000) -> World:
    """The world that `rows` training rows have seen."""
    rng = np.random.default_rng(seed)
    contract = Contract(columns=(
        Column(name="temperature", type="number", missing=True), Column(name="rate", type="number", missing=True),
        Column(name="volume", type="number", min=0.0), Column(name="kind", type="category", categories=("a", "b", "c")),
        Column(name="y", type="number", role="target")))
    frame = _rows(rng, rows)
    baseline: dict[str, Sketch] = dict(profile(frame, contract))
    baseline[PREDICTION] = NumericSketch.of(_answers(frame)[: rows // 5].to_numpy())
    return World(rng, contract, baseline, Risk.of(rng.normal(0.0, 1.0, rows // 5) ** 2))


@pytest.fixture
def world() -> World:
    """One world."""
    return make_world()


@pytest.fixture
def a_world() -> Callable[..., World]:
    """Worlds by seed and size."""
    return make_world
