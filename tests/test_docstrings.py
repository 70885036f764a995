"""The examples in public docstrings run, and every public object has a docstring that says enough."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import haarflow

ROOMS = [
    "haarflow",
    "haarflow.bench",
    "haarflow.finite",
    "haarflow.groups",
    "haarflow.kernels",
    "haarflow.measures",
    "haarflow.solvers",
    "haarflow.theorems",
    "haarflow.theorems.report",
]


def modules():
    for room in ROOMS:
        package = importlib.import_module(room)
        yield room
        for found in pkgutil.iter_modules(package.__path__):
            if not found.ispkg and f"{room}.{found.name}" not in ROOMS:
                yield f"{room}.{found.name}"


NAMES = sorted(set(modules()))


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0


def test_there_are_examples():
    assert sum(doctest.testmod(importlib.import_module(name)).attempted for name in NAMES) > 15


@pytest.mark.parametrize("room", ROOMS)
def test_public_surface(room):
    package = importlib.import_module(room)
    assert sorted(package.__all__) == sorted(set(package.__all__))
    for name in package.__all__:
        found = getattr(package, name)
        if inspect.isclass(found) or inspect.isfunction(found):
            assert found.__doc__, f"{room}.{name} has no docstring"
            assert found.__module__.startswith("haarflow"), f"{room}.{name} is not ours"


def test_face_has_the_fixed_names():
    for path in [
        "DeepEnsemble",
        "datasets.digits",
        "datasets.fashion_mnist",
        "datasets.ising",
        "datasets.cross_product",
        "one_hot",
        "measures.orbit_error",
        "measures.relative_orbit_std",
        "measures.orbit_same_prediction",
        "measures.symmetrised_kl",
        "theorems.run",
        "members_needed",
        "testing.assert_equivariant",
        "ReductionWarning",
        "kernels.analytic",
        "kernels.from_neural_tangents",
        "kernels.neural_tangents",
        "kernels.to_neural_tangents",
        "groups.FiniteGroup.from_matrices",
        "groups.FiniteGroup.from_table",
        "groups.irreps",
        "groups.trivial",
        "groups.regular",
        "groups.Representation",
        "groups.image_rotations",
        "groups.image_dihedral",
        "groups.image_translations",
        "groups.matrix_action",
        "groups.permutation_action",
        "groups.no_action",
        "groups.interpolated_rotations",
        "groups.so2",
        "groups.o2",
        "groups.so3",
        "groups.o3",
        "DeepEnsemble.sample",
        "DeepEnsemble.jacobian",
    ]:
        found = haarflow
        for part in path.split("."):
            found = getattr(found, part)
