"""Is a rebuilt version the same one, and if not, which file or ingredient differs, and why?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trimtab import canon
from trimtab.canon import Digest
from trimtab.registry.changes import Changed, changed
from trimtab.registry.model import Manifest
from trimtab.store.blobs import BlobStore, read_json

_MOST_REASONS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """`same`: all bytes and all ingredients are; else what differs, each with its reason in words."""

    same: bool
    original: Digest
    rebuilt: Digest
    files: tuple[str, ...] = ()               # of the version, that differ
    ingredients: tuple[Changed, ...] = ()     # keys begin with "code", "data", "config", "environment"
    words: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """`{"schema", "same", "original", "rebuilt", "files", "ingredients", "words"}`."""
        return {"schema": "trimtab.rebuild/1", "same": self.same, "original": self.original, "rebuilt": self.rebuilt,
                "files": list(self.files), "ingredients": [one.to_json() for one in self.ingredients],
                "words": list(self.words)}


def compare_rebuild(blobs: BlobStore, original: Manifest, rebuilt: Manifest) -> RebuildReport:
    """Compare two manifests, whose ingredients are stored. Raises BlobMissing, DigestMismatch."""
    want, got = canon.digest_json(original.to_json()), canon.digest_json(rebuilt.to_json())
    if want == got:
        return RebuildReport(same=True, original=want, rebuilt=got,
                             words=(f"the same digest, {want.short}: every file and every ingredient",))
    files = tuple(sorted(path for path in {**original.files, **rebuilt.files}
                         if original.files.get(path) != rebuilt.files.get(path)))
    differing: list[Changed] = []
    for name, digest in original.ingredients.to_json().items():
        other = rebuilt.ingredients.to_json()[name]
        if digest != other:
            found = changed(_told(blobs, digest), _told(blobs, other))
            differing += [Changed(key=f"{name}.{one.key}", a=one.a, b=one.b, kind=one.kind) for one in found]
    words = [_file_words(path, original, rebuilt) for path in files]
    words += [one.words for one in differing[:_MOST_REASONS]]
    if len(differing) > _MOST_REASONS:
        words.append(f"and {len(differing) - _MOST_REASONS} more differences of the ingredients")
    if files and not differing:
        words.append("code, data, configuration and environment are the same: the training itself is not repeatable "
                     "(its own randomness, or more than one thread)")
    if not files and differing:
        words.append("every file of the version is the same, byte for byte; only what it was made from differs")
    if sorted(original.types) != sorted(rebuilt.types) or original.flavor != rebuilt.flavor:
        words.append("the types inside the model file differ")
    return RebuildReport(same=False, original=want, rebuilt=got, files=files, ingredients=tuple(differing),
                         words=tuple(words))


def _told(blobs: BlobStore, digest: str) -> Any:
    value: Any = read_json(blobs, Digest(digest))
    if isinstance(value, dict) and "files" in value and value.get("schema") == "trimtab.code/1":
        return {**value, "files": {path: file["digest"] for path, file in value["files"].items()}}
    return value


def _file_words(path: str, original: Manifest, rebuilt: Manifest) -> str:
    want, got = original.files.get(path), rebuilt.files.get(path)
    if want is None or got is None:
        return f"{path} is in {'the rebuilt' if want is None else 'the original'} version only"
    return (f"{path}: {want.short}, {original.sizes[path]:,} bytes → {got.short}, {rebuilt.sizes[path]:,} bytes")
