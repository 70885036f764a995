"""What the library says of a problem, held against the list."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from fuzz.listing import Listing
from fuzz.problems import Problem, draw

import haarflow as hf

__all__ = ["Verdict", "judge", "told"]

# Times what rounding changes to first order: of 10,000 ensembles none needs a quarter of it.
ROUNDING = 100.0
# Times the error that a Krylov space says it has, which is an estimate.
ESTIMATE = 10.0


@dataclass
class Verdict:
    """What was found wrong with a problem, and how far from its bounds the rest is."""

    problem: Problem
    faults: list[str] = field(default_factory=list)
    resolved: bool = False
    # Largest error of each kind, 1 being its bound, and the bounds at each time in units of what is right.
    used: dict[str, float] = field(default_factory=dict)
    bounds: dict[str, list[float]] = field(default_factory=dict)

    def __str__(self):
        told = "\n  ".join(dict.fromkeys(self.faults))
        return f"{self.problem}\n  {told}\n  again: PYTHONPATH=tests python -m fuzz --seed {self.problem.seed}"

    def hold(self, claim, *said):
        """Note a fault where a claim does not hold."""
        if not claim:
            self.faults.append(" ".join(map(str, said)))


def judge(seed):
    """Draw the problem of that seed, fit, predict, and compare."""
    problem = draw(seed)
    verdict, listing = Verdict(problem), Listing(problem)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            ensemble, answers = _ask(problem)
        except Exception as error:
            verdict.faults.append(f"{type(error).__name__}: {error}")
            return verdict
    _judge_warnings(verdict, listing, ensemble, answers, warned)
    for part, law in answers:
        _judge_law(verdict, listing, part, law)
    if ensemble.solver == "dense":
        _judge_timescales(verdict, listing, ensemble.timescales)
    return verdict


def told(seed):
    """The verdict in words, empty where nothing is wrong: what another process can send."""
    verdict = judge(seed)
    return str(verdict) if verdict.faults else ""


def _ask(problem):
    """The fitted ensemble, and for each call its times' places and the law."""
    how = {name: getattr(problem, name) for name in ("loss", "learning_rate", "ridge", "flow", "solver", "reduction")}
    ensemble = hf.DeepEnsemble(problem.kernel, action=problem.acting.action, output=problem.output, **how)
    ensemble.fit(problem.x, problem.y, covariance=problem.at_once and problem.covariance is not None)
    parts = np.array_split(np.arange(len(problem.times)), min(problem.calls, len(problem.times)))
    return ensemble, [(p, ensemble.predict(problem.x_test, problem.times[p], problem.covariance)) for p in parts]


def _judge_warnings(verdict, listing, ensemble, answers, warned):
    problem, names = listing.problem, {each.category.__name__ for each in warned}
    listed = problem.reduction == "explicit" or not listing.invariant
    verdict.hold(ensemble.reduction == ("explicit" if listed else "orbit"), "took the way", ensemble.reduction)
    expected = {"ReductionWarning"} if listed and problem.reduction == "auto" else set()
    # Modes that are left out are said, but where the labels do not meet them.
    verdict.resolved = "ResolutionWarning" not in names
    expected |= names & {"ResolutionWarning"} if any(law.cut.any() for _, law in answers) else set()
    if any(law.error is not None and (law.error > _tolerance(problem)).any() for _, law in answers):
        expected.add("ConvergenceWarning")
    verdict.hold(names == expected, "warned of", sorted(names), "in place of", sorted(expected))


def _tolerance(problem):
    default = 1e-6 if problem.kernel.dtype == "float64" else 1e-3
    return getattr(problem.solver, "tolerance", default)


def _judge_law(verdict, listing, part, law):
    verdict.hold(np.array_equal(law.times, listing.problem.times[part]), "other times than were asked for")
    # Kernels are many roundings off, and a Krylov space measures its noise.
    known = (listing.reach[part] < 1e-8) & (law.error is None) | (not listing.unsure.any())
    verdict.hold(not law.cut[known].any(), "cut", law.cut.max(), "modes that are resolved, or early")
    bound = ROUNDING * listing.eps * listing.mean_noise[part]
    if law.error is not None:
        bound = bound + ESTIMATE * _krylov(listing, law, part)
    _judge_numbers(verdict, "mean", law.mean, listing.mean[part], bound, listing.mean_lost[part], law.cut)
    if listing.problem.covariance is None:
        return
    right, noise, lost = listing.covariance[part], listing.covariance_noise[part], listing.covariance_lost[part]
    found = law.covariance
    if listing.problem.covariance == "diagonal":
        found = law.variance
        right, noise, lost = (np.einsum("tmm->tm", each) for each in (right, noise, lost))
    _judge_numbers(verdict, "covariance", found, right, ROUNDING * listing.eps * noise, lost, law.cut)


def _krylov(listing, law, part):
    """How far the mean may be when coefficients are off by as much as the law says, [T, m, k] or [T, m, 1]."""
    rows = np.linalg.norm(listing.rows[1].astype(float), axis=1)
    sizes = np.linalg.norm(listing.coefficients[part].astype(float), axis=1)
    if listing.problem.output is not None:  # which mixes columns
        sizes = np.linalg.norm(sizes, axis=1, keepdims=True)
    return law.error[:, None, None] * rows[:, None] * sizes[:, None, :]


def _judge_numbers(verdict, name, found, right, bound, lost, cut):
    """Within the bound; what hidden modes add may be missing where the law says that, and warns."""
    tiny = 1e3 * np.finfo(verdict.problem.kernel.dtype).tiny
    if found.shape != right.shape or not np.isfinite(found).all():
        verdict.faults.append(f"{name} of shape {found.shape}, {np.sum(~np.isfinite(found))} numbers not finite")
        return
    said = ((cut > 0) & (not verdict.resolved)).reshape(-1, *[1] * (found.ndim - 1))
    off, axes = np.abs(found - right).astype(float), tuple(range(1, found.ndim))
    bound = np.broadcast_to(bound + np.where(said, 2.0, 1e-3) * lost + tiny, off.shape)
    used = float((off / bound).max())
    verdict.used[name] = max(used, verdict.used.get(name, 0.0))
    size = np.abs(right).max(axis=axes).astype(float)
    verdict.bounds.setdefault(name, []).extend(bound.max(axis=axes)[size > tiny] / size[size > tiny])
    worst = np.unravel_index(np.argmax(off / bound), off.shape)
    verdict.hold(
        used <= 1, f"{name} {list(map(int, worst))}: {found[worst]:.17g} for {float(right[worst]):.17g}, off by",
        f"{off[worst]:.2g} where {bound[worst]:.2g} is allowed, {cut[worst[0]]} modes cut",
    )  # fmt: skip


def _judge_timescales(verdict, listing, timescales):
    """Each is of an eigenvalue of the list."""
    found = 1 / (timescales * listing.problem.rate)
    right = listing.values.astype(float)
    off = np.abs(found[:, None] - right).min(axis=1).max(initial=0)
    allowed = ROUNDING * listing.eps * (listing.scale + float(listing.ridge))
    verdict.hold(off <= allowed, f"a timescale's eigenvalue is off by {off:.2g} where {allowed:.2g} is allowed")
