"""One registry of workloads: each answers one question with rows of ours and the peer's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from haarflow.bench.counting import Work
from haarflow.bench.images import FASHION, Images
from haarflow.kernels.orbit_tiles import Progress

__all__ = ["WORKLOADS", "Options", "Row", "Sizes", "Steps", "Workload", "plan", "workload"]

# Units of rows whose ratio says how many times faster ours is, in seconds.
_SECONDS = {"s": 1.0, "ns": 1e-9}


class Sizes(Protocol):
    """What every workload's sizes have: its numbers of base samples."""

    @property
    def ns(self) -> tuple[int, ...]:
        """Numbers of base samples, ascending."""
        ...


_Sizes = TypeVar("_Sizes", bound=Sizes)


@dataclass(frozen=True)
class Options:
    """How workloads are run.

    Attributes
    ----------
    quick : bool
        Small sizes, for a look.
    repeats : int
        How often ours is timed, of which the median counts; the peer at most 3 times.
    peer : bool
        Whether neural-tangents is run beside.
    ns : tuple of int
        Numbers of base samples in place of each workload's own; empty: its own.
    groups : tuple of str
        Groups in place of W1's own; empty: its own.
    images : Images
        What is measured on.
    """

    quick: bool = False
    repeats: int = 5
    peer: bool = True
    ns: tuple[int, ...] = ()
    groups: tuple[str, ...] = ()
    images: Images = FASHION

    @property
    def peer_repeats(self) -> int:
        """How often the peer is timed."""
        return min(self.repeats, 3)

    def sized(self, sizes: Mapping[bool, _Sizes]) -> _Sizes:
        """Return the sizes to be run: no more samples than there are images, unless they are asked for."""
        chosen = sizes[self.quick]
        ns = self.ns or [min(n, self.images.most) for n in chosen.ns]
        return replace(chosen, ns=tuple(sorted(set(ns))))  # type: ignore[type-var]


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes
    ----------
    workload, case : str
        Such as "W2", and which of its cases.
    ours, peer : float, float or None
        In `unit`; no peer where it was not run.
    unit : str
        "s", "ns" (of one kernel entry), or what else the numbers are.
    difference : float or None
        Largest difference of the results, relative to the largest of the peer's, or of direct evaluation.
    work : Work or None
        What ours needs, counted.
    note : str
        One sentence for the reader, shown below the table.
    detail : dict
        Sizes, and all that was tried.
    """

    workload: str
    case: str
    ours: float
    peer: float | None = None
    unit: str = "s"
    difference: float | None = None
    work: Work | None = None
    note: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """Our time in seconds; None where the row holds none."""
        return self.ours * _SECONDS[self.unit] if self.unit in _SECONDS else None

    @property
    def ratio(self) -> float | None:
        """How many times as long the peer takes; None without a peer, or where the row holds no times."""
        return self.peer / self.ours if self.peer is not None and self.unit in _SECONDS else None


class Steps:
    """Tell a progress callable how many of a workload's measurements are done.

    Parameters
    ----------
    progress : callable or None
        progress(label, done, total).
    label : str
        The workload.
    total : int
        How many measurements there are.
    """

    def __init__(self, progress: Progress | None, label: str, total: int) -> None:
        self._progress, self._label, self._total, self._done = progress, label, total, -1
        self.done()

    def done(self) -> None:
        """Count one more."""
        self._done += 1
        if self._progress is not None:
            self._progress(self._label, self._done, self._total)


Run = Callable[[Options, Progress | None], list[Row]]


@dataclass(frozen=True)
class Workload:
    """An entry of the registry.

    Attributes
    ----------
    name : str
        Such as "W1".
    question : str
        What it answers.
    sizes : mapping of bool to sizes
        The whole sizes (False) and those of a quick look (True).
    run : callable
        (options, progress) -> rows.
    """

    name: str
    question: str
    sizes: Mapping[bool, Sizes]
    run: Run


WORKLOADS: dict[str, Workload] = {}


def workload(name: str, header: str | None, sizes: Mapping[bool, Sizes]) -> Callable[[Run], Run]:
    """Enter a workload into the registry.

    Parameters
    ----------
    name : str
        Such as "W1".
    header : str or None
        The module's docstring; its first line says the question.
    sizes : mapping of bool to sizes
        The whole sizes (False) and those of a quick look (True).
    """

    def enter(run: Run) -> Run:
        WORKLOADS[name] = Workload(name, (header or "").splitlines()[0].removeprefix("Question: "), sizes, run)
        return run

    return enter


def plan(names: Sequence[str] | None) -> list[Workload]:
    """Return the workloads to be run, in their order.

    Parameters
    ----------
    names : sequence of str or None
        Such as "W1"; default all.

    Raises
    ------
    ValueError
        For a workload that is not in the registry.
    """
    for name in names or ():
        if name not in WORKLOADS:
            raise ValueError(f"workload must be one of {sorted(WORKLOADS)}, found {name!r}")
    return [WORKLOADS[name] for name in sorted(set(names or WORKLOADS))]
