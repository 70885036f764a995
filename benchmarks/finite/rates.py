"""Slopes, with intervals, of means that are small beside the noise of what is averaged.

Quantities q of members come as their inner products P[i, j] = q_i . q_j, from which all is estimated that depends on
their mean's norm alone.
"""

import numpy as np
from scipy.stats import t as student

__all__ = ["norm", "slope_of_norms", "slope_over_runs", "standard_errors"]

BLOCKS = 50


def norm(P):
    """Return |E q| from products of different members, NaN where these are negative on average."""
    square = _square(P)
    return np.sqrt(square) if square > 0 else np.nan


def standard_errors(P):
    """Return |E q|^2 over the standard error that its estimate has for E q = 0."""
    spread = np.square(P)
    pairs = len(P) * (len(P) - 1)
    return _square(P) / (np.sqrt(2 * (spread.sum() - np.trace(spread))) / pairs)


def slope_of_norms(x, several):
    """Fit the slope of log |E q| over log x, each weighted by its noise.

    It is right where each norm is at least four times its noise. Below, those that noise has raised count for more:
    with norms of 2.6 times down to 0.9 times their noise a slope of -1 comes out at -0.85, within an honest interval.

    Parameters
    ----------
    x : sequence
        Such as widths.
    several : sequence of arrays [M, M]
        Inner products for each. Members of several widths may share their seeds: their noise is hardly correlated.

    Returns
    -------
    tuple of float
        Slope and 95 % interval, from jackknives that leave out blocks of members; NaN with fewer than two norms seen.
    """
    seen = [(np.log(each), np.log(norm(P)), _error_of_log(P)) for each, P in zip(x, several, strict=True)]
    a, b, error = np.transpose([each for each in seen if np.isfinite(each).all()] or np.empty((0, 3)))
    if len(a) < 2:
        return np.nan, np.nan, np.nan
    weights = 1 / error**2
    centred = a - np.average(a, weights=weights)
    spread = (weights * centred**2).sum()
    slope = (weights * centred * b).sum() / spread
    return slope, slope - 1.96 / np.sqrt(spread), slope + 1.96 / np.sqrt(spread)


def slope_over_runs(x, squares):
    """Fit the slope of root mean squares over x; 95 % interval by a jackknife over independent runs, Student's t.

    Parameters
    ----------
    x : array [k]
        Such as numbers of members.
    squares : array [E, k]
        Mean squares of E runs.
    """
    slope = _slope(x, squares)
    error = _jackknife([_slope(x, np.delete(squares, run, axis=0)) for run in range(len(squares))])
    wide = student.ppf(0.975, len(squares) - 1) * error
    return slope, slope - wide, slope + wide


def _square(P):
    return (P.sum() - np.trace(P)) / (len(P) * (len(P) - 1))


def _error_of_log(P):
    """Return the standard error of log |E q|, leaving out one block of members at a time."""
    square, count = _square(P), len(P)
    if square <= 0:
        return np.nan
    starts = np.linspace(0, count, min(BLOCKS, count) + 1).astype(int)
    # Sums over pairs of different members, of blocks with each other.
    sums = np.add.reduceat(np.add.reduceat(P, starts[:-1], axis=0), starts[:-1], axis=1)
    sums -= np.diag(np.add.reduceat(np.diag(P), starts[:-1]))
    left = count - np.diff(starts)
    without = (sums.sum() - sums.sum(axis=0) - sums.sum(axis=1) + np.diag(sums)) / (left * (left - 1))
    return _jackknife(without) / (2 * square)


def _jackknife(without):
    blocks = len(without)
    return np.sqrt((blocks - 1) / blocks * np.square(without - np.mean(without)).sum())


def _slope(x, squares):
    return np.polyfit(np.log(x), np.log(squares.mean(axis=0)) / 2, 1)[0]
