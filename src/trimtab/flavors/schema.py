"""What would the schema of a skops file construct?  (and: the same estimator, always the same schema)

A schema is a JSON tree of nodes: `__loader__`, `__module__`, `__class__` and content. `look` walks it without recursion
and constructs nothing; `canonical` writes it so that object ids, random file names and the order of sets
no longer tell one process from another.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from trimtab.errors import UntrustedModel
from trimtab.flavors import arrays
from trimtab.flavors.allowed import KEY_TYPES

MAX_DEPTH = 160                           # brackets inside brackets; the deepest public estimator needs 35
PROTOCOL = 2                              # older ones choose laxer loaders
# Loaders of values that are alike when they are equal: whether two attributes share one object says nothing.
_IMMUTABLE = frozenset({"JsonNode", "TypeNode", "FunctionNode", "TupleNode", "DTypeNode", "BytesNode", "SliceNode"})
_CONTAINERS = frozenset({"DictNode", "DefaultDictNode", "ListNode", "TupleNode", "SetNode", "JsonNode", "SliceNode",
                         "BytesNode", "BytearrayNode"})

_BUILTIN = {"__class__": "", "__module__": "builtins"}

Node = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a schema names. `types`: (loader, full type name) pairs; `files`: member name → number of references."""

    types: frozenset[tuple[str, str]]
    files: Mapping[str, int]
    scikit_learn: str | None              # the version that wrote the estimator

    @property
    def names(self) -> tuple[str, ...]:
        """Full names of everything but plain containers, sorted."""
        return tuple(sorted({name for loader, name in self.types if loader not in _CONTAINERS
                             or not name.startswith("builtins.")}))


def parse(text: bytes) -> Node:
    """The schema as JSON; raises UntrustedModel where it is not JSON, too deep, or repeats a key."""
    try:
        schema = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise UntrustedModel(f"the schema of the model file nests deeper than {MAX_DEPTH}; nothing was "
                             "loaded.") from None
    except (ValueError, UnicodeDecodeError) as broken:
        raise UntrustedModel(f"the schema of the model file is not JSON as skops writes it ({str(broken)[:80]}); "
                             "nothing was loaded.") from None
    if not isinstance(schema, dict) or not isinstance(schema.get("__loader__"), str):
        raise UntrustedModel("the schema of the model file names no object; nothing was loaded.")
    protocol = schema.get("protocol")
    if protocol != PROTOCOL or isinstance(protocol, bool):
        raise UntrustedModel(f"the model file is of skops protocol {str(protocol)[:20]}; this trimtab reads protocol "
                             f"{PROTOCOL} (skops 0.13 and later). Save the estimator again.")
    return schema


def look(schema: Node) -> Look:
    """Every type and file that the schema names; raises UntrustedModel on nodes of unknown shape."""
    types: set[tuple[str, str]] = set()
    files: Counter[str] = Counter()
    made_with: set[str] = set()
    for node in nodes(schema):
        loader, name = str(node["__loader__"]), _name(node)
        types.add((loader, name))
        if "file" in node:
            if not isinstance(node["file"], str):
                raise UntrustedModel("a node of the model file's schema names no member; nothing was loaded.")
            files[node["file"]] += 1
        if loader == "DictNode":
            _judge_keys(node)
        elif loader == "MethodNode":
            content = node.get("content")
            types.add((loader, f"{name}.{content.get('func') if isinstance(content, dict) else '?'}"))
        elif loader == "ObjectNode" and (version := _version(node)):
            made_with.add(version)
    return Look(types=frozenset(types), files=files, scikit_learn=min(made_with) if made_with else None)


def nodes(schema: Node) -> Iterator[Node]:
    """All nodes, parents first, in the order of the text. Raises UntrustedModel when they nest too deep."""
    stack: list[tuple[object, int]] = [(schema, 1)]
    while stack:
        value, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise UntrustedModel(f"the schema of the model file nests deeper than {MAX_DEPTH}; nothing was loaded.")
        if isinstance(value, dict):
            if isinstance(value.get("__loader__"), str):
                yield value
            stack.extend((child, depth + 1) for child in reversed(value.values()))
        elif isinstance(value, list):
            stack.extend((child, depth + 1) for child in reversed(value))


def canonical(schema: Node, read: Callable[[str], bytes]) -> tuple[bytes, dict[str, bytes]]:
    """(schema text, members by name) that depend on the estimator alone.

    Members are named by their SHA-256, ids are numbered by first appearance and kept only where two places share one
    changeable object, members of sets are sorted.
    """
    members: dict[str, bytes] = {}
    renamed: dict[str, str] = {}
    uses: Counter[object] = Counter()
    for node in nodes(schema):
        if isinstance(node.get("file"), str):
            old = str(node["file"])
            if old not in renamed:
                data = arrays.canonical(read(old)) if old.endswith(".npy") else read(old)
                renamed[old] = hashlib.sha256(data).hexdigest()[:40] + old[old.rindex("."):]
                members[renamed[old]] = data
            node["file"] = renamed[old]
        if node["__loader__"] in _IMMUTABLE:
            node.pop("__id__", None)
        elif "__id__" in node:
            uses[node["__id__"]] += 1
    for node in nodes(schema):
        if "__id__" in node and uses[node["__id__"]] < 2:
            del node["__id__"]
    for node in nodes(schema):
        content = node.get("content")
        if node["__loader__"] == "SetNode" and isinstance(content, list):
            content.sort(key=lambda item: json.dumps(item, sort_keys=True))
        elif node["__loader__"] == "PartialNode" and isinstance(content, dict):
            space = content.get("namespace")        # none and an empty one are alike
            if isinstance(space, dict) and space.get("content") == {}:
                content["namespace"] = {**_BUILTIN, "__class__": "str", "__loader__": "JsonNode", "content": "null",
                                        "is_json": True}
    numbers: dict[object, int] = {}
    for node in nodes(schema):
        if "__id__" in node:
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False).encode(), members


def _name(node: Node) -> str:
    module, kind = node.get("__module__"), node.get("__class__")
    if not isinstance(module, str) or not isinstance(kind, str):
        raise UntrustedModel("a node of the model file's schema names no type; nothing was loaded.")
    return f"{module}.{kind}"


def _judge_keys(node: Node) -> None:
    """The keys of a dict are made by calling their type: only plain types may be called."""
    keys = node.get("key_types")
    listed = keys.get("content") if isinstance(keys, dict) else None
    good = isinstance(listed, list) and all(
        isinstance(key, dict) and key.get("__loader__") == "TypeNode" and
        (_name(key) in KEY_TYPES or _name(key) == "builtins.NoneType") for key in listed)
    if not good:
        raise UntrustedModel("a dict in the model file has keys of an unusual type; nothing was loaded.")


def _version(node: Node) -> str | None:
    """The `_sklearn_version` that every fitted estimator carries."""
    state = node.get("content")
    attributes = state.get("content") if isinstance(state, dict) else None
    found = attributes.get("_sklearn_version") if isinstance(attributes, dict) else None
    text = found.get("content") if isinstance(found, dict) else None
    return text.strip('"')[:40] if isinstance(text, str) else None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice in one object")
    return found
