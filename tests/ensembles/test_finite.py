"""Finite ensembles against 60-digit arithmetic, drawn Gaussian ensembles, and covariances written out in full."""

import math
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import registry
from hypothesis import given, settings
from hypothesis import strategies as st

from haarflow import finite, groups, measures

COVARIANCE = np.array([[1.0, 0.25], [0.25, 2.0]])


def mp_bound(delta, variance, members):
    with mpmath.workdps(60):
        s = mpmath.sqrt(mpmath.mpf(variance) / int(members))
        u = mpmath.mpf(delta) / s
        return float(min(mpmath.mpf(1), mpmath.sqrt(2 / mpmath.pi) / u * mpmath.exp(-u * u / 2)))


def mp_members(variance, delta, probability):
    with mpmath.workdps(60):
        p = mpmath.mpf(probability)
        w = mpmath.lambertw(2 / (mpmath.pi * p * p))
        return int(mpmath.ceil(mpmath.mpf(variance) * w.real / mpmath.mpf(delta) ** 2))


def random_covariance(order, seed, batch=()):
    root = np.random.default_rng(seed).standard_normal((*batch, order, order + 2))
    return root @ np.swapaxes(root, -1, -2)


def difference_covariances(covariance, matrices, identity):
    """Covariances [|G|, k, k] of f(gx) - rho(g) f(x), by linear maps of the covariance Sigma (x) 1 of all outputs."""
    order, k = len(covariance), matrices.shape[-1]
    joint = np.kron(covariance, np.eye(k))
    found = []
    for g in range(order):
        linear = np.zeros((k, order * k))
        linear[:, g * k : (g + 1) * k] += np.eye(k)
        linear[:, identity * k : (identity + 1) * k] -= matrices[g]
        found.append(linear @ joint @ linear.T)
    return np.array(found)


