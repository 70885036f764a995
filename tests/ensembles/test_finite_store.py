"""Members of a FiniteEnsemble in a store: trained once, gone on from, found whichever others they were kept with."""

import tracemalloc
import warnings

import jax
import numpy as np
import pytest
from trained import CONV, DATA, ensemble, f

from haarflow import groups, kernels
from haarflow.networks import run as room
from haarflow.networks import training

OPTIONS = {"options": {"momentum": 0.9}, "learning_rate": 1.0, "augmentation": "random", "batch": 4, "members": 5}


class TestStore:
    def made(self, path, **options):
        return ensemble(**{**OPTIONS, "chunk": 2, "store": path, **options})

    def test_members_are_trained_once(self, tmp_path, monkeypatch):
        expected = f(ensemble(**OPTIONS), [5, 12])
        assert np.array_equal(f(self.made(tmp_path), [5, 12]), expected)
        monkeypatch.setattr(room, "advance", None)
        assert np.array_equal(f(self.made(tmp_path), [5, 12]), expected)
        assert np.array_equal(self.made(tmp_path).load(DATA.x, DATA.y, [12]).predict(DATA.x), expected[1:])

    def test_training_goes_on_from_what_is_kept(self, tmp_path, monkeypatch):
        f(self.made(tmp_path), 5)
        taken = []
        monkeypatch.setattr(room, "advance", lambda *a: taken.append(a[5:7]) or training.advance(*a))
        assert np.array_equal(f(self.made(tmp_path), [5, 12]), f(ensemble(**OPTIONS), [5, 12]))
        assert taken[:3] == [(5, 7)] * 3

    def test_steps_between_are_kept_for_a_killed_run(self, tmp_path):
        self.made(tmp_path).fit(DATA.x, DATA.y, 12, save_every=4)
        found = sorted(entry.key["step"] for entry in kernels.Store(tmp_path).entries())
        assert found == sorted([4, 8, 12] * 3)

    def test_whatever_was_kept_before_is_gone_on_from(self, tmp_path, monkeypatch):
        self.made(tmp_path).fit(DATA.x, DATA.y, 8, save_every=4)
        taken = []
        monkeypatch.setattr(room, "advance", lambda *a: taken.append(a[5:7]) or training.advance(*a))
        assert np.array_equal(f(self.made(tmp_path), 12), f(ensemble(**OPTIONS), 12))
        assert taken[:3] == [(8, 4)] * 3
        taken.clear()
        self.made(tmp_path).fit(DATA.x, DATA.y, 12, save_every=1)
        assert taken == []

    def test_the_state_of_an_optimizer_is_kept(self, tmp_path):
        adam = {"optimizer": "adam", "options": None, "learning_rate": 0.01, "dtype": "float64", "penalty": 0.1}
        f(self.made(tmp_path, **adam), 5)
        expected = f(ensemble(**{**OPTIONS, **adam}), 9)
        assert np.array_equal(f(self.made(tmp_path, **adam), 9), expected)

    def test_a_damaged_file_is_trained_again(self, tmp_path):
        expected = f(self.made(tmp_path), 7)
        path = next(tmp_path.glob("members-*.h5"))
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        path.write_bytes(content)
        with pytest.warns(kernels.StoreWarning, match="is damaged and is computed again"):
            assert np.array_equal(f(self.made(tmp_path), 7), expected)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"arch": CONV}, "network = .*, not "),
            ({"width": 9}, "width = 8, not 9"),
            ({"action": groups.image_dihedral()}, "action = .*group = .*C4.*, not .*D4"),
            ({"seed": 1}, "seed = 0, not 1"),
            ({"batch": 3}, "batch = 4, not 3"),
            ({"members": 6}, r"of the same ensemble it holds members \[0, 1, 2, 3, 4\] there"),
        ],
        ids=lambda value: value if isinstance(value, str) else next(iter(value)),
    )
    def test_checkpoints_of_another_ensemble_are_refused(self, tmp_path, change, said):
        f(self.made(tmp_path), 7)
        with pytest.raises(ValueError, match=f"does not hold members .* at step 7: .*{said}"):
            self.made(tmp_path, **change).load(DATA.x, DATA.y, 7)

    def test_steps_that_are_not_kept_are_refused(self, tmp_path):
        f(self.made(tmp_path), [2, 7])
        with pytest.raises(ValueError, match=r"at step 4: of the same ensemble it holds steps \[2, 7\]"):
            self.made(tmp_path).load(DATA.x, DATA.y, 4)

    @pytest.mark.parametrize(
        ("change", "members"),
        [
            ({"chunk": 3}, range(5)),
            ({"chunk": 16}, range(5)),
            ({"members": 3}, range(3)),
            ({"members": [4, 1]}, [4, 1]),
        ],
    )
    def test_members_that_were_kept_with_others_are_found(self, tmp_path, monkeypatch, change, members):
        expected = f(self.made(tmp_path), [2, 7])[:, list(members)]
        f(self.made(tmp_path, seed=1, chunk=4), [2, 7])  # others of the same numbers
        monkeypatch.setattr(room, "advance", None)
        loaded = self.made(tmp_path, **change).load(DATA.x, DATA.y, [2, 7])
        assert np.array_equal(loaded.predict(DATA.x), expected)
        assert np.array_equal(f(self.made(tmp_path, **change), [2, 7]), expected)

    def test_of_members_kept_with_others_only_new_ones_are_trained(self, tmp_path, monkeypatch):
        f(self.made(tmp_path, chunk=5), 7)
        taken = []
        monkeypatch.setattr(room, "advance", lambda *a: taken.append(list(a[4])) or training.advance(*a))
        assert np.array_equal(
            f(self.made(tmp_path, members=8, chunk=5), 7), f(ensemble(**{**OPTIONS, "members": 8}), 7)
        )
        assert taken[0] == [5, 6, 7]

    @pytest.mark.parametrize("change", [{"chunk": 3}, {"members": [4, 1]}], ids=["chunk", "members"])
    def test_training_goes_on_from_members_kept_with_others(self, tmp_path, monkeypatch, change):
        self.made(tmp_path).fit(DATA.x, DATA.y, 8, save_every=4)
        taken = []
        monkeypatch.setattr(room, "advance", lambda *a: taken.append(a[5:7]) or training.advance(*a))
        expected = f(ensemble(**{**OPTIONS, **change}), [6, 12])
        taken.clear()
        assert np.array_equal(f(self.made(tmp_path, **change), [6, 12]), expected)
        assert {*taken} == {(4, 2), (8, 4)}

    def test_starts_are_those_of_their_members(self, tmp_path):
        """The same two of members 0 and 1 are not those of 1 and 2."""
        starts = ensemble(members=[10, 11]).fit(DATA.x, DATA.y, 0).parameters()
        self.made(tmp_path, members=[0, 1]).fit(DATA.x, DATA.y, 4, initial=starts)
        expected = ensemble(**{**OPTIONS, "members": [1, 2]}).fit(DATA.x, DATA.y, [4, 8], initial=starts)
        for steps in (8, [4, 8]):
            made = self.made(tmp_path, members=[1, 2], chunk=1).fit(DATA.x, DATA.y, steps, initial=starts)
            assert np.array_equal(made.predict(DATA.x), expected.predict(DATA.x, steps))
        turned = self.made(tmp_path, members=[1, 0]).load(DATA.x, DATA.y, 4, initial=starts[::-1])
        assert np.array_equal(
            turned.predict(DATA.x)[:, ::-1],
            self.made(tmp_path, members=[0, 1]).load(DATA.x, DATA.y, 4, initial=starts).predict(DATA.x),
        )

    def test_members_that_were_written_anew_meanwhile(self, tmp_path):
        f(self.made(tmp_path, members=4, chunk=4), 4)
        made = self.made(tmp_path, members=4).load(DATA.x, DATA.y, 4)
        expected = made.predict(DATA.x)
        kernels.Store(tmp_path).prune(kind="members")
        f(self.made(tmp_path, members=4, chunk=1), 4)
        assert np.array_equal(made.predict(DATA.x), expected)

    def test_a_sound_file_serves_where_another_of_the_same_members_is_damaged(self, tmp_path):
        """Whichever of the two is found first."""
        expected = f(self.made(tmp_path, members=2), 7)
        (smaller,) = tmp_path.glob("members-*.h5")
        f(self.made(tmp_path, members=4, chunk=4), 7)
        (larger,) = {*tmp_path.glob("members-*.h5")} - {smaller}
        for path, members in ((larger, [1]), (smaller, [1, 0])):
            whole = path.read_bytes()
            path.write_bytes(whole[:-20] + bytes(20))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", kernels.StoreWarning)  # only the first that is looked at is told
                loaded = self.made(tmp_path, members=members, chunk=1).load(DATA.x, DATA.y, 7)
                assert np.array_equal(loaded.predict(DATA.x), expected[:, members])
            path.write_bytes(whole)

    def test_damaged_files_are_told_where_nothing_is_trained(self, tmp_path):
        f(self.made(tmp_path, members=2), 7)
        (path,) = tmp_path.glob("members-*.h5")
        path.write_bytes(path.read_bytes()[:-1])
        with (
            pytest.warns(kernels.StoreWarning, match="is damaged"),
            pytest.raises(ValueError, match=r"does not hold members \[1\] at step 7: the files that held them are dam"),
        ):
            self.made(tmp_path, members=[1]).load(DATA.x, DATA.y, 7)

    def test_members_kept_with_others_are_listed_once(self, tmp_path, monkeypatch):
        f(self.made(tmp_path), [2, 7])
        listed, entries = [], kernels.Store.entries
        monkeypatch.setattr(kernels.Store, "entries", lambda self: listed.append(1) or entries(self))
        self.made(tmp_path, chunk=1).load(DATA.x, DATA.y, [2, 7]).predict(DATA.x)
        assert len(listed) == 1

    @pytest.mark.parametrize("chunk", [1, 6])
    def test_parameters_of_members_kept_with_others_leave_the_rest(self, tmp_path, chunk):
        """Neither optimizers nor the files' other members stay in memory."""
        adam = {"optimizer": "adam", "options": None, "width": 500, "learning_rate": 0.01}
        self.made(tmp_path, **adam, members=48, chunk=8).fit(DATA.x, DATA.y, 0)
        few = self.made(tmp_path, **adam, members=range(0, 48, 8), chunk=chunk).load(DATA.x, DATA.y, 0)
        tracemalloc.start()
        found = few.parameters()
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(found))
        file = max(path.stat().st_size for path in tmp_path.glob("members-*.h5"))  # six of them, each of 4 sizes
        assert kept < 1.1 * size
        assert peak < 4 * size + 3 * file

    def test_checkpoints_of_other_data_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="it holds no members"):
            self.made(tmp_path).load(DATA.x, DATA.y, 7)
        f(self.made(tmp_path), 7)
        with pytest.raises(ValueError, match=r"its nearest members have x = .*, not"):
            self.made(tmp_path).load(DATA.x + 1, DATA.y, 7)
        with pytest.raises(ValueError, match="initial = 'drawn', not"):
            self.made(tmp_path).load(DATA.x, DATA.y, 7, initial=ensemble(members=5).fit(DATA.x, DATA.y, 0).parameters())

    def test_members_that_are_removed_meanwhile(self, tmp_path):
        made = self.made(tmp_path).fit(DATA.x, DATA.y, 7)
        kernels.Store(tmp_path).prune(kind="members")
        with pytest.raises(RuntimeError, match=r"are gone from .*: call fit again"):
            made.predict(DATA.x)
