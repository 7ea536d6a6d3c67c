"""Can a scenario be written, and is what is wrong with it told?"""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.errors import ConfigInvalid, NotFound, UsageError
from trimtab.testing import scenario


@pytest.mark.parametrize("name", scenario.built_in())
def test_each_built_in_scenario_says_what_it_plays(name: str) -> None:
    """`trimtab simulate` lists them; each fault is told in words with its column."""
    plan = scenario.load(name)
    assert plan.name == name
    assert plan.says.endswith(".")
    assert all(not event.column or event.column in event.words for event in plan.event)


@pytest.mark.parametrize(("text", "told"), [
    ("dayz = 3", "dayz"),
    ("tick = 'soon'", "durations are written"),
    ("days = 0", "positive"),
    ("[[event]]\nat = '1d'\nkind = 'drft'", "drft"),
    ("[[event]]\nat = '1d'\nkind = 'drift'\nsd = 1", "drift without a column"),
    ("[[event]]\nat = '1d'\nkind = 'store_outage'", "store_outage without lasts"),
    ("days = ", "not valid TOML"),
])
def test_what_is_wrong_with_a_scenario_is_told(text: str, told: str) -> None:
    """A slip in the file is an error that names it, not a quiet month."""
    with pytest.raises(ConfigInvalid, match=told):
        scenario.parse(text)


def test_a_scenario_that_is_not_there_is_told_with_a_near_name(tmp_path: Path) -> None:
    """A built-in name with a slip, and a file that is absent."""
    with pytest.raises(NotFound, match="drift"):
        scenario.load("drfit")
    with pytest.raises(NotFound, match="quiet"):
        scenario.load(tmp_path / "mine.toml")


def test_a_column_that_the_data_do_not_have_is_told() -> None:
    """An event on a column that nobody sends would change nothing."""
    from trimtab.testing import simulate

    plan = scenario.parse("days = 1\n[[event]]\nat = '1h'\nkind = 'stuck'\ncolumn = 'pressure'")
    with pytest.raises(UsageError, match="pressure"):
        simulate(plan)
