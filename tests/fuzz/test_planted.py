"""The fuzzer can fail: each planted fault is found, by an ensemble that is right without it."""

from itertools import chain

import pytest
from fuzz.extended import EXTENDED
from fuzz.faults import FAULTS, FOUND_BY
from fuzz.judge import judge

# Half of all faults are found by the first ten seeds; some need a group, an output and data that go together.
MOST = 500


@pytest.mark.skipif(not EXTENDED, reason="extended floats are no longer than float64 here")
@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_found(name, monkeypatch):
    owner, attribute, planted = FAULTS[name]()
    for seed in chain([FOUND_BY[name]], range(MOST)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, attribute, planted)
            found = judge(seed).faults
        if found and not judge(seed).faults:
            return
    pytest.fail(f"{MOST} ensembles were right although {name}")
