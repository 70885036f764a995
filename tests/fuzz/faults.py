"""Faults to be planted: each changes one rule of the library, and the fuzzer has to find it."""

from dataclasses import replace

import numpy as np

from haarflow import fitting, law, reduction, training
from haarflow.groups import images, sites
from haarflow.kernels import gram_tiles, orbit_tiles
from haarflow.solvers import error_estimates, filters, krylov_space, spectrum
from haarflow.solvers import law as solvers_law

__all__ = ["FAULTS", "FOUND_BY"]


def _around(owner, name, change):
    """A fault that replaces a function by what `change` makes of it."""
    original = getattr(owner, name)
    return owner, name, change(original)


def _result(owner, name, change):
    """A fault that changes what a function returns; `change` sees the arguments too."""
    return _around(owner, name, lambda f: lambda *args, **more: change(f(*args, **more), *args))


def _property(owner, name, change):
    original = getattr(owner, name)
    read = getattr(original, "fget", None) or original.func
    return owner, name, property(lambda self: change(read(self), self))


def _later(steps):
    """Times by that many steps later."""
    return lambda call: lambda self, values, times, rate: call(self, values, np.maximum(times + steps, 0), rate)


def _alone(found):
    """Samples that coincide with others, but never with themselves."""
    return replace(found, stabilisers=tuple(np.array([0]) for _ in found.stabilisers))


def _transposed(part):
    if part.isometries.shape[1] != part.isometries.shape[2]:
        return part
    return replace(part, isometries=part.isometries.transpose(0, 2, 1))


def _without_ridge(method):
    return lambda self, at, filter, times, rate, ridge=0.0: method(self, at, filter, times, rate, 0.0)


def _ridge_in_prior(changed, block, at, filter, times, rate, ridge=0.0):
    trained = at.ntk * block.spectrum.phi(filter, times, rate, ridge)[:, None, None]
    return changed + block.weight * ridge * np.einsum("tmdr,tmdr->tm", trained, trained)


def _block(transpose):
    """Tiles enter the lower half in another order."""

    def enter(blocks, sums, rows, columns):
        for family, found in zip(blocks, (sums.ntk, sums.nngp), strict=False):
            for block, tile in zip(family, found, strict=True):
                block[rows, :, columns] = tile
                block[columns, :, rows] = tile.transpose(transpose)

    return lambda original: enter


