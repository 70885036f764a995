"""The store as a folder: other files in it, other processes, full disks, crashes."""

import errno
import hashlib
import os
import subprocess
import sys
import time
import warnings
from datetime import timedelta
from stat import S_ISDIR

import numpy as np
import pytest
from stores import KEY, arrays, only_file

from haarflow.kernels import Store, StoreError, StoreWarning
from haarflow.kernels import store as module


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


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
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="found no file in"):
        Store(tmp_path / "empty", create=False)
    with pytest.raises(StoreError, match="cannot be made at"):
        Store(tmp_path / "file" / "store")
    assert (tmp_path / "file").read_text() == ""
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


MARKERS = {
    '{"format": 2}': "has format 2 of a newer haarflow; this version reads 1",
    '{"format": "1"}': "damaged",
    '{"format": true}': "damaged",
    '{"format": 0}': "damaged",
    "{}": "damaged",
    "{": "damaged",
    "[]": "damaged",
    "": "damaged",
    "\0\x80": "damaged",
}


@pytest.mark.parametrize("content", MARKERS)
def test_markers(tmp_path, content):
    Store(tmp_path).put("gram", KEY, arrays())
    (tmp_path / "haarflow-store.json").write_text(content, encoding="latin-1")
    for create in (True, False):
        with pytest.raises(StoreError, match=MARKERS[content]):
            Store(tmp_path, create)


def test_a_store_without_its_marker_is_foreign(store):
    store.put("gram", KEY, arrays())
    (store.path / "haarflow-store.json").unlink()
    with pytest.raises(StoreError, match=f"found {only_file(store).name}"):
        Store(store.path)


def test_a_relative_path_survives_a_change_of_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("store")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.put("gram", KEY, arrays())
    assert store.get("gram", KEY) is not None
    assert list((tmp_path / "elsewhere").iterdir()) == []


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_write_that_fails_loses_nothing(store, monkeypatch, code):
    store.put("gram", KEY, arrays())
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", failing(code))
        with pytest.raises(StoreError, match="nothing was changed"):
            store.put("gram", {"samples": 4}, arrays(1))
    assert sorted(p.suffix for p in store.path.iterdir()) == [".h5", ".json"]
    assert store.get("gram", KEY)["block"].tobytes() == arrays()["block"].tobytes()


def fail_for_folders(monkeypatch, code):
    flush = os.fsync

    def flush_files(descriptor):
        if S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        flush(descriptor)

    monkeypatch.setattr(module.os, "fsync", flush_files)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_folders_that_cannot_be_flushed(tmp_path, monkeypatch, code):
    """As on some mounts: the file system has no such thing."""
    fail_for_folders(monkeypatch, code)
    store = Store(tmp_path / "store")
    store.put("gram", KEY, arrays())
    assert store.get("gram", KEY) is not None


