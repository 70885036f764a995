"""The store: what it returns is what was put, or nothing; whatever happens to its files."""

import errno
import hashlib
import io
import json
import multiprocessing
import os

import h5py
import numpy as np
import pytest
from haarflow.kernels import Store, StoreError, StoreWarning, digest_array
from haarflow.kernels import store as module

KEY = {"architecture": "Dense", "samples": 3, "ridge": 0.5}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {"block": rng.standard_normal((30, 30)), "small": np.float32([1.5, np.nan, -0.0]), "scalar": np.float64(2), "none": np.empty((0, 3))}


def only_file(store):
    (path,) = store.path.glob("*.h5")
    return path


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


def hostile(build):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"] = 1
        file.attrs["key"] = json.dumps(KEY, sort_keys=True)
        build(file)
    return buffer.getvalue()


def external_storage(file):
    file.create_dataset("block", (4,), "f8", external=[("/etc/hostname", 0, 32)])


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "block", (4,))
    file.create_virtual_dataset("block", layout)


HOSTILE = {
    "external link": lambda f: f.__setitem__("block", h5py.ExternalLink("other.h5", "/block")),
    "soft link": lambda f: f.__setitem__("block", h5py.SoftLink("/elsewhere")),
    "external storage": external_storage,
    "virtual": virtual,
    "huge": lambda f: f.create_dataset("block", (10**12,), "f8", chunks=(10**6,)),
    "strings": lambda f: f.create_dataset("block", data="a text"),
    "group": lambda f: f.create_group("block"),
    "cycle": lambda f: f.create_group("block").__setitem__("again", f["/"]),
    "another format": lambda f: f.attrs.__setitem__("format", 2),
    "no key": lambda f: f.attrs.__delitem__("key"),
    "another key": lambda f: f.attrs.__setitem__("key", "{}"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(store, name):
    store.put("gram", KEY, arrays())
    rename_by_content(only_file(store), hostile(HOSTILE[name]))
    with pytest.warns(StoreWarning, match="damaged and is computed again"):
        assert store.get("gram", KEY) is None


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


def test_places_that_are_no_store(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="must be a folder, found the file"):
        Store(tmp_path / "file")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    with pytest.raises(StoreError, match=r"found chapter.tex"):
        Store(tmp_path / "thesis")
    with pytest.raises(StoreError, match="found nothing at"):
        Store(tmp_path / "missing", create=False)
    for content, message in (('{"format": 2}', "has format 2"), ("{", "damaged"), ("[]", "damaged")):
        folder = tmp_path / f"store{len(content)}"
        Store(folder)
        (folder / "haarflow-store.json").write_text(content)
        with pytest.raises(StoreError, match=message):
            Store(folder)


def failing(code):
    def write(*_):
        raise OSError(code, os.strerror(code))

    return write


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_write_that_fails_loses_nothing(store, monkeypatch, code):
    store.put("gram", KEY, arrays())
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", failing(code))
        with pytest.raises(StoreError, match="nothing was changed"):
            store.put("gram", {"samples": 4}, arrays(1))
    assert sorted(p.suffix for p in store.path.iterdir()) == [".h5", ".json"]
    assert store.get("gram", KEY)["block"].tobytes() == arrays()["block"].tobytes()


def test_read_only_place(tmp_path, monkeypatch):
    monkeypatch.setattr(module.Path, "mkdir", failing(errno.EACCES))
    with pytest.raises(StoreError, match="cannot be made at"):
        Store(tmp_path / "store")


def test_check_and_prune(store):
    store.put("gram", KEY, arrays())
    store.put("spectrum", KEY, arrays(1))
    (store.path / ".tmp-1-abc").write_bytes(b"half")
    (store.path / "notes.txt").write_text("mine")
    problems = {entry.path.name: problem for entry, problem in store.check() if problem}
    assert problems == {".tmp-1-abc": "left over from an interrupted run", "notes.txt": "no file of the store"}
    assert [p.name for p in store.prune(damaged=True)] == [".tmp-1-abc"]
    assert [p.name[:4] for p in store.prune(kind="gram")] == ["gram"]
    assert store.get("spectrum", KEY) is not None
    assert (store.path / "notes.txt").exists()


def _put_many(path, seed):
    store = Store(path)
    for i in range(10):
        store.put("gram", {"samples": i}, arrays(i))
        found = store.get("gram", {"samples": (i + seed) % 10})
        assert found is None or found["block"].shape == (30, 30)


def test_two_processes_share_a_store(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_put_many, args=(tmp_path / "store", seed)) for seed in (3, 7)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert all(problem is None for _, problem in Store(tmp_path / "store").check())
    assert len(list(Store(tmp_path / "store").entries())) == 10


def test_digests_see_bits_shape_and_dtype():
    x = np.arange(6.0)
    digests = [digest_array(a) for a in (x, x.reshape(2, 3), x.astype("float32"), x + 1e-300, np.zeros(2), -np.zeros(2))]
    assert digests[0] == digests[3]
    assert len({*digests[:3], *digests[4:]}) == 5
    assert digest_array(x[::2]) == digest_array(x[::2].copy())


def test_kind_is_letters(store):
    with pytest.raises(ValueError, match="letters only"):
        store.put("../gram", KEY, arrays())
