"""A server of ours that notices are sent to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.bridges.receiver import Receiver, listening
from tests.cli.conftest import trimtab as trimtab


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """It listens while a test lasts."""
    with listening() as found:
        yield found
