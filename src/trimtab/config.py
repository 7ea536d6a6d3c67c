"""What does the project want?  (`trimtab.toml`, reviewed by people who may not write Python)

Parsed once into frozen values; an unknown key is an error with a suggestion. Python is named from here as
`module:function`. Defaults stand in the structs below; docs/trimtab-toml.md explains every key.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from trimtab import canon
from trimtab.canon import Digest
from trimtab.errors import ConfigInvalid
from trimtab.names import check_name
from trimtab.sections import (
    Canary,
    Deploy,
    Endpoint,
    Fallback,
    Hook,
    Notify,
    Production,
    canary_problems,
    endpoint_problems,
    is_duration,
    notify_problems,
)
from trimtab.sections import seconds as seconds

Task = Literal["regression", "binary", "multiclass"]
_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
_MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?I?)B?\s*", re.IGNORECASE)
_SDS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*sd\s*", re.IGNORECASE)
_PYTHON_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

REGRESSION_CANDIDATES = ("linear", "ridge", "kernel_ridge", "svr", "hgb")
CLASSIFICATION_CANDIDATES = ("logistic", "svc", "random_forest", "hgb")


class SplitBy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[model] split`: how rows are held out. `time` or `group` name a column."""

    test: float = 0.2
    seed: int = 42
    time: str | None = None
    group: str | None = None


class SqlSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[model] data = { sql = "select …", url = "…" }`; the URL may be `$NAME`, an environment variable."""

    sql: str
    url: str


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[model]`: what is learned from what."""

    name: str
    data: str | SqlSource
    target: int | str = -1
    split: SplitBy = SplitBy()
    task: Task | None = None
    positive: str | int | bool | None = None
    ignore: tuple[str, ...] = ()
    owner: str = ""
    trusted: tuple[str, ...] = ()


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[train] budget`: when to stop, and how much memory one fit may take."""

    minutes: float = 5.0
    memory: str = "2GiB"

    @property
    def memory_bytes(self) -> int:
        """`memory` in bytes."""
        number, unit = _memory(self.memory)
        return int(number * _SIZES[unit.upper()])


