"""From a posed problem to blocks that predict: assembled and factorised, or kept in tiles for the Krylov solver."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from haarflow import solvers
from haarflow.factorising import Factorisation
from haarflow.groups import HaarAction, Harmonic
from haarflow.kernels import AnalyticKernel, Irrep, Kernel, Store, digest_array
from haarflow.kernels.distributed import Cluster
from haarflow.kernels.gram_key import gram_key, warn_of_older
from haarflow.kernels.gram_tiles import Corner, GramProblem, GramSums, GramTile
from haarflow.kernels.orbit_tiles import Progress
from haarflow.kernels.orbits import OrbitGram, assemble, computed_tiles
from haarflow.kernels.rule_error import roundings, rule_error
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
    told : bool
        Whether the user was told already of older entries in the store.
    """

    solver: str | solvers.Krylov = "auto"
    store: Store | None = None
    executor: Any = None
    told: bool = False


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
    key = gram_key(gram, problem.reduction)
    # Eigenvectors are kept in coordinates of the bases, whose signs and rotations another LAPACK may choose otherwise.
    spectrum_key = {**key, "bases": " ".join(map(_digest_basis, bases))}
    factorise = Factorisation(bases, ranks, problem.size, kernel.dtype, nngp, means.store, spectrum_key)

    def assembled() -> OrbitGram:
        if means.store and not means.told:
            warn_of_older(means.store, gram, key, spectrum_key, stacklevel=8)
        return assemble(gram, _tiles(gram, *_places(gram, key, means), progress))

    kept = factorise(assembled, progress)
    bound = max(float(kept[f"scale_{i}"]) for i in range(len(bases)))
    noise = _noise(gram, problem.violation, bound)
    spectra = tuple(
        solvers.Spectrum(
            kept[f"eigenvalues_{i}"],
            kept[f"eigenvectors_{i}"],
            basis,
            float(kept[f"scale_{i}"]),
            problem.size,
            float(noise[i]),
        )
        for i, basis in enumerate(bases)
    )
    turned = tuple(kept[f"nngp_{i}"] for i in range(len(bases))) if nngp else ()
    return Trained(spectra, turned, float(kept["mean_diagonal"]))


def train_krylov(
    kernel: Kernel,
    problem: Problem,
    irreps: Sequence[Irrep],
    means: Means,
    progress: Progress | None = None,
    ruled: bool = True,
) -> Trained:
    """Compute the tiles of each irrep's block, in the store or in memory, and factorise nothing.

    Parameters
    ----------
    kernel, problem, irreps, means, progress
        As in `train`.
    ruled : bool
        Whether what a compact group's rule is off by counts as noise.

    Notes
    -----
    Cost: n^2 |G| / 2 kernel entries, for what the store does not have. Without a store, memory of half of each block.
    """
    assert isinstance(means.solver, solvers.Krylov)
    gram = GramProblem(kernel, problem.action, problem.x, tuple(irreps))
    key = gram_key(gram, problem.reduction)
    if means.store and not means.told:
        warn_of_older(means.store, gram, key, stacklevel=6)
    stored, cluster = _places(gram, key, means)
    sums = GramSums(gram)
    here: dict[Corner, GramTile] = {}
    for corner, tile in _tiles(gram, stored, cluster, progress, blocks=False):
        sums.add(corner, tile)
        if stored is None:
            here[corner] = tile
    spectra, how = [], means.solver
    noise = _krylov_noise(gram, problem.violation, sums.bound, ruled)
    for i, basis in enumerate(_bases(problem, irreps)):
        block = TiledBlock(gram, i, TilesHere(here, i) if stored is None else TilesStored(stored, i))
        multiply = block.product if cluster is None else ClusterProduct(cluster, block)
        steps = Steps(means.store, {**key, "irrep": i, "basis": _digest_basis(basis)}) if means.store else None
        rest = sums.bound, problem.size, how, steps, float(noise[i])
        spectra.append(KrylovBlock(block.order, multiply, block.columns, basis, *rest))
    return Trained(tuple(spectra), (), sums.mean_diagonal)


def _noise(gram: GramProblem, violation: float, bound: float) -> np.ndarray:
    """Return what rounding leaves in each block's norm [irreps], however many samples there are.

    An error of r eps |Theta| in every entry is at most r eps times the bound, the largest absolute row sum.
    """
    # sigma turns by its degree times the angle, and so does the angle's rounding.
    degrees = np.array([irrep.degree if isinstance(irrep, Harmonic) else 0 for irrep in gram.irreps])
    return ((roundings(gram.kernel) + degrees) * float(np.finfo(gram.kernel.dtype).eps) + violation) * bound


def _krylov_noise(gram: GramProblem, violation: float, bound: float, ruled: bool) -> np.ndarray:
    """Return the same for blocks that are only multiplied with, and the norm of what a compact group's rule is off by.

    Entries of a finite group's block are rounded independently, which adds up to the root of their number: of large
    float32 blocks more is known than eps.
    """
    if isinstance(gram.action, HaarAction):
        assert isinstance(gram.kernel, AnalyticKernel)
        rounding = _noise(gram, violation, bound)
        return rounding + rule_error(gram.kernel, gram.action, gram.x, gram.irreps) if ruled else rounding
    return _noise(gram, 0.0, bound) / len(gram.x) ** 0.5 + violation * bound


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


def _bases(problem: Problem, irreps: Sequence[Irrep]) -> list[csr_matrix | None]:
    found = problem.coincidences()
    return [distinct_basis(found, irrep) for irrep in irreps]


def _digest_basis(basis: csr_matrix | None) -> str:
    if basis is None:
        return "none"
    sorted_basis = basis.sorted_indices()
    parts = (sorted_basis.indptr, sorted_basis.indices, sorted_basis.data)
    return " ".join([str(basis.shape), *(digest_array(part) for part in parts)])
