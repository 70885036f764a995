"""Who acts: finite groups, representations and irreps, and actions on arrays."""

from haarflow.groups.actions import Action, ActionReport, check_action, no_action
from haarflow.groups.catalogue import (
    cyclic,
    dihedral,
    direct_product,
    icosahedral,
    octahedral,
    p4,
    semidirect_product,
    symmetric,
    tetrahedral,
    translations,
)
from haarflow.groups.coincidences import Coincidences, coincidences
from haarflow.groups.continuous import Harmonic, HarmonicSum, direct_sum, harmonic, harmonics, pseudovector, vector
from haarflow.groups.decomposition import Isotypic, decompose, irreps
from haarflow.groups.finite import FiniteGroup
from haarflow.groups.haar import HaarAction, HaarQuadrature, o2, o3, so2, so3
from haarflow.groups.images import image_dihedral, image_p4, image_rotations, image_translations
from haarflow.groups.interpolated import interpolated_rotations
from haarflow.groups.representations import Representation, regular, trivial
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
    "HaarAction",
    "HaarQuadrature",
    "Harmonic",
    "HarmonicSum",
    "Isotypic",
    "Representation",
    "check_action",
    "coincidences",
    "cyclic",
    "decompose",
    "dihedral",
    "direct_product",
    "direct_sum",
    "harmonic",
    "harmonics",
    "icosahedral",
    "image_dihedral",
    "image_p4",
    "image_rotations",
    "image_translations",
    "interpolated_rotations",
    "irreps",
    "lattice_rotations",
    "matrix_action",
    "no_action",
    "o2",
    "o3",
    "octahedral",
    "p4",
    "permutation_action",
    "permutation_matrices",
    "pseudovector",
    "regular",
    "semidirect_product",
    "so2",
    "so3",
    "symmetric",
    "tetrahedral",
    "translations",
    "trivial",
    "vector",
]