def means_of_ensembles(covariance, k, members, ensembles, seed):
    """Means of M members on an orbit, drawn member by member: [|G|, ensembles, k]."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    draws = np.random.default_rng(seed).standard_normal((len(covariance), members, ensembles, k)).mean(axis=1)
    return np.tensordot(root, draws, axes=1)


def vector(group):
    return groups.Representation(group, group.matrices)


OUTPUTS = {
    "sign": lambda: groups.Representation(groups.cyclic(2), np.array([[[1.0]], [[-1.0]]])),
    "octahedral vectors": lambda: vector(groups.octahedral()),
    "regular S3": lambda: groups.regular(groups.symmetric(3)),
    # Reversed, so that the identity is the last element.
    "quaternions": lambda: vector(groups.FiniteGroup.from_matrices(registry.quaternions().matrices[::-1])),
}


@pytest.fixture(params=OUTPUTS)
def output(request):
    return OUTPUTS[request.param]()


# ---------------------------------------------------------------- the bound


@pytest.mark.parametrize("members", [1, 7, 10**12])
@pytest.mark.parametrize("variance", [1e-300, 1e-3, 2.5, 1e300])
@pytest.mark.parametrize("steps", [1e-9, 0.5, 0.66, 1.0, 3.0, 30.0])
def test_the_bound_against_sixty_digits(steps, variance, members):
    delta = steps * math.sqrt(variance) / math.sqrt(members)
    wanted = mp_bound(delta, variance, members)
    np.testing.assert_allclose(finite.deviation_bound(variance, delta, members), wanted, rtol=1e-12)


def test_the_bound_lies_above_the_normal_tail_and_close_to_it():
    steps = np.linspace(0.01, 30, 1000)
    tail = np.array([float(mpmath.erfc(mpmath.mpf(u) / mpmath.sqrt(2))) for u in steps])
    bound = finite.deviation_bound(1.0, steps, 1)
    assert (bound >= tail).all()
    assert (bound <= 1.25 * tail)[steps > 1.7].all()
    assert (bound <= 1.04 * tail)[steps > 5].all()
    assert (bound == 1.0)[steps < 0.65].all()


@pytest.mark.parametrize("members", [1, 5])
def test_drawn_ensembles_stray_as_often_as_the_bound_allows_and_more_often_than_with_half_the_spread(members):
    variance, ensembles = 0.7, 40_000
    means = np.random.default_rng(members).normal(0, math.sqrt(variance), (ensembles, members)).mean(axis=1)
    s = math.sqrt(variance / members)
    for steps in (0.5, 1.0, 1.5, 2.0, 3.0):
        often = np.mean(np.abs(means) > steps * s)
        error = 3 * math.sqrt(often * (1 - often) / ensembles)
        assert often <= finite.deviation_bound(variance, steps * s, members) + error
        if steps >= 1:  # half the spread: variance / 4
            assert often > finite.deviation_bound(variance / 4, steps * s, members) + error


def test_the_bound_broadcasts_and_is_a_writable_float64_array():
    bound = finite.deviation_bound([0.5, 1.0, 2.0], np.array([0.1, 0.2])[:, None], 10)
    assert bound.shape == (2, 3)
    assert bound[1, 2] == finite.deviation_bound(2.0, 0.2, 10)
    for result in (bound, finite.deviation_bound(2, 1, 3), finite.deviation_bound(np.float32(2), [1], 3)):
        assert isinstance(result, np.ndarray)
        assert result.dtype == np.float64
        assert result.flags.writeable


@given(
    delta=st.floats(0, allow_infinity=False),
    variance=st.floats(0, allow_infinity=False),
    members=st.integers(1, 2**62),
)
@settings(max_examples=200, deadline=None)
def test_the_bound_is_a_probability_whatever_the_numbers(delta, variance, members):
    bound = finite.deviation_bound(variance, delta, members)
    assert 0 <= bound <= 1
    if variance == 0:
        assert bound == 0
    elif delta == 0:
        assert bound == 1


# ---------------------------------------------------------------- its inverse


@pytest.mark.parametrize("probability", [1e-300, 1e-155, 1e-16, 0.05, 0.5, 0.9, 1 - 1e-12])
@pytest.mark.parametrize("delta", [1e-5, 0.03, 1.0, 50.0])
def test_members_needed_against_lambert_w_in_sixty_digits(delta, probability):
    assert finite.members_needed(0.7, delta, probability) == mp_members(0.7, delta, probability)
    shared = finite.members_needed(0.7, delta, probability, outputs=40)
    assert shared == mp_members(0.7, delta, mpmath.mpf(probability) / 40)


@given(
    variance=st.floats(0, 1e6),
    delta=st.floats(1e-3, 1e6),
    probability=st.floats(1e-300, 1, exclude_max=True),
    outputs=st.integers(1, 10**6),
)
@settings(max_examples=300, deadline=None)
def test_members_needed_is_the_inverse_of_the_bound(variance, delta, probability, outputs):
    members = finite.members_needed(variance, delta, probability, outputs)
    assert isinstance(members, int)
    assert members >= 1
    assert finite.deviation_bound(variance, delta, members) <= probability / outputs
    if members > 1:
        assert finite.deviation_bound(variance, delta, members - 1) > probability / outputs


@given(variance=st.floats(1e-6, 1e6), members=st.integers(1, 10**7), steps=st.floats(0.7, 35))
@settings(max_examples=300, deadline=None)
def test_a_probability_that_is_met_exactly_does_not_cost_a_member_more(variance, members, steps):
    delta = steps * math.sqrt(variance / members)
    probability = float(finite.deviation_bound(variance, delta, members))
    assert finite.members_needed(variance, delta, probability) == members


def test_members_needed_broadcasts():
    found = finite.members_needed([[0.0], [0.5], [2.0]], [0.1, 0.2], 0.05)
    assert found.dtype == np.int64
    assert found.flags.writeable
    wanted = [[max(1, mp_members(v, d, 0.05)) for d in (0.1, 0.2)] for v in (0.0, 0.5, 2.0)]
    np.testing.assert_array_equal(found, wanted)
    several = finite.members_needed(0.5, 0.1, [0.05, 0.01], outputs=np.array([1, 10]))
    np.testing.assert_array_equal(several, [mp_members(0.5, 0.1, 0.05), mp_members(0.5, 0.1, 0.001)])
    assert finite.members_needed(np.zeros((0, 3)), 0.1, 0.5).shape == (0, 3)


# ---------------------------------------------------------------- orbits


def test_orbit_variance_by_hand():
    np.testing.assert_array_equal(finite.orbit_variance(COVARIANCE), [0.0, 2.5])
    np.testing.assert_array_equal(finite.orbit_variance(COVARIANCE, identity=1), [2.5, 0.0])
    np.testing.assert_array_equal(finite.orbit_variance(COVARIANCE, OUTPUTS["sign"]()), [[0.0], [3.5]])
    # Rounding must not leave a negative variance.
    assert finite.orbit_variance([[1.0, 1.0 + 1e-15], [1.0 + 1e-15, 1.0]]).min() == 0.0


def test_orbit_variance_is_that_of_linear_maps_of_the_joint_covariance(output):
    order, identity = output.group.order, output.group.identity
    covariance = random_covariance(order, 1)
    wanted = np.einsum("gaa->ga", difference_covariances(covariance, output.matrices, identity))
    found = finite.orbit_variance(covariance, output)
    assert found.shape == (order, output.dim)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    ones = np.broadcast_to(np.eye(1), (order, 1, 1))
    plain = finite.orbit_variance(covariance, identity=identity)
    np.testing.assert_allclose(plain, difference_covariances(covariance, ones, identity)[:, 0, 0], atol=1e-12)
    batch = random_covariance(order, 2, (2, 3))
    assert finite.orbit_variance(batch, output).shape == (2, 3, order, output.dim)
    alone = finite.orbit_variance(batch[1, 2], identity=identity)
    np.testing.assert_allclose(finite.orbit_variance(batch, identity=identity)[1, 2], alone, rtol=1e-12)


def test_expected_orbit_mse_is_the_trace_over_the_members(output):
    order, identity = output.group.order, output.group.identity
    covariance = random_covariance(order, 3)
    spread = np.einsum("gaa->g", difference_covariances(covariance, output.matrices, identity)).mean()
    np.testing.assert_allclose(finite.expected_orbit_mse(covariance, 7, output=output), spread / 7)
    mean = np.random.default_rng(4).standard_normal((order, output.dim))
    off = sum(np.sum((mean[g] - output.matrices[g] @ mean[identity]) ** 2) for g in range(order)) / order
    found = finite.expected_orbit_mse(covariance, 7, output=output, mean=mean)
    np.testing.assert_allclose(found, spread / 7 + off)


def test_drawn_ensembles_have_the_expected_orbit_mse(output):
    order, k, members, ensembles = output.group.order, output.dim, 3, 20_000
    covariance = random_covariance(order, 5)
    mean = np.random.default_rng(6).standard_normal((order, k))
    drawn = mean[:, None] + means_of_ensembles(covariance, k, members, ensembles, seed=7)
    found = measures.orbit_mse(drawn, output)
    error = found.std() / math.sqrt(ensembles)
    wanted = finite.expected_orbit_mse(covariance, members, output=output, mean=mean)
    assert abs(found.mean() - wanted) < 4 * error
    # Fewer than the drawn members, or no orbit error of the mean itself, must be told apart.
    assert abs(found.mean() - finite.expected_orbit_mse(covariance, members - 1, output=output, mean=mean)) > 4 * error
    assert abs(found.mean() - finite.expected_orbit_mse(covariance, members, output=output)) > 4 * error


def test_expected_orbit_mse_broadcasts_over_times_and_members():
    covariance = random_covariance(4, 8, (3,))
    mean = np.random.default_rng(9).standard_normal((3, 4, 2))
    found = finite.expected_orbit_mse(covariance, np.array([1, 10])[:, None], mean=mean)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found[1, 2], finite.expected_orbit_mse(covariance[2], 10, mean=mean[2]))
    one = finite.expected_orbit_mse(covariance, 1)
    np.testing.assert_allclose(one, finite.orbit_variance(covariance).mean(axis=-1))
    np.testing.assert_allclose(finite.expected_orbit_mse(covariance, 1, k=5), 5 * one)


@pytest.mark.parametrize("k", [1, 10])
def test_members_for_an_invariant_orbit_against_incomplete_gamma_functions(k):
    covariance, delta, probability = random_covariance(3, 10), 0.3, 1e-4
    members = finite.members_needed_on_orbit(covariance, delta, probability, k=k)
    largest = max(covariance[g, g] + covariance[0, 0] - 2 * covariance[g, 0] for g in range(3))

    def tail(members):
        return mpmath.gammainc(mpmath.mpf(k) / 2, members * delta**2 / (2 * largest), regularized=True)

    assert tail(members) <= probability / 3 < tail(members - 1)
    found = finite.members_needed_on_orbit(covariance, delta, probability, k=k, norm="max")
    assert found == mp_members(largest, delta, probability / (3 * k))


def test_members_for_an_equivariant_orbit_against_the_covariances_written_out(output):
    order, k, delta, probability = output.group.order, output.dim, 0.3, 1e-4
    covariance = np.eye(order) + 0.9 * np.ones((order, order))
    written = difference_covariances(covariance, output.matrices, output.group.identity)
    members = finite.members_needed_on_orbit(covariance, delta, probability, output=output)
    largest = np.linalg.eigvalsh(written).max()
    at, below = (
        mpmath.gammainc(mpmath.mpf(k) / 2, m * delta**2 / (2 * largest), regularized=True)
        for m in (members, members - 1)
    )
    assert at <= probability / order < below
    members = finite.members_needed_on_orbit(covariance, delta, probability, output=output, norm="max")
    assert members == mp_members(np.einsum("gaa->ga", written).max(), delta, probability / (order * k))


@pytest.mark.parametrize("norm", ["euclidean", "max"])
def test_drawn_ensembles_keep_the_orbit_error_with_the_wished_confidence(output, norm):
    order, k, ensembles, probability = output.group.order, output.dim, 20_000, 0.05
    covariance = random_covariance(order, 11)
    # The delta that asks for about 40 members; their mean is drawn at once, as a Gaussian over 40.
    delta = math.sqrt(
        float(finite.members_needed_on_orbit(covariance, 1.0, probability, output=output, norm=norm)) / 40
    )
    members = finite.members_needed_on_orbit(covariance, delta, probability, output=output, norm=norm)
    drawn = means_of_ensembles(covariance, k, 1, ensembles, seed=12)
    wanted = np.einsum("gab,eb->gea", output.matrices, drawn[output.group.identity])
    off = np.linalg.norm(drawn - wanted, ord=None if norm == "euclidean" else np.inf, axis=-1).max(axis=0)
    often = np.mean(off / math.sqrt(members) > delta)
    assert often <= probability
    # A union bound is no more than a few times too careful: a third of the members would not do.
    assert np.mean(off / math.sqrt(members / 3) > delta) > probability


def test_members_of_an_equivariant_output_count_its_reversals():
    # f(gx) = -f(x), positively correlated: the variance is 2 + 2 c, not 2 - 2 c.
    covariance = np.array([[1.0, 0.9], [0.9, 1.0]])
    found = finite.members_needed_on_orbit(covariance, 0.1, 0.05, output=OUTPUTS["sign"](), norm="max")
    assert found == mp_members(3.8, 0.1, 0.025)


def test_the_components_of_a_rotated_output_differ_in_variance():
    # A turn about the third axis leaves the third component as it is.
    group = groups.cyclic(2)
    output = groups.Representation(group, np.array([np.eye(3), np.diag([-1.0, -1.0, 1.0])]))
    np.testing.assert_allclose(finite.orbit_variance(COVARIANCE, output)[1], [3.5, 3.5, 2.5])


def test_members_on_orbits_broadcast():
    covariance = random_covariance(4, 13, (2, 3))
    found = finite.members_needed_on_orbit(covariance, np.array([0.1, 0.2])[:, None], 0.05, k=2)
    assert found.shape == (2, 3)
    assert found.dtype == np.int64
    alone = finite.members_needed_on_orbit(covariance[1, 2], 0.2, 0.05, k=2)
    assert isinstance(alone, int)
    assert found[1, 2] == alone
    assert isinstance(finite.members_needed_on_orbit(covariance[0, 0], 0.2, 0.05, k=1, norm="max"), int)
    assert finite.members_needed_on_orbit(np.ones((4, 4)), 0.1, 0.05, k=3) == 1


def test_an_identity_elsewhere_in_the_listing_is_followed():
    covariance = random_covariance(3, 14)
    order = [1, 2, 0]
    moved = covariance[np.ix_(order, order)]
    for norm in ("euclidean", "max"):
        wanted = finite.members_needed_on_orbit(covariance, 0.1, 0.05, k=1, identity=1, norm=norm)
        assert finite.members_needed_on_orbit(moved, 0.1, 0.05, k=1, norm=norm) == wanted
    np.testing.assert_allclose(
        finite.expected_orbit_mse(moved, 1), finite.expected_orbit_mse(covariance, 1, identity=1), rtol=1e-12
    )


# ---------------------------------------------------------------- refusals

SPHERE = SimpleNamespace(matrices=np.array([np.eye(3), -np.eye(3)]))

REFUSED = {
    "negative delta": (lambda: finite.deviation_bound(1.0, -0.1, 5), ValueError, r"delta must be >= 0, found -0\.1"),
    "nan delta": (lambda: finite.deviation_bound(1.0, [0.1, np.nan], 5), ValueError, "delta must be finite, found nan"),
    "negative variance": (lambda: finite.deviation_bound([1, -2], 1.0, 5), ValueError, r"variance .*>= 0, found -2"),
    "complex variance": (lambda: finite.deviation_bound(1j, 1.0, 5), TypeError, "variance must be real.*complex128"),
    "no members": (lambda: finite.deviation_bound(1.0, 1.0, 0), ValueError, "members must be >= 1, found 0"),
    "negative members": (lambda: finite.deviation_bound(1.0, 1.0, [3, -4]), ValueError, "members .*found -4"),
    "half a member": (lambda: finite.deviation_bound(1.0, 1.0, 2.5), TypeError, r"members must be whole.*found 2\.5"),
    "true members": (lambda: finite.expected_orbit_mse(COVARIANCE, True), TypeError, "members must be whole.*True"),
    "delta of zero": (lambda: finite.members_needed(1.0, 0.0, 0.1), ValueError, r"delta must be > 0, found 0\.0"),
    "p = 0": (lambda: finite.members_needed(1.0, 0.1, 0.0), ValueError, r"probability must lie in 0 \.\. 1.*found 0"),
    "p = 1": (lambda: finite.members_needed(1.0, 0.1, [0.5, 1]), ValueError, r"probability .*found 1\.0"),
    "p = nan": (lambda: finite.members_needed(1.0, 0.1, np.nan), ValueError, "probability must be finite, found nan"),
    "no outputs": (lambda: finite.members_needed(1.0, 0.1, 0.5, 0), ValueError, "outputs must be >= 1, found 0"),
    "half an output": (lambda: finite.members_needed(1.0, 0.1, 0.5, 1.5), TypeError, "outputs must be whole"),
    "p over outputs": (lambda: finite.members_needed(1.0, 0.1, 1e-300, 10**9), ValueError, r"at least 2\.2e-308"),
    "delta too small": (lambda: finite.members_needed(1.0, 1e-9, 0.05), ValueError, r"delta is too small: .*e\+18 mem"),
    "delta tiny": (lambda: finite.members_needed(1.0, 1e-300, 0.05), ValueError, "delta is too small: inf members"),
    "shapes": (lambda: finite.members_needed([1, 2, 3], [1, 2], 0.5), ValueError, "broadcast"),
    "flat covariance": (lambda: finite.orbit_variance(np.ones(3)), ValueError, r"\|G\|, \|G\|\], found shape \(3,\)"),
    "oblong covariance": (lambda: finite.orbit_variance(np.ones((2, 3))), ValueError, r"found shape \(2, 3\)"),
    "nan covariance": (lambda: finite.orbit_variance(COVARIANCE * np.nan), ValueError, "covariance must be finite"),
    "negative diagonal": (lambda: finite.orbit_variance(-COVARIANCE), ValueError, r"on its diagonal, found -2\.0e"),
    "identity": (lambda: finite.orbit_variance(COVARIANCE, identity=2), ValueError, r"identity .*0 \.\. 1, found 2"),
    "not its identity": (lambda: finite.orbit_variance(COVARIANCE, SPHERE, identity=1), ValueError, r"\[1\] is off 1"),
    "other group": (
        lambda: finite.orbit_variance(np.eye(3), SPHERE),
        ValueError,
        r"= \(3, 3, 3\), found .*\(2, 3, 3\)",
    ),
    "other norm": (
        lambda: finite.members_needed_on_orbit(COVARIANCE, 0.1, 0.5, norm="l1"),
        ValueError,
        r"norm must be one of \('euclidean', 'max'\), found 'l1'",
    ),
    "other k": (
        lambda: finite.members_needed_on_orbit(COVARIANCE, 0.1, 0.5, k=2, output=SPHERE),
        ValueError,
        "k must be 3, the dimension of output, or None, found 2",
    ),
    "k = 0": (lambda: finite.members_needed_on_orbit(COVARIANCE, 0.1, 0.5, k=0), ValueError, "k must be >= 1"),
    "orbit p": (lambda: finite.members_needed_on_orbit(COVARIANCE, 0.1, 2.0), ValueError, "probability must lie"),
    "orbit delta": (lambda: finite.members_needed_on_orbit(COVARIANCE, -1.0, 0.5), ValueError, "delta must be > 0"),
    "mean": (
        lambda: finite.expected_orbit_mse(COVARIANCE, 5, mean=np.ones((3, 1))),
        ValueError,
        r"mean must be \[\.\.\., \|G\|, k\] = \[\.\.\., 2, 1\], found shape \(3, 1\)",
    ),
    "mean of other width": (
        lambda: finite.expected_orbit_mse(COVARIANCE, 5, mean=np.ones((2, 4)), output=SPHERE),
        ValueError,
        r"= \[\.\.\., 2, 3\], found shape \(2, 4\)",
    ),
    "nan mean": (lambda: finite.expected_orbit_mse(COVARIANCE, 5, mean=COVARIANCE * np.nan), ValueError, "finite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()
