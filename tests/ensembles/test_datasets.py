"""Data sets against listings written out by hand, and files written byte by byte."""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from haarflow import datasets

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
needs_debian = pytest.mark.skipif(not DEBIAN.is_dir(), reason="dataset-fashion-mnist is not installed")

WITH_COUNT = {
    "ising": datasets.ising,
    "cross_product": datasets.cross_product,
    "off_manifold": lambda n, seed=0: datasets.off_manifold(n, (4,), seed),
    "digits": datasets.digits,
}
GENERATED = {name: WITH_COUNT[name] for name in ("ising", "cross_product", "off_manifold")}


def entries(made):
    return made if isinstance(made, np.ndarray) else made.x


# ---------------------------------------------------------------- one_hot and Dataset


def test_one_hot_has_one_at_the_label_and_zero_elsewhere():
    labels = np.array([2, 0, 1, 2], dtype=np.uint8)
    targets = datasets.one_hot(labels, 4)
    assert targets.dtype == np.float64
    assert targets.shape == (4, 4)
    for i, row in enumerate(targets):
        for c, value in enumerate(row):
            assert value == (1.0 if c == labels[i] else 0.0)


def test_centred_one_hot_rows_sum_to_zero_and_keep_the_class():
    targets = datasets.one_hot([2, 0, 1], 3, centred=True)
    np.testing.assert_allclose(targets.sum(axis=1), 0.0, atol=1e-15)
    np.testing.assert_array_equal(targets.argmax(axis=1), [2, 0, 1])
    np.testing.assert_allclose(targets[0], [-1 / 3, -1 / 3, 2 / 3], rtol=1e-15)


@pytest.mark.parametrize(
    ("labels", "k", "error", "message"),
    [
        ([0.0, 1.0], 2, TypeError, "integers, found dtype float64"),
        ([True, False], 2, TypeError, "integers, found dtype bool"),
        ([0, 2], 2, ValueError, r"0 \.\. 1, found 2 at index 1"),
        ([0, -1], 2, ValueError, "found -1 at index 1"),
        ([[0, 1]], 2, ValueError, r"\[n\], found shape \(1, 2\)"),
        ([0], 0, ValueError, "k must be at least 1"),
        ([0], 2.0, TypeError, "k must be a whole number"),
    ],
)
def test_one_hot_refuses(labels, k, error, message):
    with pytest.raises(error, match=message):
        datasets.one_hot(labels, k)


def test_a_dataset_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match=r"same length, found \[3, 2\]"):
        datasets.Dataset("mine", np.zeros((3, 1)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"same length, found \[3, 3, 4\]"):
        datasets.Dataset("mine", np.zeros((3, 1)), np.zeros((3, 1)), np.zeros(4, int))


# ---------------------------------------------------------------- counts and seeds


@pytest.mark.parametrize("name", WITH_COUNT)
@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError)])
def test_a_count_that_is_no_count_is_refused(name, n, error):
    with pytest.raises(error, match="n must be"):
        WITH_COUNT[name](n)


@pytest.mark.parametrize("name", WITH_COUNT)
@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (0.5, TypeError)])
def test_a_seed_that_is_no_seed_is_refused(name, seed, error):
    with pytest.raises(error, match="seed must be"):
        WITH_COUNT[name](3, seed=seed)


@pytest.mark.parametrize("name", GENERATED)
def test_generated_data_have_no_seedless_form(name):
    with pytest.raises(TypeError, match="seed must be"):
        GENERATED[name](3, seed=None)


