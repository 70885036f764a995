"""Work that nothing can interrupt, such as LAPACK's: on a thread of its own, while the caller reports and may leave."""

import os
import threading
import time
from collections.abc import Callable, Hashable
from typing import TypeVar

__all__ = ["await_background", "in_background"]

T = TypeVar("T")
# Called with the seconds that have passed.
Tick = Callable[[float], None]

# How long the caller sleeps between looks: within that Ctrl-C is answered.
_LOOK = 0.2
# What runs here: an event that is set at its end, and when it began and how long it was thought to take.
_running: dict[Hashable, tuple[threading.Event, float, float]] = {}


def in_background(
    work: Callable[[], T],
    what: str,
    seconds: float,
    kept: str | None = None,
    tick: Tick | None = None,
    key: Hashable = None,
) -> T:
    """Return work(), done on another thread; where the caller is interrupted meanwhile, it leaves and the work goes on.

    Parameters
    ----------
    work : callable
        What is done; where its result outlives the caller, it keeps that itself.
    what : str
        Such as "the eigendecomposition of order 5000".
    seconds : float
        How long it is thought to take.
    kept : str, optional
        Where the work keeps what it finds. Then the interpreter waits for it at its exit; without, it is dropped there.
    tick : callable, optional
        tick(seconds passed), several times a second.
    key : hashable, optional
        Names the work for `await_background`.

    Raises
    ------
    KeyboardInterrupt
        With a note that says what goes on, for how long, and what becomes of it.
    """
    ended, found = threading.Event(), []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            errors.append(error)
            if left:  # nobody else will hear of it
                raise
        finally:
            _running.pop(place, None)
            ended.set()

    left: list[bool] = []
    place, began = (os.getpid(), key if key is not None else object()), time.monotonic()
    if place in _running:  # another thread does the same
        place = os.getpid(), object()
    _running[place] = ended, began, seconds
    thread = threading.Thread(target=run, name=f"haarflow: {what}", daemon=kept is None)
    try:
        thread.start()  # an interruption may come while it begins
        _wait(ended, began, tick)
    except BaseException as error:
        left.append(True)
        error.add_note(_farewell(what, seconds - (time.monotonic() - began), kept))
        raise
    if errors:
        raise errors[0]
    return found[0]


def await_background(key: Hashable, what: str, kept: str, tick: Tick | None = None) -> None:
    """Wait for what was left running in this process under a key, if anything was.

    Parameters
    ----------
    key, what, kept, tick
        As in `in_background`.
    """
    going = _running.get((os.getpid(), key))
    if going is None:
        return
    ended, began, seconds = going
    try:
        _wait(ended, began, tick)
    except BaseException as error:
        error.add_note(_farewell(what, seconds - (time.monotonic() - began), kept))
        raise


def _wait(ended: threading.Event, began: float, tick: Tick | None) -> None:
    while not ended.wait(_LOOK):
        if tick is not None:
            tick(time.monotonic() - began)


def _farewell(what: str, seconds: float, kept: str | None) -> str:
    rest = f"for about {seconds:.0f} s more" if seconds >= 1 else "for a moment more"
    if kept is None:
        return (
            f"haarflow: {what} cannot be stopped: it goes on in the background {rest}, and its result is dropped, as "
            "what was factorised before is; with store= it would be kept for the next fit"
        )
    return (
        f"haarflow: {what} cannot be stopped: it goes on in the background {rest}, and is kept in {kept}, where the "
        "next fit finds it. Python waits for it when it exits; another Ctrl-C there gives it up"
    )
