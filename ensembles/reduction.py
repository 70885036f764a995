"""Which problem is solved: the orbit reduction where it applies, the listed augmented set elsewhere."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, lil_matrix

from haarflow.groups import Action, Coincidences, Representation, no_action, trivial
from haarflow.kernels import Kernel, check_invariance

__all__ = ["CHOICES", "Problem", "ReductionWarning", "distinct_basis", "pose"]

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
    action : Action
        What is left to be symmetrised; `no_action()` when the augmented set is listed.
    output : Representation
        How `action`'s group acts on outputs.
    reduction : str
        "orbit" or "explicit".
    """

    x: np.ndarray
    y: np.ndarray
    action: Action
    output: Representation
    reduction: str

    @property
    def size(self) -> int:
        """Number of augmented samples."""
        return len(self.x) * self.action.group.order


def pose(
    kernel: Kernel,
    action: Action,
    output: Representation,
    x: np.ndarray,
    y: np.ndarray,
    reduction: str = "auto",
) -> Problem:
    """Choose the orbit reduction or the listed set.

    Parameters
    ----------
    kernel : Kernel
        Of the network.
    action, output : Action, Representation
        How the group acts on samples and on labels.
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
    if reduction != "explicit":
        # A group of one element has nothing to be invariant under.
        report = None if action.group.order == 1 else check_invariance(kernel, action, x.shape[1:])
        if report is None or report.holds:
            return Problem(x, y, action, output, "orbit")
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
    labels = np.einsum("gab,nb->gna", output.matrices, y).reshape(-1, y.shape[1])
    alone = no_action()
    return Problem(listed, labels, alone, trivial(alone.group, y.shape[1]), "explicit")


def distinct_basis(found: Coincidences, irrep: Representation) -> csr_matrix | None:
    """Return an orthonormal basis of the block vectors that agree on coinciding augmented samples.

    Parameters
    ----------
    found : Coincidences
        Which augmented samples coincide.
    irrep : Representation
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
        mean = irrep.matrices[found.stabilisers[i]].mean(axis=0)
        values, vectors = np.linalg.eigh((mean + mean.T) / 2)
        bases[int(i)] = vectors[:, values > 0.5]  # a projector: 0 or 1
        columns.append(np.arange(total, total + bases[int(i)].shape[1]))
        total += bases[int(i)].shape[1]
    of = dict(zip(bases, columns, strict=True))
    basis = lil_matrix((n * d, total))
    for j in range(n):
        i = int(found.representative[j])
        if bases[i].shape[1]:
            image = irrep.matrices[found.transporter[j]] @ bases[i] / np.sqrt(sizes[i])
            basis[j * d : (j + 1) * d, of[i]] = image
    return basis.tocsr()
