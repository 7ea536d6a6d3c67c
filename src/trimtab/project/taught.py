"""What has the traffic of an endpoint taught?  Recorded rows and what later turned out true of them.

Of a prediction that was labelled by its id and by its key the id counts. A trial's pairs take the truth that was told
first, since a bet is not undone; training takes the newest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from trimtab import clock
from trimtab.traffic.segments import KEPT

if TYPE_CHECKING:
    import polars as pl

    from trimtab.registry.model import Version
    from trimtab.workspace import Workspace

NAMES: Final = ("id", "at", "key", "endpoint", "verdict")


def labelled(frame: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """The rows of a traffic frame of which a truth is known, with the columns of `Labels.told` beside them."""
    import polars as pl

    names = ["first", "first_at", "label", "label_at"]
    by_id, by_key = (told.filter(pl.col("kind") == kind).select("key", *names) for kind in ("prediction", "key"))
    found = frame.join(by_id, left_on="id", right_on="key", how="inner")
    rest = frame.join(by_id, left_on="id", right_on="key", how="anti").join(by_key, on="key", how="inner")
    return pl.concat([found, rest.select(found.columns)]).sort("id")


def lessons(workspace: Workspace, version: Version, endpoint: str, *, until: str,
            columns: Sequence[str] = ()) -> pl.DataFrame:
    """Labelled rows of an endpoint, within the contract when they were asked, that `version` was not trained on.

    columns: of the traffic, only these (`NAMES` is enough to count); none: all. until: a time text; what was asked or
    told later is left out, so that the same moment gives the same rows. What a retrained version was trained on is
    known by the moment that its own rows end with; of one that was trained on a file nothing that was ever asked counts
    as known to it.
    """
    import polars as pl

    told = workspace.labels.told(version.model, until=until)
    if told.is_empty():
        return told.select("first", "first_at", "label", "label_at")
    frame = workspace.traffic.frame(model=version.model, until=clock.from_text(until), columns=columns).filter(
        pl.col("endpoint") == endpoint, pl.col("verdict") == KEPT)
    return labelled(frame, told).filter(pl.col("first_at") > learned_until(version))


def lately(rows: pl.DataFrame, began: str) -> int:
    """How many of the lessons were asked since a moment: what came before a change teaches nothing of it."""
    return 0 if rows.is_empty() else rows.filter(rows["at"] >= began).height


def learned_until(version: Version) -> str:
    """The moment up to which labels are in a version's training rows; "" where it was not retrained."""
    retrained = version.facts.get("retrained")
    return str(retrained["until"]) if isinstance(retrained, dict) else ""
