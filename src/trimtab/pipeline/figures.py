"""Which pictures belong in a report?  Each a `svg.Chart`: picture, caption and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from trimtab.pipeline.evaluation import Evaluation, HeldOut, answered_codes, number, shown_metric
from trimtab.pipeline.model import Array, TrainReport
from trimtab.pipeline.svg import Chart, Line, Row, cloud, curves, intervals, strips
from trimtab.stats.interval import Interval
from trimtab.stats.proportion import wilson

Mask = NDArray[np.bool_]

_MOST_CLASSES = 4
_MOST_CONFUSED = 12
_BINS = 10
_HONEST = "On the dashed line, probabilities are what they say. The table has 95% intervals (for independent rows)."


def candidate_charts(train: TrainReport, evaluation: Evaluation | None) -> list[Chart]:
    """Cross-validated and, once there is an evaluation, held-out losses of all candidates."""
    name = shown_metric(train.metric)
    crossed = [Row(one.name, Interval(value=one.mean, low=one.mean - (one.se or 0), high=one.mean + (one.se or 0)),
                   strong=one.name == train.chosen, mark="dot" if one.name == train.chosen else "square")
               for one in train.candidates if one.mean is not None]
    charts = [intervals(f"Cross-validation: {name}", crossed, axis=name,
                        caption="Mean over folds of the training rows ± one standard error. Lower is better.")]
    if evaluation is not None:
        held = [Row(card.name, card.interval, strong=card.name == train.chosen,
                    mark="dot" if card.name == train.chosen else "square")
                for card in evaluation.candidates.values() if card.interval is not None]
        charts.append(intervals(f"Held-out rows: {name}", held, axis=name,
                                caption=f"{evaluation.rows:,} rows that no candidate saw, with 95% intervals. All "
                                        "share the rows: where intervals overlap, see the paired comparisons."))
    return charts


def held_out_charts(evaluation: Evaluation, held_out: HeldOut) -> list[Chart]:
    """What the chosen model answered on the held-out rows."""
    if evaluation.task == "regression":
        return _regression(held_out)
    if evaluation.task == "binary":
        return _binary(evaluation, held_out)
    return _multiclass(evaluation, held_out)


def confusion(evaluation: Evaluation, held_out: HeldOut) -> Chart | None:
    """Counts of true class by answered class, as a table; None for numbers."""
    if evaluation.task == "regression":
        return None
    truth = held_out.y.astype(np.int64)
    answered = answered_codes(evaluation.classes, held_out.answers, evaluation.decision)
    shown = np.sort(np.argsort(-np.bincount(truth, minlength=len(evaluation.classes)), kind="stable")[:_MOST_CONFUSED])
    place = np.full(len(evaluation.classes), len(shown))
    place[shown] = np.arange(len(shown))
    names = [str(evaluation.classes[code]) for code in shown]
    if len(shown) < len(evaluation.classes):
        names.append("another class")
    counts = np.zeros((len(shown) + 1, len(shown) + 1), dtype=np.int64)
    np.add.at(counts, (place[truth], place[answered]), 1)
    rows = []
    for code, name in enumerate(names):
        right, total = int(np.sum(answered[place[truth] == code] == truth[place[truth] == code])), counts[code].sum()
        rows.append((f"true {name}", *(f"{count:,}" for count in counts[code, :len(names)]),
                     f"{right / total:.1%}" if total else "n/a"))
    at = f" at threshold {number(evaluation.threshold)}" if evaluation.threshold is not None else ""
    caption = f"Held-out rows by true and answered class{at}; the last column: which share of a true class was found."
    return Chart("Confusion matrix", Markup(""), caption, ("", *(f"answered {name}" for name in names), "found"),
                 tuple(rows))


def slice_charts(evaluation: Evaluation) -> list[Chart]:
    """The slices with the largest evidence of a larger loss."""
    found = evaluation.slices.slices
    if not found:
        return []
    rows = [Row(one.where, one.interval, strong=one.verdict == "worse", mark="diamond" if one.verdict == "worse" else
                "square", note=one.verdict) for one in found]
    name = shown_metric(found[0].metric)
    return [intervals(f"Slices: {name}", rows, axis=name, line=found[0].overall, line_label="all rows", long=True,
                      caption=f"The {len(rows)} of {evaluation.slices.searched:,} slices with the strongest evidence, "
                              "strongest first. Intervals hold for all slices searched at once. Diamond: worse than "
                              "the rest; square: too wide to call.")]


def stability_charts(train: TrainReport, evaluation: Evaluation) -> list[Chart]:
    """The selection metric over folds of every candidate, and over other splits of the chosen one."""
    rows: list[tuple[str, Sequence[float], bool]] = [
        (one.name, one.folds, False) for one in train.candidates if one.folds and one.family != "baseline"]
    other = evaluation.stability.get("other splits")
    if other.tested:
        rows.insert(0, (f"{train.chosen}, other splits", other.values, True))
    if not rows:
        return []
    name = shown_metric(train.metric)
    return [strips(f"{name} from split to split", rows, axis=name,
                   caption="One mark per fold of the training rows; the bar is their mean. Without the baseline.")]


def _regression(held_out: HeldOut) -> list[Chart]:
    y, guess = held_out.y.astype(np.float64), held_out.answers
    return [cloud("Predicted and actual", guess, y, x_axis="predicted", y_axis="actual", equal=True,
                  caption="One mark per held-out row. On the dashed line, both are equal."),
            cloud("Residuals", guess, y - guess, x_axis="predicted", y_axis="actual − predicted",
                  caption="A slope or a funnel around the dashed line is something that the model did not learn.")]


def _binary(evaluation: Evaluation, held_out: HeldOut) -> list[Chart]:
    decision = evaluation.decision
    positive = list(evaluation.classes).index(decision.positive) if decision else 1
    truth, p = held_out.y == positive, held_out.answers[:, positive]
    label = str(evaluation.classes[positive])
    charts = _curves([(label, truth, p)])
    charts.append(reliability(truth, p, f"Predicted probability of {label}, in ten groups of equal size, against how "
                              f"often it was true. {_HONEST}"))
    if decision is not None:
        steps = np.linspace(0.01, 0.99, 99)
        order = np.sort(p[truth]), np.sort(p[~truth])
        missed = np.searchsorted(order[0], steps, side="left")
        alarms = len(order[1]) - np.searchsorted(order[1], steps, side="left")
        cost = (decision.cost_false_negative * missed + decision.cost_false_positive * alarms) / len(p)
        charts.append(curves(
            "Cost by threshold", [Line("held-out", steps, cost)], x_axis=f"threshold for {label}",
            y_axis="mean cost a row", unit=False, at=decision.threshold, at_label="chosen",
            caption=f"A missed {label} costs {decision.cost_false_negative:g}, a false alarm "
                    f"{decision.cost_false_positive:g}. The threshold was chosen on {decision.chosen_on}, not here."))
    return charts


def _multiclass(evaluation: Evaluation, held_out: HeldOut) -> list[Chart]:
    codes = np.bincount(held_out.y.astype(np.int64), minlength=len(evaluation.classes)).argsort()[::-1]
    kept = sorted(codes[:_MOST_CLASSES])
    note = "" if len(evaluation.classes) <= _MOST_CLASSES else f" The {_MOST_CLASSES} most frequent classes are drawn."
    charts = _curves([(str(evaluation.classes[code]), held_out.y == code, held_out.answers[:, code]) for code in kept],
                     f" Each class against the others.{note}")
    top = held_out.answers.argmax(1)
    charts.append(reliability(top == held_out.y, held_out.answers.max(1), "Probability of the answered class, in ten "
                              f"groups of equal size, against how often it was right. {_HONEST}"))
    return charts


def _curves(classes: Sequence[tuple[str, Mask, Array]], more: str = "") -> list[Chart]:
    """ROC and precision-recall of each (label, is it?, score)."""
    roc, recall = [], []
    for label, truth, score in classes:
        if 0 < truth.sum() < len(truth):
            false, true, precision = operating_points(truth, score)
            roc.append(Line(label, false, true))
            recall.append(Line(label, true[1:], precision[1:]))
    return [curves("ROC", roc, x_axis="false positive rate", y_axis="sensitivity", diagonal=True,
                   caption=f"Every threshold's trade-off; the dashed line is guessing.{more}"),
            curves("Precision and recall", recall, x_axis="recall (sensitivity)", y_axis="precision",
                   caption=f"How many of those flagged are right, for each share that is found.{more}")]


def operating_points(truth: Mask, score: Array) -> tuple[Array, Array, Array]:
    """False positive rate, true positive rate and precision at every distinct threshold, from none flagged to all.

    truth: shape (n,), boolean; score: shape (n,). Precision where nothing is flagged is 1.

    >>> [a.tolist() for a in operating_points(np.array([True, False, True]), np.array([0.9, 0.8, 0.8]))]
    [[0.0, 0.0, 1.0], [0.0, 0.5, 1.0], [1.0, 1.0, 0.6666666666666666]]
    """
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(truth[order])[last]
    flagged = last + 1
    return (np.append(0.0, (flagged - hits) / (~truth).sum()), np.append(0.0, hits / truth.sum()),
            np.append(1.0, hits / flagged))


def reliability(truth: Mask, p: Array, caption: str) -> Chart:
    """Observed frequency by predicted probability, in groups of equal size, with Wilson's intervals."""
    order = np.argsort(p, kind="stable")
    groups = [part for part in np.array_split(order, _BINS) if len(part)]
    x = np.array([p[part].mean() for part in groups])
    y = np.array([truth[part].mean() for part in groups])
    chart = curves("Reliability", [Line("observed", x, y, dots=True)], x_axis="predicted probability",
                   y_axis="observed frequency", diagonal=True, caption=caption)
    found = [wilson(int(truth[part].sum()), len(part)) for part in groups]
    rows = tuple((number(float(a)), number(one.value), number(one.low), number(one.high), f"{one.n:,}")
                 for a, one in zip(x, found, strict=True))
    return replace(chart, head=("mean predicted", "observed", "low", "high", "rows"), rows=rows)
