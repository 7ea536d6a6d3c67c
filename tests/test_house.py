"""Does the house keep its own rules?  (sizes, names of machines, docstrings, broad excepts, light starts)"""

from __future__ import annotations

import ast
import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab import errors

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "trimtab").rglob("*.py"))
TRIMTAB = str(Path(sys.executable).with_name("trimtab"))
MIGRATIONS = ROOT / "src" / "trimtab" / "store" / "migrations"

# Frames that may catch everything, as "file: function": a thread's or a door's outermost one, which logs, and the calls
# into code that is not ours (a project's own functions, an estimator), which may raise anything and must not end a run.
OUTERMOST = frozenset({
    "src/trimtab/doors/cli/main.py: main",
    "src/trimtab/doors/guard.py: __call__",
    "src/trimtab/doors/inference/crowd.py: _answer",
    "src/trimtab/doors/inference/crowd.py: _predict",
    "src/trimtab/doors/inference/grpc_door.py: call",
    "src/trimtab/doors/inference/lane.py: take",
    "src/trimtab/flavors/onnx.py: _session",
    "src/trimtab/flavors/onnx.py: converted",
    "src/trimtab/pipeline/custom.py: _import",
    "src/trimtab/pipeline/custom.py: call",
    "src/trimtab/pipeline/fitting.py: answers",
    "src/trimtab/pipeline/fitting.py: fitted",
    "src/trimtab/project/tending.py: _turn",
    "src/trimtab/registry/bundle.py: _transformed",
    "src/trimtab/registry/version_code.py: function",
    "src/trimtab/serving/answering.py: _guarded",
    "src/trimtab/serving/engine.py: _watch",
    "src/trimtab/serving/recording.py: computed",
    "src/trimtab/serving/shadow.py: _run",
    "src/trimtab/serving/warming.py: warm",
    "src/trimtab/testing/database_exam.py: write",
})

# What a quick command may load besides the standard library. A new entry costs every start: measure it first.
HELP_MAY_LOAD = {"trimtab", "click"}
STATUS_MAY_LOAD = HELP_MAY_LOAD | {"sqlalchemy", "greenlet", "typing_extensions", "msgspec", "cryptography",
                                   "_cffi_backend", "cffi", "psycopg"}


def tracked() -> list[Path]:
    """Files that git tracks, or would: the working tree of the project without what is ignored."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT,
                            capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def shown(path: Path) -> str:
    """A path as people say it: relative to the project."""
    return str(path.relative_to(ROOT))


def test_no_file_is_too_long_to_read_in_one_sitting() -> None:
    """500 lines is the bound, about 150 the aim."""
    assert {shown(path): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > 500} == {}


def test_nothing_names_a_machine_or_a_registry() -> None:
    """A clone works anywhere: no absolute home or work folder, no package index in any file."""
    hosts = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("deb", "debian", "org"),
                                           ("npmjs", "org"))]
    machine = re.compile("|".join([re.escape(host) for host in hosts] + [
        r"(?<![\w.])/(?:work|root|Users)/\w", r"(?<![\w.])/home/\w+/\w", r"--(?:extra-)?index-url", r"--find-links"]))
    found = []
    for path in tracked():
        if path == Path(__file__).resolve():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue                                   # a binary or deliberately odd file of a test
        found += [f"{shown(path)}: {match[0]}" for match in machine.finditer(text)]
    assert found == []


def test_every_module_opens_with_the_question_it_answers() -> None:
    """The docstring's first paragraph asks; a room's `__init__` stays empty."""
    silent = []
    for path in SOURCES:
        text = path.read_text()
        if path.name == "__init__.py" and path.parent.name not in {"trimtab", "testing"}:   # those two are for users
            assert text.strip() == "", f"{shown(path)} must stay empty: import from the module that defines the thing"
        elif path.name != "__init__.py" and MIGRATIONS not in path.parents:
            opening = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
            if "?" not in opening:
                silent.append(shown(path))
    assert silent == []


def public(tree: ast.AST, protocol: bool = False) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Public classes, functions and methods of a module; a port's bare promises (`...`), overloads and
    the tests of an exam, whose names are sentences, are left out."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith(("_", "test_")):
            continue
        if isinstance(node, ast.ClassDef):
            yield node
            yield from public(node, any("Protocol" in ast.unparse(base) for base in node.bases))
        elif not any("overload" in ast.unparse(mark) or mark_is_setter(mark) for mark in node.decorator_list):
            bare = len(node.body) == 1 and isinstance(node.body[0], ast.Expr) and ast.unparse(node.body[0]) == "..."
            if not (protocol and bare):
                yield node


def mark_is_setter(mark: ast.expr) -> bool:
    """Is it `@name.setter`, whose docstring stands at the getter?"""
    return isinstance(mark, ast.Attribute) and mark.attr == "setter"


def test_every_public_name_has_a_docstring() -> None:
    """A reader never has to open a function to know what it takes and gives."""
    bare = [f"{shown(path)}:{node.lineno} {node.name}" for path in SOURCES if MIGRATIONS not in path.parents
            for node in public(ast.parse(path.read_text())) if not ast.get_docstring(node)]
    assert bare == []


class _Catches(ast.NodeVisitor):
    """Where everything is caught: `except Exception`, bare `except`, `suppress(Exception)`."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.found: list[tuple[str, int]] = []

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.frames.append(node.name)
        self.generic_visit(node)
        self.frames.pop()

    visit_AsyncFunctionDef = visit_FunctionDef         # the same for a coroutine

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        raises_on = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
        if (node.type is None or self._everything(node.type)) and not raises_on:
            self._note(node.lineno)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if ast.unparse(node.func).endswith("suppress") and any(self._everything(kind) for kind in node.args):
            self._note(node.lineno)
        self.generic_visit(node)

    def _note(self, line: int) -> None:
        self.found.append((self.frames[-1] if self.frames else "<module>", line))

    @staticmethod
    def _everything(kind: ast.expr) -> bool:
        kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
        return any(ast.unparse(one) in {"Exception", "BaseException"} for one in kinds)


