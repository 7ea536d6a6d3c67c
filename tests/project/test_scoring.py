"""A large table through a version: every row is answered or set aside, with its number; live traffic is not touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.cli.conftest import Trimtab, table, trimtab  # noqa: F401
from tests.serving import serving_scenes as scenes

import trimtab as library
from trimtab.data.contract import Column, Contract
from trimtab.errors import Conflict, DataUnreadable, NotFound, UsageError
from trimtab.names import check_name
from trimtab.project.scoring import score
from trimtab.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    made = scenes.workspace(tmp_path)
    scenes.linear(made)
    made.rollouts.deploy("risk", 1, by="ada")
    return made


def write(path: Path, rows: int = 5000, bad: tuple[int, ...] = ()) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"rate": [99.0 if row + 1 in bad else value for row, value in enumerate(
        rng.uniform(-9, 9, rows).tolist())], "volume": rng.normal(size=rows), "other": ["x"] * rows})
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
    return frame


@pytest.mark.parametrize("source", ["in.parquet", "in.csv"])
@pytest.mark.parametrize("out", ["out.parquet", "out.csv"])
def test_each_row_is_answered_or_set_aside(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str,
                                           out: str) -> None:
    """By what is live, in the order of the rows, cut into stretches or not; those set aside say where and why."""
    bad = (3, 1700, 5000)
    frame = write(tmp_path / source, bad=bad)
    monkeypatch.setattr("trimtab.data.stretches.STRETCH_BYTES", 40_000)
    made = score(tmp_path / source, tmp_path / out, "risk", workspace=ws)
    assert (made.version, made.rows, made.predicted, made.set_aside) == ("risk@v1", 5000, 4997, 3)
    assert made.reasons == {("rate", "max"): 3}
    found = pl.read_parquet(tmp_path / out) if out.endswith("parquet") else pl.read_csv(tmp_path / out)
    assert found.columns == ["row", "prediction"]
    kept = frame.with_row_index("row", offset=1).filter(~pl.col("row").is_in(bad))
    assert found["row"].to_list() == kept["row"].to_list()
    assert np.allclose(found["prediction"], 2 * kept["rate"] + kept["volume"], atol=1e-9)
    assert made.aside is not None
    aside = pl.read_parquet(made.aside)
    lines = source.endswith("csv")
    assert aside.select("unit", "number").rows() == [("line", n + 1) if lines else ("row", n) for n in bad]
    assert aside["reason"].str.contains("rate = 99.0 is above the contract's max 10.0").all()
    assert ws.traffic.count(batches=True) == 0


def test_every_row_that_is_set_aside_has_its_reasons(ws: Workspace, tmp_path: Path) -> None:
    """Also where there are many more than a screen would tell, two a row."""
    pl.DataFrame({"rate": [-50.0] * 4000, "volume": ["many"] * 4000}).write_parquet(tmp_path / "in.parquet")
    made = score(tmp_path / "in.parquet", tmp_path / "out.parquet", "risk@v1", workspace=ws)
    assert (made.predicted, made.set_aside) == (0, 4000)
    assert made.aside is not None
    reasons = pl.read_parquet(made.aside)["reason"]
    assert (reasons.str.count_matches("; ") == 1).all()
    assert reasons.str.contains("below the contract's min").all()
    assert pl.read_parquet(tmp_path / "out.parquet").schema == {"row": pl.Int64, "prediction": pl.Float64}


def test_a_classifier_gives_probabilities_and_the_id_column_passes_through(tmp_path: Path) -> None:
    """The answers are those of the version's own `predict`; ids stay as they were written."""
    made = scenes.workspace(tmp_path)
    keyed = Contract(columns=(Column(name="no", type="text", role="id"), *scenes.MIXED.columns))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "MIXED", keyed)
        version = scenes.mixed_classifier(made)
    rows = pl.DataFrame({"no": [f"00{n}" for n in range(90)], "年龄": [n % 120 for n in range(90)],
                         "城市": ["上海", "北京"] * 45, "member": [True, False, True] * 30,
                         "joined": ["2026-03-01"] * 90, "note": ["a", None, "new"] * 30})
    rows.write_csv(tmp_path / "in.csv")
    scored = library.score(tmp_path / "in.csv", tmp_path / "out.parquet", version.name, workspace=tmp_path / "ws")
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert scored.set_aside == 0
    assert found.columns == ["row", "no", "prediction", "p_低", "p_高"]
    assert found["no"].to_list() == rows["no"].to_list()
    from trimtab.project.handles import ModelVersion

    told = ModelVersion(made, version).predict(rows.drop("no").to_dicts())
    assert found["prediction"].to_list() == told.values
    assert told.probabilities is not None
    assert np.array_equal(found.select("p_低", "p_高").to_numpy(), told.probabilities)


