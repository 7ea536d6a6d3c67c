"""Do the pages tell the truth?  Every console and Python block of the READMEs and of docs/ is run and compared."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
PORT = "8000"                                          # the port that the pages write


def _helper() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_blocks", Path(__file__).with_name("blocks.py"))
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["docs_blocks"] = made                  # dataclasses look their module up
    spec.loader.exec_module(made)
    return made


blocks = _helper()


class Reader:
    """Somebody who reads a page in an empty folder and types what it says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.python: list[str] = []
        self._servers: list[subprocess.Popen[bytes]] = []
        self._environment = {**os.environ, "HOME": str(folder), "USER": "ada", "LOGNAME": "ada",
                             "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LANG": "C.UTF-8"}

    def lay_out(self, example: str) -> None:
        """Put an example's data.csv into the folder."""
        shutil.copy(ROOT / "examples" / example / "make_data.py", self.folder / "make_data.py")
        subprocess.run([sys.executable, "make_data.py"], cwd=self.folder, check=True)
        (self.folder / "make_data.py").unlink()

    def type(self, command: str) -> str:
        """Run a command as a shell would; what it prints, in order. A server goes on in the background, once ready."""
        command = command.replace(PORT, str(self.port))
        if command.rstrip().endswith("&"):
            return self._serve(command.rstrip().removesuffix("&"))
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
        return done.stdout.replace(str(self.port), PORT)

    def run(self, source: str, *, after: bool) -> str:
        """Run a Python block in a process of its own, after the blocks that it continues."""
        self.python = [*self.python, source] if after else [source]
        (self.folder / "block.py").write_text("\n".join(self.python), encoding="utf-8")
        done = subprocess.run([sys.executable, "block.py"], cwd=self.folder, env=self._environment, capture_output=True,
                              stdin=subprocess.DEVNULL, text=True, timeout=300, check=False)
        (self.folder / "block.py").unlink()
        assert done.returncode == 0, f"{source}\n{done.stdout}{done.stderr}"
        return done.stdout

    def leave(self) -> None:
        """End what was started."""
        for server in self._servers:
            server.terminate()
            server.wait(timeout=20)

    def _serve(self, command: str) -> str:
        log = self.folder / "serve.log"
        with log.open("wb") as out:
            self._servers.append(subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=self.folder, stdout=out,
                                                  stdin=subprocess.DEVNULL, stderr=out, env=self._environment))
        until = time.monotonic() + 60
        while "Serving on" not in log.read_text(encoding="utf-8"):
            assert self._servers[-1].poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < until, f"{command} was not ready within a minute"
            time.sleep(0.05)
        return log.read_text(encoding="utf-8").replace(str(self.port), PORT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader with an empty folder, gone again after the page."""
    somebody = Reader(tmp_path)
    yield somebody
    somebody.leave()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, reader: Reader) -> None:
    """Blocks run from top to bottom in one folder; ids, digests, times and durations are masked."""
    wrong = []
    for block in blocks.blocks_of(page):
        if block.language not in {"console", "python"} or block.marked("not run") is not None:
            continue
        if example := block.marked("in"):
            reader.lay_out(example)
        if block.language == "python":
            reader.run(block.text, after=block.marked("continues") is not None)
            continue
        for step in blocks.steps_of(block):
            printed = reader.type(step.command)
            if not blocks.agrees(step.expected, printed, numbers=block.marked("numbers vary") is not None):
                wrong.append(f"line {block.line}: $ {step.command}\n--- the page says\n" + "\n".join(step.expected)
                             + f"\n--- it printed\n{printed}")
    assert not wrong, "\n\n".join(wrong)


def test_few_blocks_are_only_shown() -> None:
    """A block that isn't run says why, and they are the exception."""
    shown, all_blocks = [], 0
    for page in PAGES:
        for block in blocks.blocks_of(page):
            if block.language in {"console", "python"}:
                all_blocks += 1
                if (reason := block.marked("not run")) is not None:
                    assert len(reason) > 10, f"{page.name}, line {block.line}: say why it is not run"
                    shown.append(f"{page.name}:{block.line}")
    assert len(shown) <= max(3, all_blocks // 4), shown


def test_every_link_leads_somewhere() -> None:
    """Links between pages and into the tree point at files and headings that exist."""
    broken = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith(("http:", "https:", "mailto:")):
                continue
            path, _, heading = target.partition("#")
            aim = (page.parent / path).resolve() if path else page
            if not aim.exists() or (heading and aim.suffix == ".md" and heading not in _headings(aim)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def _headings(page: Path) -> set[str]:
    """Anchors of a page's headings, made the way that GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_index_names_every_page() -> None:
    """A newcomer finds any page from docs/index.md."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if (ROOT / "docs") in page.parents]
    assert [page for page in pages if page != "index.md" and f"]({page})" not in index] == []


@pytest.mark.parametrize(("expected", "printed", "same"), [
    (["Run  r-7k2  4 s"], "Run   r-9f3c22aa  11.2 s\n", True),
    (["sha256 e1fc…cf  2026-03-03T14:05"], "sha256 49d7…aa  2026-11-24 08:02:11\n", True),
    (["first", "…", "last"], "first\n1\n2\nlast\n", True),
    (["MSE 10.45"], "MSE 10.46\n", False),
    (["Live risk v1"], "Live risk v2\n", False),
    (["one"], "one\ntwo\n", False),
])
def test_masks_hide_chance_and_nothing_else(expected: list[str], printed: str, same: bool) -> None:
    """Ids, times and layout may differ; figures and words may not."""
    assert blocks.agrees(tuple(expected), printed, numbers=False) is same
