"""A folder of HDF5 files, one for each entry: content-addressed, checksummed, never edited in place."""

import hashlib
import io
import json
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = ["Entry", "Store", "StoreError", "StoreWarning", "digest_array"]

_FORMAT = 1
_MARKER = "haarflow-store.json"
_TEMPORARY = ".tmp-"
_KEY_DIGITS = 32
_KINDS = "iufb"

Key = dict[str, str | int | float]


class StoreError(OSError):
    """The store cannot be used; what was finished before is untouched."""


class StoreWarning(UserWarning):
    """An entry is damaged and is computed again."""


@dataclass(frozen=True)
class Entry:
    """One file of a store.

    Attributes
    ----------
    path : Path
        The file.
    kind : str
        Such as "gram".
    key : dict or None
        What it was computed from; None where the file is damaged.
    bytes : int
        Its size.
    created : str
        When it was written, UTC.
    """

    path: Path
    kind: str
    key: Key | None
    bytes: int
    created: str


def digest_array(x: np.ndarray) -> str:
    """Return the SHA-256 of an array's dtype, shape and C-order bytes as 64 hex digits."""
    x = np.ascontiguousarray(x)
    return hashlib.sha256(f"{x.dtype.str}{x.shape}".encode() + x.tobytes()).hexdigest()


