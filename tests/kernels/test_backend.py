"""Importing and using haarflow leaves a user's JAX as it was."""

import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from haarflow.kernels.backend import check_dtype, precision, to_numpy, x64


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


def test_dtypes():
    assert check_dtype(np.float32) == np.float32
    for wrong in ("float16", "int32", "double precision"):
        with pytest.raises(ValueError, match='must be "float64" or "float32"'):
            check_dtype(wrong)


PROGRAM = """
import logging, os, sys, time, warnings
import jax
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
    compiled = step._cache_size()
    with x64():
        time.sleep(0)
    step(jnp.ones(3))
    assert step._cache_size() == compiled
