"""The undisturbed run that all trials are compared with, and the count of how they ended."""

import shutil

import pytest
from reliability.program import CORNERS
from reliability.trials import FULL, TALLY, Zygote


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
def undisturbed(zygote, tmp_path_factory):
    """A finished store, and its run."""
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    zygote.run(folder)  # the files of the system's cache
    shutil.rmtree(folder)
    outcome = zygote.run(folder, hooks={"count_moments": {}})
    assert (outcome.status, outcome.log, outcome.warned, outcome.trace) == (0, "", [], "")
    assert sorted(outcome.computed) == sorted(CORNERS)
    return folder, outcome


@pytest.fixture(scope="session")
def reference(undisturbed):
    """The bits of the undisturbed run."""
    return undisturbed[1].result


@pytest.fixture
def copy(undisturbed, store):
    """A finished store of one's own."""
    shutil.copytree(undisturbed[0], store)
    return store


def pytest_terminal_summary(terminalreporter):
    """Say how the trials ended, where all were asked for."""
    if FULL and TALLY:
        terminalreporter.section("reliability trials")
        for kind, ends in TALLY.items():
            terminalreporter.write_line(f"{kind}: " + ", ".join(f"{number} {end}" for end, number in ends.items()))
