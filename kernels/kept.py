"""An entry that was verified once and is read many times."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haarflow.kernels.entry import DamageError, Place, open_plain, reading

__all__ = ["Kept", "Signature", "TouchedError", "signature_of"]

# What changes when a file is written to or replaced: inode, bytes, time of the last write, which anybody can set
# back, and time of the last change, which nobody can.
Signature = tuple[int, int, int, int]


class TouchedError(DamageError):
    """A file's permissions or links were changed since it was verified, or what it holds and then its time."""


def signature_of(status: os.stat_result) -> Signature:
    """Return what tells whether a file is still the one that was verified."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True)
class Kept:
    """Where the arrays of a verified entry lie.

    Attributes
    ----------
    path : Path
        The file.
    signature : Signature
        Taken before it was verified.
    places : dict of Place
        Of each array, by name.
    """

    path: Path
    signature: Signature
    places: dict[str, Place]

    def read(self, name: str, buffer: np.ndarray | None = None) -> np.ndarray:
        """Read one array without verifying it again.

        Parameters
        ----------
        name : str
            Of the array.
        buffer : array of bytes, optional
            At least as large as the array, which becomes a view of it.

        Raises
        ------
        DamageError
            Where the file was changed, replaced or removed since it was verified.
        TouchedError
            Where only the time of the last change tells, as after a backup that links files.
        UnreadableError
            Where the system does not let it be read.
        """
        place = self.places[name]
        size = place.dtype.itemsize * int(np.prod(place.shape))
        raw = np.empty(size, np.uint8) if buffer is None else buffer[:size]
        try:
            with reading(), open_plain(self.path) as file:
                self._check(os.fstat(file.fileno()))
                file.seek(place.offset)
                view, done = memoryview(raw.data), 0
                while done < size:
                    count = file.readinto(view[done:])
                    if not count:
                        raise DamageError("it ends early")
                    done += count
                self._check(os.fstat(file.fileno()))  # what was written meanwhile
        except FileNotFoundError as error:
            raise DamageError("it was removed since it was verified") from error
        return raw.view(place.dtype).reshape(place.shape)

    def _check(self, status: os.stat_result) -> None:
        found = signature_of(status)
        if found != self.signature:
            error = TouchedError if found[:-1] == self.signature[:-1] else DamageError
            raise error("it was changed since it was verified")
