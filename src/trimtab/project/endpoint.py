"""How is an endpoint asked from Python, without a server?  The same engine, recorder and labels.

Answers come from what is live now, are recorded before they are returned, and find their truths later, as if `trimtab
serve` had given them.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab import clock
from trimtab.errors import TrimtabError, UsageError
from trimtab.ids import prediction_moment
from trimtab.serving.rollout import PRODUCTION
from trimtab.workspace import Workspace, locate

if TYPE_CHECKING:
    import polars as pl

    from trimtab.project.explaining import Explanation
    from trimtab.project.replaying import Replays
    from trimtab.serving.answering import Answer
    from trimtab.serving.engine import Engine
    from trimtab.serving.status import ModelStatus
    from trimtab.traffic.labels import Told
    from trimtab.traffic.log import TrafficLog


def open_endpoint(model: str, endpoint: str = PRODUCTION, *, workspace: str | Path | None = None) -> Endpoint:
    """`trimtab.endpoint("risk")`: an endpoint of the nearest workspace. Raises NotFound."""
    opened = Workspace.open(locate(workspace))
    try:
        return Endpoint(opened, model, endpoint, owned=True)
    except TrimtabError:
        opened.close()
        raise


class Endpoint:
    """An endpoint of a model. A context manager; also what is left open is brought to the disk when Python ends. owned:
    is the workspace closed with it?"""

    def __init__(self, workspace: Workspace, model: str, name: str = PRODUCTION, *, owned: bool = False) -> None:
        self._owned = owned
        self.workspace, self.model, self.name = workspace, workspace.versions.resolve(model).model, name

    def predict(self, rows: Any) -> Answer:
        """Answers for one row or several, recorded: `.prediction.values`, `.ids`, `.version`; `.instead` tells what a
        fallback answered.

        rows: a mapping of column to value, a sequence of them, a pandas or Polars frame, or a matrix of shape (rows,
        features) in the contract's order. Columns of a frame that the contract does not have are not looked at.
        Raises ContractViolation (nothing is predicted), NotFound (nothing is live), StoreFull.
        """
        engine, _ = self._running
        engine.refresh()
        lineup = engine.lineup(self.model, endpoint=self.name)
        contract = lineup.champion.contract
        if isinstance(rows, Mapping):
            rows = [rows]
        elif not (isinstance(rows, Sequence) and not isinstance(rows, str)
                  and all(isinstance(row, Mapping) for row in rows)):
            from trimtab.project.watching import as_frame

            frame = as_frame(rows, [column.name for column in contract.features])
            known = {column.name for column in contract.columns}
            rows = frame.select(name for name in frame.columns if name in known).to_dicts()
        return engine.answer(lineup, [{str(name): plain(value) for name, value in row.items()} for row in rows])

    def label(self, of: Answer | Sequence[str], truths: Sequence[object]) -> Told:
        """Tell what turned out true. of: an answer, prediction ids, or the keys that rows brought along (the values of
        their id column). Raises UsageError (not one truth each; ids and keys mixed), DataUnreadable."""
        from trimtab.project.labelling import tell

        names = [str(one) for one in (of if isinstance(of, Sequence) else of.ids)]
        if len(names) != len(truths):
            raise UsageError(f"{len(truths)} truths for {len(names)} predictions; give one each")
        known = [prediction_moment(name) is not None for name in names]
        if any(known) and not all(known):
            raise UsageError("some of these are prediction ids (p-…) and some are keys; tell them apart, in two calls")
        return tell(self.workspace, self.model, "prediction" if all(known) else "key",
                    [(name, plain(value)) for name, value in zip(names, truths, strict=True)])

    def replay(self, of: Answer | Sequence[str]) -> Replays:
        """Recorded predictions answered again, compared bit for bit: `.ok`, `.predictions`. Raises NotFound."""
        from trimtab.project.replaying import replay

        return replay(self.workspace, list(of if isinstance(of, Sequence) else of.ids))

    def explain(self, of: Answer | str) -> Explanation:
        """The terms that sum to a recorded prediction; of an answer, to its first. Raises as `Explainer.recorded`."""
        from trimtab.project.explaining import Explainer

        return Explainer(self.workspace).recorded(of if isinstance(of, str) else of.ids[0])[1]

    def status(self) -> ModelStatus:
        """What is live, since when, and how good it was when it was judged."""
        from trimtab.serving.status import fleet

        return fleet(self.workspace.versions, self.workspace.rollouts, self.workspace.stages, model=self.model)[0]

    def traffic(self, *, since: datetime | str | None = None, until: datetime | str | None = None,
                limit: int | None = None) -> pl.DataFrame:
        """What was asked here and answered, oldest first, with `label` where the truth is known; limit: the newest of
        the model's. Columns: see `traffic.query.Traffic.frame`."""
        from trimtab.traffic.query import with_labels

        found = self.workspace.traffic.frame(model=self.model, since=_moment(since), until=_moment(until), limit=limit)
        return with_labels(found.filter(found["endpoint"] == self.name), self.workspace.labels, self.model)

    def close(self) -> None:
        """Bring what was recorded to the disk; the next prediction begins anew."""
        if "_running" in self.__dict__:
            del self._running
            self._end()
        if self._owned:
            self.workspace.close()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<endpoint {self.name} of {self.model}, workspace {self.workspace.folder.name}/>"

    @cached_property
    def _running(self) -> tuple[Engine, TrafficLog]:
        from trimtab.traffic.log import TrafficLog

        space = self.workspace
        recorder = TrafficLog(space.folder / "traffic", writer=space.ids.short("w"), now=space.clock)
        engine = space.engine(record=recorder.append)
        self._end = weakref.finalize(self, _end, engine, recorder)
        return engine, recorder


def _end(engine: Engine, recorder: TrafficLog) -> None:
    engine.stop()
    recorder.close()


def plain(value: Any) -> object:
    """A value as a JSON request would bring it: NumPy's scalars as Python's, times as ISO text."""
    if hasattr(value, "item") and hasattr(value, "dtype"):
        value = value.item()
    return value.isoformat() if isinstance(value, date) else value


def _moment(given: datetime | str | None) -> datetime | None:
    return clock.from_text(given) if isinstance(given, str) else given
