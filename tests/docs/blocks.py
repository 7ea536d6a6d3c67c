"""What in a page is a promise that can be run?  (fenced blocks, and the marks before them)

A mark is an HTML comment on the line above a block, invisible to readers:

    <!-- in: diabetes -->      lay out this example's data.csv in the page's folder first
    <!-- numbers vary -->      compare words and layout, not figures
    <!-- continues -->         a Python block that goes on from the one before it
    <!-- not run: reason -->   shown only; sparingly

In expected output, a line `…` stands for any number of lines, and `…` inside a line for any text.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\s*$")
_MARK = re.compile(r"^<!--\s*(.*?)\s*-->$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: its language, its text, where it begins (line, from 1) and the marks above it."""

    language: str
    text: str
    line: int
    marks: tuple[str, ...]

    def marked(self, word: str) -> str | None:
        """What follows a mark's word (an empty string where nothing does), or None where the mark is absent."""
        for mark in self.marks:
            if mark == word or mark.startswith(word + ":"):
                return mark.removeprefix(word).removeprefix(":").strip()
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a console block and the output that the page promises."""

    command: str
    expected: tuple[str, ...]


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a Markdown page, in order."""
    found: list[Block] = []
    marks: list[str] = []
    body: list[str] | None = None
    language, start = "", 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if body is not None:
            if line.strip() == "```":
                found.append(Block(language=language, text="\n".join(body) + "\n", line=start, marks=tuple(marks)))
                body, marks = None, []
            else:
                body.append(line)
        elif fence := _FENCE.match(line):
            language, start, body = fence[1], number, []
        elif mark := _MARK.match(line):
            marks.append(mark[1])
        elif line.strip():
            marks = []
    assert body is None, f"{page.name}: the block at line {start} is never closed"
    return found


def steps_of(block: Block) -> list[Step]:
    """The commands of a console block; one goes on where a line ends with a backslash or inside quotes."""
    steps: list[tuple[str, list[str]]] = []
    going_on = False
    for line in block.text.splitlines():
        if going_on:
            command, expected = steps[-1]
            steps[-1] = (command + "\n" + line, expected)
        elif line.startswith("$ "):
            steps.append((line[2:], []))
        elif steps:
            steps[-1][1].append(line)
        else:
            raise AssertionError(f"line {block.line}: a console block begins with a command, '$ …'")
        going_on = not steps[-1][1] and _unfinished(steps[-1][0])
    return [Step(command=command, expected=tuple(expected)) for command, expected in steps]


def _unfinished(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:                                 # a quote is open
        return True
    return command.endswith("\\")


_MASKS = [
    (re.compile(r"sha256:?\s?[0-9a-f]{2,64}(?:…[0-9a-f]*)?"), "<digest>"),
    (re.compile(r"\br-[0-9a-z]{2,32}\b"), "<run>"),
    (re.compile(r"\b(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{7,64}\b"), "<hex>"),
    (re.compile(r"\bp-[0-9A-HJKMNP-TV-Z]{3,26}…?"), "<prediction>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d| UTC)?)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d(?::\d\d)?\b"), "<time>"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(?:µs|ms|s|min)\b"), "<duration>"),
    (re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=localhost:)\d+|(?<=--port )\d+"), "<port>"),
    (re.compile(r"[█▏▎▍▌▋▊▉░━╸╺]+"), "<bar>"),
]
_NUMBER = re.compile(r"[−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


def masked(line: str, *, numbers: bool) -> str:
    """A line with what differs between two honest runs taken out, and its spaces made single."""
    for pattern, name in _MASKS:
        line = pattern.sub(name, line)
    if numbers:
        line = _NUMBER.sub("<n>", line)
    return re.sub(r"\s+", " ", line).strip()


def agrees(expected: tuple[str, ...], actual: str, *, numbers: bool) -> bool:
    """Does the output keep what the page promises?"""
    wanted = [masked(line, numbers=numbers) for line in expected]
    got = [masked(line, numbers=numbers) for line in actual.splitlines()]
    return _match(_trimmed(wanted), _trimmed(got))


def _trimmed(lines: list[str]) -> list[str]:
    while lines and not lines[-1]:
        lines = lines[:-1]
    while lines and not lines[0]:
        lines = lines[1:]
    return lines


def _match(wanted: list[str], got: list[str]) -> bool:
    if not wanted:
        return not got
    if wanted[0] == "…":
        return any(_match(wanted[1:], got[skip:]) for skip in range(len(got) + 1))
    if not got:
        return False
    pattern = ".*".join(re.escape(part) for part in wanted[0].split("…"))
    return re.fullmatch(pattern, got[0]) is not None and _match(wanted[1:], got[1:])