def test_only_the_outermost_frames_catch_everything() -> None:
    """Elsewhere we catch what we can do something about."""
    found = []
    for path in SOURCES:
        visitor = _Catches()
        visitor.visit(ast.parse(path.read_text()))
        found += [f"{shown(path)}: {frame} (line {line})" for frame, line in visitor.found
                  if f"{shown(path)}: {frame}" not in OUTERMOST]
    assert found == []


def kinds_of(base: type[errors.TrimtabError]) -> Iterator[type[errors.TrimtabError]]:
    """A class of error and all that are derived from it."""
    yield base
    for kind in base.__subclasses__():
        yield from kinds_of(kind)


def test_every_error_has_an_answer_and_every_answer_an_error() -> None:
    """No code is told outside that nothing raises, and nothing is raised that has no status and exit code."""
    ours = [kind for kind in kinds_of(errors.TrimtabError) if kind.__module__ == errors.__name__]
    assert {kind.code for kind in ours} == set(errors.ANSWERS)
    assert {answer.exit for answer in errors.ANSWERS.values()} <= {1, 2, 3, 4, 5, 70}


PROBE = """
import json, sys
from trimtab.doors.cli.main import main
sys.argv = ["trimtab", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
sys.stdout.flush()
print("\\n" + json.dumps(sorted({name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))))
"""
OURS_TO_IGNORE = {"__main__", "sitecustomize", "usercustomize", "_distutils_hack", "cython_runtime"}


def loaded_by(folder: Path, *arguments: str) -> set[str]:
    """Top-level modules, the standard library's aside, that a command has loaded when it ends."""
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], cwd=folder, capture_output=True, text=True,
                          check=True)
    names = set(json.loads(done.stdout.splitlines()[-1])) - OURS_TO_IGNORE
    return {name for name in names if not name.startswith(("__editable__", "_cython_", "_sysconfigdata"))}


@pytest.fixture(scope="module")
def live_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one live version."""
    folder = tmp_path_factory.mktemp("light")
    rows = "".join(f"{i},{i % 7},{2 * i + i % 7}\n" for i in range(120))
    (folder / "data.csv").write_text("a,b,y\n" + rows)
    subprocess.run([TRIMTAB, "run", "data.csv"], cwd=folder, check=True, capture_output=True)
    return folder


def test_help_loads_next_to_nothing(tmp_path: Path) -> None:
    """`trimtab --help` is there at once: no NumPy, no database."""
    assert loaded_by(tmp_path, "--help") <= HELP_MAY_LOAD


@pytest.mark.parametrize("command", [("status",), ("log",), ("status", "--json"), ("alias", "list"),
                                     ("deploy", "y@v1"), ("versions",), ("rollback", "y", "--dry-run")], ids=" ".join)
def test_looking_loads_no_numeric_library(live_project: Path, command: tuple[str, ...]) -> None:
    """What only reads the workspace imports none of scikit-learn, Polars, SciPy, NumPy."""
    assert loaded_by(live_project, *command) <= STATUS_MAY_LOAD


def test_help_costs_at_most_150_ms_of_cpu(tmp_path: Path) -> None:
    """The best of seven starts, CPU time of the process."""
    def cpu_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([TRIMTAB, "--help"], cwd=tmp_path, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert min(cpu_s() for _ in range(7)) <= 0.150
