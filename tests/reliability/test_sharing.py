"""Two writers and two readers on one store: the same bits in all four, and the writers share the work."""

import pytest
from reliability.program import CORNERS
from reliability.trials import damages, finished, judge, seeds
from typer.testing import CliRunner

from haarflow.cli import app

pytestmark = pytest.mark.reliability


# In which order they are started: the processes' numbers of the two writers are one, two or three apart.
ORDERS = ["wwrr", "wrwr", "rwrw", "wrrw"]


@pytest.mark.parametrize("seed", seeds(20))
def test_two_writers_and_two_readers(zygote, case, store, seed):
    files = len(case.sizes) - 1
    roles = {"w": {"slow": {"seconds": 0.03}}, "r": {"read_until_finished": {"files": files}}}
    order = ORDERS[seed // 2 % len(ORDERS)]
    started = [(role, zygote.start(store, how=case.how, hooks=roles[role])) for role in order]
    outcomes = [(role, run.wait()) for role, run in started]
    for role, each in outcomes:
        assert judge("four at once", each, case.result, store) == "same"
        assert each.warned == []
        assert role == "w" or (each.computed == () and each.products == 0 and each.rounds > 0)
    computed = [corner for _, each in outcomes for corner in each.computed]
    tiles, kinds = finished(store)
    assert set(computed) == tiles == set(CORNERS)
    assert kinds.total() == files
    # Both may begin the same tile, which each draws by itself: 13 tiles are usual, and 19 as rare as 1 in 100,000.
    assert len(computed) <= 1.8 * len(CORNERS)
    assert damages(store) == []
    checked = CliRunner().invoke(app, ["store", "check", str(store)])
    assert checked.exit_code == 0, checked.output
