"""Which problem is solved: the orbit reduction where it applies, the listed augmented set elsewhere."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, lil_matrix

from haarflow.groups import (
    Action,
    Coincidences,
    HaarAction,
    HarmonicSum,
    Isotypic,
    Representation,
    coincidences,
    decompose,
    harmonics,
    irreps,
    no_action,
    trivial,
)
from haarflow.groups.continuous import trivial_outputs
from haarflow.groups.haar_orbits import HaarCoincidences, haar_coincidences
from haarflow.kernels import AnalyticKernel, Irrep, Kernel, check_invariance

__all__ = ["CHOICES", "Problem", "ReductionWarning", "at_half_resolution", "distinct_basis", "pose"]

CHOICES = ("auto", "orbit", "explicit")


class ReductionWarning(UserWarning):
    """The orbit reduction does not apply, so that the augmented set is listed: slower, and larger."""


@dataclass(frozen=True)
class Problem:
    """A training set, and the action under which it is augmented without being listed.

    Attributes
    ----------
    x, y : array [n, ...], [n, k]
        Samples and labels: the base samples, or all augmented ones when these are listed.
    action : Action or HaarAction
        What is left to be symmetrised; `no_action()` when the augmented set is listed.
    output : Representation or HarmonicSum
        How `action`'s group acts on outputs.
    reduction : str
        "orbit" or "explicit".
    violation : float
        By how much the kernel was seen not to be invariant, within tolerance, relative to its largest value.
    """

    x: np.ndarray
    y: np.ndarray
    action: Action | HaarAction
    output: Representation | HarmonicSum
    reduction: str
    violation: float = 0.0

    @property
    def order(self) -> int:
        """|G|; 1 for a compact group, over which means take the place of sums."""
        return 1 if isinstance(self.action, HaarAction) else self.action.group.order

    @property
    def size(self) -> int:
        """Number of augmented samples, n under a compact group."""
        return len(self.x) * self.order

    def parts(self) -> list[Isotypic]:
        """Split the outputs into irreps."""
        return self.output.isotypic() if isinstance(self.output, HarmonicSum) else decompose(self.output)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return self.x.shape[1:]

    def irreps(self) -> list[Irrep]:
        """Return all irreps; of a compact group those up to half the band limit, or up to the outputs' degree."""
        if isinstance(self.action, HaarAction):
            assert isinstance(self.output, HarmonicSum)
            degree = max(irrep.degree for irrep in self.output.irreps)
            return [*harmonics(self.action.group, max(degree, self.action.group.band_limit // 2))]
        return [*irreps(self.action.group)]

    def coincidences(self) -> Coincidences | HaarCoincidences:
        """Find coinciding augmented samples."""
        if isinstance(self.action, HaarAction):
            return haar_coincidences(self.action, self.x)
        return coincidences(self.action, self.x)


def at_half_resolution(problem: Problem) -> Problem | None:
    """Return a compact group's problem with half the nodes, or None where there is none to be had."""
    if not isinstance(problem.action, HaarAction) or not isinstance(problem.output, HarmonicSum):
        return None
    group = problem.action.group
    if group.resolution < 2:
        return None
    coarse = group.at(group.resolution // 2)
    if coarse.band_limit < max(irrep.degree for irrep in problem.output.irreps):
        return None
    return replace(problem, action=HaarAction(coarse))


def pose(
    kernel: Kernel,
    action: Action | HaarAction,
    output: Representation | HarmonicSum | None,
    x: np.ndarray,
    y: np.ndarray,
    reduction: str = "auto",
) -> Problem:
    """Choose the orbit reduction or the listed set.

    Parameters
    ----------
    kernel : Kernel
        Of the network.
    action, output : Action, Representation or None
        How the group acts on samples and on labels; None: not on labels.
    x, y : array [n, ...], [n, k]
        Base samples and labels.
    reduction : {"auto", "orbit", "explicit"}
        "auto" lists the augmented set where the reduction's conditions fail, with a `ReductionWarning` that
        says which and by how much; "orbit" raises instead; "explicit" always lists it.

    Raises
    ------
    ValueError
        For "orbit" where it does not apply.
    """
    if isinstance(action, HaarAction):
        output = trivial_outputs(action.group, y.shape[1]) if output is None else output
        assert isinstance(output, HarmonicSum)
        _check_haar(kernel, action, x.shape[1:], reduction)
        return Problem(x, y, action, output, "orbit")
    output = trivial(action.group, y.shape[1]) if output is None else output
    assert isinstance(output, Representation)
    if reduction != "explicit":
        # A group of one element has nothing to be invariant under.
        report = None if action.group.order == 1 else check_invariance(kernel, action, x.shape[1:])
        if report is None or report.holds:
            return Problem(x, y, action, output, "orbit", 0.0 if report is None else report.share)
        reasons = "; ".join(report.failures)
        if reduction == "orbit":
            raise ValueError(f'reduction="orbit" does not apply: {reasons}. reduction="explicit" lists the set')
        warnings.warn(
            f"the orbit reduction does not apply: {reasons}. "
            f"The {len(x) * action.group.order} augmented samples are listed instead",
            ReductionWarning,
            stacklevel=3,
        )
    listed = action.orbit(x).reshape(-1, *x.shape[1:])
    labels = output.transform(y).reshape(-1, y.shape[1])
    alone = no_action()
    return Problem(listed, labels, alone, trivial(alone.group, y.shape[1]), "explicit")


def _check_haar(kernel: Kernel, action: HaarAction, sample_shape: tuple[int, ...], reduction: str) -> None:
    if reduction == "explicit":
        raise ValueError(f'reduction must be "auto" or "orbit": the orbits of {action.group.name} cannot be listed')
    if not (isinstance(kernel, AnalyticKernel) and kernel.of_inner_product(sample_shape)):
        raise ValueError(
            f"arch must be a network whose kernel depends on inner products of whole samples, such as Flatten and "
            f"Dense layers, for the Haar average over {action.group.name}; a finite subgroup takes other kernels"
        )


def distinct_basis(found: Coincidences | HaarCoincidences, irrep: Any) -> csr_matrix | None:
    """Return an orthonormal basis of the block vectors that agree on coinciding augmented samples.

    Parameters
    ----------
    found : Coincidences or HaarCoincidences
        Which augmented samples coincide.
    irrep : Representation or Harmonic
        The block's irrep sigma, of dimension d.

    Returns
    -------
    csr_matrix [n d, r] or None
        None where all augmented samples are distinct. A vector v stands for the function (j, g) -> sigma(g) v_j;
        it agrees on coinciding samples when the stabiliser of x_i leaves v_i fixed and x_j = u x_i has
        v_j = sigma(u) v_i.
    """
    if found.trivial:
        return None
    d = irrep.dim
    n = len(found.representative)
    columns: list[np.ndarray] = []  # column indices of each representative
    bases: dict[int, np.ndarray] = {}
    total = 0
    sizes = np.bincount(found.representative, minlength=n)
    for i in np.unique(found.representative):
        mean = found.projector(int(i), irrep)
        values, vectors = np.linalg.eigh((mean + mean.T) / 2)
        bases[int(i)] = vectors[:, values > 0.5]  # a projector: 0 or 1
        columns.append(np.arange(total, total + bases[int(i)].shape[1]))
        total += bases[int(i)].shape[1]
    of = dict(zip(bases, columns, strict=True))
    basis = lil_matrix((n * d, total))
    for j in range(n):
        i = int(found.representative[j])
        if bases[i].shape[1]:
            image = found.carry(j, irrep) @ bases[i] / np.sqrt(sizes[i])
            basis[j * d : (j + 1) * d, of[i]] = image
    return basis.tocsr()