@pytest.mark.parametrize("name", WITH_COUNT)
def test_the_seed_fixes_the_data_and_nothing_else_does(name):
    np.random.seed(1)  # noqa: NPY002 - the global generator is what must not matter
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = entries(WITH_COUNT[name](50, seed=3))
    again = entries(WITH_COUNT[name](50, seed=3))
    other = entries(WITH_COUNT[name](50, seed=4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert first.dtype == np.float64
    assert first.flags.writeable


def test_off_manifold_inputs_do_not_repeat_the_training_vectors():
    trained = datasets.cross_product(20, seed=0).x
    assert np.abs(datasets.off_manifold(20, (2, 3), seed=0) - trained).min() > 1e-9


# ---------------------------------------------------------------- digits


def test_digits_are_the_files_digits_in_another_order():
    raw = pytest.importorskip("sklearn.datasets").load_digits()
    data = datasets.digits()
    kept = datasets.digits(seed=None)
    np.testing.assert_array_equal(kept.x[..., 0] * 16.0, raw.images)
    np.testing.assert_array_equal(kept.labels, raw.target)
    listed = sorted(map(bytes, np.concatenate([raw.images.reshape(1797, 64), raw.target[:, None]], 1)))
    found = np.concatenate([data.x.reshape(1797, 64) * 16.0, data.labels[:, None]], 1)
    assert sorted(map(bytes, found)) == listed
    assert not np.array_equal(data.labels, kept.labels)


def test_fewer_digits_are_a_prefix_of_more():
    few, more = datasets.digits(30, seed=5), datasets.digits(70, seed=5)
    np.testing.assert_array_equal(few.x, more.x[:30])
    np.testing.assert_array_equal(few.y, more.y[:30])
    assert few.x.shape == (30, 8, 8, 1)
    assert (few.x.min(), few.x.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(few.y[np.arange(30), few.labels], 0.9)
    np.testing.assert_allclose(few.y.sum(axis=1), 0.0, atol=1e-15)


def test_more_digits_than_there_are_is_refused():
    with pytest.raises(ValueError, match="at most the 1797 samples that digits holds, found 1798"):
        datasets.digits(1798)


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "haarflow\[data\]"'):
        datasets.digits(3)


# ---------------------------------------------------------------- FashionMNIST


def idx(array, magic=None):
    sides = struct.pack(f">{array.ndim}I", *array.shape)
    return struct.pack(">I", magic or 0x0800 + array.ndim) + sides + array.astype(np.uint8).tobytes()


def write_folder(folder, images, labels, pack=None, stem="train"):
    for name, content in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
        suffix = ".gz" if pack else ""
        (folder / (name + suffix)).write_bytes(pack(content) if pack else content)
    return folder


@pytest.fixture
def clothes():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (12, 28, 28)), rng.integers(0, 10, 12)


@pytest.mark.parametrize("pack", [None, gzip.compress])
@pytest.mark.parametrize(("split", "stem"), [("train", "train"), ("test", "t10k")])
def test_idx_files_are_read_as_written(tmp_path, clothes, pack, split, stem):
    images, labels = clothes
    folder = write_folder(tmp_path, idx(images), idx(labels), pack, stem)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    data = datasets.fashion_mnist(folder=str(folder), split=split, seed=None)
    assert data.x.shape == (12, 28, 28, 1)
    assert data.x.dtype == np.float64
    assert data.labels.dtype == np.int64
    for i in range(12):
        np.testing.assert_array_equal(data.x[i, :, :, 0], images[i] / 255.0)
        assert data.labels[i] == labels[i]
        np.testing.assert_allclose(data.y[i], np.eye(10)[labels[i]] - 0.1, atol=1e-16)
    data.x[:] = 0.0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_shuffling_keeps_images_with_their_labels(tmp_path):
    labels = np.arange(12) % 10
    images = np.broadcast_to((np.arange(12) * 20)[:, None, None], (12, 28, 28))
    folder = write_folder(tmp_path, idx(images), idx(labels))
    data = datasets.fashion_mnist(7, folder)
    which = np.round(data.x[:, 0, 0, 0] * 255 / 20).astype(int)
    assert len(set(which)) == 7
    assert list(which) != sorted(which)
    np.testing.assert_array_equal(data.labels, which % 10)


IMAGES, LABELS = np.zeros((4, 28, 28)), np.zeros(4)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (idx(IMAGES, 0x0801), idx(LABELS), "IDX magic number 00000803, found '00000801'"),
        (idx(IMAGES), idx(LABELS, 0x0D01), "IDX magic number 00000801, found '00000d01'"),
        (idx(IMAGES)[:-1], idx(LABELS), r"hold 3136 bytes for its shape \(4, 28, 28\), found 3135"),
        (idx(IMAGES) + b"\0", idx(LABELS), "found 3137"),
        (idx(IMAGES)[:9], idx(LABELS), "header of 16 bytes, found 9"),
        (b"", idx(LABELS), "found ''"),
        (idx(IMAGES), idx(np.zeros(5)), "found 4 images and 5 labels"),
        (idx(np.zeros((4, 32, 32))), idx(LABELS), r"28 x 28 pixels, found \(32, 32\)"),
        (idx(IMAGES), idx(np.full(4, 10)), r"0 \.\. 9, found 10"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-9], idx(LABELS), "whole gzip file"),
        (struct.pack(">4I", 0x0803, 2**32 - 1, 2**32 - 1, 2**32 - 1), idx(LABELS), "found 0"),
    ],
)
def test_damaged_files_are_named(tmp_path, images, labels, message):
    write_folder(tmp_path, images, labels)
    with pytest.raises(ValueError, match=message) as caught:
        datasets.fashion_mnist(folder=tmp_path)
    assert str(tmp_path) in str(caught.value) or "labels must" in str(caught.value)


@pytest.mark.parametrize("cut", [12, 40, 200])
def test_a_flipped_byte_inside_a_gzip_file_is_caught(tmp_path, clothes, cut):
    packed = bytearray(gzip.compress(idx(clothes[0])))
    packed[cut] ^= 0xFF
    write_folder(tmp_path, bytes(packed), idx(clothes[1]))
    with pytest.raises(ValueError, match="whole gzip file"):
        datasets.fashion_mnist(folder=tmp_path)


def test_missing_files_say_how_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"apt-get install dataset-fashion-mnist.*folder="):
        datasets.fashion_mnist(folder=tmp_path / "nowhere")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    with pytest.raises(FileNotFoundError, match="no train-labels-idx1-ubyte"):
        datasets.fashion_mnist(folder=tmp_path)


