"""How does the whole story look?  Every line is a real command in a real folder.

First on real data and in real time: scikit-learn's diabetes data (442 patients, ten measurements, disease progression a
year later) becomes data.csv; a version is made and served over HTTP, a worse one is refused, another is promoted and
rolled back while requests are in flight. Then eight days of a made-up pump station on a virtual clock, through the same
rooms: drift, alert, retrain, shadow, canary, promotion, rollback; and the record that is left of them.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from trimtab.doors.cli import screen
from trimtab.doors.cli.options import Call
from trimtab.errors import CheckFailed, Conflict, StoreUnreachable
from trimtab.workspace import Workspace, locate

_READY = "Serving on "
_READY_S = 60
_IN_FLIGHT_S = 1.0


def play(call: Call, keep: Path | None) -> None:
    """Play the story in `keep`, or in a folder that goes away."""
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise Conflict(f"{keep.name}/ is not empty; name a new folder")
        keep.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-demo-")))
        stack.enter_context(_inside(folder))
        told = _scenes()
    if call.as_json:
        screen.print_json({"schema": "trimtab.demo/1", **told})


def _scenes() -> dict[str, object]:
    _say("The data: scikit-learn's diabetes set, 442 patients, written as data.csv")
    _write_data(Path("data.csv"))
    _say("From a table to a live model")
    _run("run data.csv --name diabetes")
    with _serving() as url:
        _say("Ask it: a row by column names over HTTP, then one that breaks the contract")
        row = _first_row(Path("data.csv"))
        _ask(url, row)
        _ask(url, {**row, "bmi": 900.0})
        _say("A second version without kernel machines: the gate compares it with the champion, row by row")
        _candidates('["lasso", "random_forest", "hgb"]')
        _run("train")
        _run("evaluate --note 'without kernel machines'")
        _run("promote diabetes@v2 --reason 'it is simpler'")
        _say("A third one that is no worse: what differs, and where the two disagree")
        _candidates('["svr"]')
        _run("train")
        _run("evaluate --note 'fewer support rows'")
        _run("diff diabetes@v1 diabetes@v3")
        _say("Promote it, and roll it back, while requests are in flight")
        with _load(url, row) as counted:
            _run("promote diabetes@v3 --reason 'fewer support rows, as good'")
            time.sleep(_IN_FLIGHT_S)
            _run("rollback diabetes --reason 'customer complaint 118'")
            time.sleep(_IN_FLIGHT_S)
        by_version = ", ".join(f"v{version}: {number:,}" for version, number in sorted(counted.answers.items()))
        screen.line("Answered", f"{sum(counted.answers.values()):,} requests ({by_version}), {counted.failed} failed")
    _say("What happened, and is the record whole?")
    _run("log diabetes")
    _run("audit verify")
    if counted.failed:
        raise CheckFailed(f"{counted.failed} requests failed during the swap")
    decisions = _days_of_drift()
    return {"answers": {f"v{version}": number for version, number in counted.answers.items()}, "failed": counted.failed,
            "decisions": decisions}


def _days_of_drift() -> int:
    """Eight virtual days, and what they left; how many decisions."""
    _say("Eight days in a few seconds: made-up data, virtual time, the real loop")
    _run("simulate story --keep days")
    click.echo(f"\n{screen.styled('$ cd days', 'bold')}")
    with _inside(Path("days")):
        _say("What the loop left behind")
        with Workspace.open(locate()) as workspace:
            promoted = next(one for one in workspace.decisions.list("pumps") if one.decision.action == "promote")
            alert = workspace.alerts.list("pumps", states=None)[-1]
            many = len(workspace.decisions.list("pumps"))
        _run(f"explain {alert.id}")
        _say("Would it decide the same again, from the evidence that was stored with the decision?")
        _run(f"decide --replay {promoted.id}")
        _say("How do the two versions differ, and is that record whole, too?")
        _run("diff pumps@v1 pumps@v2")
        _run("audit verify")
    return many


def _run(arguments: str) -> None:
    """Run one command of ours, shown as it is typed; a refusal is part of the story."""
    from trimtab.doors.cli.main import cli

    click.echo(f"\n{screen.styled('$ trimtab ' + arguments, 'bold')}")
    try:
        code = cli.main(args=shlex.split(arguments), standalone_mode=False)
    except CheckFailed as refused:
        screen.line("Refused", str(refused), style="red")
        code = refused.answer.exit
    if code:
        click.echo(f" (exit code {code})")


def _say(text: str) -> None:
    click.echo(f"\n{screen.styled('── ' + text + ' ──', 'yellow')}")


def _write_data(path: Path) -> None:
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    names = ["age", "sex", "bmi", "blood_pressure", "tc", "ldl", "hdl", "tch", "ltg", "glucose", "progression"]
    lines = [",".join(names)]
    for values, target in zip(found.data, found.target, strict=True):
        lines.append(",".join(f"{value:g}" for value in [*values, target]))
    path.write_text("\n".join(lines) + "\n")


def _first_row(path: Path) -> dict[str, float]:
    names, values = (line.split(",") for line in path.read_text().splitlines()[:2])
    return {name: float(value) for name, value in zip(names[:-1], values, strict=False)}


def _candidates(names: str) -> None:
    """Change the line of trimtab.toml that names the candidates."""
    path = Path("trimtab.toml")
    lines = path.read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("candidates"))
    lines[place] = f"candidates = {names}"
    path.write_text("\n".join(lines) + "\n")
    click.echo(f" trimtab.toml: {lines[place]}")


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in `folder`, with a workspace of its own."""
    before, named = Path.cwd(), os.environ.pop("TRIMTAB_WORKSPACE", None)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        if named is not None:
            os.environ["TRIMTAB_WORKSPACE"] = named


