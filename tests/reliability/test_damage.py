"""Bits that flip, files that end early, and files that cannot be read: found, said, and computed again."""

import errno

import numpy as np
import pytest
from reliability.trials import damages, judge, seeds

pytestmark = pytest.mark.reliability

MARKER = "haarflow-store.json"


def choose(case, store, rng):
    """Any file, each kind as often as the others; mostly without the spectrum, so that tiles are read."""
    case.copy(store)
    if rng.random() < 0.8:
        for path in store.glob("spectrum-*"):
            path.unlink()
    paths = sorted(store.iterdir())
    kind = rng.choice(sorted({path.name.split("-")[0] for path in paths}))
    return rng.choice([path for path in paths if path.name.startswith(kind)])


def check(zygote, case, store, path, kind):
    damaged = path.name.split("-")[0]
    read = damaged == "spectrum" or not list(store.glob("spectrum-*"))
    outcome = zygote.run(store, how=case.how)
    verdict = judge(kind, outcome, case.result, store)
    if path.name == MARKER:
        assert verdict == "StoreError" or outcome.computed == ()
        assert outcome.warned == []
        return
    assert verdict == "same"
    # Found when it is read, once, and replaced.
    assert [path.name in text for text in outcome.warned] == [True] * read
    assert len(outcome.computed) == (damaged == "gram" and read)
    assert len(damages(store)) == (not read)


@pytest.mark.parametrize("seed", seeds(200))
def test_a_flipped_bit(zygote, case, store, seed):
    rng = np.random.default_rng([4, seed])
    path = choose(case, store, rng)
    content = bytearray(path.read_bytes())
    # Half of them in what surrounds the numbers: the key, HDF5's header and its object headers.
    place = int(rng.integers(min(len(content), 8192) if rng.random() < 0.5 else len(content)))
    content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    check(zygote, case, store, path, "flipped bit")


@pytest.mark.parametrize("seed", seeds(50))
def test_a_file_that_ends_early(zygote, case, store, seed):
    rng = np.random.default_rng([5, seed])
    path = choose(case, store, rng)
    size = path.stat().st_size
    edges = [0, 1, 8, 511, 512, 520, 2048, size - 1, size - 8, size // 2]
    length = edges[seed % 20] if seed % 20 < len(edges) else int(rng.integers(size))
    with open(path, "r+b") as file:
        file.truncate(min(length, size - 1))
    check(zygote, case, store, path, "file that ends early")


@pytest.mark.parametrize("seed", seeds(60))
def test_a_file_that_cannot_be_read(zygote, case, store, seed):
    """Nothing is known of it, so that it stays until the same entry takes its place."""
    rng = np.random.default_rng([10, seed])
    case.copy(store)
    for path in store.glob("spectrum-*"):
        path.unlink()
    path = rng.choice(sorted(store.glob("*.h5")))
    before = {path.name for path in store.iterdir()}
    refused = {
        "name": path.name,
        "code": [errno.EIO, errno.EMFILE, errno.EACCES][seed % 3],
        "where": str(rng.choice(["look", "open", "read"])),
    }
    outcome = zygote.run(store, how=case.how, hooks={"refuse_one": refused})
    assert judge("file that cannot be read", outcome, case.result, store) == "same"
    assert outcome.warned
    assert all(path.name in text and "cannot be read" in text for text in outcome.warned)
    assert len(outcome.computed) == path.name.startswith("gram")
    assert before <= {path.name for path in store.iterdir()}
    assert damages(store) == []
