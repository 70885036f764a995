"""One entry of a store: it comes back bit for bit, or is refused with the reason."""

import hashlib
import io
import json
import os
from importlib.metadata import version

import h5py
import hypothesis.extra.numpy as hypothesis_numpy
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from stores import KEY, arrays, only_file

from haarflow.kernels import Store, StoreWarning, digest_array


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_round_trip_is_bit_identical(store):
    store.put("gram", KEY, arrays())
    found = Store(store.path, create=False).get("gram", dict(reversed(KEY.items())))
    assert found.keys() == arrays().keys()
    for name, array in arrays().items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
        assert found[name].flags.writeable
    assert store.get("spectrum", KEY) is None
    assert store.get("gram", {**KEY, "samples": 4}) is None


def test_entries_say_what_they_are(store):
    store.put("gram", KEY, arrays())
    (entry,) = store.entries()
    assert (entry.kind, entry.key) == ("gram", KEY)
    with h5py.File(entry.path) as file:
        assert file.attrs["key.architecture"] == "Dense"


def damaged(store, content):
    only_file(store).write_bytes(content)
    with pytest.warns(StoreWarning, match="damaged and is computed again"):
        assert store.get("gram", KEY) is None
    assert [problem is None for _, problem in store.check()] == [False]


def test_flipped_bits_and_truncations_are_found(store):
    store.put("gram", KEY, arrays())
    content = only_file(store).read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(content), 40):
        flipped = bytearray(content)
        flipped[position] ^= 1 << int(rng.integers(8))
        damaged(store, bytes(flipped))
    for length in (0, 1, 8, 100, len(content) - 1):
        damaged(store, content[:length])
    store.put("gram", KEY, arrays())
    assert store.get("gram", KEY)["block"].tobytes() == arrays()["block"].tobytes()
    assert len(list(store.path.glob("*.h5"))) == 1


def rename_by_content(path, content):
    kind, key, _ = path.stem.split("-")
    path.unlink()
    path.with_name(f"{kind}-{key}-{hashlib.sha256(content).hexdigest()}.h5").write_bytes(content)


