"""A worker of a Dask cluster that is killed: another does its tasks again, to the same bits."""

import json
import subprocess
import sys

import pytest
from reliability.trials import TALLY, damages, environment, seeds

pytest.importorskip("distributed")

pytestmark = pytest.mark.reliability

# Starting a cluster takes seconds, and a killed worker's place is taken within one.
SECONDS = 60


@pytest.mark.parametrize("work", ["answer", "products"])
def test_a_worker_is_killed(zygote, reference, tmp_path, work):
    chosen = seeds(20)
    program = "from reliability.cluster import main; main()"
    command = [sys.executable, "-c", program, work, str(tmp_path), *map(str, chosen)]
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        run = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=log, env=environment(), timeout=SECONDS + 10 * len(chosen), check=True
        )
    expected = reference if work == "answer" else zygote.run(tmp_path / "alone", work="products").result
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["seed"] for line in lines] == [*chosen]
    for line in lines:
        right = line.get("result") == expected
        TALLY[f"worker killed: {work}"]["same" if right else line.get("kinds", ["wrong number"])[0]] += 1
    for line in lines:
        assert line["killed"] >= 1
        assert line.get("result") == expected, line
        # Those that were killed leave temporary files.
        assert set(damages(tmp_path / str(line["seed"]))) <= {"left over from an interrupted run"}
