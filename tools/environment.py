"""Where is the environment of its own that a foreign client is tested in?

    python tools/environment.py tritonclient        prints the path of its Python, made first where it is missing

Clients whose pins conflict with ours, or are too heavy for everybody, have a lock in tools/environments/. Each
environment is kept under $XDG_CACHE_HOME/trimtab (else ~/.cache/trimtab) by the hash of its lock and Python's version:
a changed lock makes a new one, and the old one goes. It is made beside its place and renamed into it, so that only
complete ones are seen; scripts in its bin/ do not survive that: run modules.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LOCKS = Path(__file__).resolve().parent / "environments"


def python_of(name: str) -> Path:
    """The Python of the environment of `name`.lock. Raises CalledProcessError where it can't be made."""
    lock = LOCKS / f"{name}.lock"
    key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab" / "environments"
    kept.mkdir(parents=True, exist_ok=True)
    place = kept / f"{name}-{key}"
    with (kept / f"{name}.busy").open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        if not place.exists():
            for old in kept.glob(f"{name}-*"):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=kept, prefix=f".{name}-", ignore_cleanup_errors=True) as making:
                _make(Path(making) / "it", lock)
                (Path(making) / "it").rename(place)
    return place / "bin" / "python"


def _make(place: Path, lock: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, stdout=sys.stderr)
    subprocess.run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input",
                    "--disable-pip-version-check", "--require-hashes", "-r", str(lock)], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    print(python_of(sys.argv[1]))
