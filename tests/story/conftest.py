"""Lets the story use the shop of the loop's tests."""

import sys
from pathlib import Path

for neighbour in ("loop", "story"):
    sys.path.insert(0, str(Path(__file__).parents[1] / neighbour))
