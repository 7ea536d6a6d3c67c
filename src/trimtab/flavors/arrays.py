"""Do the bytes of an array say only what the array says?

Compiled code leaves memory that it never wrote in the gaps between the fields of a record and in fields that leaves of
a tree don't use. Two equal trees then differ in bytes, and so in digest; worse, the gaps hold whatever lay in memory.
"""

from __future__ import annotations

import io

import numpy as np


def canonical(data: bytes) -> bytes:
    """A `.npy` file with the gaps of its records, and what tree leaves leave unset, as zeros; others as they are."""
    if b"'names'" not in data[:1024] and b"[(" not in data[:1024]:
        return data
    records = np.load(io.BytesIO(data), allow_pickle=False)
    names = records.dtype.names
    if names is None:
        return data
    clean = np.zeros(records.shape, dtype=records.dtype)
    for name in names:
        clean[name] = records[name]
    if {"left_child", "missing_go_to_left"} <= set(names):
        clean["missing_go_to_left"][clean["left_child"] == -1] = 0
    written = io.BytesIO()
    np.save(written, clean, allow_pickle=False)
    return written.getvalue()
