"""The digest of what a value holds: arrays in full wherever they stand, sparse matrices by their entries."""

import hashlib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import issparse

__all__ = ["content_digest"]


def content_digest(value: Any) -> str:
    """Return the SHA-256 of a value's type and content as 64 hex digits.

    Parameters
    ----------
    value : any
        Numbers, texts, arrays, sparse matrices, and tuples, lists, dicts, sets and dataclasses of these are told apart
        by all that they hold. Of functions and of other objects the name alone is known.

    Returns
    -------
    str
        Equal for equal values, in every process.

    Notes
    -----
    Cost: one pass over all numbers.
    """
    return _digest(value, frozenset())


def _digest(value: Any, around: frozenset[int]) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if id(value) in around:  # it holds itself
        return _hash(kind, "again")
    parts = _parts(value)
    if not isinstance(parts, tuple):
        inside = around | {id(value)}
        digests = [_digest(part, inside) for part in parts]
        unordered = isinstance(value, (Mapping, AbstractSet))
        return _hash(kind, *(sorted(digests) if unordered else digests))
    return _hash(kind, *parts)


def _parts(value: Any) -> tuple[str | bytes, ...] | Iterable[Any]:
    """Return what is hashed as it stands, as a tuple, or values that have digests of their own."""
    if isinstance(value, Enum):
        return (value.name,)
    if isinstance(value, int):  # decimals of long ones are refused
        return (hex(value),)
    if value is None or isinstance(value, (float, complex, str, bytes)):
        return (repr(value),)
    if isinstance(value, type):
        return (f"{value.__module__}.{value.__qualname__}",)
    if issparse(value):
        plain = value.tocsr(copy=True)
        plain.sum_duplicates()
        plain.eliminate_zeros()
        # How wide indices are is a choice of SciPy's.
        indices = (np.asarray(each, np.int64).tobytes() for each in (plain.indptr, plain.indices))
        return (str(plain.shape), plain.dtype.str, *indices, plain.data.tobytes())
    if isinstance(value, np.ma.MaskedArray):
        return [np.ma.getmaskarray(value), value.filled(0)]
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.hasobject:
            return [array.shape, array.ravel().tolist()]
        return (array.dtype.str, str(array.shape), np.ascontiguousarray(array).tobytes())
    if isinstance(value, Mapping):
        return [[key, part] for key, part in value.items()]
    if isinstance(value, (tuple, list, AbstractSet)):
        return [*value]
    if is_dataclass(value):
        return [[part.name, getattr(value, part.name, None)] for part in fields(value)]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    name = getattr(value, "__qualname__", None)
    return (f"{getattr(value, '__module__', None)}.{name}",) if isinstance(name, str) else ()


def _hash(*parts: str | bytes) -> str:
    content = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode(errors="surrogatepass")
        content.update(len(raw).to_bytes(8, "little"))  # so that parts cannot flow into one another
        content.update(raw)
    return content.hexdigest()
