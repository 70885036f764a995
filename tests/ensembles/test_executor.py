"""DeepEnsemble on a Dask cluster: the same bits, workers that die, and executors that are none."""

import os
import signal
import time
import warnings

import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels
from haarflow.kernels import distributed as ours
from haarflow.kernels import gram_tiles

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
        dask.config.set({f"distributed.nanny.pre-spawn-environ.{name}": 2**30 for name in VARIABLES}),
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
    ("trim", "mmap", "slow"), [(2**16, 2**30, 1), (2**30, None, 1), (2**30, 2**30, 0), (None, None, 0)]
)
def test_workers_that_map_each_array_anew_are_warned_of(client, tmp_path, trim, mmap, slow):
    settings = dict(zip(VARIABLES, (trim, mmap), strict=True))
    client.run(exec, SETTING.format(settings))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", hf.ClusterWarning)
        fitted(tmp_path, executor=client)
    client.run(exec, SETTING.format(dict.fromkeys(VARIABLES, 2**30)))
    told = [str(each.message) for each in found if issubclass(each.category, hf.ClusterWarning)]
    assert len(told) == slow
    assert all(
        f"{VARIABLES[0]}={trim} and {VARIABLES[1]}={mmap}, which makes tiles take twice as long" in t for t in told
    )


def test_what_is_no_executor(client, tmp_path):
    with pytest.raises(TypeError, match=r"executor must be a dask.distributed.Client .*, found 3"):
        fitted(tmp_path, executor=3)
    with pytest.raises(ValueError, match="store must be a folder that all workers of the executor see, found None"):
        fitted(None, executor=client)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        distributed.Client(empty) as other,
        pytest.raises(ValueError, match="executor must have at least one worker, found none"),
    ):
        fitted(tmp_path, executor=other)
    with pytest.raises(ValueError, match="executor must be a running client, found one that is closed"):
        fitted(tmp_path, executor=other)
