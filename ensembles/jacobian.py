"""The derivative of the ensemble's mean with respect to the test point."""

from collections.abc import Sequence

import numpy as np

from haarflow import solvers
from haarflow.cuts import share_left_out
from haarflow.fitted import Fitted
from haarflow.groups import Action, HaarAction
from haarflow.groups.alignment import align, aligned_rule
from haarflow.inputs import check_room
from haarflow.kernels import AnalyticKernel
from haarflow.kernels.gradients import ntk_gradient
from haarflow.kernels.orbit_tiles import Progress
from haarflow.krylov_block import KrylovBlock
from haarflow.law import warn_of_cuts, warn_of_error
from haarflow.learning import Learnt, learn

__all__ = ["differentiate", "mean_jacobian"]


def differentiate(
    kernel: AnalyticKernel,
    fitted: Fitted,
    filter: solvers.Filter,
    x_test: np.ndarray,
    times: np.ndarray,
    progress: Progress | None,
) -> tuple[Fitted, np.ndarray]:
    """Return what was fitted, with Krylov spaces as they have grown, and d mu_t / d x: array [T, m, k, ...].

    Parameters
    ----------
    kernel, fitted, filter, x_test, times, progress
        As in `law.evaluate`.
    """
    _check_room(fitted, x_test, times)
    fitted, learnt = learn(fitted, filter, times, progress)
    out = mean_jacobian(kernel, fitted, learnt, x_test, times)
    share = share_left_out(fitted, learnt, kernel.dtype)
    warn_of_cuts(times, np.sum([each.cut for each in learnt], axis=0), share, kernel.dtype, stacklevel=4)
    for block, each in zip(fitted.spectra, learnt, strict=True):
        if isinstance(block, KrylovBlock):
            warn_of_error(times, each.error, block.how.tolerance, kernel.dtype, stacklevel=4)
    return fitted, out


def mean_jacobian(
    kernel: AnalyticKernel, fitted: Fitted, learnt: Sequence[Learnt], x_test: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Return d mu_t / d x at test points: array [T, m, k, ...].

    Parameters
    ----------
    kernel, fitted
        As in `law.evaluate`.
    learnt : sequence of Learnt
        What each part's block has learnt.
    x_test : array [m, ...]
        Test points.
    times : array [T]
        Checked times.

    Notes
    -----
    mu_t(x) = sum_j sum_g Theta(x, g x_j) rho_Y(g) alpha_tj: the sources g x_j are listed, one element at a time
    for a finite group, one test point at a time for a compact one, whose nodes stay fixed under the derivative.
    """
    action, x = fitted.problem.action, fitted.problem.x
    coefficients = [
        each.coefficients().reshape(len(times), len(x), part.irrep.dim, -1)
        for part, each in zip(fitted.parts, learnt, strict=True)
    ]
    k = fitted.problem.y.shape[1]
    columns = len(times) * k
    out = np.zeros((len(x_test), columns, *x.shape[1:]))
    if isinstance(action, HaarAction):
        for i in range(len(x_test)):
            for component in action.group.components:
                elements, weights = _nodes(action, x_test[i], x @ component.T)
                elements = elements @ component
                sources = np.einsum("jqab,j...b->jq...a", elements, x).reshape(-1, *x.shape[1:])
                turned = _turned(fitted, coefficients, elements)
                turned *= weights[:, None, None]
                out[i] += ntk_gradient(kernel, x_test[i : i + 1], sources, turned.reshape(-1, columns), i)[0]
    else:
        for g in range(action.group.order):
            elements = np.full((len(x), 1), g)
            turned = _turned(fitted, coefficients, elements).reshape(len(x), columns)
            out += ntk_gradient(kernel, x_test, action(g, x), turned)
    return np.moveaxis(out.reshape(len(x_test), len(times), k, *x.shape[1:]), 1, 0)


def _check_room(fitted: Fitted, x_test: np.ndarray, times: np.ndarray) -> None:
    """Refuse derivatives, and what they are made of, that do not fit the memory."""
    n, k = fitted.problem.y.shape
    check_room("times", (len(times), len(x_test), k, *fitted.sample_shape), "[times, test points, outputs, ...]")
    # Coefficients that are turned, with what they are made of and made into.
    turned = (3, _elements_at_once(fitted.problem.action), n, len(times), k)
    check_room("times", turned, "[arrays, elements, samples, times, outputs]")


def _elements_at_once(action: Action | HaarAction) -> int:
    """Return how many elements coefficients are turned by at once: one of a finite group, or all nodes."""
    if isinstance(action, Action):
        return 1
    count, images = aligned_rule(action.group.dim, action.group.resolution).rotations.shape[:2]
    return int(count * images)


def _turned(fitted: Fitted, coefficients: list[np.ndarray], elements: np.ndarray) -> np.ndarray:
    """Return rho_Y(g) alpha_tj for elements [n, q] of each sample: array [n, q, T, k]."""
    total: np.ndarray | float = 0.0
    for part, alpha in zip(fitted.parts, coefficients, strict=True):
        finite = isinstance(fitted.problem.action, Action)
        sigma = part.irrep.matrices[elements] if finite else part.irrep.of_members(elements)
        total = total + np.einsum("akd,jqde,tjea->jqtk", part.isometries, sigma, alpha, optimize=True)
    return np.asarray(total)


def _nodes(action: HaarAction, point: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return group elements [n, q, d, d] aligned for one test point and every sample, and weights [q]."""
    rule = aligned_rule(action.group.dim, action.group.resolution)
    found = align(point[None], x)
    images = rule.rotations.shape[1]
    flat = rule.rotations.reshape(-1, *rule.rotations.shape[2:])
    elements = np.einsum("jab,qbc,jdc->jqad", found.left[0], flat, found.right[0], optimize=True)
    return elements, np.repeat(rule.weights, images) / (images * len(action.group.components))
