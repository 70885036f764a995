"""Representations of many copies: nothing of the size |G| k^2 is made or checked, and digests stay what they were."""

import hashlib
import pickle
import time
import tracemalloc

import numpy as np
import pytest
from registry import GROUPS

from haarflow import groups

P4 = groups.p4(8)


def measured(make):
    """What was made, in how many seconds, and the largest memory it took beside it."""
    tracemalloc.start()
    start = time.perf_counter()
    found = make()
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found, seconds, peak


def written_digest(representation):
    """Of the table and all matrices as one array, as releases before wrote it."""
    content = representation.group.digest.encode() + (np.round(np.array(representation.matrices), 9) + 0.0).tobytes()
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(("group", "k"), [(groups.cyclic(4), 1500), (P4, 1500)], ids=["C4", "p4"])
def test_many_trivial_outputs_take_no_time_and_no_room(group, k):
    groups.irreps(groups.cyclic(4))
    (rho, parts), seconds, peak = measured(lambda: (rho := groups.trivial(group, k), groups.decompose(rho)))
    assert seconds < 0.5  # C4, k = 800 took 19 s
    assert peak < 8 * 8 * k * k  # a few times k^2 numbers, not |G| k^2
    assert rho.matrices.shape == (group.order, k, k)
    assert rho.dim == k
    assert rho.is_trivial
    assert np.array_equal(rho.matrices[-1], np.eye(k))
    (part,) = parts
    assert part.irrep.dim == 1
    assert (part.irrep.matrices == 1).all()
    assert np.array_equal(part.isometries[:, :, 0], np.eye(k))


def test_what_a_user_broadcasts_is_checked_once():
    matrices = np.broadcast_to(np.eye(200), (256, 200, 200))
    rho, seconds, peak = measured(lambda: groups.Representation(P4, matrices))
    assert seconds < 2
    assert peak < 8 * 10 * 200**2
    assert rho.is_trivial
    with pytest.raises(ValueError, match="must be a homomorphism"):
        groups.Representation(P4, np.broadcast_to(-np.eye(3), (256, 3, 3)))
    with pytest.raises(ValueError, match="must be orthogonal"):
        groups.Representation(P4, np.broadcast_to(2 * np.eye(3), (256, 3, 3)))
    with pytest.raises(ValueError, match=r"must be \[256, d, d\]"):
        groups.Representation(P4, np.broadcast_to(np.eye(3), (255, 3, 3)))
    with pytest.raises(ValueError, match="must be finite"):
        groups.Representation(P4, np.broadcast_to(np.eye(3) * np.nan, (256, 3, 3)))


def test_dense_matrices_are_checked_by_matrix_products():
    rho, seconds, _ = measured(lambda: groups.Representation(groups.cyclic(4), np.tile(np.eye(400), (4, 1, 1))))
    assert seconds < 2  # 4 x 400^3 one by one took longer
    assert rho.is_trivial


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3"])
def test_a_number_of_outputs_that_is_none(k):
    with pytest.raises(ValueError, match="k must be a positive integer, found"):
        groups.trivial(groups.cyclic(2), k)


@pytest.mark.parametrize("name", ["C1", "C3", "D4", "T", "Q8"])
def test_digests_are_those_of_the_matrices_written_out(name):
    group = GROUPS[name][0]()
    sigma = groups.irreps(group)[-1]
    kinds = [groups.trivial(group), groups.trivial(group, 5), groups.regular(group), sigma]
    kinds += [groups.direct_sum(sigma, groups.trivial(group, 2)), groups.direct_sum(groups.trivial(group), sigma)]
    for rho in kinds:
        assert rho.digest == written_digest(rho)
        checked = groups.Representation(group, np.array(rho.matrices))
        assert checked.digest == rho.digest
        np.testing.assert_allclose(checked.character, rho.character, atol=1e-12)
        assert rho.commutant_dim == checked.commutant_dim
        assert rho.dim == checked.dim


