"""What does installing trimtab add over scikit-learn alone?  (goals: ≤ 250 MB, ≤ 35 packages)

Installs both, with the lock's releases, into two new folders and compares what lies there.
Run: python benchmarks/install_size.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def install(folder: Path, wanted: list[str]) -> dict[str, int]:
    """Install requirements into a folder; bytes by package."""
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
                    "--target", str(folder), *wanted], check=True, cwd=ROOT)
    sizes = {}
    for found in distributions(path=[str(folder)]):
        files = {Path(str(found.locate_file(file))) for file in found.files or ()}
        sizes[found.name] = sum(file.stat().st_size for file in files if file.is_file())
    return sizes


def main() -> None:
    """Print megabytes and packages of both, the difference, and the largest parts of it."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder, "pins.txt")
        pins.write_text("".join(line.split()[0] + "\n" for line in (ROOT / "requirements.lock").read_text().splitlines()
                                if line[:1].isalnum()))
        without = install(Path(folder, "scikit-learn"), ["-c", str(pins), "scikit-learn"])
        needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        whole = install(Path(folder, "trimtab"), ["-c", str(pins), *needs])
    whole["trimtab"] = sum(path.stat().st_size for path in (ROOT / "src/trimtab").rglob("*.*")
                           if path.is_file() and path.suffix != ".pyc")
    added = {name: size for name, size in whole.items() if name not in without}
    print(f"scikit-learn alone  {sum(without.values()) / 1e6:6.1f} MB  {len(without):3} packages")
    print(f"trimtab             {sum(whole.values()) / 1e6:6.1f} MB  {len(whole):3} packages")
    print(f"added               {sum(added.values()) / 1e6:6.1f} MB  {len(added):3} packages   (goals: 250 MB, 35)")
    for name, size in sorted(added.items(), key=lambda item: -item[1])[:8]:
        print(f"  {name:20} {size / 1e6:6.1f} MB")


if __name__ == "__main__":
    main()
