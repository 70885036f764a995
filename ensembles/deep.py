"""DeepEnsemble: what an infinitely wide ensemble predicts after training with full augmentation."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from haarflow import solvers
from haarflow.checks import as_means, check_choice, check_clock, check_covariance, check_sees, shown, unknown
from haarflow.cost import foretelling
from haarflow.fitted import Fitted, check_call
from haarflow.fitting import Clock, fit_problem, with_covariance
from haarflow.given import refuse_traced
from haarflow.groups import Action, HaarAction, Harmonic, HarmonicSum, Representation, no_action
from haarflow.inputs import as_integer, as_kernel, as_labels, as_number, as_output, check_room, seen_by
from haarflow.jacobian import differentiate
from haarflow.kernels import AnalyticKernel, Kernel, Sequential, Store
from haarflow.kernels.orbit_tiles import Progress
from haarflow.krylov_block import KrylovBlock
from haarflow.law import COVARIANCES, Drawn, Law, evaluate, warn_of_cuts, warn_of_error, warn_of_truncation
from haarflow.orbit_members import Asked, members_on_orbits
from haarflow.passing import Guard, as_report
from haarflow.progress import progress_bar
from haarflow.reduction import CHOICES, pose
from haarflow.stable_rate import in_learning_rates

__all__ = ["DeepEnsemble"]


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
        progress(label, done, total); default a bar on a terminal, elsewhere a `CostWarning` from ten minutes on.
    executor : distributed.Client, optional
        Whose workers compute tiles and multiply with them; they and this process see the same store.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what was found, and what would be right.

    Notes
    -----
    Cost: n^2 |G| / 2 kernel entries and (n d)^3 for each irrep of dimension d in the output, for covariances and
    members in the group. An entry is one inner product for flat samples; for convolutions on P positions P walks
    through the network under Flatten, P^2 under GlobalAvgPool (docs/performance.md).
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
        check_choice(loss, "loss", ("mean", "sum"))
        learning_rate = as_number(learning_rate, "learning_rate", positive=True)
        self._clock = Clock(loss == "mean", learning_rate, as_number(ridge, "ridge"))
        self._filter = solvers.make_filter(flow)
        check_choice(reduction, "reduction", CHOICES)
        self._reduction = reduction
        check_clock(self._action, loss, ridge)
        self._means = as_means(solver, store, executor, self._kernel.dtype)
        self._progress = as_report(progress)
        self._fitted: Fitted | None = None
        self._guard = Guard()

    def __repr__(self) -> str:
        """Show network, action and solver, and what it was fitted to."""
        return shown(self._kernel, self._action, self._output, self._fitted)

    def fit(self, x: Any, y: Any, covariance: bool = False, **others: Any) -> Self:
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
        **others
            None: whatever is given raises a TypeError that says what to do instead.

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
        store that has them, none of it; of an entry, see the class. With covariance: for each irrep of the group,
        and 24 (n d)^2 bytes: eigenvectors and the NNGP's block are kept, the NTK's besides while it is factorised.
        """
        unknown(others, "fit", "x, y and covariance", "predict(x_test, times)")
        x = seen_by(self._kernel, x)
        y = as_labels(y, len(x), None if self._output is None else self._output.dim, self._kernel.dtype)
        check_sees(self._kernel, self._action, x)
        with progress_bar(self._progress, unseen=foretelling(self._kernel, x, self._means.store)) as progress:
            if covariance and isinstance(self._means.solver, solvers.Krylov):
                check_covariance(self._means.solver, "krylov")
            problem = pose(self._kernel, self._action, self._output, x, y, self._reduction)
            fitted = fit_problem(self._kernel, problem, self._clock, self._means, progress, covariance)
        with self._guard.lock:
            self._fitted = fitted
        return self

    @property
    def timescales(self) -> np.ndarray:
        """Decay times 1/lambda of the flow's resolved modes in the user's clock, ascending: [modes] float64.

        With a Krylov space those of its Ritz values, of 20 products at least: the earliest are found first, and the
        latest is a lower bound.
        """
        fitted = self._trained("timescales").begun()
        self._keep(fitted)
        return solvers.timescales(fitted.spectra, fitted.rate, fitted.ridge)

    @property
    def reduction(self) -> str:
        """Which path `fit` took: "orbit", or "explicit" where the augmented set was listed."""
        return self._trained("reduction").problem.reduction

    @property
    def solver(self) -> str:
        """How `fit` solved: "dense" or "krylov"."""
        return self._trained("solver").solver

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
        Cost: m n |G| kernel entries (m^2 / 2 more for "full"; of an entry: see the class), m (n d)^2 for each irrep
        of the output, and m n d k for each time.
        With a covariance 2 m d (n d)^2 operations for each irrep of the group and each time, "full"
        2 m^2 n d^2 more. Memory above the blocks that `fit` lists: a few tiles; "full" 16 m n |G| bytes for
        the test points' kernels, 16 m^2 for each time, and 24 m^2.
        Source: Lee et al. 2019, eq. 10 and 11; Gerken & Kessel 2024, section 4.
        """
        if covariance not in COVARIANCES[:3]:
            raise ValueError(f'covariance must be None, "diagonal" or "full", found {covariance!r}')
        law, _, fitted = self._evaluate(self._trained("predict"), "predict", x_test, times, covariance)
        warn_of_cuts(law.times, law.cut, law.cut_share, self._kernel.dtype, covariance is not None)
        warn_of_truncation(law)
        (block, *_) = fitted.spectra
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
        refuse_traced("sample", x_test, times)
        points = len(np.atleast_1d(x_test))
        fitted = self._trained("sample")
        shape = (np.size(times), members, points, fitted.problem.y.shape[1])
        check_room("times and members", shape, "[times, members, test points, outputs]")
        law, drawn, _ = self._evaluate(fitted, "sample", x_test, times, "joint" if coupled else "full")
        warn_of_cuts(law.times, law.cut, law.cut_share, self._kernel.dtype, True)
        warn_of_truncation(law)
        assert drawn is not None
        roots = drawn.roots(self._kernel.dtype, self._progress)
        return solvers.draw(law.mean, roots, members, np.random.default_rng(seed))

    def members_needed(
        self, x: Any, delta: Any, probability: Any, times: Any, *, norm: Literal["euclidean", "max"] = "euclidean"
    ) -> np.ndarray:
        """Count the members whose mean is equivariant up to delta on the orbit of each sample.

        Parameters
        ----------
        x : array [n, ...]
            Samples, one of each orbit.
        delta : float, or array that broadcasts with [T, n]
            Allowed max_g |fbar(gx) - rho_Y(g) fbar(x)| > 0 of the members' mean fbar, in the unit of the outputs.
        probability : float, or array that broadcasts with [T, n]
            In 0 .. 1, excluded: how likely a larger one may be.
        times : float or array [T]
            Training times as for `predict`.
        norm : {"euclidean", "max"}
            |.| over all outputs: the Euclidean norm, or the largest component.

        Returns
        -------
        array [T, n] int64
            M >= 1 for each time and each sample's orbit alone.

        Raises
        ------
        RuntimeError, TypeError, ValueError
            As `predict` and `members_needed_on_orbit`, and for the average over a compact group.

        Notes
        -----
        Cost: that of the full covariance at |G| points for each sample. Source: `finite.members_needed_on_orbit`.
        """
        fitted = self._trained("members_needed")
        x, times = check_call(fitted, self._kernel, "members_needed", x, times, argument="x")
        asked = Asked(times, delta, probability, norm)
        rates = in_learning_rates(self._clock.learning_rate, fitted, self._filter)
        with rates, progress_bar(self._progress, unseen=foretelling(self._kernel, x, self._means.store)) as progress:
            fitted = self._covariant(fitted, progress)
            law_at = partial(evaluate, self._kernel, fitted, self._filter, times=times, covariance="full")
            found, cut, share = members_on_orbits(law_at, self._action, self._output, x, asked, progress)
        warn_of_cuts(times, cut, share, self._kernel.dtype, True)
        return found

    def _evaluate(
        self, fitted: Fitted, name: str, x_test: Any, times: Any, covariance: str | None
    ) -> tuple[Law, Drawn | None, Fitted]:
        x_test, times = check_call(fitted, self._kernel, name, x_test, times, covariance)
        with progress_bar(self._progress, unseen=foretelling(self._kernel, x_test, self._means.store)) as progress:
            fitted = self._covariant(fitted, progress) if covariance else fitted
            with in_learning_rates(self._clock.learning_rate, fitted, self._filter):
                law, drawn, grown = evaluate(self._kernel, fitted, self._filter, x_test, times, covariance, progress)
        self._keep(grown)
        return law, drawn, grown

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
        fitted = self._trained("jacobian")
        x_test, times = check_call(fitted, self._kernel, "jacobian", x_test, times)
        if not isinstance(self._kernel, AnalyticKernel):
            raise TypeError(f"jacobian needs a network or kernels.analytic(...), found {self._kernel!r}")
        rates = in_learning_rates(self._clock.learning_rate, fitted, self._filter)
        with rates, progress_bar(self._progress) as progress:
            grown, out = differentiate(self._kernel, fitted, self._filter, x_test, times, progress)
        self._keep(grown)
        return out

    def _covariant(self, fitted: Fitted, progress: Progress | None) -> Fitted:
        """Add all irreps' blocks where they are missing."""
        if fitted.blocks:
            return fitted
        check_covariance(self._means.solver, fitted.solver)
        fitted = with_covariance(self._kernel, fitted, self._means, progress)
        self._keep(fitted)
        return fitted

    def _keep(self, grown: Fitted) -> None:
        """Keep what a call has found out of a fit, unless another one has taken that one's place meanwhile."""
        with self._guard.lock:
            if self._fitted is not None and self._fitted.problem is grown.problem:
                self._fitted = self._fitted.joined(grown)

    def _trained(self, name: str) -> Fitted:
        if self._fitted is None:
            raise RuntimeError(f"call fit(x, y) before {name}")
        return self._fitted
