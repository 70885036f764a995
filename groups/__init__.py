"""Who acts: finite groups, representations and irreps, and actions on arrays."""

from haarflow.groups.actions import Action, ActionReport, check_action, no_action
from haarflow.groups.catalogue import (
    cyclic,
    dihedral,
    direct_product,
    icosahedral,
    octahedral,
    semidirect_product,
    symmetric,
    tetrahedral,
    translations,
)
from haarflow.groups.coincidences import Coincidences, coincidences
from haarflow.groups.finite import FiniteGroup
from haarflow.groups.images import image_dihedral, image_rotations, image_translations
from haarflow.groups.interpolated import interpolated_rotations
from haarflow.groups.representations import (
    Isotypic,
    Representation,
    decompose,
    direct_sum,
    irreps,
    regular,
    trivial,
)
from haarflow.groups.sites import (
    lattice_rotations,
    matrix_action,
    permutation_action,
    permutation_matrices,
)

__all__ = [
    "Action",
    "ActionReport",
    "Coincidences",
    "FiniteGroup",
    "Isotypic",
    "Representation",
    "check_action",
    "coincidences",
    "cyclic",
    "decompose",
    "dihedral",
    "direct_product",
    "direct_sum",
    "icosahedral",
    "image_dihedral",
    "image_rotations",
    "image_translations",
    "interpolated_rotations",
    "irreps",
    "lattice_rotations",
    "matrix_action",
    "no_action",
    "octahedral",
    "permutation_action",
    "permutation_matrices",
    "regular",
    "semidirect_product",
    "symmetric",
    "tetrahedral",
    "translations",
    "trivial",
]
