"""assert_equivariant on functions whose symmetry is known by construction, and on ones spoilt at one known place."""

import jax.numpy as jnp
import numpy as np
import pytest
import registry

from haarflow import groups, measures
from haarflow.testing import assert_equivariant

TURNS = groups.image_rotations(4)
IMAGES = np.random.default_rng(0).standard_normal((5, 4, 4, 1))
OCTAHEDRAL = groups.octahedral()
VECTORS = groups.matrix_action(OCTAHEDRAL, OCTAHEDRAL.matrices)
AS_VECTOR = groups.Representation(OCTAHEDRAL, OCTAHEDRAL.matrices)
POINTS = np.random.default_rng(1).standard_normal((6, 3, 3))


def norms(x):
    return np.sqrt((x.reshape(len(x), -1) ** 2).sum(axis=1))


def cross(x):
    """Rotates with its two vectors, but is no polynomial of first degree."""
    return np.cross(x[:, 0], x[:, 1]) * norms(x)[:, None]


@pytest.mark.parametrize("name", registry.ACTIONS)
def test_norms_are_invariant_under_every_action_and_single_entries_are_not(name):
    make, shape = registry.ACTIONS[name]
    action = make()
    x = np.random.default_rng(2).standard_normal((3, *shape))
    assert_equivariant(norms, action, None, x, rtol=1e-12)
    if action.group.order > 1:
        with pytest.raises(AssertionError, match="f is not invariant under"):
            assert_equivariant(lambda x: x.reshape(len(x), -1)[:, 0], action, None, x)


def test_a_cross_product_turns_with_its_vectors_but_not_the_other_way_round():
    assert_equivariant(cross, VECTORS, AS_VECTOR, POINTS, rtol=1e-12)
    inverse = groups.Representation(OCTAHEDRAL, OCTAHEDRAL.matrices)
    object.__setattr__(inverse, "matrices", np.swapaxes(OCTAHEDRAL.matrices, 1, 2))
    with pytest.raises(AssertionError, match="f is not equivariant under"):
        assert_equivariant(cross, VECTORS, inverse, POINTS)
    with pytest.raises(AssertionError, match="f is not invariant under"):
        assert_equivariant(cross, VECTORS, None, POINTS)


def test_the_message_names_the_spoilt_element_and_sample_and_how_far_it_is_off():
    calls = []

    def spoilt(x):
        # Called for x itself, then for the elements 0, 1, 2, 3.
        calls.append(x)
        out = np.stack([3 * np.ones(len(x)), 4 * np.ones(len(x))], axis=1)
        if len(calls) == 4:
            out[1, 1] += 0.25
            out[3, 1] += 0.5
        return out

    with pytest.raises(AssertionError) as caught:
        assert_equivariant(spoilt, TURNS, None, IMAGES, rtol=1e-3, atol=1e-6)
    assert str(caught.value).splitlines() == [
        f"f is not invariant under {TURNS.name}, {TURNS.group}",
        "Worst: element 2, sample 3",
        "|f(gx) - f(x)| / |f(x)| = 0.1, absolute 0.5, |f(x)| = 5; rtol = 0.001, atol = 1e-06",
        "Failed: 2 of 20 pairs of element and sample; elements 2",
        " f(gx): [3.  4.5]",
        " f(x): [3. 4.]",
    ]
    np.testing.assert_array_equal(calls[3], TURNS(2, IMAGES))


def test_the_message_shows_the_output_as_it_should_have_turned():
    with pytest.raises(AssertionError) as caught:
        assert_equivariant(lambda x: np.tile([1.0, 0.0, 0.0], (len(x), 1)), VECTORS, AS_VECTOR, POINTS, elements=[7])
    shown = OCTAHEDRAL.matrices[7] @ [1.0, 0.0, 0.0]
    assert str(caught.value).endswith(f" rho_Y(g) f(x): {np.array2string(shown)}")
    assert "elements 7\n f(gx): [1. 0. 0.]" in str(caught.value)


