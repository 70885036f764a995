"""Pickling of ensembles: a lock and a user's progress callable stay behind in their process."""

import threading
from typing import Any

from haarflow.kernels.orbit_tiles import Progress

__all__ = ["Guard", "as_report"]


class Guard:
    """A lock, with what holds it, that copies and pickles as a new one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Guard, ()


class _Report:
    """A callable that pickles as None, since it mostly belongs to a screen, and copies as itself."""

    def __init__(self, report: Progress) -> None:
        self._report = report

    def __call__(self, label: str, done: int, total: int) -> None:
        self._report(label, done, total)

    def __copy__(self) -> "_Report":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Report":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()


def as_report(progress: Any) -> Progress | bool | None:
    """Return what an ensemble keeps of its argument `progress`.

    Raises
    ------
    TypeError
        For something that is neither callable nor a bool nor None.
    """
    if progress is None or isinstance(progress, bool):
        return progress
    if not callable(progress):
        raise TypeError(f"progress must be callable as progress(label, done, total), or a bool, found {progress!r}")
    return progress if isinstance(progress, _Report) else _Report(progress)
