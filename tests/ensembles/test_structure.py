"""Spaces of layers under a group: commutators, equivariant parts, and the penalty that keeps networks equivariant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from networks import NETWORKS, SUPPORTS

import haarflow as hf
from haarflow import groups, kernels, networks
from haarflow.kernels.backend import x64
from haarflow.measures import orbit_error
from haarflow.networks.evaluation import outputs
from haarflow.networks.forward import forward
from haarflow.networks.losses import LOSSES

ACTIONS = {
    "C4": lambda: groups.image_rotations(4),
    "D4": groups.image_dihedral,
    "C2": lambda: groups.image_rotations(2),
    "shifts": lambda: groups.image_translations((4, 4)),
}
FILTERS = {**SUPPORTS, "square": None, "bar": ((-1, 0), (0, 0), (1, 0)), "corner": ((-1, 0), (0, -1), (0, 1), (1, 1))}


def projections(layer, action, side):
    """Return the projections onto the filters' space and onto the equivariant maps, as matrices on all [P, P] maps."""
    P = side**2
    turns = [action(g, np.eye(P).reshape(P, side, side, 1)).reshape(P, P).T for g in range(action.group.order)]
    maps = []
    for dy, dx in layer.offsets:
        m = np.zeros((side, side, side, side))
        for a, b in np.ndindex(side, side):
            i, j = a + dy, b + dx
            if layer.padding == "CIRCULAR":
                m[a, b, i % side, j % side] = 1
            elif 0 <= i < side and 0 <= j < side:
                m[a, b, i, j] = 1
        maps.append(m.ravel())
    basis, _ = np.linalg.qr(np.array(maps).T)
    return basis @ basis.T, np.mean([np.kron(R, R) for R in turns], axis=0)


@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR"])
@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("group", ACTIONS)
def test_commutators_are_those_of_the_matrices(group, filter, padding):
    action, layer = ACTIONS[group](), kernels.Conv(3, padding, support=FILTERS[filter])
    arch = kernels.Sequential(layer, kernels.Relu(), kernels.GlobalAvgPool(), kernels.Dense())
    space, dense = networks.layer_spaces(networks.Network(arch, 2, (4, 4, 1), 1), action)
    onto_layers, onto_equivariant = projections(layer, action, 4)
    commutator = onto_layers @ onto_equivariant - onto_equivariant @ onto_layers
    assert space.commutator == pytest.approx(np.linalg.norm(commutator, 2), abs=1e-8)
    assert dense.commutator == 0


def test_which_supports_commute():
    def commutator(support, group="C4"):
        layer = kernels.Conv(3, "SAME", support=support)
        arch = kernels.Sequential(layer, kernels.GlobalAvgPool(), kernels.Dense())
        return networks.layer_spaces(networks.Network(arch, 2, (4, 4, 1), 1), ACTIONS[group]())[0].commutator

    assert commutator(SUPPORTS["cross"]) == commutator(None) == 0
    # One corner of four: squared cosine 1/4.
    assert commutator(FILTERS["corner"]) == pytest.approx(np.sqrt(1 / 4 * 3 / 4))
    assert commutator(FILTERS["bar"]) == pytest.approx(0.5)
    assert commutator(FILTERS["bar"], "C2") == 0


TASKS = {
    **{
        f"{name}, C4": (name, (4, 4, 1), "C4", None)
        for name in ("same gap", "circular flatten", "pool flatten", "residual")
    },
    "cross, D4": ("cross SAME", (4, 4, 1), "D4", None),
    "shifts": ("circular flatten", (4, 4, 1), "shifts", None),
    "flatten first": ("flatten first", (4, 4, 2), "C4", None),
    "turning outputs behind Flatten": ("circular flatten", (4, 4, 1), "C4", "regular"),
    "turning outputs behind a pooling": ("pool flatten", (4, 4, 1), "C4", "regular"),
    "sites": ("relu", None, None, "sites"),
    "linear": ("linear", None, None, "sites"),
}


def task(name):
    network, shape, group, output = TASKS[name]
    if output != "sites":
        action = ACTIONS[group]()
        return NETWORKS[network][0], shape, action, None if output is None else groups.regular(action.group)
    perms = groups.lattice_rotations(3)
    action = groups.permutation_action(groups.cyclic(4), perms)
    return NETWORKS[network][0], (9,), action, groups.Representation(action.group, groups.permutation_matrices(perms))


