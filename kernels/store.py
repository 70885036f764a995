"""A folder of HDF5 files, one for each entry: content-addressed, checksummed, never edited in place."""

import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np

from haarflow.kernels.entry import (
    FORMAT,
    MADE_BY,
    NAME,
    Contents,
    DamageError,
    Key,
    Shapes,
    UnreadableError,
    build_entry,
    canonical,
    check_shapes,
    digest_array,
    read_entry,
    reading,
    stem,
)
from haarflow.kernels.folder import MARKER, StoreError, StoreWarning, check_marker, flush
from haarflow.kernels.kept import Kept, signature_of
from haarflow.kernels.listing import Entry, look_at, verified
from haarflow.kernels.temporary import PREFIX, temporary_name

__all__ = ["Entry", "Store", "StoreError", "StoreWarning", "digest_array"]

# What an entry may take beside its numbers: its key of a megabyte, three times over, and HDF5's own.
_SLACK = 2**24


class Store:
    """Keep arrays under a key, durably.

    Each entry is one file, built in memory, hashed, written beside its place, flushed to disk and renamed.
    Its name holds the SHA-256 of its bytes, which are verified before the HDF5 library sees them. Its first
    line is its key as JSON, in HDF5's user block; the root attributes say the same, and what wrote it.

    Parameters
    ----------
    path : path
        The folder.
    create : bool
        Make it when it is missing, and require that it can be written to.

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
        self.path = Path(path).absolute()
        self._open(create)

    def make_again(self) -> None:
        """Make the folder anew, with a `StoreWarning`, where it was moved or removed since."""
        if not self.path.exists():
            warnings.warn(
                f"store {self.path} is gone: it was moved or removed, and is made anew, with nothing in it",
                StoreWarning,
                stacklevel=4,
            )
            self._open(create=True)

    def _open(self, create: bool) -> None:
        try:
            self._prepare(create)
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"store cannot be {'made' if create else 'opened'} at {self.path}: {error}") from error

    def _prepare(self, create: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"store must be a folder, found the file {self.path}")
        if create:
            missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / MARKER).exists():
                missing.append(self.path)  # though it exists: whoever made it may have failed to
            for folder in {*missing}:
                if os.access(folder.parent, os.R_OK):  # those above the store may let nobody list them
                    flush(folder)
        elif not self.path.exists():
            raise StoreError(f"store must be an existing folder, found nothing at {self.path}")
        marker = self.path / MARKER
        if not marker.exists():
            names = sorted(p.name for p in self.path.iterdir())
            # Another process may be making the same store right now.
            foreign = [name for name in names if name != MARKER and not name.startswith(PREFIX)]
            if foreign or not create:
                found = ", ".join(foreign[:3]) + (", ..." if foreign[3:] else "") if foreign else "no file"
                raise StoreError(f"store must be an empty folder or one with {MARKER}, found {found} in {self.path}")
            self._write(json.dumps({"format": FORMAT, "made_by": MADE_BY}).encode(), marker)
        check_marker(marker)
        if create and not os.access(self.path, os.W_OK | os.X_OK):
            raise StoreError(f"store must be a writable folder, found {self.path} read-only")

    def get(self, kind: str, key: Key, shapes: Shapes | None = None) -> dict[str, np.ndarray] | None:
        """Look an entry up.

        Parameters
        ----------
        kind : str
            Such as "gram".
        key : dict
            What it was computed from: JSON values such as strings and numbers.
        shapes : dict of (shape, dtype), optional
            What it must hold, by name: an entry without these, or with numbers in them that are not finite, counts
            as damaged.

        Returns
        -------
        dict of arrays, or None
            Writable, bit for bit what was put. None where there is no such entry, or only one that is damaged or
            cannot be read, of which a `StoreWarning` says why.

        Notes
        -----
        Cost: reading and hashing the file, and twice its size in memory.
        """
        found = self._sound(kind, key, shapes)
        return None if found is None else found[1].arrays

    def keep_open(self, kind: str, key: Key, shapes: Shapes | None = None) -> Kept | None:
        """Verify an entry as `get` does, for reading its arrays again and again.

        Parameters
        ----------
        kind, key, shapes
            As in `get`.

        Returns
        -------
        Kept or None
        """
        found = self._sound(kind, key, shapes)
        return None if found is None else found[0]

    def _sound(self, kind: str, key: Key, shapes: Shapes | None) -> tuple[Kept, Contents] | None:
        text, found = canonical(key), None
        passed: list[tuple[str, Exception]] = []
        for path in self._paths(stem(kind, key)):
            try:
                with reading():
                    signature = signature_of(path.lstat())
                contents = read_entry(path, _most(shapes))
                if contents.key != text:
                    raise DamageError("its key is another one with the same hash")
                check_shapes(contents.arrays, shapes or {})
            except FileNotFoundError:
                continue  # removed by another process in between
            except DamageError as damage:
                passed.append((f"{path} is damaged and", damage))
            except UnreadableError as reason:
                passed.append((f"{path}", reason))
            else:
                found = Kept(path, signature, contents.places), contents
                break
        instead = "computed again" if found is None else "passed over for another copy"
        for subject, problem in passed:
            warnings.warn(f"{subject} is {instead}: {problem}", StoreWarning, stacklevel=3)
        return found

    def _paths(self, start: str) -> list[Path]:
        return [self.path / name for name in sorted(n for n in self._names() if n.startswith(f"{start}-"))]

    def _names(self) -> list[str]:
        # Not glob: among 100,000 files that takes ten times as long.
        try:
            files = os.scandir(self.path)
        except OSError as error:
            raise StoreError(self._why("cannot be read", error)) from error
        with files:
            return [f.name for f in files if f.name.endswith(".h5")]

    def _why(self, not_done: str, error: OSError) -> str:
        if self.path.exists():
            return f"store {self.path} {not_done}: {error}"
        return (
            f"store {self.path} {not_done}, since it is gone: it was moved or removed. Move it back, or call "
            "fit of an ensemble with store= its new folder, which finds there what was computed"
        )

    def found(self, starts: Collection[str]) -> set[str]:
        """Return those of some stems, as `entry.stem` has them, under which there are entries: one listing for all."""
        return {name.rpartition("-")[0] for name in self._names()}.intersection(starts)

    def put(self, kind: str, key: Key, arrays: dict[str, np.ndarray], info: Key | None = None) -> None:
        """Keep arrays under a key; damaged entries of the same key go, those that cannot be read stay.

        Parameters
        ----------
        kind : str
            Letters only.
        key : dict
            What they were computed from: JSON values such as strings and numbers.
        arrays : dict of arrays
            Numbers or booleans of any shape, by name.
        info : dict, optional
            JSON values worth keeping that are not part of the key, such as the seconds it took.

        Raises
        ------
        StoreError
            Where the disk is full or read-only; nothing finished is lost.
        TypeError, ValueError
            For a kind, key, name or array that cannot be kept.

        Notes
        -----
        Cost: a copy in memory, hashing and writing; no writing where the same bytes are there already.
        """
        start = stem(kind, key)
        content = build_entry(kind, key, arrays, {} if info is None else info)
        path = self.path / f"{start}-{hashlib.sha256(content).hexdigest()}.h5"
        try:
            if _is_sound(path, most=len(content)):
                flush(path)  # whoever wrote it may have failed to
            else:
                self._write(content, path)
        except StoreError:
            raise
        except OSError as error:
            if not self.path.exists():
                raise StoreError(self._why("could not be written", error)) from error
            raise StoreError(f"{path} could not be written, and nothing was changed: {error}") from error
        finite = {name: np.asarray(array) for name, array in arrays.items() if np.isfinite(array).all()}
        shapes = {name: (array.shape, array.dtype.name) for name, array in finite.items()}
        for other in self._paths(start):
            # A sound one is another process's, written at the same time.
            if other != path and _is_sound(other, shapes, len(content) + _SLACK) is False:
                with suppress(OSError):
                    other.unlink()

    def _write(self, content: bytes, path: Path) -> None:
        temporary = self.path / temporary_name()
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        flush(path)

    def remove(self, kind: str, key: Key) -> None:
        """Remove the entries of a key, as far as the system lets that be done."""
        for path in self._paths(stem(kind, key)):
            with suppress(OSError):
                path.unlink()

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, by name.

        Notes
        -----
        Cost: the first line of each file; damage behind it is found by `check`.
        """
        return (entry for entry in self._files() if NAME.fullmatch(entry.path.name))

    def check(self) -> Iterator[tuple[Entry, str | None]]:
        """Verify every file: yield it with what is wrong or why that cannot be told, or None.

        Notes
        -----
        Cost: reading and hashing all of the store. Nothing is wrong with a temporary file that a living
        process is writing.
        """
        for entry in self._files():
            try:
                found = verified(entry) if NAME.fullmatch(entry.path.name) else entry
            except FileNotFoundError:
                continue
            yield found, found.problem

    def prune(
        self,
        kind: str | None = None,
        damaged: bool = False,
        older_than: timedelta | None = None,
        chosen: Callable[[Entry], bool] | None = None,
    ) -> list[Path]:
        """Remove entries, and always what interrupted runs left over; foreign files stay.

        Parameters
        ----------
        kind : str, optional
            Only entries of this kind; default all.
        damaged : bool
            Only damaged entries, of which those that cannot be read are none.
        older_than : timedelta, optional
            Only entries that were written longer ago; default all.
        chosen : callable, optional
            Only entries for which it says so; default all.

        Returns
        -------
        list of Path
            What was removed.

        Raises
        ------
        StoreError
            Where a file cannot be removed.

        Notes
        -----
        Cost: listing the folder; with damaged=True, reading the entries in question.
        """
        if older_than is not None and not isinstance(older_than, timedelta):
            raise TypeError(f"older_than must be a datetime.timedelta, found {older_than!r}")
        removed = []
        for entry in self._files():
            try:
                if NAME.fullmatch(entry.path.name):
                    wanted = kind in (None, entry.kind) and (chosen is None or chosen(entry))
                    if wanted and older_than is not None:
                        wanted = time.time() - entry.path.stat().st_mtime > older_than.total_seconds()
                    if wanted and damaged:
                        wanted = verified(entry).damage is not None
                else:
                    wanted = entry.kind == "temporary" and entry.damage is not None
                if wanted:
                    entry.path.unlink()
                    removed.append(entry.path)
            except FileNotFoundError:
                continue  # another process was faster
            except OSError as error:
                raise StoreError(f"{entry.path} could not be removed: {error}") from error
        return removed

    def _files(self) -> Iterator[Entry]:
        """Yield every file but the marker, looking at no more than its first line."""
        try:
            paths = sorted(self.path.iterdir())
        except OSError as error:
            raise StoreError(self._why("cannot be read", error)) from error
        for path in paths:
            if path.name == MARKER:
                continue
            try:
                entry = look_at(path)
            except FileNotFoundError:
                continue
            yield entry


def _most(shapes: Shapes | None) -> int | None:
    """Return how many bytes an entry may have."""
    sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in (shapes or {}).values()]
    return _SLACK + sum(sizes) if shapes else None


def _is_sound(path: Path, shapes: Shapes | None = None, most: int | None = None) -> bool | None:
    """Whether an entry is sound, or None where that cannot be told: it is gone, or cannot be read."""
    try:
        check_shapes(read_entry(path, most).arrays, shapes or {})
    except DamageError:
        return False
    except (UnreadableError, FileNotFoundError):
        return None
    return True
