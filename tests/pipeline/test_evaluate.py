"""One counted opening of the held-out rows scores all candidates, and chooses nothing on them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error, recall_score

from trimtab import canon
from trimtab.data.contract import Column, Contract
from trimtab.errors import CheckFailed, ConfigInvalid
from trimtab.pipeline.evaluate import Champion
from trimtab.pipeline.openings import opened
from trimtab.registry.bundle import Bundle
from trimtab.stats.paired import paired_difference
from trimtab.store.blobs import read_bytes

GATES = '[gates]\nmse = { upper = 2 }\nbeats = { baseline = "linear", p = 0.01 }\nlatency_p99_ms = 5000\n'


@pytest.fixture(scope="module")
def regression(shared_scene):
    return shared_scene.evaluated("regression", "linear", "kernel_ridge", more=GATES)


@pytest.fixture(scope="module")
def binary(shared_scene):
    return shared_scene.evaluated("binary", "logistic", more="[decision]\ncost_false_negative = 5\n")


def test_all_candidates_are_scored_on_the_same_held_out_rows(shared_scene, regression):
    report, found = regression
    data, split = shared_scene.data(), shared_scene.split()
    linear = LinearRegression().fit(data.X[split.train], data.y[split.train])
    mse = mean_squared_error(data.y[split.test], linear.predict(data.X[split.test]))
    evaluation = found.evaluation
    assert set(evaluation.candidates) == {"linear", "kernel_ridge", "dummy"}
    assert evaluation.candidates["linear"].test["mse"] == pytest.approx(mse, rel=1e-6)
    chosen = evaluation.metrics["mse"]
    assert evaluation.chosen == report.chosen == "kernel_ridge"
    assert chosen.low < chosen.value < chosen.high < mse
    assert set(evaluation.metrics) == {"mse", "rmse", "mae", "r2"}


def test_comparisons_are_paired_and_said_in_words(shared_scene, regression):
    _, found = regression
    data, split = shared_scene.data(), shared_scene.split()
    linear = LinearRegression().fit(data.X[split.train], data.y[split.train])
    other = (linear.predict(data.X[split.test]) - data.y[split.test])**2
    mine = (found.held_out.answers - found.held_out.y)**2
    by_hand = paired_difference(other, mine)
    comparison = next(one for one in found.evaluation.paired if one.against == "linear")
    assert (comparison.role, comparison.n) == ("beats", 100)
    assert comparison.mean == pytest.approx(by_hand.mean, rel=1e-5)
    assert comparison.p == pytest.approx(by_hand.p, rel=1e-3)
    assert comparison.verdict == "better"
    assert comparison.words.startswith("MSE improves by 1.")
    assert {one.against for one in found.evaluation.paired} == {"linear", "dummy"}


def test_gates_slices_stability_and_latency_are_there(regression):
    evaluation = regression[1].evaluation
    assert evaluation.gates.words == "4 passed, 0 failed, 1 not applicable"
    assert 8 <= evaluation.slices.searched <= 12
    assert evaluation.stability.words.startswith("5 other splits of the training rows 0.")
    assert "contract allows them in 1 column" in evaluation.stability.words
    assert evaluation.latency is not None
    assert evaluation.latency.p99.n == 1000


def test_the_json_is_canonical_and_has_the_agreed_keys(regression):
    value = regression[1].evaluation.to_json()
    assert canon.loads(canon.dumps(value)) == value
    assert value["schema"] == "trimtab.evaluation/1"
    assert {"task", "metric", "test", "candidates", "paired", "slices", "stability", "gates", "openings", "predictions",
            "dataset", "split"} <= set(value)
    assert set(value["test"]["metrics"]["mse"]) >= {"value", "low", "high"}
    assert value["candidates"]["linear"]["cv"]["mean"] > 0
    assert value["candidates"]["linear"]["test"]["mse"] > 0
    assert value["gates"]["passed"] is True


def test_predictions_are_kept_for_later_comparisons(shared_scene, regression, binary):
    split = shared_scene.split()
    table = pl.read_parquet(io.BytesIO(read_bytes(shared_scene.workspace.blobs, regression[1].evaluation.predictions)))
    assert table.columns == ["row", "y", "prediction"]
    assert sorted(table["row"]) == sorted(split.test.tolist())
    assert table["y"].to_list() == pytest.approx(shared_scene.data().y[table["row"].to_numpy()])
    classes = pl.read_parquet(io.BytesIO(read_bytes(shared_scene.workspace.blobs, binary[1].evaluation.predictions)))
    assert classes.columns == ["row", "y", "prediction", "p_no", "p_yes"]
    called = classes["p_yes"].to_numpy() >= binary[1].evaluation.threshold
    assert (classes["prediction"].to_numpy() == np.where(called, "yes", "no")).all()


def test_an_opening_is_counted_once_a_run(scene):
    data, split, project = scene.data(), scene.split(), scene.project()
    first, second = (scene.train(data, split, project) for _ in range(2))
    one = scene.judge(first, data, split, project).evaluation
    again = scene.judge(first, data, split, project).evaluation
    other = scene.judge(second, data, split, project).evaluation
    assert [(e.openings, e.newly_opened) for e in (one, again, other)] == [(1, True), (1, False), (2, True)]
    assert opened(scene.workspace.db, dataset=first.dataset, split=first.split) == 2
    assert (again.metrics, again.paired, again.slices, again.stability) == \
        (one.metrics, one.paired, one.slices, one.stability)


def test_a_gate_that_cannot_be_is_refused_before_anything_is_opened(scene):
    data, split, project = scene.data(), scene.split(), scene.project()
    report = scene.train(data, split, project)
    with pytest.raises(ConfigInvalid, match="did you mean 'rmse'"):
        scene.judge(report, data, split, scene.project(more="[gates]\nrsme = { upper = 1 }\n"))
    assert opened(scene.workspace.db, dataset=report.dataset, split=report.split) == 0


def test_the_threshold_never_sees_the_held_out_rows(scene):
    """Turning every held-out label around changes the scores, and not the threshold."""
    data, split = scene.data("binary"), scene.split()
    project = scene.project("logistic", more="[decision]\ncost_false_negative = 5\n")
    report = scene.train(data, split, project)
    honest = scene.judge(report, data, split, project).evaluation
    y = data.y.copy()
    y[split.test] = 1 - y[split.test]
    turned = scene.judge(report, replace(data, y=y), split, project).evaluation
    assert turned.threshold == honest.threshold
    assert turned.metrics["accuracy"].value == pytest.approx(1 - honest.metrics["accuracy"].value)
    assert honest.decision.chosen_on == "out-of-fold predictions of 300 training rows"


def test_a_threshold_for_costly_misses_costs_less_than_a_half(binary):
    decision = binary[1].evaluation.decision
    assert 0.05 < decision.threshold < 0.4                # Elkan: 1 / (1 + 5) = 0.17 for calibrated probabilities
    assert decision.cost.value < decision.half_cost
    assert decision.cost.low < decision.cost.value < decision.cost.high


def test_the_positive_class_may_be_the_first(scene):
    _, found = scene.evaluated("binary", "logistic", model='positive = "no"')
    evaluation, held_out = found.evaluation, found.held_out
    called_no = held_out.answers[:, 0] >= evaluation.threshold
    assert evaluation.decision.positive == "no"
    assert evaluation.metrics["sensitivity"].value == pytest.approx(recall_score(held_out.y == 0, called_no))


def test_three_classes_have_no_threshold(scene):
    evaluation = scene.evaluated("multiclass", "logistic")[1].evaluation
    assert evaluation.threshold is None
    assert {"accuracy", "f1", "auc", "log_loss"} <= set(evaluation.metrics)
    assert "sensitivity" not in evaluation.metrics


@pytest.mark.parametrize(("kind", "words"), [("group", "draws whole groups"), ("time", "rows in time order")])
def test_rows_that_hang_together_are_resampled_together(scene, kind, words):
    data = scene.data(rows=800)
    shock = np.random.default_rng(3).normal(size=100) * 4
    data = replace(data, y=data.y + shock[data.groups])   # one error for each stretch of eight rows
    evaluation = scene.evaluated(data=data, kind=kind)[1].evaluation
    alone = scene.evaluated(data=data, kind="row")[1].evaluation
    assert words in evaluation.intervals
    width, naive = (one.metrics["mse"].high - one.metrics["mse"].low for one in (evaluation, alone))
    assert width > 1.3 * naive


def test_time_rows_are_judged_in_the_order_of_time(scene):
    rows = scene.evaluated(kind="time")[1].held_out.rows
    assert rows.tolist() == list(range(300, 400))


def test_a_candidate_without_a_model_is_not_tested_and_says_why(scene):
    data, split, project = scene.data(), scene.split(), scene.project("linear", "ridge")
    report = scene.train(data, split, project)
    chosen = next(one for one in report.candidates if one.name == report.chosen)
    lost = next(one for one in report.candidates if one.name not in (report.chosen, "dummy"))
    broken = replace(report, candidates=tuple(replace(one, model=None, error="over the budget") if one is lost else one
                                              for one in report.candidates))
    found = scene.judge(broken, data, split, project).evaluation
    assert found.candidates[lost.name].error == "over the budget"
    assert next(one for one in found.paired if one.against == lost.name).words == "not tested: over the budget"
    gone = replace(report, candidates=tuple(replace(one, model=None, error="lost") if one is chosen else one
                                            for one in report.candidates))
    with pytest.raises(CheckFailed, match="can't be judged: lost"):
        scene.judge(gone, data, split, project)


def _champion(data, estimator, split, **more):
    columns = tuple(Column(name=feature.name, type="number", missing=True) for feature in data.features)
    contract = Contract(columns=(*columns, Column(name="y", type="number", role="target")))
    frame = pl.DataFrame({feature.name: data.X[:, place] for place, feature in enumerate(data.features)})
    bundle = Bundle(contract=contract, facts={"task": data.task, "input": "matrix", **more}, estimator=estimator,
                    name="risk@v1")
    return Champion(bundle=bundle, frame=frame, split=split)


def test_the_champion_is_scored_on_the_same_rows(scene):
    data, split = scene.data(), scene.split()
    project = scene.project("kernel_ridge")
    report = scene.train(data, split, project)
    weak = LinearRegression().fit(data.X[split.train], data.y[split.train])
    better = scene.judge(report, data, split, project, champion=_champion(data, weak, report.split)).evaluation
    versus = better.paired[-1]
    assert (versus.role, versus.against, versus.verdict, versus.n) == ("champion", "champion risk@v1", "better", 100)
    assert better.gates.gates[-1].verdict == "pass"
    perfect = LinearRegression().fit(np.column_stack([data.X]), data.y)
    perfect.predict = lambda X: data.y[split.test]        # knows the answers
    worse = scene.judge(report, data, split, project, champion=_champion(data, perfect, report.split)).evaluation
    assert worse.gates.first_failure.startswith("champion: champion risk@v1: MSE worsens by")


def test_a_champion_of_another_split_is_compared_but_not_held_against_the_candidate(scene):
    data, split, project = scene.data(), scene.split(), scene.project("linear")
    report = scene.train(data, split, project)
    everything = LinearRegression().fit(data.X, data.y)
    found = scene.judge(report, data, split, project, champion=_champion(data, everything, "another")).evaluation
    assert "may have seen these rows" in found.paired[-1].words
    assert found.gates.gates[-1].verdict == "not applicable"


def test_a_champion_that_cannot_read_the_rows_is_not_tested(scene):
    data, split, project = scene.data(), scene.split(), scene.project("linear")
    report = scene.train(data, split, project)
    champion = _champion(data, LinearRegression().fit(data.X, data.y), report.split)
    lacking = replace(champion, frame=champion.frame.drop("rate"))
    assert "the champion can't read these rows" in \
        scene.judge(report, data, split, project, champion=lacking).evaluation.paired[-1].words
    other = _champion(data, champion.bundle.estimator, report.split, classes=["a", "b"], task="binary")
    assert "another question" in scene.judge(report, data, split, project, champion=other).evaluation.paired[-1].words


def test_the_training_rows_behind_a_prediction_add_up_to_it(regression):
    explained = regression[1].explained
    assert len(explained) == 3
    for one in explained:
        assert one.intercept + sum(term.part for term in one.terms) + one.rest == pytest.approx(one.total)
        place = regression[1].held_out.rows.tolist().index(one.row)
        assert one.total == pytest.approx(regression[1].held_out.answers[place], abs=1e-9)
