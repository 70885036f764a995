"""Named groups, and products of groups."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations
from math import prod
from operator import index
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from haarflow.groups.finite import FiniteGroup, as_finite

__all__ = [
    "cyclic",
    "dihedral",
    "direct_product",
    "icosahedral",
    "octahedral",
    "p4",
    "semidirect_product",
    "symmetric",
    "tetrahedral",
    "translations",
]


def _count(value: Any, name: str) -> int:
    whole = not isinstance(value, bool) and hasattr(value, "__index__")
    if not whole or value < 1:
        raise ValueError(f"{name} must be a positive integer, found {value!r}")
    return index(value)


def cyclic(n: int) -> FiniteGroup:
    """Return the rotations of a regular n-gon, C_n; element g is g steps.

    Parameters
    ----------
    n : int
        Order, >= 1.

    Examples
    --------
    >>> from haarflow import groups
    >>> int(groups.cyclic(4).table[3, 2])
    1
    """
    n = _count(n, "n")
    steps = np.arange(n)
    return FiniteGroup(((steps[:, None] + steps) % n).astype(np.int32), f"C{n}")


def dihedral(n: int) -> FiniteGroup:
    """Return the symmetries of a regular n-gon, D_n of order 2n; element 2r + f is the flip^f, then r steps.

    Parameters
    ----------
    n : int
        Number of rotations, >= 1.
    """
    n = _count(n, "n")
    r, f = np.divmod(np.arange(2 * n), 2)
    # A flip in front of a rotation turns it around.
    turned = (r[:, None] + np.where(f[:, None] == 1, -r, r)) % n
    return FiniteGroup((2 * turned + (f[:, None] ^ f)).astype(np.int32), f"D{n}")


def symmetric(n: int) -> FiniteGroup:
    """Return all permutations of n things, S_n, in lexicographic order; (gh)(i) = g(h(i)).

    Parameters
    ----------
    n : int
        Number of things, 1 .. 6 (order 720).
    """
    n = _count(n, "n")
    if n > 6:
        raise ValueError(f"n must be at most 6 for symmetric(n), whose order is n!, found {n}")
    elements = np.array(list(permutations(range(n))))
    weights = n ** np.arange(n)
    products = elements[:, elements]  # [g, h, i] = g(h(i))
    codes = elements @ weights
    order = np.argsort(codes)
    return FiniteGroup(order[np.searchsorted(codes[order], products @ weights)].astype(np.int32), f"S{n}")


@lru_cache
def _polyhedral(letter: str, name: str) -> FiniteGroup:
    matrices = Rotation.create_group(letter).as_matrix()
    # Entries of the cube's rotations are integers; rounding noise would break exact coincidences.
    whole = np.round(matrices)
    matrices = np.where(np.abs(matrices - whole) < 1e-12, whole, matrices) + 0.0
    return FiniteGroup.from_matrices(matrices, name)


def tetrahedral() -> FiniteGroup:
    """Return the 12 rotations of the tetrahedron, with `.matrices` [12, 3, 3]; `.identity` is element 3, not 0."""
    return _polyhedral("T", "T")


def octahedral() -> FiniteGroup:
    """Return the 24 rotations of the cube, with `.matrices` [24, 3, 3]; `.identity` is element 3, not 0."""
    return _polyhedral("O", "O")


def icosahedral() -> FiniteGroup:
    """Return the 60 rotations of the icosahedron, with `.matrices` [60, 3, 3]; `.identity` is element 3, not 0."""
    return _polyhedral("I", "I")


def translations(shape: Sequence[int]) -> FiniteGroup:
    """Return the cyclic shifts of a grid; elements are shift vectors in C order.

    Parameters
    ----------
    shape : sequence of int
        Sides of the grid.
    """
    sides = tuple(_count(side, "every side in shape") for side in shape)
    if not sides:
        raise ValueError("shape must have at least one side, found none")
    table = np.zeros((1, 1), np.int32)
    for side in sides:
        table = _product_table(table, cyclic(side).table)
    return FiniteGroup(table, "T" + "x".join(map(str, sides)))


def direct_product(a: FiniteGroup, b: FiniteGroup) -> FiniteGroup:
    """Return a x b; element g * b.order + h is the pair (g, h).

    Parameters
    ----------
    a, b : FiniteGroup
        The factors.

    Raises
    ------
    TypeError
        For a compact group.
    """
    a, b = as_finite(a, "a"), as_finite(b, "b")
    return FiniteGroup(_product_table(a.table, b.table), f"{a.name} x {b.name}")


def semidirect_product(normal: FiniteGroup, acting: FiniteGroup, automorphisms: Any) -> FiniteGroup:
    """Return the pairs (n, h) with (n, h)(m, k) = (n a_h(m), h k), numbered n * |H| + h.

    Parameters
    ----------
    normal, acting : FiniteGroup
        N, and H that acts on it.
    automorphisms : int array [|H|, |N|]
        automorphisms[h, n] is the number of a_h(n).

    Raises
    ------
    ValueError
        Where a_h is no automorphism of N, or h -> a_h no homomorphism.
    TypeError
        For a compact group.
    """
    normal, acting = as_finite(normal, "normal"), as_finite(acting, "acting")
    maps = np.asarray(automorphisms)
    shape = (acting.order, normal.order)
    if maps.shape != shape or maps.dtype.kind not in "iu":
        raise ValueError(f"automorphisms must be element numbers {shape}, found {maps.dtype} {maps.shape}")
    if not (np.sort(maps, axis=1) == np.arange(normal.order)).all():
        raise ValueError("automorphisms must each be a permutation of the normal subgroup's elements")
    for h, image in enumerate(maps):
        if not np.array_equal(image[normal.table], normal.table[np.ix_(image, image)]):
            raise ValueError(f"automorphisms[{h}] does not preserve products of {normal}")
        for k in acting.generators:
            if not np.array_equal(maps[acting.table[h, k]], image[maps[k]]):
                raise ValueError(f"automorphisms of {h} and {k} do not compose to that of their product")
    # [n, h, m] before k makes it four-fold: the full table is the only large array.
    first = np.take(normal.table, maps, axis=1).astype(np.int32, copy=False) * acting.order
    table = first[..., None] + acting.table[:, None, :].astype(np.int32, copy=False)
    return FiniteGroup(table.reshape(prod(shape), -1), f"{normal.name} : {acting.name}")


def p4(side: int) -> FiniteGroup:
    """Return the cyclic shifts and quarter turns of a square grid; element s * 4 + r is r turns, then shift s.

    Parameters
    ----------
    side : int
        Side of the grid; the order is 4 side^2.
    """
    side = _count(side, "side")
    y, x = np.divmod(np.arange(side**2), side)
    # A quarter turn as np.rot90 makes it takes the shift (y, x) to (-x, y), whatever point it turns about.
    turned = [y * side + x for y, x in ((y, x), (-x % side, y), (-y % side, -x % side), (x, -y % side))]
    return semidirect_product(translations((side, side)), cyclic(4), np.stack(turned))


def _product_table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    order = len(a) * len(b)
    return (a[:, None, :, None] * len(b) + b[None, :, None, :]).reshape(order, order).astype(np.int32)
