"""DeepEnsemble on a Dask cluster: the same bits, workers that die, and executors that are none."""

import os
import signal
import sys
import time
import warnings
from concurrent.futures import CancelledError

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels
from haarflow.kernels import distributed as ours
from haarflow.kernels import gram_tiles
from haarflow.kernels.gram_tiles import GramProblem
from haarflow.kernels.tile_store import TileStore
from haarflow.kernels.tiled_block import TiledBlock

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

NETWORK = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())
# Dask's own sockets and loops are closed by its garbage collection.
pytestmark = pytest.mark.filterwarnings("default")


# Run on workers, which cannot import this file.
SHRINK = "from haarflow.kernels import gram_tiles; gram_tiles._SMALLEST_SIDE = gram_tiles._LARGEST_SIDE = 16"

SETTING = """
import os
for name, value in {}.items():
    os.environ.pop(name, None) if value is None else os.environ.update({{name: str(value)}})
"""
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


@pytest.fixture(scope="module")
def client():
    with (
        dask.config.set({f"distributed.nanny.pre-spawn-environ.{name}": 2**25 for name in VARIABLES}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        client.run(exec, SHRINK)
        yield client


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    monkeypatch.setattr(gram_tiles, "_SMALLEST_SIDE", 16)
    monkeypatch.setattr(gram_tiles, "_LARGEST_SIDE", 16)


def fitted(store, **options):
    data = hf.datasets.digits(46)
    ensemble = hf.DeepEnsemble(NETWORK, action=groups.image_rotations(4), store=store, ridge=1e-3, **options)
    return ensemble.fit(data.x[:40], data.y[:40]), data.x[40:]


@pytest.mark.parametrize("solver", ["dense", "krylov"])
def test_the_same_files_and_predictions(client, tmp_path, solver):
    laws = []
    for name, executor in (("here", None), ("there", client)):
        ensemble, x_test = fitted(tmp_path / name, solver=solver, executor=executor)
        laws.append(ensemble.predict(x_test, [1e2, np.inf]))
    tiles = [sorted(path.name for path in (tmp_path / name).glob("gram-*")) for name in ("here", "there")]
    assert tiles[0] == tiles[1]
    assert len(tiles[0]) == 6
    # The number of BLAS threads is not the same.
    np.testing.assert_allclose(laws[0].mean, laws[1].mean, rtol=0, atol=1e-9)


def test_a_worker_that_held_everything_dies(client, tmp_path):
    ensemble, x_test = fitted(tmp_path, solver="krylov", executor=client)
    before = ensemble.predict(x_test, [1e1]).mean
    ((address, pid),) = client.run(os.getpid).items()
    os.kill(pid, signal.SIGKILL)
    while set(client.scheduler_info()["workers"]) <= {address}:  # gone, and another in its place
        time.sleep(0.05)
    client.run(exec, SHRINK)
    after = ensemble.predict(x_test, [1e1, np.inf]).mean
    np.testing.assert_allclose(after[0], before[0], rtol=0, atol=1e-6)


def test_workers_of_another_version_are_refused(client, tmp_path, monkeypatch):
    monkeypatch.setattr(ours, "KERNEL_VERSION", 0)
    with pytest.raises(ValueError, match="workers must run the haarflow of this process"):
        fitted(tmp_path, executor=client)


def test_a_folder_that_workers_do_not_share(client, tmp_path, monkeypatch):
    monkeypatch.setattr(ours.TileStore, "find", lambda self, corner: None)  # here: the workers have their own
    with pytest.raises(kernels.StoreError, match="store must be a folder that all workers see"):
        fitted(tmp_path, executor=client)


@pytest.mark.parametrize(
    ("trim", "mmap", "slow"), [(2**16, 2**25, 1), (2**25, None, 1), (2**25, 2**25, 0), (None, None, 0)]
)
def test_workers_that_map_each_array_anew_are_warned_of(client, tmp_path, trim, mmap, slow):
    settings = dict(zip(VARIABLES, (trim, mmap), strict=True))
    client.run(exec, SETTING.format(settings))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", hf.ClusterWarning)
        fitted(tmp_path, executor=client)
    client.run(exec, SETTING.format(dict.fromkeys(VARIABLES, 2**25)))
    told = [str(each.message) for each in found if issubclass(each.category, hf.ClusterWarning)]
    assert len(told) == slow
    assert all(f"with {VARIABLES[0]}={trim} and {VARIABLES[1]}={mmap}, which makes" in t for t in told)
    assert all(f"start them with {VARIABLES[0]}=33554432 and {VARIABLES[1]}=33554432, " in t for t in told)


def test_only_linux_knows_these_variables(monkeypatch):
    monkeypatch.setenv(VARIABLES[0], "65536")
    assert ours._is_slow(*ours._thresholds()) == (sys.platform == "linux")
    for platform in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        assert not ours._is_slow(*ours._thresholds())


DEADLY = """
import os, signal
def dask_setup(worker):
    execute = worker.execute
    async def die(key, *, stimulus_id):
        if key.startswith("_make"):
            os.kill(os.getpid(), signal.SIGKILL)
        return await execute(key, stimulus_id=stimulus_id)
    worker.execute = die
"""


def test_a_tile_that_kills_each_worker(tmp_path):
    """Whoever takes its place is not given all of it again for ever."""
    (tmp_path / "deadly.py").write_text(DEADLY)
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    with (
        distributed.LocalCluster(**options, preload=[str(tmp_path / "deadly.py")]) as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(RuntimeError, match=r"workers die over tile \(0, 0\) of the orbit Gram .* memory is too small"),
    ):
        fitted(tmp_path / "store", executor=client)


KILLED = distributed.KilledWorker("_make-1", None, 3)


class Deaths:
    """A client whose only worker dies over some tasks, of each as often as told, and loses what it had."""

    status = "running"

    def __init__(self, times, error=CancelledError):
        self.times, self.error, self.columns = times, error, []

    def scatter(self, what, hash):
        return what

    def submit(self, function, *arguments, **_):
        self.columns.append(len(arguments[3]) - 1)
        return Fate(self, self.columns[-1], lambda: function(*arguments))

    def nthreads(self):
        return {"worker": 1}

    wait_for_workers = gather = scheduler_info = print


class Fate:
    """A task of its."""

    def __init__(self, client, column, work):
        self.client, self.column, self.work = client, column, work

    def result(self):
        if self.client.times[self.column] > 0:
            self.client.times[self.column] -= 1
            raise self.client.error
        return self.work()


def problem():
    """A Gram matrix in three columns of tiles, and vectors to multiply it with."""
    action = groups.image_rotations(4)
    x = hf.datasets.digits(40).x
    return GramProblem(kernels.analytic(NETWORK), action, x, (groups.trivial(action.group, 1),)), np.ones((40, 2))


def product(tmp_path, client):
    """One on workers, and here."""
    gram, v = problem()
    tiles = TileStore(gram, kernels.Store(tmp_path), {"of": "products"})
    here = TiledBlock(gram, 0, lambda corner, buffer: tiles.block(corner, 0, buffer)).product(v)
    return ours.Cluster(client, tiles).product(0, v), here


def test_products_go_on_while_there_is_any_progress(tmp_path):
    client = Deaths({2: 2, 1: 2, 0: 2})
    there, here = product(tmp_path, client)
    assert there.tobytes() == here.tobytes()


def test_a_column_that_kills_each_worker(tmp_path):
    client = Deaths({2: 0, 1: 9, 0: 0})
    with pytest.raises(RuntimeError, match="workers die over column of tiles 1 of the orbit Gram"):
        product(tmp_path, client)
    # All of them, and then, alone, the one that is left.
    assert client.columns == [2, 1, 0, 1, 1, 1]


@pytest.mark.parametrize(("hold", "lost"), [(1, [100, 2, 2]), (3, [100, 4, 4]), (8, [100, 16, 16]), (99, [100])])
def test_workers_are_given_no_more_tasks_than_they_live_through(tmp_path, hold, lost):
    """Such as of two threads with memory for one; that nothing is left of a round is bad luck once."""
    gram, _ = problem()
    undone, found = list(range(100)), []
    cluster = ours.Cluster(Deaths({}), TileStore(gram, kernels.Store(tmp_path), {}))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for some in cluster._rounds(undone, "tile"):
            found.append(len(some))
            if len(some) <= hold:
                undone[:] = [each for each in undone if each not in some]
    assert [size for size in found if size > hold] == lost
    assert found[1:3] == [1, 2]
    if len(lost) == 1:
        assert not told
        return
    assert {*found[found.index(lost[-1], found.index(lost[-1]) + 1) + 1 :]} <= {*range(1, lost[-1] // 2 + 1)}
    (one,) = told
    assert issubclass(one.category, ours.ClusterWarning)
    said = f"workers die over {lost[-1]} tasks at a time, each a tile, and are given {lost[-1] // 2} from now on"
    assert said in str(one.message)
    undone, found = list(range(100)), []
    for some in cluster._rounds(undone, "column of tiles"):  # of the next product, too
        found.append(len(some))
        undone[:] = undone[len(some) :]
    assert max(found) == lost[-1] // 2


def test_losses_between_rounds_that_are_done_are_bad_luck(tmp_path):
    gram, _ = problem()
    cluster = ours.Cluster(Deaths({}), TileStore(gram, kernels.Store(tmp_path), {}))
    for number in range(12):
        undone, found = list(range(20)), []
        for some in cluster._rounds(undone, "tile"):
            found.append(len(some))
            if number % 3 or len(found) > 1:
                undone[:] = undone[len(some) :]
        assert found == ([20] if number % 3 else [20, 1, 2, 4, 8, 5])


def test_a_cluster_that_is_lost_now_and_then_goes_on(tmp_path):
    gram, _ = problem()
    undone, rounds = list(range(2000)), 0
    for some in ours.Cluster(Deaths({}), TileStore(gram, kernels.Store(tmp_path), {}))._rounds(undone, "tile"):
        rounds += 1
        if rounds % 12:
            undone[:] = undone[min(len(some), 10) :]
    assert rounds > 12 * 7


def test_a_task_that_dask_gives_up_is_named_where_it_ran_alone(tmp_path):
    client = Deaths({2: 0, 1: 9, 0: 0}, KILLED)
    with pytest.raises(RuntimeError, match="workers die over column of tiles 1 of the orbit Gram"):
        product(tmp_path, client)
    assert client.columns == [2, 1, 0, 1]


def test_tasks_that_dask_gives_up_beside_the_one_that_kills_are_tried_again(tmp_path):
    client = Deaths({2: 1, 1: 3, 0: 1}, KILLED)
    with pytest.raises(RuntimeError, match="workers die over column of tiles 1 of the orbit Gram"):
        product(tmp_path, client)
    # All of them fail; alone, the first does not; of the other two that one does not which had only waited.
    assert client.columns == [2, 1, 0, 2, 1, 0, 1]


def test_a_cluster_that_starts_workers_for_tasks_alone(tmp_path):
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        cluster.adapt(minimum=0, maximum=1, interval="100ms")
        ours.check_workers(client)
        assert client.nthreads()


def test_what_is_no_executor(client, tmp_path, monkeypatch):
    with pytest.raises(TypeError, match=r"executor must be a dask.distributed.Client .*, found 3"):
        fitted(tmp_path, executor=3)
    with pytest.raises(ValueError, match="store must be a folder that all workers of the executor see, found None"):
        fitted(None, executor=client)
    monkeypatch.setattr(ours, "_PATIENCE", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        distributed.Client(empty) as other,
        pytest.raises(ValueError, match=r"executor must have at least one worker, found none within 0\.5 s"),
    ):
        fitted(tmp_path, executor=other)
    with pytest.raises(ValueError, match="executor must be a running client, found one that is closed"):
        fitted(tmp_path, executor=other)
