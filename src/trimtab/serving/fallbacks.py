"""Which fallback does a live version declare, and what is remembered for it?

Asked when a version becomes live, never by a request. What is remembered belongs to the endpoint and outlives the
version; after a restart it is read again from the recorded traffic.
"""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from trimtab.canon import Digest
from trimtab.clock import Clock
from trimtab.data.contract import Contract
from trimtab.registry.bundle import Bundle
from trimtab.registry.ingredients import config_of
from trimtab.serving.fallback import Fallback, Held, Memory
from trimtab.serving.source import Place
from trimtab.traffic.redaction import Secret

if TYPE_CHECKING:
    from trimtab.data.versions import Datasets
    from trimtab.registry.versions import Versions
    from trimtab.traffic.query import Traffic

_REMEMBERED: Final = 20_000                    # recorded rows that are read again after a restart
_IMPOSSIBLE: Final = 30.0                      # −log of a chance
_HELD: Final = 3                               # a training run of a third of `stuck_after`: it is held by nature
_RUNS: Final = 200                             # changes of number that training must show to say so


class Fallbacks:
    """The fallbacks of one workspace's endpoints."""

    def __init__(self, versions: Versions, datasets: Datasets, traffic: Traffic, now: Clock,
                 secret: Secret) -> None:
        self._versions, self._datasets, self._traffic, self._clock = versions, datasets, traffic, now
        self._secret = secret
        self._memory: dict[Place, Memory] = {}

    def of(self, place: Place, bundle: Bundle) -> Fallback | None:
        """The fallback that a version declares for a place, ready; None where it declares none.

        Raises CheckFailed (the constant can be no answer of this model), and as reading the version, its data and the
        traffic does.
        """
        version = self._versions.get(place.model, bundle.number)
        made_with = config_of(self._versions, version)
        declared = None if made_with is None or place.endpoint not in made_with.endpoint else \
            made_with.endpoint[place.endpoint].fallback
        if declared is None:
            return None
        held: Held = {}
        if "stuck" in declared.on:
            dataset = Digest(str(self._versions.ingredient(version, "data")["dataset"]))
            held = can_be_stuck(self._datasets.load(dataset), bundle.contract, declared.stuck_after)
        known = self._memory.get(place)
        made = Fallback(declared, bundle, held, known or Memory(), self._clock, self._secret)
        if known is None:
            if bundle.contract.redacted.get(bundle.contract.id_column or "") != "drop":     # else whose was it?
                self._remember(place, made)
            self._memory[place] = made.memory
        return made

    def _remember(self, place: Place, made: Fallback) -> None:
        since = self._clock.now() - timedelta(seconds=made.declared.last_good_s)
        rows = self._traffic.frame(model=place.model, since=since, limit=_REMEMBERED).filter(
            (pl.col("endpoint") == place.endpoint) & pl.col("stage").is_in(["champion", "canary"]))
        made.replay((row["key"] or "", json.loads(row["features"]), json.loads(row["output"]), row["verdict"],
                     row["at"]) for row in rows.iter_rows(named=True))


def can_be_stuck(frame: pl.DataFrame, contract: Contract, stuck_after: int) -> Held:
    """The columns in which n = `stuck_after` equal numbers in a row mean a stuck sensor, by the training rows; with
    each the numbers that come often there, which never count.

    A number counts that is rare in training: were rows independent, its share p would give n in a row a chance p^(n−1)
    under e⁻³⁰. A column counts where no rare number came more than n/3 times in a row of one key, of at least 200
    such stretches. So a constant or coarse column does not, nor a figure that is held by nature (a monthly one in daily
    rows). Which row follows which is told by the time column: without one no column counts.
    """
    timed, key = next((one.name for one in contract.columns if one.role == "time"), None), contract.id_column
    if timed is None or timed not in frame.columns:
        return {}
    key = key if key in frame.columns else None
    frame = frame.sort([key, timed] if key else timed, maintain_order=True)
    often = math.exp(-_IMPOSSIBLE / (stuck_after - 1))
    found: dict[str, frozenset[float]] = {}
    for column in contract.features:
        if column.type not in ("number", "integer") or column.name not in frame.columns:
            continue
        steps = pl.DataFrame({"key": frame[key] if key else pl.Series([0]).new_from_index(0, frame.height),
                              "value": frame[column.name].cast(pl.Float64, strict=False)})
        counts = steps["value"].drop_nulls().value_counts(name="share", normalize=True)
        natural = counts.filter(pl.col("share") >= often)["value"].to_list()
        runs = steps.with_columns(pl.struct("key", "value").rle_id().alias("run")).filter(
            pl.col("value").is_not_null() & ~pl.col("value").is_in(natural)).group_by("run").len()
        longest: Any = runs["len"].max() or 0
        if runs.height >= _RUNS and _HELD * longest <= stuck_after:
            found[column.name] = frozenset(natural)
    return found
