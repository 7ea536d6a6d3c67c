"""Versions: immutable, numbered once, never visible without verified bytes."""

from __future__ import annotations

import base64
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from tests.registry.conftest import Registry, open_registry

from trimtab.canon import Digest, digest_bytes
from trimtab.errors import BlobMissing, Conflict, DigestMismatch, Live, NotFound, SignatureInvalid, UsageError
from trimtab.keys import Keyring
from trimtab.registry.model import Ingredients
from trimtab.store import migrate
from trimtab.store.db import Database
from trimtab.store.schema import versions as table


def test_the_first_version_is_number_one_and_verifies(every: Registry) -> None:
    """Registering stores the files, signs name and number, and leaves one journal row in the same transaction."""
    version = every.register(note="first cut")
    assert (version.name, version.number, version.gates) == ("risk@v1", 1, "none")
    assert every.versions.get("risk", 1) == version
    every.versions.verify(version)
    assert every.versions.read(version, "model.skops") == b"weights"
    assert every.versions.read(version, "model.json") == b'{"candidate":"linear","task":"regression"}'
    [row] = every.journal.rows(model="risk")
    assert (row.kind, row.subject, row.by, row.why) == ("version.register", "v1", "ada", "first cut")
    assert row.body["digest"] == version.digest


def test_the_same_bytes_again_are_nothing_to_do(reg: Registry) -> None:
    """The digest names the bytes: a second registration returns the first version, and the journal stays as it is."""
    first = reg.register()
    assert reg.register() == first
    assert reg.register(weights=b"other").number == 2
    assert reg.register() == first
    assert len(reg.journal.rows()) == 2


def test_the_same_bytes_with_another_note_or_measurement_are_a_new_version(reg: Registry) -> None:
    """A note is a statement, an evaluation a measurement: neither changes a version that exists."""
    measured: dict[str, Any] = {"metric": "mse", "dataset": "d", "openings": 1, "test": {"rows": 9}}
    first = reg.register(evaluation=measured, gates="passed", note="a")
    assert reg.register(evaluation={**measured, "openings": 2}, gates="passed", note="a") == first
    assert reg.register() == first
    assert reg.register(note="b").number == 2
    assert reg.register(evaluation={**measured, "test": {"rows": 10}}, gates="passed").number == 3
    assert reg.register(evaluation=measured, gates="failed").number == 4
    assert len({version.digest for version in reg.versions.list("risk")}) == 1


def test_a_name_and_a_number_are_not_part_of_the_digest(reg: Registry) -> None:
    """The same bytes under another name have the same digest, and another signature."""
    one, two = reg.register("risk"), reg.register("风险")
    assert one.digest == two.digest
    assert one.signature != two.signature


def test_other_ingredients_are_other_versions(reg: Registry) -> None:
    """The digest covers what the model was made from, not its bytes alone."""
    one = reg.register()
    two = reg.register(ingredients=reg.ingredients(data="newer"))
    assert one.digest != two.digest


def test_an_ingredient_that_was_not_stored_is_refused(reg: Registry) -> None:
    """No visible version lacks verified bytes; nothing is written."""
    missing = digest_bytes(b"never stored")
    with pytest.raises(BlobMissing, match="the code that this version was made from"):
        reg.register(ingredients=Ingredients(**{**{k: Digest(v) for k, v in reg.ingredients().to_json().items()},
                                                "code": missing}))
    assert reg.versions.models() == []


def test_a_blob_that_was_damaged_before_is_replaced_at_registration(reg: Registry) -> None:
    """What a version names was read back: a blob of the right name with wrong bytes is not believed."""
    first = reg.register()
    damage(reg, first.manifest.files["model.skops"])
    reg.register("other")
    reg.versions.verify(first)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a/./b", "a\\b", "C:\\x", ".env", "a/.git/x", "a\0b",
                                  "", "a/", "x" * 401, "a/..", "a:b", "%2e%2e/x?", "a\nb", "a/b.", "e\u0301.py"])
