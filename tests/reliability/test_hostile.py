"""Files of strangers, each with the right checksum: never followed, not believed where they do not fit, never large."""

import contextlib

import numpy as np
import pytest
from reliability.forged import HOSTILE, build, put_content, tile
from reliability.trials import damages, judge, seeds, some

from haarflow.kernels import Store

pytestmark = pytest.mark.reliability

# What a run on a hostile store may take above the process it is forked from, in bytes.
MEMORY = 2**30
PEAK = 2**27


def check(zygote, store, dense, path, kind):
    """The forged tile, and no other, is computed again, with a warning that names it."""
    outcome = zygote.run(store, memory=MEMORY)
    assert judge(kind, outcome, dense.result, store) == "same"
    assert [path.name in text for text in outcome.warned] == [True]
    assert outcome.computed == ((0, 1),)
    assert outcome.peak < PEAK
    assert damages(store) == []


@pytest.mark.parametrize("name", some(HOSTILE, "external link", "soft link", "external storage", "huge in chunks"))
def test_hostile_hdf5(zygote, copy, dense, name):
    path, key, arrays = tile(copy)
    with contextlib.chdir(copy):
        forged = put_content(path, build(key, arrays, HOSTILE[name]))
    check(zygote, copy, dense, forged, "hostile HDF5")


def test_what_hostile_files_are_compared_with_is_read(zygote, copy, dense):
    path, key, arrays = tile(copy)
    put_content(path, build(key, arrays, lambda file: None))
    outcome = zygote.run(copy, memory=MEMORY)
    assert judge("hostile HDF5", outcome, dense.result, copy) == "same"
    assert (outcome.computed, outcome.warned) == ((), [])


@pytest.mark.parametrize("seed", seeds(100))
def test_sizes_that_are_written_over(zygote, copy, dense, seed):
    """Sizes and addresses in HDF5's own structures, of which the old format has no checksums."""
    rng = np.random.default_rng([9, seed])
    path, key, arrays = tile(copy)
    content = bytearray(build(key, arrays, lambda file: None))
    data = [content.find(array.tobytes()) for array in arrays.values() if array.size]
    sizes = [array.nbytes for array in arrays.values() if array.size]
    # 8-byte words outside the key and the numbers.
    words = [
        at
        for at in range(1024, len(content) - 8, 8)
        if not any(start - 8 < at < start + size for start, size in zip(data, sizes, strict=True))
        and any(content[at : at + 8])
    ]
    for at in rng.choice(words, int(rng.integers(1, 4)), replace=False):
        large = [2**63 - 1, 2**64 - 1, 2**40, 2**31, len(content), int(rng.integers(2**62)), int(rng.integers(2**16))]
        content[at : at + 8] = int(rng.choice(np.array(large, "u8"))).to_bytes(8, "little")
    put_content(path, bytes(content))
    outcome = zygote.run(copy, memory=MEMORY)
    # A forged address leads to other numbers of the same file, which are believed if they are finite.
    judge("forged sizes", outcome, outcome.result or dense.result, copy)
    assert outcome.peak < PEAK


def spoil_dtype(arrays):
    return {name: array.astype("f4") for name, array in arrays.items()}


DISAGREEING = {
    "turned": lambda arrays: {**arrays, "block_0": arrays["block_0"][:, :31]},
    "of another tile": lambda arrays: {name: array[..., :4] for name, array in arrays.items()},
    "float32": spoil_dtype,
    "without sums": lambda arrays: {name: array for name, array in arrays.items() if name != "row_sums"},
    "sums of another length": lambda arrays: {**arrays, "row_sums": arrays["row_sums"][:-1]},
    "diagonal where there is none": lambda arrays: {**arrays, "diagonal": np.ones(32)},
    "sums not finite": lambda arrays: {**arrays, "column_sums": arrays["column_sums"] * np.inf},
    "nothing": lambda arrays: {},
    "another's arrays": lambda arrays: {"eigenvalues_0": arrays["row_sums"]},
}


@pytest.mark.parametrize("name", some(DISAGREEING))
def test_arrays_that_disagree_with_the_key(zygote, copy, dense, name):
    path, key, arrays = tile(copy)
    path.unlink()
    Store(copy).put("gram", key, DISAGREEING[name](arrays))
    (forged,) = copy.glob(f"gram-{path.name.split('-')[1]}-*")
    check(zygote, copy, dense, forged, "metadata that disagree")


@pytest.mark.parametrize("field", ["samples", "side", "row", "dtype", "data"])
def test_a_key_that_disagrees_with_the_name(zygote, copy, dense, field):
    path, key, arrays = tile(copy)
    forged = put_content(path, build({**key, field: 7}, arrays, lambda file: None))
    check(zygote, copy, dense, forged, "metadata that disagree")


def test_a_kind_that_disagrees_with_the_name(zygote, copy, dense):
    path, key, arrays = tile(copy)
    Store(copy).put("spectrum", key, arrays)
    (other,) = copy.glob("spectrum-*")
    path.unlink()
    forged = other.rename(other.with_name(other.name.replace("spectrum", "gram")))
    check(zygote, copy, dense, forged, "metadata that disagree")
