"""A model file that is not what it says is refused with a sentence, before anything in it is constructed."""

from __future__ import annotations

import io
import json
import pickle
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVR

from trimtab.errors import TrimtabError, UntrustedModel, UsageError
from trimtab.flavors import archive, schema
from trimtab.flavors import sklearn as flavor

RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 3))
Y = X.sum(axis=1)


class Bomb:
    """Writes a file when a pickle of it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("/tmp/trimtab-pickle-ran"),)


def linear() -> bytes:
    return flavor.save(LinearRegression().fit(X, Y)).files[flavor.FILE]


def parts(data: bytes) -> tuple[dict[str, object], dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    return json.loads(members.pop("schema.json")), members


def zipped(entries: list[tuple[str | zipfile.ZipInfo, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as out:
        warnings.simplefilter("ignore")
        for name, data in entries:
            out.writestr(name, data)
    return buffer.getvalue()


def rebuilt(change: Callable[[dict[str, object], dict[str, bytes]], object], data: bytes | None = None) -> bytes:
    tree, members = parts(data or linear())
    change(tree, members)
    return zipped([("schema.json", json.dumps(tree).encode()), *members.items()])


def nested(depth: int) -> bytes:
    return (b'{"__loader__":"ListNode","__class__":"list","__module__":"builtins","protocol":2,"content":' +
            b"[" * depth + b"]" * depth + b"}")


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("a.npy")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def npy(array: object, **how: object) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(array), **how)  # type: ignore[arg-type]
    return out.getvalue()


def swap_array(data: bytes) -> Callable[[dict[str, object], dict[str, bytes]], object]:
    def change(tree: dict[str, object], members: dict[str, bytes]) -> None:
        members[next(name for name in members if name.endswith(".npy"))] = data
    return change


def lying_header() -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    return out.getvalue() + b"\0" * 64


def joblib_bytes(compress: int) -> bytes:
    out = io.BytesIO()
    joblib.dump(LinearRegression().fit(X, Y), out, compress=compress)
    return out.getvalue()


def changed(**fields: object) -> Callable[[], bytes]:
    """The file of a linear model with fields of its root node changed."""
    return lambda: rebuilt(lambda tree, _: tree.update(fields))


def packed(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> Callable[[], bytes]:
    return lambda: zipped([("schema.json", SCHEMA_ONLY), *entries])


def only(text: bytes) -> Callable[[], bytes]:
    return lambda: zipped([("schema.json", text)])


def swapped(data: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: rebuilt(swap_array(data()))


def with_a_stray_member() -> bytes:
    return rebuilt(lambda _, members: members.update({"zz.npy": npy([1.0])}))


SCHEMA_ONLY = b'{"__loader__":"ListNode","__class__":"list","__module__":"builtins","protocol":2,"content":[]}'
CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty file": (lambda: b"", "not a skops file"),
    "text": (lambda: b"coef,intercept\n1,2\n", "not a skops file"),
    "pickle": (lambda: pickle.dumps(Bomb()), "is a pickle, not a skops file. Loading a pickle runs whatever code"),
    "pickle protocol 0": (lambda: pickle.dumps(Bomb(), protocol=0), "is a pickle"),
    "pickle protocol 2": (lambda: pickle.dumps(Bomb(), protocol=2), "is a pickle"),
    "cloudpickle": (lambda: pickle.dumps(Bomb(), protocol=5), "save the estimator again"),
    "joblib": (lambda: joblib_bytes(0), "is a pickle"),
    "joblib, zlib": (lambda: joblib_bytes(3), "joblib writes pickles"),
    "bare array": (lambda: npy([1.0, 2.0]), "a bare NumPy array"),
    "keras": (lambda: b"\x89HDF\r\n\x1a\n" + b"0" * 99, "an HDF5 file"),
    "torch zip": (lambda: zipped([("archive/data.pkl", b"x")]), "looks like a pickle inside a zip"),
    "zip without a schema": (lambda: zipped([("a.npy", npy([1.0]))]), "holds no schema.json"),
    "cut in half": (lambda: linear()[:len(linear()) // 2], "cut off or damaged"),
    "last byte gone": (lambda: linear()[:-1], "cut off or damaged"),
    "prefix before the zip": (lambda: b"#!/bin/sh\n" + linear(), "not a skops file"),
    "twice the same name": (packed(("schema.json", SCHEMA_ONLY)), "appears twice"),
    "symlink": (packed((link(), b"/etc/passwd")), "is a link"),
    "parent folder": (packed(("../a.npy", b"")), "does not belong"),
    "absolute path": (packed(("/a.npy", b"")), "does not belong"),
    "nested folder": (packed(("a/b.npy", b"")), "does not belong"),
    "pickle as a member": (packed(("a.pkl", b"")), "does not belong"),
    "lzma inside": (lambda: zipped([("schema.json", SCHEMA_ONLY)], zipfile.ZIP_LZMA), "packed in a way"),
    "zip bomb": (packed(("a.npy", b"\0" * (80 << 20))), "200 to 1"),
    "deep schema": (only(nested(500)), "nests deeper"),
    "very deep schema": (only(nested(200_000)), "nests deeper"),
    "schema that is not JSON": (only(b"{'a'"), "not JSON"),
    "schema that is a list": (only(b"[]"), "names no object"),
    "schema with a key twice": (only(b'{"a":1,"a":2}'), "key appears twice"),
    "old protocol": (changed(protocol=0), "protocol 0"),
    "future protocol": (changed(protocol=99), "protocol 99"),
    "protocol true": (changed(protocol=True), "protocol True"),
    "unknown loader": (changed(__loader__="OperatorFuncNode", attrs={}), "not on trimtab's list"),
    "os.system": (changed(__loader__="FunctionNode", __module__="os", __class__="system"), "os.system"),
    "type without a name": (changed(__module__=None), "names no type"),
    "member that is missing": (lambda: rebuilt(lambda _, members: members.clear()), "does not hold it"),
    "member that nobody names": (with_a_stray_member, "nothing in it names"),
    "array of objects": (swapped(lambda: npy([Bomb()], allow_pickle=True)), "a pickle inside"),
    "pickle renamed .npy": (swapped(lambda: pickle.dumps(Bomb())), "is not a NumPy array"),
    "header that lies": (swapped(lying_header), "does not fit its"),
    "text renamed .npy": (swapped(lambda: b"hello"), "is not a NumPy array"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_refused_with_a_sentence(case: str) -> None:
    """Every case of the corpus: UntrustedModel, the expected words, and no traceback of zipfile, json or NumPy."""
    make, words = CASES[case]
    with pytest.raises(UntrustedModel) as refused:
        flavor.load(make())
    assert words in str(refused.value)
    assert not Path("/tmp/trimtab-pickle-ran").exists()


def test_one_flipped_bit_never_loads_as_another_model() -> None:
    """Checksums of the zip catch it, or nothing changed in what is loaded."""
    data = bytearray(linear())
    want = LinearRegression().fit(X, Y).predict(X)
    for at in range(0, len(data), 7):
        data[at] ^= 1
        try:
            got = flavor.load(bytes(data))
        except UntrustedModel:
            pass
        else:
            assert np.array_equal(got.predict(X), want)     # type: ignore[attr-defined]
        data[at] ^= 1


def doubled(values: object) -> object:
    """A function that a transformer applies."""
    return values


def test_a_function_inside_is_code_and_needs_to_be_trusted() -> None:
    """FunctionTransformer loads without a function, or with one that the list names."""
    plain = make_pipeline(FunctionTransformer(), LinearRegression()).fit(X, Y)
    flavor.load(flavor.save(plain).files[flavor.FILE])
    data = flavor.save(make_pipeline(FunctionTransformer(doubled), LinearRegression()).fit(X, Y)).files[flavor.FILE]
    name = f"{__name__}.doubled"
    assert flavor.inspect(data).refused == (name,)
    with pytest.raises(UntrustedModel) as refused:
        flavor.load(data)
    assert refused.value.details["types"] == [name]
    assert f'[model] trusted = ["{name}"]' in str(refused.value)
    assert flavor.inspect(data, trusted=[name]).refused == ()


def test_a_lambda_is_refused_when_it_is_saved() -> None:
    """No other process could find it: said at registration, not in production."""
    with pytest.raises(UsageError, match="which no other process could find"):
        flavor.save(FunctionTransformer(lambda values: values).fit(X))


def test_a_custom_estimator_loads_only_when_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`module:function` candidates of the project: the class is named, and the import happens only after the list."""
    (tmp_path / "ours_here.py").write_text(
        "from sklearn.linear_model import Ridge\nclass Ours(Ridge):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import ours_here  # type: ignore[import-not-found]

    data = flavor.save(ours_here.Ours().fit(X, Y)).files[flavor.FILE]
    with pytest.raises(UntrustedModel, match=r"ours_here\.Ours"):
        flavor.load(data)
    assert np.array_equal(flavor.load(data, trusted=["ours_here.Ours"]).predict(X),  # type: ignore[attr-defined]
                          ours_here.Ours().fit(X, Y).predict(X))


def crafted(estimator: object, change: Callable[[np.ndarray], None], fields: str) -> bytes:
    """The estimator's file with one array of records changed."""
    tree, members = parts(flavor.save(estimator).files[flavor.FILE])
    for name, data in members.items():
        if name.endswith(".npy"):
            array = np.load(io.BytesIO(data))
            if array.dtype.names and fields in array.dtype.names:
                change(array)
                members[name] = npy(array)
                break
    return zipped([("schema.json", json.dumps(tree).encode()), *members.items()])


def put(field: str, value: int) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array[field][0] = value
    return change


FOREST = RandomForestRegressor(2, random_state=0).fit(X, Y)
HGB = HistGradientBoostingRegressor(max_iter=2).fit(X, Y)


@pytest.mark.parametrize(("estimator", "field", "value"), [
    (FOREST, "left_child", 10**9), (FOREST, "right_child", -7), (FOREST, "feature", 10**6), (FOREST, "left_child", 0),
    (HGB, "left", 4 * 10**9), (HGB, "right", 0), (HGB, "feature_idx", 10**6),
])
def test_a_tree_that_points_outside_itself_never_predicts(estimator: object, field: str, value: int) -> None:
    """Compiled code follows these numbers without looking, so they are looked at before."""
    with pytest.raises(UntrustedModel, match="points outside itself"):
        flavor.load(crafted(estimator, put(field, value), field))


def test_a_tree_never_keeps_a_claim_of_more_nodes_than_it_has() -> None:
    """The node count is a number of the schema, not of the array."""
    tree, members = parts(flavor.save(FOREST).files[flavor.FILE])
    text = json.dumps(tree)
    count = str(FOREST.estimators_[0].tree_.node_count)
    text = text.replace(f'"content": "{count}"', '"content": "999999"')
    assert "999999" in text
    try:
        forest = flavor.load(zipped([("schema.json", text.encode()), *members.items()]))
    except UntrustedModel:
        return
    for one in forest.estimators_:                   # type: ignore[attr-defined]
        assert one.tree_.node_count == one.tree_.capacity < 999999


def test_neighbour_searches_and_support_vectors_are_looked_at_too() -> None:
    """A row index beyond the data, a count of support vectors beyond the matrix."""
    rows = KNeighborsRegressor(algorithm="kd_tree").fit(X, Y)
    tree, members = parts(flavor.save(rows).files[flavor.FILE])
    for name, data in members.items():
        array = np.load(io.BytesIO(data)) if name.endswith(".npy") else np.zeros(0)
        if array.dtype == np.int64 and array.shape == (60,):
            members[name] = npy(array + 10**6)
    with pytest.raises(UntrustedModel, match="points outside itself"):
        flavor.load(zipped([("schema.json", json.dumps(tree).encode()), *members.items()]))
    machine = SVR().fit(X, Y)
    machine._n_support = np.array([10**6, 10**6], dtype=np.int32)
    with pytest.raises(UntrustedModel, match="points outside itself"):
        flavor.load(flavor.save(machine).files[flavor.FILE])


def test_bounds_hold_for_names_repeated_in_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """One array named a thousand times would be read a thousand times."""
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 100_000)
    node = {"__loader__": "NdArrayNode", "__class__": "ndarray", "__module__": "numpy", "type": "numpy",
            "file": "a.npy"}
    tree = {"__loader__": "ListNode", "__class__": "list", "__module__": "builtins", "protocol": 2,
            "content": [node] * 50}
    with pytest.raises(UntrustedModel, match="again and again"):
        flavor.load(zipped([("schema.json", json.dumps(tree).encode()), ("a.npy", npy(np.arange(500.0)))]))


