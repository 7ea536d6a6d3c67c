"""A version that is unfit to answer is told so without labels; one that is as good as the other is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.serving.guardrails import crossed

N = 600
FIT = {"failed": 0.0, "latency_us": 400.0, "null": 0.0}


def rows(n: int = N, *, classes: tuple[str, ...] = (), seed: int = 0, rows_each: int = 1,
         **second: Any) -> pl.DataFrame:
    """What v1 and v2 computed on the same requests; `second` says how v2 differs."""
    rng = np.random.default_rng(seed)
    told = []
    for request in range(n):
        truth = rng.normal(size=rows_each)
        shares = rng.random(rows_each)
        for version in (1, 2):
            how = {**FIT, **(second if version == 2 else {})}
            failed = rng.random() < how["failed"]
            latency = int(how["latency_us"] * rng.lognormal(0, 0.5))
            for place in range(rows_each):
                value = repr(float(truth[place]) + version / 10)
                if classes:
                    value = f'"{classes[0] if shares[place] < how.get("first", 0.8) else classes[1]}"'
                if "constant" in how:
                    value = how["constant"]
                if failed or rng.random() < how["null"]:
                    value = "null"
                told.append({"id": f"p-{request:06d}-{place:02d}", "batch": f"p-{request:06d}-00", "version": version,
                             "at": "", "verdict": "failed" if failed else "kept", "latency_us": latency,
                             "output": value, "probabilities": "[0.5,0.5]" if classes else "null"})
    return pl.DataFrame(told)


@pytest.mark.parametrize(("second", "classes", "words"), [
    ({"failed": 0.1}, (), "v2 gave no usable answer to"),
    ({"null": 0.1}, (), "v2 gave no usable answer to"),
    ({"latency_us": 9_000.0}, (), "v2 took longer than"),
    ({"constant": "0.5"}, (), "v2's answer changed from row to row 0 times in 600"),
    ({"first": 1.0}, ("no", "yes"), "v2 answered 'yes' 0 times in 600 rows"),
])
def test_what_is_unfit_is_told_in_a_sentence(second: dict[str, Any], classes: tuple[str, ...], words: str) -> None:
    found = crossed(rows(classes=classes, **second), subject=2, reference=1, classes=classes)
    assert len(found) == 1
    assert words in found[0]
    assert crossed(rows(classes=classes, **second), subject=1, reference=2, classes=classes) == ()


@pytest.mark.parametrize("classes", [(), ("no", "yes")])
def test_as_good_as_the_other_is_left_alone_at_every_look(classes: tuple[str, ...]) -> None:
    """20 pairs of equal versions that fail now and then, each looked at 24 times: α = 0.01 allows none or one."""
    wrong = 0
    for seed in range(20):
        both = rows(480, classes=classes, seed=seed, failed=0.004, latency_us=500.0)
        wrong += any(crossed(both.head(2 * look), subject=2, reference=1, classes=classes)
                     for look in range(20, 481, 20))
    assert wrong <= 1


def test_a_version_that_differs_and_works_is_left_alone() -> None:
    """Another level, other shares of the classes, half as slow again: labels decide about that."""
    assert crossed(rows(classes=("no", "yes"), first=0.4, latency_us=600.0), subject=2, reference=1,
                   classes=("no", "yes")) == ()
    shifted = rows().with_columns(output=pl.when(pl.col("version") == 2).then(
        (pl.col("output").cast(pl.Float64) + 100).cast(pl.String)).otherwise("output"))
    assert crossed(shifted, subject=2, reference=1) == ()


def test_only_requests_that_both_computed_count_and_a_request_counts_once() -> None:
    both = rows(100, rows_each=20)
    alone = both.filter(pl.col("version") == 1)
    assert crossed(alone, subject=2, reference=1) == ()
    assert crossed(alone.clear(), subject=2, reference=1) == ()
    one_request = rows(3, rows_each=20, failed=1.0)
    assert crossed(one_request, subject=2, reference=1) == ()                   # 60 rows, but three requests
    missing = pl.concat([alone, rows(30, failed=0.5).filter(pl.col("version") == 2).with_columns(
        batch=pl.lit("p-x"), id=pl.lit("p-x"))])
    assert crossed(missing, subject=2, reference=1) == ()
