"""A disk that is full refuses, keeps what is finished, and with room again the run goes on."""

import subprocess

import numpy as np
import pytest
from reliability.trials import damages, finished, judge, seeds

pytestmark = pytest.mark.reliability


class Disk:
    """A small file system of its own."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()

    def mount(self, options, source="tmpfs"):
        """Whether it could be mounted, or mounted again with other options."""
        command = ["mount", "-t", "tmpfs", "-o", options, source, str(self.folder)]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            return False


@pytest.fixture
def disk(tmp_path):
    found = Disk(tmp_path / "disk")
    if not found.mount("size=1m"):
        pytest.skip("mounting a small disk needs root and mount(8)")
    yield found
    subprocess.run(["umount", str(found.folder)], check=True)


def resume(zygote, store, reference, kind):
    """With room again, the rest alone is computed."""
    before, spectrum = finished(store), list(store.glob("spectrum-*"))
    outcome = zygote.run(store)
    assert judge(kind, outcome, reference, store) == "same"
    assert outcome.warned == []
    assert len(outcome.computed) == (0 if spectrum else 10 - len(before))
    assert not set(outcome.computed) & before
    assert damages(store) == []


def fill(zygote, store, reference, kind, **order):
    """Run into the limit once, and once more: what is finished stays, and nothing else."""
    for _ in range(2):
        had = finished(store) if store.exists() and list(store.iterdir()) else set()
        verdict = judge(kind, zygote.run(store, **order), reference, store)
        if list(store.iterdir()):
            assert finished(store) >= had
            assert damages(store) == []
        else:
            assert verdict == "StoreError"
    return verdict


@pytest.mark.parametrize("seed", seeds(20))
def test_a_small_disk(zygote, disk, reference, seed):
    rng, store = np.random.default_rng([6, seed]), disk.folder
    limit = "nr_inodes" if seed % 4 == 3 else "size"
    room = int(rng.integers(2, 13)) if limit == "nr_inodes" else int(rng.integers(4096, 2_000_000))
    assert disk.mount(f"remount,size={room}" if limit == "size" else f"remount,size=16m,nr_inodes={room}")
    assert fill(zygote, store, reference, "small disk") == "StoreError"
    assert disk.mount("remount,size=16m,nr_inodes=100")
    resume(zygote, store, reference, "small disk")


@pytest.mark.parametrize("seed", seeds(10))
def test_a_disk_that_others_fill(zygote, disk, reference, seed):
    rng, store = np.random.default_rng([7, seed]), disk.folder / "store"
    other = disk.folder / "other"
    assert disk.mount("remount,size=4m")
    other.write_bytes(bytes(int(rng.integers(2_200_000, 2**22 + 1))))
    fill(zygote, store, reference, "disk that others fill")
    other.unlink()
    resume(zygote, store, reference, "disk that others fill")


@pytest.mark.parametrize("seed", seeds(20))
def test_a_limit_on_files(zygote, store, reference, seed):
    """Without root: no file may be larger."""
    limit = int(np.random.default_rng([8, seed]).integers(0, 120_000)) if seed else 300_000
    store.mkdir()
    assert fill(zygote, store, reference, "limit on files", file_size=limit) == "StoreError"
    if list(store.iterdir()):
        resume(zygote, store, reference, "limit on files")
