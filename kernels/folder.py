"""A store's folder as the system has it: its marker, names that are flushed to disk, and what is said of it."""

import errno
import json
import os
from pathlib import Path

from haarflow.kernels.entry import FORMAT

__all__ = ["MARKER", "StoreError", "StoreWarning", "check_marker", "flush"]

MARKER = "haarflow-store.json"
_MARKER_LIMIT = 2**16
# What some file systems say to flushing a folder, which they do not know.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP)


class StoreError(OSError):
    """The store cannot be used; what was finished before is untouched."""


class StoreWarning(UserWarning):
    """An entry is damaged, cannot be read or is older, and is computed again or passed over; or the folder is gone."""


def flush(path: Path) -> None:
    """Flush the folder with a file's or folder's name in it."""
    if not hasattr(os, "O_DIRECTORY"):  # there folders cannot be flushed
        return
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise StoreError(f"{path} was written, but its folder could not be flushed to disk: {error}") from error


def check_marker(marker: Path) -> None:
    """Raise StoreError for a marker that is damaged, or of a newer version."""
    try:
        if not marker.is_file() or marker.stat().st_size > _MARKER_LIMIT:  # a device or a pipe has no end
            raise ValueError("no file of a few bytes")
        found = json.loads(marker.read_bytes())["format"]
        if type(found) is not int or found < 1:
            raise ValueError(f"format {found!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(
            f'marker {marker} is damaged ({error}): where the folder is a store, write {{"format": {FORMAT}}} into it'
        ) from error
    if found > FORMAT:
        raise StoreError(f"store {marker.parent} has format {found} of a newer haarflow; this version reads {FORMAT}")
