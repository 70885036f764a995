"""A block that is only multiplied with: its Krylov space, grown for the times asked for, and kept in a store."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from haarflow import solvers
from haarflow.kernels import Store, StoreWarning, digest_array
from haarflow.kernels.entry import Shapes
from haarflow.kernels.orbit_tiles import Progress
from haarflow.solvers.krylov_space import Keep, Recall, advance
from haarflow.solvers.preconditioned import PreconditionedSolve
from haarflow.solvers.units import column_units

__all__ = ["KrylovBlock", "KrylovSolution", "Steps"]

# The smallest and largest Ritz values tell early from late times after so many products.
_FEW_STEPS = 20

# Raised where the same key would give a step of other shapes or in other form.
_VERSION = 2

# Coefficients of so many times and outputs are put in the order of a matrix product at once.
_COLUMNS = 1024


@dataclass(frozen=True)
class Steps:
    """Where the steps of a block's Krylov space are kept.

    How many columns a step has is known only once it is made, and what is read must have a known size: each is kept
    as wide as the step before, filled up with zeros.

    Attributes
    ----------
    store : Store
        The store.
    key : dict
        Of the block.
    """

    store: Store
    key: dict[str, Any]

    def begin(self, labels: np.ndarray) -> solvers.KrylovSpace:
        """Return the space before its first step, kept or made."""
        kept = self.recall(labels, None)
        if kept is not None:
            try:
                return solvers.space_from(labels, [kept])
            except ValueError as error:
                self._warn(0, str(error))
        space = solvers.start_space(labels)
        self.keep(labels, None, space.next, space.coefficients)
        return space

    def recall(self, labels: np.ndarray, space: solvers.KrylovSpace | None) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the block and the column that follow a space, or that it begins with, if they are kept."""
        step, after, before, width = _following(labels, space)
        shapes: Shapes = {"block": ((len(labels), width), "float64"), "column": ((before + width, width), "float64")}
        kept = self.store.get("krylov", self._key_of(labels, step, after), shapes)
        if kept is None:
            return None
        found = int(kept["block"].any(axis=0).sum())
        block, column, filling = kept["block"][:, :found], *np.split(kept["column"], [before + found])
        with np.errstate(all="ignore"):
            orthonormal = np.abs(block.T @ block - np.eye(found)).max(initial=0.0) < 1e-6
        if not orthonormal or filling.any():
            self._warn(step, "block must have orthonormal columns")
            return None
        return block, column

    def keep(
        self, labels: np.ndarray, space: solvers.KrylovSpace | None, block: np.ndarray, column: np.ndarray
    ) -> None:
        """Keep the block and the column that follow a space, or that it begins with."""
        missing = column.shape[1] - block.shape[1]
        wide = {"block": np.pad(block, ((0, 0), (0, missing))), "column": np.pad(column, ((0, missing), (0, 0)))}
        step, after, *_ = _following(labels, space)
        self.store.put("krylov", self._key_of(labels, step, after), wide)

    def _key_of(self, labels: np.ndarray, step: int, after: str) -> dict[str, Any]:
        # It names the step before: steps of two runs with other last bits never mix.
        named = {"labels": digest_array(labels), "step": step, "after": after}
        return {**self.key, "step_version": _VERSION, **named}

    def _warn(self, step: int, damage: str) -> None:
        message = f"step {step} of a Krylov space in {self.store.path} is computed again: {damage}"
        warnings.warn(message, StoreWarning, stacklevel=2)


def _following(labels: np.ndarray, space: solvers.KrylovSpace | None) -> tuple[int, str, int, int]:
    """Return a step's number, the digest of the one before, the columns of all before it, and its own at most."""
    if space is None:
        return 0, "none", 0, labels.shape[1]
    column, width = space.columns[-1] if space.columns else space.coefficients, space.next.shape[1]
    # The block alone may be the same after others, turned: the column tells.
    after = f"{digest_array(space.next)} {digest_array(column)}"
    return space.steps + 1, after, space.dimension + width, width