def test_a_file_of_a_version_has_a_plain_relative_path(reg: Registry, path: str) -> None:
    """Nothing that could lead elsewhere is ever recorded as a path."""
    with pytest.raises(UsageError, match="can't be registered"):
        reg.versions.register("risk", {path: b""}, flavor="x", types=(), ingredients=reg.ingredients(), facts={},
                              by="ada")
    assert reg.versions.models() == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-rf", "a b", "a@b", "x" * 101, "a\n", "a:b", "a%2fb"])
def test_a_model_name_is_made_of_letters_and_digits_of_any_script(reg: Registry, name: str) -> None:
    """An allow-list: whatever is not on it is refused with a sentence."""
    with pytest.raises(UsageError, match=r"can't name .* model"):
        reg.register(name)
    assert reg.register("信用风险_2026.v1-β").number == 1


def test_facts_that_differ_from_their_file_are_refused(reg: Registry) -> None:
    """model.json is made from the facts, so that the row and the file can't tell two stories."""
    with pytest.raises(UsageError, match=r"model\.json is not the canonical JSON"):
        reg.versions.register("risk", {"model.json": b"{}"}, flavor="x", types=(), ingredients=reg.ingredients(),
                              facts={"task": "binary"}, by="ada")


class TestTampering:
    """Only judged and signed bytes are served."""

    def test_one_flipped_bit_is_found_and_the_file_named(self, reg: Registry) -> None:
        version = reg.register()
        damage(reg, version.manifest.files["model.skops"])
        with pytest.raises(DigestMismatch, match=r"risk@v1: model\.skops: expected sha256:\w{6}, found") as caught:
            reg.versions.verify(version)
        assert caught.value.details["path"] == "model.skops"
        assert caught.value.details["want"] == version.manifest.files["model.skops"]
        with pytest.raises(DigestMismatch):
            reg.versions.read(version, "model.skops")

    def test_a_flipped_bit_in_an_ingredient_or_the_evaluation_is_found(self, reg: Registry) -> None:
        version = reg.register(evaluation={"metric": "mse"})
        assert version.evaluation is not None
        damage(reg, version.evaluation)
        with pytest.raises(DigestMismatch, match="its evaluation"):
            reg.versions.verify(version)
        damage(reg, version.manifest.ingredients.code)
        with pytest.raises(DigestMismatch, match="its code"):
            reg.versions.verify(version)

    def test_a_missing_file_is_named(self, reg: Registry) -> None:
        version = reg.register()
        reg.blobs.delete(version.manifest.files["contract.toml"])
        with pytest.raises(BlobMissing, match=r"risk@v1: the bytes of contract\.toml"):
            reg.versions.verify(version)

    def test_an_older_signature_under_a_new_name_or_number_does_not_hold(self, reg: Registry) -> None:
        one, two = reg.register(), reg.register(weights=b"two")
        for forged in (replace(one, model="other"), replace(one, number=2), replace(one, signature=two.signature),
                       replace(one, digest=two.digest), replace(one, signature="!"), replace(one, key_id="0" * 16)):
            with pytest.raises(SignatureInvalid, match=r"restore|public key"):
                reg.versions.verify(forged)

    def test_a_signature_of_another_workspace_does_not_hold(self, reg: Registry, tmp_path: Path) -> None:
        version = reg.register()
        key_id, signature = Keyring(tmp_path / "elsewhere").sign(b"anything")
        with pytest.raises(SignatureInvalid, match="no public key"):
            reg.versions.verify(replace(version, key_id=key_id, signature=signature))

    def test_an_extra_file_in_the_manifest_is_found(self, reg: Registry) -> None:
        version = reg.register()
        files = {**version.manifest.files, "extra.py": version.manifest.files["contract.toml"]}
        sizes = {**version.manifest.sizes, "extra.py": 11}
        with pytest.raises(DigestMismatch, match="its manifest"):
            reg.versions.verify(replace(version, manifest=replace(version.manifest, files=files, sizes=sizes)))

    def test_a_gate_verdict_written_into_the_table_is_found(self, reg: Registry) -> None:
        reg.register(gates="failed")
        with reg.db.write() as conn:
            conn.execute(table.update().values(gates="passed"))
        with pytest.raises(DigestMismatch, match="gates"):
            reg.versions.verify(reg.versions.get("risk", 1))

    def test_facts_written_into_the_table_are_found(self, reg: Registry) -> None:
        reg.register()
        with reg.db.write() as conn:
            conn.execute(table.update().values(facts='{"task":"binary"}'))
        with pytest.raises(DigestMismatch, match="its facts"):
            reg.versions.verify(reg.versions.get("risk", 1))


