"""Divided differences of a filter on Ritz values: how it carries an error from one eigenvalue to another."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from haarflow.solvers.filters import Filter, GradientFlow, StepError

__all__ = ["Carrier", "Sampled", "carriers"]

_EPS = float(np.finfo(float).eps)

# Between values closer than this share of the value, or of 1 / phi(0), whatever is more, a difference of phi would be
# rounding: the mean of the derivatives takes its place. Its square is what that leaves out, eps over it the rounding.
_CLOSE = 6e-6

# Rows of divided differences, and times, that are held at once.
_ROWS, _TIMES = 256, 64


@dataclass(frozen=True, eq=False)
class Sampled:
    """A filter on Ritz values and between them.

    Attributes
    ----------
    filter, times, rate
        The filter phi(lambda, t).
    values : array [d]
        Ascending, 0 for those that are unresolved.
    phi : array [T, d]
        The filter there; 0 where modes are left out.
    left_out : array [T, d] bool
        Where that is.
    between : array [2, d - 1]
        A quarter and three quarters of the way from each to the next.
    between_phi : array [T, 2, d - 1]
        The filter there.
    """

    filter: Filter
    times: np.ndarray
    rate: float
    values: np.ndarray = field(repr=False)
    phi: np.ndarray = field(repr=False)
    left_out: np.ndarray = field(repr=False)
    between: np.ndarray = field(repr=False)
    between_phi: np.ndarray = field(repr=False)

    @classmethod
    def of(
        cls, filter: Filter, times: np.ndarray, rate: float, values: np.ndarray, phi: np.ndarray, left_out: np.ndarray
    ) -> "Sampled":
        """Evaluate the filter between the values too."""
        between = values[:-1] + np.array([[0.25], [0.75]]) * np.diff(values)
        there = filter(between.ravel(), times, rate).reshape(len(phi), *between.shape)
        return cls(filter, times, rate, values, phi, left_out, between, there)

    def separable(self) -> np.ndarray:
        """Return [T]: whether f[a, b] is -phi(a) phi(b), as for 1 / (lambda + c), or phi is 0.

        Notes
        -----
        f[a, b] is -phi(a) phi(b) times the slope of 1 / phi. That it is 1 within a factor is not enough where it
        swings: on eigenvalues close together it is its change that a residual is carried by.
        """
        points = _woven(self.values[None], self.between[None])[0]
        phi = _woven(self.phi, self.between_phi)
        # Left out are the first values, and what lies between them and the others.
        kept = ~self.left_out
        seen = _woven(kept, np.repeat(kept[:, None, :-1], 2, axis=1))
        with np.errstate(all="ignore"):
            inverse = 1 / np.where(seen, phi, 1.0)
            rise, gaps = np.diff(inverse, axis=1), np.diff(points)
            unit = np.abs(rise - gaps) <= 32 * _EPS * (np.abs(inverse[:, 1:]) + np.abs(inverse[:, :-1]))
        return np.all(unit | ~seen[:, :-1], axis=1) | ~self.phi.any(axis=1)

    def carrier(self, time: int, reach: tuple[float, float]) -> "Carrier":
        """Return the divided differences of one time.

        Parameters
        ----------
        time : int
            Which.
        reach : (float, float)
            How far below the lowest value, and above the highest, there may be an eigenvalue.
        """
        at = self.times[time : time + 1]
        travelled = abs(float(self.filter(np.zeros(1), at, self.rate)[0, 0]))
        step = 1 / travelled if 0 < travelled < np.inf else 0.0
        lowest, highest = self.values[0] - min(reach[0], self.values[0] / 2), self._above(at, reach[1])
        outer = self.filter(np.array([lowest, highest]), at, self.rate)[0]
        here, between = self.phi[time], self.between_phi[time]
        points = np.concatenate([self.values, self.between[0], [highest, lowest], self.between[1]])
        phi = np.concatenate([here, between[0], outer[::-1], between[1]])
        near = _CLOSE * np.maximum(points, step)
        # On no larger values than there are, where steps may diverge: below, or above what is nearly 0.
        aside = np.where(points >= 2 * near, -near, near)
        once, twice = (self.filter(points + n * aside, at, self.rate)[0] for n in (1, 2))
        with np.errstate(all="ignore"):
            slopes = np.where(near > 0, (4 * once - 3 * phi - twice) / (2 * aside), 0.0)
            usual = np.minimum(travelled, 1 / self.values)
        largest = float(np.abs(here).max(initial=0.0)) or 1.0
        kept = ~self.left_out[time]
        return Carrier(points, phi / largest, slopes / largest, near, kept, np.where(kept, usual, 0.0) / largest)

    def _above(self, time: np.ndarray, reach: float) -> float:
        """Return the highest value plus the reach, or as much of it as training is stable on."""
        highest = float(self.values[-1])
        for share in (1.0, 0.5, 0.25, 0.1, 0.03):
            try:
                self.filter(np.array([highest + share * reach]), time, self.rate)
            except StepError:
                continue
            return highest + share * reach
        return highest


@dataclass(frozen=True, eq=False)
class Carrier:
    """The divided differences of a filter at one time, in units of its largest value there.

    Attributes
    ----------
    points, phi, slopes : array [3 d]
        Ritz values, then a point a quarter of the way to the next behind each, and in front of each; the filter there,
        and its derivative. The last and the first reach out to where there may be eigenvalues.
    near : array [3 d]
        Closer than this to a point derivatives are taken.
    kept : array [d] bool
        Which modes are not left out.
    usual : array [d]
        How large the filter is on a mode where nothing cancels.
    """

    points: np.ndarray = field(repr=False)
    phi: np.ndarray = field(repr=False)
    slopes: np.ndarray = field(repr=False)
    near: np.ndarray = field(repr=False)
    kept: np.ndarray = field(repr=False)
    usual: np.ndarray = field(repr=False)

    def carry(self, moments: np.ndarray, outputs: int) -> tuple[np.ndarray, np.ndarray]:
        """Return squares of sum_j f[lambda, theta_j] moments_j, for lambda next to the values, and the largest.

        Parameters
        ----------
        moments : array [d, b outputs]
            What is carried from each value: b times a number for every output.
        outputs : int
            Their number.

        Returns
        -------
        array [d, outputs], array [outputs]
            On both sides of a value their mean: on it, differences would be derivatives, which are known less well.

        Notes
        -----
        Cost: 4 d^2 b outputs operations.
        """
        d = len(self.kept)
        found = np.empty((2 * d, outputs))
        for rows in _parts(2 * d):
            carried = self._differences(slice(d + rows.start, d + rows.stop)) @ moments
            found[rows] = np.sum(np.square(carried).reshape(len(carried), -1, outputs), axis=1)
        # Beside a mode that is left out phi is no limit of what is kept.
        behind, before = self.kept, self.kept & np.append(True, self.kept[:-1])
        found[~np.concatenate([behind, before])] = 0.0
        sides = np.maximum(behind.astype(int) + before, 1)
        return (found[:d] + found[d:]) / sides[:, None], found.max(axis=0)

    def squares(self, labels: np.ndarray, crossings: np.ndarray, noise: float) -> np.ndarray:
        """Return sum_ij crossings_ij (noise f[theta_i, theta_j])^2 labels_jc, without what is among unresolved modes.

        Parameters
        ----------
        labels : array [d, k]
            Squares of the labels.
        crossings : array [d, d]
            How independent noise in the projection meets both.
        noise : float
            Its size.

        Returns
        -------
        array [k]

        Notes
        -----
        Cost: 2 d^2 k operations.
        """
        total, values = np.zeros(labels.shape[1]), self.points[: len(self.kept)]
        for rows in _parts(len(values)):
            square = np.square(noise * self._differences(rows)) * crossings[rows]
            # The rule sets them to the same value, whatever the noise.
            square[(values[rows, None] == 0) & (values == 0)] = 0.0
            total += np.sum(square[self.kept[rows]] @ labels, axis=0)
        return total

    def _differences(self, rows: slice) -> np.ndarray:
        """Return f[points, values] of some of the points, [p, d]; 0 for values that are left out."""
        d = len(self.kept)
        gaps = self.points[rows, None] - self.points[:d]
        close = np.abs(gaps) <= self.near[:d]
        apart = (self.phi[rows, None] - self.phi[:d]) / np.where(close, 1.0, gaps)
        return np.where(self.kept, np.where(close, (self.slopes[rows, None] + self.slopes[:d]) / 2, apart), 0.0)


def carriers(
    filter: Filter,
    times: np.ndarray,
    rate: float,
    values: np.ndarray,
    phi: np.ndarray,
    left_out: np.ndarray,
    reach: tuple[float, float],
) -> Iterator[tuple[int, Carrier]]:
    """Yield the times, by index, at which f[a, b] is no product of values at a and b, and what it is then.

    Of gradient flow it is one but for a factor between a half and 1 that changes as slowly as phi itself.

    Parameters
    ----------
    filter, times, rate, values, phi, left_out
        As in `Sampled`.
    reach : (float, float)
        As in `Sampled.carrier`.
    """
    if isinstance(filter, GradientFlow):
        return
    for start in range(0, len(times), _TIMES):
        some = slice(start, start + _TIMES)
        sampled = Sampled.of(filter, times[some], rate, values, phi[some], left_out[some])
        for time in np.flatnonzero(~sampled.separable()):
            yield start + int(time), sampled.carrier(int(time), reach)


def _woven(first: np.ndarray, between: np.ndarray) -> np.ndarray:
    """Return [T, 3 d - 2] in the order of the values: numbers on them [T, d] and between them [T, 2, d - 1]."""
    woven = np.empty((len(first), 3 * first.shape[1] - 2), first.dtype)
    woven[:, ::3], woven[:, 1::3], woven[:, 2::3] = first, between[:, 0], between[:, 1]
    return woven


def _parts(length: int) -> Iterator[slice]:
    return (slice(start, min(start + _ROWS, length)) for start in range(0, length, _ROWS))
