"""A block that is only multiplied with: its Krylov space, grown for the times asked for, and kept in a store."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from haarflow import solvers
from haarflow.kernels import Store, StoreWarning, digest_array
from haarflow.kernels.entry import DamageError, check_shapes
from haarflow.kernels.orbit_tiles import Progress

__all__ = ["KrylovBlock", "KrylovSolution", "Steps"]

# The smallest and largest Ritz values tell early from late times after so many products.
_FEW_STEPS = 20


@dataclass(frozen=True)
class Steps:
    """Where the steps of a block's Krylov space are kept.

    Attributes
    ----------
    store : Store
        The store.
    key : dict
        Of the block.
    """

    store: Store
    key: dict[str, Any]

    def pieces(self, labels: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield what is kept, step by step, up to the first that is missing or the dimension `most`."""
        dimension, width, last = 0, labels.shape[1], None
        for step in count():
            kept = self.store.get("krylov", self.key_of(labels, step, last))
            if kept is None or dimension > most:
                return
            # How many columns a block has is seen only when it is made, and at most as many as the one before.
            found = kept["block"].shape[-1] if kept.get("block", np.empty(())).ndim == 2 else width
            column = (found, width) if step == 0 else (dimension + found, width)
            try:
                check_shapes(
                    kept, {"block": ((len(labels), min(found, width)), "float64"), "column": (column, "float64")}
                )
                with np.errstate(all="ignore"):
                    if not np.abs(kept["block"].T @ kept["block"] - np.eye(found)).max(initial=0.0) < 1e-6:
                        raise DamageError("block must have orthonormal columns")
            except DamageError as damage:
                warnings.warn(
                    f"step {step} of a Krylov space in {self.store.path} is computed again: {damage}",
                    StoreWarning,
                    stacklevel=2,
                )
                return
            last, width = kept["block"], found
            dimension += found
            yield last, kept["column"]

    def key_of(self, labels: np.ndarray, step: int, last: np.ndarray | None) -> dict[str, Any]:
        """Return the key of a step, which names the one before: steps of two runs with other last bits never mix."""
        after = "none" if last is None else digest_array(last)
        return {**self.key, "labels": digest_array(labels), "step": step, "after": after}


class _Keeper:
    """Puts steps into the store as they are made."""

    def __init__(self, steps: Steps, labels: np.ndarray, last: np.ndarray | None) -> None:
        self._steps, self._labels, self._last = steps, labels, last

    def __call__(self, step: int, block: np.ndarray, column: np.ndarray) -> None:
        key = self._steps.key_of(self._labels, step, self._last)
        self._steps.store.put("krylov", key, {"block": block, "column": column})
        self._last = block


