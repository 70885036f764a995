"""How far apart a Gaussian pair is, and what a nonlinearity makes of it: what all dual activations share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

__all__ = ["Distances", "Dual", "Features", "Image", "Turn", "inverse", "moved", "root", "turn"]

Features = tuple[Array, ...]


class Distances(NamedTuple):
    """How far apart a pair (u, v) is; `duals` says what is carried where."""

    D: Any = None  # arrays of JAX or NumPy
    S: Any = None
    near: Any = None
    far: Any = None


class Image(NamedTuple):
    """What a nonlinearity makes of a pair (u, v)."""

    entering: Array  # E[u v]
    apart: Distances
    K: Array  # E[s(u) s(v)]
    slope: Array  # E[s'(u) s'(v)]


class Dual(NamedTuple):
    """A nonlinearity s under the Gaussian expectation.

    `marginal(layer, q)` returns E[s(u)^2]; `features(q)` what the pair needs of each variance, evaluated once
    for each sample rather than each pair; `pair(layer, distances, f1, f2)` an Image.
    """

    pair: Callable[[Any, Distances, Features, Features], Image]
    features: Callable[[Array], Features]
    marginal: Callable[[Any, Array], Array]


class Turn(NamedTuple):
    """The angle of a pair, of cosine c."""

    size: Array  # sqrt(q1 q2)
    near: Array  # 2 size (1 - c)
    far: Array | None  # 2 size (1 + c); None where c >= 0 is known
    least: Array  # the smaller one of both

    def select(self, acute: Any, obtuse: Any) -> Array:
        """Return the first where c >= 0, else the second."""
        return acute if self.far is None else jnp.where(self.near <= self.far, acute, obtuse)

    @property
    def whole(self) -> Array:
        """2 size (1 + c), carried or not."""
        return 4 * self.size - self.near if self.far is None else self.far


def root(q: Array) -> Array:
    """Return sqrt(q), without a derivative at 0."""
    return jnp.where(q > 0, jnp.sqrt(jnp.where(q > 0, q, 1)), 0)


def inverse(size: Array) -> Array:
    """Return 1 / size, 0 for size 0."""
    return jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0)


def turn(apart: Distances, q1: Array, q2: Array, s1: Array, s2: Array, least: float = 0.0) -> Turn:
    """Return near and far, from D and S where they are not carried.

    Parameters
    ----------
    apart : Distances
        Of the pair.
    q1, q2, s1, s2 : Array
        Variances and their roots.
    least : float
        In place of 0 where a square root will be taken, which then has a derivative: 0.
    """
    D, S, near, far = apart

    def excess(total: Array) -> Array:
        # What rounding leaves where u and v are parallel counts as 0: a square root would amplify it.
        beyond = total - (s1 - s2) ** 2
        kept = jnp.where(beyond > 16 * jnp.finfo(total.dtype).eps * jnp.abs(q1 - q2), beyond, least)
        # Smooth functions have a derivative there, that of the distance.
        return kept if least > 0 else beyond + lax.stop_gradient(kept - beyond)

    if near is None:
        near, far = excess(D), None if S is None else excess(S)
    elif least > 0:
        near, far = jnp.maximum(near, least), None if far is None else jnp.maximum(far, least)
    return Turn(s1 * s2, near, far, near if far is None else jnp.minimum(near, far))


def moved(
    apart: Distances,
    entering: Array,
    image: tuple[Array, Array, Array, Array],
    before: tuple[Array, Array],
    after: tuple[Array, Array],
) -> Image:
    """Return the image of a pair under a smooth nonlinearity, in the distances that are carried.

    Parameters
    ----------
    apart : Distances
        In front of it: D, S and far are carried on where they were.
    entering : Array
        E[u v] of it.
    image : (Array, Array, Array, Array)
        near and far behind it, E[s(u) s(v)] and E[s'(u) s'(v)].
    before, after : (Array, Array)
        Both variances in front of it and behind.
    """
    near, far, K, slope = image
    D, S = apart.D, apart.S
    kept = None if S is None and apart.far is None else far
    if D is None:
        return Image(entering, Distances(near=near, far=kept), K, slope)
    (q1, q2), (p1, p2) = before, after
    # A variable without variance has no angle, but distances, and derivatives with respect to them.
    some = (q1 > 0) & (q2 > 0)
    plain = (q1 + q2 - D) / 2 if S is None else (S - D) / 4
    K = jnp.where(some, K, slope * plain)
    gap = (root(p1) - root(p2)) ** 2
    D = jnp.where(some, gap + near, p1 + p2 - 2 * K)
    S = None if S is None else jnp.where(some, gap + far, p1 + p2 + 2 * K)
    return Image(jnp.where(some, entering, plain), Distances(D, S, near, kept), K, slope)