class TestDeleting:
    """A tombstone keeps the digests; the number is never given again."""

    def test_a_deleted_version_keeps_its_digests_and_hands_out_no_bytes(self, every: Registry) -> None:
        version = every.register()
        gone = every.versions.delete("risk", 1, by="ada", why="trained on the wrong file")
        assert every.versions.get("risk", 1) == gone
        assert gone.manifest == version.manifest
        assert every.versions.list("risk") == []
        assert every.versions.list("risk", deleted=True) == [gone]
        with pytest.raises(Conflict, match="not handed out"):
            every.versions.read(gone, "model.skops")
        with pytest.raises(NotFound, match="every version of risk was deleted"):
            every.versions.resolve("risk")
        every.versions.verify(gone)
        assert every.journal.rows(kind="version.delete")[0].why == "trained on the wrong file"
        assert every.versions.delete("risk", 1, by="eve", why="again") == gone
        assert every.register().number == 2

    def test_a_reason_is_needed(self, reg: Registry) -> None:
        reg.register()
        with pytest.raises(UsageError, match="needs a reason"):
            reg.versions.delete("risk", 1, by="ada", why="  ")

    def test_a_version_that_serves_is_not_deleted(self, every: Registry) -> None:
        every.register(), every.register(weights=b"two")
        every.roll_out(1)
        with pytest.raises(Live, match="serves traffic now"):
            every.versions.delete("risk", 1, by="ada", why="old")
        every.roll_out(2)
        assert every.versions.delete("risk", 1, by="ada", why="old").deleted_at

    def test_its_aliases_go_with_it(self, reg: Registry) -> None:
        reg.register()
        reg.aliases.set("risk", "challenger", 1, by="ada")
        reg.versions.delete("risk", 1, by="ada", why="old")
        assert reg.aliases.list() == []
        assert [row.kind for row in reg.journal.rows()][-2:] == ["alias.remove", "version.delete"]
        with pytest.raises(Conflict, match="deleted"):
            reg.aliases.set("risk", "challenger", 1, by="ada")