@pytest.mark.parametrize("name", TASKS)
def test_equivariant_parts_make_equivariant_networks(name):
    arch, shape, action, output = task(name)
    k = 3 if output is None else output.dim
    network = networks.Network(arch, 6, shape, k)
    parts = tuple(space.part for space in networks.layer_spaces(network, action, output))
    parameters = networks.initial_parameters(network, 0, 0, "float64")
    rest = networks.not_equivariant(parts, parameters)
    even = jax.tree.map(np.subtract, parameters, rest)
    for again in jax.tree.leaves(networks.not_equivariant(parts, even)):
        assert np.abs(again).max() < 1e-12
    x = np.random.default_rng(0).standard_normal((2, *shape))
    orbit = action.orbit(x).reshape(-1, *shape)
    f = outputs(network, "float64", [even, parameters], orbit).reshape(2, action.group.order, 2, k)
    assert orbit_error(f[0], output).max() < 1e-11
    assert orbit_error(f[1], output).max() > 1e-3
    assert any(np.abs(part).max() > 0.1 for part in jax.tree.leaves(rest))


def test_what_is_refused():
    arch, _, action, _ = task("same gap, C4")
    network = networks.Network(arch, 2, (4, 4, 1), 1)
    with pytest.raises(ValueError, match="action must be exact"):
        networks.layer_spaces(network, groups.interpolated_rotations(8))
    with pytest.raises(ValueError, match="action must act on the positions of feature maps"):
        networks.layer_spaces(network, groups.permutation_action(groups.cyclic(1), [[0]]))
    small = networks.Network(
        kernels.Sequential(kernels.Conv(3, "CIRCULAR"), kernels.GlobalAvgPool(), kernels.Dense()), 2, (2, 2, 1), 1
    )
    with pytest.raises(ValueError, match="filters must not wrap around onto themselves"):
        networks.layer_spaces(small, action)
    signs = groups.matrix_action(groups.cyclic(2), np.array([[[1.0]], [[-1.0]]]))
    with pytest.raises(ValueError, match="action must move the positions of feature maps"):
        networks.layer_spaces(network, signs)
    swapped = groups.matrix_action(groups.cyclic(2), np.array([np.eye(2), np.eye(2)[::-1]]))
    with pytest.raises(ValueError, match="action must"):
        networks.layer_spaces(networks.Network(arch, 2, (4, 4, 2), 1), swapped)


# Two numbers that may be swapped, and a target that their sum says nothing about: networks that see only the sum cannot
# learn it, and those beside them can.
SWAP = groups.permutation_action(groups.cyclic(2), [[0, 1], [1, 0]])
SUM_ONLY = kernels.Sequential(kernels.Dense(1.0, 1.0), networks.Tanh(), kernels.Dense(1.0, 1.0))


def penalised(penalty, learning_rate=0.3, **options):
    options |= {"learning_rate": learning_rate, "penalty": penalty, "dtype": "float64", "progress": False}
    return hf.FiniteEnsemble(SUM_ONLY, 6, 1, SWAP, **options)


@pytest.fixture(scope="module")
def trained():
    """Return data, parameters of an equivariant network at the end of its training, and the parts."""
    x = np.random.default_rng(0).standard_normal((100, 2))
    y = 0.5 * (x[:, :1] - x[:, 1:]) ** 2
    network = networks.Network(SUM_ONLY, 6, (2,), 1)
    parts = tuple(space.part for space in networks.layer_spaces(network, SWAP))
    start = networks.initial_parameters(network, 0, 0, "float64")
    even = jax.tree.map(np.subtract, start, networks.not_equivariant(parts, start))
    # The penalty changes nothing but rounding, which would grow.
    (found,) = penalised(1.0).fit(x, y, 10_000, initial=[even]).parameters()
    return x, y, found, parts, network


def size(parts, parameters):
    return np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(networks.not_equivariant(parts, parameters))))


def test_augmented_training_keeps_equivariant_networks_equivariant(trained):
    *_, found, parts, _ = trained
    assert size(parts, found) < 1e-12


