"""Both kernels between samples and the orbits of others, summed over the group for each irrep, tile by tile.

Three ways, cheapest first: a fast transform of the group gives all inner products <x, g x'> at once (translations,
p4); a compact group is averaged with nodes aligned for each pair; otherwise the orbits of one block of samples at
a time are listed.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from haarflow.groups import Action, HaarAction, Harmonic, Representation
from haarflow.kernels.aligned import BlockTiles, aligned_tiles, evaluations
from haarflow.kernels.analytic import AnalyticKernel
from haarflow.kernels.backend import in_threads
from haarflow.kernels.flat import Vectors, of_products, prepare_vectors
from haarflow.kernels.pair import KernelPair
from haarflow.kernels.tiling import Report

__all__ = ["Irrep", "Kernel", "OrbitTile", "Progress", "copies", "orbit_tiles"]

Irrep = Representation | Harmonic
# Called as progress(label, done, total).
Progress = Callable[[str, int, int], None]

# Numbers of kappa that one square tile holds for all elements together, as far as its sides stay above the second.
_SQUARE_NUMBERS = 2**18
_SMALLEST_SIDE = 32
# Numbers of kappa that one transformed tile holds: larger ones leave the cache.
_TRANSFORMED_NUMBERS = 2**18
# Below this order a matrix product with the listed orbits is faster than Fourier transforms.
_TRANSFORMED_ORDER = 48
# Listed points of one block of columns, and numbers of kappa that are held at a time.
_LISTED_POINTS = 2**10
_LISTED_NUMBERS = 2**21


class Kernel(Protocol):
    """What a kernel must offer: NNGP and NTK between two batches, a dtype, and a key for the store."""

    @property
    def dtype(self) -> str:
        """Name of the dtype of all results."""
        ...

    @property
    def content_key(self) -> str:
        """A string that is equal for kernels with equal values."""
        ...

    def __call__(self, x1: np.ndarray, x2: np.ndarray | None = None) -> KernelPair:
        """Return both kernels [n1, n2]."""
        ...


class OrbitTile(NamedTuple):
    """Sums over the group for some pairs of samples."""

    rows: slice
    columns: slice
    sums: BlockTiles


# How many entries all tiles take, and the tiles.
Tiles = tuple[int, Iterator[OrbitTile]]


def copies(action: Action | HaarAction) -> int:
    """Return how many kernel entries one pair of samples takes: |G|, or a compact group's nodes."""
    return action.group.order if isinstance(action, Action) else evaluations(action)


def orbit_tiles(
    kernel: Kernel,
    action: Action | HaarAction,
    x1: np.ndarray,
    x2: np.ndarray | None,
    irreps: Sequence[Irrep],
    nngp: bool,
    report: Report | None = None,
) -> Tiles:
    """Return how many kernel entries all pairs take, and tiles that cover them as they are evaluated.

    Parameters
    ----------
    kernel : Kernel
        An invariant kernel.
    action : Action or HaarAction
        The group's action.
    x1 : array [n1, ...]
        Samples.
    x2 : array [n2, ...] or None
        Those whose orbits are summed over. None: x1 itself, of whose pairs i <= j at least are covered; where a tile
        goes below the diagonal, it covers all of that square.
    irreps : sequence of Representation or Harmonic
        What the sums are weighted with.
    nngp : bool
        Whether K is summed too.
    report : callable, optional
        Told how many entries are new, between tiles and within them, by the thread that takes the tiles.

    Returns
    -------
    int, iterator of OrbitTile

    Notes
    -----
    Cost: n1 n2 |G| kernel entries, about half of them for x2 = None; for what an entry costs see
    `AnalyticKernel.__call__`. Memory: a few tiles, each of at most 2^21 numbers.
    """
    if isinstance(action, HaarAction):
        assert isinstance(kernel, AnalyticKernel)
        return _reported(_aligned(kernel, action, x1, x2, cast(Sequence[Harmonic], irreps)), copies(action), report)
    weights = [cast(Representation, irrep).matrices.astype(kernel.dtype) for irrep in irreps]
    if (
        isinstance(kernel, AnalyticKernel)
        and action.group.order >= _TRANSFORMED_ORDER
        and kernel.of_inner_product(x1.shape[1:])
        and action.correlate(x1[:1], x1[:1]) is not None
    ):
        return _reported(_transformed(kernel, action, x1, x2, weights, nngp), action.group.order, report)
    return _listed(kernel, action, x1, x2, weights, nngp, report)


