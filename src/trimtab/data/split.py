"""Which rows train, and which are held out?  By row, by group or by time.

By row exactly as scikit-learn's `train_test_split(…, test_size=0.2, random_state=42)` does, rows and order included:
people compare with the ten-line script. By group no group is on both sides. By time the newest stretch is held out,
nothing is shuffled, and rows of one moment are never divided.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trimtab.config import SplitBy
from trimtab.data.contract import Contract
from trimtab.data.lookup import near
from trimtab.errors import DataUnreadable, UsageError

Index = NDArray[np.int64]
Kind = Literal["row", "group", "time"]
FEWEST_ROWS = 10                               # below this neither five folds nor a hold-out of two rows exist


def split_rows(frame: pl.DataFrame, contract: Contract, split: SplitBy) -> tuple[Index, Index, Kind]:
    """Row numbers (from 0) of training and test rows, and how they were chosen.

    Raises UsageError for a share that is not between 0 and 1, both of time and group, or no such column; DataUnreadable
    where there are too few rows, groups or moments.
    """
    if not 0 < split.test < 1:
        raise UsageError(f"split.test = {split.test} must be a share between 0 and 1, such as 0.2")
    if split.time and split.group:
        raise UsageError("split names a time and a group column; choose one")
    if frame.height < FEWEST_ROWS:
        raise DataUnreadable(f"{frame.height} rows are too few to train and to test: at least {FEWEST_ROWS} are "
                             "needed, and intervals mean something from about 100 on.")
    if split.time:
        return *_by_time(_column(frame, split.time), split), "time"
    if split.group:
        return *_by_group(_column(frame, split.group), split), "group"
    test = math.ceil(split.test * frame.height)
    if test >= frame.height - 1:
        raise DataUnreadable(f"split.test = {split.test} leaves {frame.height - test} of {frame.height} rows to train "
                             "on. Lower it, or bring more rows.")
    order = np.random.RandomState(split.seed).permutation(frame.height)    # scikit-learn's own order: ShuffleSplit
    return order[test:].astype(np.int64), order[:test].astype(np.int64), "row"


def overlap(frame: pl.DataFrame, contract: Contract, train: Index, test: Index) -> int:
    """How many test rows are also training rows: equal in every feature and in the target."""
    names = [c.name for c in contract.columns if c.role in ("feature", "target") and c.name in frame.columns]
    keys = frame.select(names).hash_rows(seed=1).to_numpy()
    return int(np.isin(keys[test], keys[train]).sum())


def _column(frame: pl.DataFrame, name: str) -> pl.Series:
    if name not in frame.columns:
        raise UsageError(f"split names the column {name!r}, which the table does not have.{near(name, frame.columns)}")
    column = frame[name]
    if column.null_count():
        raise DataUnreadable(f"{name} decides the split and is missing in {column.null_count():,} rows (the first: row "
                             f"{int(column.is_null().arg_true()[0]) + 1}). Fill it in or remove those rows.")
    return column


def _by_time(times: pl.Series, split: SplitBy) -> tuple[Index, Index]:
    if times.dtype in (pl.String, pl.Boolean):
        raise DataUnreadable(f"{times.name} holds {times.dtype}, not times. Write ISO dates (2026-03-31) or numbers.")
    moments = times.to_physical().to_numpy()
    order = np.argsort(moments, kind="stable")
    wanted = moments.size - math.ceil(split.test * moments.size)
    ordered = moments[order]
    cut = int(np.searchsorted(ordered, ordered[wanted], side="left"))      # the whole moment goes to the test rows
    if cut == 0:
        cut = int(np.searchsorted(ordered, ordered[0], side="right"))
    if cut >= moments.size:
        raise DataUnreadable(f"{times.name} is the same in every row, so there is no later stretch to test on. At "
                             "least two moments are needed.")
    return order[:cut].astype(np.int64), order[cut:].astype(np.int64)


def _by_group(groups: pl.Series, split: SplitBy) -> tuple[Index, Index]:
    """Groups in random order are held out until the share is reached; as in GroupShuffleSplit the share is of
    groups."""
    distinct = groups.unique(maintain_order=True)
    if distinct.len() < 2:
        raise DataUnreadable(f"{groups.name} has one group ({distinct[0]}), so none can be held out. At least two are "
                             "needed, and intervals mean something from about 20 on.")
    held = min(math.ceil(split.test * distinct.len()), distinct.len() - 1)
    order = np.random.RandomState(split.seed).permutation(distinct.len())
    test = groups.is_in(distinct.gather(order[:held]).implode()).to_numpy()
    return np.flatnonzero(~test).astype(np.int64), np.flatnonzero(test).astype(np.int64)
