"""How does a run look to people?  One HTML file that needs nothing else.

Readable without JavaScript, with every chart's figures as a table, in light and dark, on paper. Nothing is fetched: its
content security policy allows only its own style. All names and values from the data are escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from trimtab.ids import shown_run
from trimtab.pipeline import figures
from trimtab.pipeline.evaluation import (
    Evaluation,
    HeldOut,
    bounds,
    number,
    plus_minus,
    shown_metric,
)
from trimtab.pipeline.model import CandidateResult, TrainReport

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One training row's part in a prediction: share = coefficient · kernel. `shown`: the row in words."""

    row: int                                  # position in the dataset, from 0 (people see it from 1); -1: unknown
    coefficient: float
    kernel: float
    shown: str = ""

    @property
    def part(self) -> float:
        """αᵢ · K(xᵢ, x)."""
        return self.coefficient * self.kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One sum behind one held-out row's prediction: total = Σ of all terms + intercept; `terms`: the strongest."""

    row: int                                  # in the dataset
    actual: str
    answered: str
    total: float
    intercept: float
    terms: tuple[Term, ...]
    count: int                                # of all terms
    of: str = ""                              # which classes the sum tells apart

    @property
    def rest(self) -> float:
        """What the terms that are not shown add up to."""
        return self.total - self.intercept - sum(term.part for term in self.terms)


def render(train: TrainReport, evaluation: Evaluation | None = None, held_out: HeldOut | None = None, *,
           explained: Sequence[Explained] = (), made_at: str = "") -> str:
    """The report's HTML text.

    Before `trimtab evaluate`, only `train` is there and the page says so. evaluation and held_out go together;
    explained: some predictions with the training rows behind them; made_at: a moment, as text.
    """
    style = Markup(_style())
    chosen = next(one for one in train.candidates if one.name == train.chosen)
    return _template().render(
        title=f"{train.model} · {shown_run(train.run)} · trimtab", style=style, style_hash=Markup(_style_hash()),
        run=shown_run(train.run), run_id=train.run, made_at=made_at, model=train.model, task=train.task,
        classes=train.classes, chosen=train.chosen, reason=train.reason, evaluation=evaluation,
        headline=_headline(train, chosen, evaluation),
        comparisons=_comparisons(evaluation), threshold_words=_threshold(evaluation),
        candidate_charts=figures.candidate_charts(train, evaluation),
        candidates=[_candidate(one, evaluation) for one in train.candidates],
        metric_name=shown_metric(train.metric), all_scores=_all_scores(evaluation),
        metric_rows=[(shown_metric(name), number(one.value), bounds(one)) for name, one in
                     (evaluation.metrics.items() if evaluation else ())],
        confusion=figures.confusion(evaluation, held_out) if evaluation and held_out else None,
        held_out_charts=figures.held_out_charts(evaluation, held_out) if evaluation and held_out else [],
        slices_words=_slices(evaluation), slice_charts=figures.slice_charts(evaluation) if evaluation else [],
        stability_charts=figures.stability_charts(train, evaluation) if evaluation else [],
        formula=chosen.formula, explanations=[_explanation(one) for one in explained],
        preprocessing=train.preprocessing, dataset=train.dataset, split=train.split, cached=train.cached,
        latency_words=_latency(evaluation))


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True)
    return environment.get_template("report.html.j2")


@cache
def _style() -> str:
    return (_TEMPLATES / "report.css").read_text(encoding="utf-8").strip()


@cache
def _style_hash() -> str:
    """The source expression of a content security policy (CSP level 2) for the one inline style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()


def _headline(train: TrainReport, chosen: CandidateResult, evaluation: Evaluation | None) -> list[tuple[str, str, str]]:
    name = shown_metric(train.metric)
    crossed = (f"CV {name}", number(chosen.mean), f"± {number(chosen.se)} over {len(chosen.folds)} folds")
    if evaluation is None:
        return [crossed]
    others = {"regression": ("r2", "mae"), "binary": ("auc", "sensitivity", "specificity"),
              "multiclass": ("accuracy", "auc")}[train.task]
    return [*((f"Test {shown_metric(metric)}", number(one.value), f"95% CI {bounds(one)}")
              for metric in (train.metric, *others) if (one := evaluation.metrics.get(metric)) is not None), crossed]


def _comparisons(evaluation: Evaluation | None) -> list[tuple[str, str]]:
    return [(one.against, one.words) for one in evaluation.paired] if evaluation else []


def _threshold(evaluation: Evaluation | None) -> str:
    if evaluation is None or evaluation.decision is None:
        return ""
    one = evaluation.decision
    cost = f"mean cost a held-out row {number(one.cost.value)} {bounds(one.cost)}, at 0.5 {number(one.half_cost)}"
    return f"{one.positive} is answered from {number(one.threshold)} on, chosen on {one.chosen_on}; {cost}"


def _candidate(one: CandidateResult, evaluation: Evaluation | None) -> dict[str, object]:
    """One line of the candidates' table: its figures, and its settings and sentences."""
    cells = ["n/a" if one.mean is None else number(one.mean) if one.se is None else plus_minus(one.mean, one.se)]
    settings = ", ".join(f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {value}"
                         for key, value in one.params.items())
    notes = [settings, *one.notes, one.error]
    if evaluation is not None:
        card = evaluation.candidates[one.name]
        cells.append("n/a" if card.interval is None else f"{number(card.interval.value)} {bounds(card.interval)}")
        notes.append(card.error)
    return {"name": one.name, "cells": cells, "notes": list(dict.fromkeys(note for note in notes if note))}


def _all_scores(evaluation: Evaluation | None) -> dict[str, object] | None:
    """Every held-out score of every candidate, a line a metric."""
    if evaluation is None:
        return None
    scored = [card for card in evaluation.candidates.values() if card.test]
    rows = [(shown_metric(metric), *(number(card.test.get(metric)) for card in scored))
            for metric in evaluation.metrics]
    answers = f"{evaluation.chosen} answers by its threshold, the others by the likelier class."
    caption = "" if evaluation.decision is None else answers
    return {"head": ("metric", *(card.name for card in scored)), "rows": rows, "caption": caption}


def _slices(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return ""
    note = evaluation.slices.note
    return evaluation.slices.words + (f". {note[0].upper()}{note[1:]}." if note and evaluation.slices.slices else "")


def _latency(evaluation: Evaluation | None) -> str:
    if evaluation is None or evaluation.latency is None:
        return ""
    one = evaluation.latency
    times = f"p50 {number(one.p50_ms)} ms, p99 {number(one.p99.value)} ms {bounds(one.p99)}"
    return f"predict on one row: {times} over {one.p99.n:,} calls on the machine that evaluated"


def _explanation(one: Explained) -> dict[str, object]:
    known = any(term.shown for term in one.terms)
    cells = [(f"row {term.row + 1:,}" if term.row >= 0 else "unknown row", number(term.coefficient),
              number(term.kernel), number(term.part), *([term.shown] if known else [])) for term in one.terms]
    others = one.count - len(one.terms)
    tail = [""] if known else []
    if others > 0:
        cells.append((f"{others:,} other rows", "", "", number(one.rest), *tail))
    cells += [("b", "", "", number(one.intercept), *tail), ("sum", "", "", number(one.total), *tail)]
    return {"title": f"Why row {one.row + 1:,} got {one.answered}" + (f" ({one.of})" if one.of else ""),
            "words": f"Actual: {one.actual}. The training rows with the largest part in this answer:",
            "head": ("training row", "αᵢ", "K(xᵢ, x)", "αᵢ K", *(["the row"] if known else [])), "rows": cells,
            "text_columns": (0, 4)}
