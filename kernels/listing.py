"""What lies in a store's folder, file by file."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from haarflow.kernels.entry import NAME, DamageError, Key, UnreadableError, damage_of, read_header, reading
from haarflow.kernels.temporary import PREFIX, left_over

__all__ = ["Entry", "look_at", "verified"]


@dataclass(frozen=True)
class Entry:
    """One file of a store.

    Attributes
    ----------
    path : Path
        The file.
    kind : str
        Such as "gram"; "temporary" and "foreign" for what is no entry.
    key : dict or None
        What it was computed from; None where the file does not tell.
    bytes : int
        Its size.
    created : str
        When it was written, UTC.
    damage : str or None
        What is wrong with it, as far as it was looked at.
    unreadable : str or None
        Why the system did not let it be read, so that nothing is known of what it holds.
    """

    path: Path
    kind: str
    key: Key | None
    bytes: int
    created: str
    damage: str | None = None
    unreadable: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with it, or why that cannot be told."""
        return self.damage or self.unreadable

    @property
    def ok(self) -> bool:
        """Whether it was read and nothing wrong was found."""
        return self.problem is None


def look_at(path: Path) -> Entry:
    """Return what a file's name and first line tell, or raise FileNotFoundError where it is gone."""
    match = NAME.fullmatch(path.name)
    temporary = path.name.startswith(PREFIX)
    kind = match[1] if match else "temporary" if temporary else "foreign"
    key, size, created, damage, unreadable = None, 0, "", None, None
    try:
        with reading():
            status = path.lstat()
            size, created = status.st_size, time.strftime("%Y-%m-%d %H:%M", time.gmtime(status.st_mtime))
            if match:
                key = read_header(path)
            elif not temporary:
                damage = "no file of the store"
            elif left_over(path):
                damage = "left over from an interrupted run"
    except DamageError as error:
        damage = str(error)
    except UnreadableError as error:
        unreadable = str(error)
    return Entry(path, kind, key, size, created, damage, unreadable)


def verified(entry: Entry) -> Entry:
    """Return an entry with what is wrong behind its first line too, or raise FileNotFoundError where it is gone."""
    try:
        return replace(entry, damage=damage_of(entry.path), unreadable=None)
    except UnreadableError as error:
        return replace(entry, damage=None, unreadable=str(error))
