"""Lets the tests of the doors use the scenes of serving."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "serving"), str(Path(__file__).parent)]
