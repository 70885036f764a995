"""A progress bar on a terminal, and none elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from haarflow.kernels.orbits import Progress as Report

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(report: Report | bool | None) -> Iterator[Report | None]:
    """Give the callable that long work reports to.

    Parameters
    ----------
    report : callable, bool or None
        A callable (label, done, total) is passed through; None shows a bar when standard error is a
        terminal; False shows nothing; True always shows one.
    """
    if callable(report):
        yield report
        return
    console = Console(stderr=True)
    if report is False or (report is None and not console.is_terminal):
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, int] = {}

        def show(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bar.add_task(label, total=total)
            bar.update(tasks[label], completed=done, total=total)  # type: ignore[arg-type]

        yield show