def test_the_names_of_new_folders_are_flushed_too(tmp_path, monkeypatch):
    flush, flushed = os.fsync, []

    def note(descriptor):
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        flush(descriptor)

    monkeypatch.setattr(module.os, "fsync", note)
    Store(tmp_path / "a" / "b")
    assert {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")} <= {*flushed}
    flushed.clear()
    Store(tmp_path / "a" / "b")
    assert flushed == []


def test_a_folder_whose_name_failed_to_be_flushed_is_flushed_again(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(module.os, "fsync", failing(errno.EIO))
    with pytest.raises(StoreError, match="its folder could not be flushed to disk"):
        Store(tmp_path / "store")
    monkeypatch.setattr(module.os, "fsync", lambda file: flushed.append(os.readlink(f"/proc/self/fd/{file}")))
    Store(tmp_path / "store")
    assert str(tmp_path) in flushed


def test_a_folder_that_fails_to_be_flushed(store, monkeypatch):
    fail_for_folders(monkeypatch, errno.EIO)
    for _ in range(2):  # again, where the same bytes are there already
        with pytest.raises(StoreError, match=r"\.h5 was written, but its folder could not be flushed to disk"):
            store.put("gram", KEY, arrays())


def test_read_only_place(tmp_path, monkeypatch):
    monkeypatch.setattr(module.Path, "mkdir", failing(errno.EACCES))
    with pytest.raises(StoreError, match="cannot be made at"):
        Store(tmp_path / "store")


def test_a_store_that_is_read_only_can_be_read(store, monkeypatch):
    store.put("gram", KEY, arrays())
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    with pytest.raises(StoreError, match=r"must be a writable folder, found .* read-only"):
        Store(store.path)
    assert Store(store.path, create=False).get("gram", KEY) is not None


def test_a_folder_that_is_gone_is_an_error_of_the_store(store):
    (store.path / "haarflow-store.json").unlink()
    store.path.rmdir()
    with pytest.raises(StoreError, match="could not be written"):
        store.put("gram", KEY, arrays())


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_loses_nothing(small_disk):
    store = Store(small_disk)
    store.put("gram", KEY, arrays())
    with pytest.raises(StoreError, match=r"nothing was changed: .*No space left"):
        store.put("gram", {"samples": 4}, {"block": np.zeros(10**5)})
    assert [problem for _, problem in store.check()] == [None]
    assert store.get("gram", KEY)["block"].tobytes() == arrays()["block"].tobytes()
    store.put("gram", {"samples": 5}, arrays(2))


def test_check_and_prune(store):
    store.put("gram", KEY, arrays())
    store.put("spectrum", KEY, arrays(1))
    (store.path / ".tmp-1-abc").write_bytes(b"half")
    (store.path / "notes.txt").write_text("mine")
    problems = {entry.path.name: problem for entry, problem in store.check() if problem}
    assert problems == {
        ".tmp-1-abc": "left over from an interrupted run",
        "notes.txt": "no file of the store",
    }
    assert [p.name for p in store.prune(damaged=True)] == [".tmp-1-abc"]
    assert [p.name[:4] for p in store.prune(kind="gram")] == ["gram"]
    assert store.get("spectrum", KEY) is not None
    assert (store.path / "notes.txt").exists()


def test_prune_by_age_and_kind(store):
    for i in range(3):
        store.put("gram", {"samples": i}, arrays(i))
        store.put("spectrum", {"samples": i}, arrays(i))
    day = 24 * 3600
    for entry in store.entries():
        age = entry.key["samples"] * day + 100
        os.utime(entry.path, (time.time() - age, time.time() - age))
    removed = store.prune(kind="gram", older_than=timedelta(days=2))
    assert len(removed) == 1
    kept = [(entry.kind, entry.key["samples"]) for entry in store.entries()]
    assert sorted(kept) == [("gram", 0), ("gram", 1), ("spectrum", 0), ("spectrum", 1), ("spectrum", 2)]
    assert store.prune(damaged=True) == []
    assert len(store.prune(older_than=timedelta(days=1))) == 3
    assert len(store.prune()) == 2
    assert list(store.check()) == []
    with pytest.raises(TypeError, match=r"older_than must be a datetime\.timedelta, found 3600"):
        store.prune(older_than=3600)


def test_only_damaged_ones_of_a_kind_are_pruned(store):
    for i in range(2):
        store.put("gram", {"samples": i}, arrays(i))
        store.put("spectrum", {"samples": i}, arrays(i))
    bad = [entry.path for entry in store.entries() if entry.key["samples"] == 1]
    for path in bad:
        path.write_bytes(path.read_bytes()[:-1])
    assert [problem for _, problem in store.check() if problem] == ["its checksum is wrong"] * 2
    assert store.prune(kind="gram", damaged=True) == [path for path in bad if path.name.startswith("gram")]
    assert len(list(store.entries())) == 3


CRASH = """
import os, sys
from haarflow.kernels import Store
from haarflow.kernels import store as module
import numpy as np
store = Store(sys.argv[1])
print("ready", flush=True)
if sys.argv[2] == "crash":
    module.os.replace = lambda *_: os._exit(9)
else:
    module.os.replace = lambda *_: (print("writing", flush=True), sys.stdin.readline())
store.put("gram", {"samples": 1}, {"block": np.zeros(3)})
"""


def test_a_crash_leaves_a_file_that_prune_removes(store):
    store.put("gram", KEY, arrays())
    run = subprocess.run([sys.executable, "-c", CRASH, str(store.path), "crash"], capture_output=True, check=False)
    assert run.returncode == 9, run.stderr
    assert store.get("gram", {"samples": 1}) is None
    (left,) = store.path.glob(".tmp-*")
    assert [entry.path for entry, problem in store.check() if problem] == [left]
    Store(store.path)
    assert store.prune(damaged=True) == [left]
    assert store.get("gram", KEY) is not None


def test_what_another_process_is_writing_stays(store):
    command = [sys.executable, "-c", CRASH, str(store.path), "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert [writer.stdout.readline() for _ in range(2)] == ["ready\n", "writing\n"]
        ((entry, problem),) = store.check()
        assert (entry.kind, problem) == ("temporary", None)
        assert store.prune() == []
        os.utime(entry.path, (0, 0))  # nobody writes for that long
        assert store.prune() == [entry.path]
        writer.stdin.write("\n")


def test_a_crash_while_a_store_is_made_leaves_a_folder_to_make_it_in(tmp_path):
    (tmp_path / ".tmp-elsewhere-1-0123456789abcdef").write_bytes(b"{")
    Store(tmp_path).put("gram", KEY, arrays())
    assert Store(tmp_path).get("gram", KEY) is not None


PUT_MANY = """
import sys
import numpy as np
from haarflow.kernels import Store
store = Store(sys.argv[1])
for i in range(40):
    own = np.full(5000, float(sys.argv[2]))
    store.put("gram", {"samples": i}, {"block": own if i % 2 else np.full(5000, float(i))})
    for j in (i, 39 - i):
        found = store.get("gram", {"samples": j})
        assert found is not None or j > i, j
        assert found is None or len(set(found["block"])) == 1
"""


def test_two_processes_share_a_store(tmp_path):
    """Even entries have equal bytes in both, odd ones do not."""
    command = [sys.executable, "-W", "error", "-c", PUT_MANY, str(tmp_path / "store")]
    workers = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True) for seed in (3, 7)]
    errors = [worker.communicate(timeout=60)[1] for worker in workers]
    assert errors == ["", ""]
    store = Store(tmp_path / "store")
    assert all(problem is None for _, problem in store.check())
    found = [entry.key["samples"] for entry in store.entries()]
    assert [found.count(i) for i in range(40)] == [1, 2] * 20


def test_equal_entries_are_not_written_again(store):
    store.put("gram", KEY, arrays(), info={"seconds": 2.5})
    before = only_file(store).stat()
    store.put("gram", KEY, arrays(), info={"seconds": 2.5})
    after = only_file(store).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


_sha256 = hashlib.sha256


def test_sound_entries_of_the_same_key_stay(store):
    """Another process's, written at the same time: if each removed the other's, none would be left."""
    store.put("gram", KEY, arrays(0))
    store.put("gram", KEY, arrays(1))
    assert len(list(store.entries())) == 2
    assert store.get("gram", KEY) is not None


def test_a_damaged_entry_does_not_hide_a_sound_one(store):
    store.put("gram", KEY, arrays(0))
    first = only_file(store)
    store.put("gram", KEY, arrays(1))
    (second,) = set(store.path.glob("*.h5")) - {first}
    for path, seed in ((first, 1), (second, 0)):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StoreWarning)
            assert store.get("gram", KEY)["block"].tobytes() == arrays(seed)["block"].tobytes()
        path.write_bytes(content)


def test_a_put_removes_what_is_damaged(store):
    store.put("gram", KEY, arrays(0))
    only_file(store).write_bytes(b"")
    store.put("spectrum", KEY, arrays(0))
    store.put("gram", KEY, arrays(1))
    assert sorted(entry.kind for entry, problem in store.check()) == ["gram", "spectrum"]
    assert all(problem is None for _, problem in store.check())
