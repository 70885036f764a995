"""A small training of finite networks, as a program: store, and where its outputs are written."""

import sys

import numpy as np

import haarflow as hf
from haarflow import groups, kernels

STEPS = [0, 40, 160]


def outputs(store):
    """Train, and return what the members say."""
    x, y = (np.random.default_rng(0).standard_normal(shape) for shape in ((10, 4, 4, 1), (10, 2)))
    arch = kernels.Sequential(kernels.Conv(3), kernels.Relu(), kernels.Flatten(), kernels.Dense())
    ensemble = hf.FiniteEnsemble(
        arch,
        16,
        6,
        groups.image_rotations(4),
        options={"momentum": 0.9},
        learning_rate=0.2,
        augmentation="random",
        batch=4,
        store=store,
        chunk=2,
    )
    return ensemble.fit(x, y, STEPS, save_every=20).predict(x)


if __name__ == "__main__":
    np.save(sys.argv[2], outputs(sys.argv[1]))
