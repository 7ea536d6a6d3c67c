"""What was installed?  A lock of the distributions, and the facts of the machine that change a last digit."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

_DASHES = re.compile(r"[-_.]+")
_SUFFIXES = (".dist-info", ".egg-info")
_NUMERIC = frozenset({"numpy", "scipy", "scikit-learn", "treelite", "onnxruntime", "keras", "tensorflow",
                      "tensorflow-cpu", "xgboost", "xgboost-cpu", "lightgbm", "joblib", "polars"})
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def capture_environment() -> dict[str, object]:
    """`{"schema", "python", "implementation", "platform", "packages", "blas", "threads"}`, canonical.

    The packages are read from the names of the installed metadata folders: 73 of them in 0.5 ms, a fortieth of what
    reading the metadata takes. NumPy's and SciPy's linear algebra is named with the kernel that it chose for this
    processor: another one may round differently.
    """
    return {
        "schema": "trimtab.environment/1",
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": {"system": platform.system(), "machine": platform.machine(), "libc": "-".join(platform.libc_ver())},
        "packages": installed(sys.path),
        "blas": _blas(),
        "threads": {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
    }


def apart(then: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What of two environments can change a last digit and is not the same, in words: interpreter, numeric libraries,
    machine, linear algebra and its kernel for the processor, threads.

    >>> apart({"packages": {"numpy": "2.0.0"}}, {"packages": {"numpy": "2.1.0"}})
    ['numpy 2.0.0 then, 2.1.0 here']
    """
    found = [f"{name} {then.get(name)} then, {now.get(name)} here" for name in ("python", "implementation")
             if then.get(name) != now.get(name)]
    old, new = (_packages(one) for one in (then, now))
    found += [f"{name} {old.get(name, 'absent')} then, {new.get(name, 'absent')} here"
              for name in sorted(_NUMERIC & (old.keys() | new.keys())) if old.get(name) != new.get(name)]
    for name, what in (("platform", "machine"), ("blas", "BLAS or CPU kernel"), ("threads", "threads")):
        if then.get(name) != now.get(name):
            found.append(f"{what} {_told(then.get(name))} then, {_told(now.get(name))} here")
    return found


def installed(places: Iterable[str]) -> dict[str, str]:
    """Normalised name → version of every distribution found in these folders; the first place wins, as for imports."""
    found: dict[str, str] = {}
    for place in places:
        folder = Path(place or ".")
        try:
            names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(_SUFFIXES))
        except OSError:
            continue
        for name in names:
            stem = name.rpartition(".")[0]
            distribution, dash, version = stem.rpartition("-")
            if dash and version[:1].isdigit():
                found.setdefault(normalised(distribution), version.split("-py")[0])
            elif name.endswith(".egg-info"):
                found.setdefault(normalised(stem), _version_inside(folder / name / "PKG-INFO"))
    return dict(sorted(found.items()))


def lock_lines(environment: Mapping[str, object]) -> str:
    """The environment as a requirements file: `name==version`, sorted, with its facts as comments.

    >>> print(lock_lines({"python": "3.11.2", "packages": {"numpy": "2.0.0"}}).splitlines()[-1])
    numpy==2.0.0
    """
    packages = environment.get("packages")
    lines = [f"# Python {environment.get('python', '?')} {environment.get('implementation', '')}".rstrip(),
             f"# {_words(environment.get('platform'))}"]
    lines += [f"# {_words(fact)}" for fact in _list(environment.get("blas"))]
    lines += [f"{name}=={version}" for name, version in sorted(packages.items())] if isinstance(packages, dict) else []
    return "\n".join(lines) + "\n"


def normalised(name: str) -> str:
    """A distribution's name as package indexes compare it.

    >>> normalised("Typing_Extensions")
    'typing-extensions'
    """
    return _DASHES.sub("-", name).lower()


def _packages(environment: Mapping[str, object]) -> Mapping[str, object]:
    packages = environment.get("packages")
    return packages if isinstance(packages, dict) else {}


def _told(value: object) -> str:
    if isinstance(value, list):
        return " and ".join(map(_words, value)) or "unknown"
    return ", ".join(f"{name}={one}" for name, one in sorted(value.items())) if isinstance(value, dict) and value \
        else "as they come" if value == {} else "unknown"


def _blas() -> list[dict[str, object]]:
    """The linear algebra libraries of NumPy and SciPy, as loaded; both are loaded here if they were not."""
    import numpy as np  # noqa: F401
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    facts = {(str(one.get("internal_api")), str(one.get("version")), str(one.get("architecture")),
              str(one.get("threading_layer"))) for one in threadpool_info() if one.get("user_api") == "blas"}
    return [dict(zip(("library", "version", "kernel", "threading"), fact, strict=True)) for fact in sorted(facts)]


def _version_inside(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("Version:"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return "unknown"


def _words(value: object) -> str:
    return " ".join(str(part) for part in value.values() if part) if isinstance(value, dict) else ""


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
