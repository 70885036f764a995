"""Importing and using haarflow leaves a user's JAX as it was."""

import gc
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from haarflow.kernels.backend import check_dtype, compiled, precision, to_numpy, x64

MAPS = Path("/proc/self/maps")


def dtype_here():
    return jnp.ones(2).dtype


def test_the_scope_ends():
    before = dtype_here()
    assert before == jnp.float32
    with x64():
        assert dtype_here() == jnp.float64
        with precision("float32"):
            assert dtype_here() == jnp.float32
    assert dtype_here() == before


def test_an_exception_ends_the_scope():
    with pytest.raises(RuntimeError, match="on purpose"), x64():
        raise RuntimeError("on purpose")
    assert dtype_here() == jnp.float32


def test_other_threads_are_not_touched():
    inside, done, seen = threading.Event(), threading.Event(), []

    def other():
        inside.wait(10)
        seen.append(dtype_here())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with x64():
        inside.set()
        done.wait(10)
    thread.join()
    assert seen == [jnp.float32]


def test_results_are_writable_copies():
    source = jnp.arange(3.0)
    copy = to_numpy(source)
    copy[0] = 7
    assert isinstance(copy, np.ndarray)
    assert source[0] == 0


def test_host_copies_keep_double_precision():
    with x64():
        copy = to_numpy(jax.jit(lambda x: x / 3)(np.float64(1)))
    assert copy.dtype == np.float64
    assert copy == np.float64(1) / 3


@pytest.mark.parametrize("good", ["float64", "float32", np.float32, np.dtype("float64"), float, "f4"])
def test_dtypes(good):
    assert check_dtype(good) == np.dtype(good)


# To NumPy, None is float64.
@pytest.mark.parametrize("wrong", ["float16", "int32", "complex128", ">f8", "double precision", None, 64, "f8,"])
def test_other_dtypes_are_refused(wrong):
    for refuse in (check_dtype, precision):
        with pytest.raises(ValueError, match='dtype must be "float64" or "float32", found'):
            refuse(wrong)


@pytest.mark.parametrize("outer", [False, True])
def test_precision_is_that_of_the_dtype_whatever_is_around(outer):
    with x64(outer):
        before = dtype_here()
        for dtype in ("float64", "float32"):
            with precision(dtype):
                assert dtype_here() == dtype
            assert dtype_here() == before


def test_threads_enter_their_own_scopes():
    together, seen = threading.Barrier(2), {}

    def one(dtype):
        with precision(dtype):
            together.wait(10)
            seen[dtype] = dtype_here()
            together.wait(10)

    threads = [threading.Thread(target=one, args=(dtype,)) for dtype in ("float32", "float64")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"float32": jnp.float32, "float64": jnp.float64}


PROGRAM = """
import logging, os, sys, time, warnings
import jax
import scipy.sparse, scipy.special  # they add filters of their own
before = (jax.config.values.copy(), list(warnings.filters), logging.root.level, os.getcwd())
start = time.perf_counter()
import haarflow as hf
elapsed = time.perf_counter() - start
import numpy as np, jax.numpy as jnp
net = hf.kernels.Sequential(hf.kernels.Dense(), hf.kernels.Relu(), hf.kernels.Dense())
hf.DeepEnsemble(net).fit(np.eye(3), np.eye(3)).predict(np.eye(3), 1.0)
assert (jax.config.values, list(warnings.filters), logging.root.level, os.getcwd()) == before
assert jnp.ones(1).dtype == jnp.float32
assert not {"tensorflow", "matplotlib", "sklearn", "neural_tangents"} & set(sys.modules)
print(elapsed)
"""


def test_nothing_global_changes():
    run = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 10  # a loaded machine; benchmarks measure it


def test_a_users_program_is_not_recompiled():
    step = jax.jit(lambda x: x + 1)
    step(jnp.ones(3))
    before = step._cache_size()
    with x64():
        time.sleep(0)
    step(jnp.ones(3))
    assert step._cache_size() == before


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux lists a process's memory maps")
def test_programs_do_not_pile_up():
    program = compiled(lambda static, x: jnp.sin(x) * static)

    def maps():
        gc.collect()
        return len(MAPS.read_text().splitlines())

    counts = []
    for start in (0, 80, 160, 240):
        for static in range(start, start + 80):
            assert program(static, np.float32(2)) == pytest.approx(np.sin(2) * static, rel=1e-6)
        counts.append(maps())
    assert counts[-1] < counts[0] + 80
