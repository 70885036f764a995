"""From a posed problem to blocks that predict: assembled and factorised, or kept in tiles for the Krylov solver."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from haarflow import solvers
from haarflow.kernels import KERNEL_VERSION, Irrep, Kernel, Store, digest_array
from haarflow.kernels.distributed import Cluster
from haarflow.kernels.entry import Shapes
from haarflow.kernels.gram_tiles import Corner, GramProblem, GramSums, GramTile
from haarflow.kernels.orbit_tiles import Progress
from haarflow.kernels.orbits import OrbitGram, assemble, computed_tiles
from haarflow.kernels.tile_store import TileStore
from haarflow.kernels.tiled_block import TiledBlock
from haarflow.krylov_block import KrylovBlock, Steps
from haarflow.reduction import Problem, distinct_basis
from haarflow.solvers.lapack import check_memory
from haarflow.tile_sources import ClusterProduct, TilesHere, TilesStored

__all__ = ["KRYLOV_TOLERANCE", "Means", "Trained", "train", "train_krylov"]

# Of the coefficients, by the kernel's dtype; the rounding of a float32 Gram leaves up to 1e-3 at late times.
KRYLOV_TOLERANCE = {"float64": 1e-6, "float32": 1e-3}


@dataclass(frozen=True)
class Means:
    """With what a problem is trained.

    Attributes
    ----------
    solver : "auto", "dense" or solvers.Krylov
        How blocks are solved.
    store : Store or None
        Where Gram tiles, eigendecompositions and Krylov spaces are looked up first, and kept.
    executor : distributed.Client or None
        Whose workers compute and multiply tiles.
    """

    solver: str | solvers.Krylov = "auto"
    store: Store | None = None
    executor: Any = None


@dataclass(frozen=True)
class Trained:
    """What training leaves for each irrep asked for.

    Attributes
    ----------
    spectra : tuple of Spectrum or KrylovBlock
        Of the NTK's blocks.
    nngp : tuple of array [r, r]
        The NNGP's blocks in the NTK blocks' eigenbases; empty where they were not asked for.
    mean_diagonal : float
        Mean of Theta(x_i, x_i).
    """

    spectra: tuple[solvers.Spectrum | KrylovBlock, ...]
    nngp: tuple[np.ndarray, ...]
    mean_diagonal: float


def train(
    kernel: Kernel,
    problem: Problem,
    irreps: Sequence[Irrep],
    means: Means,
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
    means : Means
        The store and the executor.
    progress : callable, optional
        progress(label, done, total).
    nngp : bool
        Whether the NNGP's blocks are assembled too, as the covariance needs them.

    Notes
    -----
    Cost: n^2 |G| / 2 kernel entries and (n d)^3 for each irrep; none of it for what the store has.
    """
    bases = _bases(problem, irreps)
    orders = [len(problem.x) * irrep.dim for irrep in irreps]
    ranks = [order if basis is None else basis.shape[1] for order, basis in zip(orders, bases, strict=True)]
    check_memory(orders, ranks, kernel.dtype)
    gram = GramProblem(kernel, problem.action, problem.x, tuple(irreps), nngp)
    key = _key(gram, problem.reduction)
    # Eigenvectors are kept in coordinates of the bases, whose signs and rotations another LAPACK may choose otherwise.
    spectrum_key = {**key, "bases": " ".join(map(_digest_basis, bases))}
    shapes: Shapes = {"mean_diagonal": ((), "float64")}
    for i, rank in enumerate(ranks):
        shapes.update({f"eigenvalues_{i}": ((rank,), kernel.dtype), f"eigenvectors_{i}": ((rank, rank), kernel.dtype)})
        shapes.update({f"scale_{i}": ((), "float64")})
        shapes.update({f"nngp_{i}": ((rank, rank), kernel.dtype)} if nngp else {})
    kept = means.store.get("spectrum", spectrum_key, shapes) if means.store else None
    if kept is None:
        whole = assemble(gram, _tiles(gram, *_places(gram, key, means), progress))
        kept = _factorise(whole, bases, problem.size, progress)
        if means.store:
            means.store.put("spectrum", spectrum_key, kept)
    spectra = tuple(
        solvers.Spectrum(
            kept[f"eigenvalues_{i}"], kept[f"eigenvectors_{i}"], basis, float(kept[f"scale_{i}"]), problem.size
        )
        for i, basis in enumerate(bases)
    )
    turned = tuple(kept[f"nngp_{i}"] for i in range(len(bases))) if nngp else ()
    return Trained(spectra, turned, float(kept["mean_diagonal"]))


