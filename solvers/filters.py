"""Filters phi(lambda, t): how far training has come along an eigenvector of the Gram matrix at time t."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

__all__ = ["Filter", "GradientDescent", "GradientFlow", "HeavyBall", "StepError", "check_times", "make_filter"]


class StepError(ValueError):
    """The step of a discrete dynamics is too large for the largest eigenvalue: training diverges.

    Attributes
    ----------
    name : str
        Of the dynamics.
    excess : float
        How many times too large it is; 1 is the limit of stability.
    """

    def __init__(self, message: str, name: str, excess: float) -> None:
        super().__init__(message)
        self.name, self.excess = name, excess

    def __reduce__(self) -> tuple[type["StepError"], tuple[str, str, float]]:
        """Travel between processes."""
        return StepError, (str(self), self.name, self.excess)


@runtime_checkable
class Filter(Protocol):
    """A training dynamics: called as filter(eigenvalues [m], times [T], rate) it returns phi [T, m].

    The mean is Theta(x, X) phi Y. `rate` turns the user's clock into the flow's: rate * t is the flow's time,
    and rate is the step of discrete dynamics, whose t counts whole steps.
    """

    def __call__(self, eigenvalues: np.ndarray, times: np.ndarray, rate: float) -> np.ndarray:
        """Return phi [T, m]."""
        ...


@dataclass(frozen=True)
class GradientFlow:
    """Gradient flow: phi_t = (1 - exp(-lambda t)) / lambda, and t where lambda = 0.

    Notes
    -----
    Source: Lee et al. 2019, eq. 8.

    Examples
    --------
    >>> import numpy as np
    >>> from haarflow import solvers
    >>> solvers.GradientFlow()(np.array([0.5]), np.array([0, 2, np.inf]), rate=1.0).round(3)
    array([[0.   ],
           [1.264],
           [2.   ]])
    """

    def __call__(self, eigenvalues: np.ndarray, times: np.ndarray, rate: float) -> np.ndarray:
        """Return phi [T, m]; rate * t is the flow's time."""
        values = np.asarray(eigenvalues, float)[None, :]
        with np.errstate(all="ignore"):
            t = rate * np.asarray(times, float)[:, None]
            x = np.where(values == 0, 0.0, values * t)
            # Two terms of the series are exact to 1e-17 here, and survive where lambda t underflows.
            return np.where(np.abs(x) < 1e-8, t * (1 - x / 2), -np.expm1(-x) / values)


@dataclass(frozen=True)
class GradientDescent:
    """Full-batch gradient descent with step eta = rate: phi_t = (1 - (1 - eta lambda)^t) / lambda.

    Notes
    -----
    phi_t = eta t where lambda = 0. Source: the geometric sum of the iteration f <- f - eta Theta (f - y).

    Examples
    --------
    >>> import numpy as np
    >>> from haarflow import solvers
    >>> solvers.GradientDescent()(np.array([1.0]), np.array([1, 2, np.inf]), rate=0.5)
    array([[0.5 ],
           [0.75],
           [1.  ]])
    """

    def __call__(self, eigenvalues: np.ndarray, times: np.ndarray, rate: float) -> np.ndarray:
        """Return phi [T, m]; times are whole steps.

        Raises
        ------
        ValueError
            For times that are no whole numbers.
        StepError
            For a step at which training diverges.
        """
        steps = _check_steps(times)[:, None]
        values = np.asarray(eigenvalues, float)[None, :]
        x = _check_stability(values, rate, 2.0, "gradient_descent")
        with np.errstate(all="ignore"):
            log = np.log1p(-np.where(x < 1, x, 2 - x))  # log |1 - x|
            growth = np.expm1(np.where(steps == 0, 0.0, steps * log))
            # Beyond x = 1 the sign alternates: 1 - (-1)^t |1 - x|^t.
            odd = (x > 1) & (np.mod(np.where(np.isinf(steps), 0.0, steps), 2) == 1)
            phi = np.where(odd, 2 + growth, -growth) / values
            # Two terms of the binomial series are exact to 1e-16 here, and survive where x underflows.
            phi = np.where(np.abs(x) * steps < 1e-8, rate * steps * (1 - (steps - 1) * x / 2), phi)
            return np.where(np.isinf(steps), _limit(values), phi)