def test_the_tolerance_is_that_of_the_orbit_error():
    rng = np.random.default_rng(3)
    made = rng.standard_normal((5, len(IMAGES), 2)) * 1e-3 + rng.standard_normal((len(IMAGES), 2))
    made[1] = made[0]  # the call for x, then the identity

    def play(rtol, elements=None):
        outputs = iter(made)
        assert_equivariant(lambda x: next(outputs), TURNS, None, IMAGES, rtol=rtol, elements=elements)

    largest = measures.orbit_error(made[1:]).max()
    play(largest * (1 + 1e-9))
    with pytest.raises(AssertionError, match=f"= {largest:.3g}, "):
        play(largest * (1 - 1e-9))


def test_the_absolute_tolerance_is_for_outputs_near_zero():
    def tiny(x):
        return 1e-9 * x[:, 0, 0]

    with pytest.raises(AssertionError):
        assert_equivariant(tiny, TURNS, None, IMAGES)
    assert_equivariant(tiny, TURNS, None, IMAGES, atol=1e-8)
    assert_equivariant(lambda x: 0 * x, TURNS, None, IMAGES, rtol=0)
    turned = np.where(np.arange(5) == 2, 1e-12, 0.0)
    values = iter([np.zeros(5), np.zeros(5), turned, np.zeros(5), np.zeros(5)])
    with pytest.raises(AssertionError, match=r"element 1, sample 2\n.*\|f\(x\)\| = 0;"):
        assert_equivariant(lambda x: next(values), TURNS, None, IMAGES)


def test_only_the_elements_asked_for_are_checked():
    half_turn_symmetric = lambda x: x[:, 0, 0] + x[:, -1, -1]  # noqa: E731
    assert_equivariant(half_turn_symmetric, TURNS, None, IMAGES, elements=[0, 2])
    with pytest.raises(AssertionError, match=r"elements 1, 3\n"):
        assert_equivariant(half_turn_symmetric, TURNS, None, IMAGES)


def test_a_function_that_draws_random_numbers_fails_at_the_identity():
    rng = np.random.default_rng(4)
    with pytest.raises(AssertionError, match=r"element 0 \(the identity: f\(x\) itself is not reproduced\)"):
        assert_equivariant(lambda x: rng.standard_normal(len(x)), TURNS, None, IMAGES, elements=[0])


def test_jax_float32_and_integers():
    assert_equivariant(lambda x: jnp.abs(jnp.asarray(x)).sum(axis=(1, 2)), TURNS, None, jnp.asarray(IMAGES))
    seen = set()

    def counting(x):
        seen.add(x.dtype)
        return (x > 0).sum(axis=(1, 2, 3))

    assert_equivariant(counting, TURNS, None, np.arange(16).reshape(1, 4, 4, 1) - 7)
    assert seen == {np.dtype(np.float64)}
    seen.clear()
    assert_equivariant(counting, TURNS, None, IMAGES.astype(np.float32))
    assert seen == {np.dtype(np.float32)}


def test_a_function_that_writes_into_its_input_does_no_harm():
    x = IMAGES.copy()

    def clearing(batch):
        found = (batch**2).sum(axis=(1, 2))
        batch[:] = 0
        return found

    assert_equivariant(clearing, TURNS, None, x)
    np.testing.assert_array_equal(x, IMAGES)


