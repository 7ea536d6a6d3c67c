"""Puts `loop_scenes` on the path; shops that are made once and copied for each test."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from shop import CLASSES, LINEAR, TOML, Shop

Open = Callable[..., Shop]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a shop of some kind with v1 live; not to be written to."""
    found: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in found:
            found[kind] = tmp_path_factory.mktemp(kind)
            Shop(found[kind], toml={"trees": TOML, "linear": LINEAR, "classes": CLASSES}[kind]).close()
        return found[kind]

    return folder


@pytest.fixture
def opened(made: Callable[[str], Path], tmp_path: Path) -> Iterator[Open]:
    """Opens a copy of a shop."""
    shops: list[Shop] = []

    def open_copy(kind: str = "trees") -> Shop:
        folder = tmp_path / f"{kind}{len(shops)}"
        shutil.copytree(made(kind), folder)
        shops.append(Shop(folder, seed=2))
        return shops[-1]

    yield open_copy
    for one in shops:
        one.close()