def hostile(build, key=KEY):
    """Return a file that is in order but for what `build` does to it."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        file.attrs.update(format=1, kind="gram", key=text)
        build(file)
    buffer.seek(0)
    buffer.write(f"{text}\n".encode())
    return buffer.getvalue()


def external_storage(file):
    file.create_dataset("block", (4,), "f8", external=[("/etc/hostname", 0, 32)])


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "block", (4,))
    file.create_virtual_dataset("block", layout)


def overlapping(file):
    data = file.create_dataset("block", data=np.zeros(4000))
    for i in range(3):
        file[f"again_{i}"] = data


def linked(link):
    return lambda file: file.__setitem__("block", link)


def holding(*args, **kwargs):
    return lambda file: file.create_dataset("block", *args, **kwargs)


def saying(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


# name -> (what is done to the file, why it is refused)
HOSTILE = {
    "external link": (linked(h5py.ExternalLink("other.h5", "/block")), "links elsewhere"),
    "soft link": (linked(h5py.SoftLink("/elsewhere")), "links elsewhere"),
    "external storage": (external_storage, "as plain numbers"),
    "virtual": (virtual, "as plain numbers"),
    "huge": (holding((10**12,), "f8", chunks=(10**6,)), "as plain numbers"),
    "huge and never written": (holding((10**12,), "f8"), "as plain numbers"),
    "never written": (holding((3,), "f8"), "as plain numbers"),
    "the same bytes many times": (overlapping, "as plain numbers"),
    "compressed": (holding(data=np.zeros(9999), compression="gzip"), "as plain numbers"),
    "strings": (holding(data="a text"), "no array of numbers"),
    "records": (holding(data=np.zeros(2, "f8,i4")), "no array of numbers"),
    "no shape": (holding(data=h5py.Empty("f8")), "no array of numbers"),
    "group": (lambda file: file.create_group("block"), "no array of numbers"),
    "cycle": (lambda file: file.create_group("block").__setitem__("a", file["/"]), "no array of numbers"),
    "another format": (saying("format", 2), "its format is 2"),
    "no format": (lambda file: file.attrs.__delitem__("format"), "format"),
    "no key": (lambda file: file.attrs.__delitem__("key"), "key"),
    "another key": (saying("key", "{}"), "its kind or key is another one"),
    "a number as key": (saying("key", 3), ""),
    "another kind": (saying("kind", "spectrum"), "its kind or key is another one"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(store, name):
    build, why = HOSTILE[name]
    store.put("gram", KEY, arrays())
    rename_by_content(only_file(store), hostile(build))
    with pytest.warns(StoreWarning, match=f"damaged and is computed again: .*{why}") as warned:
        assert store.get("gram", KEY) is None
    assert warned[0].filename == __file__
    assert str(only_file(store)) in str(warned[0].message)
    ((entry, problem),) = store.check()
    assert why in problem
    assert entry.damage == problem
    assert store.prune(damaged=True) == [entry.path]


def test_what_hostile_files_are_compared_with_is_read(store):
    store.put("gram", KEY, arrays())
    rename_by_content(only_file(store), hostile(lambda f: f.create_dataset("block", data=np.arange(3))))
    assert store.get("gram", KEY)["block"].tolist() == [0, 1, 2]


def test_hdf5_never_sees_bytes_of_another_checksum(store, monkeypatch):
    store.put("gram", KEY, arrays())
    content = bytearray(only_file(store).read_bytes())
    content[-1] ^= 1
    only_file(store).write_bytes(content)
    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("opened"))
    with pytest.warns(StoreWarning, match="its checksum is wrong"):
        assert store.get("gram", KEY) is None


def test_nothing_but_plain_files_is_opened(store):
    store.put("gram", KEY, arrays())
    path = only_file(store)
    path.unlink()
    os.mkfifo(path)  # opening it would wait for ever
    with pytest.warns(StoreWarning, match="it is no file"):
        assert store.get("gram", KEY) is None
    assert [entry.damage for entry in store.entries()] == ["it is no file"]


def test_a_file_that_is_no_hdf5_is_refused(store):
    store.put("gram", KEY, arrays())
    rename_by_content(only_file(store), b"not HDF5 at all")
    with pytest.warns(StoreWarning, match="damaged"):
        assert store.get("gram", KEY) is None


def test_a_renamed_file_is_another_entry(store):
    store.put("gram", KEY, arrays())
    path = only_file(store)
    store.put("gram", {"samples": 9}, arrays(1))
    (other,) = (p for p in store.path.glob("*.h5") if p != path)
    content = other.read_bytes()
    other.unlink()
    rename_by_content(path, content)
    with pytest.warns(StoreWarning, match="its key is another one"):
        assert store.get("gram", KEY) is None


def test_digests_see_bits_shape_and_dtype():
    x = np.arange(6.0)
    different = [
        x,
        x.reshape(2, 3),
        x.astype("float32"),
        x.astype(">f8"),
        x + 1e-300,
        np.zeros(2),
        -np.zeros(2),
    ]
    different += [
        np.zeros(()),
        np.zeros(1),
        np.zeros(0),
        np.zeros((0, 2)),
        np.zeros(2, bool),
        np.zeros(2, "i8"),
    ]
    assert len({digest_array(a) for a in different}) == len(different)
    assert digest_array(x) == digest_array(x.copy())
    assert digest_array(x[::2]) == digest_array(x[::2].copy())
    assert digest_array(np.asfortranarray(x.reshape(2, 3))) == digest_array(x.reshape(2, 3))
    assert digest_array(x.reshape(2, 3)) == hashlib.sha256(b"<f8(2, 3)" + x.tobytes()).hexdigest()
    for wrong in (np.array([None]), np.array(["text"]), np.zeros(2, "f8,i4")):
        with pytest.raises(TypeError, match="x must be an array of numbers, found dtype"):
            digest_array(wrong)


def test_kind_is_letters(store):
    for wrong in ("../gram", "", "gr*m", "größe", None):
        for use in (lambda kind: store.put(kind, KEY, arrays()), lambda kind: store.get(kind, KEY)):
            with pytest.raises(ValueError, match="kind must be letters only"):
                use(wrong)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ([], TypeError),
        ({1: "a"}, TypeError),
        ({"a": np.zeros(2)}, TypeError),
        ({"a": {1, 2}}, TypeError),
        ({"a": float("nan")}, ValueError),
        ({"a": "long" * 10**6}, ValueError),
    ],
)
def test_keys_that_cannot_be_kept(store, wrong, error):
    for use in (lambda: store.put("gram", wrong, arrays()), lambda: store.get("gram", wrong)):
        with pytest.raises(error, match="key must"):
            use()
    with pytest.raises(error, match="info must"):
        store.put("gram", KEY, arrays(), info=wrong)
    assert list(store.entries()) == []


@pytest.mark.parametrize(
    "key",
    [
        {"text": "zero \0, half \ud800, ümlaut, line\nend"},
        {"large": 2**70, "small": 5e-324, "negative zero": -0.0, "truth": True, "nothing": None},
        {"nested": {"list": [1, 2.5, "three"]}},
        {"architecture": "Conv, " * 20000},
        {},
    ],
    ids=["text", "numbers", "nested", "long", "empty"],
)
def test_unusual_keys(store, key):
    store.put("gram", key, arrays())
    assert store.get("gram", key)["block"].tobytes() == arrays()["block"].tobytes()
    ((entry, problem),) = store.check()
    assert problem is None
    assert entry.key == key


def test_keys_that_python_takes_as_equal_are_not(store):
    for number, value in enumerate((1, 1.0, True, "1", np.float32(0.5), -0.0, 0.0)):
        store.put("gram", {"value": value}, {"number": np.int64(number)})
    assert [store.get("gram", {"value": value})["number"].item() for value in (1, 1.0, True, "1", 0.5, -0.0, 0.0)] == [
        *range(7)
    ]
    assert store.get("gram", {"value": np.int32(1)})["number"] == 0


def test_arrays_that_cannot_be_kept(store):
    for wrong in (
        np.array([None]),
        np.array(["text"]),
        np.zeros(2, complex),
        np.zeros(2, "M8[s]"),
        np.zeros(2, "f8,i4"),
    ):
        with pytest.raises(TypeError, match="arrays must hold numbers of at most 64 bits, found 'block'"):
            store.put("gram", KEY, {"block": wrong})
    for name in ("a/b", "", "..", 3):
        with pytest.raises(ValueError, match="arrays must have names such as"):
            store.put("gram", KEY, {name: np.zeros(2)})
    assert list(store.entries()) == []


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=hypothesis_numpy.arrays(
        dtype=st.sampled_from(["f8", "f4", "f2", ">f8", "i8", "i4", "u1", ">u2", "bool"]),
        shape=hypothesis_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    fortran=st.booleans(),
)
def test_any_array_comes_back_bit_for_bit(store, numbers, fortran):
    key = {"dtype": numbers.dtype.str, "shape": list(numbers.shape), "digest": digest_array(numbers)}
    store.put("gram", key, {"x": np.asfortranarray(numbers) if fortran and numbers.ndim else numbers})
    found = store.get("gram", key)["x"]
    assert (found.dtype, found.shape, found.tobytes()) == (numbers.dtype, numbers.shape, numbers.tobytes())
    assert found.flags.writeable
    assert found.flags.owndata


def test_metadata_are_readable(store):
    store.put("gram", KEY, arrays(), info={"seconds": 2.5, "threads": 2})
    path = only_file(store)
    with h5py.File(path) as file:
        found = dict(file.attrs)
    assert found.pop("made_by") == f"haarflow {version('haarflow')}"
    assert json.loads(found.pop("key")) == KEY
    assert json.loads(found.pop("info")) == {"seconds": 2.5, "threads": 2}
    expected = {"format": 1, "kind": "gram", "info.seconds": 2.5, "info.threads": 2}
    assert found == expected | {f"key.{name}": value for name, value in KEY.items()}
    assert json.loads(path.read_bytes().split(b"\n")[0]) == KEY
    marker = json.loads((store.path / "haarflow-store.json").read_text())
    assert marker == {"format": 1, "made_by": f"haarflow {version('haarflow')}"}


def test_listing_reads_little(store, monkeypatch):
    store.put("gram", KEY, arrays())
    sha256 = hashlib.sha256

    def of_little(data):
        assert len(data) < 1000
        return sha256(data)

    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("opened"))
    monkeypatch.setattr(hashlib, "sha256", of_little)
    (entry,) = store.entries()
    assert (entry.key, entry.ok, entry.bytes) == (KEY, True, entry.path.stat().st_size)


def test_keys_whose_hashes_collide(store, monkeypatch):
    monkeypatch.setattr("haarflow.kernels.entry._hash", lambda _: "0" * 32)
    store.put("gram", KEY, arrays())
    with pytest.warns(StoreWarning, match="its key is another one with the same hash"):
        assert store.get("gram", {"samples": 4}) is None
