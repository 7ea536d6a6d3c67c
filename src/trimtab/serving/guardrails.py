"""Is a version unfit to answer, whatever the labels will say?  Told from what it and another one computed on the same
requests: answers that can't be used, answers that never come, answers that come late.

Each guardrail is a one-sided test that is valid at every look (`stats.always`). A version that is no worse than the
other by the margin stated is said to have crossed one with probability at most `alpha` over all looks at the rows since
one fixed moment: failures, latency and output spend a third each. Pure: the rows come in, sentences go out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from trimtab import canon
from trimtab.stats.always import above_zero
from trimtab.traffic.segments import FAILED

if TYPE_CHECKING:
    import polars as pl

ALPHA: Final = 0.01
MORE: Final = 0.01                            # of the requests: how many more may fail, or be late
RARER: Final = 10                             # times: how much rarer an answer may become
LATER: Final = 3.0                            # times the other's slowest hundredth
LEAST_LATE_US: Final = 5_000                  # a request that took less is not late
COLUMNS: Final = ("id", "batch", "endpoint", "version", "verdict", "latency_us", "output", "probabilities")
FIRST: Final = 100                            # requests of the other version that say what is late


def crossed(frame: pl.DataFrame, *, subject: int, reference: int, classes: Sequence[object] = (),
            alpha: float = ALPHA) -> tuple[str, ...]:
    """The guardrails that version `subject` has crossed, in sentences; none where it is fit to answer.

    frame: `COLUMNS` of `Traffic.frame(shadows=True)`, of one endpoint since one fixed moment; only requests that both
    versions computed count. classes: what `reference` can answer; empty for regression. alpha: see above.
    """
    import polars as pl

    broken = (pl.col("verdict") == FAILED) | (pl.col("output") == "null") | \
        pl.col("probabilities").str.contains("null,|null]").fill_null(False)
    told = frame.select("id", "batch", "version", "latency_us", "output", broken=broken)
    mine, theirs = (told.filter(pl.col("version") == number).drop("version") for number in (subject, reference))
    rows = mine.join(theirs.drop("batch"), on="id", suffix="_other").sort("id")
    if rows.is_empty():
        return ()
    requests = rows.group_by("batch", maintain_order=True).agg(
        pl.col("broken").any(), pl.col("broken_other").any(), pl.col("latency_us").first(),
        pl.col("latency_us_other").first())
    part = alpha / 3
    found = [_failures(requests, subject, reference, part), _late(requests, subject, reference, part)]
    kept = rows.filter(~pl.col("broken") & ~pl.col("broken_other"))
    if classes:
        found += [_rare(kept, one, subject, reference, part / len(classes)) for one in classes]
    else:
        found.append(_constant(kept, subject, reference, part))
    return tuple(one for one in found if one)


def _failures(requests: pl.DataFrame, subject: int, reference: int, alpha: float) -> str:
    if not _more(requests["broken"], requests["broken_other"], alpha):
        return ""
    return (f"v{subject} gave no usable answer to {requests['broken'].sum():,} of {requests.height:,} requests; "
            f"v{reference} failed {requests['broken_other'].sum():,}")


def _late(requests: pl.DataFrame, subject: int, reference: int, alpha: float) -> str:
    """What is late is fixed by the first requests; the bets are on those after them."""
    slowest = requests["latency_us_other"].head(FIRST).max()
    rest = requests.slice(FIRST)
    if rest.is_empty() or not isinstance(slowest, int):
        return ""
    limit_us = max(LEAST_LATE_US, LATER * slowest)
    mine, theirs = rest["latency_us"] > limit_us, rest["latency_us_other"] > limit_us
    if not _more(mine, theirs, alpha):
        return ""
    return (f"v{subject} took longer than {limit_us / 1000:.3g} ms for {mine.sum():,} of {rest.height:,} requests, "
            f"v{reference} for {theirs.sum():,} of them")


def _rare(rows: pl.DataFrame, label: object, subject: int, reference: int, alpha: float) -> str:
    text = canon.dumps(canon.finite(label)).decode()
    mine, theirs = rows["output"] == text, rows["output_other"] == text
    if not _rarer(mine, theirs, alpha):
        return ""
    return (f"v{subject} answered {label!r} {mine.sum():,} times in {rows.height:,} rows, v{reference} "
            f"{theirs.sum():,} times")


def _constant(rows: pl.DataFrame, subject: int, reference: int, alpha: float) -> str:
    mine, theirs = (rows[name] != rows[name].shift() for name in ("output", "output_other"))
    mine, theirs = mine.fill_null(False), theirs.fill_null(False)
    if not _rarer(mine, theirs, alpha):
        return ""
    return (f"v{subject}'s answer changed from row to row {mine.sum():,} times in {rows.height:,}, v{reference}'s "
            f"{theirs.sum():,} times")


def _more(mine: pl.Series, theirs: pl.Series, alpha: float) -> bool:
    """Is `mine` true more often than `theirs`, by more than `MORE` of the requests?"""
    return above_zero([1 - MORE, -MORE, -1 - MORE], _counts(mine, theirs), alpha=alpha)


def _rarer(mine: pl.Series, theirs: pl.Series, alpha: float) -> bool:
    """Is `mine` true less than a tenth (1 / `RARER`) as often as `theirs`?"""
    both = int((mine & theirs).sum())
    alone, other = int(mine.sum()) - both, int(theirs.sum()) - both
    return above_zero([1.0, 1.0 - RARER, -float(RARER)], [other, both, alone], alpha=alpha)


def _counts(mine: pl.Series, theirs: pl.Series) -> list[int]:
    """How often it was mine alone, both or neither, theirs alone."""
    worse, better = int((mine & ~theirs).sum()), int((~mine & theirs).sum())
    return [worse, len(mine) - worse - better, better]
