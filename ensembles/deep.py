"""DeepEnsemble: what an infinitely wide ensemble predicts after training with full augmentation."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from haarflow import solvers
from haarflow.groups import Action, Isotypic, Representation, decompose, no_action, trivial
from haarflow.inputs import as_labels, as_number, as_samples
from haarflow.kernels import Kernel, Sequential, Store, analytic, orbit_rows
from haarflow.kernels.backend import check_dtype
from haarflow.kernels.orbits import Progress
from haarflow.progress import progress_bar
from haarflow.reduction import CHOICES, Problem, pose
from haarflow.training import train

__all__ = ["DeepEnsemble", "Law", "ResolutionWarning"]

_LOSSES = ("mean", "sum")
_SOLVERS = ("auto", "dense")
# Kernels hold squares of the samples and products of such squares.
_LARGEST = {"float64": 1e70, "float32": 1e8}


class ResolutionWarning(UserWarning):
    """Modes below the Gram matrix's rounding were left out of a prediction at late times."""


@dataclass(frozen=True)
class Law:
    """The ensemble's prediction at each time.

    Attributes
    ----------
    times : array [T]
        In the order asked for.
    mean : array [T, m, k]
        mu_t at the test points.
    unresolved : int
        Modes of the Gram matrix's blocks whose eigenvalue lies below its rounding, each counted once.
    cut : array [T]
        How many of them were left out at each time; where it is 0, nothing was.
    """

    times: np.ndarray
    mean: np.ndarray
    unresolved: int
    cut: np.ndarray


@dataclass(frozen=True)
class _Fitted:
    """What training leaves: the problem, and per irrep of the output its labels and spectrum."""

    problem: Problem
    parts: tuple[Isotypic, ...]
    labels: tuple[np.ndarray, ...]  # [n d, multiplicity] each
    spectra: tuple[solvers.Spectrum, ...]
    rate: float
    ridge: float
    sample_shape: tuple[int, ...]


