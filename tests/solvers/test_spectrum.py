"""What a spectrum promises beyond the mean: coefficients, cuts, precision, bases, and clear refusals."""

import mpmath
import numpy as np
import pytest
import scipy.linalg
from hard import FLOAT32, HARD
from scipy.sparse import csr_array, csr_matrix

from haarflow import solvers

FLOW = solvers.GradientFlow()
FILTERS = [FLOW, solvers.GradientDescent(), solvers.HeavyBall(0.9)]
BOTH = [(name, "float64") for name in HARD] + [(name, "float32") for name in FLOAT32]
EPS = np.finfo(float).eps


def draw(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def integral(gram, t):
    """The integral of exp(-s gram) over 0 <= s <= t, singular or not, as a block of one exponential."""
    n = len(gram)
    both = np.zeros((2 * n, 2 * n))
    both[:n, :n], both[:n, n:] = -gram, np.eye(n)
    return scipy.linalg.expm(t * both)[:n, n:]


@pytest.mark.parametrize(("name", "dtype"), BOTH)
def test_coefficients_against_the_integrated_exponential(name, dtype):
    gram, unit = HARD[name].gram, HARD[name].values[-1] or 1.0
    y = draw(len(gram), 3)
    spectrum = solvers.eigendecompose(gram.astype(dtype))
    # In units where the largest eigenvalue is 1, so that expm is safe at 1e+-150 as well.
    alpha = spectrum.apply(FLOW, np.array([3.0, 0.5]) / unit, 1.0, y)
    assert alpha.dtype == dtype
    assert alpha.flags.writeable
    rtol = 1e-11 if dtype == "float64" else 2e-5
    for found, t in zip(alpha, [3.0, 0.5], strict=True):
        np.testing.assert_allclose(found * unit, integral(gram / unit, t) @ y, atol=rtol * np.abs(y).max() * t)


@pytest.mark.parametrize("filter", FILTERS[1:], ids=lambda f: type(f).__name__)
@pytest.mark.parametrize(("name", "dtype"), BOTH)
def test_discrete_training_against_stepping_the_matrix(name, dtype, filter):
    gram, unit = HARD[name].gram, HARD[name].values[-1] or 1.0
    y, momentum, rate = draw(len(gram), 2), getattr(filter, "momentum", 0.0), 0.9
    times = [400, 0, 1, 37]
    spectrum = solvers.eigendecompose(gram.astype(dtype))
    alpha = spectrum.apply(filter, times, rate / unit, y) * unit
    cut = spectrum.cut(times, rate / unit, filter=filter)
    before = now = np.zeros_like(y)
    states = []
    for _ in range(401):
        states.append(now)
        before, now = now, now + momentum * (now - before) + rate * (y - gram @ now / unit)
    rtol = 1e-10 if dtype == "float64" else 2e-4
    for found, t, left_out in zip(alpha, times, cut, strict=True):
        # Once null modes are left out, what counts is what a kernel row sees.
        row = gram / unit if left_out else np.eye(len(gram))
        exact = row @ states[t]
        np.testing.assert_allclose(row @ found, exact, atol=rtol * max(1, np.abs(exact).max()))
    assert not cut[1:3].any()
    assert not alpha[1].any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("with_basis", [False, True])
@pytest.mark.parametrize(("m", "times", "k"), [(2, 5, 3), (40, 5, 3), (3, 90, 7), (1, 1, 1), (0, 2, 2), (4, 2, 0)])
def test_both_orders_of_the_product(m, times, k, with_basis, dtype):
    small = HARD["well conditioned"].gram
    columns = scipy.linalg.qr(draw(15, 12), mode="economic")[0] if with_basis else np.eye(12)
    gram = columns @ small @ columns.T
    rows, y, clock = draw(m, len(gram)), draw(len(gram), k, seed=2), np.linspace(0, 4, times)
    spectrum = solvers.eigendecompose(gram.astype(dtype), columns if with_basis else None)
    found = spectrum.predict(rows.astype(dtype), FLOW, clock, 0.7, y)
    assert found.shape == (times, m, k)
    assert found.dtype == dtype
    assert found.flags.writeable
    exact = np.array([rows @ columns @ integral(small, 0.7 * t) @ columns.T @ y for t in clock])
    np.testing.assert_allclose(found, exact, atol=1e-11 if dtype == "float64" else 2e-4)
    if with_basis:
        alpha = spectrum.apply(FLOW, clock, 0.7, y)
        np.testing.assert_allclose(rows @ alpha, exact, atol=1e-11 if dtype == "float64" else 2e-4)


def merged_exactly(small, member, rows, y, t):
    """The mean after merging copies, at 60 digits: each distinct point has its mean label and its count."""
    with mpmath.workdps(60):
        counts = np.bincount(member)
        root = mpmath.diag([mpmath.sqrt(int(c)) for c in counts])
        means = mpmath.matrix([[y[member == c].mean(axis=0)[j] for j in range(y.shape[1])] for c in range(len(counts))])
        values, vectors = mpmath.eigsy(root * mpmath.matrix(small.tolist()) * root)
        phi = [1 / v if np.isinf(t) else -mpmath.expm1(-v * mpmath.mpf(t)) / v for v in values]
        weights = root * vectors * mpmath.diag(phi) * vectors.T * root * means
        return np.array((mpmath.matrix(rows.tolist()) * weights).tolist(), float)


@pytest.mark.parametrize("kind", [csr_matrix, csr_array, np.asarray])
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-6), ("float32", 1e-3)])
@pytest.mark.parametrize("t", [0.0, 1.0, 1e8, 1e12, np.inf])
def test_merged_copies_against_mpmath(t, dtype, rtol, kind):
    member = np.array([0, 1, 0, 2, 2, 3, 2])
    factor = draw(4, 6)
    small, rows, y = factor @ factor.T, draw(5, 6, seed=3) @ factor.T, draw(7, 2, seed=4)
    columns = np.eye(4)[member] / np.sqrt(np.bincount(member))
    gram = small[np.ix_(member, member)].astype(dtype)
    spectrum = solvers.eigendecompose(gram, kind(columns))
    exact = merged_exactly(small, member, rows, y, t)
    found = spectrum.predict(rows[:, member].astype(dtype), FLOW, t, 1.0, y)[0]
    np.testing.assert_allclose(found, exact, atol=rtol * np.abs(exact).max())
    assert spectrum.unresolved == 0


