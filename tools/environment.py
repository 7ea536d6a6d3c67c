"""Where is the environment of a lock file, and is it made yet?

    python tools/environment.py flavours        prints the path of its Python

For tests that need more than every developer should install (TensorFlow alone is over a gigabyte), or whose pins
conflict with ours, as those of foreign clients do. An environment is made once per lock and Python, in a cache folder
that all clones share, and found again by the hash of both; the project itself is not installed into it, so run with
PYTHONPATH=src. TRIMTAB_ENVIRONMENTS names another cache folder. Those of older locks are left: other clones may use
them; the folder may be removed at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DONE = ".complete"


def locks() -> dict[str, Path]:
    """The lock of each environment: `requirements-NAME.lock`, or `tools/environments/NAME.lock`."""
    own = {path.stem.partition("-")[2]: path for path in ROOT.glob("requirements-*.lock")}
    return own | {path.stem: path for path in (ROOT / "tools" / "environments").glob("*.lock")}


def main() -> None:
    """Make the environment that the argument names, unless it is there, and print its Python."""
    if len(sys.argv) != 2 or sys.argv[1] not in locks():
        raise SystemExit(f"usage: python tools/environment.py NAME, one of {', '.join(sorted(locks()))}")
    print(python_of(sys.argv[1]))


def python_of(name: str) -> Path:
    """The Python of the environment; made where it is absent, by one process at a time."""
    lock = locks()[name]
    key = hashlib.sha256(sys.version.encode() + lock.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("TRIMTAB_ENVIRONMENTS") or Path.home() / ".cache" / "trimtab" / "environments")
    home = cache / f"{name}-{key}"
    python = home / "bin" / "python"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if (home / DONE).is_file():
            return python
        print(f"Setting up {name} from {lock.name} …", file=sys.stderr)
        shutil.rmtree(home, ignore_errors=True)              # cut off before
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "--disable-pip-version-check", "-qq", "--no-input", "install",
                        "--require-hashes", "-r", str(lock)], check=True, stdout=sys.stderr)
        (home / DONE).touch()
    return python


if __name__ == "__main__":
    main()
