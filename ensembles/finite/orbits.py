"""The orbit error that a mean of M members has, although the infinite ensemble is equivariant."""

from typing import Any, Literal

import numpy as np
from scipy.special import chdtrc, chdtri

from haarflow.finite.bounds import members_needed
from haarflow.finite.counting import first_guess, smallest, steps
from haarflow.finite.numbers import as_array, as_counts, as_number, as_probability, as_reals, refuse_tiny
from haarflow.kernels.misread import warn_of_input
from haarflow.measures import orbit_mse
from haarflow.measures.arrays import Output, output_dim, represent

__all__ = ["expected_orbit_mse", "members_needed_on_orbit", "orbit_variance"]

_NORMS = ("euclidean", "max")


def orbit_variance(
    covariance: Any, output: Output | None = None, *, identity: int | None = None, group: Any = None
) -> np.ndarray:
    """Give the variances of one member's orbit errors, f(gx) - rho_Y(g) f(x).

    Parameters
    ----------
    covariance : array [..., |G|, |G|]
        Sigma_t(gx, hx) of one output on one orbit: `predict(action.orbit(x)[:, i], times,
        covariance="full").covariance` is that of the sample i.
    output : representation, optional
        rho_Y, orthogonal `.matrices` [|G|, k, k]; None: invariant outputs.
    identity : int, optional
        Index of the identity element; None: that of `group` or `output.group`, or 0 where there is none.
    group : FiniteGroup or Action, optional
        Whose elements the orbit is listed by.

    Returns
    -------
    float64 array [..., |G|], or [..., |G|, k] with an `output`
        Without one, Sigma(gx, gx) + Sigma(x, x) - 2 Sigma(gx, x), the same for all outputs. With one, that of
        the component a has rho_Y(g)_aa times the last term, since the outputs are independent of each other.
        Negative ones, from rounding, are set to 0.

    Raises
    ------
    ValueError, TypeError
        For a covariance that is not square, not finite or has negative variances, an identity outside the
        group, or an output whose matrices do not fit.

    Examples
    --------
    >>> orbit_variance([[1.0, 0.25], [0.25, 1.0]])
    array([0. , 1.5])
    """
    own, cross, matrices, _ = _orbit(covariance, output, identity, None, group)
    if matrices is None:
        return np.maximum(own - 2 * cross, 0.0)
    return np.maximum(own[..., None] - 2 * cross[..., None] * np.einsum("gaa->ga", matrices), 0.0)


def members_needed_on_orbit(
    covariance: Any,
    delta: Any,
    probability: Any,
    *,
    k: int | None = None,
    output: Output | None = None,
    identity: int | None = None,
    norm: Literal["euclidean", "max"] = "euclidean",
    group: Any = None,
) -> int | np.ndarray:
    """Count the members whose mean has an orbit error of at most delta with probability 1 - p.

    The orbit error is absolute, max_g |fbar(gx) - rho_Y(g) fbar(x)|, fbar the mean of M members.

    Parameters
    ----------
    covariance : array [..., |G|, |G|]
        Sigma_t of one output on one orbit, as for `orbit_variance`.
    delta : float or array
        Allowed orbit error > 0, in the unit of the outputs.
    probability : float or array
        p, in 0 .. 1, both excluded: how likely a larger orbit error may be.
    k : int, optional
        Number of outputs; None: the dimension of `output`, or 1.
    output : representation, optional
        rho_Y, orthogonal `.matrices` [|G|, k, k]; None: invariant outputs.
    identity : int, optional
        Index of the identity element; None: that of `group` or `output.group`, or 0 where there is none.
    norm : "euclidean" or "max"
        |.| over the k outputs: the Euclidean norm, as in `measures.orbit_error`, or the largest component.
    group : FiniteGroup or Action, optional
        Whose elements the orbit is listed by.

    Returns
    -------
    int or int64 array [...]
        M >= 1; an int for one covariance, delta and probability.

    Raises
    ------
    ValueError, TypeError
        As `orbit_variance` and `members_needed`; for a `k` that does not fit `output`, or another norm.

    Notes
    -----
    The infinite ensemble is taken to be equivariant, so that only the spread of the members counts. The orbit
    error is Gaussian with the covariance of one member over M. "max" is `members_needed` with a union bound over
    |G| k components. "euclidean" is a union bound over |G| of chi-square tails with k degrees of freedom and the
    largest eigenvalue of the covariance of f(gx) - rho_Y(g) f(x); asking every component for delta / sqrt(k)
    instead would take several times as many members.
    Cost: |G| evaluations of a tail for each of about log2(M) steps of a bisection.
    Source: Gerken & Kessel 2024 (arXiv 2403.03103) for the bound on one output.

    Examples
    --------
    >>> covariance = [[1.0, 0.25], [0.25, 1.0]]
    >>> members_needed_on_orbit(covariance, 0.1, 0.05, k=10)
    3073
    >>> members_needed_on_orbit(covariance, 0.1, 0.05, k=10, norm="max")
    1396
    """
    guessed = k is None and output is None
    own, cross, matrices, k = _orbit(covariance, output, identity, k, group)
    delta = as_reals(delta, "delta", positive=True)[..., None]
    order = own.shape[-1]
    allowed = as_probability(probability)[..., None] / order
    refuse_tiny(allowed, "|G|")
    if norm not in _NORMS:
        raise ValueError(f"norm must be one of {_NORMS}, found {norm!r}")
    if guessed:
        warn_of_input(
            "members_needed_on_orbit counts one output where neither k nor output is given, and takes all "
            f"{order} points of covariance for one orbit: pass k= and group=action.group, or ask "
            "ensemble.members_needed(x, delta, probability, times), which knows both"
        )
    if norm == "max":
        variance = orbit_variance(covariance, output, identity=identity, group=group)
        largest = variance if matrices is None else variance.max(axis=-1)
        return as_number(np.max(members_needed(largest, delta, allowed, k), axis=-1))
    # Cov[f(gx) - rho f(x)] = (Sigma(gx,gx) + Sigma(x,x)) 1 - Sigma(gx,x) (rho + rho^T).
    turns = np.ones((order, 1))
    if matrices is not None and not getattr(output, "is_trivial", False):
        turns = np.linalg.eigvalsh((matrices + np.swapaxes(matrices, 1, 2)) / 2)
    largest = np.maximum(own[..., None] - 2 * cross[..., None] * turns, 0.0).max(axis=-1)
    guess = first_guess(largest, delta, chdtri(k, allowed))
    found = smallest(lambda members: chdtrc(k, np.square(steps(delta, largest, members))), allowed, guess)
    return as_number(np.max(found, axis=-1))


