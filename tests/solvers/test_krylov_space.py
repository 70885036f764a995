"""The block Krylov space: orthonormal, exact, deflated, rebuilt bit for bit, and its noise measured."""

import numpy as np
import pytest
from hard import LARGE, large

from haarflow import solvers

FLOW = solvers.GradientFlow()


def draw(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def grown(gram, labels, steps):
    space = solvers.start_space(labels)
    for _ in range(steps):
        if space.exhausted:
            break
        space = solvers.grow(space, lambda v: gram @ v)
    return space


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize(("k", "steps"), [(1, 150), (3, 60), (140, 3)])
def test_orthonormal_and_a_projection(name, k, steps):
    case = large(name, 200)
    gram, labels = case.gram, case.labels(k)
    space = grown(gram, labels, steps)
    basis = np.concatenate(space.basis, axis=1)
    whole = np.concatenate([basis, space.next], axis=1)
    assert basis.shape == (200, space.dimension)
    np.testing.assert_allclose(whole.T @ whole, np.eye(whole.shape[1]), atol=1e-13)
    np.testing.assert_allclose(basis.T @ gram @ basis, space.projection(), atol=1e-13 * case.values.max())
    # The Lanczos relation: A V = V T + V_{m+1} B E^T, up to what was dropped.
    image = basis @ space.projection()
    image[:, space.dimension - space.sizes[-1] :] += space.next @ space.coupling
    np.testing.assert_allclose(gram @ basis, image, atol=1e-13 * case.values.max())
    first = space.basis[0][:, : len(space.coefficients)]
    np.testing.assert_allclose(first @ space.coefficients, labels, atol=1e-12)
    np.testing.assert_allclose(space.lift(np.eye(space.dimension)), basis, atol=1e-15)
    np.testing.assert_allclose(space.ritz_values, np.linalg.eigvalsh(space.projection()), atol=1e-12 * space.norm)


def solution(gram, y, t=2.0):
    return solvers.eigendecompose(gram).apply(FLOW, [t], 1.0, y)[0]


def test_labels_that_depend_on_each_other():
    gram, y = large("k^-1.5", 30).gram, draw(30, 2)
    repeated = np.concatenate([y, y, np.zeros((30, 1)), y @ [[1.0], [-3.0]]], axis=1)
    space = solvers.start_space(repeated)
    assert space.next.shape == (30, 2)
    found = solvers.solve(lambda v: gram @ v, repeated, FLOW, [2.0], 1.0)
    np.testing.assert_allclose(found.alpha[0], solution(gram, repeated), atol=1e-6)


def test_one_hot_labels_that_sum_to_a_constant():
    gram = large("NTK-like", 60).gram
    y = np.eye(10)[np.arange(60) % 10] - 0.1
    assert solvers.start_space(y).next.shape == (60, 9)
    found = solvers.solve(lambda v: gram @ v, y, FLOW, [2.0], 1.0)
    np.testing.assert_allclose(found.alpha[0], solution(gram, y), atol=1e-6)


def test_labels_in_an_invariant_subspace():
    case = large("well conditioned", 40)
    inside = np.zeros((40, 3))
    inside[[3, 8, 20], [0, 1, 2]] = [1.0, 2.0, 3.0]
    y = case.turn(inside)
    space = grown(case.gram, y, 9)
    assert space.exhausted
    assert space.dimension == 3
    found = solvers.solve(lambda v: case.gram @ v, y, FLOW, [0.5, np.inf], 1.0)
    assert found.space.dimension == 3
    np.testing.assert_allclose(found.alpha, case.solution(FLOW, np.array([0.5, np.inf]), 1.0, y), atol=1e-13)
    with pytest.raises(ValueError, match="space must not be exhausted"):
        solvers.grow(space, lambda v: case.gram @ v)


def test_a_block_that_loses_rank_halfway():
    # One column ends after 2 steps, the other goes on.
    values = np.concatenate([np.linspace(1, 2, 30), [5.0, 6.0]])
    vectors = np.linalg.qr(draw(32, 32))[0]
    gram = (vectors * values) @ vectors.T
    y = np.stack([vectors[:, 30] + vectors[:, 31], vectors[:, :30].sum(axis=1)], axis=1)
    space = grown(gram, y, 8)
    assert space.sizes == (2, 2, 1, 1, 1, 1, 1, 1)
    found = solvers.solve(lambda v: gram @ v, y, FLOW, [0.5, np.inf], 1.0)
    dense = solvers.eigendecompose(gram).apply(FLOW, [0.5, np.inf], 1.0, y)
    np.testing.assert_allclose(found.alpha, dense, atol=1e-6)


def test_more_labels_than_samples():
    gram, y = large("well conditioned", 12).gram, draw(12, 20)
    found = solvers.solve(lambda v: gram @ v, y, FLOW, [2.0], 1.0)
    assert found.space.dimension == 12
    assert found.space.exhausted
    np.testing.assert_allclose(found.alpha[0], solution(gram, y), atol=1e-13)


def test_labels_of_very_different_size():
    gram, y = large("well conditioned", 50).gram, draw(50, 3) * [1.0, 1e-8, 1e8]
    found = solvers.solve(lambda v: gram @ v, y, FLOW, [2.0], 1.0, how=solvers.Krylov(tolerance=1e-12))
    exact = solution(gram, y)
    assert np.linalg.norm(found.alpha[0] - exact) < 1e-12 * np.linalg.norm(exact)
    assert np.linalg.norm((found.alpha[0] - exact)[:, 0]) < 1e-6 * np.linalg.norm(exact[:, 0])


@pytest.mark.parametrize(("name", "k", "steps"), [("k^-1.5", 1, 200), ("k^-3", 10, 25), ("half singular", 3, 20)])
def test_a_rebuilt_space_goes_on_bit_for_bit(name, k, steps):
    case = large(name, 300)
    gram, labels = case.gram, case.labels(k)

    def product(v):
        return gram @ v

    pieces = []
    space = solvers.start_space(labels)
    pieces.append((space.next, space.coefficients))
    for _ in range(steps):
        space = solvers.grow(space, product)
        pieces.append((space.next.copy(), space.columns[-1].copy()))
    for stop in (0, 1, steps // 2, steps - 1):
        # As a store would return them: other memory layout, read-only.
        again = solvers.space_from(labels, [tuple(np.asfortranarray(p) for p in piece) for piece in pieces[: stop + 1]])
        assert again.steps == stop
        for _ in range(stop, steps):
            again = solvers.grow(again, product)
        assert (again.norm, again.strays) == (space.norm, space.strays)
        for one, other in zip((*again.basis, again.next), (*space.basis, space.next), strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(again.columns, space.columns, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_solve_that_was_interrupted_ends_the_same():
    case = large("k^-1.5", 200)
    labels, times = case.labels(3), [10.0, 1e4]
    begun, done = solvers.start_space(labels), [0]
    pieces = [(begun.next, begun.coefficients)]

    def product(v):
        done[0] += 1
        if done[0] == 20:
            raise KeyboardInterrupt
        return case.gram @ v

    def keep(before, block, column):
        assert before.steps == len(pieces) - 1
        pieces.append((block, column))

    whole = solvers.solve(lambda v: case.gram @ v, labels, FLOW, times, 1.0)
    with pytest.raises(KeyboardInterrupt):
        solvers.solve(product, labels, FLOW, times, 1.0, space=begun, keep=keep)
    space = solvers.space_from(labels, pieces)
    assert space.steps == 19
    rest = solvers.solve(product, labels, FLOW, times, 1.0, space=space, keep=keep)
    np.testing.assert_array_equal(rest.alpha, whole.alpha)
    np.testing.assert_array_equal(rest.error, whole.error)
    assert rest.products == whole.products - 19 * 3
    assert len(pieces) == whole.space.steps + 1


def test_steps_that_are_recalled_change_nothing():
    """A space that was kept for later times does not change earlier ones: growing stops where it did."""
    case = large("k^-1.5", 200)
    labels, pieces = case.labels(3), {}

    def solve(times, **others):
        return solvers.solve(lambda v: case.gram @ v, labels, FLOW, times, 1.0, **others)

    first = solve([10.0])
    later = solve([1e4], space=first.space)
    solve([np.inf], keep=lambda before, *piece: pieces.update({before.steps: piece}))
    assert len(pieces) > later.space.steps > first.space.steps
    again = solve([10.0], recall=lambda before: pieces.get(before.steps))
    assert again.products == 0
    assert again.space.steps == first.space.steps
    assert (again.alpha.tobytes(), again.error) == (first.alpha.tobytes(), first.error)
    # Some are missing: those are made, and kept.
    for step in range(first.space.steps + 2, len(pieces)):
        del pieces[step]
    rest = solve(
        [1e4],
        space=again.space,
        recall=lambda before: pieces.get(before.steps),
        keep=lambda before, *piece: pieces.update({before.steps: piece}),
    )
    assert rest.products == later.products - 2 * 3
    assert len(pieces) == later.space.steps
    assert rest.alpha.tobytes() == later.alpha.tobytes()
    with pytest.raises(ValueError, match="pieces of step 1 must be a block"):
        solve([10.0], recall=lambda before: pieces[1])


def test_pieces_that_do_not_fit():
    gram, labels = large("k^-1.5", 20).gram, draw(20, 2)
    space = solvers.start_space(labels)
    first = (space.next, space.coefficients)
    space = solvers.grow(space, lambda v: gram @ v)
    with pytest.raises(ValueError, match="pieces must begin with the first block, found none"):
        solvers.space_from(labels, [])
    with pytest.raises(ValueError, match="pieces must be those of these labels"):
        solvers.space_from(2 * labels, [first])
    with pytest.raises(ValueError, match=r"a block \[20, b\] and coefficients \[b, 2\], found shapes"):
        solvers.space_from(labels, [(first[0], first[1][:, :1])])
    with pytest.raises(ValueError, match=r"pieces of step 1 must be .* a column \[4, 2\], found shapes"):
        solvers.space_from(labels, [first, (space.next, space.columns[0][:3])])
    with pytest.raises(ValueError, match=r"labels must be \[20, 2\] to fit the space, found shape \(20, 3\)"):
        solvers.solve(lambda v: gram @ v, draw(20, 3), FLOW, [1.0], 1.0, space=space)


@pytest.mark.parametrize("sigma", [1e-12, 1e-8, 1e-5])
@pytest.mark.parametrize("k", [1, 5])
def test_planted_noise_is_measured(sigma, k):
    # Noise of sigma in each entry of a product, anew each time: |E v| = sigma sqrt(N).
    case, rng = large("k^-1.5", 300), np.random.default_rng(0)
    space = solvers.start_space(case.labels(k))
    while space.dimension < 40 and not space.exhausted:
        space = solvers.grow(space, lambda v: case.gram @ v + sigma * rng.standard_normal(v.shape))
    assert 0.8 < space.noise / (sigma * np.sqrt(300)) < 1.25


@pytest.mark.parametrize("sigma", [1e-9, 1e-5])
def test_noise_that_is_a_matrix_is_measured(sigma):
    case, wrong = large("well conditioned", 300), sigma * draw(300, 300)
    space = grown(case.gram + wrong, case.labels(4), 15)
    assert 0.8 < space.noise / (sigma * np.sqrt(300)) < 1.25
    # A symmetric one makes another symmetric matrix, whose products are exact.
    symmetric = grown(case.gram + (wrong + wrong.T) / 2, case.labels(4), 15)
    assert symmetric.noise < 1e-13


@pytest.mark.parametrize("name", ["k^-1.5", "well conditioned", "NTK-like"])
def test_float32_rounding_is_measured(name):
    case = large(name, 400)
    rounded = case.gram.astype("float32")
    errors = []

    def product(v):
        image = rounded @ v.astype("float32")
        errors.append(image - rounded.astype(float) @ v)
        return image

    space = solvers.start_space(case.labels(5))
    for _ in range(25):
        space = solvers.grow(space, product)
    true = np.sqrt(np.mean(np.sum(np.concatenate(errors, axis=1) ** 2, axis=0)))
    assert 0.5 < space.noise / true < 2
    assert grown(case.gram, case.labels(5), 25).noise < 1e-6 * true


def test_what_is_noise_is_not_grown_into():
    # The space ends where the product's noise begins, not at N dimensions.
    rng = np.random.default_rng(0)
    case = large("rank ten", 200)
    space = solvers.start_space(case.labels(3))
    while not space.exhausted:
        space = solvers.grow(space, lambda v: case.gram @ v + 1e-9 * rng.standard_normal(v.shape))
    assert 13 <= space.dimension <= 25
