"""Shared by the benchmarks: the machine in words, timing, and results as JSON."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Say on what the figures were measured."""
    packages = {name: version(name) for name in ("haarflow", "jax", "numpy", "scipy")}
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        **packages,
    }


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the median time in seconds of `repeats` runs, and the last result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def write_json(path: str | Path | None, results: dict[str, Any]) -> None:
    """Write results with the machine they were measured on."""
    if path is not None:
        Path(path).write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n", encoding="utf-8")
