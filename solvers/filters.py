"""Filters phi(lambda, t): how far training has come along an eigenvector of the Gram matrix at time t."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

__all__ = ["Filter", "GradientDescent", "GradientFlow", "HeavyBall", "check_times", "make_filter"]


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
        t = rate * np.asarray(times, float)[:, None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            phi = -np.expm1(-values * t) / values
        return np.where(t == 0, 0.0, np.where(values == 0, t, phi))


@dataclass(frozen=True)
class GradientDescent:
    """Full-batch gradient descent with step eta = rate: phi_t = (1 - (1 - eta lambda)^t) / lambda."""

    def __call__(self, eigenvalues: np.ndarray, times: np.ndarray, rate: float) -> np.ndarray:
        """Return phi [T, m]; times are whole steps.

        Raises
        ------
        ValueError
            For times that are no whole numbers, or a step at which training diverges.
        """
        steps = _check_steps(times)[:, None]
        x = rate * np.asarray(eigenvalues, float)[None, :]
        _check_stability(x, 2.0, "gradient_descent")
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.log1p(-np.where(x < 1, x, 2 - x))  # log |1 - x|
            growth = np.expm1(np.where(steps == 0, 0.0, steps * log))
            # Beyond x = 1 the sign alternates: 1 - (-1)^t |1 - x|^t.
            odd = (x > 1) & np.isfinite(steps) & (np.mod(np.where(np.isfinite(steps), steps, 0), 2) == 1)
            phi = rate * np.where(odd, 2 + growth, -growth) / x
        return np.where(steps == 0, 0.0, np.where(x == 0, rate * steps, phi))


@dataclass(frozen=True)
class HeavyBall:
    """Gradient descent with Polyak's momentum: phi_{s+1} = (1 + b - eta lambda) phi_s - b phi_{s-1} + eta.

    Parameters
    ----------
    momentum : float
        b, 0 <= b < 1.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be 0 <= b < 1, found {self.momentum}")

    def __call__(self, eigenvalues: np.ndarray, times: np.ndarray, rate: float) -> np.ndarray:
        """Return phi [T, m]; times are whole steps. Cost: log2(t) products of 3 x 3 matrices for each mode."""
        steps = _check_steps(times)
        values = np.asarray(eigenvalues, float)
        x = rate * values
        _check_stability(x, 2 * (1 + self.momentum), "heavy_ball")
        step = np.zeros((len(x), 3, 3))
        step[:, 0, 0], step[:, 0, 1], step[:, 0, 2] = 1 + self.momentum - x, -self.momentum, rate
        step[:, 1, 0] = step[:, 2, 2] = 1
        phi = np.empty((len(steps), len(x)))
        for i, t in enumerate(steps):
            if np.isinf(t):
                with np.errstate(divide="ignore"):
                    phi[i] = 1 / values
            else:
                # The state is (phi_s, phi_{s-1}, 1); phi_0 = 0, and phi_{-1} = 0 makes phi_1 = eta.
                phi[i] = np.linalg.matrix_power(step, int(t))[:, 0, 2]
        return phi


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

    Raises
    ------
    ValueError
        For another name, or something that is no filter.
    """
    if isinstance(flow, str) and flow in _FILTERS:
        return _FILTERS[flow]()
    if isinstance(flow, Filter) and not isinstance(flow, (str, type)):
        return flow
    raise ValueError(f"flow must be one of {sorted(_FILTERS)} or a filter such as solvers.HeavyBall(0.9), found {flow!r}")


def check_times(times: Any) -> np.ndarray:
    """Return training times as float64 [T], in the order given.

    Parameters
    ----------
    times : float or array [T]
        At least one; >= 0, np.inf allowed.

    Raises
    ------
    ValueError
        For no times, or times that are negative, NaN, or no real numbers.
    """
    raw = np.atleast_1d(np.asarray(times))
    if raw.ndim != 1 or raw.size == 0 or raw.dtype.kind not in "iuf":
        raise ValueError(f"times must be one or more real numbers [T], found {raw.dtype} of shape {raw.shape}")
    array = raw.astype(float)
    bad = array[~(array >= 0)]
    if bad.size:
        raise ValueError(f"times must be >= 0 (np.inf is allowed), found {bad[0]}")
    return array


def _check_steps(times: np.ndarray) -> np.ndarray:
    steps = np.asarray(times, float)
    broken = steps[np.isfinite(steps) & (steps != np.round(steps))]
    if broken.size:
        raise ValueError(f"times must be whole numbers of steps for discrete training, found {broken[0]}")
    return steps


def _check_stability(x: np.ndarray, limit: float, name: str) -> None:
    largest = float(x.max(initial=0.0))
    if largest >= limit:
        raise ValueError(
            f"learning_rate is too large for {name}: step times largest eigenvalue is {largest:.3g}, "
            f"which must be below {limit:.3g}; divide learning_rate by more than {largest / limit:.3g}"
        )