# name -> (owner, attribute, what stands there instead)
FAULTS = {
    "momentum is a step late": lambda: _around(filters.HeavyBall, "__call__", _later(-1)),
    "descent is a step early": lambda: _around(filters.GradientDescent, "__call__", _later(1)),
    "flow never arrives": lambda: _around(
        filters.GradientFlow,
        "__call__",
        lambda call: lambda self, values, times, rate: call(self, values, np.minimum(times, 1e6 / rate), rate),
    ),
    "momentum counts twice": lambda: _result(
        filters.HeavyBall, "__call__", lambda phi, ball, *_: phi * (1 + ball.momentum)
    ),
    "threshold a million times too high": lambda: _property(spectrum.Spectrum, "threshold", lambda t, _: 1e6 * t),
    "rounding is inverted": lambda: _property(spectrum.Spectrum, "threshold", lambda t, _: 0.0),
    "unresolved modes are followed too long": lambda: _property(
        spectrum.Spectrum, "_uncertainty", lambda u, _: 1e-9 * u
    ),
    "unresolved modes are dropped at once": lambda: _property(spectrum.Spectrum, "_uncertainty", lambda u, _: 1e12 * u),
    "the block's own scale": lambda: _around(
        training.solvers, "eigendecompose", lambda f: lambda gram, basis, **more: f(gram, basis)
    ),
    "stabilisers are ignored": lambda: _result(reduction, "coincidences", lambda found, *_: _alone(found)),
    "transporters point back": lambda: _result(
        reduction,
        "coincidences",
        lambda found, action, x: replace(found, transporter=action.group.inverse[found.transporter]),
    ),
    "coincidences are not merged": lambda: _result(training, "distinct_basis", lambda basis, *_: None),
    "points a thousandth apart coincide": lambda: _around(
        reduction, "coincidences", lambda f: lambda action, x: f(action, x, 1e-3 * np.linalg.norm(x, axis=-1).max())
    ),
    "duplicates have no weight": lambda: _result(
        training, "distinct_basis", lambda basis, *_: None if basis is None else basis.sign()
    ),
    "no ridge in the covariance": lambda: _around(solvers_law.LawBlock, "covariance", _without_ridge),
    "a ridge in K": lambda: _result(solvers_law.LawBlock, "variance", _ridge_in_prior),
    "the ridge's unit is the sum": lambda: _property(
        gram_tiles.GramSums, "mean_diagonal", lambda mean, sums: mean * len(sums._problem.x)
    ),
    "weights without the type": lambda: _result(
        fitting,
        "_law_blocks",
        lambda blocks, order, *_: tuple((i, replace(block, weight=i.dim / order)) for i, block in blocks),
    ),
    "weights without the dimension": lambda: _result(
        fitting,
        "_law_blocks",
        lambda blocks, order, *_: tuple((i, replace(b, weight=1 / i.commutant_dim / order)) for i, b in blocks),
    ),
    "isometries are transposed": lambda: _result(
        reduction, "decompose", lambda parts, *_: [_transposed(part) for part in parts]
    ),
    "the clock counts base samples": lambda: _property(reduction.Problem, "size", lambda size, problem: len(problem.x)),
    "elements are inverted in the sums": lambda: _around(
        orbit_tiles,
        "_summed",
        lambda f: lambda kappas, weights, *more: f(kappas, [w.transpose(0, 2, 1) for w in weights], *more),
    ),
    "tiles are transposed by halves": lambda: _around(gram_tiles, "_enter", _block((2, 1, 0, 3))),
    "sites move backwards": lambda: _around(
        sites._PermutationAction,
        "_transform",
        lambda move: lambda self, g, x: move(self, int(self.group.inverse[g]), x),
    ),
    "orbits of sites move backwards": lambda: _result(
        sites._PermutationAction, "orbit", lambda orbit, self, _: orbit[self.group.inverse]
    ),
    "matrices act from the right": lambda: _around(
        sites._MatrixAction, "_transform", lambda move: lambda self, g, x: x @ self.matrices[g].astype(x.dtype)
    ),
    "images are flipped upside down": lambda: _around(
        images._ImageTurns,
        "_transform",
        lambda move: lambda self, g, x: move(self, g - g % self.flips, x[:, ::-1] if g % self.flips else x),
    ),
    "the identity is the first element": lambda: _around(
        orbit_tiles, "_summed", lambda f: lambda kappas, weights, nngp, _, axes: f(kappas, weights, nngp, 0, axes)
    ),
    "the prior of other points": lambda: _result(
        law, "kernel_diagonal", lambda pair, *_: pair._replace(nngp=pair.nngp[::-1])
    ),
    "half of what is crossed": lambda: _around(
        solvers_law.LawBlock,
        "covariance",
        lambda f: lambda self, at, *more: f(self, replace(at, nngp=at.nngp / 2), *more),
    ),
    "K in place of Theta beside the data": lambda: _around(
        solvers_law.LawBlock,
        "project",
        lambda f: lambda self, ntk, nngp: f(self, nngp, nngp),
    ),
    "Krylov spaces stop at once": lambda: _result(
        error_estimates.Ritz, "estimate", lambda found, *_: replace(found, growing=0 * found.growing)
    ),
    "Krylov errors are larger than they say": lambda: _property(
        error_estimates.Estimate, "total", lambda total, _: total / 1000
    ),
    "Krylov blocks are orthogonal to the last alone": lambda: _around(
        krylov_space,
        "_remove",
        lambda f: lambda parts, coefficients, image: f(parts[-1:], coefficients[-parts[-1].shape[1] :], image),
    ),
    "no columns below a thousandth": lambda: _around(
        krylov_space, "_revealing_qr", lambda f: lambda m, tolerance, most: f(m, 1e-3 * np.linalg.norm(m), most)
    ),
}

# The first seed that finds each.
FOUND_BY = {
    "momentum is a step late": 0,
    "descent is a step early": 1,
    "flow never arrives": 26,
    "momentum counts twice": 0,
    "threshold a million times too high": 0,
    "rounding is inverted": 62,
    "unresolved modes are followed too long": 384,
    "unresolved modes are dropped at once": 0,
    "the block's own scale": 1402,
    "stabilisers are ignored": 1,
    "transporters point back": 9,
    "coincidences are not merged": 1,
    "points a thousandth apart coincide": 26,
    "duplicates have no weight": 1,
    "no ridge in the covariance": 2,
    "a ridge in K": 1,
    "the ridge's unit is the sum": 1,
    "weights without the type": 9,
    "weights without the dimension": 0,
    "isometries are transposed": 110,
    "the clock counts base samples": 0,
    "elements are inverted in the sums": 0,
    "tiles are transposed by halves": 9,
    "sites move backwards": 4,
    "orbits of sites move backwards": 4,
    "matrices act from the right": 0,
    "images are flipped upside down": 58,
    "the identity is the first element": 5,
    "the prior of other points": 0,
    "half of what is crossed": 2,
    "K in place of Theta beside the data": 0,
    "Krylov spaces stop at once": 5,
    "Krylov errors are larger than they say": 69,
    "Krylov blocks are orthogonal to the last alone": 5,
    "no columns below a thousandth": 362,
}
