"""The published exams that a backend sits, and simulations of a whole project; each loads on first use.

Import an exam in a test module of your own backend; `simulate("drift")` plays a month in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.testing.blob_exam import BlobStoreExam as BlobStoreExam
    from trimtab.testing.database_exam import DatabaseExam as DatabaseExam
    from trimtab.testing.simulation import simulate as simulate

_NAMES = {"BlobStoreExam": "blob_exam", "DatabaseExam": "database_exam", "simulate": "simulation"}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'trimtab.testing' has no attribute {name!r}; it has {', '.join(_NAMES)}")
    import importlib

    value = getattr(importlib.import_module(f"trimtab.testing.{_NAMES[name]}"), name)
    globals()[name] = value
    return value
