"""Which code counts for a function of the project?"""

from __future__ import annotations

import pytest

from trimtab.pipeline.code import function_code

SOURCE = """
import helpers
from pkg.deep import thing
LIMIT = 3
OTHER = 4

def inner(x):
    return x + LIMIT

def make(x):
    '''Doc.'''
    return inner(x) + helpers.f(x)

def far(x):
    return thing(x) + OTHER
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "models.py").write_text(SOURCE)
    (tmp_path / "helpers.py").write_text("def f(x):\n    return x\n")
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "deep.py").write_text("from . import base\ndef thing(x):\n    return base.y\n")
    (tmp_path / "pkg" / "base.py").write_text("y = 1\n")
    return tmp_path


def test_a_function_counts_with_what_it_reaches(root):
    """Its module's other functions don't, the modules that it imports do, through relative imports too."""
    assert set(function_code("models:make", root)) == {"models:make", "helpers"}
    assert {"models:far", "pkg.deep", "pkg.base"} <= set(function_code("models:far", root))


@pytest.mark.parametrize(("old", "new", "changes_make", "changes_far"), [
    ("LIMIT = 3", "LIMIT = 30", True, False),
    ("OTHER = 4", "OTHER = 40", False, True),
    ("return x + LIMIT", "return x - LIMIT", True, False),
    ("'''Doc.'''", "'''Other words.'''", False, False),
    ("def make", "# a comment\ndef make", False, False),
    ("LIMIT = 3", "LIMIT = 3\nprint('hello')", True, True),
    ("import helpers", "import helpers\nfrom math import *", True, True),
])
def test_an_edit_counts_only_where_it_is_reached(root, old, new, changes_make, changes_far):
    """Constants through other functions, statements that run on import, star imports."""
    before = {name: function_code(f"models:{name}", root) for name in ("make", "far")}
    (root / "models.py").write_text(SOURCE.replace(old, new))
    after = {name: function_code(f"models:{name}", root) for name in ("make", "far")}
    assert (before["make"] != after["make"], before["far"] != after["far"]) == (changes_make, changes_far)


def test_a_module_that_can_not_be_parsed_counts_by_its_bytes(root):
    """Training it will say what is wrong; the cache does not fall over it."""
    (root / "models.py").write_text("def make(:\n")
    assert set(function_code("models:make", root)) == {"models:make"}
