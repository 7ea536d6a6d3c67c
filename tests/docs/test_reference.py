"""Is the reference complete?  Walks every setting, error code, route and command, and looks for its heading."""

from __future__ import annotations

import importlib.util
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab import config, errors

DOCS = Path(__file__).resolve().parents[2] / "docs"


def headings(page: str) -> set[str]:
    """What stands in backticks in the headings of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {name for title in titles for name in re.findall(r"`([^`]+)`", title)}


def settings_of(table: Any, prefix: str) -> Iterator[str]:
    """Dotted names of a struct's fields, and of the structs inside them."""
    hints = typing.get_type_hints(table)
    for field in msgspec.structs.fields(table):
        name = f"{prefix}{field.encode_name}"
        yield name
        hint = hints[field.name]
        for kind in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                yield from settings_of(kind, name + ".")


def test_every_setting_has_its_heading() -> None:
    """No key can be added to `trimtab.toml` without a word about it, and none is described that isn't read."""
    wanted = {*settings_of(config.Model, "model."), *settings_of(config.Train, "train."),
              *settings_of(config.Decision, "decision."), *settings_of(config.Monitor, "monitor."),
              *settings_of(config.Traffic, "traffic."), *settings_of(config.Deploy, "deploy."),
              *settings_of(config.Notify, "notify."), *settings_of(config.Endpoint, "endpoint.NAME."),
              *settings_of(config.Hook, "notify.webhooks."), *settings_of(config.FeatureRule, "features.COLUMN."),
              "gates.METRIC", *settings_of(config.Limit, "gates.METRIC."),
              "gates.beats", *settings_of(config.Beats, "gates.beats."), "gates.latency_p99_ms"}
    shown = {name for name in headings("trimtab-toml.md") if "." in name} - {"trimtab.toml"}
    assert shown == wanted


def toml_blocks() -> Iterator[tuple[str, str]]:
    """(place, text) of each TOML block in the documents."""
    for page in sorted(DOCS.rglob("*.md")):
        for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"),
                                                 flags=re.MULTILINE | re.DOTALL), 1):
            yield f"{page.name}-{number}", text


@pytest.mark.parametrize("text", [pytest.param(text, id=place) for place, text in toml_blocks()
                                  if "[[" not in text and "column" not in text.split("\n")[0]])
def test_every_example_of_a_setting_is_valid(text: str, tmp_path: Path) -> None:
    """What the pages show can be pasted; where a block leaves `[model]` out, one is put before it."""
    whole = text if "[model]" in text else '[model]\nname = "risk"\ndata = "data.csv"\n\n' + text
    config.parse(whole, root=tmp_path)


def test_every_error_code_has_its_heading_status_and_exit_code() -> None:
    """errors.md and errors.ANSWERS say the same."""
    assert headings("errors.md") == set(errors.ANSWERS)
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \| (\d+) \| (\d+) \|$", text, flags=re.MULTILINE)
    assert {code: (int(http), int(leave)) for code, http, leave in rows} == {
        code: (answer.http, answer.exit) for code, answer in errors.ANSWERS.items()}


def test_the_command_reference_is_current() -> None:
    """docs/cli.md is what the command line says of itself today; `make docs` writes it again."""
    spec = importlib.util.spec_from_file_location("cli_reference", DOCS.parent / "tools" / "cli_reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == reference.text()


def test_every_route_has_its_heading() -> None:
    """docs/http.md describes what the server answers, and nothing else."""
    from trimtab.doors.inference.routes import ROUTES as INFERENCE
    from trimtab.doors.rest.routes import ROUTES as REST

    served = {f"{method} {route.path}" for route in (*INFERENCE, *REST)
              for method in (route.methods or set()) - {"HEAD"}}
    assert {name for name in headings("http.md") if "/" in name} == served
