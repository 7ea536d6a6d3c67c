"""How does a project's data become what estimators see?

Read, check against the contract (rows that break it are quarantined with reasons), record the dataset version, split,
apply the project's own transform, encode. The read is a step of the cache: an unchanged file under an unchanged
contract is neither parsed nor checked again.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from trimtab import canon
from trimtab.canon import Digest
from trimtab.config import ProjectConfig, SqlSource
from trimtab.data.contract import Contract
from trimtab.data.table import BadRow, Table
from trimtab.errors import ConfigInvalid
from trimtab.pipeline import artifacts
from trimtab.pipeline.cache import Components, StepCache, Why, flat_environment
from trimtab.pipeline.code import modules_code
from trimtab.pipeline.features import transformed
from trimtab.pipeline.model import Array, Feature, Index, Learnable, Split, Task
from trimtab.pipeline.quarantine import keep_contract
from trimtab.pipeline.steps import Bench, step_of
from trimtab.store.blobs import BlobStore, put_bytes, put_json, read_bytes, read_json

if TYPE_CHECKING:
    import polars as pl

    from trimtab.data.versions import Datasets


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A project's data, ready to train on.

    frame: the checked rows in raw columns, in the order of `learnable.X`; contract: of the raw columns; seen: of the
    columns that the estimator sees (another one only where the project has a transform).
    """

    learnable: Learnable
    split: Split
    frame: pl.DataFrame
    contract: Contract
    seen: Contract
    dataset: Digest
    source: str
    rejected: tuple[BadRow, ...] = ()
    notes: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()              # steps that came from the cache

    @property
    def task(self) -> Task:
        """What kind of prediction it is."""
        return self.learnable.task


def prepare(project: ProjectConfig, contract: Contract, *, datasets: Datasets, blobs: BlobStore, by: str,
            cache: StepCache | None = None, fresh: frozenset[str] = frozenset(),
            table: Table | None = None, dataset: Digest | str | None = None) -> Prepared:
    """Everything from the source to the encoded matrix and its split.

    table: instead of the configured source. dataset: the rows of that dataset version instead (what a training run was
    made from, say). Raises DataUnreadable, CheckFailed (too many rows break the contract), ConfigInvalid (the target or
    the transform), UsageError (the split's column), NotFound (the dataset version).
    """
    if dataset is not None:
        return _again(project, contract, datasets, blobs, dataset, cache, "split" in fresh)
    outputs, hit = _read(project, contract, datasets, blobs, by, cache, "read" in fresh, table)
    facts = cast(dict[str, Any], read_json(blobs, outputs["facts"]))
    frame = _frame(blobs, outputs["frame"])
    made = _assembled(project, contract, frame, outputs["frame"], Digest(facts["dataset"]), blobs, cache,
                      "split" in fresh)
    return replace(made, source=facts["source"], notes=tuple(facts["notes"]),
                   rejected=rejected_rows(blobs, outputs["rejected"]),
                   cached=(*(["read"] if hit else []), *made.cached))


def _again(project: ProjectConfig, contract: Contract, datasets: Datasets, blobs: BlobStore, dataset: Digest | str,
           cache: StepCache | None, fresh: bool) -> Prepared:
    version = datasets.get(dataset)
    made = _assembled(project, contract, datasets.load(version.digest), version.parquet, version.digest, blobs, cache,
                      fresh)
    return replace(made, source=version.source)


def _assembled(project: ProjectConfig, contract: Contract, frame: pl.DataFrame, parquet: Digest, dataset: Digest,
               blobs: BlobStore, cache: StepCache | None, fresh: bool) -> Prepared:
    parts, hit = _split(project, contract, frame, parquet, blobs, cache, fresh)
    learnable, seen = encoded(frame, contract, project, task_of(project, contract, frame), dataset)
    return Prepared(learnable=learnable, split=parts, frame=frame, contract=contract, seen=seen, dataset=dataset,
                    source="", cached=("split",) if hit else ())


def task_of(project: ProjectConfig, contract: Contract, frame: pl.DataFrame) -> Task:
    """As configured, else inferred from the target."""
    from trimtab.data.infer import infer_task

    return project.model.task or infer_task(frame, contract.target.name)