def train_krylov(
    kernel: Kernel, problem: Problem, irreps: Sequence[Irrep], means: Means, progress: Progress | None = None
) -> Trained:
    """Compute the tiles of each irrep's block, in the store or in memory, and factorise nothing.

    Parameters
    ----------
    kernel, problem, irreps, means, progress
        As in `train`.

    Notes
    -----
    Cost: n^2 |G| / 2 kernel entries, for what the store does not have. Without a store, memory of half of each block.
    """
    assert isinstance(means.solver, solvers.Krylov)
    gram = GramProblem(kernel, problem.action, problem.x, tuple(irreps))
    key = _key(gram, problem.reduction)
    stored, cluster = _places(gram, key, means)
    sums = GramSums(gram)
    here: dict[Corner, GramTile] = {}
    for corner, tile in _tiles(gram, stored, cluster, progress, blocks=False):
        sums.add(corner, tile)
        if stored is None:
            here[corner] = tile
    spectra = []
    for i, basis in enumerate(_bases(problem, irreps)):
        block = TiledBlock(gram, i, TilesHere(here, i) if stored is None else TilesStored(stored, i))
        multiply = block.product if cluster is None else ClusterProduct(cluster, block)
        steps = Steps(means.store, {**key, "irrep": i, "basis": _digest_basis(basis)}) if means.store else None
        known = (block.order, multiply, block.columns, basis, sums.bound, problem.size, means.solver, steps)
        spectra.append(KrylovBlock(*known, eps=float(np.finfo(kernel.dtype).eps)))
    return Trained(tuple(spectra), (), sums.mean_diagonal)


def _places(gram: GramProblem, key: dict[str, Any], means: Means) -> tuple[TileStore | None, Cluster | None]:
    """Return where tiles are kept, and who makes them if not this process."""
    if means.store is None:
        return None, None
    stored = TileStore(gram, means.store, key)
    return stored, None if means.executor is None else Cluster(means.executor, stored)


def _tiles(
    gram: GramProblem,
    stored: TileStore | None,
    cluster: Cluster | None,
    progress: Progress | None,
    blocks: bool = True,
) -> Iterator[tuple[Corner, GramTile]]:
    """Yield all tiles: computed, or kept in a store, here or by workers; with blocks=False perhaps without these."""
    if stored is None:
        yield from computed_tiles(gram, progress)
    elif cluster is None:
        yield from stored.tiles(progress)
    else:
        for corner, tile in cluster.make_all(progress):
            yield corner, stored.make(corner) if blocks else tile


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


def _bases(problem: Problem, irreps: Sequence[Irrep]) -> list[csr_matrix | None]:
    found = problem.coincidences()
    return [distinct_basis(found, irrep) for irrep in irreps]


def _digest_basis(basis: csr_matrix | None) -> str:
    if basis is None:
        return "none"
    sorted_basis = basis.sorted_indices()
    parts = (sorted_basis.indptr, sorted_basis.indices, sorted_basis.data)
    return " ".join([str(basis.shape), *(digest_array(part) for part in parts)])


def _key(gram: GramProblem, reduction: str) -> dict[str, Any]:
    return {
        **({"nngp": True} if gram.nngp else {}),
        "architecture": gram.kernel.content_key,
        "action": gram.action.digest,
        "reduction": reduction,
        "irreps": " ".join(irrep.digest for irrep in gram.irreps),
        "samples": len(gram.x),
        "data": digest_array(gram.x),
        "dtype": gram.kernel.dtype,
        "kernel_version": KERNEL_VERSION,
    }