def test_digests_that_a_release_before_wrote():
    # By commit e28f75c.
    kept = {
        "trivial": "04489eb33ed6318aabd3767f73a3d9412433a06552abb10ac05f9d5957cae3b4",
        "sum": "f2d413e1e48a3be95e13b0074f61dfe769020acbfb66b23bbe09882422c980e7",
    }
    assert groups.trivial(groups.cyclic(4), 3).digest == kept["trivial"]
    octahedral = groups.octahedral()
    vectors = groups.Representation(octahedral, octahedral.matrices)
    assert groups.direct_sum(vectors, groups.trivial(octahedral, 2)).digest == kept["sum"]


@pytest.mark.parametrize("name", ["D4", "T", "O"])
def test_direct_sums_are_decomposed_part_by_part(name):
    group = GROUPS[name][0]()
    *_, sigma = groups.irreps(group)
    other = groups.irreps(group)[1]
    inner = groups.direct_sum(sigma, groups.trivial(group, 2))
    rho = groups.direct_sum(groups.direct_sum(groups.trivial(group), other), groups.direct_sum(inner, sigma))
    parts = groups.decompose(rho)
    assert "matrices" not in vars(rho)  # nothing asked for them
    assert [part.irrep.digest for part in parts] == [
        irrep.digest for irrep in groups.irreps(group) if irrep.digest in {p.irrep.digest for p in parts}
    ]
    assert [len(part.isometries) for part in parts] == [3, 1, 2]
    again = sum(np.einsum("aki,gij,alj->gkl", part.isometries, part.irrep.matrices, part.isometries) for part in parts)
    np.testing.assert_allclose(again, rho.matrices, atol=1e-12)
    basis = np.concatenate([w for part in parts for w in part.isometries], axis=1)
    np.testing.assert_allclose(basis.T @ basis, np.eye(rho.dim), atol=1e-12)
    blocks = np.zeros_like(rho.matrices)
    place = 0
    for part in (groups.trivial(group), other, sigma, groups.trivial(group, 2), sigma):
        blocks[:, place : place + part.dim, place : place + part.dim] = part.matrices
        place += part.dim
    assert np.array_equal(rho.matrices, blocks)


def test_a_sum_with_many_trivial_outputs_forms_no_matrices():
    sigma = groups.irreps(P4)[-1]
    (rho, parts), seconds, peak = measured(
        lambda: (rho := groups.direct_sum(sigma, groups.trivial(P4, 1000)), groups.decompose(rho))
    )
    assert seconds < 1
    assert peak < 8 * 12 * 1000**2
    assert sorted(len(part.isometries) for part in parts) == [1, 1000]
    assert not rho.is_trivial
    assert groups.direct_sum(groups.trivial(P4, 10), groups.trivial(P4, 20)).is_trivial


@pytest.mark.parametrize("make", ["trivial", "sum"])
def test_copies_by_pickle_stay_small_and_equal(make):
    rho = groups.trivial(P4, 300)
    rho = rho if make == "trivial" else groups.direct_sum(rho, groups.irreps(P4)[-1])
    kept = pickle.dumps(rho)
    assert len(kept) < 8 * 3 * 300**2 + 8 * 10 * P4.order**2
    again = pickle.loads(kept)
    assert again.digest == rho.digest
    assert np.array_equal(again.matrices, rho.matrices)
    assert not again.matrices.flags.writeable


@pytest.mark.parametrize("name", ["D4", "T"])
def test_vectors_are_split_into_copies_and_joined(name):
    group = GROUPS[name][0]()
    rng = np.random.default_rng(0)
    mixed = groups.direct_sum(groups.irreps(group)[-1], groups.trivial(group, 2))
    for rho in (groups.trivial(group, 4), mixed, groups.Representation(group, np.array(mixed.matrices))):
        v = rng.standard_normal((3, rho.dim))
        parts = groups.decompose(rho)
        split = [part.split(v) for part in parts]
        for part, some in zip(parts, split, strict=True):
            by_hand = [[part.isometries[a].T @ row for a in range(len(part.isometries))] for row in v]
            np.testing.assert_allclose(np.swapaxes(some, 1, 2), by_hand, atol=1e-13)
        joined = sum(part.join(some[None]) for part, some in zip(parts, split, strict=True))
        np.testing.assert_allclose(joined[0], v, atol=1e-13)
        wanted = np.stack([v @ matrix.T for matrix in rho.matrices])
        np.testing.assert_allclose(rho.transform(v), wanted, atol=1e-13)
