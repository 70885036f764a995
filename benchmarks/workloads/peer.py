"""neural-tangents beside ours: its kernels at the best of several batch sizes, and its ensembles on listed sets."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import jax
import numpy as np

from haarflow import kernels
from haarflow.bench.measuring import timed
from haarflow.groups import Action
from haarflow.kernels import KernelPair
from haarflow.kernels.backend import to_numpy, x64

__all__ = ["PeerEnsemble", "PeerKernel", "PeerTime", "Trial", "peer_missing"]


def peer_missing() -> str | None:
    """Return why neural-tangents cannot be run and how to install it; None where it can."""
    try:
        kernels.neural_tangents()
    except ImportError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class Trial:
    """How fast the peer was at one batch size.

    Attributes
    ----------
    batch : int
        Samples on each side of one call.
    x64 : bool
        Whether JAX's 64-bit scope was on; float32 inputs are tried in both scopes.
    pairs_per_second : float
        Pairs of samples, both kernels of each.
    """

    batch: int
    x64: bool
    pairs_per_second: float


@dataclass(frozen=True)
class PeerTime:
    """The peer's time for a Gram matrix, and what was tried to make it short.

    Attributes
    ----------
    seconds : float
        For all pairs, scaled up from the rows that were timed.
    found : KernelPair
        Both kernels of those rows.
    trials : list of Trial
        All batch sizes and scopes; the fastest was taken.
    best : Trial
        That one.
    scaled_by : float
        All pairs over the pairs that were timed.
    """

    seconds: float
    found: KernelPair
    trials: list[Trial]
    best: Trial
    scaled_by: float

    @property
    def note(self) -> str:
        """The rate at each batch size, in words."""
        both = len({trial.x64 for trial in self.trials}) > 1
        words = ", ".join(
            f"{trial.pairs_per_second:.3g} at {trial.batch}"
            + (f" (x64 {'on' if trial.x64 else 'off'})" if both else "")
            for trial in self.trials
        )
        part = "" if self.scaled_by == 1 else f"; timed on 1/{self.scaled_by:.3g} of the pairs and scaled"
        return f"neural-tangents' pairs/s by batch size: {words}{part}"

    @property
    def detail(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "peer_trials": [asdict(trial) for trial in self.trials],
            "peer_batch": self.best.batch,
            "peer_x64": self.best.x64,
            "peer_scaled_by": self.scaled_by,
        }


class PeerKernel:
    """A jitted stax kernel_fn that is asked for NNGP and NTK in one call, block by block.

    Parameters
    ----------
    arch : Sequential
        The network.
    dtype : {"float64", "float32"}
        Of its inputs.
    """

    def __init__(self, arch: kernels.Sequential, dtype: str = "float64") -> None:
        kernel_fn = kernels.to_neural_tangents(arch)[2]
        self._compiled = jax.jit(lambda x1, x2: kernel_fn(x1, x2, ("nngp", "ntk")))
        self._dtype = dtype

    def gram(self, x1: np.ndarray, x2: np.ndarray, batch: int, wide: bool = True) -> KernelPair:
        """Return both kernels [n1, n2].

        Parameters
        ----------
        x1, x2 : array [n1, ...], [n2, ...]
            Samples.
        batch : int
            Samples on each side of one call.
        wide : bool
            Whether JAX's 64-bit scope is on.
        """
        x1, x2 = np.asarray(x1, self._dtype), np.asarray(x2, self._dtype)
        rows: tuple[list[list[np.ndarray]], list[list[np.ndarray]]] = ([], [])
        with x64(wide):
            for i in range(0, len(x1), batch):
                found = [self._compiled(x1[i : i + batch], x2[j : j + batch]) for j in range(0, len(x2), batch)]
                rows[0].append([to_numpy(part.nngp) for part in found])
                rows[1].append([to_numpy(part.ntk) for part in found])
        return KernelPair(*(np.block(blocks) for blocks in rows))

    def try_batches(self, x1: np.ndarray, x2: np.ndarray, batches: Sequence[int]) -> list[Trial]:
        """Time one strip of blocks, a batch of x1 with x2, at each batch size, after one warm block.

        Parameters
        ----------
        x1, x2 : array [n1, ...], [n2, ...]
            Samples.
        batches : sequence of int
            Batch sizes; those beyond the samples are cut down to them.
        """
        trials = []
        for batch in sorted({min(batch, len(x1), len(x2)) for batch in batches}):
            first, second = x1[:batch], x2[: len(x2) // batch * batch]
            for wide in (True,) if self._dtype == "float64" else (False, True):
                self.gram(first, second[:batch], batch, wide)
                start = time.perf_counter()
                self.gram(first, second, batch, wide)
                seconds = time.perf_counter() - start
                trials.append(Trial(batch, wide, len(first) * len(second) / seconds))
        return trials

    def timed_gram(
        self, x1: np.ndarray, x2: np.ndarray, trials: Sequence[Trial], repeats: int, rows: int | None = None
    ) -> PeerTime:
        """Time the Gram matrix at the fastest of the trials, after a whole run of what is timed.

        Parameters
        ----------
        x1, x2 : array [n1, ...], [n2, ...]
            Samples.
        trials : sequence of Trial
            As `try_batches` returns them.
        repeats : int
            Of which the median counts.
        rows : int, optional
            How many rows are timed, at least one batch of them; default all.
        """
        best = max(trials, key=lambda trial: trial.pairs_per_second)
        part = x1 if rows is None else x1[: max(rows, best.batch)]
        seconds, found = timed(lambda: self.gram(part, x2, best.batch, best.x64), repeats, warm_up=True)
        scaled_by = len(x1) / len(part)
        return PeerTime(seconds * scaled_by, found, list(trials), best, scaled_by)


class PeerEnsemble:
    """predict.gradient_descent_mse_ensemble with a jitted kernel_fn, on the listed augmented set.

    Parameters
    ----------
    arch : Sequential
        The network.
    """

    def __init__(self, arch: kernels.Sequential) -> None:
        self._predict_module = kernels.neural_tangents().predict
        self._kernel = jax.jit(kernels.to_neural_tangents(arch)[2], static_argnames="get")

    def fit(self, action: Action, x: np.ndarray, y: np.ndarray) -> Self:
        """List the orbits of x [n, ...] and give them with labels y [n, k], the same on an orbit, to the peer."""
        listed = action.orbit(x).reshape(-1, *x.shape[1:])
        labels = np.tile(y, (action.group.order, 1))
        with x64():
            self._predict = self._predict_module.gradient_descent_mse_ensemble(self._kernel, listed, labels)
        return self

    def predict(self, x_test: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the mean [T, m, k]: finite times in one call, inf in another."""
        finite = np.isfinite(times)
        with x64():
            mean = to_numpy(self._predict(t=times[finite], x_test=x_test, get="ntk"))
            if finite.all():
                return mean
            late = to_numpy(self._predict(t=None, x_test=x_test, get="ntk"))
        return np.concatenate([mean, late[None]])
