"""Files that the system does not let be read: said, computed again, and never taken for damaged ones."""

import errno
import os
import resource

import pytest
from stores import KEY, arrays, only_file, refuse

from haarflow.kernels import Store, StoreError, StoreWarning
from haarflow.kernels import store as module

CODES = [errno.EIO, errno.EMFILE, errno.EACCES, errno.ESTALE]


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.put("gram", KEY, arrays())
    return store


def is_entry(path):
    return path.suffix == ".h5"


def contents(store):
    return {path.name: path.read_bytes() for path in store.path.iterdir()}


@pytest.mark.parametrize("where", ["look", "open", "read"])
@pytest.mark.parametrize("code", CODES)
def test_what_cannot_be_read_is_said_and_stays(store, monkeypatch, code, where):
    store.put("spectrum", KEY, arrays(1))
    before = contents(store)
    with monkeypatch.context() as patch:
        refuse(code, where, is_entry, patch.setattr)
        with pytest.warns(StoreWarning, match=f"is computed again: it cannot be read: .*{os.strerror(code)}"):
            assert store.get("gram", KEY) is None
        found = list(store.check())
        assert store.prune(damaged=True) == []
    assert [(entry.kind, entry.ok, entry.damage) for entry, _ in found] == [
        ("gram", False, None),
        ("spectrum", False, None),
    ]
    assert all(problem == entry.unreadable and os.strerror(code) in problem for entry, problem in found)
    assert contents(store) == before
    assert store.get("gram", KEY) is not None


@pytest.mark.parametrize("where", ["look", "open", "read"])
def test_a_put_leaves_others_that_cannot_be_read(store, monkeypatch, where):
    first = only_file(store)
    with monkeypatch.context() as patch:
        refuse(errno.EIO, where, lambda path: path == first, patch.setattr)
        store.put("gram", KEY, arrays(1))
    assert len(list(store.entries())) == 2
    assert all(problem is None for _, problem in store.check())


def test_a_put_takes_the_place_of_what_cannot_be_read(store, monkeypatch):
    before = contents(store), only_file(store).stat().st_ino
    with monkeypatch.context() as patch:
        refuse(errno.EIO, "open", is_entry, patch.setattr)
        store.put("gram", KEY, arrays())
    assert contents(store) == before[0]
    assert only_file(store).stat().st_ino != before[1]


def test_one_that_cannot_be_read_does_not_hide_another(store, monkeypatch):
    first = only_file(store)
    store.put("gram", KEY, arrays(1))
    (second,) = set(store.path.glob("*.h5")) - {first}
    refuse(errno.EIO, "read", lambda path: path == min(first, second), monkeypatch.setattr)
    with pytest.warns(StoreWarning, match="is passed over for another copy: it cannot be read"):
        assert store.get("gram", KEY) is not None


def test_too_many_open_files(store):
    """A clear error, since nothing could be written either; reading and writing go on afterwards."""
    before = contents(store)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        with pytest.raises(StoreError, match=f"{os.strerror(errno.EMFILE)}: '{store.path}"):
            Store(store.path)
        with pytest.raises(StoreError, match=os.strerror(errno.EMFILE)):
            store.get("gram", KEY)
        with pytest.raises(StoreError, match=os.strerror(errno.EMFILE)):
            store.put("gram", {**KEY, "samples": 4}, arrays(1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert contents(store) == before
    store.put("gram", {**KEY, "samples": 4}, arrays(1))
    assert store.get("gram", KEY) is not None


@pytest.mark.parametrize("code", CODES)
def test_what_another_may_be_writing_stays_where_it_cannot_be_looked_at(store, monkeypatch, code):
    path = store.path / ".tmp-1-abc"
    path.write_bytes(b"half")
    with monkeypatch.context() as patch:
        refuse(code, "look", lambda other: other == path, patch.setattr)
        assert store.prune(damaged=True) == []
        assert [entry.path for entry, problem in store.check() if problem] == [path]
    assert store.prune(damaged=True) == [path]


def test_a_folder_that_cannot_be_listed(store, monkeypatch):
    def fail(path):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(module.Path, "iterdir", fail)
    for use in (store.entries, store.check, store.prune):
        with pytest.raises(StoreError, match=r"cannot be read: .*denied"):
            list(use())