def test_copies_that_were_not_merged_are_cut_in_the_end():
    # Two equal rows with labels 0 and 4: the flow learns their mean, also where eigh has to find the copies.
    gram = np.array([[2.0, 2.0, 1.0], [2.0, 2.0, 1.0], [1.0, 1.0, 2.0]])
    spectrum = solvers.eigendecompose(gram)
    times = [1e3, 1e8, 1e12, np.inf]
    found = spectrum.predict(gram, FLOW, times, 1.0, np.array([[0.0], [4.0], [1.0]]))
    np.testing.assert_allclose(found[..., 0], np.broadcast_to([2.0, 2.0, 1.0], (4, 3)), atol=1e-6)
    assert spectrum.cut(times, 1.0).tolist() == [0, 0, 1, 1]


def test_a_spectrum_that_decays_below_rounding():
    n = 24
    vectors = scipy.linalg.qr(draw(n, n))[0]
    values = np.geomspace(1e-20, 1, n)
    gram = (vectors * values) @ vectors.T
    gram, y = (gram + gram.T) / 2, draw(n, 40)  # more labels than samples
    spectrum = solvers.eigendecompose(gram)
    assert spectrum.unresolved == pytest.approx((values <= n * EPS).sum(), abs=1)
    times = np.array([1e3, 1e8, 1e12, np.inf])
    assert spectrum.cut(times, 1.0).tolist() == [0, 0, *[spectrum.unresolved] * 2]
    found = spectrum.predict(gram, FLOW, times, 1.0, y)
    for mean, t in zip(found[:2], times[:2], strict=True):
        exact = (vectors * -np.expm1(-values * t)) @ vectors.T @ y
        np.testing.assert_allclose(mean, exact, atol=1e-6)
    assert np.abs(found[2:]).max() < 1.1 * np.linalg.norm(y, axis=0).max()


