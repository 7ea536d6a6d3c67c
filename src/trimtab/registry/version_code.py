"""How does a version run the Python that was registered with it?  From its own bytes, never from the current folder.

The files `code/….py` of a version are modules while `imported` lasts: they shadow modules of the same name, are run
once, and are let go afterwards, so that two versions with different code under one name live side by side.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from trimtab.errors import UntrustedModel

FOLDER = "code/"
_turn = threading.RLock()                     # sys.modules is one for the whole process


class _Code(MetaPathFinder, Loader):
    """Finds modules among bytes held in memory: `code/a/b.py` is the module `a.b`, `code/a/__init__.py` is `a`."""

    def __init__(self, files: Mapping[str, bytes], owner: str) -> None:
        self._owner = owner
        self.sources: dict[str, bytes] = {}
        self.packages: set[str] = set()
        for path, data in files.items():
            if path.startswith(FOLDER) and path.endswith(".py"):
                name = path[len(FOLDER):-3].replace("/", ".")
                if name.endswith(".__init__"):
                    name = name.removesuffix(".__init__")
                    self.packages.add(name)
                self.sources[name] = data
        for name in list(self.sources):       # folders without an __init__
            while "." in name:
                name = name.rpartition(".")[0]
                self.packages.add(name)
                self.sources.setdefault(name, b"")

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
                  ) -> ModuleSpec | None:
        """A spec for a module of ours; None for any other."""
        if fullname not in self.sources:
            return None
        return ModuleSpec(fullname, self, origin=f"{self._owner}/{FOLDER}{fullname.replace('.', '/')}.py",
                          is_package=fullname in self.packages)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The default module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's text."""
        spec = module.__spec__
        assert spec is not None
        text = compile(self.sources[spec.name], str(spec.origin), "exec", dont_inherit=True)
        exec(text, module.__dict__)  # noqa: S102  bytes of a signed version, digest checked


@contextmanager
def imported(files: Mapping[str, bytes], owner: str) -> Iterator[None]:
    """While the block lasts, importing a module that `files` hold gives theirs. One block at a time in a process.

    files: path in the version → bytes; what is not `code/….py` is left aside. owner: for tracebacks, e.g. `risk@v3`.
    """
    code = _Code(files, owner)
    if not code.sources:
        yield
        return
    tops = {name.partition(".")[0] for name in code.sources}
    with _turn:
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in tops}
        sys.meta_path.insert(0, code)
        try:
            yield
        finally:
            sys.meta_path.remove(code)
            for name in list(sys.modules):
                if name.partition(".")[0] in tops:
                    del sys.modules[name]
            sys.modules.update(hidden)


def function(reference: str, files: Mapping[str, bytes], owner: str) -> object:
    """The callable that `module:name` means among the version's own files. Raises UntrustedModel with what is wrong."""
    import importlib

    module, _, name = reference.partition(":")
    if f"{FOLDER}{module.replace('.', '/')}.py" not in files:
        raise UntrustedModel(f"{owner} needs {reference}, and holds no {FOLDER}{module.replace('.', '/')}.py; register "
                             "it again from its project")
    with imported(files, owner):
        try:
            found = getattr(importlib.import_module(module), name, None)
        except Exception as problem:
            raise UntrustedModel(f"{owner}: importing its own {module}.py raised {type(problem).__name__}: "
                                 f"{str(problem)[:200]}") from problem
    if not callable(found):
        raise UntrustedModel(f"{owner}: its own {module}.py defines no function {name!r}")
    return found
