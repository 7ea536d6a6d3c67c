"""What a newcomer meets in the first ten minutes: readable lines, the right hint, the right exit code."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.conftest import write_linear

from trimtab.doors.cli import screen
from trimtab.doors.cli.progress import bars
from trimtab.pipeline.budget import Progress


def test_findings_are_wrapped_and_a_time_column_is_named(trimtab: Any) -> None:
    rng = np.random.default_rng(0)
    rows = [f"c{place:04d},{20_200_101 + place % 28},2026-01-{1 + place % 28:02d},{value:.4f},{value * 2:.4f}"
            for place, value in enumerate(rng.normal(size=120))]
    Path("data.csv").write_text("customer_id,code,opened,a,y\n" + "\n".join(rows) + "\n")
    out = trimtab("init", "data.csv").out
    assert "for rows ordered in time use --split time:opened" in out
    assert "is it known before" in " ".join(out.split())         # the whole sentence, over two lines
    assert max(screen.cells(line) for line in out.splitlines()) <= 100


def test_names_that_are_too_long_to_stand_beside_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    screen.columns([("列" * 40, "word " * 30), ("b", "text")])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(screen.cells, lines)) <= 100
    assert len(lines) > 3


def test_predictions_of_which_none_can_be_made_end_with_1(trimtab: Any) -> None:
    write_linear(Path("data.csv"))
    trimtab("run", "data.csv")
    Path("new.csv").write_text("a,b\n0.5,5000\n")
    assert "not predicted" in trimtab("predict", "y@champion", "new.csv", code=1).out
    assert trimtab("predict", "y@champion", "new.csv", "--json", code=1).json["predictions"] == []


def test_run_goes_on_with_the_project_that_is_there_also_on_a_query(trimtab: Any) -> None:
    rng = np.random.default_rng(1)
    with sqlite3.connect("loans.db") as db:
        db.execute("create table loans (a real, y real)")
        db.executemany("insert into loans values (?, ?)", [(a, 2 * a + e) for a, e in rng.normal(size=(200, 2))])
    db.close()
    assert "name a table" in trimtab("run", code=2).err
    trimtab("init", "--sql", "select * from loans", "--url", "sqlite:///loans.db", "--name", "loans")
    assert trimtab("run", "--json").json["model"] == "loans"


def test_a_spoilt_key_is_said_so(trimtab: Any) -> None:
    write_linear(Path("data.csv"))
    trimtab("run", "data.csv")
    keys = Path(".trimtab/keys")
    for path in keys.glob("*.pub"):
        path.chmod(0o644)
        path.write_text("no key\n")
    assert "does not hold the key that its name says; copy it there from a backup" in \
        trimtab("audit", "verify", code=1).err


def test_a_spoilt_private_key_is_said_so(trimtab: Any) -> None:
    write_linear(Path("data.csv"))
    trimtab("run", "data.csv")
    Path(".trimtab/keys/signing.pem").write_text("no key\n")
    told = trimtab("deploy", "y@v1", "--endpoint", "other", code=1).err
    assert "signing.pem in keys/ is not an Ed25519 private key" in told


def test_a_folder_that_is_not_empty_is_named_also_as_a_dot(trimtab: Any) -> None:
    write_linear(Path("data.csv"))
    trimtab("run", "data.csv")
    assert f"the folder {Path.cwd().name}/ is not empty" in trimtab("checkout", "y@v1", ".", code=2).err


@pytest.mark.parametrize("args", [("rollback", "y", "--to", "x"), ("delete", "y@v1"), ("deply",), ("log", "--nope")])
def test_a_wrong_argument_is_an_object_where_one_was_asked_for(trimtab: Any, args: tuple[str, ...]) -> None:
    told = trimtab(*args, "--json", code=2).json
    assert told["schema"] == "trimtab.error/1"
    assert told["error"]["code"] == "usage"
    assert told["error"]["message"]


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_a_terminal_of_another_encoding_is_no_fault(tmp_path: Path, encoding: str) -> None:
    write_linear(tmp_path / "data.csv", rows=60)
    ran = subprocess.run([sys.executable, "-c", "from trimtab.doors.cli.main import main; main(['init', 'data.csv'])"],
                         cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
                         capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert b"Contract" in ran.stdout


def test_one_bad_cell_is_one_bad_row_in_check_train_and_predict(trimtab: Any) -> None:
    write_linear(Path("data.csv"))
    trimtab("init", "data.csv")
    lines = Path("data.csv").read_text().splitlines()
    lines[4] = "hello" + lines[4][lines[4].index(","):]
    Path("data.csv").write_text("\n".join(lines) + "\n")
    told = trimtab("check", code=1).out
    assert "1 row of 200" in told
    assert "a = 'hello' is text, the contract says a number (row 4)" in told
    assert "1 rows were set aside" in trimtab("train", "linear").out
    trimtab("evaluate")
    answered = trimtab("predict", "y", "data.csv", "--json").json
    assert len(answered["predictions"]) == 199
    assert [one["row"] for one in answered["violations"]] == [4]


def test_a_table_of_nothing_but_text_is_broken_and_no_fault(trimtab: Any) -> None:
    write_linear(Path("data.csv"))
    trimtab("init", "data.csv")
    Path("text.csv").write_text("a,b,y\n" + "x,y,z\n" * 30)
    assert "30 rows of 30" in trimtab("check", "text.csv", code=1).out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("args", [["--help"], ["versions", "--json"], ["status"]])
def test_output_that_can_not_be_written_is_no_fault(trimtab: Any, args: list[str]) -> None:
    write_linear(Path("data.csv"), rows=60)
    trimtab("init", "data.csv")
    with open("/dev/full", "w") as full:
        ran = subprocess.run([sys.executable, "-m", "trimtab", *args], stdout=full, stderr=subprocess.PIPE, text=True,
                             check=False)
    assert ran.returncode == (2 if args[0] == "versions" else 4)
    assert len(ran.stderr.splitlines()) == 1
    if ran.returncode == 4:
        assert ran.stderr == ("Error  the output can't be written: no space left on its device; free some, then "
                              "repeat\n")


def test_a_workspace_whose_database_is_gone_is_not_begun_anew(trimtab: Any) -> None:
    """Its objects are there, so somebody lost the record; a new one beside them would hide that."""
    write_linear(Path("data.csv"), rows=60)
    trimtab("init", "data.csv")
    for left in Path(".trimtab").glob("trimtab.db*"):
        left.unlink()
    for _ in range(2):
        for args in (["train", "linear"], ["status"], ["init", "data.csv", "--force"]):
            said = trimtab(*args, code=4).err
            assert "its database trimtab.db is gone or empty. Put it back, or restore a backup" in said
        Path(".trimtab/trimtab.db").write_bytes(b"")


@pytest.mark.parametrize("damage", ["head", "half", "middle"])
def test_a_damaged_database_is_told_and_left_alone(trimtab: Any, damage: str) -> None:
    write_linear(Path("data.csv"), rows=60)
    trimtab("init", "data.csv")
    file = Path(".trimtab/trimtab.db")
    with sqlite3.connect(file) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    whole = file.read_bytes()
    spoilt = {"head": b"x" * 100 + whole[100:], "half": whole[:len(whole) // 2],
              "middle": whole[:4096] + b"x" * (len(whole) - 8192) + whole[-4096:]}[damage]
    file.write_bytes(spoilt)
    for args in (["status"], ["train", "linear"], ["backup", "kept.tar"], ["audit", "verify"]):
        assert "the workspace's database is damaged" in trimtab(*args, code=4).err
    assert not Path("kept.tar").exists()
    assert "damaged" in trimtab("doctor", code=1).out


def test_a_backup_to_no_folder_is_a_wrong_argument(trimtab: Any) -> None:
    write_linear(Path("data.csv"), rows=60)
    trimtab("init", "data.csv")
    assert "there is no folder nowhere to write kept.tar into" in trimtab("backup", "nowhere/kept.tar", code=2).err


def test_status_and_predict_stay_within_100_columns(trimtab: Any) -> None:
    write_linear(Path("data.csv"), rows=60)
    name = "a_model_whose_name_is_as_long_as_names_may_be_" + "x" * 14
    trimtab("run", "data.csv", "--name", name)
    table = Path("data.csv").read_text(encoding="utf-8").splitlines()
    Path("wrong.csv").write_text("\n".join([table[0], "9999999.25,0.5,1", "oops,0.5,1"]), encoding="utf-8")
    for out in (trimtab("status").out, trimtab("predict", f"{name}@v1", "wrong.csv", code=1).out):
        assert max(screen.cells(line) for line in out.splitlines()) <= 100


def test_progress_is_one_line_that_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the time that is left, for those who watch; nothing is written for a pipe or with --json."""
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with bars(quiet=False) as tell:
        tell(Progress(candidate="ridge", done=1, total=4, eta_s=75.0, stage="search"))
        tell(Progress(candidate="x" * 200, done=4, total=4))
    lines = shown.getvalue().split("\r\x1b[K")
    assert lines[1] == f" ridge          {'█' * 6}{'░' * 18}  1/4 searching   about 1.2 min left"
    assert len(lines[2]) == 99
    assert lines[3] == ""
    with bars(quiet=True) as tell:
        assert tell is None
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with bars(quiet=False) as tell:
        assert tell is None
