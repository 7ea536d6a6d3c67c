"""Do the examples run, and do they know only what could be known?"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from trimtab import config

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FOLDERS = ("diabetes", "breast_cancer", "sp500", "iot")


def module(name: str) -> ModuleType:
    """`examples/NAME/make_data.py` as a module."""
    spec = importlib.util.spec_from_file_location(f"make_{name}", EXAMPLES / name / "make_data.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def laid_out(name: str, folder: Path) -> Path:
    """A copy of one example, its data.csv made by its own script."""
    copy = folder / name
    made = shutil.ignore_patterns("data.csv", ".trimtab", "__pycache__")
    shutil.copytree(EXAMPLES / name, copy, ignore=made)
    subprocess.run([sys.executable, "make_data.py"], cwd=copy, check=True)
    return copy


def trimtab(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a command with --json in a folder and read its answer."""
    done = subprocess.run([str(Path(sys.executable).with_name("trimtab")), *arguments, "--json"], cwd=folder,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("name", FOLDERS)
def test_the_data_are_the_same_bytes_every_time(name: str, tmp_path: Path) -> None:
    """Somebody who makes the data on another day gets the same dataset version."""
    first = (laid_out(name, tmp_path / "one") / "data.csv").read_bytes()
    assert first == (laid_out(name, tmp_path / "two") / "data.csv").read_bytes()
    header, *rows = first.decode().splitlines()
    assert len(rows) == {"diabetes": 442, "breast_cancer": 569, "sp500": 4964, "iot": 11328}[name]
    assert {row.count(",") for row in rows} == {header.count(",")}
    assert "nan" not in first.decode().lower().replace("malignant", "")


@pytest.mark.parametrize("name", FOLDERS)
def test_the_file_that_people_review_is_understood(name: str) -> None:
    """Each trimtab.toml is read as it stands, and the README that goes with it is ten lines."""
    assert config.load(EXAMPLES / name / "trimtab.toml").model.name == ("demand" if name == "iot" else name)
    assert len((EXAMPLES / name / "README.md").read_text().splitlines()) <= 12


@pytest.mark.parametrize("day", [400, 1999, 2450, 4900])
def test_no_feature_of_a_day_knows_the_next_one(day: int) -> None:
    """With the future cut off, or replaced by nonsense, the features of that day stay what they were."""
    import arch.data.default
    import arch.data.sp500
    import pandas as pd

    sp500 = module("sp500")
    prices, yields = arch.data.sp500.load(), arch.data.default.load()
    whole, now = sp500.features(prices, yields), prices.index[day]
    known_yields = yields[yields.index + pd.DateOffset(months=1) <= now]
    cut = sp500.features(prices[: day + 1], known_yields)
    pd.testing.assert_frame_equal(cut, whole.loc[:now])

    rng = np.random.default_rng(day)
    wrong, wrong_yields = prices.astype(float), yields.copy()
    wrong.iloc[day + 1:] *= rng.uniform(0.5, 2, size=wrong.iloc[day + 1:].shape)
    wrong_yields.loc[wrong_yields.index + pd.DateOffset(months=1) > now] += 50
    pd.testing.assert_series_equal(sp500.features(wrong, wrong_yields).loc[now], whole.loc[now])


def test_a_month_of_yields_is_known_only_when_it_is_over() -> None:
    """On the last trading day of a month the row still carries the month before; on the next day, that month."""
    import arch.data.default
    import arch.data.sp500

    yields = arch.data.default.load()
    rows = module("sp500").features(arch.data.sp500.load(), yields)
    assert rows.loc["2008-10-31", "baa_yield"] == yields.loc["2008-09-01", "BAA"]
    assert rows.loc["2008-11-03", "baa_yield"] == yields.loc["2008-10-01", "BAA"]


def test_the_target_is_the_next_days_move() -> None:
    """The last column of a day equals the size of the return that the next row reports as today's."""
    import arch.data.default
    import arch.data.sp500

    rows = module("sp500").table(arch.data.sp500.load(), arch.data.default.load())
    assert list(rows.columns)[-1] == "abs_return_next_day"
    np.testing.assert_allclose(rows["abs_return_next_day"].to_numpy()[:-1], rows["return_today"].abs().to_numpy()[1:])


@pytest.mark.parametrize("name", FOLDERS)
def test_an_example_runs_from_data_to_a_live_version(name: str, tmp_path: Path) -> None:
    """`trimtab run data.csv` in the example's folder trains, evaluates, registers and deploys."""
    answer = trimtab(laid_out(name, tmp_path), "run", "data.csv")
    assert answer["model"] == ("demand" if name == "iot" else name)
    assert answer["version"] == 1
    assert answer["digest"].startswith("sha256:")
    assert answer["metrics"]


def test_the_first_number_is_the_one_that_the_ten_line_script_prints(tmp_path: Path) -> None:
    """The split is scikit-learn's, and `linear` is plain least squares: the same test MSE to rounding."""
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import mean_squared_error
    from sklearn.model_selection import train_test_split

    X, y = load_diabetes(return_X_y=True, scaled=False)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)
    by_hand = mean_squared_error(y_test, LinearRegression().fit(X_train, y_train).predict(X_test))
    ours = trimtab(laid_out("diabetes", tmp_path), "run", "data.csv")["candidates"]["linear"]["test"]["mse"]
    assert ours == pytest.approx(by_hand, rel=1e-9)


def test_the_ten_line_script_saves_deploys_and_monitors(tmp_path: Path) -> None:
    """The script that everyone starts with runs beside any numeric data.csv; its MSE is scikit-learn's own."""
    folder = laid_out("diabetes", tmp_path)
    for file in ("trimtab.toml", "contract.toml"):
        (folder / file).unlink()
    done = subprocess.run([sys.executable, str(EXAMPLES / "linear_regression.py")], cwd=folder, capture_output=True,
                          text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "error"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("MSE: 2900.1")
    live = json.dumps(trimtab(folder, "status"))
    assert '"risk"' in live
