"""A disk that is full refuses, keeps what is finished, and with room again the run goes on."""

import subprocess
from collections import Counter

import numpy as np
import pytest
from reliability.trials import check_resumed, damages, finished, judge, seeds

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


def resume(zygote, case, store, kind):
    """With room again, the rest alone is computed."""
    before = finished(store)
    outcome = zygote.run(store, how=case.how)
    assert judge(kind, outcome, case.result, store) == "same"
    assert outcome.warned == []
    check_resumed(case, before, outcome)
    assert damages(store) == []


def fill(zygote, case, store, kind, **order):
    """Run into the limit once, and once more: what is finished stays, and nothing else."""
    tiles, kinds = set(), Counter()
    for _ in range(2):
        outcome = zygote.run(store, how=case.how, **order)
        assert judge(kind, outcome, case.result, store) == "StoreError"
        if store.exists() and list(store.iterdir()):
            had, (tiles, kinds) = (tiles, kinds), finished(store)
            # The last tile may be the one that could not be written.
            assert had[0] | set(outcome.computed[:-1]) <= tiles
            assert had[1] <= kinds
            assert damages(store) == []


@pytest.mark.parametrize("seed", seeds(20))
def test_a_small_disk(zygote, case, disk, seed):
    rng, store = np.random.default_rng([6, seed]), disk.folder
    if seed % 4 == 3:  # no room for names
        assert disk.mount(f"remount,size=16m,nr_inodes={rng.integers(2, len(case.sizes) + 1)}")
    else:
        assert disk.mount(f"remount,size={int(rng.uniform(0.02, 0.95) * sum(case.sizes))}")
    fill(zygote, case, store, "small disk")
    assert disk.mount("remount,size=16m,nr_inodes=1000")
    resume(zygote, case, store, "small disk")


@pytest.mark.parametrize("seed", seeds(10))
def test_a_disk_that_others_fill(zygote, case, disk, seed):
    rng, store = np.random.default_rng([7, seed]), disk.folder / "store"
    other = disk.folder / "other"
    assert disk.mount("remount,size=4m")
    other.write_bytes(bytes(2**22 - int(rng.uniform(0, 0.95) * sum(case.sizes))))
    fill(zygote, case, store, "disk that others fill")
    other.unlink()
    resume(zygote, case, store, "disk that others fill")


@pytest.mark.parametrize("seed", seeds(20))
def test_a_limit_on_files(zygote, case, store, seed):
    """Without root: no file may be larger."""
    rng = np.random.default_rng([8, seed])
    store.mkdir()
    fill(zygote, case, store, "limit on files", file_size=int(rng.choice(case.sizes)) - 1)
    resume(zygote, case, store, "limit on files")
