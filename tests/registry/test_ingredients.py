"""What a version was made from is kept; secrets are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trimtab.canon import Digest, digest_bytes
from trimtab.config import parse
from trimtab.registry.environment import capture_environment, installed, lock_lines
from trimtab.registry.ingredients import capture, capture_code, mask_passwords
from trimtab.registry.sources import capture_sources
from trimtab.store.blobs import read_bytes, read_json
from trimtab.store.blobs_local import LocalBlobs

TOML = '[model]\nname = "risk"\ndata = "data.csv"\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small project, not under git."""
    folder = tmp_path / "project"
    (folder / "lib").mkdir(parents=True)
    (folder / "trimtab.toml").write_text(TOML)
    (folder / "contract.toml").write_text("version = 1\n")
    (folder / "features.py").write_text("def transform(frame):\n    return frame\n")
    (folder / "lib" / "助手.py").write_text("数 = 1\n")
    (folder / "pyproject.toml").write_text('[project]\nname = "p"\n')
    (folder / "data.csv").write_text("a,b\n1,2\n")
    return folder


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    """Somewhere to put it."""
    return LocalBlobs(tmp_path / "objects")


def git(root: Path, *arguments: str) -> str:
    """Run git in the project as somebody."""
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def committed(root: Path) -> str:
    """The project under git, clean; its commit."""
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return git(root, "rev-parse", "HEAD").strip()


def code_of(root: Path, blobs: LocalBlobs) -> dict[str, Any]:
    """The code ingredient's JSON."""
    value = read_json(blobs, capture_code(root, blobs))
    assert isinstance(value, dict)
    return value


def test_without_git_the_files_are_the_answer(root: Path, blobs: LocalBlobs) -> None:
    """Each source file by digest, its bytes stored; data and configuration are ingredients of their own."""
    code = code_of(root, blobs)
    assert code["git"] is None
    assert sorted(code["files"]) == ["features.py", "lib/助手.py", "pyproject.toml"]
    assert read_bytes(blobs, Digest(code["files"]["lib/助手.py"]["digest"])).decode() == "数 = 1\n"
    assert capture_code(root, blobs) == capture_code(root, blobs)


def test_with_git_the_commit_and_the_dirty_diff_are_kept(root: Path, blobs: LocalBlobs) -> None:
    """A clean tree has no diff; a change is kept as one, with the files that git does not know yet."""
    commit = committed(root)
    assert code_of(root, blobs)["git"] == {"commit": commit, "dirty": False, "diff": None, "untracked": []}
    (root / "features.py").write_text("def transform(frame):\n    return frame.head()\n")
    (root / "lib" / "助手.py").unlink()
    (root / "fresh.py").write_text("x = 1\n")
    code = code_of(root, blobs)
    assert code["git"]["dirty"] is True
    assert code["git"]["untracked"] == ["fresh.py"]
    diff = read_bytes(blobs, Digest(code["git"]["diff"])).decode()
    assert "-    return frame\n+    return frame.head()" in diff
    assert "-数 = 1" in diff
    assert sorted(code["files"]) == ["features.py", "fresh.py", "pyproject.toml"]


def test_a_project_in_a_folder_of_a_repository_takes_its_own_files_only(root: Path, blobs: LocalBlobs) -> None:
    """Neighbours in a mono-repository are not captured."""
    (root.parent / "neighbour.py").write_text("x = 1\n")
    (root.parent / ".gitignore").write_text("objects/\n")
    commit = committed(root.parent)
    (root.parent / "neighbour.py").write_text("x = 2\n")
    code = code_of(root, blobs)
    assert code["git"] == {"commit": commit, "dirty": False, "diff": None, "untracked": []}
    assert "neighbour.py" not in code["files"]


def test_a_repository_without_a_commit_is_captured_by_its_files(root: Path, blobs: LocalBlobs) -> None:
    """There is nothing to name yet."""
    git(root, "init", "-q")
    code = code_of(root, blobs)
    assert code["git"] is None
    assert "features.py" in code["files"]


