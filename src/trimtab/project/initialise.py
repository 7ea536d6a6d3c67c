"""How does a table become a project?  Read it, infer its contract, look for trouble, write two files for people.

`trimtab.toml` says what is wanted, `contract.toml` what the data must look like; both belong to the user from then on.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from trimtab import config
from trimtab.canon import Digest
from trimtab.config import SplitBy, Task
from trimtab.data import cells, contract_toml, infer, quality, split
from trimtab.data.contract import Contract
from trimtab.data.lookup import resolve_target
from trimtab.data.quality import Finding
from trimtab.data.readers import read_table
from trimtab.data.table import BadRow, Table, without_missing_target
from trimtab.errors import Conflict
from trimtab.names import check_name
from trimtab.project.files import CONTRACT, TOML, write_text

if TYPE_CHECKING:
    from trimtab.workspace import Workspace

_SAYS_NOTHING = {"data", "dataset", "train", "training", "input", "table", "frame", "df"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    """What `init` read, found and wrote."""

    name: str
    source: str
    rows: int
    columns: int
    size_bytes: int
    source_digest: Digest | None
    encoding: str
    target: str
    target_is_last: bool
    task: Task
    split: SplitBy
    train_rows: int
    test_rows: int
    contract: Contract
    findings: tuple[Finding, ...]
    quarantined: tuple[BadRow, ...]
    notes: tuple[str, ...]
    dataset: Digest
    wrote: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """As `init --json` prints it."""
        return {
            "schema": "trimtab.init/1", "model": self.name, "source": self.source, "rows": self.rows,
            "columns": self.columns, "bytes": self.size_bytes, "source_digest": self.source_digest,
            "encoding": self.encoding, "target": self.target, "task": self.task, "dataset": self.dataset,
            "split": {"test": self.split.test, "seed": self.split.seed, "time": self.split.time,
                      "group": self.split.group, "train_rows": self.train_rows, "test_rows": self.test_rows},
            "features": [column.name for column in self.contract.features],
            "findings": [{"column": found.column, "kind": found.kind, "text": found.text} for found in self.findings],
            "quarantined": [{"line": bad.line, "reason": bad.reason} for bad in self.quarantined],
            "notes": list(self.notes), "wrote": list(self.wrote)}


def initialise(source: Any, root: Path, workspace: Workspace, *, name: str | None = None, target: int | str = -1,
               task: Task | None = None, by: SplitBy | None = None, ignore: tuple[str, ...] = (), owner: str = "",
               force: bool = False) -> Initialised:
    """Make a project in `root` from a table: a file's path, a frame, or a `config.SqlSource`.

    A frame is written beside trimtab.toml as `<name>.parquet`. force: write the two files anew where they exist.
    Raises Conflict (they exist), DataUnreadable, UsageError (no such column; too few rows).
    """
    for file in (TOML, CONTRACT):
        if (root / file).exists() and not force:
            raise Conflict(f"{file} exists already; trimtab check looks at the data again, trimtab init --force writes "
                           "it anew")
    by = by or SplitBy()
    table = read_table(source, root=root)
    goal = resolve_target(table.frame.columns, target)
    table, unread = _numbers(table, {*ignore, by.time, by.group})
    table = without_missing_target(table, goal)
    kind: Task = task or infer.infer_task(table.frame, goal)
    contract = infer.infer_contract(table.frame, target=goal, task=kind, ignore=ignore, time=by.time, group=by.group,
                                    owner=owner)
    train_rows, test_rows, _ = split.split_rows(table.frame, contract, by)
    findings = (*unread, *quality.findings(table.frame, contract),
                *quality.overlap_finding(table.frame, contract, train_rows, test_rows))
    contract = quality.confirmed(contract, findings)
    model = check_name("model", name) if name else model_name(source, goal)
    source, wrote = _kept(source, table, root, model)
    dataset = workspace.datasets.record(table, contract, by=workspace.actor)
    last = goal == table.frame.columns[-1]
    text = config.render(
        name=model, data=source, target=-1 if last else goal, split=by, task=kind, owner=owner, ignore=ignore,
        candidates=config.REGRESSION_CANDIDATES if kind == "regression" else config.CLASSIFICATION_CANDIDATES)
    write_text(root / CONTRACT, contract_toml.render(contract))
    write_text(root / TOML, text)              # last: a folder without it is no project yet
    return Initialised(
        name=model, source=table.source, rows=table.rows, columns=table.frame.width, size_bytes=table.size_bytes,
        source_digest=table.byte_digest, encoding=table.encoding, target=goal, target_is_last=last, task=kind, split=by,
        train_rows=len(train_rows), test_rows=len(test_rows), contract=contract, findings=findings,
        quarantined=table.quarantined, notes=table.notes, dataset=dataset.digest, wrote=(TOML, CONTRACT, *wrote))


def _numbers(table: Table, keep: set[str | None]) -> tuple[Table, tuple[Finding, ...]]:
    """Columns of a text file that single cells keep from being numbers, as numbers; the rows of those cells are set
    aside, as training will do under a contract that says number. keep: names of columns to leave as they are."""
    if table.encoding in ("", "parquet"):      # somebody chose the types
        return table, ()
    found, wrong = [], pl.repeat(False, table.rows, eager=True)
    reasons: dict[int, str] = {}
    made = {}
    for text in table.frame.select(pl.col(pl.String)).iter_columns():
        if text.name in keep or infer.ID_NAME.search(text.name) or (numbers := cells.nearly_numbers(text)) is None:
            continue
        made[text.name] = numbers
        lost = numbers.is_null() & text.is_not_null()
        places, there = lost.arg_true().to_list(), text.len() - text.null_count()
        for place in places:
            reasons.setdefault(place, f"{text.name} = {text[place]!r} is text, the other cells are numbers")
        shown = ", ".join(f"row {table.number(place)} is {json.dumps(text[place], ensure_ascii=False)}"
                          for place in places[:3])
        found.append(Finding(column=text.name, kind="unread", text=(
            f"{there - len(places):,} of {there:,} cells are numbers; {shown}{', …' if len(places) > 3 else ''}: read "
            f"as a number, {'that row' if len(places) == 1 else 'those rows'} set aside. Mend the cell, or leave it "
            f"empty if the value is missing; if the column is no number: trimtab init --force --ignore {text.name}")))
        wrong |= lost
    table = replace(table, frame=table.frame.with_columns(**made))
    return table.without(wrong, [reasons[place] for place in sorted(reasons)]), tuple(found)


def model_name(source: Any, target: str) -> str:
    """A name for the model: the file's, unless that says nothing (`data.csv`), then the target's.

    >>> model_name("data.csv", "risk score"), model_name("churn 2026.csv", "y"), model_name("x/数据.csv", "y")
    ('risk_score', 'churn_2026', '数据')
    """
    stem = Path(source).stem if isinstance(source, str | Path) else ""
    for text in (stem if stem.lower() not in _SAYS_NOTHING else "", target):
        name = re.sub(r"[^\w\-]+", "_", unicodedata.normalize("NFC", text)).strip("_-")[:60]
        if name:
            return name
    return "model"


def _kept(source: Any, table: Table, root: Path, model: str) -> tuple[Any, tuple[str, ...]]:
    """How trimtab.toml names the data; a frame is put beside it first."""
    if isinstance(source, str | Path):
        path = Path(source).absolute()
        return (path.relative_to(root.absolute()).as_posix() if path.is_relative_to(root.absolute())
                else str(path)), ()
    if isinstance(source, config.SqlSource):
        return source, ()
    file = root / f"{model}.parquet"
    table.frame.write_parquet(file)
    return file.name, (file.name,)

