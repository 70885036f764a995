"""What a child process of the reliability suite does: one small ensemble with several tiles, and what came of it."""

import contextlib
import json
import os
import resource
import traceback
import warnings
from pathlib import Path

import numpy as np
from reliability import hooks

import haarflow as hf
from haarflow import groups
from haarflow.kernels import Store, gram_tiles
from haarflow.kernels.gram_tiles import GramProblem
from haarflow.kernels.pair import KernelPair
from haarflow.kernels.tile_store import TileStore
from haarflow.kernels.tiled_block import TiledBlock

# 100 samples in tiles of 32: four columns, the last one narrow.
SAMPLES, SIDE = 100, 32
CORNERS = [(i, j) for j in range(4) for i in range(j + 1)]
TIMES = [1e2, 1e4, np.inf]
_ACTION = groups.image_rotations(4)


class Relu:
    """One hidden ReLU layer in NumPy: compiling JAX's kernels would take longer than all else here."""

    dtype = "float64"
    content_key = "one hidden layer of the reliability suite"

    def __call__(self, x1, x2=None):
        a, b = (x.reshape(len(x), -1) for x in (x1, x1 if x2 is None else x2))
        inner = a @ b.T / a.shape[1]
        size = np.sqrt(np.outer(np.einsum("ij,ij->i", a, a), np.einsum("ij,ij->i", b, b))) / a.shape[1]
        cosine = np.clip(inner / size, -1, 1)
        rest = np.pi - np.arccos(cosine)
        nngp = size * (np.sqrt(1 - cosine**2) + rest * cosine) / np.pi
        return KernelPair(nngp, nngp + inner * rest / np.pi)


def problem():
    """Training samples, labels and test points: the same in every process."""
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape) for shape in ((SAMPLES, 4, 4, 1), (SAMPLES, 2), (5, 4, 4, 1)))


def use_small_tiles():
    """Let a small problem have several tiles."""
    gram_tiles._LARGEST_SIDE = SIDE


def answer(store, solver="dense", executor=None):
    """The bytes of the mean, and of the variance, which only eigendecompositions give."""
    x, y, x_test = problem()
    dense = solver == "dense"
    ensemble = hf.DeepEnsemble(Relu(), action=_ACTION, solver=solver, store=store, executor=executor)
    law = ensemble.fit(x, y, covariance=dense).predict(x_test, TIMES, "diagonal" if dense else None)
    return law.mean.tobytes() + (law.variance.tobytes() if dense else b"")


def products(store, count=12):
    """The bytes of repeated products with blocks whose tiles are read from the store each time, as Krylov's are."""
    x, y, _ = problem()
    gram = GramProblem(Relu(), _ACTION, x, tuple(groups.irreps(_ACTION.group)))
    tiles = TileStore(gram, Store(store), {"of": "products"})
    found = b""
    for _ in tiles.tiles():
        pass
    for i, irrep in enumerate(gram.irreps):
        block = TiledBlock(gram, i, lambda corner, buffer, i=i: tiles.block(corner, i, buffer))
        v = np.repeat(y, irrep.dim, axis=0)
        for _ in range(count):
            v = block.product(v)
            v /= np.linalg.norm(v)
        found += v.tobytes()
    return found


def obey(order):
    """Run one order, and write beside its name what came of it."""
    out = Path(order["out"])
    log = os.open(f"{out}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    use_small_tiles()
    computed, multiplied, refused = [], [], {}
    GramProblem.compute = _noted(GramProblem.compute, computed)
    TiledBlock.product = _noted(TiledBlock.product, multiplied)
    _limit(order)
    before, result = _peak(), None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            for name, arguments in order.get("hooks", {}).items():
                getattr(hooks, name)(Path(order["store"]), **arguments)
            work = products if order.get("work") == "products" else answer
            result = work(order["store"], **order.get("how", {})).hex()
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            refused = {"kinds": kinds, "error": str(error), "trace": traceback.format_exc()}
    told = [f"{each.category.__name__}: {each.message}" for each in caught]
    found = {"result": result, "computed": computed, "products": len(multiplied), "warned": told}
    found.update(peak=_peak() - before, **refused, **hooks.NOTES)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    Path(f"{out}.part").write_text(json.dumps(found), encoding="utf-8")
    os.replace(f"{out}.part", out)


def _noted(method, arguments):
    """A method that notes the first argument of each of its calls."""

    def noting(self, first, *others):
        found = method(self, first, *others)
        arguments.append(first)
        return found

    return noting


def _limit(order):
    # Only lowered softly, so that what came of it can be written.
    if "file_size" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_size"], resource.RLIM_INFINITY))
    if "memory" in order:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + order["memory"],) * 2)


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
