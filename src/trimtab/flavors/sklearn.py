"""What is a scikit-learn model file, may it be loaded, and which estimator is in it?

The file is skops: a zip of a JSON schema and plain arrays. `save` writes it canonically, so that the same fitted
estimator has the same digest. `inspect` says what is inside and constructs nothing. `load` constructs only after the
zip (`archive.py`), the schema (`schema.py`) and every type (`allowed.py`) were judged, and hands out an estimator only
after its raw indices were (`sound.py`). The digest and signature are the caller's to check before.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trimtab.errors import UntrustedModel, UsageError
from trimtab.flavors import archive, schema
from trimtab.flavors.allowed import allowed, shown

FILE = "model.skops"
FLAVOR = "sklearn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A saved estimator: `files` by name, and the full names of all `types` inside."""

    files: Mapping[str, bytes]
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a model file holds. `refused`: types that nobody listed allows; `scikit_learn`: the version that made it."""

    types: tuple[str, ...]
    refused: tuple[str, ...]
    bytes_unpacked: int
    entries: int
    scikit_learn: str | None


def save(estimator: object) -> Saved:
    """`{"model.skops": bytes}` of a fitted estimator; equal estimators give equal bytes, in any process.

    "Equal" counts everything that the estimator keeps: a search that records its fit times differs from run to run.
    Raises UsageError where the estimator holds something that has no safe form (a lambda, a local class, Birch).
    """
    import skops.io

    try:
        written = skops.io.dumps(estimator)
    except (TypeError, ValueError, RecursionError, AttributeError) as refused:
        raise UsageError(f"{type(estimator).__name__} can't be saved without a pickle: {str(refused)[:200]}. Take out "
                         "what it names, or use an estimator of scikit-learn.") from None
    judged = archive.judge(written)
    tree = schema.parse(archive.read(judged, archive.SCHEMA))
    found = schema.look(tree)
    if local := [name for name in found.names if "<" in name or name.startswith("__main__.")]:
        raise UsageError(f"{type(estimator).__name__} holds {shown(local)}, which no other process could find. Move it "
                         "to a module of its own (a .py file) and fit again.", types=local)
    text, members = schema.canonical(tree, lambda name: archive.read(judged, name))
    return Saved(files={FILE: archive.write(text, members)}, types=found.names)


def inspect(data: bytes, trusted: Iterable[str] = ()) -> Inspection:
    """The types and sizes in a model file, read from its schema; nothing is constructed, no module of it imported.

    trusted: full names allowed beyond our own list. Raises UntrustedModel where the file can't be judged.
    """
    return _judge(data, trusted)


def load(data: bytes, trusted: Iterable[str] = ()) -> object:
    """The estimator in a model file, every part judged first.

    trusted: full type names that the workspace allows for this model beyond our own list (`[model] trusted`).
    Raises UntrustedModel, with `details["types"]` where types are the reason. Predictions are those of the saved
    estimator, bit for bit, under the same libraries.
    """
    trusted = tuple(trusted)
    found = _judge(data, trusted)
    if found.refused:
        raise UntrustedModel(refusal(found.refused), types=list(found.refused))
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    from trimtab.flavors import sound

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")         # `version_warning` has said so, in words, before construction
            estimator: object = skops.io.loads(data, trusted=list(found.types))
    except UntrustedTypesFoundException as unsafe:
        raise UntrustedModel(f"the model file holds types that it did not declare: {str(unsafe)[:200]}") from None
    except (TypeError, ValueError, LookupError, AttributeError, ImportError, RecursionError, EOFError) as broken:
        where = (f" It was made with scikit-learn {found.scikit_learn}: rebuild it under the one that is installed."
                 if version_warning(found.scikit_learn) else " Restore it from the blob store or a backup.")
        raise UntrustedModel(f"the model file can't be put together ({type(broken).__name__}: "
                             f"{str(broken)[:120]}).{where}") from None
    sound.look(estimator, trusted)
    return estimator


def refusal(types: Iterable[str]) -> str:
    """Why `types` stop a load, and the two ways on."""
    listed = sorted(types)
    example = f'"{listed[0]}"' if listed else ""
    return (f"the model file holds {shown(listed)}, which is not on trimtab's list of scikit-learn and NumPy types; "
            "nothing was loaded. If you know where the file comes from and what that code does, allow it in "
            f"trimtab.toml ([model] trusted = [{example}]); else save the model again without it.")


def version_warning(made_with: object, installed: str | None = None) -> str:
    """A sentence where a model was made under another scikit-learn than the installed one; empty where it was not.

    >>> version_warning("1.5.0", installed="1.9.1")
    'made with scikit-learn 1.5.0, and 1.9.1 is installed: predictions may differ. To be sure, rebuild it here.'
    >>> version_warning("1.9.1", installed="1.9.1")
    ''
    """
    if installed is None:
        from importlib.metadata import version

        installed = version("scikit-learn")
    if not isinstance(made_with, str) or made_with == installed:
        return ""
    return (f"made with scikit-learn {made_with}, and {installed} is installed: predictions may differ. "
            "To be sure, rebuild it here.")


def _judge(data: bytes, trusted: Iterable[str]) -> Inspection:
    judged = archive.judge(data)
    tree = schema.parse(archive.read(judged, archive.SCHEMA))
    found = schema.look(tree)
    if missing := sorted(set(found.files) - set(judged.sizes)):
        raise UntrustedModel(f"the model file names the member {missing[0][:80]!r} and does not hold it; it is cut "
                             "off or was put together by hand.")
    if extra := sorted(set(judged.sizes) - set(found.files)):
        raise UntrustedModel(f"the model file holds the member {extra[0][:80]!r}, which nothing in it names.")
    loaded = sum(judged.sizes[name] * count for name, count in found.files.items())
    if loaded > archive.MAX_UNPACKED_BYTES:
        raise UntrustedModel(f"the model file would take {loaded:,} bytes of memory by naming the same arrays again "
                             f"and again; the limit is {archive.MAX_UNPACKED_BYTES:,}.")
    allow = frozenset(trusted)
    refused = {name for loader, name in found.types if name not in allow and name not in allowed(loader)}
    for name in judged.sizes:
        archive.judge_member(name, archive.read(judged, name))
    return Inspection(types=found.names, refused=tuple(sorted(refused)), bytes_unpacked=judged.bytes_unpacked,
                      entries=len(judged.sizes) + 1, scikit_learn=found.scikit_learn)
