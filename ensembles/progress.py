"""A progress bar on a terminal, and none elsewhere; how fast work goes, and how long it will take."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from haarflow.kernels.backend import compilations_told, cores
from haarflow.kernels.orbit_tiles import Progress as Report

__all__ = ["Counter", "Pace", "progress_bar"]

# What the items of a label are, where their number per second says something.
_UNITS = {"orbit Gram": "entries", "test kernel": "entries", "eigendecomposition": "blocks"}
# Of these only the share says something: there are many, or they are of two kinds.
_SHARES = ("orbit Gram", "test kernel", "prior")
# Seconds over which a pace is measured at most; and at least, after several reports of each core or after few.
_WINDOW, _SOON, _LATER, _SEVERAL = 60.0, 2.0, 20.0, 3
_COMPILING = "compiling"


class Pace:
    """How fast items are done, and so when the last will be.

    The first report is where it begins: what was done before, as tiles of a store are, and what came before, as the
    compilation does, say nothing of what is to come.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._reports, self._total = 0, 0

    def add(self, done: int, total: int) -> None:
        """Enter a report."""
        now = monotonic()
        if self._seen and (done < self._seen[-1][1] or total != self._total):  # another pass
            self._seen.clear()
            self._reports = 0
        self._reports, self._total = self._reports + 1, total
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] > _WINDOW:
            self._seen.popleft()

    @property
    def speed(self) -> float | None:
        """Items a second; None before that can be told."""
        if len(self._seen) < 2:
            return None
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        # Threads that began together report together: the first reports of a round count for all of it.
        believed = _SOON if self._reports > _SEVERAL * cores() else _LATER
        return (after - before) / (end - start) if end - start >= believed and after > before else None

    @property
    def remaining(self) -> float | None:
        """Seconds until all is done; None before that can be told."""
        speed = self.speed
        if speed is None:
            return None
        last, done = self._seen[-1]
        return max((self._total - done) / speed - (monotonic() - last), 0.0)


class _Share(ProgressColumn):
    """How many items are done, of entries how large a share; of a compilation how long it has taken."""

    def render(self, task: Task) -> Text:
        if task.description == _COMPILING:
            return Text(f"{task.elapsed or 0:.0f} s", style="progress.elapsed")
        if task.description in _SHARES:
            return Text(f"{task.percentage:.0f}%", style="progress.percentage")
        return Text(f"{task.completed:.0f}/{task.total:.0f}", style="progress.download")


class _Rate(ProgressColumn):
    """Items per second, where it is known what they are."""

    def render(self, task: Task) -> Text:
        unit, speed = _UNITS.get(task.description), task.fields["pace"].speed
        return Text(f"{speed:.3g} {unit}/s" if unit and speed else "", style="progress.data.speed")


class _Remaining(ProgressColumn):
    """How long the rest will take."""

    def render(self, task: Task) -> Text:
        remaining = task.fields["pace"].remaining
        shown = "" if remaining is None or task.finished else str(timedelta(seconds=round(remaining)))
        return Text(shown, style="progress.remaining")


@contextmanager
def progress_bar(
    report: Report | bool | None, per_second: float = 10, unseen: Report | None = None
) -> Iterator[Report | None]:
    """Give the callable that long work reports to.

    Parameters
    ----------
    report : callable, bool or None
        A callable (label, done, total) is passed through; None shows a bar when standard error is a
        terminal; False shows nothing; True always shows one.
    per_second : float
        How often the bar is drawn; less often beside work that is timed.
    unseen : callable, optional
        What is reported to where nothing is shown.
    """
    if callable(report):
        yield report
        return
    console = Console(stderr=True)
    if report is False or (report is None and not console.is_terminal):
        yield unseen
        return
    columns = (TextColumn("{task.description}"), BarColumn(), _Share(), _Rate(), _Remaining())
    with Progress(*columns, console=console, transient=True, refresh_per_second=per_second) as bar:
        shown = _Shown(bar)
        with shown.compilations():
            yield shown


class _Shown:
    """Shows what is reported, by whichever thread."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._lock = bar, threading.Lock()
        self._tasks: dict[str, int] = {}
        self._paces: dict[str, Pace] = {}
        self._compiling = 0

    def __call__(self, label: str, done: int, total: int) -> None:
        with self._lock:
            if label not in self._tasks:
                self._paces[label] = Pace()
                self._tasks[label] = self._bar.add_task(label, total=total, pace=self._paces[label])
            self._paces[label].add(done, total)
        self._bar.update(self._tasks[label], completed=done, total=total)  # type: ignore[arg-type]

    def compilations(self) -> AbstractContextManager[None]:
        """Show compilations too, a bar that only moves: how long they take is not known."""
        return compilations_told(self._compiles)

    def _compiles(self, begins: bool) -> None:
        with self._lock:
            self._compiling += 1 if begins else -1
            if begins and self._compiling == 1:
                self._tasks[_COMPILING] = self._bar.add_task(_COMPILING, total=None, pace=Pace())
            elif self._compiling == 0:
                self._bar.remove_task(self._tasks.pop(_COMPILING))  # type: ignore[arg-type]


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
