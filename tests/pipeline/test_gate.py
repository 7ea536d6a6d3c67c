"""A gate says pass only where the evidence does, and always says why."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trimtab.config import Beats, Gates, Limit
from trimtab.errors import ConfigInvalid
from trimtab.pipeline.evaluation import Comparison, Latency
from trimtab.pipeline.gate import check_names, judge
from trimtab.stats.bootstrap import score_intervals
from trimtab.stats.interval import Interval
from trimtab.stats.paired import paired_difference

MSE = {"mse": Interval(value=10.45, low=9.02, high=12.64, n=1000)}
CANDIDATES = ("linear", "kernel_ridge", "dummy")
BETTER = Comparison(role="baseline", against="dummy", metric="mse", mean=130, low=110, high=150, p=1e-12, n=1000)
LINEAR = Comparison(role="beats", against="linear", metric="mse", mean=8.1, low=6.0, high=10.2, p=1e-9, n=1000)


def _judge(gates=None, paired=(BETTER, LINEAR), metrics=MSE, chosen="kernel_ridge", latency=None, task="regression"):
    return judge(gates or Gates(), task=task, chosen=chosen, candidates=CANDIDATES, metrics=metrics, paired=paired,
                 latency=latency)


def _one(report, name):
    return next(gate for gate in report.gates if gate.name == name)


def test_the_transcript_of_the_product():
    gates = Gates(limits={"mse": Limit(upper=15)}, beats=Beats(baseline="linear", p=0.01), latency_p99_ms=20)
    fast = Latency(p50_ms=1.0, p99=Interval(value=2.0, low=1.8, high=3.0, n=1000))
    report = _judge(gates, latency=fast)
    assert report.words == "4 passed, 0 failed, 1 not applicable"
    assert report.passed
    assert report.first_failure is None
    assert _one(report, "champion").reason == "there is no champion yet"
    assert _one(report, "beats").reason == "MSE improves by 8.1 ± 2.1 (paired, n = 1,000), p < 0.0001"


def test_an_upper_limit_is_compared_with_the_upper_end_of_the_interval():
    """10.45 is below 12, but the interval reaches 12.64: a lucky sample does not pass."""
    report = _judge(Gates(limits={"mse": Limit(upper=12)}))
    assert not report.passed
    assert report.first_failure == \
        "mse: 10.45 [9.02, 12.64]: the interval's upper end 12.64 is above the limit 12"
    assert _judge(Gates(limits={"mse": Limit(upper=12.64)})).passed


def test_a_lower_limit_is_compared_with_the_lower_end():
    auc = {"auc": Interval(value=0.97, low=0.94, high=0.99)}
    assert not _judge(Gates(limits={"auc": Limit(lower=0.95)}), metrics=auc, task="binary").passed
    assert _judge(Gates(limits={"auc": Limit(lower=0.93)}), metrics=auc, task="binary").passed
    both = Gates(limits={"auc": Limit(lower=0.93, upper=0.98)})
    assert "upper end 0.9900 is above" in str(_judge(both, metrics=auc, task="binary").first_failure)


@pytest.mark.parametrize("interval", [None, Interval(value=math.nan, low=math.nan, high=math.nan)])
def test_a_metric_that_could_not_be_computed_does_not_pass(interval):
    metrics = {} if interval is None else {"mse": interval}
    report = _judge(Gates(limits={"mse": Limit(upper=1e9)}), metrics=metrics)
    assert "could not be computed" in str(report.first_failure)


def test_no_gates_are_said_in_words_and_the_trivial_baseline_must_still_be_beaten():
    report = _judge()
    assert [gate.name for gate in report.gates] == ["beats_baseline", "champion"]
    assert "names none" in report.words
    tie = Comparison(role="baseline", against="dummy", metric="mse", mean=1, low=-2, high=4, p=0.5, n=1000)
    failed = _judge(paired=(tie,))
    assert failed.first_failure == \
        "beats_baseline: tie: MSE differs by 1.0 ± 3.0 (paired, n = 1,000), p = 0.5; asked was p ≤ 0.05"


def test_a_significantly_worse_candidate_does_not_beat():
    worse = Comparison(role="baseline", against="dummy", metric="mse", mean=-8, low=-10, high=-6, p=1e-9, n=100)
    assert _one(_judge(paired=(worse,)), "beats_baseline").verdict == "fail"


def test_the_baseline_itself_is_never_good_enough():
    assert "no candidate learned anything" in str(_judge(chosen="dummy", paired=()).first_failure)


def test_beating_oneself_is_not_applicable_and_beating_what_has_no_model_fails():
    gates = Gates(beats=Beats(baseline="linear"))
    assert _one(_judge(gates, chosen="linear"), "beats").verdict == "not applicable"
    gone = Comparison(role="beats", against="linear", metric="mse", note="linear has no model: over budget")
    report = _judge(gates, paired=(BETTER, gone))
    assert report.first_failure == "beats: can't be compared with linear: linear has no model: over budget"


def test_a_worse_challenger_fails_the_champion_gate_and_a_tie_passes():
    def champion(**more):
        return Comparison(role="champion", against="risk@v1", metric="mse", n=1000, **more)

    worse = champion(mean=-3, low=-5, high=-1, p=0.002)
    assert _judge(paired=(BETTER, worse)).first_failure == \
        "champion: risk@v1: MSE worsens by 3.0 ± 2.0 (paired, n = 1,000), p = 0.002"
    assert _judge(paired=(BETTER, champion(mean=-1, low=-3, high=1, p=0.3))).passed
    unfair = champion(mean=-3, low=-5, high=-1, p=0.002, fair=False, note="it may have been trained on these rows")
    assert _one(_judge(paired=(BETTER, unfair)), "champion").verdict == "not applicable"


def test_latency_is_judged_by_the_upper_end_of_p99_and_fails_where_it_was_not_measured():
    gates = Gates(latency_p99_ms=20)
    slow = Latency(p50_ms=1.0, p99=Interval(value=19.0, low=15.0, high=21.0, n=1000))
    assert "above 20 ms" in str(_judge(gates, latency=slow).first_failure)
    few = Latency(p50_ms=1.0, p99=Interval(value=19.0, low=15.0, high=math.inf, n=100))
    assert not _judge(gates, latency=few).passed
    assert _judge(gates).first_failure == "latency_p99_ms: latency was not measured"


@pytest.mark.parametrize(("gates", "task", "expected"), [
    (Gates(limits={"msee": Limit(upper=1)}), "regression", "did you mean 'mse'?"),
    (Gates(limits={"acuracy": Limit(lower=1)}), "binary", "did you mean 'accuracy'?"),
    (Gates(limits={"latency_p99": Limit(upper=1)}), "binary", "did you mean 'latency_p99_ms'?"),
    (Gates(limits={"auc": Limit(lower=0.9)}), "regression", "'auc' is not a metric of a regression model"),
    (Gates(beats=Beats(baseline="linaer")), "regression", "did you mean 'linear'?"),
])
def test_an_unknown_name_is_refused_with_what_was_meant(gates, task, expected):
    with pytest.raises(ConfigInvalid, match=expected.replace("?", r"\?")):
        check_names(gates, task=task, candidates=CANDIDATES)


def test_two_equal_models_pass_beats_at_p_005_in_at_most_5_percent_of_evaluations():
    """The p of `beats` is what it says: skewed squared errors, no true difference, 600 evaluations.

    Two-sided p, one direction passes: about 2.5%. More than 30 of 600 would be 4 standard errors above that.
    """
    passed = 0
    for seed in range(600):
        rng = np.random.default_rng(seed)
        signal = rng.normal(size=150)
        one, other = ((signal + rng.normal(size=150))**2 for _ in range(2))
        found = paired_difference(other, one)
        row = Comparison(role="beats", against="linear", metric="mse", mean=found.mean, low=found.low, high=found.high,
                         p=found.p, n=found.n)
        report = _judge(Gates(beats=Beats(baseline="linear", p=0.05)), paired=(BETTER, row))
        passed += _one(report, "beats").verdict == "pass"
    assert passed <= 30


def test_a_model_exactly_at_its_limit_passes_in_about_2_5_percent_of_evaluations():
    """The interval's conservative end bounds the chance that a model *at* the limit passes (nominal 2.5%).

    150 evaluations of 400 rows: more than 12 passes would have a chance below 0.1% at a true rate of 3%.
    """
    passed = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=400)
        found = score_intervals("regression", y, np.zeros(400), rng=rng, resamples=200)
        passed += _one(_judge(Gates(limits={"mse": Limit(upper=1.0)}), metrics=found), "mse").verdict == "pass"
    assert passed <= 12
