"""From a posed problem to factorised blocks: assemble, merge coinciding samples, factorise; or read from a store."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from haarflow import solvers
from haarflow.kernels import KERNEL_VERSION, Irrep, Kernel, Store, StoreWarning, digest_array, orbit_gram
from haarflow.kernels.orbits import OrbitGram, Progress
from haarflow.reduction import Problem, distinct_basis

__all__ = ["Trained", "train"]


@dataclass(frozen=True)
class Trained:
    """What training leaves for each irrep asked for.

    Attributes
    ----------
    spectra : tuple of Spectrum
        Of the NTK's blocks.
    nngp : tuple of array [r, r]
        The NNGP's blocks in the NTK blocks' eigenbases; empty where they were not asked for.
    mean_diagonal : float
        Mean of Theta(x_i, x_i).
    """

    spectra: tuple[solvers.Spectrum, ...]
    nngp: tuple[np.ndarray, ...]
    mean_diagonal: float


def train(
    kernel: Kernel,
    problem: Problem,
    irreps: Sequence[Irrep],
    store: Store | None = None,
    progress: Progress | None = None,
    nngp: bool = False,
) -> Trained:
    """Assemble and factorise the block of each irrep.

    Parameters
    ----------
    kernel : Kernel
        Of the network.
    problem : Problem
        Training set and action.
    irreps : sequence of Representation or Harmonic
        Blocks asked for.
    store : Store, optional
        Where Gram blocks and eigendecompositions are looked up first, and kept.
    progress : callable, optional
        progress(label, done, total).
    nngp : bool
        Whether the NNGP's blocks are assembled too, as the covariance needs them.

    Notes
    -----
    Cost: n^2 |G| / 2 kernel entries and (n d)^3 for each irrep; none of it for what the store has.
    """
    found = problem.coincidences()
    bases = [distinct_basis(found, irrep) for irrep in irreps]
    key = _key(kernel, problem, irreps, nngp)
    orders = [len(problem.x) * irrep.dim for irrep in irreps]
    ranks = [order if basis is None else basis.shape[1] for order, basis in zip(orders, bases, strict=True)]
    # Eigenvectors are kept in coordinates of the bases, whose signs and rotations another LAPACK may choose otherwise.
    spectrum_key = {**key, "bases": " ".join(map(_digest_basis, bases))}
    shapes: dict[str, tuple[int, ...]] = {"mean_diagonal": ()}
    for i, rank in enumerate(ranks):
        shapes.update({f"eigenvalues_{i}": (rank,), f"eigenvectors_{i}": (rank, rank), f"scale_{i}": ()})
        shapes.update({f"nngp_{i}": (rank, rank)} if nngp else {})
    kept = _look_up(store, "spectrum", spectrum_key, shapes, kernel.dtype)
    if kept is None:
        kept = _factorise(_gram(kernel, problem, irreps, key, store, progress), bases, problem.size, progress)
        if store:
            store.put("spectrum", spectrum_key, kept)
    spectra = tuple(
        solvers.Spectrum(
            kept[f"eigenvalues_{i}"], kept[f"eigenvectors_{i}"], basis, float(kept[f"scale_{i}"]), problem.size
        )
        for i, basis in enumerate(bases)
    )
    turned = tuple(kept[f"nngp_{i}"] for i in range(len(bases))) if nngp else ()
    return Trained(spectra, turned, float(kept["mean_diagonal"]))


def _factorise(
    gram: OrbitGram, bases: Sequence[csr_matrix | None], size: int, progress: Progress | None
) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {"mean_diagonal": np.asarray(gram.mean_diagonal)}
    bound, blocks, nngp = gram.bound, list(gram.blocks[::-1]), list(gram.nngp[::-1])
    del gram  # so that each block can go once it is factorised
    for i, basis in enumerate(bases):
        if progress is not None:
            progress("eigendecomposition", i, len(bases))
        spectrum = solvers.eigendecompose(blocks.pop(), basis, scale=bound, size=size)
        arrays[f"eigenvalues_{i}"], arrays[f"eigenvectors_{i}"] = spectrum.eigenvalues, spectrum.eigenvectors
        arrays[f"scale_{i}"] = np.asarray(spectrum.scale)
        if nngp:
            arrays[f"nngp_{i}"] = solvers.to_eigenbasis(spectrum, nngp.pop())
    if progress is not None:
        progress("eigendecomposition", len(bases), len(bases))
    return arrays


def _gram(
    kernel: Kernel,
    problem: Problem,
    irreps: Sequence[Irrep],
    key: dict[str, Any],
    store: Store | None,
    progress: Progress | None,
) -> OrbitGram:
    nngp = bool(key.get("nngp", False))
    families = ("block", "nngp") if nngp else ("block",)
    shapes: dict[str, tuple[int, ...]] = {"bound": (), "mean_diagonal": ()}
    for i, irrep in enumerate(irreps):
        shapes.update({f"{family}_{i}": (len(problem.x) * irrep.dim,) * 2 for family in families})
    kept = _look_up(store, "gram", key, shapes, kernel.dtype)
    if kept is not None:
        ntk, *rest = (tuple(kept[f"{family}_{i}"] for i in range(len(irreps))) for family in families)
        return OrbitGram(ntk, rest[0] if rest else (), float(kept["bound"]), float(kept["mean_diagonal"]))
    gram = orbit_gram(kernel, problem.action, problem.x, irreps, progress, nngp)
    if store:
        arrays = {f"block_{i}": block for i, block in enumerate(gram.blocks)}
        arrays.update({f"nngp_{i}": block for i, block in enumerate(gram.nngp)})
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


def _key(kernel: Kernel, problem: Problem, irreps: Sequence[Irrep], nngp: bool) -> dict[str, Any]:
    return {
        **({"nngp": True} if nngp else {}),
        "architecture": kernel.content_key,
        "action": problem.action.digest,
        "reduction": problem.reduction,
        "irreps": " ".join(irrep.digest for irrep in irreps),
        "samples": len(problem.x),
        "data": digest_array(problem.x),
        "dtype": kernel.dtype,
        "kernel_version": KERNEL_VERSION,
    }
