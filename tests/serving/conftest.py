"""Lets the tests of serving, and of the doors before it, share `serving_scenes`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
