"""What the tests of the store keep in it, a disk that refuses, and a second process that may only read."""

import io
import os
import subprocess
import sys
from pathlib import Path

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


class _Unread(io.BufferedReader):
    """A file whose first line can be read, and nothing else."""

    def __init__(self, descriptor, fail):
        super().__init__(io.FileIO(descriptor))
        self._fail = fail

    def read(self, *_):
        self._fail()

    readinto = read


def refuse(code, where, wanted, put=setattr):
    """Let the system refuse to look at, to open or to read the files for which wanted(path), by one of its errors.

    `put` may be a monkeypatch's setattr.
    """
    stat, lstat, opening, wrapping = os.stat, os.lstat, os.open, os.fdopen

    def fail(*_):
        raise OSError(code, os.strerror(code))

    def chosen(path):
        return isinstance(path, (str, Path)) and wanted(Path(path))

    def look_or_fail(path, *args, **kwargs):
        return fail() if chosen(path) else stat(path, *args, **kwargs)

    def look_at_link_or_fail(path, *args, **kwargs):
        return fail() if chosen(path) else lstat(path, *args, **kwargs)

    def open_or_fail(path, *args, **kwargs):
        return fail() if chosen(path) else opening(path, *args, **kwargs)

    def wrap(descriptor, *args, **kwargs):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        return _Unread(descriptor, fail) if chosen(path) else wrapping(descriptor, *args, **kwargs)

    # Path.lstat calls the one or the other, by Python's version.
    look = {"stat": look_or_fail, "lstat": look_at_link_or_fail}
    for name, function in {"look": look, "open": {"open": open_or_fail}, "read": {"fdopen": wrap}}[where].items():
        put(os, name, function)


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