def encoded(frame: pl.DataFrame, contract: Contract, project: ProjectConfig, task: Task,
            dataset: Digest | None = None) -> tuple[Learnable, Contract]:
    """(what estimators see of checked rows, the contract of its columns)."""
    from trimtab.data.encode import encode, encode_target

    seen, made = contract, frame
    if project.train.features is not None:
        made, seen = transformed(frame, contract, project.train.features, project.root, task)
    y, classes = encode_target(contract, frame, task)
    if task == "binary" and len(classes) != 2:
        raise ConfigInvalid(f"the target {contract.target.name} has {len(classes)} classes, and task = \"binary\" "
                            "needs 2; set task = \"multiclass\", or look at the data", key="task")
    by = project.model.split
    return Learnable(
        X=encode(seen, made), y=y, task=task, classes=classes, dataset=dataset,
        features=tuple(_feature(column.name, column.type, column.categories, column.missing)
                       for column in seen.features),
        groups=_codes(frame, by.group) if by.group else None,
        times=_times(frame, by.time) if by.time else None), seen


def read_components(project: ProjectConfig, contract: Contract, source: Digest) -> Components:
    """What the step "read" depends on. source: digest of the file's bytes."""
    from trimtab.registry.environment import capture_environment

    return Components(
        step="read", code=modules_code(step_of("read").modules), environment=flat_environment(capture_environment()),
        parameters={"contract": contract.digest, "source name": str(project.model.data)}, inputs={"source": source})


def split_components(project: ProjectConfig, frame: Digest) -> Components:
    """What the step "split" depends on."""
    by = project.model.split
    return Components(step="split", code=modules_code(step_of("split").modules), inputs={"frame": frame},
                      parameters={"test": by.test, "seed": by.seed, "time": by.time, "group": by.group})


def source_digest(project: ProjectConfig) -> Digest | None:
    """Digest of the source's bytes; None where it is a query, or not a file."""
    if isinstance(project.model.data, SqlSource):
        return None
    path = Path(project.root, project.model.data).expanduser()
    return canon.digest_file(path) if path.is_file() else None


def why_data(step: str, project: ProjectConfig, contract: Contract, cache: StepCache) -> Why:
    """Would "read" or "split" run now, and why?"""
    source = source_digest(project)
    if source is None:
        return Why(step=step, hit=False, reasons=("the source is no file, so it is read each time",))
    first = read_components(project, contract, source)
    why = cache.why(first)
    if step == "read" or not why.hit:
        reasons = why.reasons if step == "read" else tuple(f"read must run first: {reason}" for reason in why.reasons)
        return Why(step=step, hit=why.hit, reasons=reasons)
    outputs = cache.find(first)
    assert outputs is not None
    return cache.why(split_components(project, outputs["frame"]))


def _read(project: ProjectConfig, contract: Contract, datasets: Datasets, blobs: BlobStore, by: str,
          cache: StepCache | None, fresh: bool, table: Table | None) -> tuple[Mapping[str, Digest], bool]:
    from trimtab.data.readers import read_table

    def work() -> dict[str, Digest]:
        kept = keep_contract(table or read_table(project.model.data, root=project.root), contract)
        recorded = datasets.record(kept, contract, by=by)
        return {"frame": recorded.parquet, **_aside(blobs, kept, recorded.digest)}

    source = source_digest(project) if table is None else None
    if cache is None or source is None:
        return work(), False
    outcome = cache.run(read_components(project, contract, source), work, fresh=fresh)
    return outcome.outputs, outcome.hit


def _aside(blobs: BlobStore, table: Table, dataset: Digest | None) -> dict[str, Digest]:
    """What a checked table has beside its frame, as blobs: "rejected" and "facts" (JSON)."""
    return {"rejected": put_json(blobs, [[bad.line, bad.reason, bad.text, bad.unit] for bad in table.quarantined]),
            "facts": put_json(blobs, {"dataset": dataset, "source": table.source, "notes": list(table.notes)})}


