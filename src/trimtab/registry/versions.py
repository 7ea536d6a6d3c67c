"""Which immutable, numbered models are there?

A version's bytes are put and read back before its row is written, and its journal row is written in the same
transaction: no visible version lacks verified bytes, none appears without a trace. Numbers are never given twice,
also not after a deletion, which leaves a tombstone with all digests. (A tombstone's blobs may belong to other versions
too; they stay until the blobs are swept.)

Registering the same bytes again adds nothing: the existing version is returned, unless the new registration brings a
note, a gate verdict or a measurement of its own (`rules.is_same`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy.engine import Connection

from trimtab import canon, clock
from trimtab.canon import Digest
from trimtab.clock import Clock
from trimtab.errors import BlobMissing, Conflict, DigestMismatch, Live, NotFound, UsageError
from trimtab.keys import Keyring
from trimtab.registry import refs, rows, rules, signing
from trimtab.registry.aliases import drop, no_alias
from trimtab.registry.model import GateVerdict, Ingredients, Manifest, Version
from trimtab.registry.names import CHAMPION, model_name, near
from trimtab.store.blobs import BlobStore, put_bytes, read_bytes, read_json
from trimtab.store.db import Database
from trimtab.store.journal import Journal
from trimtab.store.schema import versions

FACTS_FILE = "model.json"


class Versions:
    """The versions of a workspace."""

    def __init__(self, db: Database, blobs: BlobStore, journal: Journal, keyring: Keyring, clock: Clock) -> None:
        self._db, self._blobs, self._journal, self._keyring, self._clock = db, blobs, journal, keyring, clock

    def register(self, model: str, files: Mapping[str, bytes], *, flavor: str, types: Iterable[str],
                 ingredients: Ingredients, facts: Mapping[str, object], evaluation: Mapping[str, object] | None = None,
                 gates: GateVerdict = "none", run: str | None = None, note: str = "", by: str) -> Version:
        """Make the next version of `model` from files (relative path → bytes), or return the one that is the same.

        `facts` become the file `model.json`. The ingredients' blobs must be stored already. Raises UsageError (name,
        paths, sizes, other bytes given for model.json), BlobMissing (an ingredient).
        """
        model, told = model_name(model), _plain(facts)
        manifest = self.manifest(files, flavor=flavor, types=types, ingredients=ingredients, facts=told)
        judged = None if evaluation is None else _plain(evaluation)
        evaluation_digest = None if judged is None else self._put(canon.dumps(judged))
        digest = canon.digest_json(manifest.to_json())
        with self._db.write() as conn:
            rows.take_turn(conn)
            known = rows.all_versions(conn, model)
            for existing in reversed(known):
                if existing.digest == digest and rules.is_same(
                        existing, self.evaluation(existing), evaluation=judged, gates=gates, note=note):
                    return existing
            number = 1 + max((version.number for version in known), default=0)
            key_id, signature = signing.sign(self._keyring, model, number, digest)
            version = Version(
                model=model, number=number, digest=digest, manifest=manifest, key_id=key_id, signature=signature,
                gates=gates, evaluation=evaluation_digest, run=run, note=note, facts=told,
                created_at=clock.to_text(self._clock.now()), created_by=by)
            conn.execute(versions.insert().values(rows.row_of(version)))
            self._journal.append(conn, kind="version.register", model=model, subject=f"v{number}", by=by, why=note,
                                 body=_journalled(version))
        return version

    def manifest(self, files: Mapping[str, bytes], *, flavor: str, types: Iterable[str], ingredients: Ingredients,
                 facts: Mapping[str, object]) -> Manifest:
        """Store and verify the bytes of a version that is not registered (yet): what a rebuild is compared by.

        Raises as `register`.
        """
        files = {**files, FACTS_FILE: _facts_file(files, _plain(facts))}
        verdict = rules.may_register({path: len(data) for path, data in files.items()})
        if not verdict.allowed:
            raise UsageError(f"these files can't be registered: {verdict.reason}")
        for name, digest in ingredients.to_json().items():
            if not self._blobs.has(Digest(digest)):
                raise BlobMissing(f"the {name} that this version was made from ({Digest(digest).short}) is not stored; "
                                  "capture the ingredients before registering", digest=digest)
        return Manifest(
            flavor=flavor, types=tuple(sorted(set(types))), ingredients=ingredients,
            files={path: self._put(files[path]) for path in sorted(files)},
            sizes={path: len(files[path]) for path in sorted(files)})

    def get(self, model: str, number: int) -> Version:
        """The version with this number; a deleted one has `deleted_at`. Raises NotFound with what exists."""
        with self._db.read() as conn:
            return rows.the_version(conn, model_name(model), number)

    def resolve(self, ref: str | refs.Ref) -> Version:
        """The version that `risk`, `risk@v2`, `risk@champion` or `risk@sha256:49d7` means (see `refs`).

        `risk` alone is the newest version that was not deleted. Raises UsageError, NotFound with near names.
        """
        wanted = refs.parse(ref) if isinstance(ref, str) else ref
        with self._db.read() as conn:
            return _resolve(conn, wanted)

    def models(self) -> list[str]:
        """The names of all models that have, or had, a version."""
        with self._db.read() as conn:
            return rows.model_names(conn)

    def delete(self, model: str, number: int, *, by: str, why: str) -> Version:
        """Put a tombstone in the version's place: digests stay, reading and serving end; its aliases go with it.

        Deleting a tombstone changes nothing. Raises NotFound, UsageError (no reason), Live while any endpoint serves
        it or it is the champion.
        """
        with self._db.write() as conn:
            rows.take_turn(conn)
            version = rows.the_version(conn, model_name(model), number)
            if version.deleted_at is not None:
                return version
            named = [alias for alias in rows.all_aliases(conn, version.model) if alias.number == number]
            live = (number in rows.serving(conn, version.model)
                    or any(alias.alias == CHAMPION for alias in named))
            verdict = rules.may_delete(version, live=live, why=why)
            if not verdict.allowed:
                raise (Live if live and why.strip() else UsageError)(verdict.reason, version=version.name)
            for alias in named:
                drop(conn, self._journal, alias, by=by, why=f"{version.name} is deleted: {why}")
            gone = replace(version, deleted_at=clock.to_text(self._clock.now()))
            conn.execute(versions.update().where(versions.c.model == version.model, versions.c.number == number)
                         .values(deleted_at=gone.deleted_at))
            self._journal.append(conn, kind="version.delete", model=version.model, subject=f"v{number}", by=by,
                                 why=why, body={"version": number, "digest": version.digest})
        return gone

    def read(self, version: Version, path: str) -> bytes:
        """The bytes of one of its files, digest checked. Raises NotFound, Conflict (deleted), BlobMissing,
        DigestMismatch."""
        if version.deleted_at is not None:
            raise Conflict(f"{version.name} was deleted on {version.deleted_at[:10]}; its files are not handed out",
                           version=version.name)
        digest = version.manifest.files.get(path)
        if digest is None:
            raise NotFound(f"{version.name} has no file {path[:100]!r}. {near(path, version.manifest.files)}",
                           version=version.name, path=path)
        return self._checked(version, path, digest)

    def evaluation(self, version: Version) -> dict[str, object] | None:
        """The evaluation that the version was registered with, or None. Raises BlobMissing, DigestMismatch."""
        if version.evaluation is None:
            return None
        value = read_json(self._blobs, version.evaluation)
        return value if isinstance(value, dict) else None

    def ingredient(self, version: Version, name: str) -> dict[str, object]:
        """What one of its ingredients says: "code", "data", "config" or "environment". Raises as `read`."""
        digest = Digest(version.manifest.ingredients.to_json()[name])
        value = canon.loads(self._checked(version, f"its {name}", digest))
        return value if isinstance(value, dict) else {}

    def blob(self, version: Version, what: str, digest: Digest) -> bytes:
        """Bytes that an ingredient names, digest checked; `what` is how an error calls them."""
        return self._checked(version, what, digest)

    def verify(self, version: Version) -> None:
        """Is the version what was signed and journalled?  Signature, manifest, every file, ingredients, evaluation.

        Raises SignatureInvalid, DigestMismatch (details: path, want, got), BlobMissing.
        """
        signing.check(self._keyring, version)
        found = canon.digest_json(version.manifest.to_json())
        if found != version.digest:
            raise _mismatch(version, "its manifest", version.digest, found)
        for path, digest in version.manifest.files.items():
            data = self._checked(version, path, digest)
            if path == FACTS_FILE and data != canon.dumps(version.facts):
                raise _mismatch(version, "its facts", digest, canon.digest_json(version.facts))
        for name, text in version.manifest.ingredients.to_json().items():
            self._checked(version, f"its {name}", Digest(text))
        if version.evaluation is not None:
            self._checked(version, "its evaluation", version.evaluation)
        self._check_journal(version)

    def list(self, model: str, *, deleted: bool = False) -> list[Version]:
        """The versions of a model, oldest first; with tombstones where `deleted`. Raises NotFound."""
        with self._db.read() as conn:
            known = rows.all_versions(conn, model_name(model))
            if not known:
                raise rows.no_model(conn, model)
        return [version for version in known if deleted or version.deleted_at is None]

    def _check_journal(self, version: Version) -> None:
        """A gate verdict or an evaluation that was changed in the table is found here."""
        want = _journalled(version)
        told = [row.body for row in self._journal.rows(model=version.model, kind="version.register")
                if row.subject == f"v{version.number}"]
        if told != [want]:
            got = canon.digest_json(told)
            raise _mismatch(version, "its record (digest, gates, evaluation) and the journal's",
                            canon.digest_json([want]), got)

    def _put(self, data: bytes) -> Digest:
        """Store bytes and read them back; a damaged blob of the same name is replaced."""
        digest = put_bytes(self._blobs, data)
        try:
            read_bytes(self._blobs, digest)
        except DigestMismatch:
            self._blobs.delete(digest)
            put_bytes(self._blobs, data)
            read_bytes(self._blobs, digest)
        return digest

    def _checked(self, version: Version, path: str, digest: Digest) -> bytes:
        try:
            return read_bytes(self._blobs, digest)
        except DigestMismatch as error:
            raise _mismatch(version, path, digest, Digest(str(error.details["got"]))) from None
        except BlobMissing:
            raise BlobMissing(f"{version.name}: the bytes of {path} ({digest.short}) are not in this workspace; "
                              "restore them from a backup", version=version.name, path=path, digest=digest) from None


def _resolve(conn: Connection, ref: refs.Ref) -> Version:
    if ref.number is not None:
        return rows.the_version(conn, ref.model, ref.number)
    if ref.alias is not None:
        alias = rows.find_alias(conn, ref.model, ref.alias)
        if alias is None:
            raise no_alias(conn, ref.model, ref.alias) if rows.numbers(conn, ref.model) \
                else rows.no_model(conn, ref.model)
        return rows.the_version(conn, ref.model, alias.number)
    known = rows.all_versions(conn, ref.model)
    if not known:
        raise rows.no_model(conn, ref.model)
    if ref.digest is not None:
        return _by_digest(known, ref)
    kept = [version for version in known if version.deleted_at is None]
    if not kept:
        raise NotFound(f"every version of {ref.model} was deleted; see `trimtab log {ref.model}`", model=ref.model)
    return kept[-1]


def _by_digest(known: list[Version], ref: refs.Ref) -> Version:
    found = [version for version in known if ref.digest and version.digest.startswith(ref.digest)]
    if not found:
        raise NotFound(f"{ref.model} has no version with a digest that begins {ref.digest}. Known: "
                       f"{', '.join(f'v{v.number} {v.digest.short}' for v in known[-5:])}.", model=ref.model)
    if len({version.digest for version in found}) > 1:
        raise UsageError(f"{ref} is not enough: it fits "
                         f"{', '.join(f'v{v.number} ({v.digest[:17]})' for v in found)}; write more digits")
    kept = [version for version in found if version.deleted_at is None]
    return (kept or found)[-1]


def _plain(value: Mapping[str, object]) -> dict[str, object]:
    """What JSON makes of it: lists for tuples, null for NaN."""
    plain = canon.loads(canon.dumps(canon.finite(dict(value))))
    assert isinstance(plain, dict)
    return plain


def _facts_file(files: Mapping[str, bytes], facts: dict[str, object]) -> bytes:
    data = canon.dumps(facts)
    if FACTS_FILE in files and files[FACTS_FILE] != data:
        raise UsageError(f"the file {FACTS_FILE} is not the canonical JSON of the facts; leave it out, it is made")
    return data


def _journalled(version: Version) -> dict[str, object]:
    return {"version": version.number, "digest": version.digest, "gates": version.gates,
            "evaluation": version.evaluation, "run": version.run}


def _mismatch(version: Version, path: str, want: Digest, got: Digest) -> DigestMismatch:
    return DigestMismatch(
        f"{version.name}: {path}: expected {want.short}, found {got.short}. It changed after it was registered; "
        "register it again or restore it from a backup.", version=version.name, path=path, want=want, got=got)
