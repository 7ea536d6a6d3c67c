"""Can a version be made again from what was stored of it?  Lays it out, trains it anew, compares the digests."""

from __future__ import annotations

import tempfile
from pathlib import Path

from trimtab.errors import CheckFailed
from trimtab.project import judging, learning, registering, training
from trimtab.project.project import Project
from trimtab.registry.checkout import checkout
from trimtab.registry.rebuilt import RebuildReport, compare_rebuild
from trimtab.store.blobs import put_bytes, read_bytes
from trimtab.workspace import Workspace


def rebuild(workspace: Workspace, reference: str) -> RebuildReport:
    """Rebuild a version in a scratch folder and workspace. Raises NotFound, CheckFailed (it was not trained here)."""
    version = workspace.versions.resolve(reference)
    candidate = version.facts.get("candidate")
    if not isinstance(candidate, str) or version.facts.get("brought"):
        raise CheckFailed(f"{version.name} was fitted outside trimtab and registered from Python: its bytes are kept, "
                          "but how they were fitted is not known here", version=version.name)
    with tempfile.TemporaryDirectory(prefix="trimtab-rebuild-") as scratch:
        folder = Path(scratch).resolve() / "project"
        checkout(workspace.versions, version, folder, frames=workspace.datasets.load)
        home = folder / ".trimtab"
        with Workspace.open(home, create=True, database=f"sqlite:///{home / 'trimtab.db'}",
                            actor=workspace.actor) as own:
            project = Project.open(folder, own)
            own_rows = learning.again(project, workspace, version)
            run = training.train(project, [candidate], prepared=own_rows)
            evaluated = judging.judged(project, run.report, run.prepared, None, register=False, note="",
                                       by=workspace.actor)
            model = run.chosen.model
            assert model is not None
            put_bytes(workspace.blobs, read_bytes(own.blobs, model))
            decision = evaluated.evaluation.decision
            parts = registering.parts(
                run.report, project.config, run.prepared.contract, workspace.blobs,
                rows=run.prepared.learnable.X[run.prepared.split.test],
                threshold=evaluated.evaluation.threshold, positive=decision.positive if decision else None,
                kept_split=learning.rows_of(workspace, version))
        told = {name: version.facts[name] for name in ("retrained",) if name in version.facts}
        again = workspace.versions.manifest(parts.files, flavor=version.manifest.flavor, types=parts.types,
                                            ingredients=parts.ingredients, facts={**parts.facts, **told})
    return compare_rebuild(workspace.blobs, version.manifest, again)
