"""`diff`: paired metrics, what is written differently, and where two models disagree."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.registry.conftest import Registry

from trimtab.canon import Digest, digest_bytes
from trimtab.errors import NotFound
from trimtab.registry.changes import changed, changed_files
from trimtab.registry.compare import diff
from trimtab.registry.disagree import disagreements, find_slice
from trimtab.registry.model import Version
from trimtab.store.blobs import put_bytes, put_json

DATASET, OTHER = digest_bytes(b"dataset"), digest_bytes(b"other dataset")
TOML = '[model]\nname = "risk"\ndata = "data.csv"\n'
N = 1000


@dataclass
class Prediction:
    """What a bundle answers."""

    values: list[Any]
    probabilities: NDArray[np.float64] | None = None


def rng() -> np.random.Generator:
    """The same chance every time."""
    return np.random.default_rng(7)


@pytest.fixture
def frame() -> pl.DataFrame:
    """A thousand people; the target is a number."""
    chance = np.random.default_rng(0)
    return pl.DataFrame({
        "age": chance.integers(18, 90, N), "sex": chance.choice(["F", "M"], N), "bmi": chance.normal(25, 4, N),
        "seen": pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2020, 1, 1) + pl.duration(hours=N - 1),
                                  "1h", eager=True),
        "y": chance.normal(0, 1, N)})


def evaluated(reg: Registry, rows: NDArray[Any], y: Any, prediction: Any, *, facts: dict[str, Any] | None = None,
              proba: NDArray[Any] | None = None, dataset: Digest = DATASET, toml: str = TOML, contract: str = "",
              **words: Any) -> Version:
    """A version whose evaluation keeps these predictions."""
    facts = {"task": "regression", "target": "y", "candidate": "ridge", "params": {"alpha": 1.0}, **(facts or {})}
    columns = {"row": rows, "y": y, "prediction": prediction}
    if proba is not None:
        columns |= {f"p_{label}": proba[:, code] for code, label in enumerate(facts["classes"])}
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out)
    evaluation = {"task": facts["task"], "metric": "mse", "dataset": dataset, "split": digest_bytes(str(rows).encode()),
                  "predictions": put_bytes(reg.blobs, out.getvalue()), "test": {"rows": len(rows), "metrics": {
                      "mse": {"value": 1.5, "low": 1.0, "high": 2.0}}}}
    code = words.pop("code", {})
    made = replace(
        reg.ingredients(), data=put_json(reg.blobs, {"dataset": dataset, "split": "s"}),
        config=put_json(reg.blobs, {"files": {"trimtab.toml": toml, "contract.toml": contract}}),
        environment=put_json(reg.blobs, {"packages": words.pop("packages", {"numpy": "2.4.6"})}),
        code=put_json(reg.blobs, {"schema": "trimtab.code/1", "git": None, "skipped": {}, "files": {
            path: {"digest": put_bytes(reg.blobs, text.encode()), "bytes": len(text)} for path, text in code.items()}}))
    reg.clock.advance(minutes=1)
    return reg.versions.register("risk", {"model.skops": str(prediction).encode(), "contract.toml": contract.encode()},
                                 flavor="sklearn", types=(), ingredients=made, facts=facts, evaluation=evaluation,
                                 gates="passed", by="ada", **words)


def reading(frame: pl.DataFrame, **others: pl.DataFrame) -> Callable[[Digest], pl.DataFrame]:
    """How the stored data is read."""
    def frames(digest: Digest) -> pl.DataFrame:
        if digest == DATASET:
            return frame
        if digest == OTHER and "other" in others:
            return others["other"]
        raise NotFound("the rows are not in this workspace")
    return frames


class TestMetrics:
    """Intervals on the same rows, ties called ties, and a precise reason where nothing can be paired."""

    def test_a_better_model_is_better_on_the_same_rows(self, reg: Registry, frame: pl.DataFrame) -> None:
        rows, y = np.arange(200), frame["y"].to_numpy()[:200]
        one = evaluated(reg, rows, y, y + rng().normal(0, 1, 200))
        two = evaluated(reg, rows[::-1], y[::-1], (y + rng().normal(0, 0.5, 200))[::-1])
        told = diff(reg.versions, one, two, rng=rng())
        assert told.pairing == "paired on the 200 held-out rows of both"
        by_name = {change.metric: change for change in told.metrics}
        assert set(by_name) == {"mse", "rmse", "mae", "r2"}
        assert {change.verdict for change in told.metrics} == {"better"}
        mse = by_name["mse"]
        assert mse.a is not None
        assert mse.b is not None
        assert mse.change is not None
        assert mse.change.value == pytest.approx(mse.b - mse.a)
        assert told.loss is not None
        assert told.loss.mean == pytest.approx(mse.a - mse.b)
        back = diff(reg.versions, two, one, rng=rng())
        assert {change.verdict for change in back.metrics} == {"worse"}

    def test_a_version_compared_with_itself_is_a_tie_without_disagreement(
            self, reg: Registry, frame: pl.DataFrame) -> None:
        rows, y = np.arange(100), frame["y"].to_numpy()[:100]
        one = evaluated(reg, rows, y, y + 0.5)
        told = diff(reg.versions, one, one, rng=rng(), frames=reading(frame))
        assert {change.verdict for change in told.metrics} == {"tie"}
        assert (told.same_bytes, told.disagree, told.slice_words) == (True, 0, "they disagree on no row")
        assert told.parameters == told.contract == told.environment == told.config == told.code == ()
        assert told.to_json()["schema"] == "trimtab.diff/1"

    def test_other_splits_of_the_same_data_are_paired_where_they_overlap(
            self, reg: Registry, frame: pl.DataFrame) -> None:
        y = frame["y"].to_numpy()
        one = evaluated(reg, np.arange(0, 200), y[:200], y[:200] + 1)
        two = evaluated(reg, np.arange(150, 350), y[150:350], y[150:350])
        told = diff(reg.versions, one, two, rng=rng())
        assert told.rows == 50
        assert told.pairing == "the splits differ: paired on the 50 rows that both held out (of 200 and 200)"

    def test_test_sets_that_hardly_overlap_are_not_paired(self, reg: Registry, frame: pl.DataFrame) -> None:
        y = frame["y"].to_numpy()
        one = evaluated(reg, np.arange(0, 100), y[:100], y[:100])
        two = evaluated(reg, np.arange(95, 195), y[95:195], y[95:195])
        told = diff(reg.versions, one, two, rng=rng())
        assert told.pairing == "their test sets share 5 rows, and at least 10 are needed (the splits differ)"
        assert [(change.metric, change.a, change.verdict) for change in told.metrics] == [("mse", 1.5, "not paired")]

    def test_what_predicts_something_else_is_not_compared(self, reg: Registry, frame: pl.DataFrame) -> None:
        y = frame["y"].to_numpy()[:50]
        one = evaluated(reg, np.arange(50), y, y)
        two = evaluated(reg, np.arange(50), y, y, facts={"target": "bmi"})
        assert "the target is 'y' in risk@v1 and 'bmi' in risk@v2" in diff(reg.versions, one, two, rng=rng()).pairing

    def test_a_version_without_an_evaluation_says_so(self, reg: Registry, frame: pl.DataFrame) -> None:
        y = frame["y"].to_numpy()[:50]
        two = evaluated(reg, np.arange(50), y, y)
        one = reg.versions.register("risk", {"m": b""}, flavor="x", types=(), ingredients=two.manifest.ingredients,
                                    facts={"task": "regression", "target": "y"}, by="ada")
        assert "risk@v2 was registered without an evaluation" in diff(reg.versions, one, two, rng=rng()).pairing

    def test_classifiers_are_compared_by_every_score(self, reg: Registry) -> None:
        truth = rng().integers(0, 2, 300)
        labels = np.array(["良性", "恶性"])[truth]
        facts = {"task": "binary", "classes": ["良性", "恶性"], "positive": "恶性", "threshold": 0.5}

        def version(noise: float) -> Version:
            p = np.clip(0.5 + (truth - 0.5) * 0.6 + rng().normal(0, noise, 300), 0.01, 0.99)
            return evaluated(reg, np.arange(300), labels, np.array(["良性", "恶性"])[(p >= 0.5).astype(int)],
                             proba=np.column_stack((1 - p, p)), facts=facts)

        told = diff(reg.versions, version(0.5), version(0.1), rng=rng())
        found = {change.metric: change.verdict for change in told.metrics}
        assert {"auc", "log_loss", "brier", "sensitivity", "specificity", "f1"} <= set(found)
        assert found["auc"] == found["log_loss"] == found["accuracy"] == "better"
        assert told.rule == "another class is answered"
        assert {type(example.a) for example in told.examples} == {str}
        assert all(example.a != example.b for example in told.examples)

    def test_other_classes_still_compare_by_right_answers(self, reg: Registry) -> None:
        truth = np.array(["a", "b"] * 50)
        one = evaluated(reg, np.arange(100), truth, np.array(["a"] * 100), proba=np.full((100, 2), 0.5),
                        facts={"task": "multiclass", "classes": ["a", "b"]})
        two = evaluated(reg, np.arange(100), truth, truth, proba=np.full((100, 3), 1 / 3),
                        facts={"task": "multiclass", "classes": ["a", "b", "c"]})
        told = diff(reg.versions, one, two, rng=rng())
        assert [(change.metric, change.a, change.b, change.verdict) for change in told.metrics] == [
            ("accuracy", 0.5, 1.0, "better")]
        assert told.disagree == 50

    @pytest.mark.parametrize("split", ['group = "sex"', 'time = "seen"'])
    def test_rows_that_belong_together_are_not_counted_as_independent(
            self, reg: Registry, frame: pl.DataFrame, split: str) -> None:
        y = frame["y"].to_numpy()
        drift = np.cumsum(rng().normal(0, 0.1, N))
        toml = TOML + f"split = {{ {split} }}\n"
        one = evaluated(reg, np.arange(N), y, y + drift, toml=toml)
        two = evaluated(reg, np.arange(N), y, y + 0.9 * drift, toml=toml)
        told = diff(reg.versions, one, two, rng=rng(), frames=reading(frame))
        assert told.loss is not None
        assert told.loss.units < N / 3


class TestScoringAgain:
    """Where evaluations can't be paired, the older version is asked about the newer one's rows, if wanted."""

    @pytest.fixture
    def pair(self, reg: Registry, frame: pl.DataFrame) -> tuple[Version, Version, Callable[[Digest], pl.DataFrame]]:
        """Two versions on two datasets that share half of the newer test rows."""
        newer = frame.with_columns(pl.col("bmi") + pl.when(pl.int_range(pl.len()) < 100).then(0).otherwise(1))
        y = frame["y"].to_numpy()
        one = evaluated(reg, np.arange(100), y[:100], y[:100] + 1, facts={"features": [{"name": "age"}]})
        two = evaluated(reg, np.arange(50, 150), y[50:150], y[50:150], dataset=OTHER)
        return one, two, reading(frame, other=newer)

    class Bundle:
        """Always off by two."""

        def predict_frame(self, frame: pl.DataFrame) -> Prediction:
            return Prediction((frame["y"] + 2).to_list())

    def test_it_is_offered_and_done(self, reg: Registry, pair: Any) -> None:
        one, two, frames = pair
        assert not diff(reg.versions, one, two, rng=rng()).can_rescore
        told = diff(reg.versions, one, two, rng=rng(), frames=frames, bundles=lambda version: self.Bundle())
        assert told.can_rescore
        assert "they were tested on different data" in told.pairing
        assert "add --rescore" in told.pairing
        told = diff(reg.versions, one, two, rng=rng(), frames=frames, bundles=lambda version: self.Bundle(),
                    rescore=True)
        assert told.pairing == ("risk@v1 was asked again, about 50 rows that the other was tested on; "
                                "50 rows that occur in its own data were left out")
        assert [change.a for change in told.metrics if change.metric == "mse"] == [pytest.approx(4)]

    def test_rows_it_learned_from_are_no_test(self, reg: Registry, pair: Any, frame: pl.DataFrame) -> None:
        one, two, _ = pair
        told = diff(reg.versions, one, two, rng=rng(), frames=reading(frame, other=frame),
                    bundles=lambda version: self.Bundle(), rescore=True)
        assert "of these rows 0 are new to risk@v1" in told.pairing

    def test_a_column_that_is_gone_is_named(self, reg: Registry, pair: Any, frame: pl.DataFrame) -> None:
        one, two, _ = pair
        told = diff(reg.versions, one, two, rng=rng(), frames=reading(frame, other=frame.drop("age")),
                    bundles=lambda version: self.Bundle(), rescore=True)
        assert "risk@v1 needs the column 'age'" in told.pairing


class TestWhatIsWritten:
    """Parameters, features, contract column by column, packages, configuration, code."""

    def test_every_kind_of_change_is_listed(self, reg: Registry, frame: pl.DataFrame) -> None:
        y = frame["y"].to_numpy()[:50]
        one = evaluated(reg, np.arange(50), y, y, facts={"features": [{"name": "age", "type": "number"}]},
                        contract="[columns.age]\nmax = 79\n", packages={"numpy": "2.0", "scipy": "1"},
                        code={"features.py": "a = 1\nb = 2\n", "gone.py": ""})
        two = evaluated(reg, np.arange(50), y, y + 1, toml=TOML + "[train]\nfolds = 3\n",
                        facts={"params": {"alpha": 3.0},
                               "features": [{"name": "age", "type": "integer"}, {"name": "sex"}]},
                        contract="[columns.age]\nmax = 85\n[columns.sex]\ntype = 'category'\n",
                        packages={"numpy": "2.4", "polars": "2"}, code={"features.py": "a = 1\nb = 3\n"})
        told = diff(reg.versions, one, two, rng=rng())

        def words(changes: Any) -> list[str]:
            return [change.words for change in changes]

        assert words(told.parameters) == ["params.alpha: 1.0 → 3.0"]
        assert words(told.features) == ["features.age.type: 'number' → 'integer'", "features.sex: absent → 'present'"]
        assert words(told.contract) == ["columns.age.max: 79 → 85", "columns.sex.type: absent → 'category'"]
        assert words(told.environment) == ["packages.numpy: '2.0' → '2.4'", "packages.scipy: '1' → absent",
                                           "packages.polars: absent → '2'"]
        assert words(told.config) == ["train.folds: absent → 3"]
        assert [(file.path, file.kind) for file in told.code] == [("features.py", "changed"), ("gone.py", "removed")]
        assert "-b = 2\n+b = 3" in told.code[0].diff

    def test_a_diff_of_code_is_bounded(self) -> None:
        [file] = changed_files({"x.py": b""}, {"x.py": b"\n".join(b"%d" % i for i in range(1000))}, differing=["x.py"])
        assert len(file.diff.splitlines()) == 400
        assert file.cut == 603
        [odd] = changed_files({"x.py": b"\xff"}, {"x.py": None}, differing=["x.py"])
        assert odd.diff == "x.py is not UTF-8 text"

    json_like = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3),
                             lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
                             max_leaves=8)

    @given(a=json_like, b=json_like)
    @settings(max_examples=60)
    def test_nothing_changed_means_equal_and_back_is_the_reverse(self, a: Any, b: Any) -> None:
        """Law: a value has no difference with itself; forwards and backwards list the same keys."""
        assert changed(a, a) == ()
        assert {one.key for one in changed(a, b)} == {one.key for one in changed(b, a)}


class TestDisagreement:
    """The rows, and the smallest readable slice, or that none stands out."""

    def test_the_slice_where_two_models_disagree_is_found_and_named(self, reg: Registry, frame: pl.DataFrame) -> None:
        y = frame["y"].to_numpy()
        inside = ((frame["age"] > 75) & (frame["sex"] == "F")).to_numpy()
        one = evaluated(reg, np.arange(N), y, y)
        two = evaluated(reg, np.arange(N), y, y + np.where(inside, 5.0, 0.01) + rng().normal(0, 0.1, N))
        told = diff(reg.versions, one, two, rng=rng(), frames=reading(frame))
        assert told.disagree == 10
        assert told.search is not None
        assert told.search.slice is not None
        assert told.search.slice.where.startswith("age > ")
        assert told.search.slice.where.endswith(" and sex = F") or told.search.slice.rows < 200
        assert told.search.slice.hits == 10
        assert told.search.slice.p < 0.05
        assert {example.values["sex"] for example in told.examples} == {"F"}

    def test_two_conditions_are_named_where_one_does_not_tell(self, frame: pl.DataFrame) -> None:
        differs = ((frame["age"] > 60) & (frame["sex"] == "F")).to_numpy()
        found = find_slice(frame.select("age", "sex", "bmi"), differs)
        assert found.slice is not None
        assert " and sex = F" in found.slice.where
        assert found.slice.rate > 0.9
        low = float(found.slice.where.split(" and ")[0].removeprefix("age > "))
        counted = frame.filter((pl.col("age") > low) & (pl.col("sex") == "F")).height
        assert counted == found.slice.rows, "the rule that is read is the rule that was counted"

    def test_dates_missing_values_and_categories_make_slices_too(self, frame: pl.DataFrame) -> None:
        late = (frame["seen"] > pl.Series([frame["seen"][800]])[0]).to_numpy()
        found = find_slice(frame.select("seen"), late)
        assert found.slice is not None
        assert found.slice.where.startswith("seen > 2020-0")
        holes = frame.with_columns(pl.when(pl.col("age") > 80).then(None).otherwise(pl.col("bmi")).alias("bmi"))
        found = find_slice(holes.select("bmi"), (holes["age"] > 80).to_numpy())
        assert found.slice is not None
        assert found.slice.where == "bmi is missing"

    @given(seed=st.integers(0, 10_000))
    @settings(max_examples=20)
    def test_disagreement_by_chance_is_seldom_given_a_slice(self, seed: int) -> None:
        """Corrected for all slices looked at: at most one false slice in twenty searches; here none is expected."""
        chance = np.random.default_rng(seed)
        frame = pl.DataFrame({"a": chance.normal(size=300), "b": chance.choice(["x", "y", "z"], 300)})
        found = find_slice(frame, chance.random(300) < 0.1)
        assert found.slice is None or found.slice.p > 1e-4
        if found.slice is None:
            assert found.note.startswith("none stands out among ")

    def test_without_the_rows_no_slice_is_named(self, reg: Registry, frame: pl.DataFrame) -> None:
        y = frame["y"].to_numpy()[:100]
        one, two = (evaluated(reg, np.arange(100), y, y + by * np.arange(100)) for by in (0, 1))
        told = diff(reg.versions, one, two, rng=rng())
        assert told.disagree == 10
        assert told.slice_words == "the rows of the data are not stored, so no slice can be named"

    def test_a_large_test_set_is_searched_on_some_of_its_rows(self) -> None:
        frame = pl.DataFrame({"x": np.arange(50_000)})
        found = find_slice(frame, np.arange(50_000) >= 45_000)
        assert found.slice is not None
        assert found.note == "searched on 20,000 of 50,000 rows"

    @given(gaps=st.lists(st.floats(0, 100), min_size=1, max_size=300))
    @settings(max_examples=60)
    def test_the_largest_differences_are_the_disagreements(self, gaps: list[float]) -> None:
        """Law: no row that is left out differs more than one that is taken; equal answers never disagree."""
        a = np.array(gaps)
        taken = disagreements(a, np.zeros(len(a)), classes=False)
        assert not (taken & (a == 0)).any()
        if taken.any() and not taken.all():
            assert a[taken].min() >= a[~taken].max()
