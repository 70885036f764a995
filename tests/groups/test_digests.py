"""Digests of actions: those of this library stay, since stores are found by them; contents are told apart in full."""

import enum

import numpy as np
import pytest
import scipy.sparse
from registry import ACTIONS

from haarflow import groups
from haarflow.groups.content import content_digest

# As they were when keys were first written.
KEPT = {
    "no action": "8803ef039f178b3dd10b113134d2bda51f13ffe4da3b3204862da74437a8a3dc",
    "half turns": "7d137a4cf7aeed4f66f9c25bdd7123177b89d278cc73b0077ff9f798cda90cc9",
    "quarter turns": "2bfc39c3dfa41e36c8cb0c63a53eb6ee4bdddcf37a4b006307557cf5cd2006e8",
    "turns and flips": "9dc14d745115b901c39736cfa1dc77b03e2fcb5ba39f0597ecf6306c9372eac6",
    "shifts": "bdada6d6c5c9b61ef3fd9de0480a61a3c6fee40322f69a22d27f4165df587831",
    "coarse shifts": "c9ac40ba9a9fa4899dd3272862bc1586aaaefd3e4e034bbfbee3db69c377d72f",
    "p4": "8d13d00f40ccb0498fa9390d360a0301dca42081ac540cb9fcdcf5f9384bf78f",
    "coarse p4": "d5b7749cfe3b6841762ab7487f5f0a76296a1ce342dfca3c5ef6bfbab4b0de7f",
    "cube rotations": "f66e70b4da3158cf5fb0b2ec3b35cf085b88ca1c39e1b65796864332dd260cce",
    "lattice": "a1c7d1feae58b258ca8c6db45c80f6300799fa3d4afb7803a69652c3fc39335c",
    "sites with channels": "a12d6c27a435dfe146bceaf4fdad628dee222dc1a008bf1c2bdc45c45dd59dc9",
}


@pytest.mark.parametrize("name", KEPT)
def test_digests_of_this_librarys_actions_stay(name):
    make, shape = ACTIONS[name]
    assert make().digest == KEPT[name]
    assert make().digest_on(shape) == KEPT[name]


def test_digests_of_others_stay_too():
    turns = "930d4ae188d93ce21432212c4c521b84b70492d96efc5c59640ae3f61ce3d1e2"
    assert groups.interpolated_rotations(8).digest_on((4, 4, 1)) == turns
    so3 = "0adeeef58f683f1ae599e19ce860948394bfe6b1ae945f4dfad1726abe5d4e31"
    assert groups.matrix_action(groups.so3(4)).digest == so3


def test_a_large_table_is_seen_whole():
    sites = 2000
    one, other = np.tile(np.arange(sites), (2, 1, 1)).transpose(1, 0, 2)[:1].repeat(2, 0).copy()
    one[1, [1000, 1001]] = [1001, 1000]
    other[1, [1002, 1003]] = [1003, 1002]
    a, b = (groups.permutation_action(groups.cyclic(2), perms) for perms in (one, other))
    assert a.digest != b.digest


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


LONG = np.arange(2000.0)
CHANGED = LONG.copy()
CHANGED[1000] += 1e-9
ITSELF = [1]
ITSELF.append(ITSELF)
OTHERS = [
    None,
    0,
    0.0,
    False,
    "",
    b"",
    (),
    [],
    {},
    10**6000,
    10**6000 + 1,
    Colour.RED,
    Colour.BLUE,
    LONG,
    CHANGED,
    LONG.astype(np.float32),
    LONG.reshape(2, -1),
    (LONG,),
    (CHANGED,),
    [LONG],
    [[LONG]],
    {"a": LONG},
    {"a": CHANGED},
    {"b": LONG},
    scipy.sparse.diags_array(LONG),
    scipy.sparse.diags_array(CHANGED),
    np.array([None, "x"], object),
    np.array([None, "y"], object),
    np.ma.masked_array([1.0, 2.0], [True, False]),
    np.ma.masked_array([1.0, 2.0], [False, False]),
    ("ab", "c"),
    ("a", "bc"),
    (("a",), "b"),
    ("a", ("b",)),
    float,
    int,
    ITSELF,
]


def test_contents_that_differ_have_other_digests():
    assert len({content_digest(value) for value in OTHERS}) == len(OTHERS)


def test_contents_that_are_equal_have_the_same():
    assert content_digest({1: "a", 2: "b"}) == content_digest({2: "b", 1: "a"})
    assert content_digest({"x", "y", "z"}) == content_digest({"z", "y", "x"})
    assert content_digest(np.float64(1.5)) == content_digest(1.5)
    assert content_digest(np.asfortranarray(LONG.reshape(40, 50))) == content_digest(LONG.reshape(40, 50))
    duplicates = scipy.sparse.coo_matrix(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 1])), shape=(2, 2))
    assert content_digest(duplicates) == content_digest(scipy.sparse.coo_matrix(([3.0], ([0], [1])), shape=(2, 2)))
