"""What the experiments share: ensembles of M members from the exact law, and training times stated by the loss."""

from collections.abc import Callable

import numpy as np

from haarflow import solvers

__all__ = ["Draws", "draw", "times_of_loss"]


class Draws:
    """Means of M members on a set of orbits, for many independent ensembles.

    A mean of M members has the law N(mu_t, Sigma_t / M). One member is drawn for each ensemble and its deviation
    from mu_t scaled by M^-1/2: exact for every M, and ensembles of one M are independent of each other. Different
    M share their draws, so that a curve over M is smooth.

    Attributes
    ----------
    mean : array [T, |G|, m, k]
        mu_t.
    deviations : array [T, E, |G|, m, k]
        Of one member from mu_t in each of E ensembles.
    """

    def __init__(self, mean: np.ndarray, deviations: np.ndarray) -> None:
        self.mean, self.deviations = mean, deviations

    def of(self, members: float) -> np.ndarray:
        """Return the means [T, E, |G|, m, k] of M members; E is 1 for M = inf."""
        if np.isinf(members):
            return self.mean[:, None]
        return self.mean[:, None] + self.deviations / np.sqrt(members)

    def measure(self, members: float, measure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Apply a measure of outputs [|G|, ..., k], and average it over the orbits: [T, E]."""
        return np.stack([measure(np.moveaxis(each, 1, 0)).mean(axis=-1) for each in self.of(members)])


def draw(ensemble, orbit, times, ensembles, seed):
    """Draw ensembles jointly over whole orbits [|G|, m, ...].

    As `ensemble.sample` does, but from one `predict`: both the mean and the members are needed, and the kernels
    between test points and the augmented training set are most of the cost.
    """
    points = orbit.reshape(-1, *orbit.shape[2:])
    law = ensemble.predict(points, [0.0, *times], covariance="full")
    roots = np.stack([solvers.symmetric_root(each, float(np.trace(law.covariance[0]))) for each in law.covariance[1:]])
    mean = law.mean[1:]
    deviations = solvers.draw(np.zeros_like(mean), roots, ensembles, np.random.default_rng(seed))
    shape = (*orbit.shape[:2], mean.shape[-1])
    return Draws(mean.reshape(len(times), *shape), deviations.reshape(len(times), ensembles, *shape))


def times_of_loss(ensemble, x, y, fractions):
    """Return the times at which mu_t's squared error on x falls to these fractions of its start; 0 is t = inf."""
    scales = ensemble.timescales
    times = np.geomspace(scales[0] / 100, scales[-1] * 100, 400)
    residual = ensemble.predict(x, times).mean - y
    left = np.square(residual).sum(axis=(1, 2)) / np.square(y).sum()
    left = np.minimum.accumulate(left)
    finite = [np.exp(np.interp(-np.log(f), -np.log(left), np.log(times))) for f in fractions if f > 0]
    return np.array(finite + [np.inf] * (0.0 in fractions))
