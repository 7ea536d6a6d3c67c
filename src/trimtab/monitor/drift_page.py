"""How does a drift report become a page?  One self-contained HTML file, causes first, no script, nothing fetched.

Pictures are static SVG of shares over the same bins; their figures stand in a table beside them. Size does not hang on
the tables' rows; pictures are drawn for what alarms and for the columns with the strongest evidence.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from trimtab.sketch.bins import coarsened
from trimtab.sketch.column import CategorySketch

if TYPE_CHECKING:
    from trimtab.monitor.two_tables import ColumnDrift, DriftReport

PICTURES: Final = 60
_TEMPLATES = Path(__file__).parent / "templates"
_WIDTH, _HEIGHT, _BARS = 360.0, 90.0, 20


def render(report: DriftReport, *, whole: bool = True) -> str:
    """The page; with whole=False the part of it that a notebook shows inside its own."""
    columns = [{"name": one.name, "alarm": one.alarm, "kind": one.kind, "evidence": _evidence(one),
                "words": one.words, "picture": _picture(one) if one.alarm or place < PICTURES else None}
               for place, one in enumerate(report.columns)]
    text: str = _template().render(report=report, columns=columns, whole=whole, style=Markup(_style()),
                                   style_hash=Markup(_style_hash()))
    return text


def _evidence(one: ColumnDrift) -> str:
    if one.now is None:
        return "absent"
    return f"10^{one.log10_e:.1f}" if abs(one.log10_e) >= 3 else f"{10 ** one.log10_e:.3g}"


def _picture(one: ColumnDrift) -> dict[str, object] | None:
    """Bars of both tables side by side, and their figures."""
    if one.now is None:
        return None
    labels, before, now = _shares(one)
    top = max(float(before.max(initial=0)), float(now.max(initial=0))) or 1.0
    step = _WIDTH / max(len(labels), 1)
    bars = []
    for place, (then, new) in enumerate(zip(before, now, strict=True)):
        for kind, share, shift in (("before", then, 0.06), ("now", new, 0.5)):
            high = share / top * _HEIGHT
            bars.append(f'<rect class="{kind}" x="{(place + shift) * step:.1f}" y="{_HEIGHT - high:.1f}" '
                        f'width="{0.42 * step:.1f}" height="{high:.1f}"/>')
    picture = Markup(f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT + 1:.0f}" role="img" aria-hidden="true">'
                     f'{"".join(bars)}<path class="axis" d="M0 {_HEIGHT}H{_WIDTH:.0f}"/></svg>')
    rows = [(label, f"{then:.1%}", f"{new:.1%}") for label, then, new in zip(labels, before, now, strict=True)]
    return {"svg": picture, "rows": rows, "low": labels[0] if labels else "", "high": labels[-1] if labels else ""}


def _shares(one: ColumnDrift) -> tuple[list[str], np.ndarray, np.ndarray]:
    a, b = one.before.count_array(), (one.now or one.before).count_array()
    if isinstance(one.before, CategorySketch):
        names = [*one.before.categories.names, "(other)"]
        order = np.argsort(-(a + b), kind="stable")[:_BARS]
        return [names[place] for place in order], a[order] / max(a.sum(), 1), b[order] / max(b.sum(), 1)
    edges = one.before.edges
    few, other = coarsened(a, b, _BARS)
    share = np.cumsum(few) / max(int(few.sum()), 1)
    ends = np.searchsorted(np.cumsum(a) / max(int(a.sum()), 1), share - 1e-9)
    labels = [f"≤ {edges[min(int(place), len(edges) - 1)]:.4g}" if len(edges) else "all" for place in ends]
    return labels, few / max(few.sum(), 1), other / max(other.sum(), 1)


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("drift.html.j2")


@cache
def _style() -> str:
    return (_TEMPLATES / "drift.css").read_text(encoding="utf-8").strip()


@cache
def _style_hash() -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
