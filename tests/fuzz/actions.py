"""Random groups and how they act: for the library, and for the list as one matrix for each element."""

from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from strategies import FACTORIES, OUTPUTS, cosets, in_basis, orthogonal, sum_of_irreps

from haarflow import groups

__all__ = ["Acting", "draw_acting", "draw_output"]


@dataclass(frozen=True)
class Acting:
    """An action on samples of a shape, and what it does to them laid out flat: matrices [|G|, D, D]."""

    action: groups.Action
    shape: tuple[int, ...]
    matrices: np.ndarray

    @property
    def group(self):
        return self.action.group


def _relabelled(name):
    """The same group with its elements in another order, in which the identity is not the first."""
    group = FACTORIES[name]()
    number = np.random.default_rng(0).permutation(group.order)
    table = np.empty_like(group.table)
    table[number[:, None], number] = number[group.table]
    return groups.FiniteGroup.from_table(table, f"{name} in another order")


GROUPS = FACTORIES | {"C4": lambda: groups.cyclic(4), "I": groups.icosahedral}
GROUPS |= {f"{name} in another order": partial(_relabelled, name) for name in ("C8", "D3", "Q8", "T")}
_made = cache(lambda name: GROUPS[name]())


def _on_sites(group, rng):
    sites, channels = int(rng.integers(2, 9)), int(rng.integers(1, 3))
    perms = cosets(group, sites, rng)
    matrices = np.zeros((group.order, sites, sites))
    g, i = np.indices(perms.shape)
    matrices[g, perms, i] = 1
    shape = (sites,) if channels == 1 else (sites, channels)
    return Acting(groups.permutation_action(group, perms), shape, np.kron(matrices, np.eye(channels)))


def _on_vectors(group, rng):
    count, size = int(rng.integers(1, 4)), int(rng.integers(1, 6))
    turned = bool(rng.integers(2))
    if group.matrices is not None and rng.integers(2):
        matrices = group.matrices
    else:
        matrices = sum_of_irreps(group, rng, size=size, turned=turned).matrices
    shape = (matrices.shape[1],) if count == 1 else (count, matrices.shape[1])
    return Acting(groups.matrix_action(group, matrices), shape, np.kron(np.eye(count), matrices))


# name -> (action, sides of an image, what element g does to images [n, H, W, C]).
IMAGES = {
    "half turns": (groups.image_rotations(2), (2, 3), lambda g, x: np.rot90(x, 2 * g, axes=(1, 2))),
    "quarter turns": (groups.image_rotations(4), (3, 3), lambda g, x: np.rot90(x, g, axes=(1, 2))),
    "turns and flips": (
        groups.image_dihedral(),
        (3, 3),
        lambda g, x: np.rot90(np.flip(x, axis=2) if g % 2 else x, g // 2, axes=(1, 2)),
    ),
    "shifts": (groups.image_translations((2, 3)), (2, 3), lambda g, x: np.roll(x, divmod(g, 3), axis=(1, 2))),
    "coarse shifts": (
        groups.image_translations((2, 2)),
        (2, 4),
        lambda g, x: np.roll(x, (g // 2, 2 * (g % 2)), axis=(1, 2)),
    ),
    "shifts and turns": (
        groups.image_p4(2),
        (2, 2),
        lambda g, x: np.roll(np.rot90(x, g % 4, axes=(1, 2)), divmod(g // 4, 2), axis=(1, 2)),
    ),
}


def _on_images(name, rng):
    action, sides, move = IMAGES[name]
    shape = (*sides, int(rng.integers(1, 3)))
    size = int(np.prod(shape))
    units = np.eye(size).reshape(size, *shape)
    # The image of unit i is column i.
    matrices = np.stack([move(g, units).reshape(size, size).T for g in range(action.group.order)])
    return Acting(action, shape, matrices)


def draw_acting(rng):
    """An action of any kind."""
    kind = rng.choice(["none", "sites", "vectors", "images"], p=[0.1, 0.35, 0.35, 0.2])
    if kind == "none":
        size = int(rng.integers(1, 13)) if rng.integers(4) else 100
        return Acting(groups.no_action(), (size,), np.eye(size)[None])
    if kind == "images":
        return _on_images(str(rng.choice(list(IMAGES))), rng)
    group = _made(str(rng.choice(list(GROUPS))))
    return (_on_sites if kind == "sites" else _on_vectors)(group, rng)


def draw_output(acting, rng):
    """How its group acts on labels, or None for not at all."""
    group, kind = acting.group, str(rng.choice([*OUTPUTS, "invariant", "as samples", "products"]))
    if kind == "as samples" and acting.matrices.shape[1] <= 9:
        return groups.Representation(group, acting.matrices, "as samples")
    if kind == "products":
        first, second = (sum_of_irreps(group, rng, parts=1) for _ in range(2))
        if first.dim * second.dim <= 12:
            products = np.einsum("gab,gcd->gacbd", first.matrices, second.matrices)
            products = products.reshape(group.order, first.dim * second.dim, -1)
            whole = groups.Representation(group, products, "products")
            return in_basis(whole, orthogonal(whole.dim, rng))
    if kind in OUTPUTS and not (kind == "all irreps" and group.order > 24):
        return OUTPUTS[kind](group, rng)
    return None
