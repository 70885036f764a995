"""A training of finite networks that is killed at any time ends with the bits of one that was not."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from reliability import members
from reliability.trials import seeds

from haarflow.kernels import Store

pytestmark = pytest.mark.reliability
PROGRAM = [sys.executable, str(Path(members.__file__))]


@pytest.fixture(scope="module")
def undisturbed():
    return members.outputs(None)


@pytest.mark.parametrize("seed", seeds(10))
def test_a_killed_training_ends_with_the_same_bits(undisturbed, tmp_path, seed):
    store, out = tmp_path / "store", tmp_path / "out.npy"
    rng, kept, killed = np.random.default_rng(seed), 0, 0
    for _ in range(2):
        run = subprocess.Popen([*PROGRAM, str(store), str(out)])
        # Killed once it has kept so many files more, and a moment later.
        wanted, limit = kept + int(rng.integers(1, 8)), time.monotonic() + 60
        while run.poll() is None and len(list(store.glob("members-*"))) < wanted and time.monotonic() < limit:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.03)
        run.kill()
        killed += run.wait() == -signal.SIGKILL
        kept = len(list(store.glob("members-*")))
    assert killed > 0
    subprocess.run([*PROGRAM, str(store), str(out)], check=True, timeout=120)
    assert np.array_equal(np.load(out), undisturbed)
    steps = sorted(entry.key["step"] for entry in Store(store).entries() if entry.kind == "members")
    assert steps == sorted(3 * [*range(0, 161, 20)])
