"""How much work an entry is, counted from a listing of positions, and tiles that are sized by it."""

from itertools import product

import numpy as np
import pytest

from haarflow import groups
from haarflow import kernels as k
from haarflow.kernels.gram_tiles import GramProblem
from haarflow.kernels.work import entry_work, position_pairs

CONV, RELU, END = k.Conv(3), k.Relu(), k.Dense()
GAP = k.Sequential(CONV, RELU, CONV, RELU, k.GlobalAvgPool(), END)
FLATTEN = k.Sequential(CONV, RELU, CONV, RELU, k.Flatten(), END)
DENSE = k.Sequential(k.Flatten(), k.Dense(), RELU, k.Dense(), RELU, END)


def listed(shape, apart):
    """Pairs of positions whose displacement along each axis, modulo the side, is one of these."""
    return sum(
        all((b - a) % side in {step % side for step in apart} for a, b, side in zip(p, q, shape, strict=True))
        for p, q in product(product(*map(range, shape)), repeat=2)
    )


@pytest.mark.parametrize(
    ("network", "pairs", "work"),
    [
        (DENSE, 1, 2),
        (FLATTEN, listed((6, 4), [0]), 2 * listed((6, 4), [0])),
        (GAP, 24**2, 3 * 24**2),
        # Windows that coincide hold positions of up to 1 apart; behind them there is one dual for each window.
        (
            k.Sequential(CONV, RELU, k.AvgPool(2), CONV, RELU, k.Flatten(), END),
            listed((6, 4), [-1, 0, 1]),
            2 * listed((6, 4), [-1, 0, 1]) + 6,
        ),
        (k.Sequential(CONV, k.Residual(RELU, CONV), RELU, k.Flatten(), END), 24, 48),
        (k.Sequential(CONV, RELU, k.GlobalAvgPool(), k.Dense(), RELU, END), 24**2, 2 * 24**2 + 1),
    ],
)
def test_the_work_of_an_entry(network, pairs, work):
    assert position_pairs(network.layers, (6, 4, 3)) == pairs
    assert entry_work(network.layers, (6, 4, 3)) == work


def side(network, shape, action, every=False):
    irreps = tuple(groups.irreps(action.group)) if every else (groups.trivial(action.group, 1),)
    return GramProblem(k.analytic(network), action, np.zeros((3, *shape)), irreps, every).side


@pytest.mark.parametrize("action", [groups.no_action(), groups.image_rotations(4), groups.image_dihedral()])
@pytest.mark.parametrize("pixels", [28, 32, 64])
def test_a_tile_of_pooled_images_is_some_seconds(pixels, action):
    """At 2.5e8 duals a second, as two cores do."""
    shape = (pixels, pixels, 1)
    found = side(GAP, shape, action)
    seconds = found**2 * action.group.order * entry_work(GAP.layers, shape) / 2.5e8
    assert seconds < 10 or found == 4
    assert found == 4 or seconds > 2


def test_sides_of_inner_products_stay():
    """They are part of the keys of a store: these are those of version 0.1."""
    shape = (28, 28, 1)
    for action, sides in (
        (groups.no_action(), (2048, 1024)),
        (groups.image_rotations(4), (2048, 512)),
        (groups.image_p4(8), (1024, 64)),
    ):
        assert (side(DENSE, shape, action), side(DENSE, shape, action, every=True)) == sides
    # Cheap images are no larger than they were.
    assert side(FLATTEN, shape, groups.image_rotations(4)) == 128
    assert side(GAP, (8, 8, 1), groups.image_rotations(4)) == 128


def test_progress_within_a_tile():
    """Every few entries, however large the tile; all of them in the end."""
    x = np.random.default_rng(0).standard_normal((40, 4, 4, 1))
    action, seen = groups.image_rotations(4), []
    network = k.Sequential(CONV, RELU, k.GlobalAvgPool(), END)
    problem = GramProblem(k.analytic(network), action, x, (groups.trivial(action.group, 1),))
    assert len(problem.corners()) == 1
    problem.compute((0, 0), lambda *report: seen.append(report))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1] == ("orbit Gram", 40 * 160, 40 * 160)
    assert len(seen) == 2 * 5  # of 32 x 32
