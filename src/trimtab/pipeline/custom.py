"""Which function does `module:function` in `trimtab.toml` mean?

The module is looked for in the project's root folder. A module of the same name from another project, or an older
text of this one, is let go first, so that two projects in one process don't see each other's code.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trimtab.errors import ConfigInvalid


def load_function(reference: str, root: Path) -> Callable[..., Any]:
    """The callable that `reference` names, e.g. "models:make". Raises ConfigInvalid with what to change."""
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise ConfigInvalid(f"{reference!r} must be written module:function, e.g. \"models:make\"", key=reference)
    module = _import(module_name, reference, root.resolve())
    found = getattr(module, attribute, None)
    if found is None:
        names = [name for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_"]
        raise ConfigInvalid(f"{reference}: {module_name}.py has no {attribute!r}; it defines "
                            f"{', '.join(names) or 'no function'}", key=reference)
    if not callable(found):
        raise ConfigInvalid(f"{reference} is a {type(found).__name__}, not a function; write def {attribute}(): …",
                            key=reference)
    function: Callable[..., Any] = found
    return function


def call(reference: str, function: Callable[..., Any], *arguments: object, **parameters: object) -> Any:
    """Call the project's own function; whatever it raises becomes a sentence with its file and line (ConfigInvalid)."""
    try:
        return function(*arguments, **parameters)
    except Exception as problem:
        raise ConfigInvalid(f"{reference} raised {type(problem).__name__}: {problem}{_where(problem)}",
                            key=reference) from problem


def _import(name: str, reference: str, root: Path) -> Any:
    top = root / name.split(".")[0]
    if not top.with_suffix(".py").is_file() and not top.is_dir():
        raise ConfigInvalid(f"{reference}: there is no {top.name}.py (and no folder {top.name}/) beside trimtab.toml; "
                            "create it, or correct the name", key=reference)
    if top.name in sys.stdlib_module_names:
        raise ConfigInvalid(f"{reference}: {top.name} is also the name of a module of Python's own; rename "
                            f"{top.name}.py", key=reference)
    _forget_others(top.name, root)
    importlib.invalidate_caches()
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(root))
    try:
        module = importlib.import_module(name)
        _remember(top.name)
        return module
    except ModuleNotFoundError as problem:
        raise ConfigInvalid(f"{reference}: importing {name} needs the module {problem.name!r}, which is not there; "
                            "install it or correct the import", key=reference) from problem
    except Exception as problem:
        raise ConfigInvalid(f"{reference}: importing {name} raised {type(problem).__name__}: {problem}"
                            f"{_where(problem)}", key=reference) from problem
    finally:
        sys.path.remove(str(root))
        sys.dont_write_bytecode = writes


_loaded: dict[str, int] = {}                  # module file → its time of change when it was imported


def _remember(top: str) -> None:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and (name == top or name.startswith(top + ".")):
            _loaded[file] = Path(file).stat().st_mtime_ns


def _forget_others(top: str, root: Path) -> None:
    """Drop cached modules named like ours that come from elsewhere or whose file has changed."""
    stale = False
    for name, module in list(sys.modules.items()):
        if name != top and not name.startswith(top + "."):
            continue
        file = getattr(module, "__file__", None)
        path = Path(file) if file else None
        if path is None or not path.resolve().is_relative_to(root) or not path.exists():
            stale = True
        else:
            stale = stale or _loaded.get(str(path)) != path.stat().st_mtime_ns
    if stale:
        for name in [name for name in sys.modules if name == top or name.startswith(top + ".")]:
            del sys.modules[name]


def _where(problem: BaseException) -> str:
    last = problem.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return ""
    return f" ({Path(last.tb_frame.f_code.co_filename).name}, line {last.tb_lineno})"
