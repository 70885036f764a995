"""Random small ensembles against the list: 300 of them, or as many as HAARFLOW_FUZZ says.

`HAARFLOW_FUZZ=20000 pytest tests/fuzz --dist load` takes minutes; `PYTHONPATH=tests python -m fuzz` says how fast.
"""

import os

import numpy as np
import pytest
from fuzz.extended import EXTENDED
from fuzz.judge import judge
from strategies import FULL

COUNT = int(os.environ.get("HAARFLOW_FUZZ", 6000 if FULL else 300))
SHARDS = max(4, -(-COUNT // 500))


@pytest.mark.skipif(not EXTENDED, reason="extended floats are no longer than float64 here")
@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_ensembles_against_the_list(shard):
    verdicts = [judge(seed) for seed in range(shard, COUNT, SHARDS)]
    wrong = [str(verdict) for verdict in verdicts if verdict.faults]
    assert not wrong, "\n\n".join(wrong)
    bounds = [b for verdict in verdicts for part in verdict.bounds.values() for b in part]
    assert np.median(bounds) < 1e-10
    assert np.mean(np.array(bounds) > 1e-6) < 0.35, "too many laws whose numbers nobody can know"
