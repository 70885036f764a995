"""The undisturbed run that all trials are compared with, and the count of how they ended."""

import shutil

import pytest
from reliability.program import CORNERS
from reliability.trials import FULL, TALLY, Case, Zygote


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    process = Zygote(tmp_path_factory.mktemp("runs"))
    yield process
    process.close()


@pytest.fixture
def store(tmp_path):
    """Where a trial's store is to be; removed, since there are hundreds."""
    yield tmp_path / "store"
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="session")
def cases(zygote, tmp_path_factory):
    """Both ways to solve, of which trials take turns."""
    found = []
    for solver in ("dense", "krylov"):
        folder = tmp_path_factory.mktemp("undisturbed") / "store"
        zygote.run(folder, how={"solver": solver})  # the files of the system's cache
        shutil.rmtree(folder)
        outcome = zygote.run(folder, how={"solver": solver}, hooks={"count_moments": {}})
        assert (outcome.status, outcome.log, outcome.warned, outcome.trace) == (0, "", [], "")
        assert sorted(outcome.computed) == sorted(CORNERS)
        found.append(Case(solver, folder, outcome))
    return found


@pytest.fixture
def case(cases, seed):
    """The way whose turn it is."""
    return cases[seed % 2]


@pytest.fixture
def dense(cases):
    """The eigendecomposition."""
    return cases[0]


@pytest.fixture
def copy(dense, store):
    """A finished store to be spoiled, whose tiles are read."""
    for path in dense.copy(store).glob("spectrum-*"):
        path.unlink()
    return store


def pytest_terminal_summary(terminalreporter):
    """Say how the trials ended, where all were asked for."""
    if FULL and TALLY:
        terminalreporter.section("reliability trials")
        for kind, ends in TALLY.items():
            terminalreporter.write_line(f"{kind}: " + ", ".join(f"{number} {end}" for end, number in ends.items()))
