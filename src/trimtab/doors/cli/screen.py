"""How do results look in a terminal, and as JSON?

Words on the left, facts on the right, the next command last; progress goes to stderr. Colour only on a terminal
(click honours NO_COLOR through `styled`). `--json` prints one object with a versioned schema instead.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from trimtab import canon

LABEL_CELLS = 11
WIDTH_CELLS = 100


def print_json(value: dict[str, object]) -> None:
    """One JSON object on stdout; NaN and infinity become null."""
    click.echo(json.dumps(canon.finite(value), ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def line(label: str, text: str = "", *, style: str = "") -> None:
    """` Label      text`; further lines are indented under the first, and none is wider than 100 cells."""
    first, *rest = [part for one in text.split("\n") for part in wrapped(one, WIDTH_CELLS - LABEL_CELLS - 2)]
    head = pad(label, LABEL_CELLS)
    click.echo(f" {styled(head, style) if label else head} {first}".rstrip())
    for more in rest:
        click.echo(f"{'':{LABEL_CELLS + 2}}{more}".rstrip())


_quiet_next = False


@contextmanager
def no_next() -> Iterator[None]:
    """While the block lasts, `follow` prints nothing: the next command is run already."""
    global _quiet_next
    _quiet_next = True
    try:
        yield
    finally:
        _quiet_next = False


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells, broken at spaces; a word that is wider stands alone.

    >>> wrapped("one two  three", 7)
    ['one two', 'three']
    """
    lines, rest = [], text
    while cells(rest) > width:
        end = len(rest)
        while cells(rest[:end]) > width:
            end -= 1
        place = rest.rfind(" ", 1, end + 1)
        place = place if place > 0 else rest.find(" ", end)
        if place <= 0:
            break
        lines.append(rest[:place].rstrip())
        rest = rest[place:].lstrip()
    return [*lines, rest]


def folded(text: str) -> list[str]:
    """A line as it is where it fits, else in lines of at most 100 cells, the further ones indented.

    >>> [len(part) for part in folded("word " * 30)]
    [99, 53]
    """
    first = wrapped(text, WIDTH_CELLS)[0]
    rest = text[len(first):].strip()
    return [first, *("    " + part for part in wrapped(rest, WIDTH_CELLS - 4))] if rest else [first]


def follow(command: str, why: str = "") -> None:
    """The next command to type."""
    if not _quiet_next:
        click.echo(f"Next: {styled(command, 'bold')}{'   ' + why if why else ''}")


def columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of (name, text) under a label: names aligned, the texts wrapped beside them."""
    width = max((cells(name) for name, _ in rows), default=0)
    inner = LABEL_CELLS + 2 + width + 2
    for name, text in rows:
        if inner > WIDTH_CELLS // 2:           # a very long name: its text goes below it
            line("", name)
            line("", text)
            continue
        first, *rest = wrapped(text, WIDTH_CELLS - inner)
        click.echo(f"{'':{LABEL_CELLS + 2}}{pad(name, width)}  {first}".rstrip())
        for more in rest:
            click.echo(f"{'':{inner}}{more}")


def table(rows: Sequence[Sequence[str]], *, indent: int = 1, right: Sequence[int] = ()) -> list[str]:
    """Rows as aligned lines, two spaces between columns; `right` names the columns that align on the right.

    >>> table([["a", "1"], ["风险", "20"]], right=[1])
    [' a      1', ' 风险  20']
    """
    if not rows:
        return []
    widths = [max(cells(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [(" " * indent + "  ".join(pad(text, width, right=column in right)
                                      for column, (text, width) in enumerate(zip(row, widths, strict=True)))).rstrip()
            for row in rows]


def cells(text: str) -> int:
    """How many terminal cells a text takes: wide characters take two."""
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
               for char in text)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill with spaces to `width` cells."""
    space = " " * max(0, width - cells(text))
    return space + text if right else text + space


def styled(text: str, style: str) -> str:
    """Colour or weight where the terminal shows it: "red", "green", "yellow", "bold" or nothing."""
    if not style or os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return click.style(text, bold=True) if style == "bold" else click.style(text, fg=style, bold=True)


def count(number: int, noun: str) -> str:
    """`1 row`, `5,000 rows`.

    >>> count(1, "row"), count(5000, "row")
    ('1 row', '5,000 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def number(value: float | None) -> str:
    """Four significant digits, thousands apart; a dash where there is none.

    >>> number(2650.4), number(0.49991), number(None)
    ('2,650', '0.4999', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def size(bytes_: int) -> str:
    """Bytes for people, powers of ten.

    >>> size(300), size(2_500_000)
    ('300 B', '2.5 MB')
    """
    number = float(bytes_)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def moment(text: str) -> str:
    """A stored time to the minute: `2026-03-03 14:05 UTC`."""
    return f"{text[:10]} {text[11:16]} UTC" if text else ""
