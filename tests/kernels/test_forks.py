"""A child that was forked after JAX had been used is told so at once; others go on working."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")

PROGRAM = """
import os, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
import haarflow as hf
from haarflow import kernels, solvers
network = kernels.Sequential(kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
x = np.random.default_rng(0).standard_normal((300, 5))

def kernel():
    return kernels.analytic(network)(x).ntk[0, 0]

def ensemble():
    return hf.DeepEnsemble(network).fit(x, x).predict(x, 1.0).mean[0, 0, 0]

def members():
    finite = hf.FiniteEnsemble(network, 8, 2).fit(x, x, 1)
    return finite.predict(x)[0, 0, 0, 0]

def numbers():
    return solvers.eigendecompose(np.eye(40)).predict(np.eye(40), solvers.GradientFlow(), [1.0], 1.0, np.ones((40, 1)))

def jax_alone():
    import jax.numpy as jnp
    return jnp.ones(3).sum()

before, *after = (globals()[name] for name in sys.argv[1:])
before()
for work in after:
    pid = os.fork()
    if pid == 0:
        start = time.process_time()
        try:
            print(f"{work.__name__}: found {work()!s:.10}", flush=True)
        except RuntimeError as error:
            print(f"{work.__name__}: {error}: {time.process_time() - start:.1f} s", flush=True)
        os._exit(0)
    end = time.monotonic() + 30
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            print(f"{work.__name__}: it hangs", flush=True)
            break
        time.sleep(0.01)
"""


def forked(before, *after):
    """What children say that do one thing each, by its name, after their parent has done another."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, before, *after], capture_output=True, text=True, timeout=280, check=False
    )
    assert run.returncode == 0, run.stderr
    return dict(line.split(": ", 1) for line in run.stdout.splitlines())


@pytest.mark.parametrize("before", ["kernel", "jax_alone"])
def test_a_child_without_jaxs_threads_is_told_what_to_do(before):
    said = forked(before, "kernel", "ensemble", "members", "numbers")
    assert said.pop("numbers").startswith("found ")
    for each in said.values():
        assert "forked from one that had used JAX" in each
        assert 'get_context("spawn")' in each
        assert float(each.rpartition(": ")[2].removesuffix(" s")) < 1


def test_a_child_of_a_process_that_has_not_used_jax_goes_on():
    said = forked("numbers", "kernel", "numbers")
    assert all(each.startswith("found ") for each in said.values())
