"""Which bytes and facts make a version of what was trained?

The same function serves `register` and `rebuild`: whatever is put into a version is made here from the training
report, the project's files and nothing else, so that the same inputs give the same digest.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimtab.canon import Digest
from trimtab.config import ProjectConfig
from trimtab.data import contract_toml
from trimtab.data.contract import Contract
from trimtab.errors import UsageError
from trimtab.flavors import sklearn as flavor
from trimtab.flavors import table, tiers
from trimtab.pipeline.code import function_code, module_file
from trimtab.pipeline.evaluate import load_candidate
from trimtab.pipeline.model import Array, CandidateResult, TrainReport
from trimtab.registry import ingredients
from trimtab.registry.bundle import GRAPH_FILE
from trimtab.registry.model import Ingredients
from trimtab.serving import fallback
from trimtab.store.blobs import BlobStore, read_bytes

_LIBRARIES = ("scikit-learn", "numpy", "scipy", "skops")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What `Versions.register` and `Versions.manifest` take."""

    files: dict[str, bytes]
    flavor: str
    types: tuple[str, ...]
    ingredients: Ingredients
    facts: dict[str, object]


def parts(report: TrainReport, config: ProjectConfig, contract: Contract, blobs: BlobStore, *, rows: Array | None,
          threshold: float | None, positive: Any = None, runs: Sequence[str] = (), convert: str = "",
          kept_split: Digest | None = None) -> Parts:
    """The chosen candidate of a training report as a version's parts.

    contract: of the raw columns. rows: held-out rows, encoded, on which the way of predicting is chosen; None where
    the model takes no matrix. runs: `module:function` references whose code belongs to it besides the candidate's own.
    convert: "onnx" to answer through a converted graph where that agrees. kept_split: the blob of a split that the
    configuration does not give. Raises CheckFailed where trimtab.toml declares a fallback that can be no answer of it.
    """
    for endpoint in config.endpoint.values():
        if endpoint.fallback is not None:
            fallback.check(endpoint.fallback, report.task, report.classes)
    chosen = next(one for one in report.candidates if one.name == report.chosen)
    assert chosen.model is not None
    told = facts(report, chosen, config, contract, threshold, positive)
    files: dict[str, bytes] = {}
    if rows is not None:
        classes = report.classes
        at = (classes.index(positive), threshold) if threshold is not None and positive in classes else None
        tier, files = _tier(load_candidate(chosen, blobs, config), rows, at, config.train.threads, convert)
        told["predict"] = tier.to_json()
    code = [name for name in (config.train.features, chosen.name, *runs) if name and ":" in name]
    files |= {flavor.FILE: read_bytes(blobs, chosen.model), "contract.toml": contract_toml.render(contract).encode(),
              **code_files(config.root, code)}
    return Parts(
        files=files, flavor=table.of_types(chosen.types), types=chosen.types, facts=told,
        ingredients=ingredients.capture(config.root, config, blobs=blobs, dataset=report.dataset, split=report.split,
                                         rows=kept_split))


def facts(report: TrainReport, chosen: CandidateResult, config: ProjectConfig, contract: Contract,
          threshold: float | None, positive: Any) -> dict[str, object]:
    """`model.json`: what a server and a person need to know about the model. Holds no time and no run."""
    return {
        "schema": "trimtab.model/1", "task": report.task, "target": contract.target.name,
        "classes": list(report.classes), "positive": positive, "threshold": threshold, "input": "matrix",
        "features": [{"name": one.name, "type": one.kind, "categories": list(one.categories)}
                     for one in report.features],
        "candidate": chosen.name, "family": chosen.family, "params": dict(chosen.params), "formula": chosen.formula,
        "preprocessing": list(chosen.preprocessing), "transform": config.train.features, "metric": report.metric,
        "trusted": list(config.model.trusted), "libraries": libraries()}


def _tier(estimator: Any, rows: Array, threshold: tuple[int, float] | None, threads: int,
          convert: str) -> tuple[tiers.Tier, dict[str, bytes]]:
    """The tier, and the file of a graph that it needs."""
    from threadpoolctl import threadpool_limits

    graph, why = None, ""
    with threadpool_limits(limits=threads):
        if convert:
            from trimtab.flavors import onnx

            try:
                graph = onnx.converted(estimator, rows.shape[1])
            except UsageError as problem:
                why = f"{tiers.GRAPH}: {problem}; "
        tier = tiers.choose(estimator, rows, threshold=threshold, graph=graph)
    files = {GRAPH_FILE: graph.model} if graph is not None and tier.tier == tiers.GRAPH else {}
    return replace(tier, why=why + tier.why), files


def libraries() -> dict[str, str]:
    """The installed versions of what computes predictions."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def code_files(root: Path, references: list[str]) -> Mapping[str, bytes]:
    """The project's modules that `module:function` references run, as the version's `code/….py` files."""
    found: dict[str, bytes] = {}
    for reference in references:
        for name in function_code(reference, root):
            path = module_file(root, name.partition(":")[0])
            if path is not None:
                found[f"code/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return found
