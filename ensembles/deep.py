"""DeepEnsemble: what an infinitely wide ensemble predicts after training with full augmentation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from haarflow import solvers
from haarflow.fitted import Fitted
from haarflow.fitting import Clock, fit_problem, with_covariance
from haarflow.groups import Action, HaarAction, Harmonic, HarmonicSum, Representation, no_action
from haarflow.inputs import as_integer, as_kernel, as_labels, as_number, as_output, as_samples, check_room
from haarflow.jacobian import elements_at_once, mean_jacobian
from haarflow.kernels import AnalyticKernel, Kernel, Sequential, Store
from haarflow.kernels.distributed import check_executor, check_workers
from haarflow.kernels.orbit_tiles import Progress
from haarflow.krylov_block import KrylovBlock
from haarflow.law import COVARIANCES, Drawn, Law, evaluate, warn_of_cuts, warn_of_error, warn_of_truncation
from haarflow.learning import learn
from haarflow.progress import progress_bar
from haarflow.reduction import CHOICES, pose
from haarflow.training import KRYLOV_TOLERANCE, Means

__all__ = ["DeepEnsemble"]

_LOSSES = ("mean", "sum")
_SOLVERS = ("auto", "dense", "krylov")
_NO_COVARIANCE = 'solver must be "dense" for covariances and members, found {}, which learns the labels alone'
# Kernels hold squares of the samples and products of such squares.
_LARGEST = {"float64": 1e70, "float32": 1e8}


class DeepEnsemble:
    """An infinitely wide deep ensemble, trained on all transforms of its training set, in closed form.

    Parameters
    ----------
    arch : Sequential or kernel
        The network, or a kernel such as `kernels.analytic(...)` or `kernels.from_neural_tangents(...)`.
    action : Action or HaarAction, optional
        How the group acts on samples, such as `groups.image_rotations(4)`, or the average over a compact group,
        `groups.matrix_action(groups.so3(16))`; default no augmentation.
    output : Representation, Harmonic or HarmonicSum, optional
        How it acts on outputs, such as `groups.Representation(group, matrices)`, or `groups.vector(...)` of a
        compact group; default not at all (an invariant task).
    loss : {"mean", "sum"}
        1/(2 N k) sum |f - y|^2 over the N = n |G| augmented samples, or 1/2 sum |f - y|^2. Under the mean
        loss t = 1000 is hardly trained: see `timescales`.
    learning_rate : float
        Factor of time, or the step of gradient descent.
    ridge : float
        Added to every eigenvalue, in units of the mean of Theta(x_i, x_i); 0 under a compact group.
    flow : {"gradient_flow", "gradient_descent", "heavy_ball"} or solvers filter
        The dynamics; time counts whole steps for the latter two.
    solver : {"auto", "dense", "krylov"} or solvers.Krylov
        "dense": one eigendecomposition for each block, exact up to rounding. "krylov": one Krylov space for all times,
        for means of large blocks, to a tolerance of 1e-6, in float32 1e-3. "auto": the latter for blocks of an order
        above 10,000 (samples times the irrep's dimension) where no covariance is asked for, with a `SolverWarning`.
    reduction : {"auto", "orbit", "explicit"}
        "orbit" never lists the augmented set, "explicit" does, "auto" lists it only where the orbit reduction
        does not apply, with a `ReductionWarning`.
    dtype : {"float64", "float32"}, optional
        Of kernels and solvers, default float64 or the kernel's own; float32 loses about half the digits at late times.
    store : path or kernels.Store, optional
        Folder that keeps Gram matrices tile by tile, eigendecompositions and Krylov spaces: an interrupted run
        continues where it stopped.
    progress : callable, bool, optional
        progress(label, done, total); default a bar on a terminal and none elsewhere.
    executor : distributed.Client, optional
        Whose workers compute tiles and multiply with them; they and this process see the same store.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was found, and what would be right.

    Notes
    -----
    Cost: n^2 |G| / 2 kernel entries and (n d)^3 for each irrep of dimension d in the output, for covariances and
    members in the group.
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
        action: Action | HaarAction | None = None,
        output: Representation | Harmonic | HarmonicSum | Sequence[Harmonic] | None = None,
        loss: str = "mean",
        learning_rate: float = 1.0,
        ridge: float = 0.0,
        flow: str | solvers.Filter = "gradient_flow",
        solver: str | solvers.Krylov = "auto",
        reduction: str = "auto",
        dtype: str | None = None,
        store: str | Path | Store | None = None,
        progress: Progress | bool | None = None,
        executor: Any = None,
    ) -> None:
        self._kernel = as_kernel(arch, dtype)
        self._action = no_action() if action is None else action
        self._output = as_output(self._action, output)
        if loss not in _LOSSES:
            raise ValueError(f"loss must be one of {_LOSSES}, found {loss!r}")
        if not isinstance(solver, solvers.Krylov) and solver not in _SOLVERS:
            raise ValueError(f"solver must be one of {_SOLVERS} or solvers.Krylov(...), found {solver!r}")
        learning_rate = as_number(learning_rate, "learning_rate", positive=True)
        self._clock = Clock(loss == "mean", learning_rate, as_number(ridge, "ridge"))
        self._filter = solvers.make_filter(flow)
        if reduction not in CHOICES:
            raise ValueError(f"reduction must be one of {CHOICES}, found {reduction!r}")
        self._reduction = reduction
        if isinstance(self._action, HaarAction) and (loss == "sum" or ridge > 0):
            raise ValueError(
                f'loss must be "mean" and ridge 0 under {self._action.group.name}, found loss={loss!r}, '
                f"ridge={ridge}: both would depend on the number of group elements, which is arbitrary here"
            )
        if store is not None and not isinstance(store, (str, Path, Store)):
            raise TypeError(f"store must be a path or a Store, found {store!r}")
        store = Store(store) if isinstance(store, (str, Path)) else store
        if executor is not None:
            check_executor(executor)
            check_workers(executor)
            if store is None:
                raise ValueError("store must be a folder that all workers of the executor see, found None")
        if solver == "krylov":
            solver = solvers.Krylov(tolerance=KRYLOV_TOLERANCE[self._kernel.dtype])
        self._means = Means(solver, store, executor)
        if progress is not None and not isinstance(progress, bool) and not callable(progress):
            raise TypeError(f"progress must be callable as progress(label, done, total), or a bool, found {progress!r}")
        self._progress = progress
        self._fitted: Fitted | None = None

    def fit(self, x: Any, y: Any, covariance: bool = False) -> Self:
        """Assemble and factorise the Gram blocks of the augmented training set.

        Parameters
        ----------
        x : array [n, ...]
            Base samples, before augmentation.
        y : array [n, k]
            Their labels.
        covariance : bool
            Assemble at once what covariances and members need, all irreps of both kernels, in the mean's pass
            over the kernel. Otherwise the first use of them makes a second pass.

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
        store that has them, none of it. With covariance: for each irrep of the group, and 24 (n d)^2 bytes:
        eigenvectors and the NNGP's block are kept, the NTK's block besides while it is factorised.
        """
        x = as_samples(x, largest=_LARGEST[self._kernel.dtype])
        y = as_labels(y, len(x), None if self._output is None else self._output.dim)
        if isinstance(arch := getattr(self._kernel, "architecture", None), Sequential):
            arch.check(x.shape[1:])
        if isinstance(self._kernel, AnalyticKernel):
            self._kernel.check_scale(x)
        self._action.check_shape(x.shape[1:])
        with progress_bar(self._progress) as progress:
            if covariance and isinstance(self._means.solver, solvers.Krylov):
                raise ValueError(_NO_COVARIANCE.format(self._means.solver))
            problem = pose(self._kernel, self._action, self._output, x, y, self._reduction)
            self._fitted = fit_problem(self._kernel, problem, self._clock, self._means, progress, covariance)
        return self

    @property
    def timescales(self) -> np.ndarray:
        """Decay times 1/lambda of the flow's resolved modes in the user's clock, ascending: [modes] float64.

        With a Krylov space those of its Ritz values, of 20 products at least: the earliest are found first, and the
        latest is a lower bound.
        """
        fitted = self._trained("timescales")
        blocks = tuple(
            block.begun(labels) if isinstance(block, KrylovBlock) else block
            for block, labels in zip(fitted.spectra, fitted.labels, strict=True)
        )
        self._fitted = replace(fitted, spectra=blocks)
        return solvers.timescales(blocks, fitted.rate, fitted.ridge)

    @property
    def reduction(self) -> str:
        """Which path `fit` took: "orbit", or "explicit" where the augmented set was listed."""
        return self._trained("reduction").problem.reduction

    @property
    def solver(self) -> str:
        """How `fit` solved: "dense" or "krylov"."""
        return "krylov" if isinstance(self._trained("solver").spectra[0], KrylovBlock) else "dense"

    def predict(self, x_test: Any, times: Any, covariance: str | None = None) -> Law:
        """Predict the law of the ensemble at any training times.

        Parameters
        ----------
        x_test : array [m, ...]
            Test points.
        times : float or array [T]
            Training times >= 0 in any order, np.inf included.
        covariance : {None, "diagonal", "full"}
            "diagonal" adds Sigma_t(x, x) and never forms a matrix of test points, "full" adds Sigma_t(x, x').

        Returns
        -------
        Law
            With `mean` [T, m, k], `variance` [T, m] or `covariance` [T, m, m], float64.

        Raises
        ------
        RuntimeError
            Before `fit`.
        TypeError, ValueError
            For test points that are not finite or of another shape, times that are negative or NaN, or
            another `covariance`.

        Notes
        -----
        Cost: m n |G| kernel entries, m (n d)^2 for each irrep of the output, and m n d k for each time.
        With a covariance 2 m d (n d)^2 operations for each irrep of the group and each time, "full"
        2 m^2 n d^2 more. Memory above the blocks that `fit` lists: a few tiles; "full" 16 m n |G| bytes for
        the test points' kernels, 16 m^2 for each time, and 24 m^2.
        Source: Lee et al. 2019, eq. 10 and 11; Gerken & Kessel 2024, section 4.
        """
        if covariance not in COVARIANCES[:3]:
            raise ValueError(f'covariance must be None, "diagonal" or "full", found {covariance!r}')
        law, _ = self._evaluate("predict", x_test, times, covariance)
        warn_of_cuts(law.times, law.cut, self._kernel.dtype)
        warn_of_truncation(law)
        (block, *_) = self._trained("predict").spectra
        if isinstance(block, KrylovBlock):
            warn_of_error(law.times, law.error, block.how.tolerance, self._kernel.dtype)
        return law

    def sample(self, x_test: Any, times: Any, members: int, seed: int, coupled: bool = False) -> np.ndarray:
        """Draw infinitely wide members, jointly over the test points.

        Parameters
        ----------
        x_test : array [m, ...]
            Test points; a whole orbit of one among them shows how far members are from equivariant.
        times : float or array [T]
            Training times >= 0 in any order, np.inf included.
        members : int
            M, at least 1. The first of more are the same.
        seed : int
            Of the draws.
        coupled : bool
            Follow each member through all times; otherwise draws at different times are independent.

        Returns
        -------
        array [T, M, m, k] float64

        Raises
        ------
        RuntimeError
            Before `fit`.
        TypeError, ValueError
            For test points or times as in `predict`, members or a seed that are no integers or out of range.

        Notes
        -----
        Cost: that of the full covariance, then 9 m^3 operations for each time, coupled 9 (T m)^3 and about
        40 (T m)^2 + 32 T m n |G| bytes; 2 M k m^2 for each time, coupled 2 M k (T m)^2; 24 T M m k bytes.
        Members repeat on every machine up to rounding, about 1e-8 where there is no variance: see
        `solvers.symmetric_root`. Under a compact group degrees above half the band limit are missing.
        Source: Lee et al. 2019, section 2; docs/law.md, members.
        """
        members, seed = as_integer(members, "members", 1), as_integer(seed, "seed", 0)
        points = len(np.atleast_1d(x_test))
        shape = (np.size(times), members, points, self._trained("sample").problem.y.shape[1])
        check_room("times and members", shape, "[times, members, test points, outputs]")
        law, drawn = self._evaluate("sample", x_test, times, "joint" if coupled else "full")
        warn_of_cuts(law.times, law.cut, self._kernel.dtype)
        warn_of_truncation(law)
        assert drawn is not None
        eps = float(np.finfo(self._kernel.dtype).eps)
        if coupled:
            roots = solvers.symmetric_root(drawn.covariance, drawn.scale, eps)
        else:
            roots = np.stack([solvers.symmetric_root(each, drawn.scale, eps) for each in drawn.covariance])
        return solvers.draw(law.mean, roots, members, np.random.default_rng(seed))

    def _evaluate(self, name: str, x_test: Any, times: Any, covariance: str | None) -> tuple[Law, Drawn | None]:
        fitted, times, x_test = self._checked(name, x_test, times)
        if covariance == "joint":
            check_room("times", (len(times) * len(x_test),) * 2, "[times x test points, times x test points]")
        elif covariance == "full":
            check_room("times", (len(times), len(x_test), len(x_test)), "[times, test points, test points]")
        with progress_bar(self._progress) as progress:
            if covariance and not fitted.blocks:
                if self.solver == "krylov":
                    found = 'a Krylov space, which "auto" chose' if self._means.solver == "auto" else self._means.solver
                    raise ValueError(_NO_COVARIANCE.format(found))
                fitted = self._fitted = with_covariance(self._kernel, fitted, self._means, progress)
            law, drawn, self._fitted = evaluate(self._kernel, fitted, self._filter, x_test, times, covariance, progress)
        return law, drawn

    def jacobian(self, x_test: Any, times: Any) -> np.ndarray:
        """Differentiate the mean of the ensemble with respect to the test points.

        Parameters
        ----------
        x_test : array [m, ...]
            Test points.
        times : float or array [T]
            Training times >= 0 in any order, np.inf included.

        Returns
        -------
        array [T, m, k, ...] float64
            d mu_t / d x. Where a ReLU network's mean has a kink, on the training orbits, the mean of the
            one-sided derivatives.

        Raises
        ------
        RuntimeError
            Before `fit`.
        TypeError, ValueError
            For test points or times as in `predict`, a kernel that is not `kernels.analytic(...)`, or points
            where the mean has no derivative: without bias, blank patches and the zero sample.

        Notes
        -----
        Under a compact group the nodes stay fixed under the derivative, which is exact as the nodes become many.
        Cost: for kernels of inner products, three kernel entries for each of m n |G| pairs and 3 T k times the
        size of a sample; others, T k backward passes for each pair.
        """
        fitted, times, x_test = self._checked("jacobian", x_test, times)
        if not isinstance(self._kernel, AnalyticKernel):
            raise TypeError(f"jacobian needs a network or kernels.analytic(...), found {self._kernel!r}")
        shape = (len(times), len(x_test), fitted.problem.y.shape[1], *fitted.sample_shape)
        check_room("times", shape, "[times, test points, outputs, ...]")
        # Coefficients that are turned, with what they are made of and made into.
        n, k = fitted.problem.y.shape
        turned = (3, elements_at_once(fitted.problem.action), n, len(times), k)
        check_room("times", turned, "[arrays, elements, samples, times, outputs]")
        with progress_bar(self._progress) as progress:
            self._fitted, learnt = learn(fitted, self._filter, times, progress)
        out = mean_jacobian(self._kernel, fitted, learnt, x_test, times)
        warn_of_cuts(times, np.sum([each.cut for each in learnt], axis=0), self._kernel.dtype)
        for block, each in zip(self._fitted.spectra, learnt, strict=True):
            if isinstance(block, KrylovBlock):
                warn_of_error(times, each.error, block.how.tolerance, self._kernel.dtype)
        return out

    def _checked(self, name: str, x_test: Any, times: Any) -> tuple[Fitted, np.ndarray, np.ndarray]:
        fitted = self._trained(name)
        x_test = as_samples(x_test, "x_test", fitted.sample_shape, _LARGEST[self._kernel.dtype])
        if isinstance(self._kernel, AnalyticKernel):
            self._kernel.check_scale(x_test, "x_test")
        times = solvers.check_times(times)
        check_room("times", (len(times), len(x_test), fitted.problem.y.shape[1]), "[times, test points, outputs]")
        if self.solver == "krylov":
            turned = name == "jacobian"
            order = sum(
                labels.shape[1] * (block.rows if turned or block.basis is None else block.basis.shape[1])
                for block, labels in zip(fitted.spectra, fitted.labels, strict=True)
            )
            # Coefficients, those of the call before, and for derivatives both as a whole and turned by an element.
            check_room("times", (4 if turned else 2, len(times), order), "[arrays, times, coefficients]")
        return fitted, times, x_test

    def _trained(self, name: str) -> Fitted:
        if self._fitted is None:
            raise RuntimeError(f"call fit(x, y) before {name}")
        return self._fitted
