"""The block Krylov space of a symmetric matrix that is known by its products, and how it grows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.linalg

from haarflow.solvers.units import column_units

__all__ = ["Keep", "KrylovSpace", "Product", "Recall", "advance", "grow", "space_from", "start_space"]

Product = Callable[[np.ndarray], np.ndarray]
Keep = Callable[["KrylovSpace", np.ndarray, np.ndarray], None]
Recall = Callable[["KrylovSpace"], tuple[np.ndarray, np.ndarray] | None]

_EPS = float(np.finfo(float).eps)

# Blocks are merged into arrays of at least so many columns, so that orthogonalising is few large matrix products.
_MERGED = 128


@dataclass(frozen=True, eq=False)
class KrylovSpace:
    """Span of Y, A Y, A^2 Y, ... as orthonormal blocks, and A's projection on it.

    Attributes
    ----------
    basis : tuple of arrays [N, c]
        V_1 .. V_m side by side, several blocks to an array.
    next : array [N, b]
        V_{m+1}, orthonormal, not multiplied by A yet; b = 0 where the space is invariant.
    columns : tuple of arrays [d_{j+1}, b_j]
        (V_1 .. V_{j+1})^T A V_j for every step j, d_{j+1} the columns of V_1 .. V_{j+1}.
    coefficients : array [b_1, k]
        The labels are V_1 times these times `units`.
    norm : float
        Largest norm of A on a block so far.
    strays : tuple of 2 floats
        Squared entries, and their number, of what V^T A V differs from its transpose by: 0 but for noise.
    units : array [k]
        Of each column of the labels, a power of two; 1 but for columns that would be lost without.
    """

    basis: tuple[np.ndarray, ...] = field(repr=False)
    next: np.ndarray = field(repr=False)
    columns: tuple[np.ndarray, ...] = field(repr=False)
    coefficients: np.ndarray = field(repr=False)
    units: np.ndarray = field(repr=False)
    norm: float = 0.0
    strays: tuple[float, float] = (0.0, 0.0)

    @property
    def rows(self) -> int:
        """Order N of the matrix."""
        return len(self.next)

    @property
    def steps(self) -> int:
        """Number m of blocks that were multiplied by A."""
        return len(self.columns)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Columns of each of those blocks."""
        return tuple(column.shape[1] for column in self.columns)

    @property
    def dimension(self) -> int:
        """Columns of all of those blocks."""
        return sum(self.sizes)

    @property
    def exhausted(self) -> bool:
        """Whether the space is invariant, so that growing ends."""
        return self.next.shape[1] == 0

    @property
    def noise(self) -> float:
        """Measured |E v| of the product's noise E on a unit vector v; 0 while one column is all there is.

        V^T A V is symmetric, and zero beyond the blocks next to the diagonal: what differs is the noise, as far as
        it lies in the space. Noise that is itself symmetric, such as that of a rounded matrix, is not seen.
        """
        return _noise(self.rows, self.strays)

    @cached_property
    def ritz_values(self) -> np.ndarray:
        """Eigenvalues of the projection, ascending, [dimension]."""
        return scipy.linalg.eigvalsh(self.projection()) if self.dimension else np.empty(0)

    @property
    def coupling(self) -> np.ndarray:
        """V_{m+1}^T A V_m, [b, b_m]."""
        return self.columns[-1][self.dimension :] if self.columns else np.empty((self.next.shape[1], 0))

    def projection(self) -> np.ndarray:
        """Return (V_1 .. V_m)^T A (V_1 .. V_m), block tridiagonal and symmetric, [dimension, dimension]."""
        projected = np.zeros((self.dimension, self.dimension))
        start = 0
        for column in self.columns:
            stop = start + column.shape[1]
            projected[start:stop, start:stop] = (column[start:stop] + column[start:stop].T) / 2
            below = column[stop:]
            if stop < self.dimension:
                projected[stop : stop + len(below), start:stop] = below
                projected[start:stop, stop : stop + len(below)] = below.T
            start = stop
        return projected

    def lift(self, coefficients: np.ndarray) -> np.ndarray:
        """Return (V_1 .. V_m) coefficients, [dimension, p] -> [N, p]."""
        lifted = np.zeros((self.rows, coefficients.shape[1]))
        start = 0
        for part in self.basis:
            lifted += part @ coefficients[start : start + part.shape[1]]
            start += part.shape[1]
        return lifted


