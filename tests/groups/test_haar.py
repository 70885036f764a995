"""Haar rules against orthogonality of matrix elements, irreps against characters, orbits against brute force."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from haarflow import groups
from haarflow.groups.continuous import trivial_outputs
from haarflow.groups.haar_orbits import haar_coincidences

MAKERS = {"SO(2)": groups.so2, "O(2)": groups.o2, "SO(3)": groups.so3, "O(3)": groups.o3}
RULES = [(name, n) for name in ("SO(2)", "O(2)") for n in (1, 2, 7, 32)]
RULES += [(name, n) for name in ("SO(3)", "O(3)") for n in (0, 1, 2, 5, 8)]


@pytest.fixture(params=MAKERS)
def group(request):
    return MAKERS[request.param](7 if "2" in request.param else 5)


@pytest.mark.parametrize(("name", "resolution"), RULES)
def test_rules_integrate_matrix_elements_up_to_the_band_limit_and_no_further(name, resolution):
    rule = MAKERS[name](resolution)
    limit = rule.band_limit
    assert limit == (resolution - 1 if rule.dim == 2 else resolution)
    assert (rule.name, rule.resolution, str(rule)) == (name, resolution, f"{name} at resolution {resolution}")
    assert rule.weights.shape == rule.nodes.shape[:1]
    assert (rule.weights > 0).all()
    assert rule.weights.sum() == pytest.approx(1, abs=1e-14)
    finer = rule.at(resolution + 1)
    errors = {}
    for irrep in groups.harmonics(finer, limit + 1):
        mean = np.einsum("g,gab->ab", rule.weights, irrep.at(rule.nodes))
        exact = np.eye(1) if irrep.degree == 0 and not irrep.odd else np.zeros((irrep.dim, irrep.dim))
        errors.setdefault(irrep.degree, []).append(np.abs(mean - exact).max())
    assert max(max(errors[degree]) for degree in range(limit + 1)) <= 1e-12
    assert max(errors[limit + 1]) > 1e-2


@pytest.mark.parametrize(("name", "resolution"), [("SO(2)", 9), ("O(2)", 9), ("SO(3)", 6), ("O(3)", 6)])
def test_matrix_elements_are_orthogonal_as_schur_says(name, resolution):
    # Products of two matrix elements of degree L/2 have degree L.
    rule = MAKERS[name](resolution)
    irreps = groups.harmonics(rule, rule.band_limit // 2)
    values = [irrep.at(rule.nodes).reshape(len(rule.nodes), -1) for irrep in irreps]
    for a, (first, u) in enumerate(zip(irreps, values, strict=True)):
        for second, v in list(zip(irreps, values, strict=True))[a:]:
            products = (u * rule.weights[:, None]).T @ v
            if first is not second:
                assert np.abs(products).max() <= 1e-12
            elif first.commutant_dim == 1:
                np.testing.assert_allclose(products, np.eye(first.dim**2) / first.dim, atol=1e-12)
            else:  # complex type: the commutant's rotation mixes two matrix elements at a time
                assert np.linalg.matrix_rank(products, tol=1e-9) == 2


def test_irreps_are_orthogonal_homomorphisms_of_the_stated_type(group):
    elements = group.random(40, seed=0)
    a, b = elements[:20], elements[20:]
    for irrep in groups.harmonics(group, group.band_limit):
        left, right = irrep.at(a), irrep.at(b)
        assert left.shape == (20, irrep.dim, irrep.dim)
        np.testing.assert_allclose(left @ right, irrep.at(a @ b), atol=1e-12)
        np.testing.assert_allclose(np.swapaxes(left, 1, 2), irrep.at(np.swapaxes(a, 1, 2)), atol=1e-12)
        np.testing.assert_allclose(left @ np.swapaxes(left, 1, 2), np.tile(np.eye(irrep.dim), (20, 1, 1)), atol=1e-12)
        np.testing.assert_allclose(irrep.at(np.eye(group.dim)), np.eye(irrep.dim), atol=1e-12)
        one = np.eye(irrep.dim)
        equations = np.concatenate([np.kron(one, m) - np.kron(m.T, one) for m in left[:4]])
        free = irrep.dim**2 - np.linalg.matrix_rank(equations, tol=1e-8)
        assert irrep.commutant_dim == free
    kinds = {(irrep.degree, irrep.odd) for irrep in groups.harmonics(group, 5)}
    assert len(kinds) == len({irrep.digest for irrep in groups.harmonics(group, 5)})
    assert len(kinds) == {"SO(2)": 6, "O(2)": 7, "SO(3)": 6, "O(3)": 12}[group.name]


def test_characters_against_the_textbook():
    angles = np.linspace(0.1, 3.1, 17)
    axes = np.random.default_rng(0).standard_normal((17, 3))
    turns = Rotation.from_rotvec(angles[:, None] * axes / np.linalg.norm(axes, axis=1)[:, None]).as_matrix()
    for irrep in groups.harmonics(groups.so3(12), 12):
        character = np.trace(irrep.at(turns), axis1=1, axis2=2)
        exact = np.sin((2 * irrep.degree + 1) * angles / 2) / np.sin(angles / 2)
        np.testing.assert_allclose(character, exact, atol=1e-11)
    for irrep in groups.harmonics(groups.o3(3), 3):
        sign = -1 if irrep.odd else 1
        np.testing.assert_allclose(irrep.at(-turns), sign * irrep.at(turns), atol=1e-12)


@pytest.mark.parametrize("tilt", [0, 1e-300, 1e-17, 1e-9, 1e-4, np.pi - 1e-9, np.pi])
def test_no_digits_are_lost_where_euler_angles_degenerate(tilt):
    rng = np.random.default_rng(10)
    about = Rotation.from_rotvec(np.outer(rng.uniform(-3, 3, 20), [0, 0, 1]))
    a = (about[:10] * Rotation.from_rotvec([tilt * 0.6, tilt * 0.8, 0]) * about[10:]).as_matrix()
    b = groups.so3(1).random(10, seed=11)
    for irrep in groups.harmonics(groups.so3(9), 9):
        np.testing.assert_allclose(irrep.at(a) @ irrep.at(b), irrep.at(a @ b), atol=1e-13)


def test_a_high_degree_stays_orthogonal():
    irrep = groups.harmonic(groups.so3(96), 96)
    matrix = irrep.at(groups.so3(1).random(1, seed=1))[0]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(193), atol=1e-11)


def test_vectors_turn_by_the_matrix_itself_and_cross_products_by_its_minors(group):
    elements = group.random(30, seed=1)
    np.testing.assert_allclose(groups.vector(group).at(elements), elements, atol=1e-15)
    twice = groups.vector(group, 2).at(elements)
    np.testing.assert_allclose(twice, [np.kron(np.eye(2), g) for g in elements], atol=1e-15)
    v, w = np.random.default_rng(1).standard_normal((2, group.dim))

    def cross(a, b):
        return np.cross(a, b) if len(a) == 3 else np.array([a[0] * b[1] - a[1] * b[0]])

    for g, rho in zip(elements, groups.pseudovector(group).at(elements), strict=True):
        np.testing.assert_allclose(cross(g @ v, g @ w), rho @ cross(v, w), atol=1e-12)
    assert trivial_outputs(group, 3).dim == 3


def test_direct_sums_split_into_copies_of_each_irrep():
    rule = groups.o3(2)
    both = groups.HarmonicSum(rule, groups.vector(rule, 2).irreps + groups.pseudovector(rule).irreps)
    elements = rule.random(5, seed=2)
    matrices = both.at(elements)
    rebuilt = sum(
        np.einsum("aki,gij,alj->gkl", part.isometries, part.irrep.at(elements), part.isometries)
        for part in both.isotypic()
    )
    assert [len(part.isometries) for part in both.isotypic()] == [2, 1]
    np.testing.assert_allclose(rebuilt, matrices, atol=1e-14)


@pytest.mark.parametrize(("name", "resolution"), [("SO(2)", 7), ("O(2)", 8), ("SO(3)", 2), ("SO(3)", 5), ("O(3)", 4)])
def test_covering_radius_against_brute_force(name, resolution):
    rule = MAKERS[name](resolution)

    def nearest(elements):
        gaps = np.linalg.norm(elements[:, None] - rule.nodes[None], ord=2, axis=(2, 3))
        return gaps.min(axis=1)

    assert nearest(rule.random(300, seed=3)).max() <= rule.covering_radius + 1e-12
    if rule.dim == 2:
        angles = np.linspace(0, 2 * np.pi, 2 * resolution + 1)  # midpoints between nodes among them
        empty = np.stack([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles])
    else:  # the emptiest places are the facets' normals on the sphere of quaternions
        points = Rotation.from_matrix(rule.nodes[np.linalg.det(rule.nodes) > 0]).as_quat()
        facets = ConvexHull(np.concatenate([points, -points])).equations
        empty = Rotation.from_quat(np.unique(facets[:, :-1].round(9), axis=0)).as_matrix()
    assert nearest(empty).max() == pytest.approx(rule.covering_radius, abs=1e-7)


def test_covering_radius_falls_with_resolution_and_is_whole_for_one_node():
    assert groups.so2(1).covering_radius == groups.so3(0).covering_radius == pytest.approx(2)
    for make in MAKERS.values():
        radii = [make(n).covering_radius for n in (2, 4, 8, 12)]
        assert all(b < a for a, b in itertools.pairwise(radii))


def test_random_elements_follow_the_haar_measure(group):
    count = 5000
    elements = group.random(count, seed=4)
    assert np.array_equal(elements, group.random(count, seed=4))
    assert not np.array_equal(elements, group.random(count, seed=5))
    assert all(group.contains(g) for g in elements[:100])
    improper = (np.linalg.det(elements) < 0).mean()
    if len(group.components) == 1:
        assert improper == 0
    else:
        assert abs(improper - 0.5) < 5 * 0.5 / np.sqrt(count)
    for irrep in groups.harmonics(group, 4)[1:]:
        values = irrep.at(elements)
        error = 1 / np.sqrt(irrep.dim * count)  # matrix elements have variance 1 / dim
        assert np.abs(values.mean(axis=0)).max() < 5.5 * error
    proper = elements[np.linalg.det(elements) > 0]
    if group.dim == 2:
        angles = np.arctan2(proper[:, 1, 0], proper[:, 0, 0])
        assert stats.kstest(angles, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-4
    else:  # the angle of rotation has density (1 - cos) / pi
        angles = np.arccos(np.clip((np.trace(proper, axis1=1, axis2=2) - 1) / 2, -1, 1))
        assert stats.kstest(angles, lambda a: (a - np.sin(a)) / np.pi).pvalue > 1e-4


@pytest.mark.parametrize("name", MAKERS)
def test_stabilisers_leave_the_sample_fixed_and_average_as_the_whole_subgroup_does(name):
    rule = MAKERS[name](4)
    action, rng = groups.matrix_action(rule), np.random.default_rng(5)
    directions = {
        "plane or space": rng.standard_normal((4, rule.dim)),
        "line": np.outer([1, -2.0, 0, 3], np.ones(rule.dim)),
    }
    if rule.dim == 3:
        directions["plane in space"] = rng.standard_normal((4, 2)) @ rng.standard_normal((2, 3))
    for kind, x in directions.items():
        rank = np.linalg.matrix_rank(x)
        for irrep in groups.harmonics(rule, rule.band_limit):
            found = action.stabiliser(x, irrep.degree, 1e-12)
            np.testing.assert_allclose(np.einsum("gij,bj->gbi", found, x), np.tile(x, (len(found), 1, 1)), atol=1e-12)
            mean = irrep.at(found).mean(axis=0)
            np.testing.assert_allclose(mean @ mean, mean, atol=1e-12)
            # Invariant vectors of O(d - rank), or SO(d - rank), in the irrep: from the classical branching rules.
            if len(rule.components) == 1:
                fixed = 1 if rule.dim - rank == 2 else irrep.dim
            elif rank == rule.dim:
                fixed = irrep.dim
            elif rule.dim == 2:
                fixed = 1 - int(irrep.odd)
            elif rank == 1:  # axial symmetry leaves Y_l0, of parity (-1)^l
                fixed = int(irrep.odd == (irrep.degree % 2 == 1))
            else:  # reflection = inversion times a half turn, of trace (-1)^l
                sign = (-1) ** (irrep.degree + irrep.odd)
                fixed = (irrep.dim + sign) // 2
            assert np.trace(mean) == pytest.approx(fixed, abs=1e-10), (kind, irrep.name)
    assert action.stabiliser(np.zeros((2, rule.dim)), 3, 1e-12).shape == (0, rule.dim, rule.dim)


@pytest.mark.parametrize("name", MAKERS)
def test_coincidences_of_duplicated_orbits(name):
    rule = MAKERS[name](4)
    x = np.random.default_rng(6).standard_normal((5, 3, rule.dim))
    g = rule.random(8, seed=7)
    x[3], x[4] = x[1] @ g[0].T, x[1] @ g[1].T
    found = haar_coincidences(groups.matrix_action(rule), x)
    assert found.representative.tolist() == [0, 1, 2, 1, 1]
    assert not found.trivial
    np.testing.assert_allclose(np.einsum("nij,nbj->nbi", found.transporter, x[found.representative]), x, atol=1e-13)
    for irrep in groups.harmonics(rule, 2):
        np.testing.assert_allclose(found.carry(3, irrep), irrep.at(g[0]), atol=1e-12)
        np.testing.assert_allclose(found.projector(1, irrep), np.eye(irrep.dim), atol=1e-12)
    assert haar_coincidences(groups.matrix_action(rule), x[:3]).trivial


def test_mirror_images_share_an_orbit_only_with_reflections():
    x = np.random.default_rng(7).standard_normal((1, 3, 3))
    both = np.concatenate([x, -x])
    assert haar_coincidences(groups.matrix_action(groups.so3(2)), both).trivial
    found = haar_coincidences(groups.matrix_action(groups.o3(2)), both)
    assert found.representative.tolist() == [0, 0]
    np.testing.assert_allclose(found.transporter[1], -np.eye(3), atol=1e-13)


def test_coincidences_of_parallel_vectors_and_of_zero():
    rule = groups.so3(4)
    x = np.random.default_rng(8).standard_normal((5, 2, 3))
    axis = np.array([2.0, -1, 2]) / 3
    x[1], x[2], x[4] = np.outer([1.0, -0.5], axis), 0, x[0]
    x[3] = x[1] @ rule.random(1, seed=9)[0].T
    found = haar_coincidences(groups.matrix_action(rule), x)
    assert found.representative.tolist() == [0, 1, 2, 1, 0]
    for irrep in groups.harmonics(rule, 3):
        mean = found.projector(1, irrep)
        turns = Rotation.from_rotvec(np.linspace(0, 2 * np.pi, 41)[:-1, None] * axis).as_matrix()
        np.testing.assert_allclose(mean, irrep.at(turns).mean(axis=0), atol=1e-12)
        nothing = found.projector(2, irrep)
        np.testing.assert_array_equal(nothing, np.eye(irrep.dim) if irrep.degree == 0 else 0 * nothing)
    np.testing.assert_allclose(found.projector(1, groups.vector(rule).irreps[0]), np.outer(axis, axis), atol=1e-13)
    parallel = haar_coincidences(groups.matrix_action(rule), x[1:2])
    assert not parallel.trivial
    assert haar_coincidences(groups.matrix_action(groups.so2(4)), x[1:2, :, :2]).trivial


@pytest.mark.parametrize("make", MAKERS.values())
@pytest.mark.parametrize("bad", [2.0, "3", None, True, np.array([2, 3])])
def test_resolutions_must_be_integers(make, bad):
    with pytest.raises(TypeError, match="must be an integer, found"):
        make(bad)


def test_resolutions_must_be_large_enough():
    for make in (groups.so2, groups.o2):
        with pytest.raises(ValueError, match="nodes must be at least 1, found 0"):
            make(0)
    for make in (groups.so3, groups.o3):
        with pytest.raises(ValueError, match="band_limit must be at least 0, found -1"):
            make(-1)
    assert groups.so2(np.int64(3)).resolution == 3


def test_degrees_that_the_rule_cannot_serve():
    for rule in (groups.so2(5), groups.so3(4)):
        with pytest.raises(ValueError, match=r"0 \.\. 4, the band limit of .*found 5"):
            groups.harmonic(rule, 5)
        with pytest.raises(ValueError, match="band limit"):
            groups.harmonics(rule, 5)
        with pytest.raises(ValueError, match="degree must be at least 0, found -1"):
            groups.harmonic(rule, -1)
        for bad in (1.5, 1.0, None, True):
            with pytest.raises(TypeError, match="degree must be an integer"):
                groups.harmonic(rule, bad)
        with pytest.raises(ValueError, match="no odd irrep of degree 1"):
            groups.harmonic(rule, 1, odd=True)
    with pytest.raises(ValueError, match="band limit"):
        groups.vector(groups.so2(1))
    with pytest.raises(ValueError, match="band limit"):
        groups.vector(groups.so3(0))
    with pytest.raises(ValueError, match="no odd irrep of degree 2"):
        groups.harmonic(groups.o2(4), 2, odd=True)
    for make in (groups.vector, groups.pseudovector):
        with pytest.raises(ValueError, match="copies must be at least 1, found 0"):
            make(groups.so3(2), 0)
        with pytest.raises(TypeError, match=r"group must be groups\.so2"):
            make(groups.octahedral())


def test_matrices_outside_the_group_and_samples_of_another_shape_are_refused():
    x = np.ones((4, 2, 3))
    rotations, all_of_them = groups.matrix_action(groups.so3(1)), groups.matrix_action(groups.o3(1))
    g = groups.so3(1).random(1, seed=0)[0]
    np.testing.assert_allclose(rotations(g, x), np.einsum("ij,nbj->nbi", g, x), atol=1e-14)
    np.testing.assert_array_equal(all_of_them(-np.eye(3), x), -x)
    for bad in (-np.eye(3), 2 * np.eye(3), np.eye(2), np.eye(3) * np.nan, 0):
        with pytest.raises(ValueError, match=r"g must be a matrix of SO\(3\)"):
            rotations(bad, x)
    with pytest.raises(ValueError, match="last axis of size 3, found samples of shape"):
        rotations(g, np.ones((4, 3, 2)))
    with pytest.raises(ValueError, match="last axis of size 3"):
        rotations(g, np.ones(3))
    with pytest.raises(ValueError, match="matrices must be None"):
        groups.matrix_action(groups.so3(1), np.eye(3)[None])
    with pytest.raises(TypeError, match="count must be an integer"):
        groups.so3(1).random(2.0, 0)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        groups.so3(1).random(2, -1)


def test_digests_tell_actions_apart():
    actions = [groups.matrix_action(make(n)) for make in MAKERS.values() for n in (2, 3)]
    assert len({action.digest for action in actions}) == 8
    assert groups.matrix_action(groups.so3(3)).digest == groups.matrix_action(groups.so3(2).at(3)).digest
    assert groups.harmonic(groups.so3(3), 2).digest == groups.harmonic(groups.so3(5), 2).digest
