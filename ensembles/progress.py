"""A progress bar on a terminal, and none elsewhere."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from haarflow.kernels.orbit_tiles import Progress as Report

__all__ = ["Counter", "progress_bar"]

# What the items of a label are, where their number per second says something.
_UNITS = {"orbit Gram": "tiles", "test kernel": "test points", "eigendecomposition": "blocks"}


class _Rate(ProgressColumn):
    """Items per second, where it is known what they are."""

    def render(self, task: Task) -> Text:
        unit = _UNITS.get(task.description)
        return Text(f"{task.speed:.3g} {unit}/s" if unit and task.speed else "", style="progress.data.speed")


@contextmanager
def progress_bar(report: Report | bool | None, per_second: float = 10) -> Iterator[Report | None]:
    """Give the callable that long work reports to.

    Parameters
    ----------
    report : callable, bool or None
        A callable (label, done, total) is passed through; None shows a bar when standard error is a
        terminal; False shows nothing; True always shows one.
    per_second : float
        How often the bar is drawn; less often beside work that is timed.
    """
    if callable(report):
        yield report
        return
    console = Console(stderr=True)
    if report is False or (report is None and not console.is_terminal):
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, refresh_per_second=per_second) as bar:
        tasks: dict[str, int] = {}

        def show(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bar.add_task(label, total=total)
            bar.update(tasks[label], completed=done, total=total)  # type: ignore[arg-type]

        yield show


class Counter:
    """Adds up what several threads have done, and reports it.

    Parameters
    ----------
    report : callable or None
        report(label, done, total).
    label : str
        Of the work.
    total : int
        Of its items.
    """

    def __init__(self, report: Report | None, label: str, total: int) -> None:
        self._report, self._label, self._total, self._done, self._lock = report, label, total, 0, threading.Lock()

    def __call__(self, several: int) -> None:
        """Count items more."""
        with self._lock:
            self._done += several
            if self._report is not None:
                self._report(self._label, self._done, self._total)