@dataclass(frozen=True)
class HeavyBall:
    """Gradient descent with Polyak's momentum: phi_{s+1} = (1 + b - eta lambda) phi_s - b phi_{s-1} + eta.

    Parameters
    ----------
    momentum : float
        b, 0 <= b < 1.

    Notes
    -----
    eta = rate, phi_0 = 0, phi_1 = eta; phi_inf = 1 / lambda. Where lambda t eta / (1 - b) is small, time runs
    1 / (1 - b) times as fast as gradient descent's. Cost: 2 log2(t) products of 3 x 3 matrices for each mode.
    Source: Polyak 1964, the two-step iteration.

    Examples
    --------
    >>> import numpy as np
    >>> from haarflow import solvers
    >>> solvers.HeavyBall(momentum=0.5)(np.array([0.0]), np.array([1, 2, 3]), rate=1.0)
    array([[1.  ],
           [2.5 ],
           [4.25]])
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        if np.ndim(self.momentum) != 0 or np.asarray(self.momentum).dtype.kind not in "iuf":
            raise TypeError(f"momentum must be a number 0 <= b < 1 such as 0.9, found {self.momentum!r}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be 0 <= b < 1, found {self.momentum}")

    def __call__(self, eigenvalues: np.ndarray, times: np.ndarray, rate: float) -> np.ndarray:
        """Return phi [T, m]; times are whole steps.

        Raises
        ------
        ValueError
            For times that are no whole numbers.
        StepError
            For a step at which training diverges.
        """
        steps = _check_steps(times)
        values = np.asarray(eigenvalues, float)
        x = _check_stability(values, rate, 2 * (1 + self.momentum), "heavy_ball")
        # In units of eta, the state (phi_s, phi_s - phi_{s-1}, 1) advances by I + A. Powers are kept as
        # (I + A)^n - I: adding I would round lambda away, an error of t * eps.
        power = np.zeros((len(x), 3, 3))
        power[:, 0] = np.stack([-x, np.full_like(x, self.momentum), np.ones_like(x)], axis=1)
        power[:, 1] = power[:, 0] - np.array([0.0, 1.0, 0.0])
        counts = [0 if np.isinf(t) else int(t) for t in steps]
        state = np.zeros((len(steps), len(x), 3))  # what t steps add to (0, 0, 1)
        with np.errstate(all="ignore"):
            for bit in range(max(counts, default=0).bit_length()):
                due = np.array([count >> bit & 1 for count in counts], bool)
                state[due] += power[:, :, 2] + (power @ state[due][..., None])[..., 0]
                power = 2 * power + power @ power
            return np.where(np.isinf(steps)[:, None], _limit(values), rate * state[:, :, 0])


_FILTERS: dict[str, type[Filter]] = {
    "gradient_flow": GradientFlow,
    "gradient_descent": GradientDescent,
    "heavy_ball": HeavyBall,
}


def make_filter(flow: str | Filter) -> Filter:
    """Return a filter by name, or the filter itself.

    Parameters
    ----------
    flow : {"gradient_flow", "gradient_descent", "heavy_ball"} or Filter
        Which dynamics.

    Returns
    -------
    Filter

    Raises
    ------
    ValueError
        For another name, or something that is no filter.

    Examples
    --------
    >>> from haarflow import solvers
    >>> solvers.make_filter("heavy_ball")
    HeavyBall(momentum=0.9)
    """
    if isinstance(flow, str) and flow in _FILTERS:
        return _FILTERS[flow]()
    if isinstance(flow, Filter) and not isinstance(flow, (str, type)):
        return flow
    known = f"one of {sorted(_FILTERS)} or a filter such as solvers.HeavyBall(0.9)"
    raise ValueError(f"flow must be {known}, found {flow!r}{_hint(flow)}")


def _hint(flow: Any) -> str:
    """Return what was perhaps meant, or nothing."""
    if isinstance(flow, type) and flow in _FILTERS.values():
        return f": a filter is made by calling it, {flow.__name__}()"
    if not isinstance(flow, str):
        return ""
    name = flow.lower().replace("-", "_").replace(" ", "_")
    if "sgd" in name or "stochastic" in name or "batch" in name:
        return ': mini-batches have no closed form; full-batch gradient descent is "gradient_descent"'
    if name in ("gd", "euler", "steps"):
        return ': full-batch gradient descent is "gradient_descent"'
    if "momentum" in name or name in ("polyak", "nesterov"):
        return ': momentum is "heavy_ball", or solvers.HeavyBall(momentum)'
    if "adam" in name or "rmsprop" in name:
        return ": adaptive steps have no closed form in the infinite width"
    near = difflib.get_close_matches(name, _FILTERS, 1)
    return f": did you mean {near[0]!r}?" if near else ""


def check_times(times: Any) -> np.ndarray:
    """Return training times as float64 [T], in the order given.

    Parameters
    ----------
    times : float or iterable of T floats
        At least one; >= 0, np.inf allowed.

    Returns
    -------
    array [T] float64
        A copy.

    Raises
    ------
    ValueError
        For no times, or times that are negative, NaN, or no real numbers.

    Examples
    --------
    >>> from haarflow import solvers
    >>> solvers.check_times([100, 1, float("inf")])
    array([100.,   1.,  inf])
    """
    if np.ma.isMaskedArray(times) and np.ma.getmaskarray(times).any():
        raise ValueError("times must have no masked entries: leave them out with times.compressed()")
    if isinstance(times, Iterable) and not isinstance(times, (str, bytes)) and not hasattr(times, "__array__"):
        times = list(times)  # such as a generator's, or a set's
    try:
        raw = np.atleast_1d(np.asarray(times))
    except ValueError as error:  # ragged lists
        raise ValueError(f"times must be one or more real numbers [T], found {times!r}: {error}") from error
    if raw.ndim != 1 or raw.size == 0 or raw.dtype.kind not in "iuf":
        found, remedy = f"{raw.dtype} of shape {raw.shape}", ""
        if raw.dtype.kind in "US" and raw.ndim == 1 and raw.size:
            found, remedy = repr(times), ": convert text first, np.asarray(times, float), and write infinity as np.inf"
        elif raw.dtype.kind in "iuf" and raw.size:
            remedy = ": pass times.ravel()"
        raise ValueError(f"times must be one or more real numbers [T], found {found}{remedy}")
    array = raw.astype(float)
    bad = np.flatnonzero(~(array >= 0))
    if bad.size:
        raise ValueError(f"times must be >= 0 (np.inf is allowed), found {array[bad[0]]} at index {bad[0]}")
    return array


def _check_steps(times: np.ndarray) -> np.ndarray:
    steps = np.asarray(times, float)
    broken = steps[np.isfinite(steps) & (steps != np.round(steps))]
    if broken.size:
        raise ValueError(f"times must be whole numbers of steps for discrete training, found {broken[0]}")
    return steps


def _limit(values: np.ndarray) -> np.ndarray:
    """Return phi at infinite time, 1 / lambda."""
    return np.where(values == 0, np.inf, 1 / values)


def _check_stability(values: np.ndarray, rate: float, limit: float, name: str) -> np.ndarray:
    """Return rate * values, all of it below the limit of stability."""
    with np.errstate(over="ignore", under="ignore"):
        x = rate * values
    largest = float(x.max(initial=0.0))
    if largest >= limit:
        raise StepError(
            f"learning_rate is too large for {name}: the step {rate:.6g} times the largest eigenvalue is "
            f"{largest:.6g} and must be below {limit:.6g}; training is stable for steps below "
            f"{limit / float(values.max()):.6g}, so divide learning_rate by more than {largest / limit:.6g}",
            name,
            largest / limit,
        )
    return np.asarray(x)
