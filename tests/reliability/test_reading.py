"""Tiles that are read again and again, as by a Krylov space, and are spoiled meanwhile."""

import errno
import random
import shutil
import time

import pytest
from reliability.hooks import flip
from reliability.program import CORNERS
from reliability.trials import damages, judge, seeds

pytestmark = pytest.mark.reliability

# With the blocks of two irreps of one dimension and one of two, twelve products each; or a Krylov space.
WAYS = [{"work": "products"}, {"how": {"solver": "krylov"}}]


@pytest.fixture(scope="module")
def whole(zygote, tmp_path_factory):
    """For each way a store with all tiles, and a run on it."""
    found = []
    for way in WAYS:
        folder = tmp_path_factory.mktemp("whole") / "store"
        first = zygote.run(folder, **way)
        for path in folder.glob("krylov-*"):
            path.unlink()
        shutil.copytree(folder, folder.with_name("kept"))
        second = zygote.run(folder, **way)
        assert (len(first.computed), len(second.computed)) == (len(CORNERS), 0)
        assert first.result == second.result is not None
        found.append((way, folder.with_name("kept"), second))
    return found


@pytest.fixture
def way(whole, store, seed):
    """That whose turn it is, with a store of its own."""
    way, kept, outcome = whole[seed % 2]
    shutil.copytree(kept, store)
    return way, outcome


HOW = ["flip", "flip", "flip", "shorten", "remove", "zeros", "pipe", "link", "folder"]


@pytest.mark.parametrize("seed", seeds(50))
def test_spoiled_between_products(zygote, way, store, seed):
    way, undisturbed = way
    how = HOW[seed % len(HOW)]
    product = random.Random(seed).randrange(2, undisturbed.products + 1)
    outcome = zygote.run(store, hooks={"spoil_between_products": {"product": product, "how": how, "seed": seed}}, **way)
    verdict = judge("spoiled between products", outcome, undisturbed.result, store)
    # A folder is not replaced by the tile that is computed again.
    assert verdict == "same" or (verdict, how) == ("StoreError", "folder")
    assert len(outcome.computed) == 1
    assert outcome.warned
    if verdict == "same":
        assert damages(store) == []


@pytest.mark.parametrize("seed", seeds(30))
def test_flipped_while_read(zygote, way, store, seed):
    way, undisturbed = way
    # Each product reads every tile once.
    read = random.Random(seed).randrange(2 * len(CORNERS), undisturbed.products * len(CORNERS))
    outcome = zygote.run(store, hooks={"flip_while_read": {"read": read, "seed": seed}}, **way)
    assert judge("flipped while read", outcome, undisturbed.result, store) == "same"
    assert len(outcome.computed) <= 3
    assert outcome.warned


@pytest.mark.parametrize("seed", seeds(40))
def test_refused_for_a_while(zygote, way, store, seed):
    """Computed again where it has to be; nothing is removed."""
    way, undisturbed = way
    draw = random.Random(seed)
    refused = {
        "code": (errno.EIO, errno.EMFILE, errno.EACCES)[seed % 3],
        "where": draw.choice(["look", "open", "read"]),
        "first": draw.randrange(3 * len(CORNERS), undisturbed.products * len(CORNERS)),
        "times": draw.randrange(1, 6),
    }
    before = sorted(path.name for path in store.iterdir())
    outcome = zygote.run(store, hooks={"refuse_for_a_while": refused}, **way)
    assert judge("refused for a while", outcome, undisturbed.result, store) == "same"
    # Of five refusals one may meet a tile as it is verified, and two each as it is read and verified again.
    assert len(outcome.computed) <= 3
    assert outcome.warned
    assert set(before) <= {path.name for path in store.iterdir()}
    assert damages(store) == []


@pytest.mark.parametrize("seed", seeds(30))
def test_flipped_by_another_process(zygote, way, store, seed):
    way, undisturbed = way
    draw = random.Random(seed)
    running = zygote.start(store, **way)
    for _ in range(3):
        time.sleep(draw.random() * undisturbed.seconds / 3)
        flip(draw.choice(sorted(store.glob("gram-*"))), draw)
    assert judge("flipped by another process", running.wait(), undisturbed.result, store) == "same"
