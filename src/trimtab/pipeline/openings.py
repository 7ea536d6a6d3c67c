"""How often were these held-out rows looked at?

Each look lets a choice lean on rows that should only judge it, so looks are counted per dataset and split, and the
count is printed. A run that is evaluated again learns nothing new and is not counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, insert, select

from trimtab import clock as clocks
from trimtab.canon import Digest
from trimtab.clock import Clock
from trimtab.store.db import Database
from trimtab.store.schema import openings


@dataclass(frozen=True, slots=True)
class Opening:
    """The count after this look, and whether this look was a new one."""

    count: int
    new: bool


def open_held_out(db: Database, clock: Clock, *, dataset: Digest, split: Digest, run: str, by: str) -> Opening:
    """Count one look of `run` at the held-out rows of `split`.

    Called before anything is scored: a crash afterwards still counts.
    """
    here = (openings.c.dataset == dataset) & (openings.c.split == split)
    with db.write() as conn:
        new = conn.execute(select(openings.c.id).where(here, openings.c.run == run)).first() is None
        if new:
            conn.execute(insert(openings).values(
                dataset=dataset, split=split, run=run, at=clocks.to_text(clock.now()), by=by))
        count = conn.execute(select(func.count()).select_from(openings).where(here)).scalar_one()
    return Opening(count, new)


def opened(db: Database, *, dataset: Digest, split: Digest) -> int:
    """How many runs have looked at the held-out rows of `split` so far."""
    with db.read() as conn:
        return conn.execute(select(func.count()).select_from(openings).where(
            (openings.c.dataset == dataset) & (openings.c.split == split))).scalar_one()
