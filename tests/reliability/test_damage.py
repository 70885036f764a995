"""Bits that flip, and files that end early: found, said, and computed again."""

import numpy as np
import pytest
from reliability.trials import damages, judge, seeds

pytestmark = pytest.mark.reliability

MARKER = "haarflow-store.json"


def choose(store, rng):
    """Any file, the small marker as often as others; half of the time without the spectrum, so that tiles are read."""
    if rng.random() < 0.8:
        for path in store.glob("spectrum-*"):
            path.unlink()
    return rng.choice(sorted(store.iterdir()))


def check(zygote, store, reference, path, kind):
    read = path.name.startswith("spectrum-") or not list(store.glob("spectrum-*"))
    outcome = zygote.run(store)
    verdict = judge(kind, outcome, reference, store)
    if path.name == MARKER:
        assert verdict == "StoreError" or outcome.computed == ()
        assert outcome.warned == []
        return
    assert verdict == "same"
    told = [text for text in outcome.warned if path.name in text]
    # Found when it is read, once, and replaced.
    assert len(outcome.warned) == len(told) == (1 if read else 0)
    assert len(outcome.computed) == (1 if path.name.startswith("gram-") and read else 0)
    assert len(damages(store)) == (0 if read else 1)


@pytest.mark.parametrize("seed", seeds(200))
def test_a_flipped_bit(zygote, copy, reference, seed):
    rng = np.random.default_rng([4, seed])
    path = choose(copy, rng)
    content = bytearray(path.read_bytes())
    # Half of them in what surrounds the numbers: the key, HDF5's header and its object headers.
    place = int(rng.integers(min(len(content), 8192) if rng.random() < 0.5 else len(content)))
    content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    check(zygote, copy, reference, path, "flipped bit")


@pytest.mark.parametrize("seed", seeds(50))
def test_a_file_that_ends_early(zygote, copy, reference, seed):
    rng = np.random.default_rng([5, seed])
    path = choose(copy, rng)
    size = path.stat().st_size
    edges = [0, 1, 8, 511, 512, 520, 2048, size - 1, size - 8, size // 2]
    length = edges[seed % 20] if seed % 20 < len(edges) else int(rng.integers(size))
    with open(path, "r+b") as file:
        file.truncate(min(length, size - 1))
    check(zygote, copy, reference, path, "file that ends early")