@dataclass(frozen=True)
class KrylovSolution:
    """What a Krylov space says at given times.

    Attributes
    ----------
    alpha : array [T, N, k]
        Coefficients phi_t(block + ridge) labels.
    cut, error : array [T]
        Modes left out, and the estimated relative error.
    unresolved : int
        Ritz values below the block's rounding.
    """

    alpha: np.ndarray = field(repr=False)
    cut: np.ndarray
    error: np.ndarray
    unresolved: int

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return rows [m, N] times the coefficients: array [T, m, k] float64."""
        times, order, k = self.alpha.shape
        stacked = self.alpha.transpose(1, 0, 2).reshape(order, times * k)
        return (rows @ stacked).reshape(len(rows), times, k).transpose(1, 0, 2)

    def coefficients(self) -> np.ndarray:
        """Return alpha."""
        return self.alpha


@dataclass(frozen=True, eq=False)
class KrylovBlock:
    """One block of the augmented Gram matrix, known by its products.

    Attributes
    ----------
    rows : int
        Order N of the block.
    multiply : callable
        [N, p] -> block times it.
    columns : callable
        indices -> columns of the block.
    basis : csr_matrix [N, r] or None
        Of what the distinct points span.
    scale, size
        As in `solvers.Spectrum`.
    how : solvers.Krylov
        Tolerance and largest dimension.
    steps : Steps or None
        Where the space is kept.
    space : KrylovSpace or None
        As far as it has grown.
    answered : tuple or None
        What was asked for last, and the solution: t = inf may have taken as many products as the space.
    """

    rows: int
    multiply: Callable[[np.ndarray], np.ndarray]
    columns: Callable[[np.ndarray], np.ndarray]
    basis: csr_matrix | None
    scale: float
    size: int
    how: solvers.Krylov
    steps: Steps | None
    space: solvers.KrylovSpace | None = None
    answered: tuple[Any, KrylovSolution] | None = None

    def solve(
        self,
        labels: np.ndarray,
        filter: solvers.Filter,
        times: np.ndarray,
        rate: float,
        ridge: float,
        progress: Progress | None = None,
    ) -> tuple["KrylovBlock", KrylovSolution]:
        """Filter labels [N, k] at all times; return the block with its space as it has grown, and the solution."""
        asked = (digest_array(labels), filter, times.tobytes(), rate, ridge)
        if self.answered is not None and self.answered[0] == asked:
            return self, self.answered[1]
        reduced = self._reduced(labels)
        space = self._begun(reduced)
        found = solvers.solve(
            self._product,
            reduced,
            filter,
            times,
            rate,
            ridge,
            how=self.how,
            scale=self.scale,
            size=self.size,
            space=space,
            columns=self._columns,
            keep=self._keeper(reduced, space),
            progress=progress,
        )
        alpha = found.alpha if self.basis is None else np.stack([self.basis @ each for each in found.alpha])
        solution = KrylovSolution(alpha, found.cut, found.error, found.unresolved)
        return replace(self, space=found.space, answered=(asked, solution)), solution

    def resolved(self, ridge: float) -> np.ndarray:
        """Return the Ritz values above rounding, ridge included; the largest modes are the first to be found."""
        if self.space is None:
            return np.empty(0)
        values = np.maximum(self.space.ritz_values, 0.0) + ridge
        return values[values > max(self.size * np.finfo(float).eps * self.scale, 2 * self.space.noise)]

    def begun(self, labels: np.ndarray) -> "KrylovBlock":
        """Return the block with a space of a few steps, where it has none: its extreme modes are known then."""
        reduced = self._reduced(labels)
        space = self._begun(reduced)
        keep = self._keeper(reduced, space)
        if space is None:
            space = solvers.start_space(reduced)
            if keep is not None:
                keep(0, space.next, space.coefficients)
        while space.steps < _FEW_STEPS and not space.exhausted and space.dimension < self.how.dimension:
            space = solvers.grow(space, self._product)
            if keep is not None:
                keep(space.steps, space.next, space.columns[-1])
        return replace(self, space=space)

    def _reduced(self, labels: np.ndarray) -> np.ndarray:
        # No kernel row sees what is orthogonal to the basis.
        return labels if self.basis is None else np.asarray(self.basis.T @ labels)

    def _begun(self, labels: np.ndarray) -> "solvers.KrylovSpace | None":
        if self.space is not None or self.steps is None:
            return self.space
        try:
            return solvers.space_from(labels, self.steps.pieces(labels, self.how.dimension))
        except ValueError:  # nothing kept, or steps of runs that did not know of each other
            return None

    def _keeper(self, labels: np.ndarray, space: "solvers.KrylovSpace | None") -> _Keeper | None:
        return None if self.steps is None else _Keeper(self.steps, labels, None if space is None else space.next)

    def _product(self, v: np.ndarray) -> np.ndarray:
        if self.basis is None:
            return self.multiply(v)
        return np.asarray(self.basis.T @ self.multiply(self.basis @ v))

    def _columns(self, indices: np.ndarray) -> np.ndarray:
        if self.basis is None:
            return self.columns(indices)
        # The basis is sparse: each of its columns meets few of the block's.
        chosen = self.basis[:, indices].tocsc()
        rows = np.unique(chosen.indices)
        return np.asarray(self.basis.T @ (self.columns(rows) @ chosen[rows].toarray()))
