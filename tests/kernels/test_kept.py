"""Entries that were verified once and are read again: by a file that changes, and by several threads."""

import errno
import os

import numpy as np
import pytest
from stores import KEY, arrays, refuse

from haarflow import groups, kernels
from haarflow.kernels import Store, StoreWarning
from haarflow.kernels.entry import DamageError, UnreadableError
from haarflow.kernels.gram_tiles import GramProblem
from haarflow.kernels.kept import Kept, TouchedError
from haarflow.kernels.tile_store import TileStore

CORNER = (0, 0)


@pytest.fixture
def kept(tmp_path):
    store = Store(tmp_path)
    store.put("gram", KEY, arrays())
    return store.keep_open("gram", KEY)


@pytest.fixture
def tiles(tmp_path):
    action = groups.no_action()
    x = np.random.default_rng(0).standard_normal((6, 4))
    kernel = kernels.analytic(kernels.Sequential(kernels.Dense(), kernels.Relu(), kernels.Dense()))
    found = TileStore(GramProblem(kernel, action, x, (groups.trivial(action.group, 1),)), Store(tmp_path), KEY)
    found.make(CORNER)
    return found


def damage(kept, name):
    """Overwrite the beginning of an array, and set the time of writing back."""
    before = kept.path.stat()
    with open(kept.path, "r+b") as file:
        file.seek(kept.places[name].offset)
        file.write(bytes(8))
    os.utime(kept.path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_change_whose_time_is_set_back_is_noticed(kept):
    damage(kept, "block")
    with pytest.raises(DamageError, match="it was changed since it was verified"):
        kept.read("block")


def test_a_hard_link_is_no_damage(tiles, tmp_path, recwarn):
    block = tiles.block(CORNER, 0)
    path = tiles._open[CORNER].path
    os.link(path, tmp_path / "backup")
    with pytest.raises(TouchedError):
        tiles._open[CORNER].read("block_0")
    assert tiles.block(CORNER, 0).tobytes() == block.tobytes()
    assert not recwarn.list
    tiles._open[CORNER].read("block_0")


def test_damage_whose_time_is_set_back_is_computed_again(tiles):
    block = tiles.block(CORNER, 0)
    damage(tiles._open[CORNER], "block_0")
    with pytest.warns(StoreWarning, match="is damaged and is computed again: its checksum is wrong"):
        assert tiles.block(CORNER, 0).tobytes() == block.tobytes()


def test_a_tile_that_cannot_be_read_any_more_is_said_twice_at_most(tiles, monkeypatch):
    block = tiles.block(CORNER, 0)
    refuse(errno.EIO, "read", lambda path: path.suffix == ".h5", monkeypatch.setattr)
    with pytest.warns(StoreWarning) as told:
        assert tiles.block(CORNER, 0).tobytes() == block.tobytes()
    assert ["is verified again" in str(each.message) for each in told] == [True, False]


def test_a_file_that_is_gone(kept):
    kept.path.unlink()
    with pytest.raises(DamageError, match="it was removed since it was verified"):
        kept.read("block")


@pytest.mark.parametrize("where", ["look", "open", "read"])
def test_a_file_that_cannot_be_read(kept, monkeypatch, where):
    refuse(errno.EIO, where, lambda path: path == kept.path, monkeypatch.setattr)
    with pytest.raises(UnreadableError, match=os.strerror(errno.EIO)):
        kept.read("block")


def test_a_tile_that_cannot_be_read_for_a_moment(tiles, monkeypatch):
    block = tiles.block(CORNER, 0)
    with monkeypatch.context() as patch:
        patch.setattr(tiles.problem.__class__, "compute", lambda *_: pytest.fail("computed"))
        patch.setattr(Kept, "read", _failing_once(Kept.read, UnreadableError("it cannot be read")))
        with pytest.warns(StoreWarning, match="is verified again: it cannot be read"):
            assert tiles.block(CORNER, 0).tobytes() == block.tobytes()


def test_a_tile_that_another_thread_drops_while_it_is_read(tiles, monkeypatch):
    block = tiles.block(CORNER, 0)

    def drop():
        tiles._open.clear()

    monkeypatch.setattr(Kept, "read", _failing_once(Kept.read, DamageError("it was changed"), drop))
    with pytest.warns(StoreWarning, match="is verified again"):
        assert tiles.block(CORNER, 0).tobytes() == block.tobytes()


def _failing_once(read, error, first=lambda: None):
    """A method that does something else and fails, when it is called for the first time."""
    calls = []

    def reading(self, name, buffer=None):
        calls.append(name)
        if len(calls) == 1:
            first()
            raise error
        return read(self, name, buffer)

    return reading
