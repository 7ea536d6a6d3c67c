"""Which categories does a column hold, how often, and how many different ones are there?

Up to 100 names are counted; all the rest is `other`. Over *given* names (the training data's, at monitoring) counts
add exactly. Where each side chose its own names, a merge is exact as long as nothing was cut off; after that each
count is a lower bound that misses at most `error`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from trimtab.errors import UsageError

_SPACE = 1 << 64
_KEPT = 256                                   # hashes kept for the distinct estimate: relative standard error 6%


@dataclass(frozen=True, slots=True, kw_only=True)
class TopCategories:
    """Counts of the most frequent categories, or of a given list of them, and of everything else.

    names, counts: the counted categories, most frequent first (ties by name), or in the given order where `fixed`.
    other: rows in no counted category. error: the most that any count may lack (0 in one pass, and where `fixed`).
    hashes: the 256 smallest 64-bit hashes of the names, once names were cut off; for the distinct estimate.
    """

    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    other: int = 0
    fixed: bool = False
    top: int = 100
    error: int = 0
    dropped: int = 0                          # the most rows that a category which is not counted may have
    hashes: tuple[int, ...] = ()

    @classmethod
    def of(cls, counts: Mapping[str, int], names: Iterable[str] | None = None, top: int = 100) -> TopCategories:
        """The summary of rows per category, as Polars' `value_counts` or a `Counter` gives them (missing left out).

        names: count exactly these, in this order, and put the rest in `other`. top: names kept where none are given.
        Categories with zero rows don't exist unless they are in `names`. O(categories · log top).

        >>> TopCategories.of({"a": 3, "b": 5}).names
        ('b', 'a')
        >>> TopCategories.of({"a": 3, "x": 1}, names=["b", "a"])
        TopCategories(names=('b', 'a'), counts=(0, 3), other=1, fixed=True, top=100, error=0, dropped=0, hashes=())
        """
        seen = {name: int(count) for name, count in counts.items() if count > 0}
        if names is not None:
            given = tuple(dict.fromkeys(names))
            inside = tuple(seen.get(name, 0) for name in given)
            return cls(names=given, counts=inside, other=sum(seen.values()) - sum(inside), fixed=True, top=top)
        return _cut(seen, top=top, other=0, error=0, dropped=0, hashes=())

    @property
    def rows(self) -> int:
        """Rows that are not missing."""
        return sum(self.counts) + self.other

    @property
    def distinct(self) -> int | None:
        """How many different categories: exact while all are counted, else an estimate with 6% standard error.

        None over given names, where what is in `other` is not looked at.
        Bar-Yossef et al. 2002, "Counting distinct elements in a data stream", algorithm 2 (k minimum values).

        >>> many = TopCategories.of({str(i): 1 for i in range(5_000)})
        >>> 4_000 < many.distinct < 6_000
        True
        """
        if self.fixed:
            return None
        if not self.hashes:
            return len(self.names)
        if len(self.hashes) < _KEPT:
            return len(self.hashes)
        return max(len(self.names) + 1, round((_KEPT - 1) * _SPACE / self.hashes[-1]))

    def merge(self, other: TopCategories) -> TopCategories:
        """The summary of both data sets together. Over equal given names, and while nothing is cut off: exact.

        Raises UsageError where one side counts over given names and the other over different ones.

        >>> TopCategories.of({"a": 1}).merge(TopCategories.of({"a": 1, "b": 1})).counts
        (2, 1)
        """
        if self.fixed or other.fixed:
            if not (self.fixed and other.fixed and self.names == other.names):
                raise UsageError("two category summaries count over different names and can't be added. "
                                 "Make the second with names=first.names.")
            return TopCategories(names=self.names, fixed=True, top=self.top, other=self.other + other.other,
                                 counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)))
        seen = dict(zip(self.names, self.counts, strict=True))
        for name, count in zip(other.names, other.counts, strict=True):
            seen[name] = seen.get(name, 0) + count
        hashes = _smallest((*self._hashes(), *other._hashes())) if self.hashes or other.hashes else ()
        missed = self.dropped + other.dropped                                 # by any name, whichever side lacks it
        return _cut(seen, top=max(self.top, other.top), other=self.other + other.other, error=missed, dropped=missed,
                    hashes=hashes)

    def to_json(self) -> dict[str, object]:
        """Every field under its own name; hashes as 16 hex digits each."""
        return {"names": list(self.names), "counts": list(self.counts), "other": self.other, "fixed": self.fixed,
                "top": self.top, "error": self.error, "dropped": self.dropped,
                "hashes": [f"{value:016x}" for value in self.hashes]}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> TopCategories:
        """The inverse of `to_json`, exact. Raises KeyError, TypeError or ValueError where the shape is another."""
        names, counts, hashes = (_items(data, key) for key in ("names", "counts", "hashes"))
        if len(names) != len(counts):
            raise ValueError(f"{len(names)} names have {len(counts)} counts")
        return cls(names=tuple(str(name) for name in names), counts=tuple(_whole(count) for count in counts),
                   other=_whole(data["other"]), fixed=bool(data["fixed"]), top=_whole(data["top"]),
                   error=_whole(data["error"]), dropped=_whole(data["dropped"]),
                   hashes=tuple(int(str(value), 16) for value in hashes))

    def _hashes(self) -> tuple[int, ...]:
        return self.hashes or _smallest(_hash(name) for name in self.names)


def _cut(seen: Mapping[str, int], *, top: int, other: int, error: int, dropped: int,
         hashes: tuple[int, ...]) -> TopCategories:
    """The `top` most frequent of `seen`; what is cut off adds to `other` and to the bounds."""
    if len(seen) <= top:
        ordered = sorted(seen.items(), key=_by_frequency)
        return TopCategories(names=tuple(n for n, _ in ordered), counts=tuple(c for _, c in ordered), other=other,
                             top=top, error=error, dropped=dropped, hashes=hashes)
    best = heapq.nsmallest(top + 1, seen.items(), key=_by_frequency)
    kept, (_, largest_lost) = best[:top], best[top]
    lost = sum(seen.values()) - sum(count for _, count in kept)
    return TopCategories(names=tuple(n for n, _ in kept), counts=tuple(c for _, c in kept), other=other + lost,
                         top=top, error=error, dropped=dropped + largest_lost,
                         hashes=hashes or _smallest(_hash(name) for name in seen))


def _by_frequency(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _smallest(hashes: Iterable[int]) -> tuple[int, ...]:
    return tuple(heapq.nsmallest(_KEPT, set(hashes)))


def _items(data: Mapping[str, object], key: str) -> list[object]:
    value = data[key]
    if not isinstance(value, list):
        raise TypeError(f"{key} is {type(value).__name__}; expected a list")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value