def _reported(tiles: Tiles, each: int, report: Report | None) -> Tiles:
    """Turn pairs of samples into entries, and report them tile by tile."""
    pairs, found = tiles

    def told() -> Iterator[OrbitTile]:
        for tile in found:
            if report is not None:
                report((tile.rows.stop - tile.rows.start) * (tile.columns.stop - tile.columns.start) * each)
            yield tile

    return pairs * each, told()


def _aligned(
    kernel: AnalyticKernel, action: HaarAction, x1: np.ndarray, x2: np.ndarray | None, irreps: Sequence[Harmonic]
) -> Tiles:
    side = _square_side(evaluations(action))
    second = x1 if x2 is None else x2
    corners = _corners(len(x1), len(second), side, x2 is None)
    found = (
        OrbitTile(rows, columns, aligned_tiles(kernel, action, x1[rows], second[columns], irreps))
        for rows, columns in corners
    )
    return _pairs(corners), found


def _transformed(
    kernel: AnalyticKernel,
    action: Action,
    x1: np.ndarray,
    x2: np.ndarray | None,
    weights: Sequence[np.ndarray],
    nngp: bool,
) -> Tiles:
    layers, order = kernel.architecture.layers, action.group.order
    side = _power_of_two_below((_TRANSFORMED_NUMBERS / order) ** 0.5)
    second = x1 if x2 is None else x2
    kernel.architecture.check(x1.shape[1:])
    first_vectors = prepare_vectors(np.ascontiguousarray(x1, kernel.dtype))
    second_vectors = first_vectors if x2 is None else prepare_vectors(np.ascontiguousarray(second, kernel.dtype))
    corners = _corners(len(x1), len(second), side, x2 is None)

    def evaluate(corner: tuple[slice, slice]) -> OrbitTile:
        a, b = first_vectors[corner[0]], second_vectors[corner[1]]
        products = action.correlate(*(part.unit.reshape(-1, *x1.shape[1:]) for part in (a, b)))
        assert products is not None
        pairs = len(a) * len(b)
        c = products.reshape(pairs, order)
        if pairs < side * side:  # one compilation for each shape
            c = np.concatenate([c, np.zeros((side * side - pairs, order), c.dtype)])
        q1, q2 = (np.resize(part, (side * side, 1)) for part in (np.repeat(a.q, len(b)), np.tile(b.q, len(a))))
        tile = of_products(layers, c, q1, q2, _samples(action, a, b, x1.shape[1:]))
        values = [part[:pairs] for part in tile.values]
        if len(tile.rows):
            values = [part.copy() for part in values]
            for part, mended in zip(values, tile.mended, strict=True):
                part[tile.rows, tile.columns] = mended
        # [pairs, |G|] -> [i, |G|, j] as the others have it.
        kappas = [part.reshape(len(a), len(b), order) for part in values]
        return OrbitTile(*corner, _summed(kappas, weights, nngp, action.group.identity, "ijg,gx->ijx"))

    return _pairs(corners), in_threads(evaluate, corners)


def _samples(
    action: Action, a: Vectors, b: Vectors, shape: tuple[int, ...]
) -> Callable[[np.ndarray, np.ndarray], tuple[Vectors, Vectors]]:
    def samples(pairs: np.ndarray, elements: np.ndarray) -> tuple[Vectors, Vectors]:
        i, j = np.divmod(pairs, len(b))
        second = b[j]
        moved = np.empty_like(second.unit)
        # Elements ascend: one transform for each of them.
        edges = np.flatnonzero(np.diff(elements, prepend=-1, append=-1))
        for start, stop in pairwise(edges):
            images = second.unit[start:stop].reshape(-1, *shape)
            moved[start:stop] = action(int(elements[start]), images).reshape(stop - start, -1)
        return a[i], Vectors(moved, second.q)

    return samples


