"""How do the values between steps become bytes, always the same bytes for the same value?

A packed artifact is one line of canonical JSON (what it is, the arrays' names, types and shapes) and then the arrays,
raw and little-endian. Its digest can be had without storing it. Results and reports are canonical JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab import canon
from trimtab.canon import Digest
from trimtab.errors import IntegrityError
from trimtab.pipeline.model import CandidateResult, Feature, Learnable, Split, TrainReport
from trimtab.store.blobs import BlobStore, put_bytes, put_json, read_bytes, read_json

_TYPES = {"<f8", "<i8"}


def save_learnable(blobs: BlobStore, value: Learnable) -> Digest:
    """Store it; the digest is that of `learnable_digest`."""
    return put_bytes(blobs, b"".join(_learnable_parts(value)))


def learnable_digest(value: Learnable) -> Digest:
    """Digest of what estimators see: matrix, target, groups, times, features, classes. Not of where it came from."""
    return _digest(_learnable_parts(value))


def load_learnable(blobs: BlobStore, digest: Digest) -> Learnable:
    """The inverse of `save_learnable`. Raises BlobMissing, IntegrityError."""
    header, arrays = _unpack(read_bytes(blobs, digest), "learnable")
    return Learnable(X=arrays["X"], y=arrays["y"], task=header["task"], classes=tuple(header["classes"]),
                     features=tuple(_feature(f) for f in header["features"]), groups=arrays.get("groups"),
                     times=arrays.get("times"))


def save_split(blobs: BlobStore, value: Split) -> Digest:
    """Store it; the digest is that of `split_digest`."""
    return put_bytes(blobs, b"".join(_split_parts(value)))


def split_digest(value: Split) -> Digest:
    """Digest of kind, seed and both sides of a split."""
    return _digest(_split_parts(value))


def load_split(blobs: BlobStore, digest: Digest) -> Split:
    """The inverse of `save_split`. Raises BlobMissing, IntegrityError."""
    header, arrays = _unpack(read_bytes(blobs, digest), "split")
    return Split(train=arrays["train"], test=arrays["test"], kind=header["kind"], seed=header["seed"],
                 digest=Digest(header["digest"]))


def save_result(blobs: BlobStore, value: CandidateResult) -> Digest:
    """Store a candidate's result as JSON, without its times."""
    return put_json(blobs, _result_json(value))


def load_result(blobs: BlobStore, digest: Digest, *, fit_s: float = 0.0) -> CandidateResult:
    """The inverse of `save_result`; `fit_s` is kept apart, since times are in no digest."""
    return dataclasses.replace(_result(read_json(blobs, digest)), fit_s=fit_s)


def save_report(blobs: BlobStore, value: TrainReport) -> Digest:
    """Store a whole training's report as JSON (`trimtab.train/1`), times of fits included."""
    return put_json(blobs, report_json(value))


def load_report(blobs: BlobStore, digest: str) -> TrainReport:
    """The inverse of `save_report`; `digest` is the output "report" of a "train" run."""
    raw: Any = read_json(blobs, Digest(digest))
    return TrainReport(**{
        **{key: value for key, value in raw.items() if key != "schema"},
        "candidates": tuple(_result(one) for one in raw["candidates"]), "dataset": Digest(raw["dataset"]),
        "split": Digest(raw["split"]), "classes": tuple(raw["classes"]), "cached": tuple(raw["cached"]),
        "features": tuple(_feature(f) for f in raw["features"]), "preprocessing": tuple(raw["preprocessing"])})


def report_json(value: TrainReport) -> dict[str, object]:
    """The report as `trimtab train --json` prints it."""
    raw = asdict(value)
    raw["candidates"] = [{**_result_json(one), "fit_s": one.fit_s} for one in value.candidates]
    return {"schema": "trimtab.train/1", **raw}


def _result_json(value: CandidateResult) -> dict[str, object]:
    raw: dict[str, object] = asdict(value)
    raw.pop("fit_s")
    done = canon.finite(raw)
    assert isinstance(done, dict)
    return done


def _result(raw: Any) -> CandidateResult:
    return CandidateResult(**{
        **raw, **{key: tuple(raw[key]) for key in ("folds", "types", "notes", "preprocessing")},
        "model": Digest(raw["model"]) if raw["model"] else None})


def _feature(raw: Any) -> Feature:
    return Feature(**{**raw, "categories": tuple(raw["categories"])})


def _learnable_parts(value: Learnable) -> Iterator[bytes]:
    arrays: dict[str, NDArray[Any]] = {"X": value.X, "y": value.y}
    arrays |= {"groups": value.groups} if value.groups is not None else {}
    arrays |= {"times": value.times} if value.times is not None else {}
    return _pack("learnable", {"task": value.task, "classes": list(value.classes),
                               "features": [asdict(feature) for feature in value.features]}, arrays)


def _split_parts(value: Split) -> Iterator[bytes]:
    return _pack("split", {"kind": value.kind, "seed": value.seed, "digest": value.digest},
                 {"train": value.train, "test": value.test})


def _pack(kind: str, header: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes]:
    plain = {name: np.ascontiguousarray(array, dtype="<f8" if array.dtype.kind == "f" else "<i8")
             for name, array in arrays.items()}
    yield canon.dumps({"artifact": f"trimtab.{kind}/1", **header,
                       "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in plain.items()]})
    yield b"\n"
    for array in plain.values():
        yield array.tobytes()


def _digest(parts: Iterator[bytes]) -> Digest:
    running = hashlib.sha256()
    for part in parts:
        running.update(part)
    return Digest("sha256:" + running.hexdigest())


def _unpack(data: bytes, kind: str) -> tuple[Any, dict[str, NDArray[Any]]]:
    line, _, body = data.partition(b"\n")
    header: Any = canon.loads(line)
    if not isinstance(header, dict) or header.get("artifact") != f"trimtab.{kind}/1":
        raise IntegrityError(f"the blob is not a {kind} that this trimtab can read; run the step again (--no-cache)")
    arrays: dict[str, NDArray[Any]] = {}
    at = 0
    for name, dtype, shape in header["arrays"]:
        if dtype not in _TYPES:
            raise IntegrityError(f"the {kind} holds an array of type {dtype!r}, which can't be; run the step again")
        size = int(np.prod(shape, dtype=np.int64)) * 8
        arrays[name] = np.frombuffer(body[at:at + size], dtype=dtype).reshape(shape).copy()
        at += size
    return header, arrays
