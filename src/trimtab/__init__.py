"""trimtab: git for the model, a flight recorder for its predictions, and a statistician who decides.

The public names load on first use, so that `import trimtab` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Project", "Workspace", "drift", "endpoint", "open", "register", "score"]

if TYPE_CHECKING:
    from trimtab.monitor.two_tables import drift as drift
    from trimtab.project.bring import register as register
    from trimtab.project.endpoint import open_endpoint as endpoint
    from trimtab.project.project import Project as Project
    from trimtab.project.project import open_project as open
    from trimtab.project.scoring import score as score
    from trimtab.workspace import Workspace as Workspace

_NAMES = {
    "drift": ("trimtab.monitor.two_tables", "drift"),
    "endpoint": ("trimtab.project.endpoint", "open_endpoint"),
    "open": ("trimtab.project.project", "open_project"),
    "register": ("trimtab.project.bring", "register"),
    "score": ("trimtab.project.scoring", "score"),
    "Project": ("trimtab.project.project", "Project"),
    "Workspace": ("trimtab.workspace", "Workspace"),
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'trimtab' has no attribute {name!r}; it has {', '.join(_NAMES)}")
    import importlib

    module, attribute = _NAMES[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value
