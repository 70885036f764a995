"""What the tests of the store keep in it, and a second process that may only read."""

import subprocess
import sys

import numpy as np

from haarflow import kernels

KEY = {"architecture": "Dense", "samples": 3, "ridge": 0.5}


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "block": rng.standard_normal((30, 30)),
        "small": np.float32([1.5, np.nan, -0.0]),
        "scalar": np.float64(2),
        "none": np.empty((0, 3)),
    }


def only_file(store):
    (path,) = store.path.glob("*.h5")
    return path


class CountingKernel:
    """A network's kernel that notes how many rows each of its calls has."""

    dtype = "float64"

    def __init__(self, network):
        self.kernel = kernels.analytic(network)
        self.content_key = network.key
        self.rows = []

    def __call__(self, x1, x2=None):
        self.rows.append(len(x1))
        return self.kernel(x1, x2)


_PROGRAM = """
import sys
sys.path[:0] = ["tests", "tests/ensembles"]
import haarflow.training as training
def refuse(*args, **kwargs):
    raise AssertionError("a training kernel was evaluated")
if sys.argv[2] == "second":
    training.orbit_gram = refuse
from MODULE import run
sys.stdout.buffer.write(run(sys.argv[1]).tobytes())
"""


def from_two_processes(module, store):
    """The bytes that a test module's run(store) gives in a first process, and in one without training kernels."""
    program = _PROGRAM.replace("MODULE", module)
    outputs = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program, str(store), turn], capture_output=True, check=False
        )
        for turn in ("first", "second")
    ]
    for output in outputs:
        assert output.returncode == 0, output.stderr.decode()
    return [output.stdout for output in outputs]