def _listed(
    kernel: Kernel,
    action: Action,
    x1: np.ndarray,
    x2: np.ndarray | None,
    weights: Sequence[np.ndarray],
    nngp: bool,
    report: Report | None,
) -> Tiles:
    order = action.group.order
    analytic = kernel if isinstance(kernel, AnalyticKernel) else None
    if analytic:
        width = max(1, _power_of_two_below(_LISTED_POINTS / order))
        height = max(width, _power_of_two_below(_LISTED_NUMBERS / (width * order)))
    else:  # squares of one size: another's kernel may compile for each shape
        width = height = _square_side(order)
    second = x1 if x2 is None else x2
    spans = [
        (slice(j, min(j + width, len(second))), len(x1) if x2 is not None else min(j + width, len(x1)))
        for j in range(0, len(second), width)
    ]

    first = analytic.prepare(x1) if analytic else x1
    shape = second.shape[1:]
    bases = None
    if isinstance(first, Vectors) and action.exact:  # turned, a direction stays one and a size the same
        assert analytic
        bases = first if x2 is None else analytic.prepare(second)

    def orbit(columns: slice) -> Any:
        if isinstance(bases, Vectors):
            turned = action.orbit(bases.unit[columns].reshape(-1, *shape))
            return Vectors(turned.reshape(turned.shape[0] * turned.shape[1], -1), np.tile(bases.q[columns], order))
        points = action.orbit(second[columns]).reshape(-1, *shape)
        return analytic.prepare(points) if analytic else points

    def evaluated() -> Iterator[OrbitTile]:
        for columns, end in spans:
            moved = orbit(columns)  # listed once, for all rows above
            for i in range(0, end, height):
                rows = slice(i, min(i + height, end))
                if analytic:
                    pair = analytic.between(first[rows], moved, report)  # type: ignore[arg-type]
                else:
                    pair = kernel(cast(np.ndarray, first[rows]), moved)
                    if report is not None:
                        report(pair.ntk.size)
                kappas = [part.reshape(rows.stop - i, order, -1) for part in (pair.nngp, pair.ntk)]
                yield OrbitTile(rows, columns, _summed(kappas, weights, nngp, action.group.identity, "igj,gx->ijx"))

    return sum((columns.stop - columns.start) * end for columns, end in spans) * order, evaluated()


def _summed(
    kappas: Sequence[np.ndarray], weights: Sequence[np.ndarray], nngp: bool, identity: int, axes: str
) -> BlockTiles:
    """Return sum_g kappa(g) (x) sigma(g) as [i, d, j, d] for each irrep; `axes` says where g runs."""
    listed = axes.startswith("igj")

    def weighted(kappa: np.ndarray, table: np.ndarray) -> np.ndarray:
        # [|G|, x] -> [i, j, x]
        return np.matmul(table.T, kappa).transpose(0, 2, 1) if listed else np.matmul(kappa, table)

    def blocks(kappa: np.ndarray) -> list[np.ndarray]:
        found = []
        for sigma in weights:
            d = sigma.shape[1]
            sums = weighted(kappa, sigma.reshape(len(sigma), d * d))
            found.append(sums.reshape(*sums.shape[:2], d, d).transpose(0, 2, 1, 3))
        return found

    K, theta = kappas
    axis = 1 if listed else 2
    return BlockTiles(
        blocks(theta),
        blocks(K) if nngp else [],
        np.abs(theta).sum(axis=axis, dtype=float),
        np.take(theta, identity, axis=axis),
    )


def _corners(n1: int, n2: int, side: int, symmetric: bool) -> list[tuple[slice, slice]]:
    return [
        (slice(i, min(i + side, n1)), slice(j, min(j + side, n2)))
        for j in range(0, n2, side)
        for i in range(0, n1, side)
        if not symmetric or i <= j
    ]


def _pairs(corners: Sequence[tuple[slice, slice]]) -> int:
    return sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in corners)


def _square_side(order: int) -> int:
    return max(_SMALLEST_SIDE, _power_of_two_below((_SQUARE_NUMBERS / order) ** 0.5))


def _power_of_two_below(number: float) -> int:
    # So that the kernel meets few shapes.
    return 1 << int(np.log2(max(1.0, number)))