def rejected_rows(blobs: BlobStore, digest: Digest) -> tuple[BadRow, ...]:
    """The rows that were set aside, from the output "rejected" of "read"."""
    raw = cast(list[Any], read_json(blobs, digest))
    return tuple(BadRow(line=line, reason=reason, text=text, unit=unit) for line, reason, text, unit in raw)


def _frame(blobs: BlobStore, digest: Digest) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(io.BytesIO(read_bytes(blobs, digest)))


def _split(project: ProjectConfig, contract: Contract, frame: pl.DataFrame, digest: Digest, blobs: BlobStore,
           cache: StepCache | None, fresh: bool) -> tuple[Split, bool]:
    def work() -> dict[str, Digest]:
        return {"split": artifacts.save_split(blobs, split_of(project, contract, frame))}

    if cache is None:
        return split_of(project, contract, frame), False
    outcome = cache.run(split_components(project, digest), work, fresh=fresh)
    return artifacts.load_split(blobs, outcome.outputs["split"]), outcome.hit


def split_of(project: ProjectConfig, contract: Contract, frame: pl.DataFrame) -> Split:
    """The configured split of checked rows. Its digest is that of kind, seed and both sides."""
    from trimtab.data.split import split_rows

    seed = project.model.split.seed
    train, test, kind = split_rows(frame, contract, project.model.split)
    digest = canon.digest_json([kind, seed, *(canon.digest_bytes(side.tobytes()) for side in (train, test))])
    return Split(train=train, test=test, kind=kind, seed=seed, digest=digest)


def _feature(name: str, kind: str, categories: tuple[str, ...], missing: bool) -> Feature:
    plain = "number" if kind == "integer" else kind
    return Feature(name=name, kind=plain, categories=categories, missing=missing)  # type: ignore[arg-type]


def _codes(frame: pl.DataFrame, name: str) -> Index:
    """Groups as numbers, in the order of their first row; missing is a group of its own."""
    return frame[name].rank("dense").fill_null(0).cast(int).to_numpy().astype(np.int64)


def _times(frame: pl.DataFrame, name: str) -> Array:
    """Moments as sortable numbers: microseconds since 1970, or the column's own numbers."""
    import polars as pl

    from trimtab.data.moments import DAY_US, days

    values = frame[name]
    if isinstance(values.dtype, pl.Datetime | pl.Date):
        return values.cast(pl.Datetime("us")).dt.timestamp("us").cast(pl.Float64).to_numpy()
    if values.dtype == pl.String:
        found = [days(text) for text in values]
        return np.array([np.nan if day is None else day * DAY_US for day in found])
    return values.cast(pl.Float64).to_numpy()


def read(bench: Bench, *, project: str, contract: str) -> dict[str, Digest]:
    """The step "read" for a worker: texts of both TOML files in, "frame", "rejected" and "facts" out."""
    from trimtab.data.readers import read_table

    config, rules = _parsed(bench, project, contract)
    kept, out = keep_contract(read_table(config.model.data, root=bench.root), rules), io.BytesIO()
    kept.frame.write_parquet(out, compression="lz4", statistics=False)     # as dataset versions are
    return {"frame": put_bytes(bench.blobs, out.getvalue()), **_aside(bench.blobs, kept, None)}


def split(bench: Bench, *, frame: Digest, project: str, contract: str) -> dict[str, Digest]:
    """The step "split" for a worker: which rows train and which are held out."""
    config, rules = _parsed(bench, project, contract)
    return {"split": artifacts.save_split(bench.blobs, split_of(config, rules, _frame(bench.blobs, frame)))}


def encode(bench: Bench, *, frame: Digest, project: str, contract: str) -> dict[str, Digest]:
    """The step "encode" for a worker: what estimators see, as one blob."""
    config, rules = _parsed(bench, project, contract)
    rows = _frame(bench.blobs, frame)
    learnable, _ = encoded(rows, rules, config, task_of(config, rules, rows))
    return {"learnable": artifacts.save_learnable(bench.blobs, learnable)}


def _parsed(bench: Bench, project: str, contract: str) -> tuple[ProjectConfig, Contract]:
    from trimtab import config
    from trimtab.data import contract_toml

    return config.parse(project, root=bench.root), contract_toml.parse(contract)
