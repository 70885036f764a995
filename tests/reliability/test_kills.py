"""A run that is killed, or loses its power, at any moment continues where it stopped, to the same bits."""

import time

import numpy as np
import pytest
from reliability.hooks import MOMENTS
from reliability.program import CORNERS
from reliability.trials import damages, finished, judge, seeds

from haarflow.kernels import Store

pytestmark = pytest.mark.reliability


def resume(zygote, store, reference, kind):
    """Run to the end; what was finished is not computed again."""
    before = finished(store) if (store / "haarflow-store.json").exists() else set()
    spectrum = list(store.glob("spectrum-*"))
    outcome = zygote.run(store)
    assert judge(kind, outcome, reference, store) == "same"
    assert outcome.warned == []
    assert sorted(outcome.computed) == ([] if spectrum else sorted(set(CORNERS) - before))
    # Only what was never renamed is left over, and goes.
    assert set(damages(store)) <= {"left over from an interrupted run"}
    Store(store).prune(damaged=True)
    assert damages(store) == []
    assert zygote.run(store).computed == ()


def test_every_write_has_all_its_moments(undisturbed):
    """In their order: of the marker, the tiles and the spectrum."""
    assert undisturbed[1].moments == MOMENTS * (1 + len(CORNERS) + 1)


@pytest.mark.parametrize("seed", seeds(50))
def test_killed_at_a_moment_of_a_write(zygote, store, undisturbed, reference, seed):
    moment = int(np.random.default_rng([1, seed]).integers(1, len(undisturbed[1].moments) + 1))
    assert zygote.run(store, hooks={"kill_at": {"moment": moment}}).killed
    resume(zygote, store, reference, "killed at a moment of a write")


@pytest.mark.parametrize("seed", seeds(50))
def test_killed_at_any_time(zygote, store, undisturbed, reference, seed):
    rng = np.random.default_rng([2, seed])
    for share in rng.random(rng.integers(1, 4)):  # up to three times
        run = zygote.start(store)
        time.sleep(share * undisturbed[1].seconds)
        run.kill()
        ended = run.wait()
        assert ended.killed or ended.status == 0
    resume(zygote, store, reference, "killed at any time")


@pytest.mark.parametrize("seed", seeds(20))
def test_power_cut_at_a_moment_of_a_write(zygote, store, undisturbed, reference, seed):
    """What was not flushed is lost in part; a file under its name was flushed, so none is damaged."""
    moment = int(np.random.default_rng([3, seed]).integers(1, len(undisturbed[1].moments) + 1))
    assert zygote.run(store, hooks={"cut_power_at": {"moment": moment, "seed": seed}}).killed
    resume(zygote, store, reference, "power cut")