def test_too_many_entries_are_refused_before_any_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of a zip is cheap to write and dear to read."""
    monkeypatch.setattr(archive, "MAX_ENTRIES", 10)
    with pytest.raises(UntrustedModel, match="lists 21 entries"):
        flavor.load(zipped([("schema.json", SCHEMA_ONLY), *((f"{n}.npy", b"") for n in range(20))]))


def test_an_honest_array_of_zeros_is_not_taken_for_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """What deflates too well is stored as it is."""
    monkeypatch.setattr(archive, "FREE_UNPACKED_BYTES", 1000)
    model = LinearRegression().fit(X, Y)
    model.zeros_ = np.zeros(100_000)
    again = flavor.load(flavor.save(model).files[flavor.FILE])
    np.testing.assert_array_equal(again.zeros_, model.zeros_)  # type: ignore[attr-defined]


def test_dict_keys_may_only_be_plain_values() -> None:
    """A key is made by calling its type, so its type is not free."""
    keys = {"__loader__": "ListNode", "__class__": "list", "__module__": "builtins", "content": [
        {"__loader__": "TypeNode", "__class__": "system", "__module__": "os"}]}
    tree = {"__loader__": "DictNode", "__class__": "dict", "__module__": "builtins", "protocol": schema.PROTOCOL,
            "key_types": keys, "content": {"touch /tmp/x": {"__loader__": "JsonNode", "__class__": "str",
                                                            "__module__": "builtins", "content": "1", "is_json": True}}}
    with pytest.raises(TrimtabError, match="keys of an unusual type"):
        flavor.load(zipped([("schema.json", json.dumps(tree).encode())]))
