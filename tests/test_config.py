"""A wrong trimtab.toml is answered with the key that is wrong and the one that was meant."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import config
from trimtab.errors import ConfigInvalid, TrimtabError

GOOD = '[model]\nname = "risk"\ndata = "data.csv"\n'

WRONG = [
    ("", "needs 'model'"),
    ("[model]\n", "[model] needs 'name'"),
    ('[model]\nname = "risk"\n', "[model] needs 'data'"),
    ("x = ", "not valid TOML"),
    (GOOD + "[model]\n", "not valid TOML"),
    (GOOD + "[modle]\n", "unknown key 'modle' in [the top level]; did you mean 'model'?"),
    (GOOD + "splt = {}\n", "unknown key 'splt' in [model]; did you mean 'split'?"),
    (GOOD + "split = { tset = 0.2 }\n", "unknown key 'tset' in [model.split]; did you mean 'test'?"),
    (GOOD + "split = { test = 1.5 }\n", "model.split.test = 1.5 must lie between 0 and 1"),
    (GOOD + "split = { test = 0 }\n", "must lie between 0 and 1"),
    (GOOD + "split = { test = nan }\n", "must lie between 0 and 1"),
    (GOOD + "split = { seed = -1 }\n", "model.split.seed = -1"),
    (GOOD + 'split = { time = "t", group = "g" }\n', "give time or group, not both"),
    (GOOD + 'task = "clustering"\n', "model.task: 'clustering' is not one of its values; known: regression, bin"),
    (GOOD + "target = 1.5\n", "model.target: expected"),
    ('[model]\nname = 3\ndata = "x"\n', "model.name: expected text in quotes, got a whole number"),
    ('[model]\nname = "risk"\ndata = { sql = "select 1" }\n', "[model.data] needs 'url'"),
    ('[model]\nname = "a/b"\ndata = "x"\n', "'a/b' can't name the model"),
    ('[model]\nname = "../up"\ndata = "x"\n', "can't name the model"),
    ('[model]\nname = ""\ndata = "x"\n', "can't name the model"),
    (GOOD + "[monitor]\nfalse_alarms_per_year = 0\n", "monitor.false_alarms_per_year = 0 must be more than 0"),
    (GOOD + '[monitor]\nignore_below = "0.1"\n', "monitor.ignore_below = '0.1' is not a number of standard deviations"),
    (GOOD + "[monitor]\nwindow = 1\n", "monitor.window = 1 rows must lie in 20"),
    (GOOD + '[monitor]\nevery = "often"\n', "monitor.every = 'often' is not a duration"),
    (GOOD + '[monitor]\nevery = "0d"\n', "monitor.every = '0d' is not a duration"),
    (GOOD + '[monitor]\nlabels = { joins = "id" }\n',
     "unknown key 'joins' in [monitor.labels]; did you mean 'join'?"),
    (GOOD + '[monitor]\nlabels = { expected_lag = "2" }\n', "monitor.labels.expected_lag = '2' is not a duration"),
    (GOOD + '[monitor]\non_drift = "panic"\n',
     "monitor.on_drift: 'panic' is not one of its values; known: notify, propose, retrain"),
    (GOOD + "[train]\nfolds = 1\n", "train.folds = 1 must be at least 2"),
    (GOOD + "[train]\nthreads = 0\n", "train.threads = 0"),
    (GOOD + '[train]\ncandidates = "linear"\n', "train.candidates: expected a list ([…]), got text in quotes"),
    (GOOD + '[train]\ncandidates = ["linear", "linear"]\n', "names one candidate twice"),
    (GOOD + "[train]\nbudget = { minute = 5 }\n", "unknown key 'minute' in [train.budget]; did you mean 'minutes'?"),
    (GOOD + "[train]\nbudget = { minutes = 0 }\n", "train.budget.minutes = 0.0 must be more than 0"),
    (GOOD + '[train]\nbudget = { memory = "lots" }\n', "is not a size; write it as"),
    (GOOD + '[train]\nfeatures = "features.py"\n', "must be written module:function"),
    (GOOD + '[features]\nage = { imput = "mean" }\n', "unknown key 'imput' in [features.age]; did you mean 'impute'?"),
    (GOOD + '[features]\nage = { impute = "guess" }\n',
     "features.age.impute: 'guess' is not one of its values; known: median, mean, most_frequent, none"),
    (GOOD + "[gates]\nmse = 15\n", "gates.mse: expected a table ({ key = value }), got a whole number; write {"),
    (GOOD + "[gates]\nmse = {}\n", "gates.mse needs upper or lower"),
    (GOOD + "[gates]\nmse = { uper = 1 }\n", "unknown key 'uper' in [gates.mse]; did you mean 'upper'?"),
    (GOOD + "[gates]\nbeats = { p = 2 }\n", "gates.beats.p must lie between 0 and 1"),
    (GOOD + '[gates]\nlatency_p99_ms = "fast"\n', "gates.latency_p99_ms: expected"),
    (GOOD + "[decision]\ncost_false_negative = -1\n", "costs can't be negative"),
    (GOOD + "[deploy.production]\napprove = { count = 1 }\n", "approve under [deploy] can't be used yet"),
    (GOOD + "[deploy.production]\ncanary = { steps = [5, 100] }\n", "from 0 (shadow) to 100 (promoted)"),
    (GOOD + "[deploy.production]\ncanary = { step = [0, 100] }\n", "did you mean 'steps'?"),
    (GOOD + "[deploy.production]\ncanary = { wrong_promotion = 1 }\n", "a probability between 0 and 0.5"),
    (GOOD + "[deploy.production]\ncanary = { loss_clip = 0 }\n", "must be above 0"),
    (GOOD + "[deploy.staging]\n", "unknown key 'staging' in [deploy]"),
    (GOOD + "[monitor]\nretrain = { cooldown = \"soon\" }\n", "monitor.retrain.cooldown = 'soon' is not a duration"),
    (GOOD + "[monitor]\nretrain = { attempts = 0 }\n", "attempts 1 or more"),
    (GOOD + "[endpoint]\nfallback = { use = \"abstain\" }\n", "unknown key 'use' in [endpoint.NAME]"),
    (GOOD + "[[notify.webhooks]]\nurl = \"https://x.example\"\nallow = [\"10.0.0.0/99\"]\n",
     "which is no network; write"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG, ids=[sentence[:40] for _, sentence in WRONG])
def test_what_is_wrong_is_named(text: str, sentence: str) -> None:
    with pytest.raises(TrimtabError) as caught:
        config.parse(text, root=Path())
    assert sentence in str(caught.value)
    assert caught.value.answer.exit == 2


def test_a_missing_or_unreadable_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"there is no trimtab\.toml"):
        config.load(tmp_path / "trimtab.toml")
    (tmp_path / "trimtab.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigInvalid, match="UTF-8"):
        config.load(tmp_path / "trimtab.toml")


def test_the_digest_is_of_what_the_file_says_not_of_its_layout() -> None:
    one = config.parse(GOOD, root=Path())
    other = config.parse("# a comment\n[model]\ndata='data.csv'\nname='risk'\n", root=Path())
    assert one.digest == other.digest
    assert one.digest != config.parse(GOOD + "target = 0\n", root=Path()).digest


@given(name=st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=20), data=st.text(max_size=30),
       target=st.one_of(st.integers(-5, 5), st.text(max_size=20)), time=st.one_of(st.none(), st.text(max_size=10)))
def test_a_rendered_file_reads_back_as_it_was_meant(name: str, data: str, target: int | str, time: str | None) -> None:
    split = config.SplitBy(test=0.25, seed=7, time=time)
    text = config.render(name=name, data=data, target=target, split=split, task="regression", candidates=("linear",),
                         owner='Ann "A" 王', ignore=("id",))
    tomllib.loads(text)
    read = config.parse(text, root=Path())
    assert (read.model.name, read.model.data, read.model.target) == (name, data, target)
    assert read.model.split == split
    assert read.model.owner == 'Ann "A" 王'


@pytest.mark.parametrize(("text", "size"), [
    ("2GiB", 2 << 30), ("500MB", 500_000_000), ("1.5 GiB", 3 << 29), ("100", 100)])
def test_memory_is_read_with_its_unit(text: str, size: int) -> None:
    assert config.Budget(memory=text).memory_bytes == size


def test_monitoring_has_defaults_that_a_reader_can_check() -> None:
    """One false alarm a year over all columns, windows of 1,000 rows or a day, a tenth of an sd ignored."""
    monitor = config.parse(GOOD, root=Path()).monitor
    assert (monitor.false_alarms_per_year, monitor.window, monitor.on_drift) == (1.0, 1000, "notify")
    assert (monitor.ignore_below_sd, monitor.every_s, monitor.labels.lag_s) == (0.1, 86_400.0, 7 * 86_400.0)
    said = config.parse(GOOD + '[monitor]\nevery = "6h"\nignore_below = "0.25 sd"\n'
                        'labels = { join = "id", expected_lag = "2d" }\non_drift = "retrain"\n', root=Path()).monitor
    assert (said.every_s, said.ignore_below_sd, said.labels.join, said.labels.lag_s) == (21_600, 0.25, "id", 172_800)


def test_durability_is_asked_for_in_the_project_and_a_word_for_it_that_is_none_is_refused() -> None:
    """`[traffic] durability`: "fast" where nothing is said."""
    assert config.parse(GOOD, root=Path()).traffic.durability == "fast"
    assert config.parse(GOOD + '[traffic]\ndurability = "strict"', root=Path()).traffic.durability == "strict"
    with pytest.raises(ConfigInvalid, match=r"traffic\.durability.*'strikt'.*did you mean 'strict'"):
        config.parse(GOOD + '[traffic]\ndurability = "strikt"', root=Path())