class TestNumbers:
    """1, 2, 3 … never reused, whoever registers at the same time."""

    @given(steps=st.lists(st.tuples(st.sampled_from(["register", "delete"]), st.integers(1, 5)), max_size=12))
    @settings(max_examples=25)
    def test_numbers_are_never_given_twice(self, tmp_path_factory: pytest.TempPathFactory,
                                           steps: list[tuple[str, int]]) -> None:
        """Whatever is registered and deleted in whatever order, the numbers are 1, 2, 3 … in order."""
        database = Database("sqlite://")
        migrate.upgrade(database)
        reg = open_registry(database, tmp_path_factory.mktemp("numbers"))
        given_away = []
        for at, (step, number) in enumerate(steps):
            if step == "register":
                given_away.append(reg.register(weights=str(at).encode()).number)
            elif number <= len(given_away):
                reg.versions.delete("risk", number, by="ada", why="x")
        assert given_away == list(range(1, len(given_away) + 1))
        database.close()

    def test_threads_that_register_at_once_get_distinct_numbers(self, every: Registry) -> None:
        made: list[int] = []
        ingredients = every.ingredients()

        def register(who: int) -> None:
            for turn in range(4):
                version = every.versions.register(
                    "risk", {"m": f"{who}-{turn}".encode()}, flavor="x", types=(), ingredients=ingredients, facts={},
                    by=str(who))
                made.append(version.number)

        threads = [threading.Thread(target=register, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(made) == list(range(1, 17))
        assert len({version.digest for version in every.versions.list("risk")}) == 16
        every.journal.verify()

    def test_processes_that_register_at_once_get_distinct_numbers(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'trimtab.db'}"
        database = Database(url)
        migrate.upgrade(database)
        code = (f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
                "from pathlib import Path\n"
                "from tests.registry.conftest import open_registry\n"
                "from trimtab.store.db import Database\n"
                f"reg = open_registry(Database({url!r}), Path({str(tmp_path)!r}))\n"
                "print(*[reg.register(weights=f'{sys.argv[1]}-{i}'.encode()).number for i in range(6)])\n")
        running = [subprocess.Popen([sys.executable, "-c", code, str(who)], stdout=subprocess.PIPE, text=True)
                   for who in range(2)]
        numbers = [int(word) for process in running for word in process.communicate(timeout=120)[0].split()]
        assert sorted(numbers) == list(range(1, 13))
        reg = open_registry(database, tmp_path)
        reg.journal.verify()
        with database.read() as conn:
            assert len(conn.execute(select(table)).all()) == 12
        for version in reg.versions.list("risk"):
            reg.versions.verify(version)
        database.close()


class TestReferences:
    """`risk` · `risk@v2` · `risk@2` · `risk@champion` · `risk@sha256:49d7`."""

    def test_every_form_finds_its_version(self, every: Registry) -> None:
        one, two = every.register(), every.register(weights=b"two")
        every.roll_out(1)
        for ref, want in (("risk", two), ("risk@latest", two), ("risk@v1", one), ("risk@1", one), ("risk@V2", two),
                          ("risk@champion", one), (f"risk@{two.digest[:11]}", two), (f"risk@{one.digest}", one)):
            assert every.versions.resolve(ref) == want, ref
        every.versions.delete("risk", 2, by="ada", why="x")
        assert every.versions.resolve("risk") == one
        assert every.versions.resolve("risk@v2").deleted_at

    @pytest.mark.parametrize(("ref", "says"), [
        ("rsik", "Did you mean 'risk'?"), ("risk@v7", "no version 7; its newest is v1"),
        ("risk@champoin", "Did you mean 'champion'?"), ("nothing@champion", "no model 'nothing'"),
        ("risk@sha256:0000", "no version with a digest that begins sha256:0000")])
    def test_what_nothing_answers_to_is_told_with_near_names(self, reg: Registry, ref: str, says: str) -> None:
        reg.register()
        reg.roll_out(1)
        with pytest.raises(NotFound) as caught:
            reg.versions.resolve(ref)
        assert says in str(caught.value)

    @pytest.mark.parametrize("ref", ["", "@v1", "risk@", "risk@v0", "risk@sha256:1", "risk@sha256:zzzz",
                                     "risk@99999999999", "risk@../x", "risk@a b", "a/b", "risk@v1@v2"])
    def test_what_is_no_reference_shows_the_forms(self, reg: Registry, ref: str) -> None:
        with pytest.raises(UsageError):
            reg.versions.resolve(ref)

    def test_a_prefix_that_fits_two_versions_asks_for_more_digits(self, reg: Registry) -> None:
        version, second = reg.register(), reg.register(weights=b"second")
        near = version.digest[:11] + ("0" if version.digest[11] != "0" else "1") * 60
        with reg.db.write() as conn:                # as if the second had been so close
            conn.execute(table.update().where(table.c.number == second.number).values(digest=near))
        with pytest.raises(UsageError, match="write more digits"):
            reg.versions.resolve(f"risk@{version.digest[:11]}")


def damage(reg: Registry, digest: Digest) -> None:
    """Flip one bit of a stored blob."""
    path = reg.blob_file(digest)
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_signature_is_base64_of_64_bytes(reg: Registry) -> None:
    """Ed25519, as anybody can check with the public key alone."""
    version = reg.register()
    assert len(base64.b64decode(version.signature)) == 64
