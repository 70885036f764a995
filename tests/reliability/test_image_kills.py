"""A long fit of pooled images that is killed half-way: half is kept, and the rest is all that is done again."""

import signal
import subprocess
import sys

import pytest
from reliability import images
from reliability.trials import environment, finished

from haarflow.kernels import gram_tiles
from haarflow.kernels.gram_tiles import GramProblem

pytestmark = pytest.mark.reliability


def test_half_is_kept(tmp_path, monkeypatch):
    command = [sys.executable, images.__file__, str(tmp_path / "store")]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    kept, kinds = finished(tmp_path / "store")
    assert kinds == {"gram": len(kept)}
    monkeypatch.setattr(gram_tiles, "_IMAGE_WORK", 2**10)
    computed, seen = [], []
    compute = GramProblem.compute

    def noted(problem, corner, progress=None):
        computed.append((problem, corner))
        return compute(problem, corner, progress)

    monkeypatch.setattr(GramProblem, "compute", noted)
    found = images.fit(tmp_path / "store", lambda *report: seen.append(report))
    problem = computed[0][0]
    assert problem.side == images.SIDE
    corners = set(problem.corners())
    assert len(corners) == 10
    assert {corner for _, corner in computed} == corners - kept
    assert len(computed) == len(corners) - len(kept)
    # Half of the entries, less the tile that was in work.
    lost = problem.entries / 2 - sum(map(problem.entries_of, kept))
    assert lost < images.SIDE**2 * 4
    # The pace of what remains begins where the other run ended.
    told = [done for label, done, _ in seen if label == "orbit Gram"]
    assert told[0] == sum(map(problem.entries_of, kept))
    assert told == sorted(told)
    assert told[-1] == problem.entries
    assert found == images.fit(tmp_path / "other")