def test_another_split_is_refused():
    with pytest.raises(ValueError, match='split must be "train" or "test", found \'valid\''):
        datasets.fashion_mnist(split="valid")


@needs_debian
def test_debians_files_hold_ten_thousand_balanced_test_images():
    data = datasets.fashion_mnist(split="test", seed=None)
    assert data.x.shape == (10_000, 28, 28, 1)
    assert (data.x.min(), data.x.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(np.bincount(data.labels), 1000)
    np.testing.assert_array_equal(data.labels[:5], [9, 2, 1, 1, 6])  # ankle boot, pullover, trousers, ...
    # A class mean that is blank or alike for all classes would mean images and labels have parted.
    means = np.stack([data.x[data.labels == c].mean(axis=0).ravel() for c in range(10)])
    nearest = np.square(data.x[:500].reshape(500, 1, -1) - means).sum(axis=-1).argmin(axis=1)
    assert (nearest == data.labels[:500]).mean() > 0.6


@needs_debian
def test_debians_training_files_are_read_by_default():
    data = datasets.fashion_mnist(20)
    assert data.x.shape == (20, 28, 28, 1)
    assert str(DEBIAN) in data.source
    with pytest.raises(ValueError, match="at most the 60000 samples"):
        datasets.fashion_mnist(60_001)


# ---------------------------------------------------------------- Ising and cross products


def listed_energies(spins, side, J):
    energies = np.zeros(side * side)
    for row in range(side):
        for column in range(side):
            total = 0.0
            for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                total += spins[((row + down) % side) * side + (column + right) % side]
            energies[row * side + column] = -J / side**2 * spins[row * side + column] * total
    return energies


@pytest.mark.parametrize(("side", "J"), [(3, 1.0), (5, 1.0), (5, -0.7), (6, 2.5)])
def test_local_energies_against_a_loop_over_sites(side, J):
    data = datasets.ising(8, side, J, seed=1)
    assert data.x.shape == data.y.shape == (8, side * side)
    assert set(np.unique(data.x)) == {-1.0, 1.0}
    for spins, energies in zip(data.x, data.y, strict=True):
        np.testing.assert_allclose(energies, listed_energies(spins, side, J), rtol=1e-14)


def test_local_energies_turn_with_the_lattice_and_their_sum_stays():
    data = datasets.ising(10, 5, seed=2)
    turned = np.rot90(data.x.reshape(10, 5, 5), axes=(1, 2)).reshape(10, 25)
    energies = np.stack([listed_energies(spins, 5, 1.0) for spins in turned])
    np.testing.assert_allclose(np.rot90(data.y.reshape(10, 5, 5), axes=(1, 2)).reshape(10, 25), energies)
    np.testing.assert_allclose(energies.sum(axis=1), data.y.sum(axis=1))
    assert np.abs(energies - data.y).max() > 0.01


def test_aligned_spins_have_four_bonds_at_each_site():
    data = datasets.ising(4000, 3, seed=0)  # one configuration in 256 is aligned
    aligned = np.abs(data.x.sum(axis=1)) == 9
    assert aligned.any()
    np.testing.assert_allclose(data.y[aligned], -4 / 9)


def test_spins_are_fair_and_independent():
    spins = datasets.ising(4000, 4, seed=0).x
    bound = 5 / np.sqrt(4000)
    assert np.abs(spins.mean(axis=0)).max() < bound
    assert np.abs(spins.T @ spins / 4000 - np.eye(16)).max() < bound


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"side": 2}, ValueError, "side must be at least 3"),
        ({"side": 5.0}, TypeError, "side must be a whole number"),
        ({"J": np.nan}, ValueError, "J must be finite"),
    ],
)
def test_ising_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        datasets.ising(3, **arguments)


def test_cross_products_component_by_component():
    data = datasets.cross_product(50, seed=1)
    assert data.x.shape == (50, 2, 3)
    for (a, b), c in zip(data.x, data.y, strict=True):
        wanted = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
        np.testing.assert_allclose(c, wanted, rtol=1e-14)
    assert abs(data.x.std() - 1.0) < 0.15


@pytest.mark.parametrize(
    ("shape", "wanted"), [(7, (4, 7)), ((8, 8, 1), (4, 8, 8, 1)), ([2, 3], (4, 2, 3)), (np.int64(3), (4, 3))]
)
def test_off_manifold_shapes(shape, wanted):
    assert datasets.off_manifold(4, shape).shape == wanted


def test_off_manifold_entries_are_standard_normal():
    values = datasets.off_manifold(2000, (5,), seed=3)
    assert abs(values.mean()) < 0.05
    assert abs(values.var() - 1.0) < 0.05
    assert abs((values**4).mean() - 3.0) < 0.3  # a uniform variable of variance 1 has 1.8


@pytest.mark.parametrize(("shape", "error"), [((), ValueError), ((0, 3), ValueError), ((2.0,), TypeError)])
def test_off_manifold_refuses(shape, error):
    with pytest.raises(error, match="shape must"):
        datasets.off_manifold(3, shape)
