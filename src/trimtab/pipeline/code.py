"""Which code does a step run, and has it changed?  (by syntax tree: comments, layout and docstrings don't count)

From a function of the project only what it reaches counts: definitions, constants and imports of its module that it
names, directly or through others, and statements that run on import; modules of the project that it imports count
whole. So editing one candidate of `models.py` leaves the others' steps alone. What code looks up by computed names
(getattr, globals) is not seen.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

from trimtab import canon
from trimtab.canon import Digest


def function_code(reference: str, root: Path) -> dict[str, Digest]:
    """`{"models:make": digest, "helpers": digest, …}`: the function with what it reaches, and modules it imports."""
    module, _, name = reference.partition(":")
    path = module_file(root, module)
    if path is None:
        return {}
    tree = _parse(path)
    if tree is None:
        return {reference: canon.digest_bytes(path.read_bytes())}
    reached = _reach(tree, name)
    found = {reference: _digest(reached)}
    _follow(_project_imports(reached, module, path, root), root, found, skip=module)
    return found


def modules_code(names: Iterable[str]) -> dict[str, Digest]:
    """Module name → digest, of installed modules (trimtab's own)."""
    return {name: _module_digest(name) for name in names}


@functools.cache
def _module_digest(name: str) -> Digest:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return _digest(ast.parse(Path(spec.origin).read_bytes()).body)


def _follow(modules: Iterable[str], root: Path, found: dict[str, Digest], skip: str) -> None:
    for module in sorted(set(modules)):
        path = module_file(root, module)
        if module in found or module == skip or path is None:
            continue
        tree = _parse(path)
        found[module] = canon.digest_bytes(path.read_bytes()) if tree is None else _digest(tree.body)
        if tree is not None:
            _follow(_project_imports(tree.body, module, path, root), root, found, skip)


def module_file(root: Path, module: str) -> Path | None:
    """Where the project keeps a module, or None where it is none of the project's."""
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _parse(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return None


def _reach(tree: ast.Module, name: str) -> list[ast.stmt]:
    """The statements of a module that matter to one of its names, in the order of the file; all of them if unclear."""
    binds: dict[str, list[ast.stmt]] = {}
    always: list[ast.stmt] = []
    for statement in tree.body:
        names = list(_bound(statement))
        if "*" in names:
            return tree.body
        for bound in names:
            binds.setdefault(bound, []).append(statement)
        if not names and not _is_docstring(statement):
            always.append(statement)
    if name not in binds:
        return tree.body
    wanted, queue = set(map(id, always)), [*always, *binds[name]]
    seen = {name}
    while queue:
        statement = queue.pop()
        wanted.add(id(statement))
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in binds and node.id not in seen:
                seen.add(node.id)
                queue.extend(binds[node.id])
    return [statement for statement in tree.body if id(statement) in wanted]


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a top-level statement gives a meaning to; none for what just runs."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield alias.asname or alias.name.split(".")[0]
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [node for target in targets for node in ast.walk(target)]
        if all(isinstance(node, ast.Name | ast.Tuple | ast.List | ast.expr_context | ast.Starred) for node in names):
            yield from (node.id for node in names if isinstance(node, ast.Name))


def _project_imports(statements: Iterable[ast.stmt], module: str, path: Path, root: Path) -> Iterator[str]:
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if module_file(root, alias.name))
            elif isinstance(node, ast.ImportFrom):
                base = package[:len(package) - node.level + 1] if node.level else []
                origin = ".".join([*base, *([node.module] if node.module else [])])
                yield from (name for name in (origin, *(f"{origin}.{alias.name}" for alias in node.names))
                            if origin and module_file(root, name))


def _digest(statements: Iterable[ast.stmt]) -> Digest:
    return canon.digest_bytes("\n".join(ast.dump(_Bare().visit(statement)) for statement in statements
                                        if not _is_docstring(statement)).encode())


class _Bare(ast.NodeTransformer):
    """Takes docstrings out of functions and classes."""

    def _strip(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        if node.body and _is_docstring(node.body[0]):
            node.body = node.body[1:] or [ast.Pass()]
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _strip


def _is_docstring(statement: ast.stmt) -> bool:
    return (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str))