def start_space(labels: np.ndarray) -> KrylovSpace:
    """Return the space before its first step: an orthonormal basis of the labels.

    Parameters
    ----------
    labels : array [N, k]
        Columns may depend on each other, vanish, or be of any size beside each other.

    Returns
    -------
    KrylovSpace

    Raises
    ------
    ValueError
        For labels that are no matrix, or not finite.
    """
    labels = _check_labels(labels)
    units = column_units(labels)
    labels = labels / units
    largest = float(np.abs(labels).max(initial=0.0))
    unit = labels / largest if largest > 0 else labels
    block, coefficients = _revealing_qr(unit, _EPS * max(labels.shape) * float(np.linalg.norm(unit)), len(labels))
    coefficients[:, ~labels.any(axis=0)] = 0.0  # a column that vanishes is exact
    return KrylovSpace((), block, (), coefficients * largest, units)


def grow(space: KrylovSpace, product: Product) -> KrylovSpace:
    """Multiply the next block by A and append it.

    Parameters
    ----------
    space : KrylovSpace
        Left unchanged, and shared: growing copies nothing of the old basis but what it merges.
    product : callable
        v [N, p] float64 -> A v [N, p].

    Returns
    -------
    KrylovSpace

    Raises
    ------
    ValueError
        For a space that is exhausted, or a product of another shape, dtype, or not finite.

    Notes
    -----
    Two passes of block Gram-Schmidt against the whole basis: 8 N d b operations for dimension d. A direction is
    dropped where what is left of it is no more than the product's noise.
    """
    if space.exhausted:
        raise ValueError("space must not be exhausted: it is invariant, so it holds every solution already")
    raw = _multiply(product, space.next)
    image, held = raw.astype(float), (*space.basis, space.next)
    norm = max(space.norm, float(np.linalg.norm(image, 2)))
    projected = _project(held, image)
    _remove(held, projected, image)
    tolerance = max(10 * float(np.finfo(raw.dtype).eps) * norm, 4 * _noise(space.rows, _strays(space, projected)))
    block, below = _revealing_qr(image, tolerance, space.rows - len(projected))
    again = _project(held, block)
    _remove(held, again, block)
    block, turn = np.linalg.qr(block)
    column = np.concatenate([projected + again @ below, turn @ below])
    return _append(space, np.ascontiguousarray(block), column)


def advance(
    space: KrylovSpace, product: Product, recall: Recall | None = None, keep: Keep | None = None
) -> tuple[KrylovSpace, int]:
    """Append the next block: recalled where it was kept, and otherwise multiplied and kept.

    Parameters
    ----------
    space : KrylovSpace
        Left unchanged.
    product : callable
        As in `grow`.
    recall : callable, optional
        Called with the space; returns the new block and its column as `keep` was given them, or None.
    keep : callable, optional
        Called with (space, new block, its column) after a product.

    Returns
    -------
    KrylovSpace, int
        And how many vectors were multiplied.

    Raises
    ------
    ValueError
        As `grow` and `space_from` do.
    """
    piece = None if recall is None else recall(space)
    if piece is not None:
        return _append_piece(space, *piece), 0
    grown = grow(space, product)
    if keep is not None:
        keep(space, grown.next, grown.columns[-1])
    return grown, space.next.shape[1]


def space_from(labels: np.ndarray, pieces: Iterable[tuple[np.ndarray, np.ndarray]]) -> KrylovSpace:
    """Rebuild a space from what was kept of it, so that it grows on as if it had never been away, bit for bit.

    Parameters
    ----------
    labels : array [N, k]
        What it was started from.
    pieces : iterable of (array [N, b], array)
        First the first block and the labels' coefficients, as `start_space` makes them, then for each step the new
        block and its column: what `solve` passes to `keep`, in order.

    Returns
    -------
    KrylovSpace

    Raises
    ------
    ValueError
        For pieces that do not fit each other or the labels.
    """
    labels, found = _check_labels(labels), iter(pieces)
    try:
        block, coefficients = (np.ascontiguousarray(piece, float) for piece in next(found))
    except StopIteration:
        raise ValueError("pieces must begin with the first block, found none") from None
    if block.shape[:1] != labels.shape[:1] or coefficients.shape != (block.shape[1], labels.shape[1]):
        raise ValueError(
            f"pieces must begin with a block [{len(labels)}, b] and coefficients [b, {labels.shape[1]}], found "
            f"shapes {block.shape} and {coefficients.shape}"
        )
    units = column_units(labels)
    labels = labels / units
    if np.abs(block @ coefficients - labels).max(initial=0.0) > 1e-9 * np.abs(labels).max(initial=0.0):
        raise ValueError("pieces must be those of these labels, found a first block that does not span them")
    space = KrylovSpace((), block, (), coefficients, units)
    for block, column in found:
        space = _append_piece(space, block, column)
    return space


