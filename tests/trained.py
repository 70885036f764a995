"""Ensembles of small networks on a few digits, which tests of finite networks share."""

import haarflow as hf
from haarflow import groups, kernels

LINEAR = kernels.Sequential(kernels.Flatten(), kernels.Dense(1.5, 0.5))
HIDDEN = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense(1.0, 0.1))
CONV = kernels.Sequential(kernels.Conv(3, "SAME", 2**0.5), kernels.Relu(), kernels.GlobalAvgPool(), kernels.Dense())
C4 = groups.image_rotations(4)
DATA = hf.datasets.digits(6)


def ensemble(arch=HIDDEN, width=8, members=3, action=C4, **options):
    return hf.FiniteEnsemble(arch, width, members, action, **{"progress": False, "learning_rate": 5.0, **options})


def f(made, steps, x=DATA.x, y=DATA.y):
    return made.fit(x, y, steps).predict(DATA.x)
