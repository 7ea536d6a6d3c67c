"""How do two versions of this workspace differ?  Gives `registry.compare` the rows and models that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trimtab.registry import compare
from trimtab.registry.bundle import load_bundle
from trimtab.registry.difference import Difference
from trimtab.workspace import Workspace

if TYPE_CHECKING:
    from trimtab.registry.bundle import Bundle
    from trimtab.registry.model import Version

_SEED = 42


def difference(workspace: Workspace, a: str, b: str, *, rescore: bool = False) -> Difference:
    """Compare the versions that two references mean (`risk@v1`, `risk@champion`). Raises NotFound, UsageError."""
    versions = workspace.versions

    def bundles(version: Version) -> Bundle:
        return load_bundle(versions, version)

    return compare.diff(versions, versions.resolve(a), versions.resolve(b), rng=np.random.default_rng(_SEED),
                        frames=workspace.datasets.load, bundles=bundles, rescore=rescore)
