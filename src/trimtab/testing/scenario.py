"""What happens in a simulation, and when?  A scenario: days, traffic, labels, faults; a TOML file or a built-in one.

Times and durations are counted from the start of the traffic: `at = "8d"`. An unknown key is an error.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from trimtab.config import seconds
from trimtab.data.lookup import near
from trimtab.errors import ConfigInvalid, NotFound

Kind = Literal["drift", "stuck", "unit", "missing", "unseen", "concept", "store_outage", "server_crash", "loop_crash",
               "close", "rollback"]
ROWS: tuple[Kind, ...] = ("drift", "stuck", "unit", "missing", "unseen", "concept")   # these change rows
_COLUMN: tuple[Kind, ...] = ("drift", "stuck", "unit", "missing", "unseen")


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that happens. at: when; lasts: for how long ("" to the end).

    drift: `column` moves by `sd` standard deviations. stuck: it stands still. unit: it becomes factor · x + offset.
    missing: `share` of its values are. unseen: `share` of them are `value`. concept: the truth becomes
    factor · y + offset. store_outage: the database does not answer. server_crash: the server is killed and comes back
    after `lasts`. loop_crash: the loop is killed at its `write`-th write to the database from then on. close, rollback:
    a person closes the open alerts, or rolls back, with a `reason`.
    """

    at: str
    kind: Kind
    column: str = ""
    lasts: str = ""
    sd: float = 0.0
    factor: float = 1.0
    offset: float = 0.0
    share: float = 1.0
    value: str = ""
    write: int = 1
    reason: str = ""

    @property
    def at_s(self) -> float:
        """Seconds from the start."""
        return seconds(self.at)

    @property
    def lasts_s(self) -> float:
        """Seconds that it goes on; infinite where it stays."""
        return seconds(self.lasts) if self.lasts else float("inf")

    @property
    def words(self) -> str:
        """What happens, in words."""
        carried = f"× {self.factor:g}" + (f" + {self.offset:g}" if self.offset else "")
        told = {
            "drift": f"{self.column} moves by {self.sd:+g} sd", "stuck": f"the sensor of {self.column} is stuck",
            "unit": f"the unit of {self.column} changes: {carried}",
            "missing": f"{self.share:.0%} of {self.column} are missing",
            "unseen": f"{self.share:.0%} of {self.column} are {self.value!r}, which training did not have",
            "concept": f"what is predicted becomes {carried}",
            "store_outage": "the database does not answer", "server_crash": "the server is killed",
            "loop_crash": f"the loop is killed at its write {self.write}", "close": "a person closes what is open",
            "rollback": "a person rolls back"}[self.kind]
        return told + (f" for {self.lasts}" if self.lasts else "") + (f': "{self.reason}"' if self.reason else "")


class Labels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How truths come back. share: of the rows that ever get one; lag: after the prediction, at least; spread: and on
    average so much longer (exponential); corrected: share of them that are told wrong first, and right `lag` later."""

    share: float = 0.8
    lag: str = "12h"
    spread: str = "6h"
    corrected: float = 0.0


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows from a table. time: its column of moments, for a replay in that order; without it rows are drawn."""

    data: str
    time: str = ""


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole scenario. rate: rows an hour; request: rows a request; tick: how often the loop looks.

    project: a folder with trimtab.toml and its data; "" plays the built-in pump station, whose data are made up.
    rows: where the traffic's rows come from; without it the pump station makes them, or the project's own table is
    drawn from. root: the folder that names are relative to.
    """

    name: str = "scenario"
    says: str = ""
    days: float = 30.0
    rate: float = 24.0
    request: int = 8
    tick: str = "6h"
    project: str = ""
    rows: Table | None = None
    labels: Labels = Labels()
    event: tuple[Event, ...] = ()
    root: Path = Path()


def load(named: str | Path) -> Scenario:
    """A scenario by its file, or a built-in one by its name. Raises NotFound, ConfigInvalid."""
    path = Path(named)
    if path.suffix == ".toml":
        try:
            return parse(path.read_text(encoding="utf-8"), name=path.stem, root=path.parent)
        except (OSError, UnicodeDecodeError):
            raise NotFound(f"{path.name} can't be read as a scenario; name a TOML file, or one of "
                           f"{', '.join(built_in())}") from None
    known = built_in()
    if str(named) not in known:
        raise NotFound(f"there is no scenario {str(named)[:40]!r}.{near(str(named), known)} There are "
                       f"{', '.join(known)}; or name a TOML file")
    return parse(_folder().joinpath(f"{named}.toml").read_text(encoding="utf-8"), name=str(named))


def built_in() -> list[str]:
    """The names of the scenarios that ship with trimtab."""
    return sorted(one.name.removesuffix(".toml") for one in _folder().iterdir() if one.name.endswith(".toml"))


def parse(text: str, *, name: str = "scenario", root: Path = Path()) -> Scenario:
    """A scenario from its TOML. Raises ConfigInvalid."""
    try:
        told: dict[str, Any] = tomllib.loads(text)
        found = msgspec.convert({"name": name, **told, "root": root}, Scenario, dec_hook=lambda kind, value: value)
        for span in (found.tick, found.labels.lag, found.labels.spread):
            seconds(span)
        for event in found.event:
            _check(event, event.at_s, event.lasts_s)
    except tomllib.TOMLDecodeError as problem:
        raise ConfigInvalid(f"{name}: not valid TOML: {problem}") from None
    except msgspec.ValidationError as problem:
        raise ConfigInvalid(f"{name}: {problem}") from None
    except ValueError as problem:
        raise ConfigInvalid(f"{name}: {problem} can't be used; durations are written 30min, 6h, 8d") from None
    if not (0 < found.days <= 36_525 and 0 < found.rate <= 1e6 and 0 < found.request <= 10_000
            and seconds(found.tick) > 0):
        raise ConfigInvalid(f"{name}: days, rate, request and tick are positive, at most 36,525, 10⁶ and 10⁴")
    return found


def _check(event: Event, at_s: float, lasts_s: float) -> None:
    if event.kind in _COLUMN and not event.column:
        raise ValueError(f"{event.kind} without a column")
    if event.kind in ("store_outage", "server_crash") and not event.lasts:
        raise ValueError(f"{event.kind} without lasts")


def _folder() -> Any:
    return resources.files("trimtab.testing") / "scenarios"
