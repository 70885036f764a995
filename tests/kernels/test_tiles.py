"""The orbit Gram in tiles: computed alone, kept in a store, multiplied without being put together."""

import numpy as np
import pytest
from registry import ACTIONS

from haarflow import groups, kernels
from haarflow.kernels import gram_tiles
from haarflow.kernels.gram_tiles import GramProblem, GramSums
from haarflow.kernels.orbits import computed_tiles
from haarflow.kernels.tile_store import TileStore
from haarflow.kernels.tiled_block import TiledBlock

NETWORK = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(gram_tiles, "_LARGEST_SIDE", 4)


def make_problem(name="quarter turns", n=11, nngp=False, dtype="float64", irreps=None):
    make, shape = ACTIONS[name]
    action = make()
    x = np.random.default_rng(0).standard_normal((n, *shape))
    chosen = groups.irreps(action.group) if irreps is None else irreps(action.group)
    return GramProblem(kernels.analytic(NETWORK, dtype), action, x, tuple(chosen), nngp)


def whole(problem, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(gram_tiles, "_LARGEST_SIDE", 64)
        return kernels.orbit_gram(problem.kernel, problem.action, problem.x, problem.irreps, None, problem.nngp)


@pytest.mark.parametrize("name", ["no action", "quarter turns", "cube rotations", "quaternions", "p4"])
def test_tiles_make_up_the_whole(name, monkeypatch):
    problem = make_problem(name, nngp=True)
    assert len(problem.corners()) == 6
    once = whole(problem, monkeypatch)
    tiled = kernels.orbit_gram(problem.kernel, problem.action, problem.x, problem.irreps, None, True)
    for a, b in zip((*once.blocks, *once.nngp), (*tiled.blocks, *tiled.nngp), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(a).max())
        assert np.array_equal(b, b.T)
    assert tiled.bound == pytest.approx(once.bound, rel=1e-13)
    assert tiled.mean_diagonal == pytest.approx(once.mean_diagonal, rel=1e-13)


def test_a_tile_holds_what_it_announces():
    problem = make_problem("cube rotations", nngp=True, dtype="float32")
    for corner, tile in computed_tiles(problem):
        found = {name: (array.shape, array.dtype.name) for name, array in tile.arrays().items()}
        assert found == problem.shapes(corner)
        again = problem.from_arrays(tile.arrays())
        assert all(np.array_equal(a, b) for a, b in zip(again.ntk + again.nngp, tile.ntk + tile.nngp, strict=True))


def test_sums_do_not_depend_on_the_order():
    problem = make_problem()
    tiles = list(computed_tiles(problem))
    sums = [GramSums(problem) for _ in range(2)]
    for each, order in zip(sums, (tiles, tiles[::-1]), strict=True):
        for corner, tile in order:
            each.add(corner, tile)
    assert sums[0].bound == sums[1].bound
    assert sums[0].mean_diagonal == sums[1].mean_diagonal


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["quarter turns", "cube rotations"])
def test_products_and_columns(name, dtype, tmp_path, monkeypatch):
    problem = make_problem(name, dtype=dtype)
    store = TileStore(problem, kernels.Store(tmp_path), {"problem": name})
    blocks = whole(problem, monkeypatch).blocks
    v = np.random.default_rng(1).standard_normal((11 * max(s.dim for s in problem.irreps), 3)).astype(dtype)
    for i, (block, irrep) in enumerate(zip(blocks, problem.irreps, strict=True)):
        tiled = TiledBlock(problem, i, lambda corner, buffer, i=i: store.block(corner, i, buffer))
        some = v[: tiled.order]
        assert tiled.order == 11 * irrep.dim
        exact = block.astype(float) @ some.astype(float)
        tolerance = 1e-13 if dtype == "float64" else 1e-5
        np.testing.assert_allclose(tiled.product(some), exact, rtol=0, atol=tolerance * np.abs(exact).max())
        assert tiled.product(some).dtype == np.float64
        indices = np.array([0, tiled.order - 1, 2, 2])
        np.testing.assert_allclose(tiled.columns(indices), block[:, indices], rtol=0, atol=10 * tolerance)


def count_computed(monkeypatch):
    computed = []
    compute = GramProblem.compute
    monkeypatch.setattr(GramProblem, "compute", lambda self, c, progress=None: computed.append(c) or compute(self, c))
    return computed


def test_kept_tiles_are_not_computed_again(tmp_path, monkeypatch):
    problem = make_problem()
    computed = count_computed(monkeypatch)
    store = TileStore(problem, kernels.Store(tmp_path), {"problem": "turns"})
    first = dict(store.tiles())
    assert sorted(computed) == sorted(problem.corners())
    path = next(tmp_path.glob("gram-*.h5"))
    path.unlink()
    second = dict(TileStore(problem, kernels.Store(tmp_path), {"problem": "turns"}).tiles())
    assert len(computed) == len(problem.corners()) + 1
    for corner, tile in first.items():
        for name, array in tile.arrays().items():
            assert array.tobytes() == second[corner].arrays()[name].tobytes()


@pytest.mark.parametrize("how", ["flip", "cut", "remove", "replace"])
def test_a_tile_that_changes_between_products_is_verified_again(how, tmp_path, monkeypatch):
    problem = make_problem(irreps=lambda group: [groups.trivial(group, 1)])
    store = TileStore(problem, kernels.Store(tmp_path), {"problem": "turns"})
    tiled = TiledBlock(problem, 0, lambda corner, buffer: store.block(corner, 0, buffer))
    v = np.random.default_rng(1).standard_normal((11, 2))
    before = tiled.product(v)  # makes them
    tiled.product(v)  # opens them
    paths = sorted(tmp_path.glob("gram-*.h5"))
    content = bytearray(paths[2].read_bytes())
    if how == "flip":
        content[-100] ^= 1
        paths[2].write_bytes(content)
    elif how == "cut":
        paths[2].write_bytes(content[:-1])
    elif how == "remove":
        paths[2].unlink()
    else:
        paths[2].unlink()
        paths[2].write_bytes(content)
    computed = count_computed(monkeypatch)
    with pytest.warns(kernels.StoreWarning) as told:
        after = tiled.product(v)
    assert "is verified again" in str(told[0].message)
    assert before.tobytes() == after.tobytes()
    assert len(computed) == (0 if how == "replace" else 1)
    assert tiled.product(v).tobytes() == before.tobytes()


def test_what_was_there_in_other_shapes_is_replaced(tmp_path):
    store = kernels.Store(tmp_path)
    store.put("gram", {"a": 1}, {"block": np.ones(3)})
    with pytest.warns(kernels.StoreWarning, match=r"block must be finite float64 \(2,\), found float64 \(3,\)"):
        assert store.get("gram", {"a": 1}, {"block": ((2,), "float64")}) is None
    store.put("gram", {"a": 1}, {"block": np.zeros(2)})
    assert store.get("gram", {"a": 1}, {"block": ((2,), "float64")})["block"].shape == (2,)
    assert len(list(tmp_path.glob("gram-*"))) == 1
