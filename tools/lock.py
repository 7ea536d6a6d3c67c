"""Which exact releases does trimtab run and get tested with?

Writes files with hashes: `requirements.lock` (what `pip install trimtab` needs, and the build backend), for each group
of dependencies the same plus that group (`requirements-dev.lock`, `requirements-flavours.lock`), and one for each
`tools/environments/*.in`, the environments of foreign clients (see `environment.py`). They name releases and nothing
else: no index, no path.
Run by `make lock`; needs pip-tools, which it takes from the environment that runs it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Made by `make lock`, for CPython 3.11 and later on Linux and macOS. Don't edit.\n"
OPTIONS = ["--quiet", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-options", "--allow-unsafe",
           "--strip-extras", "--resolver=backtracking"]


def main() -> None:
    """Compile all locks; an existing lock's releases are kept where they still fit, unless `--upgrade` is given."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    core = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    compile_lock(core, ROOT / "requirements.lock")
    for name, group in project["dependency-groups"].items():
        compile_lock([*core, *group], ROOT / f"requirements-{name}.lock", like=ROOT / "requirements.lock")
    for wanted in sorted((ROOT / "tools" / "environments").glob("*.in")):
        compile_lock(wanted.read_text().split(), wanted.with_suffix(".lock"))


def compile_lock(wanted: list[str], lock: Path, like: Path | None = None) -> None:
    """Resolve `wanted` into `lock`; releases that `like` names are taken as they are there."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "wanted.in")
        asked.write_text("\n".join(wanted) + ("\n-c same.txt\n" if like else "\n"))
        if like:
            Path(folder, "same.txt").write_text(pins(like))
        made = Path(folder, "made.txt")
        if lock.exists():
            made.write_bytes(lock.read_bytes())
        subprocess.run([sys.executable, "-m", "piptools", "compile", *OPTIONS, *sys.argv[1:],
                        "-o", str(made), str(asked)], check=True, cwd=folder)
        lock.write_text(HEADER + made.read_text().removeprefix(HEADER))


def pins(lock: Path) -> str:
    """The `name==release` lines of a lock, without hashes."""
    return "".join(line.split()[0] + "\n" for line in lock.read_text().splitlines() if line[:1].isalnum())


if __name__ == "__main__":
    main()
