"""Workers of a Dask cluster that are killed: others do their tasks again, to the same bits."""

import json
import subprocess
import sys

import pytest
from reliability.trials import TALLY, damages, environment, seeds

pytest.importorskip("distributed")

pytestmark = pytest.mark.reliability

# Starting a cluster takes seconds, and so does taking a killed worker's place.
SECONDS = 90


@pytest.fixture(scope="module")
def multiplied(zygote, tmp_path_factory):
    """The bits of products in one process."""
    return zygote.run(tmp_path_factory.mktemp("multiplied") / "store", work="products").result


@pytest.mark.parametrize("work", ["answer", "products"])
@pytest.mark.parametrize("seed", seeds(10))
def test_workers_are_killed(reference, multiplied, store, work, seed):
    program = "from reliability.cluster import main; main()"
    command = [sys.executable, "-c", program, work, str(store), str(seed)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=SECONDS, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    right = found.get("result") == {"answer": reference, "products": multiplied}[work]
    TALLY[f"workers killed: {work}"]["same" if right else found.get("kinds", ["wrong number"])[0]] += 1
    assert found["killed"] >= 1
    assert right, found
    # Those that were killed leave temporary files.
    assert set(damages(store)) <= {"left over from an interrupted run"}
