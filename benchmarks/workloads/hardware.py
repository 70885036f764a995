"""The machine in words, and what it can do: its GEMM rate and its memory bandwidth, measured."""

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

__all__ = ["Rates", "machine", "measure_rates"]

_PACKAGES = ("haarflow", "jax", "numpy", "scipy", "neural-tangents")


@dataclass(frozen=True)
class Rates:
    """What the machine reached.

    Attributes
    ----------
    gemm : dict of str to float
        dtype -> floating-point operations per second of a product of square matrices by NumPy's BLAS.
    bandwidth : float
        Bytes per second, read and written, of a copy in memory by all cores.
    """

    gemm: dict[str, float]
    bandwidth: float

    def __str__(self) -> str:
        gemm = ", ".join(f"{rate / 1e9:.3g} GF/s in {dtype}" for dtype, rate in self.gemm.items())
        return f"GEMM {gemm}; memory {self.bandwidth / 1e9:.3g} GB/s"


def machine() -> dict[str, Any]:
    """Say on what figures are measured: Python, cores, BLAS threads where threadpoolctl tells, versions."""
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "threads": _threads(),
        "processor": platform.machine(),
        **{name: found for name in _PACKAGES if (found := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(package)
    return None


def _threads() -> int | None:
    """Return how many threads NumPy's BLAS takes; None where that is not known."""
    with suppress(ImportError):
        from threadpoolctl import threadpool_info

        found = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        return max(found, default=None)
    return None


def measure_rates(side: int = 2000, megabytes: int = 256, repeats: int = 3) -> Rates:
    """Measure GEMM and memory, the best of some repeats each.

    Parameters
    ----------
    side : int
        Of the matrices, [side, side].
    megabytes : int
        Size of the array that is copied; well above all caches.
    repeats : int
        Of each measurement.

    Returns
    -------
    Rates

    Notes
    -----
    Cost: 2 side^3 operations and 2 `megabytes` of traffic for each repeat, about 2 s in all on two cores.
    A copy counts the bytes read and the bytes written, not the lines that a cache may read before it writes them.
    """
    gemm = {}
    for dtype in ("float64", "float32"):
        a, b = (np.random.default_rng(seed).random((side, side)).astype(dtype) for seed in range(2))
        c = np.empty_like(a)
        seconds = _best(lambda a=a, b=b, c=c: np.matmul(a, b, out=c), repeats)  # type: ignore[misc]
        gemm[dtype] = 2 * side**3 / seconds
    source = np.ones(megabytes * 10**6 // 8)
    target = np.zeros_like(source)
    cores = os.cpu_count() or 1
    parts = [slice(k * len(source) // cores, (k + 1) * len(source) // cores) for k in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        seconds = _best(lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), parts)), repeats)
    return Rates(gemm, 2 * source.nbytes / seconds)


def _best(work: Callable[[], Any], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
