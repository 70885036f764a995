"""The check that the orbit reduction applies: an orthogonal action, and kernels that it leaves invariant."""

from dataclasses import dataclass

import numpy as np

from haarflow.groups import Action, check_action
from haarflow.kernels.analytic import AnalyticKernel
from haarflow.kernels.orbits import Kernel
from haarflow.kernels.own import as_own

__all__ = ["InvarianceReport", "check_invariance"]


@dataclass(frozen=True)
class InvarianceReport:
    """How well the conditions of the reduction hold on random inputs.

    Attributes
    ----------
    failures : tuple of str
        One sentence for each condition that fails: which, by how much, for which element. Empty: all hold.
    residual : float
        The largest relative change of Theta or K under the joint action, 0 where it was not reached.
    tolerance : float
        What residuals are held to.
    share : float
        The largest change relative to the largest value; 0 where it is rounding.
    """

    failures: tuple[str, ...]
    residual: float
    tolerance: float
    share: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the reduction applies."""
        return not self.failures


def check_invariance(kernel: Kernel, action: Action, sample_shape: tuple[int, ...], seed: int = 0) -> InvarianceReport:
    """Check on random inputs that the orbit reduction applies: an orthogonal action, and invariant kernels.

    Parameters
    ----------
    kernel : Kernel
        Callable as `kernel(x1, x2)`.
    action : Action
        The group's action on samples.
    sample_shape : tuple of int
        Shape of one sample.
    seed : int
        Of the Gaussian inputs.

    Returns
    -------
    InvarianceReport

    Notes
    -----
    Invariance under generators implies invariance under the group, so only they are tried.
    Cost: 9 kernel entries for every generator. Analytic kernels are tried in float64.
    Source: Gerken & Kessel 2024, the kernel transformation theorem.
    """
    if isinstance(kernel, AnalyticKernel):  # its precision is ours to choose
        kernel = AnalyticKernel(kernel.architecture, "float64")
    kernel = as_own(kernel)
    tolerance = 1e-8 if kernel.dtype == "float64" else 1e-3
    rng = np.random.default_rng(seed)
    x, other = rng.standard_normal((2, 3, *sample_shape))
    if not action.exact:
        return InvarianceReport((f"{action.name} is not an exact group action: it interpolates",), 0.0, tolerance)
    failures = list(check_action(action, x, 1e-8).failures)
    before = kernel(x, other)
    worst, share, element = 0.0, 0.0, ""
    label = ""
    for g in action.group.generators:
        after = kernel(action(g, x), action(g, other))
        for name, a, b in (("Theta", after.ntk, before.ntk), ("K", after.nngp, before.nngp)):
            change = _relative_change(a, b)
            if change > 0:
                share = max(share, float(np.max(np.abs(a - b))) / float(np.max(np.abs(b))))
            if change > worst:
                worst, element, label = change, str(g), name
    if worst > tolerance:
        failures.append(
            f"the kernel is not invariant under {action.name}: {label}(gx, gx') differs from {label}(x, x') "
            f"by {worst:.1e} relative (at most {tolerance:.0e} would do) for element g = {element}"
        )
    return InvarianceReport(tuple(failures), worst, tolerance, share)


def _relative_change(after: np.ndarray, before: np.ndarray) -> float:
    # Relative to the spread of the values, since a bias adds the same constant to all of them; what is rounding
    # of the values themselves is no change.
    change, size = float(np.max(np.abs(after - before))), float(np.max(np.abs(before)))
    if change <= 64 * float(np.finfo(before.dtype).eps) * size:
        return 0.0
    return change / max(float(np.ptp(before)), 1e-3 * change)
