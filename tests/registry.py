"""Groups and actions that tests are parametrised over: a new entry is tested by standing here."""

import numpy as np

from haarflow import groups as g


def quaternions():
    """The quaternion group on R^4, of quaternionic type: left multiplication by 1, i, j, k and their negatives."""
    one = np.eye(4)
    i = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0, 0, 1, 0]], float)
    j = np.array([[0, 0, -1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, -1, 0, 0]], float)
    return g.FiniteGroup.from_matrices(np.stack([s * m for m in (one, i, j, i @ j) for s in (1, -1)]), "Q8")


def turns_and_shifts(side):
    """Quarter turns acting on the shifts of a square grid, as a semidirect product."""
    shifts = g.translations((side, side))
    y, x = np.divmod(np.arange(side**2), side)
    turned = [(y, x)]
    for _ in range(3):
        y, x = turned[-1]
        turned.append((-x % side, y))
    return g.semidirect_product(shifts, g.cyclic(4), np.array([y * side + x for y, x in turned]))


# name -> (factory, order, sorted (dim, type) of its real irreps)
GROUPS = {
    "C1": (lambda: g.cyclic(1), 1, [(1, 1)]),
    "C2": (lambda: g.cyclic(2), 2, [(1, 1)] * 2),
    "C3": (lambda: g.cyclic(3), 3, [(1, 1), (2, 2)]),
    "C8": (lambda: g.cyclic(8), 8, [(1, 1)] * 2 + [(2, 2)] * 3),
    "D3": (lambda: g.dihedral(3), 6, [(1, 1)] * 2 + [(2, 1)]),
    "D4": (lambda: g.dihedral(4), 8, [(1, 1)] * 4 + [(2, 1)]),
    "S3": (lambda: g.symmetric(3), 6, [(1, 1)] * 2 + [(2, 1)]),
    "S4": (lambda: g.symmetric(4), 24, [(1, 1)] * 2 + [(2, 1)] + [(3, 1)] * 2),
    "T": (g.tetrahedral, 12, [(1, 1), (2, 2), (3, 1)]),
    "O": (g.octahedral, 24, [(1, 1)] * 2 + [(2, 1)] + [(3, 1)] * 2),
    "I": (g.icosahedral, 60, [(1, 1), (3, 1), (3, 1), (4, 1), (5, 1)]),
    "Q8": (quaternions, 8, [(1, 1)] * 4 + [(4, 4)]),
    "T3x4": (lambda: g.translations((3, 4)), 12, [(1, 1)] * 2 + [(2, 2)] * 5),
    "C3 x S3": (lambda: g.direct_product(g.cyclic(3), g.symmetric(3)), 18, None),
    "Q8 x C3": (lambda: g.direct_product(quaternions(), g.cyclic(3)), 24, None),
    "T3x3 : C4": (lambda: turns_and_shifts(3), 36, None),
    "p4": (lambda: g.p4(2), 16, None),
}


def _vectors(group):
    return g.matrix_action(group, group.matrices)


# name -> (factory, shape of one sample)
ACTIONS = {
    "no action": (g.no_action, (3, 2)),
    "half turns": (lambda: g.image_rotations(2), (3, 4, 2)),
    "quarter turns": (lambda: g.image_rotations(4), (3, 3, 2)),
    "turns and flips": (g.image_dihedral, (4, 4, 1)),
    "shifts": (lambda: g.image_translations((2, 3)), (2, 3, 1)),
    "coarse shifts": (lambda: g.image_translations((2, 2)), (4, 6, 1)),
    "p4": (lambda: g.image_p4(3), (3, 3, 2)),
    "coarse p4": (lambda: g.image_p4(2), (4, 4, 1)),
    "cube rotations": (lambda: _vectors(g.octahedral()), (2, 3)),
    "icosahedron": (lambda: _vectors(g.icosahedral()), (3,)),
    "quaternions": (lambda: _vectors(quaternions()), (4,)),
    "lattice": (lambda: g.permutation_action(g.cyclic(4), g.lattice_rotations(3)), (9,)),
    "sites with channels": (
        lambda: g.permutation_action(g.cyclic(3), np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])),
        (3, 2),
    ),
}
