"""How is an evaluation told in a terminal?  Intervals wherever a number decides, and what was not tested."""

from __future__ import annotations

from trimtab.doors.cli import screen
from trimtab.pipeline.evaluation import Evaluation, GateReport, bounds, number, shown_metric

_BESIDE = {"regression": ("r2", "mae", "rmse"), "binary": ("auc", "accuracy", "sensitivity", "specificity", "brier"),
           "multiclass": ("accuracy", "f1", "auc")}
_ORDINAL = {1: "first", 2: "second", 3: "third"}


def render(found: Evaluation) -> None:
    """The screen of `evaluate`, down to the gates."""
    interval = found.metrics[found.metric]
    screen.line(f"Test {shown_metric(found.metric)}", f"{number(interval.value)}   95% CI {bounds(interval)}   "
                                                      f"{found.chosen}, {found.rows:,} held-out rows")
    beside = [f"{shown_metric(name)} {number(found.metrics[name].value)} {bounds(found.metrics[name])}"
              for name in _BESIDE[found.task] if name in found.metrics]
    for start in range(0, len(beside), 3):
        screen.line("", "   ".join(beside[start:start + 3]))
    for one in found.paired:
        if one.role != "candidate":
            name = "baseline" if one.role == "baseline" else one.against
            screen.line(f"vs {name}", one.words)
    if found.decision is not None:
        chosen = found.decision
        missed, false = chosen.cost_false_negative, chosen.cost_false_positive
        costs = f"a missed {chosen.positive!r} costs {missed:g}, a false one {false:g}"
        screen.line("Threshold", f"{chosen.threshold:.3g} for {chosen.positive!r}; {costs} → "
                                 f"{number(chosen.cost.value)} a row {bounds(chosen.cost)}, "
                                 f"{number(chosen.half_cost)} at 0.5\nchosen on {chosen.chosen_on}")
    screen.line("Slices", found.slices.words)
    screen.line("Stability", "\n".join(check.words for check in found.stability.checks))
    opened = _ORDINAL.get(found.openings, f"{found.openings}th")
    again = "" if found.newly_opened else " (this run was judged before; not opened again)"
    screen.line("Opened", f"the held-out rows for the {opened} time{again}")
    _gates(found.gates)


def _gates(gates: GateReport) -> None:
    counts = {verdict: sum(one.verdict == verdict for one in gates.gates)
              for verdict in ("pass", "fail", "not applicable")}
    screen.line("Gates", f"{counts['pass']} passed, {counts['fail']} failed, {counts['not applicable']} not applicable"
                         + ("" if gates.configured else "   (none in trimtab.toml)"),
                style="green" if gates.passed else "red")
    for one in gates.gates:
        if one.verdict == "fail" or gates.configured:
            screen.line("", f"{one.verdict:<14}  {one.name}: {one.reason}")
