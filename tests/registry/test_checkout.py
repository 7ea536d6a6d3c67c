"""A version comes back as a folder, and a rebuild says what differs."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.registry.conftest import Registry

from trimtab.canon import Digest, digest_bytes
from trimtab.config import load, parse
from trimtab.errors import BlobMissing, Conflict, Forbidden, NotFound, SignatureInvalid, UsageError
from trimtab.registry.checkout import checkout
from trimtab.registry.ingredients import capture
from trimtab.registry.model import Version
from trimtab.registry.names import contained
from trimtab.registry.rebuilt import compare_rebuild
from trimtab.registry.sources import ORIGIN_FILE
from trimtab.store.blobs import put_json

TOML = '[model]\nname = "risk"\ndata = "data/in.csv"\n\n[train]\nfeatures = "features:transform"\n'
FRAME = pl.DataFrame({"城市": ["北京", "Genève", None], "x": [1.5, -2.25, 1e-9], "y": [1, 2, 3]})
DATASET, SPLIT = digest_bytes(b"dataset"), digest_bytes(b"split")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project under git, with a change that is not committed."""
    folder = tmp_path / "project"
    (folder / "lib").mkdir(parents=True)
    (folder / "trimtab.toml").write_text(TOML)
    (folder / "contract.toml").write_text("version = 1\n")
    (folder / "features.py").write_text("def transform(frame):\n    return frame\n")
    (folder / "lib" / "more.py").write_text("x = 1\n")
    for command in (["init", "-q"], ["add", "-A"],
                    ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    (folder / "lib" / "more.py").write_text("x = 2\n")
    return folder


def frames(digest: Digest) -> pl.DataFrame:
    """The one dataset that is stored."""
    if digest != DATASET:
        raise NotFound("no such dataset")
    return FRAME


def registered(reg: Registry, root: Path, **more: Any) -> Version:
    """A version of the project."""
    made = capture(root, parse((root / "trimtab.toml").read_text(), root=root), blobs=reg.blobs, dataset=DATASET,
                   split=SPLIT)
    return reg.register(ingredients=made, **more)


def test_a_checkout_lays_out_all_that_the_version_was_made_from(reg: Registry, root: Path, tmp_path: Path) -> None:
    """Code with the uncommitted change, configuration, contract, lock, data under its name, the model's own files."""
    version = registered(reg, root)
    out = tmp_path / "out"
    told = checkout(reg.versions, version, out, frames=frames)
    assert told.notes == ()
    assert told.files == ("contract.toml", "data/in.csv", "features.py", "lib/more.py", "requirements.lock",
                          "risk@v1/contract.toml", "risk@v1/model.json", "risk@v1/model.skops", "trimtab.origin.json",
                          "trimtab.toml")
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == list(told.files)
    assert (out / "lib" / "more.py").read_text() == "x = 2\n"
    assert (out / "trimtab.toml").read_text() == TOML
    assert "numpy==" in (out / "requirements.lock").read_text()
    assert (out / "risk@v1" / "model.skops").read_bytes() == b"weights"
    from trimtab.data.readers import read_table

    assert read_table("data/in.csv", root=out).frame.equals(FRAME)


def test_the_ingredients_of_a_checkout_are_those_of_the_version(reg: Registry, root: Path, tmp_path: Path) -> None:
    """So that a rebuild can give the same digest: git's facts are believed while no file was changed."""
    (root / "secrets.toml").write_text("x = 1")
    version = registered(reg, root)
    out = tmp_path / "out"
    checkout(reg.versions, version, out, frames=frames)
    again = capture(out, load(out / "trimtab.toml"), blobs=reg.blobs, dataset=DATASET, split=SPLIT)
    assert again == version.manifest.ingredients
    (out / "features.py").write_text("changed = 1\n")
    changed = capture(out, load(out / "trimtab.toml"), blobs=reg.blobs, dataset=DATASET, split=SPLIT)
    assert replace(changed, code=again.code) == again
    assert changed.code != again.code


def test_a_checkout_inside_the_project_itself_is_the_same(reg: Registry, root: Path) -> None:
    """An enclosing repository's commit is not taken for the version's."""
    version = registered(reg, root)
    checkout(reg.versions, version, root / "old", frames=frames)
    config = load(root / "old" / "trimtab.toml")
    assert capture(root / "old", config, blobs=reg.blobs, dataset=DATASET, split=SPLIT) == version.manifest.ingredients


def test_a_folder_that_holds_something_is_refused(reg: Registry, root: Path, tmp_path: Path) -> None:
    """Nothing is overwritten, nothing is written beside it."""
    version = registered(reg, root)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / ".keep").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("used", "file", "link"):
        with pytest.raises(UsageError, match="empty"):
            checkout(reg.versions, version, tmp_path / name)
    assert [p.name for p in (tmp_path / "used").iterdir()] == [".keep"]
    (tmp_path / "empty").mkdir()
    assert checkout(reg.versions, version, tmp_path / "empty").files


