"""Which training rows carried a few of the held-out predictions?

For kernel machines, from `formula.terms`: the typical row and those that the model got most wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trimtab.pipeline.evaluation import HeldOut, number
from trimtab.pipeline.formula import KernelTerms, telling, terms
from trimtab.pipeline.model import Feature, Learnable, Split
from trimtab.pipeline.report import Explained, Term
from trimtab.stats.losses import row_losses

_SHOWN_FEATURES = 4


def explain(model: Any, data: Learnable, split: Split, held_out: HeldOut, *, most: int = 6) -> tuple[Explained, ...]:
    """The terms behind three held-out predictions; empty for a model that is no kernel machine.

    The three: the row with the median loss, and the two with the largest. For many classes: the sum that tells the true
    or next-likeliest class from the likeliest. most: training rows a prediction.
    """
    losses = row_losses(data.task, held_out.y, held_out.answers)
    order = np.argsort(losses, kind="stable")
    places = dict.fromkeys(int(place) for place in (order[len(order) // 2], *order[::-1][:2]))
    found = []
    for place in places:
        row = int(held_out.rows[place])
        sums = terms(model, data.X[row])
        if not sums:
            return ()
        found.append(_one(telling(sums, held_out.answers[place]), data, split, held_out, place, most))
    return tuple(found)


def _one(total: KernelTerms, data: Learnable, split: Split, held_out: HeldOut, place: int, most: int) -> Explained:
    strongest = np.argsort(-np.abs(total.coefficients * total.kernel), kind="stable")[:most]
    shown = []
    for index in strongest:
        row = int(split.train[total.rows[index]]) if total.rows[index] >= 0 else -1
        shown.append(Term(row=row, coefficient=float(total.coefficients[index]), kernel=float(total.kernel[index]),
                          shown="" if row < 0 else _words(data, row)))
    answer = held_out.answers[place]
    if data.task == "regression":
        actual, answered, of = number(float(held_out.y[place])), number(float(answer)), ""
    else:
        code = int(np.argmax(answer))
        actual = str(data.classes[int(held_out.y[place])])
        answered = f"{float(answer[code]):.1%} {data.classes[code]}"
        names = [str(data.classes[one]) for one in total.pair]
        of = f"decision value between {' and '.join(names)}" if len(names) == 2 else f"score of {names[0]}"
    return Explained(row=int(held_out.rows[place]), actual=actual, answered=answered, total=total.total, of=of,
                     intercept=total.intercept, terms=tuple(shown), count=int(np.count_nonzero(total.coefficients)))


def _words(data: Learnable, row: int) -> str:
    target = number(float(data.y[row])) if data.task == "regression" else str(data.classes[int(data.y[row])])
    columns = [f"{feature.name} = {_value(feature, float(value))}"
               for feature, value in zip(data.features[:_SHOWN_FEATURES], data.X[row], strict=False)]
    return "; ".join([f"target {target}", *columns, *(["…"] if len(data.features) > _SHOWN_FEATURES else [])])


def _value(feature: Feature, value: float) -> str:
    if np.isnan(value):
        return "missing"
    if feature.kind == "boolean":
        return "true" if value else "false"
    if feature.kind == "category":
        return feature.categories[int(value)] if 0 <= value < len(feature.categories) else "(unseen)"
    if feature.kind == "datetime":
        return str(np.datetime64("1970-01-01") + np.timedelta64(int(value // 1), "D"))
    return number(value)
