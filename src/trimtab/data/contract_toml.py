"""How is a contract written, and what does a written one say?  (`contract.toml`: generated, then owned)

One table a column, in the order of the data, in words that people read who don't write Python. `parse(render(c)) == c`
for every contract. A mistake is a ConfigInvalid that names the table and the key, and what may have been meant.
"""

from __future__ import annotations

import math
import re
import tomllib
from datetime import UTC, date, datetime
from typing import Any, Final, get_args

from trimtab.data.contract import Column, ColumnType, Contract, Log, Role
from trimtab.data.lookup import near
from trimtab.data.moments import days, from_days
from trimtab.errors import ConfigInvalid

_TOP: Final = ("version", "owner", "columns")
_KEYS: Final = ("type", "role", "missing", "min", "max", "categories", "unseen", "unit", "note", "log", "confirm")
_HEAD: Final = """\
# What the data must look like. trimtab wrote this from the data; from now on it is yours: read it, correct it.
# type     number, integer, boolean, category, text, datetime
# role     feature (what the model sees; the default), target, time, group, id, ignored
# missing  may values be missing?     min, max  inclusive     unseen  may a category be one that is not listed?
# confirm  a question for a person; answer it in `note` and delete it (trimtab contract edit COLUMN --confirmed)
"""


def render(contract: Contract) -> str:
    """The contract as the text of `contract.toml`.

    >>> contract = Contract(columns=(Column(name="利率", type="number", min=0.0),))
    >>> print(render(contract).split("\\n\\n")[2].strip())
    [columns."利率"]
    type = "number"
    missing = false
    min = 0.0
    """
    top = f"version = {contract.version}\nowner = {_text(contract.owner)}    # who answers for this data\n"
    return "\n".join([_HEAD, top, *(_table(column) for column in contract.columns)])