def test_nothing_is_laid_out_unless_every_byte_verifies(reg: Registry, root: Path, tmp_path: Path) -> None:
    """A missing source file, a forged record, a deleted version: the folder isn't even made."""
    version = registered(reg, root)
    with pytest.raises(SignatureInvalid):
        checkout(reg.versions, replace(version, number=7), tmp_path / "out")
    reg.blobs.delete(digest_bytes(b"x = 2\n"))
    with pytest.raises(BlobMissing, match=r"lib/more\.py"):
        checkout(reg.versions, version, tmp_path / "out")
    gone = reg.versions.delete("risk", 1, by="ada", why="x")
    with pytest.raises(Conflict, match="deleted"):
        checkout(reg.versions, gone, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ["../evil.py", "/tmp/evil.py", "a/../../evil.py", "a\\..\\evil.py", ".git/config"])
def test_a_path_in_a_code_listing_never_leads_out(reg: Registry, tmp_path: Path, path: str) -> None:
    """Also where somebody who may register wrote the listing."""
    file = {"digest": put_json(reg.blobs, 1), "bytes": 1}
    code = put_json(reg.blobs, {"schema": "trimtab.code/1", "git": None, "files": {path: file}, "skipped": {}})
    config = put_json(reg.blobs, {"schema": "trimtab.config/1", "files": {"trimtab.toml": TOML}})
    data = put_json(reg.blobs, {"schema": "trimtab.data/1", "dataset": DATASET, "split": SPLIT})
    version = reg.register(ingredients=replace(reg.ingredients(), code=code, config=config, data=data))
    with pytest.raises(UsageError, match="can't be a file of a version"):
        checkout(reg.versions, version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_inside_the_folder_is_not_followed_out(tmp_path: Path) -> None:
    """Containment is decided on the resolved path."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "lib").symlink_to(tmp_path)
    with pytest.raises(Forbidden, match="leads out"):
        contained(tmp_path / "in", "lib/x.py")


@pytest.mark.parametrize(("toml", "note", "file"), [
    (TOML.replace('"data/in.csv"', '"/srv/data.csv"'), "not a plain path", "data.parquet"),
    (TOML.replace('"data/in.csv"', '{ sql = "select 1", url = "postgresql://ada:s3cret@db/x" }'), "asks a database",
     "data.parquet"),
    (TOML.replace("in.csv", "in.parquet"), "", "data/in.parquet")])
def test_the_data_is_where_the_configuration_reads_it_or_a_note_says_where(
        reg: Registry, root: Path, tmp_path: Path, toml: str, note: str, file: str) -> None:
    """Absolute paths and databases can't be laid out; Parquet keeps everything."""
    (root / "trimtab.toml").write_text(toml)
    version = registered(reg, root)
    told = checkout(reg.versions, version, tmp_path / "out", frames=frames)
    assert file in told.files
    assert pl.read_parquet(tmp_path / "out" / file).equals(FRAME)
    assert note in " ".join(told.notes)
    assert "s3cret" not in "".join(p.read_text(errors="replace") for p in (tmp_path / "out").rglob("*") if p.is_file())


def test_rows_that_text_would_change_are_laid_out_as_parquet(reg: Registry, root: Path, tmp_path: Path) -> None:
    """A CSV that reads back otherwise would be other data under the same name."""
    from trimtab.data.readers import read_table

    odd = pl.DataFrame({"code": ["7", "8", "9"], "y": [1, 2, 3]})
    told = checkout(reg.versions, registered(reg, root), tmp_path / "out", frames=lambda digest: odd)
    assert "holds Parquet" in told.notes[0]
    assert read_table("data/in.csv", root=tmp_path / "out").frame.equals(odd)


def test_data_that_is_not_stored_is_a_note(reg: Registry, root: Path, tmp_path: Path) -> None:
    """The rest is laid out."""
    def missing(digest: Digest) -> pl.DataFrame:
        raise BlobMissing("the bytes are not in this workspace")

    told = checkout(reg.versions, registered(reg, root), tmp_path / "out", frames=missing)
    assert "was not laid out: the bytes are not in this workspace" in told.notes[0]


def test_an_origin_file_that_lies_is_not_believed(reg: Registry, root: Path) -> None:
    """Git's facts come from there only while every file has the digest that it names."""
    before = registered(reg, root).manifest.ingredients
    for lie in ("{", "[]", '{"schema":"trimtab.origin/1","files":{},"git":{"commit":"x"},"skipped":{},"folder":""}'):
        (root / ORIGIN_FILE).write_text(lie)
        made = capture(root, parse(TOML, root=root), blobs=reg.blobs, dataset=DATASET, split=SPLIT)
        code: Any = reg.versions.ingredient(replace(reg.versions.get("risk", 1), manifest=replace(
            reg.versions.get("risk", 1).manifest, ingredients=made)), "code")
        assert code["git"] is None or code["git"]["commit"] != "x"
        (root / ORIGIN_FILE).unlink()
    assert capture(root, parse(TOML, root=root), blobs=reg.blobs, dataset=DATASET, split=SPLIT) == before


class TestRebuild:
    """`trimtab rebuild` compares digests and says which file or ingredient differs, and why."""

    def test_the_same_bytes_are_the_same(self, reg: Registry) -> None:
        version = reg.register()
        report = compare_rebuild(reg.blobs, version.manifest, version.manifest)
        assert report.same
        assert report.words[0].startswith("the same digest")

    def test_a_file_that_differs_with_the_same_ingredients_blames_the_training(self, reg: Registry) -> None:
        one, two = reg.register(), reg.register(weights=b"other!")
        report = compare_rebuild(reg.blobs, one.manifest, two.manifest)
        assert not report.same
        assert report.files == ("model.skops",)
        assert "the training itself is not repeatable" in report.words[-1]

    def test_another_package_is_named(self, reg: Registry) -> None:
        old = put_json(reg.blobs, {"packages": {"numpy": "2.0.0", "scipy": "1.15"}, "python": "3.11.2"})
        new = put_json(reg.blobs, {"packages": {"numpy": "2.4.6", "scipy": "1.15"}, "python": "3.11.2"})
        one = reg.register(ingredients=replace(reg.ingredients(), environment=old))
        two = reg.register(ingredients=replace(reg.ingredients(), environment=new))
        report = compare_rebuild(reg.blobs, one.manifest, two.manifest)
        assert report.words[0] == "environment.packages.numpy: '2.0.0' → '2.4.6'"
        assert "every file of the version is the same" in report.words[-1]
        assert report.to_json()["same"] is False

    def test_a_rebuild_needs_no_registration(self, reg: Registry) -> None:
        version = reg.register()
        manifest = reg.versions.manifest({"model.skops": b"weights", "contract.toml": b"# contract\n"},
                                         flavor="sklearn", types=version.manifest.types, facts=version.facts,
                                         ingredients=version.manifest.ingredients)
        assert compare_rebuild(reg.blobs, version.manifest, manifest).same
        assert len(reg.journal.rows()) == 1
