"""May compiled code follow the indices inside this estimator?

Trees and search structures keep raw row, node and column numbers that compiled code follows without looking; a
crafted file could make it read outside of memory. After construction, and before the first prediction, every number
is looked at. Models of other libraries (`outside.py`) judge what they hold at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from trimtab.errors import UntrustedModel
from trimtab.flavors.outside import Outside
from trimtab.flavors.python import Function


def look(estimator: object, trusted: Iterable[str] = ()) -> None:
    """Raises UntrustedModel where a tree, forest, neighbour search or support vector machine points outside itself.

    trusted: `module:function` references that may run. Raises it too where a network, graph or function is refused.
    """
    for item in _walk(estimator):
        kind = f"{type(item).__module__}.{type(item).__name__}"
        if isinstance(item, Outside):
            item.check()
        if isinstance(item, Function):
            item.trust(frozenset(trusted))
        if kind == "sklearn.neighbors._kd_tree.KDTree" or kind == "sklearn.neighbors._ball_tree.BallTree":
            _need(_search_tree_is_sound(item), kind)
            continue
        state = vars(item) if hasattr(item, "__dict__") else {}
        if kind == "scipy.interpolate._bsplines.BSpline":
            _need(_spline_is_sound(state), kind)
        if "tree_" in state and hasattr(state["tree_"], "children_left"):
            _need(_tree_is_sound(state["tree_"], int(state.get("n_features_in_", -1))), kind)
        if "_predictors" in state and "_bin_mapper" in state:
            width = int(state.get("n_features_in_", -1))
            _need(all(_predictor_is_sound(each, width) for stage in state["_predictors"] for each in stage), kind)
        if "estimators_" in state and kind.startswith("sklearn.ensemble."):
            _need(_members_fit(state, kind), kind)
        if "support_vectors_" in state and "_n_support" in state:
            _need(_support_is_sound(state), kind)


def _walk(root: object) -> Iterator[object]:
    """Everything reachable through attributes, lists, tuples, dicts and object arrays, once each."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, str | bytes | int | float | bool | type | None):
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple | set):
            stack.extend(item)
        elif isinstance(item, np.ndarray):
            if item.dtype == object:
                stack.extend(item.ravel().tolist())
        else:
            yield item
            if hasattr(item, "__dict__"):
                stack.extend(vars(item).values())


def _tree_is_sound(tree: Any, width: int) -> bool:
    count = tree.node_count
    if not 0 < count <= tree.capacity:
        return False
    left, right = np.asarray(tree.children_left), np.asarray(tree.children_right)
    leaf = left == -1
    here = np.arange(count)[~leaf]
    return bool(np.all(_between(left[~leaf], here + 1, count)) and np.all(_between(right[~leaf], here + 1, count))
                and np.all(_between(np.asarray(tree.feature)[~leaf], 0, width)))


def _predictor_is_sound(predictor: Any, width: int) -> bool:
    nodes = predictor.nodes
    if nodes.ndim != 1 or not len(nodes):
        return False
    inner = nodes[nodes["is_leaf"] == 0]
    here = np.arange(len(nodes))[nodes["is_leaf"] == 0]
    by_category = inner[inner["is_categorical"] != 0]
    sets = min(len(predictor.raw_left_cat_bitsets), len(predictor.binned_left_cat_bitsets))
    return bool(np.all(_between(inner["left"].astype(np.int64), here + 1, len(nodes)))
                and np.all(_between(inner["right"].astype(np.int64), here + 1, len(nodes)))
                and np.all(_between(inner["feature_idx"].astype(np.int64), 0, width))
                and np.all(_between(by_category["bitset_idx"].astype(np.int64), 0, sets))
                and all(bits.ndim == 2 and bits.shape[1] == 8 and bits.dtype == np.uint32
                        for bits in (predictor.raw_left_cat_bitsets, predictor.binned_left_cat_bitsets)))


def _search_tree_is_sound(tree: Any) -> bool:
    data, index, nodes, _ = (np.asarray(part) for part in tree.get_arrays())
    rows = len(data)
    ends = np.concatenate([nodes["idx_start"], nodes["idx_end"]])
    return bool(len(index) == rows and np.all(_between(index, 0, rows)) and np.all(_between(ends, 0, rows + 1)))


def _spline_is_sound(state: dict[str, Any]) -> bool:
    knots, coefficients = (np.asarray(state.get(f"_{name}", state.get(name))) for name in ("t", "c"))
    degree = int(state["k"])
    pieces = len(knots) - degree - 1
    return bool(knots.ndim == 1 and degree >= 0 and pieces >= degree + 1 and coefficients.shape[0] >= pieces)


def _support_is_sound(state: dict[str, Any]) -> bool:
    """libsvm adds up the support vectors of each class by `_n_support` and reads coefficients accordingly."""
    vectors, coefficients, counts = state["support_vectors_"], state.get("_dual_coef_"), np.asarray(state["_n_support"])
    if coefficients is None or np.any(counts < 0):
        return False
    classes = len(state["classes_"]) if "classes_" in state else 2
    pairs = max(1, classes * (classes - 1) // 2)
    held = int(counts.sum()) if "classes_" in state else int(counts.flat[0])
    rows = coefficients.shape[1]
    return bool(rows == held and (vectors.shape[0] in (rows, 0)) and coefficients.shape[0] == max(1, classes - 1)
                and np.asarray(state["_intercept_"]).size == pairs)


def _members_fit(state: dict[str, Any], kind: str) -> bool:
    """A forest checks a request's width once, on its own; every tree in it must read within that width."""
    trees = [each for each in np.asarray(state["estimators_"], dtype=object).ravel() if hasattr(each, "tree_")]
    width = int(state.get("n_features_in_", -1))
    if "estimators_features_" in state:
        picked = state["estimators_features_"]
        return len(picked) == len(state["estimators_"]) and all(
            vars(each).get("n_features_in_") == len(columns) <= width
            for each, columns in zip(trees, picked, strict=False))
    return all(vars(each).get("n_features_in_") == width for each in trees)


def _between(values: Any, low: Any, high: int) -> Any:
    return (values >= low) & (values < high)


def _need(sound: bool, kind: str) -> None:
    if not sound:
        name = kind.rpartition(".")[2]
        raise UntrustedModel(f"the {name} in the model file points outside itself: it was damaged or made to crash "
                             "whoever loads it. Nothing was predicted; save the estimator again.", types=[kind])
