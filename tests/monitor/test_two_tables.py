"""Two tables are compared without a project: what moved is named, causes first, and chance alone seldom alarms."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import beta

import trimtab
from trimtab.data import batches
from trimtab.doors.cli.main import main
from trimtab.errors import DataUnreadable, UsageError
from trimtab.monitor.two_tables import drift


def table(rng: np.random.Generator, rows: int, *, shift: float = 0.0, name: str = "n0") -> pl.DataFrame:
    """15 numbers and 5 categories, independent."""
    columns: dict[str, object] = {f"n{i}": rng.normal(size=rows) for i in range(15)}
    columns |= {f"c{i}": rng.choice(list("abcdefgh"), rows) for i in range(5)}
    return pl.DataFrame(columns).with_columns(pl.col(name) + shift)


def test_what_moved_is_named_and_nothing_else() -> None:
    """One column of 20 moves by half a standard deviation."""
    rng = np.random.default_rng(1)
    report = trimtab.drift(table(rng, 5000), table(rng, 2000, shift=0.5))
    assert report.alarms == ("n0",)
    assert report.columns[0].name == "n0"
    assert report.columns[0].effect["shift_sd"] == pytest.approx(0.5, abs=0.08)
    assert report.causes[0].kind == "shift"
    assert "n0 rose" in str(report)


@pytest.mark.parametrize(("spoil", "kind"), [
    (pl.when(pl.int_range(pl.len()) % 5 == 0).then(None).otherwise(pl.col("n0")).alias("n0"), "missing"),
    ((pl.col("n0") * 1000).alias("n0"), "unit"),
    (pl.lit(0.25).alias("n0"), "stuck"),
    (pl.lit("zz").alias("c0"), "unseen"),
])
def test_broken_data_are_told_from_a_change(spoil: pl.Expr, kind: str) -> None:
    """Missing, stuck, another unit, unknown categories: the first cause says it, and that the data look broken."""
    rng = np.random.default_rng(2)
    report = drift(table(rng, 5000), table(rng, 2000).with_columns(spoil))
    assert report.causes[0].kind == kind
    assert report.causes[0].broken


def test_columns_that_are_absent_or_of_another_type_are_facts() -> None:
    """They are told first, without a test, and lead the alarms."""
    rng = np.random.default_rng(3)
    now = table(rng, 50).drop("n3").with_columns(pl.lit("many").alias("n4"), pl.lit(1).alias("new"))
    report = drift(table(rng, 500), now)
    assert report.alarms[:2] == ("n3", "n4")
    assert [cause.kind for cause in report.causes[:2]] == ["contract", "contract"]
    assert any("new" in note for note in report.notes)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [250, 1000, 4000])
def test_chance_alone_alarms_no_oftener_than_alpha(rows: int) -> None:
    """20 columns, α = 0.2, nothing ignored: alarms in 200 pairs of tables stay within what α allows (99.9%)."""
    rng = np.random.default_rng(rows)
    alarms = sum(bool(drift(table(rng, 2000), table(rng, rows), alpha=0.2, ignore_below=0).alarms)
                 for _ in range(200))
    assert beta.ppf(0.001, alarms, 201 - alarms) <= 0.2 if alarms else True
    caught = sum(bool(drift(table(rng, 2000), table(rng, rows, shift=1.0), alpha=0.2, ignore_below=0).alarms)
                 for _ in range(20))
    assert caught == 20                        # the same test is not deaf


def test_batches_give_what_one_piece_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Parquet file and a lazy frame, read a stretch at a time, give the verdict of the frame in memory."""
    rng = np.random.default_rng(4)
    before, now = table(rng, 3000), table(rng, 1500, shift=0.3)
    whole = drift(before, now)
    monkeypatch.setattr(batches, "ROWS", 700)
    before.write_parquet(tmp_path / "before.parquet", row_group_size=1000)
    now.write_parquet(tmp_path / "now.parquet")
    for pair in ((tmp_path / "before.parquet", tmp_path / "now.parquet"), (before.lazy(), now.lazy())):
        parts = drift(*pair)
        assert parts.alarms == whole.alarms
        for one, other in zip(parts.columns, whole.columns, strict=True):
            assert (one.name, one.log10_e) == (other.name, pytest.approx(other.log10_e))


def test_every_kind_of_table_is_taken(tmp_path: Path) -> None:
    """CSV, pandas, matrices; times and ids are left out and named."""
    rng = np.random.default_rng(5)
    frame = table(rng, 400).with_columns(
        pl.Series("when", pd.date_range("2026-01-01", periods=400)), pl.Series("id", [f"k{i}" for i in range(400)]))
    frame.write_csv(tmp_path / "a.csv")
    assert not drift(frame.to_pandas(), frame).alarms
    assert not drift(tmp_path / "a.csv", tmp_path / "a.csv").alarms
    notes = " ".join(drift(frame, frame).notes)
    assert "when" in notes
    assert "id" not in [one.name for one in drift(frame, frame).columns]
    assert "id" in notes
    assert drift(rng.normal(size=(500, 2)), rng.normal(2.0, 1.0, size=(500, 2))).alarms == ("x1", "x2")


def test_what_can_not_be_compared_is_said() -> None:
    """No traceback, and a sentence with the way out."""
    rng = np.random.default_rng(6)
    frame = table(rng, 50)
    with pytest.raises(UsageError, match=r"did you mean|n0"):
        drift(frame, frame, columns=["n00"])
    with pytest.raises(UsageError, match="alpha"):
        drift(frame, frame, alpha=0)
    with pytest.raises(UsageError, match="ignore_below"):
        drift(frame, frame, ignore_below="much")
    with pytest.raises(UsageError, match="no column"):
        drift(frame.select(pl.lit(None).cast(pl.Datetime).alias("t")), frame)
    with pytest.raises(UsageError, match="shape"):
        drift(np.zeros(3), frame)
    with pytest.raises(DataUnreadable, match="no file"):
        drift("nowhere.csv", frame)


def test_the_page_names_causes_first_and_fetches_nothing(tmp_path: Path) -> None:
    """One small file, escaped, with its figures as tables."""
    rng = np.random.default_rng(7)
    before, now = (table(rng, 500, shift=by).rename({"n0": "<b>n0"}) if by else
                   table(rng, 500).rename({"n0": "<b>n0"}) for by in (0, 2.0))
    report = drift(before, now)
    page = report.to_html(tmp_path / "drift.html")
    assert (tmp_path / "drift.html").read_text() == page
    assert len(page) < 1_000_000
    assert "<b>n0" not in page
    assert page.index("Causes") < page.index("Columns</h2>")
    assert not re.search(r"(src|href)=|<script", page)
    assert "<html" not in report._repr_html_()


def test_the_command_ends_with_one_where_something_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 and 1, a page, and JSON with a schema."""
    rng = np.random.default_rng(8)
    table(rng, 500).write_parquet(tmp_path / "a.parquet")
    table(rng, 500, shift=2.0).write_csv(tmp_path / "b.csv")
    a, b, page = (str(tmp_path / name) for name in ("a.parquet", "b.csv", "d.html"))
    with pytest.raises(SystemExit) as end:
        main(["drift", a, b, "--html", page])
    assert end.value.code == 1
    out = capsys.readouterr().out
    assert "n0 rose" in out
    assert max(map(len, out.splitlines())) <= 100
    assert Path(page).stat().st_size > 1000
    with pytest.raises(SystemExit) as end:
        main(["drift", a, a, "--json"])
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["alarms"] == []
