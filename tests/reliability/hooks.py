"""What may happen to a run: it is killed or loses its power at any moment of a write, its files change or are refused.

The moments of writing one file are in `MOMENTS`.
"""

import builtins
import os
import random
import signal
import time
from itertools import count
from pathlib import Path

from stores import refuse

from haarflow.kernels import store as module
from haarflow.kernels.gram_tiles import GramProblem
from haarflow.kernels.tiled_block import TiledBlock

MOMENTS = ["opened", "half written", "written", "flushed", "renamed", "folder flushed"]
# What a hook has to say beside the run's outcome.
NOTES = {}


def die():
    """Leave at once, as by kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


class _Writes:
    """Follows every write of the store, and calls `act(number, files)` at each moment.

    `files` are those written since, by name, and whether they were flushed.
    """

    def __init__(self, act):
        self.act, self.number, self.files, self.whats = act, 0, {}, []
        self._fsync, self._replace = os.fsync, os.replace
        module.open, os.fsync, os.replace = self._opened, self._flush, self._rename

    def moment(self, what):
        self.number += 1
        self.whats.append(what)
        self.act(self.number, self.files)

    def _opened(self, path, mode):
        file = builtins.open(path, mode)  # noqa: SIM115 - the store closes it
        self.files[str(path)] = False
        self.moment("opened")
        return _Halving(file, self)

    def _flush(self, descriptor):
        self._fsync(descriptor)
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name in self.files:
            self.files[name] = True
        self.moment("flushed" if name in self.files else "folder flushed")

    def _rename(self, source, target):
        self._replace(source, target)
        if str(source) in self.files:
            self.files[str(target)] = self.files.pop(str(source))
            self.moment("renamed")


class _Halving:
    """A file whose writes pass through the moment at which half of it is there."""

    def __init__(self, file, writes):
        self._file, self._writes = file, writes

    def write(self, content):
        half = len(content) // 2
        self._file.write(content[:half])
        self._file.flush()
        self._writes.moment("half written")
        self._file.write(content[half:])
        self._file.flush()
        self._writes.moment("written")
        return len(content)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def count_moments(store):
    """Tell which moments the whole run has."""

    NOTES["moments"] = _Writes(lambda number, files: None).whats


def kill_at(store, moment):
    """Die at one of them."""
    _Writes(lambda number, files: die() if number == moment else None)


def cut_power_at(store, moment, seed):
    """Die at one of them, and lose some of what was not flushed."""
    draw = random.Random(seed)

    def act(number, files):
        if number == moment:
            for name, flushed in files.items():
                if not flushed:
                    os.truncate(name, draw.randrange(os.path.getsize(name) + 1))
            die()

    _Writes(act)


def slow(store, seconds):
    """Let each tile take longer, so that processes meet."""
    compute = GramProblem.compute

    def slower(self, corner, progress=None):
        time.sleep(seconds)
        return compute(self, corner, progress)

    GramProblem.compute = slower


def read_until_finished(store, files):
    """Read what others write, which is whole at every moment, and go on once all is there."""
    end, rounds = time.monotonic() + 20, 0
    while len(list(store.glob("*.h5"))) < files:
        assert time.monotonic() < end, "nobody finished the store"
        if (store / "haarflow-store.json").exists():
            for entry, damage in module.Store(store, create=False).check():
                assert damage is None, f"{entry.path}: {damage}"
            rounds += 1
        time.sleep(0.005)
    NOTES["rounds"] = rounds


def spoil_between_products(store, product, how, seed):
    """Before one of the products, spoil one tile that was verified before."""
    multiply, calls = TiledBlock.product, count(1)

    def spoiling(self, v):
        if next(calls) == product:
            spoil(store, how, random.Random(seed))
        return multiply(self, v)

    TiledBlock.product = spoiling


def flip_while_read(store, read, seed):
    """Flip bits of a tile while it is read: after its file was looked at, and before its numbers come.

    It is looked at more than once: three times in a row, so that one of them is the last before the numbers.
    """
    fstat, calls, draw = os.fstat, count(1), random.Random(seed)

    def flipping(descriptor):
        status = fstat(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.name.startswith("gram-") and read <= next(calls) < read + 3:
            for _ in range(50):
                flip(path, draw)
        return status

    os.fstat = flipping


def refuse_one(store, name, code, where):
    """Let the system refuse one file, until another takes its place."""
    victim, stat = store / name, os.stat
    inode = stat(victim).st_ino
    refuse(code, where, lambda path: path == victim and stat(path).st_ino == inode)


def refuse_for_a_while(store, code, where, first, times):
    """Let the system refuse tiles from a certain time on, as often as told."""
    calls = count(1)
    refuse(code, where, lambda path: path.name.startswith("gram-") and first <= next(calls) < first + times)


def flip(path, draw, start=0):
    """Flip one bit in place."""
    with open(path, "r+b") as file:
        at = draw.randrange(start, os.path.getsize(path))
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << draw.randrange(8)]))


def spoil(store, how, draw):
    """Flip, shorten, remove or exchange one of the tiles."""
    path = draw.choice(sorted(store.glob("gram-*")))
    if how == "flip":
        flip(path, draw)
    elif how == "shorten":
        os.truncate(path, draw.randrange(path.stat().st_size))
    else:
        content = path.read_bytes()
        path.unlink()
        if how == "pipe":
            os.mkfifo(path)
        elif how == "folder":
            path.mkdir()
        elif how == "zeros":
            path.write_bytes(bytes(len(content)))
        elif how == "link":
            path.symlink_to("/dev/zero")
        else:
            assert how == "remove"


def check_before(store):
    """Verify the store in this process first, and say what was found."""
    NOTES["damages"] = [damage for _, damage in module.Store(store, create=False).check() if damage is not None]
