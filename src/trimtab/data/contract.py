"""What must the data look like?  (types, ranges, missing values, categories, units)

A contract is the same object at training, serving, batch scoring and monitoring. This module holds its nouns;
how it is written as TOML is `contract_toml.py`, how it is inferred `infer.py`, how it is checked `check.py` (tables)
and `rows.py` (single requests).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from trimtab import canon
from trimtab.canon import Digest

ColumnType = Literal["number", "integer", "boolean", "category", "text", "datetime"]
Log = Literal["keep", "hash", "drop"]
Role = Literal["feature", "target", "time", "group", "id", "ignored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one column must look like."""

    name: str
    type: ColumnType
    role: Role = "feature"
    missing: bool = False                     # may values be missing?
    min: float | None = None                  # inclusive; for datetime: days since 1970-01-01 UTC
    max: float | None = None
    categories: tuple[str, ...] = ()          # for "category": the known values, in the order of their codes
    unseen: bool = False                      # may a category be one that is not listed?
    unit: str = ""
    note: str = ""
    log: Log = "keep"                         # what the flight recorder may keep of a feature or an id
    confirm: str = ""                         # a question that a person should answer, e.g. "0: real zero or missing?"


@dataclass(frozen=True, kw_only=True)
class Contract:
    """All columns of a table, in order, and who answers for them."""

    columns: tuple[Column, ...]
    owner: str = ""
    version: int = 1

    @cached_property
    def features(self) -> tuple[Column, ...]:
        """The columns that a model sees, in the order of the encoded matrix."""
        return tuple(column for column in self.columns if column.role == "feature")

    @cached_property
    def feature_types(self) -> frozenset[str]:
        """The types that the features have."""
        return frozenset(column.type for column in self.features)

    @cached_property
    def id_column(self) -> str | None:
        """The column whose value, as text, labels may be joined by; None where rows have none."""
        return next((column.name for column in self.columns if column.role == "id"), None)

    @cached_property
    def redacted(self) -> Mapping[str, Log]:
        """The features and ids that the flight recorder hashes or drops."""
        return {column.name: column.log for column in self.columns
                if column.log != "keep" and column.role in ("feature", "id")}

    @cached_property
    def watched(self) -> Contract:
        """The contract as recorded rows can be held against it: redacted features are ignored."""
        return replace(self, columns=tuple(
            replace(column, role="ignored") if column.role == "feature" and column.name in self.redacted else column
            for column in self.columns)) if self.redacted else self

    @cached_property
    def target(self) -> Column:
        """The column to predict. Raises LookupError where the contract has none."""
        for column in self.columns:
            if column.role == "target":
                return column
        raise LookupError("the contract names no target column")

    @cached_property
    def feature_names(self) -> Mapping[str, None]:
        """The names of the features, in order; its keys compare at once with those of a row."""
        return dict.fromkeys(column.name for column in self.features)

    @cached_property
    def digest(self) -> Digest:
        """Digest of everything that the contract says."""
        return canon.digest_json([self.version, self.owner, [
            [c.name, c.type, c.role, c.missing, c.min, c.max, list(c.categories), c.unseen, c.unit, c.note, c.confirm,
             *([c.log] if c.log != "keep" else [])]
            for c in self.columns]])