def test_recorded_predictions_are_found_and_are_no_live_traffic(ws: Workspace, tmp_path: Path) -> None:
    """By id, and by what labels look for; neither the monitor nor a retrain counts a back-fill as asked."""
    write(tmp_path / "in.parquet", rows=3000)
    score(tmp_path / "in.parquet", tmp_path / "out.parquet", "risk", log=True, workspace=ws)
    found = pl.read_parquet(tmp_path / "out.parquet")
    ids = found["prediction_id"].to_list()
    assert len(set(ids)) == 3000
    assert ids == sorted(ids)
    record, row = ws.traffic.find(ids[1234])
    assert (record.model, record.version, record.stage, record.endpoint) == ("risk", 1, "batch", "(batch)")
    assert row.output == found["prediction"][1234]
    assert row.features.keys() == {"rate", "volume"}
    assert ws.traffic.count(batches=True) == 3000
    assert ws.traffic.count() == 0
    assert ws.asked("risk").height == 0
    assert ws.asked("risk", version=1).height == 0
    assert ws.traffic.known("risk", "id", ids) == 3000
    assert ws.tables.verify() >= 1             # closed, and in the journal
    with pytest.raises(UsageError, match="can't name the endpoint"):
        check_name("endpoint", record.endpoint)


def test_nothing_is_written_over_unasked(ws: Workspace, tmp_path: Path) -> None:
    """Neither the answers, nor what was set aside, nor ever the input; with force the old file goes at the end."""
    write(tmp_path / "in.parquet", rows=50, bad=(7,))
    score(tmp_path / "in.parquet", tmp_path / "out.parquet", "risk", workspace=ws)
    with pytest.raises(Conflict, match="--force"):
        score(tmp_path / "in.parquet", tmp_path / "out.parquet", "risk", workspace=ws)
    (tmp_path / "out.parquet").unlink()
    with pytest.raises(Conflict, match="quarantine"):
        score(tmp_path / "in.parquet", tmp_path / "out.parquet", "risk", workspace=ws)
    with pytest.raises(Conflict, match="is what is read"):
        score(tmp_path / "in.parquet", tmp_path / "in.parquet", "risk", force=True, workspace=ws)
    write(tmp_path / "good.parquet", rows=60)
    made = score(tmp_path / "good.parquet", tmp_path / "out.parquet", "risk", force=True, workspace=ws)
    assert (made.predicted, made.aside) == (60, None)
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == ["good.parquet", "in.parquet", "out.parquet"]


def test_a_table_that_ends_badly_leaves_no_half(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.csv").write_bytes(b"rate,volume\n" + b"1,2\n" * 300 + b"1,\xff\xfe\xff\n" * 3)
    monkeypatch.setattr("trimtab.data.stretches.STRETCH_BYTES", 200)
    with pytest.raises(DataUnreadable):
        score(tmp_path / "in.csv", tmp_path / "out.csv", "risk", log=True, workspace=ws)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "ws"]


def test_a_model_that_is_not_live_is_named_with_its_version(ws: Workspace, tmp_path: Path) -> None:
    scenes.constant(ws, 5.0, model="other")
    write(tmp_path / "in.parquet", rows=10)
    with pytest.raises(NotFound, match="name one, as other@v1"):
        score(tmp_path / "in.parquet", tmp_path / "out.csv", "other", workspace=ws)
    assert score(tmp_path / "in.parquet", tmp_path / "out.csv", "other@v1", workspace=ws).predicted == 10


def test_the_command_says_what_became_of_the_rows(trimtab: Trimtab, table: Path) -> None:  # noqa: F811
    """Exit code 1 for --strict with a row set aside, and where no row was predicted; OUT is there all the same."""
    trimtab("run", "data.csv")
    ran = trimtab("score", "data.csv", "out.csv", "--json")
    assert ran.json["schema"] == "trimtab.scored/1"
    assert ran.json["predicted"] == 200
    with Path("data.csv").open("a") as file:
        file.write("hello,1,1\n1,2,3,4\n")
    assert "out.csv is there already" in trimtab("score", "data.csv", "out.csv", code=5).err
    ran = trimtab("score", "data.csv", "out.csv", "--force", "--log")
    assert "200 of 202 rows" in ran.out
    assert "2 rows into out.csv.quarantine.parquet" in ran.out
    assert "1 × a: type" in ran.out
    assert "1 × unreadable line" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 100
    assert "Recorded    200 predictions" in trimtab("traffic").out
    trimtab("score", "data.csv", "out.csv", "--force", "--strict", code=1)
    Path("bad.csv").write_text("a,b\nx,y\nz,w\n")
    trimtab("score", "bad.csv", "none.csv", code=1)
    assert Path("none.csv").read_text().strip() == "row,prediction"