class Train(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[train]`: which candidates compete, and how."""

    candidates: tuple[str, ...] = ()
    features: str | None = None
    budget: Budget = Budget()
    folds: int = 5
    threads: int = 1
    params: dict[str, dict[str, Any]] = {}


class FeatureRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[features] COLUMN = { … }`: preprocessing of one column, where the contract's own choice is not wanted."""

    impute: Literal["median", "mean", "most_frequent", "none"] | None = None
    scale: bool | None = None
    encode: Literal["onehot", "ordinal"] | None = None
    missing_indicator: bool | None = None


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[gates] METRIC = { upper = … }`: compared with the unfavourable end of the metric's interval."""

    upper: float | None = None
    lower: float | None = None


class Beats(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[gates] beats`: the candidate must be better than this one, in a paired test at level p."""

    baseline: str = "dummy"
    p: float = 0.05


class Decision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[decision]`: what a wrong call costs; chooses the threshold of a binary classifier."""

    cost_false_negative: float = 1.0
    cost_false_positive: float = 1.0


class Labels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[monitor] labels`: how late truths find their predictions. `join` names a column of role id."""

    join: str | None = None
    expected_lag: str = "7d"

    @property
    def lag_s(self) -> float:
        """`expected_lag` in seconds."""
        return seconds(self.expected_lag)


class Retrain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[monitor] retrain`: how often a model may be trained anew, and on how many labels at least."""

    cooldown: str = "1d"
    per_month: int = 4
    attempts: int = 3
    least_labels: int = 200


class Monitor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[monitor]`: what is watched, how often it may alarm without cause, and what follows."""

    false_alarms_per_year: float = 1.0
    ignore_below: str = "0.1 sd"
    window: int = 1000
    every: str = "1d"
    labels: Labels = Labels()
    on_drift: Literal["notify", "propose", "retrain"] = "notify"
    retrain: Retrain = Retrain()

    @property
    def ignore_below_sd(self) -> float:
        """`ignore_below` as a number of standard deviations of the training data."""
        match = _SDS.fullmatch(self.ignore_below)
        if match is None:
            raise ValueError(self.ignore_below)
        return float(match[1])

    @property
    def every_s(self) -> float:
        """`every` in seconds."""
        return seconds(self.every)


class Traffic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[traffic]`: how predictions are recorded."""

    durability: Literal["fast", "strict"] = "fast"
    keep: str = ""                             # how long, e.g. "400d"; "" for ever


class Gates(msgspec.Struct, frozen=True, kw_only=True):
    """`[gates]`: what a version must show before it may serve."""

    limits: dict[str, Limit] = {}
    beats: Beats | None = None
    latency_p99_ms: float | None = None


class ProjectConfig(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A whole `trimtab.toml`. `root` is the folder that it stands in, `text` its bytes as read."""

    model: Model
    train: Train = Train()
    features: dict[str, FeatureRule] = {}
    gates: Gates = Gates()
    decision: Decision = Decision()
    monitor: Monitor = Monitor()
    traffic: Traffic = Traffic()
    deploy: Deploy = Deploy()
    notify: Notify = Notify()
    endpoint: dict[str, Endpoint] = {}
    root: Path = Path()
    text: str = ""

    @cached_property
    def digest(self) -> Digest:
        """Digest of what the file says (comments and layout aside)."""
        return canon.digest_json(tomllib.loads(self.text))


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: Model
    train: Train = Train()
    features: dict[str, Any] = {}
    gates: dict[str, Any] = {}
    decision: Decision = Decision()
    monitor: Monitor = Monitor()
    traffic: Traffic = Traffic()
    deploy: Deploy = Deploy()
    notify: Notify = Notify()
    endpoint: dict[str, Endpoint] = {}


def load(path: Path) -> ProjectConfig:
    """Read a project's `trimtab.toml`. Raises ConfigInvalid naming the key and, where near, the one that was meant."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigInvalid(f"there is no {path.name} in {path.parent.resolve().name}/; make one with "
                            "trimtab init data.csv") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigInvalid(f"{path.name} can't be read: {problem}. Save it as UTF-8 text.") from None
    return parse(text, root=path.parent.resolve(), name=path.name)


def parse(text: str, *, root: Path, name: str = "trimtab.toml") -> ProjectConfig:
    """The same, from text. `root` is where relative paths and Python modules are looked for."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ConfigInvalid(f"{name} is not valid TOML: {problem}") from None
    if "approve" in str(raw.get("deploy", "")):
        raise ConfigInvalid(f"{name}: approve under [deploy] can't be used yet: this release has no approvals, and "
                            "will not pretend to. Remove it; canary and [monitor] on_drift say what is done by itself.",
                            key="deploy.production.approve")
    file = _convert(raw, _File, name, "")
    gates = dict(file.gates)
    config = ProjectConfig(
        model=file.model, train=file.train, decision=file.decision, monitor=file.monitor,
        traffic=file.traffic, deploy=file.deploy, notify=file.notify, endpoint=file.endpoint, root=root, text=text,
        features={column: _convert(rule, FeatureRule, name, f"features.{column}")
                  for column, rule in file.features.items()},
        gates=Gates(
            beats=_convert(gates.pop("beats"), Beats, name, "gates.beats") if "beats" in gates else None,
            latency_p99_ms=_convert(gates.pop("latency_p99_ms", None), float | None, name, "gates.latency_p99_ms"),
            limits={metric: _convert(limit, Limit, name, f"gates.{metric}") for metric, limit in gates.items()}))
    _check(config, name)
    return config


def parse_notify(raw: object, name: str) -> Notify:
    """`[notify]` as another file has it. Raises ConfigInvalid."""
    notify: Notify = _convert(raw, Notify, name, "notify")
    for sentence in notify_problems(notify):
        raise ConfigInvalid(f"{name}: {sentence}")
    return notify


def render(*, name: str, data: str | SqlSource, target: int | str = -1, split: SplitBy | None = None, task: Task,
           candidates: tuple[str, ...], owner: str = "", ignore: tuple[str, ...] = ()) -> str:
    """The text of a fresh `trimtab.toml`: short, commented, valid."""
    split = split or SplitBy()
    by = "".join(f", {kind} = {quote(column)}" for kind, column in (("time", split.time), ("group", split.group))
                 if column is not None)
    target_note = "                              # last column" if target == -1 else ""
    lines = [
        "[model]",
        f"name   = {quote(name)}",
        f"data   = {_data(data)}",
        f"target = {target if isinstance(target, int) else quote(target)}{target_note}",
        f"task   = {quote(task)}",
        f"split  = {{ test = {split.test}, seed = {split.seed}{by} }}",
        *([f"ignore = [{', '.join(map(quote, ignore))}]"] if ignore else []),
        *([f"owner  = {quote(owner)}"] if owner else []),
        "",
        "[train]",
        f"candidates = [{', '.join(map(quote, candidates))}]",
        'budget     = { minutes = 5, memory = "2GiB" }',
        "",
        "# [gates]                               # what a version must show before it may serve",
        *(["# mse   = { upper = 15 }                # compares the upper end of the interval"]
          if task == "regression" else ["# auc   = { lower = 0.9 }               # compares the lower end"]),
        '# beats = { baseline = "dummy", p = 0.01 }',
        "# latency_p99_ms = 20                   # the model's own predict, one row",
    ]
    return "\n".join(lines) + "\n"


def _data(source: str | SqlSource) -> str:
    if isinstance(source, str):
        return quote(source)
    return f"{{ sql = {quote(source.sql)}, url = {quote(source.url)} }}"


def quote(text: str) -> str:
    """A TOML basic string.

    >>> print(quote('a "b"'))
    "a \\"b\\""
    """
    return canon.dumps(text).decode().replace("\x7f", "\\u007f")


def suggest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """`"; did you mean 'x'?"` when a known word is near, else the list of what is known."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _convert(raw: object, kind: Any, name: str, where: str) -> Any:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as problem:
        raise ConfigInvalid(_explain(str(problem), name, where)) from None


_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`(?: - at `\$\.?(.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `([^`]*)`(?: - at `\$\.?(.*)`)?", re.DOTALL)
_ENUM = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_EXPECTED = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_OTHER = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_TABLES: dict[str, type[msgspec.Struct]] = {
    "": _File, "model": Model, "model.split": SplitBy, "model.data": SqlSource, "train": Train, "train.budget": Budget,
    "decision": Decision, "gates.beats": Beats, "monitor": Monitor, "monitor.labels": Labels,
    "monitor.retrain": Retrain, "traffic": Traffic, "deploy": Deploy, "deploy.production": Production,
    "deploy.production.canary": Canary, "notify": Notify, "notify.webhooks": Hook, "endpoint": Endpoint,
    "endpoint.fallback": Fallback,
}


def _explain(message: str, name: str, where: str) -> str:
    if match := _UNKNOWN.fullmatch(message):
        key, inner = match[1], _join(where, match[2])
        table = _TABLES.get(inner) or (Limit if inner.startswith("gates.") else FeatureRule)
        known = [field for field in table.__struct_fields__ if field != key]
        told = "endpoint.NAME" if inner == "endpoint" else inner or "the top level"
        return f"{name}: unknown key {key!r} in [{told}]{suggest(key, known)}"
    if match := _MISSING.fullmatch(message):
        inner = _join(where, match[2])
        return f"{name}: {('[' + inner + '] ') if inner else ''}needs {match[1]!r}"
    match = _OTHER.fullmatch(message)
    assert match is not None
    inner = _join(where, match[2])
    return f"{name}: {inner or 'the file'}: {_told(match[1], inner)}"


_KINDS = {"object": "a table ({ key = value })", "array": "a list ([…])", "str": "text in quotes",
          "bool": "true or false", "int": "a whole number", "float": "a number", "null": "nothing"}


def _told(message: str, inner: str) -> str:
    """msgspec's sentence about one value, in the words of a TOML file."""
    if match := _ENUM.fullmatch(message):
        return f"{match[1]} is not one of its values{suggest(match[1].strip(chr(39)), _values(inner))}"
    if match := _EXPECTED.fullmatch(message):
        wanted, got = (" or ".join(_KINDS.get(one, one) for one in side.split(" | ") if one != "null")
                       for side in match.groups())
        example = "; write { upper = 15 } or { lower = 0.9 }" if re.fullmatch(r"gates\.\w+", inner) else ""
        return f"expected {wanted}, got {got}{example}"
    return message[:1].lower() + message[1:].replace("`", "")


def _values(inner: str) -> tuple[str, ...]:
    """What the key may be: the alternatives of its Literal type."""
    where, _, key = inner.rpartition(".")
    table = _TABLES.get(where, FeatureRule)
    kind = get_type_hints(table).get(key)
    parts = [kind, *get_args(kind)]
    return tuple(str(value) for part in parts if get_origin(part) is Literal for value in get_args(part))


def _join(where: str, inner: str | None) -> str:
    return re.sub(r"\[[^\]]*\]", "", ".".join(part for part in (where, inner or "") if part))


def _check(config: ProjectConfig, name: str) -> None:
    split, train = config.model.split, config.train
    check_name("model", config.model.name)
    problems = [
        (not 0 < split.test < 1, f"model.split.test = {split.test} must lie between 0 and 1, e.g. 0.2"),
        (split.seed < 0 or split.seed > 2**32 - 1, f"model.split.seed = {split.seed} must lie in 0 … 4294967295"),
        (split.time is not None and split.group is not None, "model.split: give time or group, not both"),
        (train.folds < 2, f"train.folds = {train.folds} must be at least 2"),
        (train.threads < 1, f"train.threads = {train.threads} must be at least 1"),
        (train.budget.minutes <= 0, f"train.budget.minutes = {train.budget.minutes} must be more than 0"),
        (len(set(train.candidates)) < len(train.candidates), "train.candidates names one candidate twice"),
        (train.features is not None and not _PYTHON_NAME.fullmatch(train.features),
         f"train.features = {train.features!r} must be written module:function"),
        (config.gates.beats is not None and not 0 < config.gates.beats.p < 1, "gates.beats.p must lie between 0 and 1"),
        (min(config.decision.cost_false_negative, config.decision.cost_false_positive) < 0,
         "decision: costs can't be negative"),
    ]
    for metric, limit in config.gates.limits.items():
        problems.append((limit.upper is None and limit.lower is None, f"gates.{metric} needs upper or lower"))
    for wrong, sentence in problems:
        if wrong:
            raise ConfigInvalid(f"{name}: {sentence}")
    _check_monitor(config.monitor, name)
    _check_traffic(config.traffic, name)
    for sentence in (*canary_problems(config.deploy.production.canary), *notify_problems(config.notify),
                     *endpoint_problems(config.endpoint)):
        raise ConfigInvalid(f"{name}: {sentence}")
    try:
        _memory(train.budget.memory)
    except ValueError:
        raise ConfigInvalid(f"{name}: train.budget.memory = {train.budget.memory!r} is not a size; write it as "
                            "\"2GiB\" or \"500MB\"") from None


def _check_monitor(monitor: Monitor, name: str) -> None:
    if not 0 < monitor.false_alarms_per_year <= 1e6:
        raise ConfigInvalid(f"{name}: monitor.false_alarms_per_year = {monitor.false_alarms_per_year:g} must be more "
                            "than 0: a monitor that never alarms without cause never alarms")
    if not 20 <= monitor.window <= 1_000_000:
        raise ConfigInvalid(f"{name}: monitor.window = {monitor.window} rows must lie in 20 … 1,000,000")
    if not _SDS.fullmatch(monitor.ignore_below):
        raise ConfigInvalid(f"{name}: monitor.ignore_below = {monitor.ignore_below!r} is not a number of standard "
                            "deviations; write it as \"0.1 sd\"")
    retrain = monitor.retrain
    if min(retrain.per_month, retrain.least_labels) < 0 or retrain.attempts < 1:
        raise ConfigInvalid(f"{name}: monitor.retrain: per_month and least_labels are 0 or more, attempts 1 or more")
    for key, text in (("every", monitor.every), ("labels.expected_lag", monitor.labels.expected_lag),
                      ("retrain.cooldown", retrain.cooldown)):
        if not is_duration(text):
            raise ConfigInvalid(f"{name}: monitor.{key} = {text!r} is not a duration; write it as \"1d\", \"6h\" or "
                                "\"30min\"")


def _check_traffic(traffic: Traffic, name: str) -> None:
    if traffic.keep and not is_duration(traffic.keep):
        raise ConfigInvalid(f"{name}: traffic.keep = {traffic.keep!r} is not a duration; write it as \"400d\"")


def _memory(text: str) -> tuple[float, str]:
    match = _MEMORY.fullmatch(text)
    if match is None or match[2].upper() not in _SIZES:
        raise ValueError(text)
    return float(match[1]), match[2]
