"""One entry of a store: HDF5 built in memory, and read only after its checksum was verified."""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from importlib.metadata import version
from operator import or_
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

import h5py
import numpy as np

__all__ = [
    "FORMAT",
    "KINDS",
    "MADE_BY",
    "NAME",
    "Contents",
    "DamageError",
    "Key",
    "Place",
    "Shapes",
    "UnreadableError",
    "build_entry",
    "canonical",
    "check_shapes",
    "damage_of",
    "digest_array",
    "open_plain",
    "read_entry",
    "read_header",
    "reading",
    "stem",
]

FORMAT = 1
# Read from a file here, since later a process may have too many of them open.
MADE_BY = f"haarflow {version('haarflow')}"
# kind, hash of the key, SHA-256 of the bytes.
NAME = re.compile(r"([A-Za-z]+)-([0-9a-f]{32})-([0-9a-f]{64})\.h5")
KINDS = "iufb"
_KEY_LIMIT = 2**20
_SMALLEST_USER_BLOCK = 512

Key = dict[str, Any]
# Shape and dtype by name.
Shapes = dict[str, tuple[tuple[int, ...], str]]


class DamageError(ValueError):
    """Why a file is no sound entry."""


class UnreadableError(Exception):
    """Why the system does not let a file be read, which says nothing about what it holds."""


@contextmanager
def reading() -> Iterator[None]:
    """Raise UnreadableError for what the system refuses, but FileNotFoundError for a file that is gone."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(f"it cannot be read: {error}") from error


def digest_array(x: np.ndarray) -> str:
    """Return the SHA-256 of an array's dtype, shape and C-order bytes as 64 hex digits.

    Parameters
    ----------
    x : array of any shape
        Numbers or booleans. Equal numbers in other bytes (0.0 and -0.0, float32 and float64) differ.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        For anything but numbers, such as an array of objects.
    """
    x = np.asarray(x, order="C")
    if x.dtype.kind not in KINDS + "c":
        raise TypeError(f"x must be an array of numbers, found dtype {x.dtype}")
    digest = hashlib.sha256(f"{x.dtype.str}{x.shape}".encode())
    digest.update(x.data if x.size else b"")
    return digest.hexdigest()


def canonical(fields: Key, name: str = "key") -> str:
    """Return a dict of JSON values as the one text that equal dicts share."""
    if not isinstance(fields, dict) or not all(isinstance(field, str) for field in fields):
        raise TypeError(f"{name} must be a dict with strings as names, found {fields!r}")
    try:
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_number)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must hold strings and finite numbers: {error}") from error
    if len(text) > _KEY_LIMIT:
        raise ValueError(
            f"{name} must be at most {_KEY_LIMIT} characters, found {len(text)}: put digests of what is long"
        )
    return text


def _number(value: Any) -> Any:
    if isinstance(value, np.generic) and value.dtype.kind in KINDS:
        return value.item()
    raise TypeError(f"found {value!r} of type {type(value).__name__}")


def stem(kind: str, key: Key) -> str:
    """Return what the names of a key's files start with."""
    if not (isinstance(kind, str) and kind.isascii() and kind.isalpha()):
        raise ValueError(f"kind must be letters only, found {kind!r}")
    return f"{kind}-{_hash(canonical(key))}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def build_entry(kind: str, key: Key, arrays: dict[str, np.ndarray], info: Key) -> bytes:
    """Return the bytes of a file; equal arguments give equal bytes.

    Its first line, in HDF5's user block, is the key as JSON, so that a listing need not open HDF5.
    """
    text = canonical(key)
    header = f"{text}\n".encode()
    block = _SMALLEST_USER_BLOCK
    while block < len(header):
        block *= 2
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=block) as file:
        file.attrs["format"] = FORMAT
        file.attrs["made_by"] = MADE_BY
        file.attrs["kind"] = kind
        file.attrs["key"] = text
        file.attrs["info"] = canonical(info, "info")
        for prefix, fields in (("key", json.loads(text)), ("info", json.loads(canonical(info, "info")))):
            for name, value in fields.items():  # the same again, for people
                if isinstance(value, (str, int, float)):
                    file.attrs[_readable(f"{prefix}.{name}")] = _readable(value)
        for name, array in arrays.items():
            file.create_dataset(_check_name(name), data=_check_array(name, array))
    buffer.seek(0)
    buffer.write(header)
    return buffer.getvalue()


def _readable(value: Any) -> Any:
    if isinstance(value, str):  # HDF5 has no text with NUL or lone surrogates
        return value.encode(errors="backslashreplace").decode().replace("\0", "\\0")
    return str(value) if isinstance(value, int) and abs(value) >= 2**63 else value


def _check_name(name: str) -> str:
    if not (isinstance(name, str) and name.isascii() and name.isidentifier()):
        raise ValueError(f'arrays must have names such as "block_0", found {name!r}')
    return name