class DeepEnsemble:
    """An infinitely wide deep ensemble, trained on all transforms of its training set, in closed form.

    Parameters
    ----------
    arch : Sequential or kernel
        The network, or a kernel such as `kernels.analytic(...)` or `kernels.from_neural_tangents(...)`.
    action : Action, optional
        How the group acts on samples; default no augmentation.
    output : Representation, optional
        How it acts on outputs; default not at all (an invariant task).
    loss : {"mean", "sum"}
        1/(2 N k) sum |f - y|^2 over the N = n |G| augmented samples, or 1/2 sum |f - y|^2. Under the mean
        loss t = 1000 is hardly trained: see `timescales`.
    learning_rate : float
        Factor of time, or the step of gradient descent.
    ridge : float
        Added to every eigenvalue, in units of the mean of Theta(x_i, x_i).
    flow : {"gradient_flow", "gradient_descent", "heavy_ball"} or solvers filter
        The dynamics; time counts whole steps for the latter two.
    solver : {"auto", "dense"}
        One eigendecomposition for each block.
    reduction : {"auto", "orbit", "explicit"}
        "orbit" never lists the augmented set, "explicit" does, "auto" lists it only where the orbit reduction
        does not apply, with a `ReductionWarning`.
    dtype : {"float64", "float32"}, optional
        Of kernels and solvers, default float64 or the kernel's own; float32 loses about half the digits at late times.
    store : path, optional
        Folder that keeps Gram matrices and eigendecompositions between runs.
    progress : callable, bool, optional
        progress(label, done, total); default a bar on a terminal and none elsewhere.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was found, and what would be right.

    Notes
    -----
    Cost: n^2 |G| / 2 kernel entries and (n d)^3 for each irrep of dimension d in the output.
    Source: Gerken & Kessel 2024, section 4; docs/theory.md.

    Examples
    --------
    >>> import numpy as np, haarflow as hf
    >>> from haarflow import groups, kernels
    >>> net = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5), kernels.Relu(), kernels.Dense())
    >>> x, y = np.random.default_rng(0).standard_normal((6, 4, 4, 1)), np.eye(6)[:, :2]
    >>> ensemble = hf.DeepEnsemble(net, action=groups.image_rotations(4)).fit(x, y)
    >>> mean = ensemble.predict(x, times=[0, np.inf]).mean
    >>> mean.shape, bool(np.allclose(mean[0], 0)), bool(np.allclose(mean[1], y))
    ((2, 6, 2), True, True)
    """

    def __init__(
        self,
        arch: Sequential | Kernel,
        action: Action | None = None,
        output: Representation | None = None,
        loss: str = "mean",
        learning_rate: float = 1.0,
        ridge: float = 0.0,
        flow: str | solvers.Filter = "gradient_flow",
        solver: str = "auto",
        reduction: str = "auto",
        dtype: str | None = None,
        store: str | Path | Store | None = None,
        progress: Progress | bool | None = None,
    ) -> None:
        self._kernel = _as_kernel(arch, dtype)
        self._action = no_action() if action is None else action
        if not isinstance(self._action, Action):
            raise TypeError(f"action must be an Action such as groups.image_rotations(4), found {action!r}")
        if output is not None and not isinstance(output, Representation):
            raise TypeError(f"output must be a groups.Representation or None, found {output!r}")
        if output is not None and output.group != self._action.group:
            raise ValueError(
                f"output must represent the action's group {self._action.group}, found one of {output.group}"
            )
        self._output = output
        for name, value, choices in (("loss", loss, _LOSSES), ("solver", solver, _SOLVERS)):
            if value not in choices:
                raise ValueError(f"{name} must be one of {choices}, found {value!r}")
        self._loss = loss
        self._learning_rate = as_number(learning_rate, "learning_rate", positive=True)
        self._ridge = as_number(ridge, "ridge")
        self._filter = solvers.make_filter(flow)
        if reduction not in CHOICES:
            raise ValueError(f"reduction must be one of {CHOICES}, found {reduction!r}")
        self._reduction = reduction
        if store is not None and not isinstance(store, (str, Path, Store)):
            raise TypeError(f"store must be a path or a Store, found {store!r}")
        self._store = Store(store) if isinstance(store, (str, Path)) else store
        if progress is not None and not isinstance(progress, bool) and not callable(progress):
            raise TypeError(f"progress must be callable as progress(label, done, total), or a bool, found {progress!r}")
        self._progress = progress
        self._fitted: _Fitted | None = None

    def fit(self, x: Any, y: Any) -> Self:
        """Assemble and factorise the Gram blocks of the augmented training set.

        Parameters
        ----------
        x : array [n, ...]
            Base samples, before augmentation.
        y : array [n, k]
            Their labels.

        Returns
        -------
        DeepEnsemble
            Itself.

        Raises
        ------
        TypeError, ValueError
            For samples or labels that are not finite, of different length, or do not fit the network, the
            action or the output representation.

        Notes
        -----
        Cost: n^2 |G| / 2 kernel entries, (n d)^3 and 8 (n d)^2 bytes for each irrep of the output; with a
        store that has them, none of it.
        """
        x = as_samples(x, largest=_LARGEST[self._kernel.dtype])
        y = as_labels(y, len(x), None if self._output is None else self._output.dim)
        if isinstance(arch := getattr(self._kernel, "architecture", None), Sequential):
            arch.check(x.shape[1:])
        self._action.check_shape(x.shape[1:])
        output = trivial(self._action.group, y.shape[1]) if self._output is None else self._output
        problem = pose(self._kernel, self._action, output, x, y, self._reduction)
        parts = tuple(decompose(problem.output))
        with progress_bar(self._progress) as progress:
            spectra, mean_diagonal = train(self._kernel, problem, [part.irrep for part in parts], self._store, progress)
        labels = tuple(
            np.einsum("nk,akd->nda", problem.y, part.isometries).reshape(spectrum.rows, -1)
            for part, spectrum in zip(parts, spectra, strict=True)
        )
        clock = problem.size * y.shape[1] if self._loss == "mean" else 1
        self._fitted = _Fitted(
            problem,
            parts,
            labels,
            tuple(spectra),
            self._learning_rate / clock,
            self._ridge * mean_diagonal,
            x.shape[1:],
        )
        return self

    @property
    def timescales(self) -> np.ndarray:
        """Decay times 1/lambda of the flow's resolved modes in the user's clock, ascending: [modes] float64."""
        fitted = self._trained("timescales")
        return solvers.timescales(fitted.spectra, fitted.rate, fitted.ridge)

    @property
    def reduction(self) -> str:
        """Which path `fit` took: "orbit", or "explicit" where the augmented set was listed."""
        return self._trained("reduction").problem.reduction

    def predict(self, x_test: Any, times: Any) -> Law:
        """Predict the mean of the ensemble at any training times.

        Parameters
        ----------
        x_test : array [m, ...]
            Test points.
        times : float or array [T]
            Training times >= 0 in any order, np.inf included.

        Returns
        -------
        Law
            With `mean` [T, m, k] float64.

        Raises
        ------
        RuntimeError
            Before `fit`.
        TypeError, ValueError
            For test points that are not finite or of another shape, or times that are negative or NaN.

        Notes
        -----
        Cost: m n |G| kernel entries, m (n d)^2 for each irrep, and m n d k for each time.
        Source: Lee et al. 2019, eq. 10; Gerken & Kessel 2024, section 4.
        """
        fitted = self._trained("predict")
        times = solvers.check_times(times)
        x_test = as_samples(x_test, "x_test", fitted.sample_shape, _LARGEST[self._kernel.dtype])
        problem, spectra = fitted.problem, fitted.spectra
        mean = np.zeros((len(times), len(x_test), problem.y.shape[1]))
        with progress_bar(self._progress) as progress:
            irreps = [part.irrep for part in fitted.parts]
            stream = orbit_rows(self._kernel, problem.action, x_test, problem.x, irreps, progress)
            for rows, thetas in stream:
                for part, labels, spectrum, theta in zip(fitted.parts, fitted.labels, spectra, thetas, strict=True):
                    d = part.irrep.dim
                    flat = theta.reshape(-1, spectrum.rows)
                    values = spectrum.predict(flat, self._filter, times, fitted.rate, labels, fitted.ridge)
                    values = values.reshape(len(times), -1, d, labels.shape[1])
                    mean[:, rows] += np.einsum("tmda,akd->tmk", values, part.isometries)
        cut = sum(s.cut(times, fitted.rate, fitted.ridge, self._filter) for s in spectra)
        law = Law(times, mean, sum(s.unresolved for s in spectra), np.asarray(cut))
        if law.cut.any():
            warnings.warn(
                f"{law.cut.max()} modes of the Gram matrix lie below the rounding of {self._kernel.dtype} and are "
                f"left out from t = {times[law.cut > 0].min():.1e} on: what they would add is unknown at this "
                "precision; a ridge, an earlier time or float64 resolves it",
                ResolutionWarning,
                stacklevel=2,
            )
        return law

    def _trained(self, name: str) -> _Fitted:
        if self._fitted is None:
            raise RuntimeError(f"call fit(x, y) before {name}")
        return self._fitted


def _as_kernel(arch: Sequential | Kernel, dtype: str | None) -> Kernel:
    if isinstance(arch, Sequential):
        return analytic(arch, "float64" if dtype is None else dtype)
    if not (callable(arch) and hasattr(arch, "content_key") and hasattr(arch, "dtype")):
        raise TypeError(
            f"arch must be kernels.Sequential(...) or a kernel such as kernels.analytic(...), found {arch!r}"
        )
    if dtype is not None and arch.dtype != check_dtype(dtype):
        raise ValueError(f"dtype must be the kernel's own, {arch.dtype!r}, found {dtype!r}")
    return arch
