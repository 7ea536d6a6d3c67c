"""What does a plain Python function answer?  `module:function`, and only where the workspace names it as trusted.

Nothing can be judged about code but who vouches for it. So a function is found, and called, only where `trusted` of the
version (`[model] trusted` at registration, signed with it) names it; its module is part of the version.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UntrustedModel, UsageError
from trimtab.flavors.outside import Outside


class Function(Outside):
    """A function from a Polars frame of raw columns to numbers, or probabilities: one a row, or one per class.

    reference: `module:function`.
    """

    library = "python"

    @classmethod
    def of(cls, model: Any, labels: Any = None) -> Function:
        """`module:function`. Raises UsageError for another form."""
        module, _, name = str(model).partition(":")
        if not all(part.isidentifier() for part in module.split(".")) or not name.isidentifier():
            raise UsageError(f"{str(model)[:80]!r} is neither a model, nor a file ending in .onnx or .keras, nor "
                             "module:function")
        made = cls()
        made.reference = str(model)
        if labels is not None:
            made.classes_ = np.asarray(labels)
        return made

    def trust(self, trusted: frozenset[str]) -> None:
        """Find the function, if its reference is among `trusted`. Raises UntrustedModel."""
        if self.held("reference", str) not in trusted:
            raise UntrustedModel(f"the model runs {self.reference}, code that nobody vouched for here; nothing was "
                                 f"loaded. If you know it, allow it in trimtab.toml ([model] trusted = "
                                 f"[\"{self.reference}\"]) and register it again.", types=[self.reference])
        module, _, name = self.reference.partition(":")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError as problem:
            raise UntrustedModel(f"{self.reference} can't be imported: {problem}") from None
        if not callable(found):
            raise UntrustedModel(f"{self.reference} is no function")
        self._live = found

    def outputs(self, X: Any) -> NDArray[Any]:
        """What the function gives for a frame."""
        if self._live is None:
            raise UntrustedModel(f"{self.reference} was not trusted; nothing was run")
        return np.asarray(self._live(X))

    def _asked(self, X: Any) -> NDArray[np.float64]:
        found = np.asarray(self.outputs(X), dtype=np.float64)
        if not found.ndim or len(found) != len(X):
            raise ValueError(f"{self.reference} gives no answer for each of {len(X)} rows")
        return found
