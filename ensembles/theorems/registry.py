"""One registry of theorems: each says what it claims, measures it, and measures it again where it must fail."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from haarflow.theorems.workloads import Workload, standard_workloads

__all__ = ["THEOREMS", "Measurement", "Theorem", "Verdict", "plan", "run", "theorem"]

Measure = Callable[[Workload], "Measurement | None"]
Own = Callable[[int, bool], Sequence[Workload]]


@dataclass(frozen=True, eq=False)
class Measurement:
    """What one theorem measured on one workload.

    Attributes
    ----------
    residual : float
        What the theorem says is 0, at most.
    control : float
        The same with the theorem's condition broken.
    broken : str
        What was broken.
    curves : dict of str to array
        Everything a figure needs.
    note : str
        What else was found, in a line, for readers of the report.
    """

    residual: float
    control: float
    broken: str
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Theorem:
    """An entry of the registry: `bound` holds for residuals, every control must exceed `floor`.

    Attributes
    ----------
    name, statement, source : str
        Such as "T3"; what is claimed; by whom.
    bound, floor : float
        The residual is at most `bound`, the negative control more than `floor`.
    measure : callable
        workload -> Measurement, or None where the theorem does not apply.
    own : callable or None
        (seed, quick) -> workloads, where the theorem has its own.
    """

    name: str
    statement: str
    source: str
    bound: float
    floor: float
    measure: Measure
    own: Own | None = None


@dataclass(frozen=True)
class Verdict:
    """A theorem on a workload, measured."""

    theorem: Theorem
    workload: Workload
    measurement: Measurement

    @property
    def holds(self) -> bool:
        """Whether the residual is within its bound and the negative control is not."""
        m = self.measurement
        return bool(m.residual <= self.theorem.bound and m.control > self.theorem.floor)


THEOREMS: dict[str, Theorem] = {}


def theorem(
    name: str, statement: str, source: str, bound: float, floor: float, own: Own | None = None
) -> Callable[[Measure], Measure]:
    """Enter a measuring function into the registry.

    Parameters
    ----------
    name : str
        Its short name, such as "T3".
    statement, source : str
        What is claimed, and by whom.
    bound, floor : float
        The residual is at most `bound`, the negative control more than `floor`.
    own : callable, optional
        (seed, quick) -> workloads of its own, in place of the standard ones.
    """

    def enter(measure: Measure) -> Measure:
        THEOREMS[name] = Theorem(name, statement, source, bound, floor, measure, own)
        return measure

    return enter


def plan(
    names: Sequence[str] | None, workloads: Sequence[Workload], seed: int = 0, quick: bool = False
) -> list[tuple[Theorem, Workload]]:
    """Return the theorems to be run, each with its workloads.

    Parameters
    ----------
    names : sequence of str or None
        Default all.
    workloads : sequence of Workload
        For the theorems that have none of their own.
    seed, quick : int, bool
        For those that have.

    Raises
    ------
    ValueError
        For a theorem that is not in the registry.
    """
    for name in names or ():
        if name not in THEOREMS:
            raise ValueError(f"theorem must be one of {sorted(THEOREMS)}, found {name!r}")
    chosen = [THEOREMS[name] for name in sorted(names or THEOREMS)]
    return [(e, workload) for e in chosen for workload in (e.own(seed, quick) if e.own else workloads)]


def run(name: str, workloads: Sequence[Workload] | None = None) -> Iterator[Verdict]:
    """Measure one theorem on workloads, with its negative control.

    Parameters
    ----------
    name : str
        Such as "T3".
    workloads : sequence of Workload, optional
        Default the four of `standard_workloads`.

    Yields
    ------
    Verdict
        One for each workload the theorem applies to.

    Raises
    ------
    ValueError
        For a theorem that is not in the registry.
    """
    for entry, workload in plan([name], standard_workloads() if workloads is None else workloads):
        measurement = entry.measure(workload)
        if measurement is not None:
            yield Verdict(entry, workload, measurement)