def test_the_cut_counts_with_the_clock_of_the_filter():
    # Momentum 0.9 travels ten times as far, so its null mode is left out ten times as early.
    spectrum = solvers.eigendecompose(np.diag([0.0, 1.0]))
    edge = 1e-6 / EPS
    times = np.floor([edge / 10 - 100, edge / 10 + 100, edge - 100, edge + 100])
    assert spectrum.cut(times, 1.0, filter=solvers.HeavyBall(0.9)).tolist() == [0, 1, 1, 1]
    assert spectrum.cut(times, 1.0).tolist() == [0, 0, 0, 1]
    for filter in FILTERS:
        left_out = spectrum.phi(filter, times, 0.5)[:, 0] == 0
        assert left_out.tolist() == spectrum.cut(times, 0.5, filter=filter).astype(bool).tolist()


def test_rounding_noise_cannot_lower_the_ridge():
    spectrum = solvers.eigendecompose(np.diag([-1e-3, 0.0, 1.0]))
    np.testing.assert_allclose(spectrum.phi(FLOW, np.inf, 1.0, ridge=0.01)[0], [100, 100, 1 / 1.01])
    np.testing.assert_allclose(solvers.timescales([spectrum], 2.0, 0.01), [1 / 2.02, 50, 50])
    # A ridge below the threshold resolves nothing.
    assert spectrum.cut(np.inf, 1.0, ridge=1e-17).tolist() == [2]
    assert spectrum.cut(np.inf, 1.0, ridge=0.01).tolist() == [0]


@pytest.mark.parametrize("filter", FILTERS, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("name", HARD)
def test_times_keep_their_order_and_zero_is_zero(name, filter):
    gram, unit = HARD[name].gram, HARD[name].values[-1] or 1.0
    spectrum, y = solvers.eigendecompose(gram), draw(len(gram), 2)
    times = np.array([np.inf, 0.0, 5.0, 1e300, 1.0])
    found = spectrum.predict(gram, filter, times, 0.5 / unit, y)
    assert np.isfinite(found).all()
    assert not found[1].any()
    backwards = spectrum.predict(gram, filter, times[::-1], 0.5 / unit, y)
    np.testing.assert_allclose(backwards[::-1], found, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(spectrum.predict(gram, filter, 5, 0.5 / unit, y)[0], found[2], atol=1e-13)


def test_the_arguments_are_left_unchanged():
    gram, y, times = HARD["clustered"].gram, draw(12, 2), np.array([2.0, 1.0])
    kept = gram.copy(), y.copy(), times.copy()
    spectrum = solvers.eigendecompose(gram)
    spectrum.predict(gram, FLOW, times, 1.0, y)[:] = 0
    spectrum.apply(FLOW, times, 1.0, y)[:] = 0
    for after, before in zip((gram, y, times), kept, strict=True):
        np.testing.assert_array_equal(after, before)


def test_the_scale_is_never_below_the_block_itself():
    assert solvers.eigendecompose(np.diag([1.0, 3.0]), scale=2.0).scale == 3.0
    assert solvers.eigendecompose(np.diag([1.0, 3.0]), scale=9.0, size=50).threshold == 50 * EPS * 9


def test_timescales_of_nothing_and_of_tiny_eigenvalues():
    assert solvers.timescales([], 1.0).shape == (0,)
    assert solvers.timescales([solvers.eigendecompose(np.zeros((2, 2)))], 1.0).shape == (0,)
    tiny = solvers.eigendecompose(np.full((1, 1), 1e-310))
    assert solvers.timescales([tiny], 1e-5).tolist() == [np.inf]


SPOILED = np.eye(3)
SPOILED[1, 2] = np.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gram": SPOILED}, r"found 1 NaN or inf entries, the first at \(1, 2\)"),
        ({"gram": np.ones((2, 2), complex)}, "float32 or float64, found complex128"),
        ({"gram": np.ones(3)}, r"square \[N, N\], found shape \(3,\)"),
        ({"scale": np.nan}, "scale must be finite"),
        ({"scale": -1.0}, "scale must be finite and >= 0, found -1.0"),
        ({"size": 0}, "size must be >= 1"),
        ({"basis": np.eye(4)}, r"basis must be \[3, r\] with r <= 3, found shape \(4, 4\)"),
        ({"basis": np.ones((3, 1))}, "orthonormal columns, found products off by 2"),
        ({"basis": csr_matrix(np.ones((3, 1)))}, "orthonormal columns, found products off by 2"),
        ({"eigh": lambda a: (np.full(3, np.nan), a)}, "3 values not finite"),
        ({"eigh": lambda a: (np.ones(2), a[:, :2])}, r"shapes \(2,\) and \(3, 2\)"),
    ],
)
def test_blocks_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        solvers.eigendecompose(**{"gram": np.eye(3), **arguments})


