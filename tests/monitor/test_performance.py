"""Late labels: a score with its interval and its share, or why there is none; and a bet that only harm wins."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.errors import Malformed
from trimtab.monitor.asked import Asked
from trimtab.monitor.harm import Harm, Risk, upper_limit
from trimtab.monitor.performance import losses, performance

RNG = np.random.default_rng(4)


def asked(n: int, *, labels: list[Any], output: list[Any] | None = None, **more: Any) -> Asked:
    """Rows of traffic as `traffic/query.py` gives them."""
    frame = pl.DataFrame({
        "id": [f"p-{i:026d}" for i in range(n)], "at": ["2026-01-01T00:00:00.000000Z"] * n,
        "features": [json.dumps({"x": float(i)}) for i in range(n)],
        "output": output if output is not None else [float(i) for i in range(n)],
        "label": pl.Series(labels, strict=False), "label_at": [None if one is None else "2026-01-02" for one in labels],
        "stage": ["champion"] * n, **more})
    return Asked.of(frame)


def scored(rows: Asked, task: str = "regression", classes: tuple[Any, ...] = (), metric: str = "mse") -> Any:
    """Its performance."""
    return performance(rows, task=task, classes=classes, metric=metric, rng=np.random.default_rng(0))


def test_too_few_labels_say_how_many_more_are_needed() -> None:
    found = scored(asked(100, labels=[float(i) for i in range(8)] + [None] * 92))
    assert found.words == "cannot tell yet, about 12 more labels needed; 8 of 100 rows (8% labelled)"
    assert found.score is None


def test_a_score_comes_with_its_interval_and_its_labelled_share() -> None:
    labels: list[Any] = [i + float(RNG.normal()) if i % 2 else None for i in range(400)]
    found = scored(asked(400, labels=labels))
    assert found.share == 0.5
    assert found.score.low < 1.0 < found.score.high
    assert "on 200 of 400 rows (50% labelled)" in found.words


def test_a_verdict_is_held_where_only_some_kind_of_rows_has_labels() -> None:
    """Loans that were refused never tell whether they would have been paid back."""
    labels: list[Any] = [float(i) if i > 280 else None for i in range(400)]
    found = scored(asked(400, labels=labels))
    assert found.score is None
    assert found.held.startswith("verdict held: 0% of the ")
    assert "89% of the high ones" in found.held


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json text"])
def test_labels_and_answers_of_a_classifier_are_read_as_they_were_written(as_json: bool) -> None:
    classes = ("no", "yes")
    truth = ["yes" if i % 3 else "no" for i in range(90)]
    word = json.dumps if as_json else str
    rows = asked(90, labels=[word(one) for one in truth], output=[word(one) for one in truth],
                 probabilities=[json.dumps([0.1, 0.9]) if as_json else [0.1, 0.9]] * 90)
    found = scored(rows, "binary", classes, "log_loss")
    assert found.labelled == 90
    assert found.scores["accuracy"].value == pytest.approx(2 / 3)
    assert losses(rows, "binary", classes)[1] == pytest.approx(-np.log(0.9))


def test_a_shadow_answer_is_nobodys_performance() -> None:
    rows = asked(4, labels=[1.0] * 4)
    frame = pl.DataFrame({"id": ["p-1", "p-2"], "at": ["2026", "2026"], "features": ["{}", "{}"], "output": [1.0, 9.0],
                          "stage": ["champion", "shadow"]})
    assert rows.rows == 4
    assert Asked.of(frame).output.to_list() == [1.0]
    with pytest.raises(Malformed, match="no column 'output'"):
        Asked.of(frame.drop("output"))


def test_an_upper_limit_covers_the_mean() -> None:
    """Errs in at most 5% of 300 draws, for a skewed loss and few rows (it errs less, being valid at every n)."""
    rng = np.random.default_rng(6)
    wrong = sum(upper_limit(np.minimum(rng.exponential(0.15, 60), 1.0), 0.05) < 0.1498 for _ in range(300))
    assert wrong <= 15 + 8


def test_a_model_as_good_as_it_was_judged_is_never_called_harmful_beyond_alpha() -> None:
    """200 lives of 3,000 labels each, looked at after every one: the promise is 1%."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(200):
        risk = Risk.of(rng.normal(size=400) ** 2)
        assert risk is not None
        alarms += Harm(risk=risk).after(rng.normal(size=3_000) ** 2).alarm
    assert alarms <= 4


def test_doubled_errors_are_called_harm_within_a_few_hundred_labels() -> None:
    rng = np.random.default_rng(8)
    risk = Risk.of(rng.normal(size=1_000) ** 2)
    assert risk is not None
    found = []
    for _ in range(50):
        harm = Harm(risk=risk)
        while not harm.alarm and harm.n < 3_000:
            harm = harm.after((1.5 * rng.normal(size=20)) ** 2)
        found.append(harm.n)
    assert float(np.quantile(found, 0.9)) <= 600
    assert "worse than when it was judged" in harm.words


def test_a_bet_goes_on_from_its_stored_state_and_needs_no_batch_size() -> None:
    """Sufficient statistics: the verdict is recomputed from the log alone, however labels were bundled."""
    rng = np.random.default_rng(9)
    risk = Risk.of(rng.normal(size=300) ** 2)
    assert risk is not None
    stream = (1.3 * rng.normal(size=500)) ** 2
    whole = Harm(risk=risk).after(stream, cursor="z")
    parts = Harm(risk=risk)
    for part in np.array_split(stream, 17):
        parts = Harm.from_json(json.loads(json.dumps(parts.to_json()))).after(part)
    assert parts.after([], cursor="z").log_k == pytest.approx(whole.log_k)
    assert parts.highest == pytest.approx(whole.highest)
    with pytest.raises(Malformed, match="not of the form"):
        Harm.from_json({"schema": "other"})


def test_before_there_are_labels_it_says_so() -> None:
    risk = Risk.of(RNG.normal(size=300) ** 2)
    assert risk is not None
    assert Harm(risk=risk).words.startswith("cannot tell yet, about ")
    assert Risk.of([1.0] * 9) is None
    assert Risk.of([0.0] * 50) is None