def expected_orbit_mse(
    covariance: Any,
    members: Any,
    *,
    k: int | None = None,
    output: Output | None = None,
    mean: Any = None,
    identity: int | None = None,
    group: Any = None,
) -> np.ndarray:
    """Give the expectation of `measures.orbit_mse` of a mean of M members, E mean_g |rho_Y(g)^-1 fbar(gx) - fbar(x)|^2.

    Parameters
    ----------
    covariance : array [..., |G|, |G|]
        Sigma_t of one output on one orbit, as for `orbit_variance`.
    members : int or array of int
        Number of members M >= 1; an array broadcasts with [...].
    k : int, optional
        Number of outputs; None: that of `mean`, the dimension of `output`, or 1.
    output : representation, optional
        rho_Y, orthogonal `.matrices` [|G|, k, k]; None: invariant outputs.
    mean : array [..., |G|, k], optional
        mu_t on the orbit, whose own orbit error is added; None: the infinite ensemble is equivariant.
    identity : int, optional
        Index of the identity element; None: that of `group` or `output.group`, or 0 where there is none.
    group : FiniteGroup or Action, optional
        Whose elements the orbit is listed by.

    Returns
    -------
    float64 array [...]
        Squares summed over the k outputs and averaged over the group, as `measures.orbit_mse`, in the squared
        unit of the outputs. Exact, not a bound; its square root is the root-mean-square orbit error.

    Raises
    ------
    ValueError, TypeError
        As `orbit_variance`; for members that are not whole numbers >= 1, or a `k` or `mean` that does not fit.

    Notes
    -----
    It falls as 1/M to the orbit MSE of the infinite ensemble.

    Examples
    --------
    >>> print(expected_orbit_mse([[1.0, 0.25], [0.25, 1.0]], [1, 10, 100], k=2))
    [1.5   0.15  0.015]
    """
    if mean is not None and k is None and output is None and np.ndim(mean) > 1:
        k = np.shape(mean)[-1]
    own, cross, matrices, k = _orbit(covariance, output, identity, k, group)
    characters = k if matrices is None else np.einsum("gaa->g", matrices)
    spread = np.maximum(k * own - 2 * cross * characters, 0.0).mean(axis=-1)
    expected = np.asarray(spread / as_counts(members, "members"))
    if mean is None:
        return expected
    shape = np.shape(mean)
    if len(shape) < 2 or shape[-2:] != (own.shape[-1], k):
        raise ValueError(f"mean must be [..., |G|, k] = [..., {own.shape[-1]}, {k}], found shape {shape}")
    return np.asarray(expected + orbit_mse(mean, output, identity=identity, axis=-2, group=group))


def _orbit(
    covariance: Any, output: Output | None, identity: int | None, k: int | None, group: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, int]:
    """Give Sigma(gx,gx) + Sigma(x,x) and Sigma(gx,x), both [..., |G|]; rho_Y's matrices; and k."""
    covariance = as_array(covariance, "covariance")
    if covariance.ndim < 2 or covariance.shape[-1] != covariance.shape[-2] or covariance.size == 0:
        raise ValueError(f"covariance must be [..., |G|, |G|], found shape {covariance.shape}")
    own = np.einsum("...gg->...g", covariance)
    # Rounding may leave what is 0 slightly negative, at the scale of the kernel.
    if own.min() < -1e-6 * np.abs(covariance).max():
        raise ValueError(f"covariance must have variances >= 0 on its diagonal, found {own.min():.1e}")
    width = 1 if output is None else output_dim(output)
    if k is not None:
        if np.ndim(k) != 0 or (output is not None and k != width):
            wanted = "a number" if output is None else f"{width}, the dimension of output, or None"
            raise ValueError(f"k must be {wanted}, found {k}")
        width = int(as_counts(k, "k"))
    matrices, start = represent(output, identity, own.shape[-1], width, group)
    return own + own[..., start, None], covariance[..., :, start], matrices, width