def test_rows_and_labels_that_do_not_fit():
    spectrum = solvers.eigendecompose(np.eye(3))
    for call in (
        lambda y: spectrum.apply(FLOW, 1.0, 1.0, y),
        lambda y: spectrum.predict(np.eye(3), FLOW, 1.0, 1.0, y),
    ):
        for labels in (np.ones(3), np.ones((2, 1))):
            with pytest.raises(ValueError, match=r"labels must be \[3, k\] to fit the block"):
                call(labels)
    with pytest.raises(ValueError, match=r"rows must be \[m, 3\] .* found shape \(2, 4\)"):
        spectrum.predict(np.ones((2, 4)), FLOW, 1.0, 1.0, np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"found -1\.0 at index 1"):
        spectrum.predict(np.eye(3), FLOW, [0.0, -1.0], 1.0, np.ones((3, 1)))


def test_noise_is_a_threshold_of_its_own():
    block = np.diag([1e-9, 1e-3, 1.0])
    plain, noisy = solvers.eigendecompose(block), solvers.eigendecompose(block, noise=1e-6)
    assert plain.unresolved == 0
    assert noisy.unresolved == 1
    assert noisy.threshold == pytest.approx(1e-6, rel=1e-6)
    times = np.array([0.9, 1.1, 1e20, np.inf])  # noise * t passes 1e-6 at 1
    np.testing.assert_array_equal(noisy.cut(times, 1.0), [0, 1, 1, 1])
    mean = noisy.predict(np.eye(3), FLOW, times, 1.0, np.ones((3, 1)))[:, 0, 0]
    np.testing.assert_allclose(mean, [0.9, 0, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(noisy.resolved(0.0), [1e-3, 1])
    with pytest.raises(ValueError, match="noise must be finite and >= 0, found -1"):
        solvers.eigendecompose(block, noise=-1)


def test_another_quadrature_doubts_the_modes_that_it_changes():
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))
    # Small and known, small and a rule's own, large.
    block, other = (turn @ np.diag(values) @ turn.T for values in ([1e-6, 2e-5, 0.1, 1], [1.1e-6, 3e-4, 0.1, 1.01]))
    fine, coarse = solvers.eigendecompose(block).beside(solvers.eigendecompose(other))
    np.testing.assert_allclose(fine.doubt, [1e-7, 2.8e-4, 0, 0.01], atol=1e-12)
    np.testing.assert_allclose(coarse.doubt, [1e-7, 2.8e-4, 0, 0.01], atol=1e-12)
    assert fine.unresolved == coarse.unresolved == 1
    np.testing.assert_allclose(fine.resolved(0.0), [1e-6, 0.1, 1])
    times = np.array([35.0, 36, np.inf])  # doubt * t passes 1e-2 at 35.7
    np.testing.assert_array_equal(fine.cut(times, 1.0), [0, 1, 1])
    phi = fine.phi(FLOW, times, 1.0)
    np.testing.assert_allclose(phi[:, 0], FLOW(np.array([1e-6]), times, 1.0)[:, 0], rtol=1e-8)
    np.testing.assert_allclose(phi[:, 1], [-np.expm1(-35 * 2e-5) / 2e-5, 0, 0], rtol=1e-8)
    with pytest.raises(ValueError, match="other must be a spectrum of the same block, found order 2 for 4"):
        fine.beside(solvers.eigendecompose(np.eye(2)))