class Store:
    """Keep arrays under a key, durably.

    Each entry is one file, built in memory, hashed, written beside its place, flushed to disk and renamed. Its
    name holds the SHA-256 of its bytes, which are verified before the HDF5 library sees them.

    Parameters
    ----------
    path : path
        The folder.
    create : bool
        Make it when it is missing.

    Raises
    ------
    StoreError
        Where `path` is a file, missing (with create=False), read-only, holds foreign files, or was made by a
        newer version.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from haarflow.kernels import Store
    >>> store = Store(tempfile.mkdtemp())
    >>> store.put("gram", {"samples": 2}, {"block": np.eye(2)})
    >>> store.get("gram", {"samples": 2})["block"]
    array([[1., 0.],
           [0., 1.]])
    """

    def __init__(self, path: str | Path, create: bool = True) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"store must be a folder, found the file {self.path}")
        marker = self.path / _MARKER
        if not self.path.exists() and not create:
            raise StoreError(f"store must be an existing folder, found nothing at {self.path}")
        if not marker.exists():
            foreign = sorted(p.name for p in self.path.iterdir())[:3] if self.path.exists() else []
            if foreign or not create:
                found = f"found {', '.join(foreign)}" if foreign else "found it empty"
                raise StoreError(f"store must be an empty folder or a store with {_MARKER}, {found} in {self.path}")
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._write(json.dumps({"format": _FORMAT, "made_by": "haarflow"}).encode(), marker)
            except OSError as error:
                raise StoreError(f"store cannot be made at {self.path}: {error}") from error
        self._check_marker(marker)

    def _check_marker(self, marker: Path) -> None:
        try:
            version = json.loads(marker.read_text(encoding="utf-8"))["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"store's marker {marker} is damaged: {error}") from error
        if version != _FORMAT:
            raise StoreError(f"store {self.path} has format {version}, this version of haarflow reads {_FORMAT}")

    def get(self, kind: str, key: Key) -> dict[str, np.ndarray] | None:
        """Look an entry up.

        Parameters
        ----------
        kind : str
            Such as "gram".
        key : dict
            Strings and numbers that it was computed from.

        Returns
        -------
        dict of arrays, or None
            None where there is no such entry, or only a damaged one, of which a `StoreWarning` says why.

        Notes
        -----
        Cost: reading and hashing the file.
        """
        for path in sorted(self.path.glob(f"{kind}-{_hash_key(key)}-*.h5")):
            try:
                found, arrays = _read(path)
                if found != key:
                    raise ValueError("its key is another one")
                return arrays
            except FileNotFoundError:
                continue  # replaced by another process in between
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                warnings.warn(f"{path} is damaged and is computed again: {error}", StoreWarning, stacklevel=2)
        return None

    def put(self, kind: str, key: Key, arrays: dict[str, np.ndarray]) -> None:
        """Keep arrays under a key; damaged entries of the same key go.

        Parameters
        ----------
        kind : str
            Letters only.
        key : dict
            Strings and numbers.
        arrays : dict of arrays
            Numbers of any shape.

        Raises
        ------
        StoreError
            Where the disk is full or read-only; nothing finished is lost.

        Notes
        -----
        Cost: a copy in memory, hashing and writing.
        """
        if not kind.isalpha():
            raise ValueError(f"kind must be letters only, found {kind!r}")
        content = _build(kind, key, arrays)
        name = f"{kind}-{_hash_key(key)}-{hashlib.sha256(content).hexdigest()}.h5"
        try:
            self._write(content, self.path / name)
        except OSError as error:
            raise StoreError(f"{self.path / name} could not be written, and nothing was changed: {error}") from error
        for other in self.path.glob(f"{kind}-{_hash_key(key)}-*.h5"):
            if other.name != name:
                other.unlink(missing_ok=True)

    def _write(self, content: bytes, path: Path) -> None:
        temporary = self.path / f"{_TEMPORARY}{os.getpid()}-{os.urandom(8).hex()}"
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, by name; each file is read, but no array is made of it."""
        for entry, _ in self.check():
            if entry.path.suffix == ".h5":
                yield entry

    def check(self) -> Iterator[tuple[Entry, str | None]]:
        """Verify every file: yield it with what is wrong, or None."""
        for path in sorted(self.path.iterdir()):
            if path.name == _MARKER:
                continue
            size = path.stat().st_size
            created = time.strftime("%Y-%m-%d %H:%M", time.gmtime(path.stat().st_mtime))
            kind = path.name.split("-")[0]
            if path.name.startswith(_TEMPORARY):
                yield Entry(path, "temporary", None, size, created), "left over from an interrupted run"
            elif not path.is_file() or path.suffix != ".h5" or len(path.stem.split("-")) != 3:
                yield Entry(path, "foreign", None, size, created), "no file of the store"
            else:
                try:
                    key, _ = _read(path)
                    if path.stem.split("-")[1] != _hash_key(key):
                        raise ValueError("its key is another one than its name says")
                    yield Entry(path, kind, key, size, created), None
                except (OSError, ValueError, RuntimeError, KeyError) as error:
                    yield Entry(path, kind, None, size, created), str(error)

    def prune(self, kind: str | None = None, damaged: bool = False) -> list[Path]:
        """Remove entries and left-over temporary files; foreign files stay.

        Parameters
        ----------
        kind : str, optional
            Only this kind; default all.
        damaged : bool
            Only what is damaged or left over.

        Returns
        -------
        list of Path
            What was removed.
        """
        removed = []
        for entry, problem in self.check():
            wanted = problem is not None or not damaged
            if entry.kind != "foreign" and wanted and (kind is None or entry.kind == kind):
                entry.path.unlink(missing_ok=True)
                removed.append(entry.path)
        return removed


def _canonical(key: Key) -> str:
    return json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _hash_key(key: Key) -> str:
    return hashlib.sha256(_canonical(key).encode()).hexdigest()[:_KEY_DIGITS]


def _build(kind: str, key: Key, arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"] = _FORMAT
        file.attrs["kind"] = kind
        file.attrs["key"] = _canonical(key)
        for name, value in key.items():  # the same again, for people
            file.attrs[f"key.{name}"] = value
        for name, array in arrays.items():
            file.create_dataset(name, data=np.asarray(array))
    return buffer.getvalue()


def _read(path: Path) -> tuple[Key, dict[str, np.ndarray]]:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != path.stem.split("-")[-1]:
        raise ValueError("its checksum is wrong")
    with h5py.File(io.BytesIO(content), "r") as file:
        if file.attrs["format"] != _FORMAT:
            raise ValueError(f"its format is {file.attrs['format']}")
        key = json.loads(file.attrs["key"])
        return key, {name: _dataset(file, name, len(content)) for name in file}


def _dataset(file: h5py.File, name: str, limit: int) -> np.ndarray:
    # A checksum tells damage, not malice: only plain numbers that lie in this very file are read.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name!r} links elsewhere")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in _KINDS:
        raise ValueError(f"{name!r} is no array of numbers")
    if dataset.external or dataset.is_virtual or dataset.chunks is not None or dataset.nbytes > limit:
        raise ValueError(f"{name!r} does not lie in the file as plain numbers")
    return np.array(dataset)
