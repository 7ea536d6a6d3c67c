"""Does a fresh clone get what it was tested with?"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CORE = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]


def releases(lock: str) -> dict[str, Version]:
    """Package → release, as a lock has them."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / lock).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {canonicalize_name(name): Version(release) for name, release in found}


@pytest.mark.parametrize(("lock", "wanted"), [
    ("requirements.lock", CORE), ("requirements-dev.lock", [*CORE, *PROJECT["dependency-groups"]["dev"]])])
def test_a_lock_holds_what_the_project_asks_for(lock: str, wanted: list[str]) -> None:
    """Whoever adds a dependency runs `make lock`; each release has its hashes, and no place to get it from."""
    held = releases(lock)
    for text in wanted:
        asked = Requirement(text)
        assert held[canonicalize_name(asked.name)] in asked.specifier, f"{text}: run make lock"
    content = (ROOT / lock).read_text(encoding="utf-8")
    assert content.count("==") == len(re.findall(r"==\S+(?: ; [^\\]+)? \\\n    --hash=sha256:", content))
    assert "://" not in content
    assert " @ " not in content


def test_the_tests_run_on_what_users_install() -> None:
    """The locks agree on every package that they share."""
    tested = releases("requirements-dev.lock")
    assert {name: tested.get(name) for name in releases("requirements.lock")} == releases("requirements.lock")


def test_the_core_stays_small() -> None:
    """At most 35 packages over scikit-learn and what it needs (setuptools only builds)."""
    not_added = {"scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl", "narwhals", "cloudpickle", "setuptools"}
    assert len(set(releases("requirements.lock")) - not_added) + 1 <= 35        # and trimtab itself


def test_every_target_of_the_makefile_explains_itself() -> None:
    """`make help`, which is also plain `make`, lists what can be made."""
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "test-full", "lint", "lock", "bench"):
        assert re.search(rf"^make {target} +\w", shown, flags=re.MULTILINE), shown


def test_ci_can_be_run() -> None:
    """`.ci/run` has its run bit, requires PostgreSQL, and leaves pytest the last word."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "make test"
    assert "export TRIMTAB_REQUIRE_POSTGRES=1" in lines
