"""The fuzzer can fail: each planted fault is found, by an ensemble that is right without it."""

import pytest
from fuzz.extended import EXTENDED
from fuzz.faults import FAULTS
from fuzz.judge import judge

# Most are found by one of the first ten; some need a group, an output and data that go together.
MOST = 400


@pytest.mark.skipif(not EXTENDED, reason="extended floats are no longer than float64 here")
@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_found(name, monkeypatch):
    owner, attribute, planted = FAULTS[name]()
    for seed in range(MOST):
        with monkeypatch.context() as patch:
            patch.setattr(owner, attribute, planted)
            found = judge(seed).faults
        if found and not judge(seed).faults:
            return
    pytest.fail(f"{MOST} ensembles were right although {name}")
