"""A run that is killed, or loses its power, at any moment continues where it stopped, to the same bits."""

import time

import numpy as np
import pytest
from reliability.hooks import MOMENTS
from reliability.trials import check_resumed, damages, finished, judge, seeds

from haarflow.kernels import Store

pytestmark = pytest.mark.reliability


def resume(zygote, case, store, kind):
    """Run to the end; what was finished is not computed again."""
    before = finished(store)
    outcome = zygote.run(store, how=case.how)
    assert judge(kind, outcome, case.result, store) == "same"
    assert outcome.warned == []
    check_resumed(case, before, outcome)
    # Only what was never renamed is left over, and goes.
    assert set(damages(store)) <= {"left over from an interrupted run"}
    Store(store).prune(damaged=True)
    assert damages(store) == []


def test_every_write_has_all_its_moments(cases):
    """In their order: of the store's folder, of the marker and of every entry."""
    for case in cases:
        assert case.outcome.moments == [MOMENTS[-1], *MOMENTS * len(case.sizes)]


@pytest.mark.parametrize("seed", seeds(50))
def test_killed_at_a_moment_of_a_write(zygote, case, store, seed):
    moment = int(np.random.default_rng([1, seed]).integers(1, len(case.outcome.moments) + 1))
    assert zygote.run(store, how=case.how, hooks={"kill_at": {"moment": moment}}).killed
    resume(zygote, case, store, "killed at a moment of a write")


@pytest.mark.parametrize("seed", seeds(50))
def test_killed_at_any_time(zygote, case, store, seed):
    rng = np.random.default_rng([2, seed])
    for share in rng.random(rng.integers(1, 4)):  # up to three times
        run = zygote.start(store, how=case.how)
        time.sleep(share * case.outcome.seconds)
        run.kill()
        ended = run.wait()
        assert ended.killed or ended.status == 0
    resume(zygote, case, store, "killed at any time")


@pytest.mark.parametrize("seed", seeds(20))
def test_power_cut_at_a_moment_of_a_write(zygote, case, store, seed):
    """What was not flushed is lost in part; a file under its name was flushed, so none is damaged."""
    moment = int(np.random.default_rng([3, seed]).integers(1, len(case.outcome.moments) + 1))
    assert zygote.run(store, how=case.how, hooks={"cut_power_at": {"moment": moment, "seed": seed}}).killed
    resume(zygote, case, store, "power cut")