def _append_piece(space: KrylovSpace, block: np.ndarray, column: np.ndarray) -> KrylovSpace:
    block, column = np.ascontiguousarray(block, float), np.ascontiguousarray(column, float)
    wanted = (space.dimension + space.next.shape[1] + block.shape[1], space.next.shape[1])
    if len(block) != space.rows or column.shape != wanted:
        raise ValueError(
            f"pieces of step {space.steps + 1} must be a block [{space.rows}, b] and a column {list(wanted)}, found "
            f"shapes {block.shape} and {column.shape}"
        )
    return _append(space, block, column)


def _append(space: KrylovSpace, block: np.ndarray, column: np.ndarray) -> KrylovSpace:
    norm = max(space.norm, float(np.linalg.norm(column, 2)))
    basis, columns = _merge((*space.basis, space.next)), (*space.columns, column)
    return KrylovSpace(basis, block, columns, space.coefficients, space.units, norm, _strays(space, column))


def _strays(space: KrylovSpace, projected: np.ndarray) -> tuple[float, float]:
    """Add the squares of what the new column differs from its transpose by, above the diagonal."""
    before, width = space.dimension, projected.shape[1]
    above = projected[:before].copy()
    if space.columns:
        above[before - space.sizes[-1] :] -= space.coupling.T
    own = np.triu(projected[before : before + width] - projected[before : before + width].T, 1)
    # Independent noise on both sides of the diagonal: twice the variance of one entry.
    total = float(np.sum(above**2) + np.sum(own**2)) / 2
    return space.strays[0] + total, space.strays[1] + above.size + width * (width - 1) / 2


def _noise(rows: int, strays: tuple[float, float]) -> float:
    return float(np.sqrt(rows * strays[0] / strays[1])) if strays[1] else 0.0


def _project(parts: tuple[np.ndarray, ...], image: np.ndarray) -> np.ndarray:
    return np.concatenate([part.T @ image for part in parts])


def _remove(parts: tuple[np.ndarray, ...], coefficients: np.ndarray, image: np.ndarray) -> None:
    start = 0
    for part in parts:
        image -= part @ coefficients[start : start + part.shape[1]]
        start += part.shape[1]


def _merge(parts: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Join the blocks at the end once they are wide enough: it depends on their widths only."""
    narrow = next((i for i, part in enumerate(parts) if part.shape[1] < _MERGED), len(parts))
    if sum(part.shape[1] for part in parts[narrow:]) < _MERGED:
        return parts
    return (*parts[:narrow], np.concatenate(parts[narrow:], axis=1))


def _revealing_qr(matrix: np.ndarray, tolerance: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Q [N, r], R [r, p] with orthonormal Q, without directions whose singular value is at most tolerance."""
    q, r = np.linalg.qr(matrix)
    left, values, right = np.linalg.svd(r)
    rank = min(int(np.sum(values > tolerance)), most)
    if rank == matrix.shape[1]:
        return q, r
    return q @ left[:, :rank], values[:rank, None] * right[:rank]


def _check_labels(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "fiub":
        raise ValueError(f"labels must be real numbers [N, k], found {labels.dtype} of shape {labels.shape}")
    labels = labels.astype(float)
    if not np.isfinite(labels).all():
        raise ValueError(f"labels must be finite, found {np.sum(~np.isfinite(labels))} NaN or inf entries")
    return labels


def _multiply(product: Product, block: np.ndarray) -> np.ndarray:
    image = np.asarray(product(block))
    if image.shape != block.shape or image.dtype.kind != "f":
        raise ValueError(
            f"product must return floats of the shape {block.shape} it is given, "
            f"found {image.dtype} of shape {image.shape}"
        )
    if not np.isfinite(image).all():
        raise ValueError(f"product must be finite, found {np.sum(~np.isfinite(image))} NaN or inf entries")
    return image
