"""Workers of a Dask cluster that are killed: others do their tasks again, to the same bits."""

import json
import subprocess
import sys

import pytest
from reliability.trials import TALLY, damages, environment, seeds

pytest.importorskip("distributed")

# Slow: a worker that dies while it is sent something is given up after 30 seconds.
pytestmark = [pytest.mark.reliability, pytest.mark.slow]

# Starting a cluster takes seconds, and so does taking a killed worker's place.
SECONDS = 90


@pytest.mark.parametrize("seed", seeds(20))
def test_workers_are_killed(case, store, seed):
    program = "from reliability.cluster import main; main()"
    command = [sys.executable, "-c", program, case.solver, str(store), str(seed)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=SECONDS, check=False)
    # Not the exit status: LocalCluster may fail to close after workers died.
    assert run.stdout, run.stderr
    found = json.loads(run.stdout)
    right = found.get("result") == case.result
    TALLY["workers killed"]["same" if right else found.get("kinds", ["wrong number"])[0]] += 1
    assert found["killed"] >= 1
    assert right, found
    # Those that were killed leave temporary files.
    assert set(damages(store)) <= {"left over from an interrupted run"}