def test_critical_penalty_is_that_of_the_whole_hessian(trained):
    x, y, found, parts, network = trained
    critical = penalised(0.0).critical_penalty(x, y, found)
    assert critical > 0.01
    with x64():
        flat, tree = ravel_pytree(jax.tree.map(jnp.asarray, found))
        orbit = jnp.asarray(SWAP.orbit(x).reshape(-1, 2))
        loss = lambda flat: LOSSES["mean"](forward(network, tree(flat), orbit), jnp.asarray([*y, *y]))  # noqa: E731
        hessian = np.asarray(jax.hessian(loss)(flat))
        rows = [ravel_pytree(networks.not_equivariant(parts, tree(row)))[0] for row in jnp.eye(flat.size)]
        values, vectors = np.linalg.eigh(np.asarray(jnp.stack(rows)))
    inside = vectors[:, values > 0.5]
    assert critical == pytest.approx(-np.linalg.eigvalsh(inside.T @ hessian @ inside)[0], rel=1e-5)


def test_steps_that_draw_some_of_a_sum_need_a_share_of_the_penalty(trained):
    x, y, found, *_ = trained
    mean = penalised(0.0).critical_penalty(x, y, found)
    drawn = {"loss": "sum", "augmentation": "random"}
    for options, seen in (({"loss": "sum"}, 200), (drawn, 100), ({**drawn, "batch": 5}, 5)):
        assert penalised(0.0, **options).critical_penalty(x, y, found) == pytest.approx(seen * mean, rel=1e-6)
    assert penalised(0.0, **{**drawn, "loss": "mean"}).critical_penalty(x, y, found) == pytest.approx(mean, rel=1e-6)


def test_a_critical_penalty_is_negative_where_deviations_decay_without():
    """Of a linear network the Hessian is known: on odd weights it is the mean square of what they see."""
    x = np.random.default_rng(0).standard_normal((30, 2))
    linear = kernels.Sequential(kernels.Dense(1.5))
    ensemble = hf.FiniteEnsemble(linear, 1, 1, SWAP, dtype="float64", progress=False)
    found = ensemble.critical_penalty(x, x[:, :1], ({"weights": np.ones((2, 1))},))
    seen = 1.5 / np.sqrt(2) * SWAP.orbit(x).reshape(-1, 2) @ np.array([1, -1]) / np.sqrt(2)
    assert found == pytest.approx(-np.mean(seen**2), rel=1e-6)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_deviations_decay_above_the_critical_penalty_and_grow_below(trained, factor):
    x, y, found, parts, network = trained
    critical = penalised(0.0).critical_penalty(x, y, found)
    noise = networks.initial_parameters(network, 1, 0, "float64")
    moved = jax.tree.map(lambda a, b: a + 1e-6 * b, found, networks.not_equivariant(parts, noise))
    # The slowest mode changes by a factor of e^4 in the second half.
    half = int(4 / (0.3 * abs(factor - 1) * critical))
    ensemble = penalised(factor * critical).fit(x, y, [half, 2 * half], initial=[moved])
    sizes = [size(parts, ensemble.parameters(step)[0]) for step in (half, 2 * half)]
    assert (sizes[1] < sizes[0] / 2) if factor > 1 else (sizes[1] > 2 * sizes[0])


def test_critical_penalty_takes_equivariant_parameters_of_the_network(trained):
    x, y, found, parts, network = trained
    ensemble = penalised(0.0)
    noise = networks.not_equivariant(parts, networks.initial_parameters(network, 1, 0, "float64"))
    with pytest.raises(ValueError, match=r"parameters must be equivariant, found \|P A\| = .* of \|A\| = "):
        ensemble.critical_penalty(x, y, jax.tree.map(np.add, found, noise))
    for wrong in ([found], networks.initial_parameters(networks.Network(SUM_ONLY, 7, (2,), 1), 0, 0)):
        with pytest.raises(ValueError, match="parameters must be the parameters of one member, a tuple of dicts of"):
            ensemble.critical_penalty(x, y, wrong)


def test_a_network_without_such_parts_has_no_critical_penalty():
    arch = kernels.Sequential(kernels.Dense(), kernels.Relu(), kernels.Dense())
    ensemble = hf.FiniteEnsemble(arch, 3, 1, progress=False)
    x = np.eye(2)
    parameters = ensemble.fit(x, x, 0).parameters()[0]
    with pytest.raises(ValueError, match="action must leave some part of the layers not equivariant"):
        ensemble.critical_penalty(x, x, parameters)