def _check_array(name: str, array: Any) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in KINDS or array.dtype.itemsize > 8:
        raise TypeError(f"arrays must hold numbers of at most 64 bits, found {name!r} with dtype {array.dtype}")
    return array


def read_header(path: Path) -> Key:
    """Return the key that a file's first line tells, or raise as `read_entry` does; nothing else is read."""
    line = _contents(path, first_line=True)
    try:
        text = line.decode().removesuffix("\n")
        key = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamageError("its first line is no key") from error
    match = NAME.fullmatch(path.name)
    if match is None or match[2] != _hash(text) or not isinstance(key, dict):
        raise DamageError("its key is another one than its name says")
    return key


def _contents(path: Path, first_line: bool = False, most: int | None = None) -> bytes:
    with reading(), open_plain(path) as file:
        if first_line:
            return file.readline(_KEY_LIMIT + 1)
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise DamageError(f"it is larger than {most} bytes")
        return file.read()


def open_plain(path: Path) -> io.BufferedReader:
    """Open a file that is one: a pipe would be waited for, a device never ends, and a link leads anywhere."""
    flags = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"))
    with reading():
        # Opening a link or a socket fails too, with errors that plain files may have for other reasons.
        if S_ISREG(path.lstat().st_mode):
            descriptor = os.open(path, os.O_RDONLY | reduce(or_, flags))
            if S_ISREG(os.fstat(descriptor).st_mode):  # it may have been exchanged in between
                return os.fdopen(descriptor, "rb")
            os.close(descriptor)
    raise DamageError("it is no file")


class Place(NamedTuple):
    """Where one array lies in its file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype


class Contents(NamedTuple):
    """A sound entry: its key as canonical text, its arrays, and where they lie."""

    key: str
    arrays: dict[str, np.ndarray]
    places: dict[str, Place]


def read_entry(path: Path, most: int | None = None) -> Contents:
    """Return a sound entry's contents, of at most as many bytes.

    Raises
    ------
    DamageError
        For whatever is wrong with it.
    UnreadableError
        Where that cannot be told.
    FileNotFoundError
        Where it is gone.
    """
    read_header(path)
    if most is None:  # read in pieces before it is read whole: it may be larger than memory
        with reading(), open_plain(path) as file:
            _check_digest(hashlib.file_digest(file, "sha256"), path)
    content = _contents(path, most=most)
    _check_digest(hashlib.sha256(content), path)
    try:
        return _parse(path.name, content)
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # HDF5 has no one error for files that it does not understand
        raise DamageError(f"{error}") from error


def _check_digest(digest: Any, path: Path) -> None:
    if digest.hexdigest() != path.stem.split("-")[-1]:
        raise DamageError("its checksum is wrong")


def _parse(name: str, content: bytes) -> Contents:
    with h5py.File(io.BytesIO(content), "r") as file:
        if file.attrs["format"] != FORMAT:
            raise ValueError(f"its format is {file.attrs['format']}, expected {FORMAT}")
        text = file.attrs["key"]
        if name.split("-")[:2] != [file.attrs["kind"], _hash(text)]:
            raise ValueError("its kind or key is another one than its name says")
        arrays, places, room = {}, {}, len(content)
        for item in file:
            arrays[item] = _plain_array(file, item, room)
            room -= arrays[item].nbytes
            # Counted from in front of the user block; None for an array without numbers.
            places[item] = Place(file[item].id.get_offset() or 0, arrays[item].shape, arrays[item].dtype)
        return Contents(text, arrays, places)


def _plain_array(file: h5py.File, name: str, room: int) -> np.ndarray:
    # A checksum tells damage, not malice: only plain numbers that lie in this very file are read, once.
    if type(file.get(name, getlink=True)) is not h5py.HardLink:
        raise ValueError(f"{name!r} links elsewhere")
    data = file[name]
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in KINDS or data.shape is None:
        raise ValueError(f"{name!r} is no array of numbers")
    layout = data.id.get_create_plist().get_layout()
    stored = data.id.get_storage_size() == data.nbytes
    if layout != h5py.h5d.CONTIGUOUS or data.external or not stored or data.nbytes > room:
        raise ValueError(f"{name!r} does not lie in the file as plain numbers")
    return np.array(data)


def damage_of(path: Path) -> str | None:
    """Return what is wrong with an entry, or None; UnreadableError and FileNotFoundError as in `read_entry`."""
    try:
        read_entry(path)
    except DamageError as damage:
        return str(damage)
    return None


def check_shapes(arrays: dict[str, np.ndarray], shapes: Shapes) -> None:
    """Raise DamageError unless arrays hold finite numbers of the shapes and dtypes that they should."""
    for name, (shape, dtype) in shapes.items():
        array = arrays.get(name)
        # NaN passes through both, and no copy is made.
        ends = () if array is None or array.size == 0 else (array.min(), array.max())
        if array is None or array.shape != shape or array.dtype != dtype or not np.isfinite(ends).all():
            found = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise DamageError(f"{name} must be finite {dtype} {shape}, found {found}")