def parse(text: str, *, name: str = "contract.toml") -> Contract:
    """The contract that a text states. Raises ConfigInvalid naming the place: table, key, and the line where it is
    known.

    >>> parse('[columns.rate]\\ntype = "number"\\nmising = true')
    Traceback (most recent call last):
    trimtab.errors.ConfigInvalid: contract.toml, [columns.rate] (line 1): unknown key 'mising'. Did you mean missing?
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"{name} is not valid TOML: {error}. Text needs quotes, true and false are small.",
                            file=name) from None
    for key in data:
        if key not in _TOP:
            raise ConfigInvalid(f"{name}: unknown key {key!r} at the top.{near(key, _TOP, most=1)} Known: "
                                f"{', '.join(_TOP)}.", file=name)
    version = data.get("version", 1)
    if version != 1 or isinstance(version, bool):
        raise ConfigInvalid(f"{name}: version = {version!r}; this trimtab reads version 1", file=name)
    owner = data.get("owner", "")
    if not isinstance(owner, str):
        raise ConfigInvalid(f"{name}: owner = {owner!r} must be text in quotes", file=name)
    tables = data.get("columns")
    if not isinstance(tables, dict) or not tables:
        raise ConfigInvalid(f"{name} names no columns: it needs a table [columns.NAME] for each", file=name)
    columns = tuple(_Place(name, column, text).column(table) for column, table in tables.items())
    targets = [column.name for column in columns if column.role == "target"]
    if len(targets) > 1:
        raise ConfigInvalid(f"{name}: {' and '.join(targets)} both have role = \"target\"; one column can be predicted",
                            file=name)
    return Contract(columns=columns, owner=owner)


def check_column(column: Column) -> str:
    """What is wrong with a column's statement as a whole, as a sentence; "" where nothing is.

    >>> check_column(Column(name="n", type="number", min=2.0, max=1.0))
    'min 2.0 is above max 1.0'
    """
    if column.min is not None and column.max is not None and column.min > column.max:
        return f"min {column.min} is above max {column.max}"
    if column.role == "target" and column.missing:
        return "rows without a target can't be learned from, so the target may not be missing"
    ranged = column.type in ("number", "integer", "datetime")
    if not ranged and (column.min is not None or column.max is not None):
        return f"min and max say nothing about a {column.type} column"
    if column.type != "category" and (column.categories or column.unseen):
        return f"categories and unseen belong to type = \"category\", not to {column.type}"
    if column.type == "category" and not column.categories and not column.unseen:
        return "a category column needs categories = [\"…\"], or unseen = true"
    if len(set(column.categories)) < len(column.categories):
        twice = next(name for name in column.categories if column.categories.count(name) > 1)
        return f"categories names {twice!r} twice"
    if column.log != "keep" and column.role not in ("feature", "id"):
        return f"log says what is kept of a feature or an id in recorded traffic, and its role is {column.role}"
    if column.type == "text" and column.role == "feature":
        return "free text can't be a feature: make it a category, or role = \"ignored\""
    return ""


class _Place:
    """One column's table in the text, for messages."""

    def __init__(self, file: str, name: str, text: str) -> None:
        self._file, self._name, self._text = file, name, text

    def wrong(self, what: str) -> ConfigInvalid:
        """The error, with its place."""
        spelled = f"{re.escape(self._name)}|{re.escape(_text(self._name))}"
        header = re.search(rf"^\s*\[columns\.(?:{spelled})\]", self._text, re.M)
        line = f" (line {self._text.count(chr(10), 0, header.end()) + 1})" if header else ""
        return ConfigInvalid(f"{self._file}, [columns.{_key(self._name)}]{line}: {what}", file=self._file,
                             column=self._name)

    def column(self, table: Any) -> Column:
        """The column that the table states."""
        if not isinstance(table, dict):
            raise self.wrong(f"must be a table with a type, not {table!r}")
        for key in table:
            if key not in _KEYS:
                raise self.wrong(f"unknown key {key!r}.{near(key, _KEYS, most=1) or ' Known: ' + ', '.join(_KEYS)}")
        if "type" not in table:
            raise self.wrong(f"has no type; one of {', '.join(get_args(ColumnType))}")
        kind, role = self._one("type", table["type"], get_args(ColumnType)), "feature"
        role = self._one("role", table.get("role", role), get_args(Role))
        made = Column(name=self._name, type=kind, role=role, missing=self._flag(table, "missing"),      # type: ignore[arg-type]
                      min=self._bound("min", table.get("min"), kind), max=self._bound("max", table.get("max"), kind),
                      categories=self._names(table.get("categories", [])), unseen=self._flag(table, "unseen"),
                      log=self._one("log", table.get("log", "keep"), get_args(Log)),       # type: ignore[arg-type]
                      unit=self._words(table, "unit"), note=self._words(table, "note"),
                      confirm=self._words(table, "confirm"))
        if problem := check_column(made):
            raise self.wrong(problem)
        return made

    def _one(self, key: str, value: Any, known: tuple[str, ...]) -> str:
        if value not in known:
            raise self.wrong(f"{key} = {value!r} is none of {', '.join(known)}.{near(str(value), known)}")
        return str(value)

    def _flag(self, table: dict[str, Any], key: str) -> bool:
        value = table.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(f"{key} = {value!r} must be true or false, without quotes")
        return value

    def _words(self, table: dict[str, Any], key: str) -> str:
        value = table.get(key, "")
        if not isinstance(value, str):
            raise self.wrong(f"{key} = {value!r} must be text in quotes")
        return value

    def _bound(self, key: str, value: Any, kind: str) -> float | None:
        if value is None:
            return None
        if kind == "datetime":
            found = days(value) if isinstance(value, date | datetime) else None
            if found is None:
                raise self.wrong(f"{key} = {value!r} must be a date or time without quotes, such as 2026-03-31")
            return found
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(f"{key} = {value!r} must be a number, without quotes")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.wrong(f"{key} = {value} is not a finite number; leave {key} out where there is no limit")
        return number

    def _names(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(f"categories = {value!r} must be a list of texts in quotes")
        return tuple(value)


def _table(column: Column) -> str:
    lines = [f"[columns.{_key(column.name)}]", f'type = "{column.type}"']
    lines += [f'role = "{column.role}"'] if column.role != "feature" else []
    lines += [f'log = "{column.log}"'] if column.log != "keep" else []
    lines += [f"missing = {str(column.missing).lower()}"]
    for key, bound in (("min", column.min), ("max", column.max)):
        lines += [f"{key} = {_number(bound, column.type)}"] if bound is not None else []
    if column.categories:
        inline = ", ".join(_text(name) for name in column.categories)
        listed = "\n  " + ",\n  ".join(_text(name) for name in column.categories) + ",\n"
        lines += [f"categories = [{inline if len(inline) <= 90 else listed}]"]
    if column.type == "category" or column.unseen:
        lines += [f"unseen = {str(column.unseen).lower()}"]
    lines += [f"{key} = {_text(value)}" for key, value in
              (("unit", column.unit), ("note", column.note), ("confirm", column.confirm)) if value]
    return "\n".join(lines) + "\n"


def _number(value: float, kind: str) -> str:
    if kind == "datetime":
        moment = from_days(value)
        whole = moment == moment.replace(hour=0, minute=0, second=0, microsecond=0)
        return str(moment.date()) if whole else moment.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    return str(int(value)) if kind == "integer" and value == int(value) else repr(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(value: str) -> str:
    """A TOML basic string.

    >>> print(_text('say "hi"\\n'))
    "say \\"hi\\"\\n"
    """
    shown = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", _escape, shown) + '"'


def _escape(found: re.Match[str]) -> str:
    plain = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return plain.get(found.group(), f"\\u{ord(found.group()):04x}")