REFUSED = {
    "nan samples": (
        lambda: assert_equivariant(norms, TURNS, None, IMAGES * np.nan),
        ValueError,
        "x must be finite, found 80 NaN or inf",
    ),
    "no samples": (
        lambda: assert_equivariant(norms, TURNS, None, IMAGES[:0]),
        ValueError,
        r"x must be a batch \[n, \.\.\.\] of at least one sample, found shape \(0, 4, 4, 1\)",
    ),
    "text": (lambda: assert_equivariant(norms, TURNS, None, "image"), TypeError, "x must be real numbers"),
    "oblong images": (lambda: assert_equivariant(norms, TURNS, None, IMAGES[:, :3]), ValueError, "square"),
    "one output for all": (
        lambda: assert_equivariant(np.sum, TURNS, None, IMAGES),
        ValueError,
        r"f\(x\) must be \[n, \.\.\.\] with n = 5 samples, found shape \(\)",
    ),
    "another width": (
        lambda: assert_equivariant(lambda x: x[:, 0, :2], VECTORS, AS_VECTOR, POINTS),
        ValueError,
        r"f\(x\) must be \[n, k\] = \(6, 3\), k the dimension of output, found shape \(6, 2\)",
    ),
    "a shape that changes": (
        lambda: assert_equivariant(lambda x: x[:, : 2 + int(x[0, 0, 0, 0] == IMAGES[0, 0, 0, 0])], TURNS, None, IMAGES),
        ValueError,
        r"f\(action\(1, x\)\) must have the shape \(5, 3, 4, 1\) of f\(x\), found \(5, 2, 4, 1\)",
    ),
    "nan outputs": (
        lambda: assert_equivariant(lambda x: np.where(np.arange(5) == 3, np.nan, 1.0), TURNS, None, IMAGES),
        ValueError,
        r"f\(x\) must be finite, found NaN or inf at sample 3",
    ),
    "complex outputs": (
        lambda: assert_equivariant(lambda x: 1j * norms(x), TURNS, None, IMAGES),
        TypeError,
        r"f\(x\) must be real numbers, found dtype complex128",
    ),
    "another group": (
        lambda: assert_equivariant(norms, TURNS, AS_VECTOR, IMAGES),
        ValueError,
        r"output must represent the action's group C4 \(order 4\), found a representation of .*24",
    ),
    "a group for an action": (
        lambda: assert_equivariant(norms, OCTAHEDRAL, None, IMAGES),
        TypeError,
        "action must be an Action, not a group, .*found FiniteGroup",
    ),
    "unknown element": (
        lambda: assert_equivariant(norms, TURNS, None, IMAGES, elements=[4]),
        IndexError,
        r"g must be an element 0 \.\. 3",
    ),
    "no element": (
        lambda: assert_equivariant(norms, TURNS, None, IMAGES, elements=[]),
        ValueError,
        "elements must name at least one",
    ),
    "negative rtol": (
        lambda: assert_equivariant(norms, TURNS, None, IMAGES, rtol=-1e-3),
        ValueError,
        r"rtol must be finite and >= 0, found -0\.001",
    ),
    "nan atol": (
        lambda: assert_equivariant(norms, TURNS, None, IMAGES, atol=np.nan),
        ValueError,
        "atol must be finite and >= 0, found nan",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compared_is_refused(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


# --- compact groups ----------------------------------------------------------------------------------------


def test_functions_under_rotations():
    group = groups.so3(2)
    action, vector = groups.matrix_action(group), groups.vector(group)
    x = np.random.default_rng(0).standard_normal((5, 2, 3))

    def cross(x):
        return np.cross(x[:, 0], x[:, 1])

    assert_equivariant(cross, action, vector, x, rtol=1e-12)
    assert_equivariant(lambda x: np.square(x).sum(axis=(1, 2)), action, None, x, rtol=1e-12)
    with pytest.raises(AssertionError, match=r"f is not equivariant under SO\(3\) on vectors(.|\n)*Worst: rotation"):
        assert_equivariant(lambda x: cross(x) + np.eye(3)[0], action, vector, x)
    reflected = groups.o3(2)
    assert_equivariant(cross, groups.matrix_action(reflected), groups.pseudovector(reflected), x, rtol=1e-12)
    with pytest.raises(AssertionError):
        assert_equivariant(cross, groups.matrix_action(reflected), groups.vector(reflected), x)
    with pytest.raises(ValueError, match=r"output must represent SO\(3\), found a representation of O\(3\)"):
        assert_equivariant(cross, action, groups.vector(reflected), x)
    with pytest.raises(TypeError, match="output must be a representation of the action's group"):
        assert_equivariant(cross, action, np.eye(3), x)