def test_where_git_is_absent_or_slow_the_files_are_the_answer(
        root: Path, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git is a help, never a need."""
    committed(root)
    with_git = code_of(root, blobs)
    monkeypatch.setenv("PATH", os.devnull)
    code = code_of(root, blobs)
    assert code["git"] is None
    assert code["files"] == with_git["files"]


def test_nothing_of_the_repository_runs_and_nothing_in_it_changes(root: Path, blobs: LocalBlobs) -> None:
    """Hooks, external diffs and file-system monitors are programs of the repository: none is started."""
    committed(root)
    ran = root.parent / "ran"
    program = root.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "core.pager"):
        git(root, "config", key, str(program))
    (root / "features.py").write_text("changed = True\n")
    index = (root / ".git" / "index").read_bytes()
    code_of(root, blobs)
    assert not ran.exists()
    assert (root / ".git" / "index").read_bytes() == index


def test_secrets_are_never_captured(root: Path, blobs: LocalBlobs) -> None:
    """By name, by content, because git ignores them, because they are hidden or lie elsewhere."""
    (root / ".env").write_text("KEY=1")
    (root / ".hidden.py").write_text("x")
    (root / "secrets.toml").write_text("key = 'hunter2'")
    (root / "my_credentials.py").write_text("x = 'hunter2'")
    (root / "key.py").write_text("K = '''-----BEGIN RSA PRIVATE KEY-----'''")
    (root / "cloud.py").write_text("K = 'AKIA" + "A" * 16 + "'")
    (root / "linked.py").symlink_to("/etc/hostname")
    (root / "big.py").write_text("#" * (2 << 20))
    (root / "venv").mkdir()
    (root / "venv" / "pyvenv.cfg").write_text("")
    (root / "venv" / "installed.py").write_text("")
    code = code_of(root, blobs)
    assert sorted(code["files"]) == ["features.py", "lib/助手.py", "pyproject.toml"]
    assert code["skipped"]["secrets.toml"] == "its name looks like a secret"
    assert code["skipped"]["key.py"] == "it holds what looks like a key"
    assert code["skipped"]["big.py"] == "over 1 MiB"
    (root / ".gitignore").write_text("ignored.py\nvenv/\n")
    (root / "ignored.py").write_text("password = 'hunter2'")
    committed(root)
    assert sorted(code_of(root, blobs)["files"]) == ["features.py", "lib/助手.py", "pyproject.toml"]
    (root / "secrets.toml").unlink()
    (root / "key.py").write_text("K = '''-----BEGIN RSA PRIVATE KEY-----2'''")
    assert code_of(root, blobs)["git"]["diff"] is None
    for digest in blobs.list():
        assert b"hunter2" not in read_bytes(blobs, digest)


def test_passwords_in_the_configuration_are_masked() -> None:
    """A data source's URL is part of the configuration; its password is not."""
    assert mask_passwords('url = "postgresql://ada:p@ss:w0rd@db:5432/x"') == 'url = "postgresql://ada:***@db:5432/x"'
    assert mask_passwords('url = "https://db/x" # a:b@c') == 'url = "https://db/x" # a:b@c'
    assert mask_passwords('a = "postgresql://$NAME@db/x"') == 'a = "postgresql://$NAME@db/x"'


def test_all_four_ingredients_are_blobs(root: Path, blobs: LocalBlobs) -> None:
    """Each is canonical JSON under its digest; the same project gives the same four."""
    config = parse(TOML, root=root)
    dataset, split = digest_bytes(b"dataset"), digest_bytes(b"split")
    made = capture(root, config, blobs=blobs, dataset=dataset, split=split)
    assert capture(root, config, blobs=blobs, dataset=dataset, split=split) == made
    assert read_json(blobs, made.data) == {"schema": "trimtab.data/1", "dataset": dataset, "split": split}
    assert read_json(blobs, made.config) == {
        "schema": "trimtab.config/1", "files": {"trimtab.toml": TOML, "contract.toml": "version = 1\n"}}
    assert capture(root, config, blobs=blobs, dataset=dataset, split=digest_bytes(b"other")).data != made.data


def test_the_environment_is_a_lock_of_what_is_installed() -> None:
    """Names and versions, Python, platform, and the linear algebra that the last digits depend on."""
    environment = capture_environment()
    packages = environment["packages"]
    assert isinstance(packages, dict)
    import numpy as np

    assert packages["numpy"] == np.__version__
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["blas"]
    lines = lock_lines(environment).splitlines()
    assert f"numpy=={np.__version__}" in lines
    names = [line.partition("==")[0] for line in lines if not line.startswith("#")]
    assert names == sorted(packages)
    assert capture_environment() == environment


def test_installed_agrees_with_the_standard_library() -> None:
    """Reading the names of folders finds what reading every file of metadata finds."""
    from importlib.metadata import distributions

    from trimtab.registry.environment import normalised

    slow: dict[str, str] = {}
    for distribution in distributions():
        slow.setdefault(normalised(distribution.metadata["Name"]), distribution.version)
    assert installed(sys.path) == slow


def test_the_same_files_in_the_same_order(root: Path) -> None:
    """The order of a directory never shows."""
    for name in ("z.py", "a.py", "m.py"):
        (root / name).write_text("x\n")
    assert list(capture_sources(root).files) == ["a.py", "features.py", "m.py", "pyproject.toml", "z.py", "lib/助手.py"]