@contextlib.contextmanager
def _serving() -> Iterator[str]:
    """`trimtab serve` in a process of its own; ends with the block."""
    click.echo(f"\n{screen.styled('$ trimtab serve &', 'bold')}")
    process = subprocess.Popen([sys.executable, "-m", "trimtab", "serve", "--port", "0"], stderr=subprocess.PIPE,
                               text=True)
    assert process.stderr is not None
    try:
        until = time.monotonic() + _READY_S
        line = ""
        while not line.startswith(_READY) and time.monotonic() < until and process.poll() is None:
            line = process.stderr.readline()
        if not line.startswith(_READY):
            raise StoreUnreachable("the server did not start; try trimtab serve to see why")
        click.echo(f" {line.strip()}")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield line.strip().removeprefix(_READY)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _ask(url: str, row: dict[str, float]) -> None:
    import httpx

    answer = httpx.post(f"{url}/api/models/diabetes/predict", json={"rows": [row]}, timeout=10)
    shown = ", ".join(f"{name} {value:g}" for name, value in list(row.items())[:4])
    click.echo(f"\n POST /api/models/diabetes/predict   {shown}, …")
    body: Any = answer.json()
    if answer.is_success:
        first = body["predictions"][0]
        screen.line(str(answer.status_code), f"{first['value']:.4g}   version {body['version']}, "
                                             f"prediction {first['id']}")
    else:
        screen.line(str(answer.status_code), str(body["error"]["message"]))


class _Counted:
    """What the requests in flight were answered."""

    def __init__(self) -> None:
        self.answers: dict[int, int] = {}
        self.failed = 0


@contextlib.contextmanager
def _load(url: str, row: dict[str, float]) -> Iterator[_Counted]:
    """Requests one after the other while the block lasts."""
    import httpx

    counted, stop = _Counted(), threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=10) as client:
            while not stop.is_set():
                answer = client.post(f"{url}/api/models/diabetes/predict", json={"rows": [row]})
                if answer.status_code == 200:
                    version = answer.json()["version"]
                    counted.answers[version] = counted.answers.get(version, 0) + 1
                else:
                    counted.failed += 1

    worker = threading.Thread(target=ask)
    worker.start()
    try:
        yield counted
    finally:
        stop.set()
        worker.join()
