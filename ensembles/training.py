"""From a posed problem to spectra: assemble, merge coinciding samples, factorise; or read them from a store."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from haarflow import solvers
from haarflow.groups import Representation, coincidences
from haarflow.kernels import KERNEL_VERSION, Kernel, Store, StoreWarning, digest_array, orbit_gram
from haarflow.kernels.orbits import OrbitGram, Progress
from haarflow.reduction import Problem, distinct_basis

__all__ = ["train"]


def train(
    kernel: Kernel,
    problem: Problem,
    irreps: Sequence[Representation],
    store: Store | None = None,
    progress: Progress | None = None,
) -> tuple[list[solvers.Spectrum], float]:
    """Return the spectrum of each irrep's block, and the mean of Theta(x_i, x_i).

    Parameters
    ----------
    kernel : Kernel
        Of the network.
    problem : Problem
        Training set and action.
    irreps : sequence of Representation
        Blocks asked for.
    store : Store, optional
        Where Gram blocks and eigendecompositions are looked up first, and kept.
    progress : callable, optional
        progress(label, done, total).

    Notes
    -----
    Cost: n^2 |G| / 2 kernel entries and (n d)^3 for each irrep; none of it for what the store has.
    """
    found = coincidences(problem.action, problem.x)
    bases = [distinct_basis(found, irrep) for irrep in irreps]
    key = _key(kernel, problem, irreps)
    spectra: list[solvers.Spectrum] = []
    orders = [len(problem.x) * irrep.dim for irrep in irreps]
    ranks = [order if basis is None else basis.shape[1] for order, basis in zip(orders, bases, strict=True)]
    # Eigenvectors are kept in coordinates of the bases, whose signs and rotations another LAPACK may choose otherwise.
    spectrum_key = {**key, "bases": " ".join(map(_digest_basis, bases))}
    shapes: dict[str, tuple[int, ...]] = {"mean_diagonal": ()}
    for i, rank in enumerate(ranks):
        shapes.update({f"eigenvalues_{i}": (rank,), f"eigenvectors_{i}": (rank, rank), f"scale_{i}": ()})
    kept = _look_up(store, "spectrum", spectrum_key, shapes, kernel.dtype)
    if kept is not None:
        for i, basis in enumerate(bases):
            spectra.append(
                solvers.Spectrum(
                    kept[f"eigenvalues_{i}"],
                    kept[f"eigenvectors_{i}"],
                    basis,
                    float(kept[f"scale_{i}"]),
                    problem.size,
                )
            )
        return spectra, float(kept["mean_diagonal"])
    gram = _gram(kernel, problem, irreps, key, store, progress)
    arrays: dict[str, np.ndarray] = {"mean_diagonal": np.asarray(gram.mean_diagonal)}
    for i, (block, basis) in enumerate(zip(gram.blocks, bases, strict=True)):
        if progress is not None:
            progress("eigendecomposition", i, len(bases))
        spectrum = solvers.eigendecompose(block, basis, scale=gram.bound, size=problem.size)
        arrays[f"eigenvalues_{i}"], arrays[f"eigenvectors_{i}"] = spectrum.eigenvalues, spectrum.eigenvectors
        arrays[f"scale_{i}"] = np.asarray(spectrum.scale)
        spectra.append(spectrum)
    if progress is not None:
        progress("eigendecomposition", len(bases), len(bases))
    if store:
        store.put("spectrum", spectrum_key, arrays)
    return spectra, gram.mean_diagonal


def _gram(
    kernel: Kernel,
    problem: Problem,
    irreps: Sequence[Representation],
    key: dict[str, Any],
    store: Store | None,
    progress: Progress | None,
) -> OrbitGram:
    shapes: dict[str, tuple[int, ...]] = {"bound": (), "mean_diagonal": ()}
    for i, irrep in enumerate(irreps):
        shapes[f"block_{i}"] = (len(problem.x) * irrep.dim,) * 2
    kept = _look_up(store, "gram", key, shapes, kernel.dtype)
    if kept is not None:
        blocks = tuple(kept[f"block_{i}"] for i in range(len(irreps)))
        return OrbitGram(blocks, float(kept["bound"]), float(kept["mean_diagonal"]))
    gram = orbit_gram(kernel, problem.action, problem.x, irreps, progress)
    if store:
        arrays = {f"block_{i}": block for i, block in enumerate(gram.blocks)}
        arrays.update(bound=np.asarray(gram.bound), mean_diagonal=np.asarray(gram.mean_diagonal))
        store.put("gram", key, arrays)
    return gram


def _look_up(
    store: Store | None, kind: str, key: dict[str, Any], shapes: dict[str, tuple[int, ...]], dtype: str
) -> dict[str, np.ndarray] | None:
    """Return a kept entry that holds what it should, or None."""
    kept = store.get(kind, key) if store else None
    if kept is None:
        return None
    for name, shape in shapes.items():
        array = kept.get(name)
        wanted = dtype if shape else "float64"
        if array is None or array.shape != shape or array.dtype != wanted or not np.isfinite(array).all():
            warnings.warn(
                f"the {kind} in {store.path if store else store} is computed again: "
                f"{name} must be finite {wanted} {shape}",
                StoreWarning,
                stacklevel=4,
            )
            return None
    return kept


def _digest_basis(basis: csr_matrix | None) -> str:
    return "none" if basis is None else digest_array(basis.toarray())


def _key(kernel: Kernel, problem: Problem, irreps: Sequence[Representation]) -> dict[str, Any]:
    return {
        "architecture": kernel.content_key,
        "action": problem.action.digest,
        "reduction": problem.reduction,
        "irreps": " ".join(irrep.digest for irrep in irreps),
        "samples": len(problem.x),
        "data": digest_array(problem.x),
        "dtype": kernel.dtype,
        "kernel_version": KERNEL_VERSION,
    }