@dataclass(frozen=True)
class KrylovSolution:
    """What a Krylov space says at given times.

    Attributes
    ----------
    alpha : array [T, r, k]
        Coefficients phi_t(block + ridge) labels in the basis, of labels in `units`.
    units : array [k]
        Powers of two: coefficients in the labels' own may be out of range where predictions are not.
    basis : csr_matrix [N, r] or None
        As in `KrylovBlock`.
    cut, error : array [T]
        Modes left out, and the estimated relative error of the worst column.
    unresolved : int
        Ritz values below the block's rounding.
    unlearnt : array [r, k]
        What of the labels, in `units`, lies in those modes.
    """

    alpha: np.ndarray = field(repr=False)
    units: np.ndarray = field(repr=False)
    basis: csr_matrix | None
    cut: np.ndarray
    error: np.ndarray
    unresolved: int
    unlearnt: np.ndarray = field(repr=False)

    def left_out(self) -> np.ndarray:
        """Return what of the labels lies in unresolved modes, [N, k]."""
        found = self.unlearnt * self.units
        return found if self.basis is None else np.asarray(self.basis @ found)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return rows [m, N] times the coefficients: array [T, m, k] float64."""
        inside = rows if self.basis is None else rows @ self.basis
        times, order, k = self.alpha.shape
        found = np.empty((times, len(rows), k))
        # Few at once: this is no place for a second copy of all coefficients.
        step = max(1, _COLUMNS // max(k, 1))
        for start in range(0, times, step):
            some = self.alpha[start : start + step]
            values = inside @ some.transpose(1, 0, 2).reshape(order, len(some) * k)
            found[start : start + step] = values.reshape(len(rows), len(some), k).transpose(1, 0, 2)
        if np.any(self.units != 1):
            found *= self.units
        return found

    def coefficients(self) -> np.ndarray:
        """Return them in the block's coordinates, [T, N, k]."""
        alpha = self.alpha if np.all(self.units == 1) else self.alpha * self.units
        return alpha if self.basis is None else np.stack([self.basis @ each for each in alpha])


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
        What was asked for last, and the solution.
    inverse : tuple
        Labels and ridge, and what solved t = inf, if anything: it may have taken as many products as the space.
    eps : float
        Of the kernel's dtype: what is smaller in the block is rounding, which its products do not show.
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
    inverse: tuple[Any, PreconditionedSolve | None] = (None, None)
    eps: float = float(np.finfo(float).eps)

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
        inverted = (digest_array(labels), ridge)
        asked = (inverted, filter, times.tobytes(), rate)
        if self.answered is not None and self.answered[0] == asked:
            return self, self.answered[1]
        reduced, units = self._reduced(labels)
        recall, keep = self._kept(reduced)
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
            eps=self.eps,
            space=self._begun(reduced),
            columns=self._columns,
            inverse=self.inverse[1] if self.inverse[0] == inverted else None,
            recall=recall,
            keep=keep,
            progress=progress,
        )
        solution = KrylovSolution(
            found.alpha, units, self.basis, found.cut, found.error, found.unresolved, found.left_out
        )
        grown = replace(self, space=found.space, answered=(asked, solution), inverse=(inverted, found.inverse))
        return grown, solution

    def resolved(self, ridge: float) -> np.ndarray:
        """Return the Ritz values above rounding, ridge included; the largest modes are the first to be found."""
        if self.space is None:
            return np.empty(0)
        values = np.maximum(self.space.ritz_values, 0.0) + ridge
        return values[
            values > max(self.size * np.finfo(float).eps * self.scale, self.eps * self.scale, 2 * self.space.noise)
        ]

    def begun(self, labels: np.ndarray) -> "KrylovBlock":
        """Return the block with a space of a few steps, where it has none: its extreme modes are known then."""
        reduced, _ = self._reduced(labels)
        space, (recall, keep) = self._begun(reduced), self._kept(reduced)
        while space.steps < _FEW_STEPS and not space.exhausted:
            if space.steps and space.dimension + space.next.shape[1] > self.how.dimension:
                break
            space, _ = advance(space, self._product, recall, keep)
        return replace(self, space=space)

    def _reduced(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return labels in the basis and in units, [r, k], and the units [k]: what a space, and its steps, are of."""
        # No kernel row sees what is orthogonal to the basis.
        reduced = np.asarray(labels if self.basis is None else self.basis.T @ labels)
        units = column_units(reduced)
        return reduced if np.all(units == 1) else reduced / units, units

    def _begun(self, labels: np.ndarray) -> solvers.KrylovSpace:
        if self.space is not None:
            return self.space
        return solvers.start_space(labels) if self.steps is None else self.steps.begin(labels)

    def _kept(self, labels: np.ndarray) -> tuple[Recall | None, Keep | None]:
        if self.steps is None:
            return None, None
        return partial(self.steps.recall, labels), partial(self.steps.keep, labels)

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
