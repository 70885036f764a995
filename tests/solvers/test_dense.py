"""The dense solver on the catalogue of hard matrices, against expm, pinv, and duplicates merged by hand."""

import numpy as np
import pytest
import scipy.linalg
from hard import FLOAT32, HARD, REGULAR
from scipy.sparse import csr_matrix

from haarflow import solvers

FLOW = solvers.GradientFlow()


def labels(hard, k=3, seed=1):
    return np.random.default_rng(seed).standard_normal((len(hard.values), k))


def exact_weights(hard, y, t):
    """phi_t(Theta) y from the known spectrum, with the null space's part left out."""
    positive = hard.values > 0
    values, vectors = hard.values[positive], hard.vectors[:, positive]
    phi = 1 / values if np.isinf(t) else -np.expm1(-values * t) / values
    return vectors @ (phi[:, None] * (vectors.T @ y))


@pytest.mark.parametrize(
    ("name", "dtype"), [(name, "float64") for name in HARD] + [(name, "float32") for name in FLOAT32]
)
def test_every_time_on_every_matrix(name, dtype):
    hard = HARD[name]
    gram, y = hard.gram.astype(dtype), labels(hard)
    scale = float(hard.values[-1])
    unit = scale or 1.0
    times = np.array([0.0, 0.1, 1.0, 100.0, 1e12, np.inf]) / unit
    found = solvers.eigendecompose(gram).predict(gram, FLOW, times, 1.0, y)
    # A backward stable solver in float32 is off by eps times the condition number: 1.2e-3 for "one dominant".
    condition = scale / min(hard.values[hard.values > 0], default=1.0)
    tolerance = 1e-9 if dtype == "float64" else max(2e-4, float(np.finfo(dtype).eps) * condition)
    for mean, t in zip(found, times, strict=True):
        exact = hard.gram @ exact_weights(hard, y, t)
        assert np.max(np.abs(mean - exact)) <= tolerance * np.max(np.abs(y))
    assert not found[0].any()


@pytest.mark.parametrize("name", [n for n in REGULAR if n not in ("huge", "tiny")])
def test_against_expm(name):
    hard = HARD[name]
    gram, y = hard.gram, labels(hard)
    t = 2 / hard.values[-1]
    found = solvers.eigendecompose(gram).predict(gram, FLOW, np.array([t]), 1.0, y)[0]
    np.testing.assert_allclose(found, y - scipy.linalg.expm(-t * gram) @ y, atol=1e-11)


def test_against_the_pseudo_inverse():
    hard = HARD["half singular"]
    y = labels(hard)
    found = solvers.eigendecompose(hard.gram).predict(np.eye(6), FLOW, np.array([np.inf]), 1.0, y)[0]
    np.testing.assert_allclose(found, np.linalg.pinv(hard.gram, rcond=1e-10) @ y, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-3)])
def test_duplicates_with_conflicting_labels(dtype, tolerance):
    # Points 0 and 1 coincide, so do 3, 4, 5: the flow sees their mean label, with their number as weight.
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((3, 5))
    small = factor @ factor.T
    member = np.array([0, 0, 1, 2, 2, 2])
    gram, y = small[np.ix_(member, member)], rng.standard_normal((6, 2))
    counts = np.bincount(member)
    columns = np.zeros((6, 3))
    columns[np.arange(6), member] = 1 / np.sqrt(counts[member])
    rows = rng.standard_normal((4, 5)) @ factor.T
    spectrum = solvers.eigendecompose(gram.astype(dtype), csr_matrix(columns))
    assert spectrum.rows == 6
    times = np.array([1.0, 1e8, 1e12, np.inf])
    found = spectrum.predict(rows[:, member].astype(dtype), FLOW, times, 1.0, y)
    means = np.array([y[member == c].mean(axis=0) for c in range(3)])
    for mean, t in zip(found, times, strict=True):
        # d f / dt = -small W (f - means): its solution from rest.
        flow = scipy.linalg.expm(-min(t, 1e4) * small @ np.diag(counts))
        exact = rows @ np.linalg.solve(small, means - flow @ means)
        assert np.max(np.abs(mean - exact)) < tolerance * np.max(np.abs(exact))


def test_a_block_of_rounding_noise_is_not_inverted():
    rng = np.random.default_rng(0)
    noise = 1e-16 * rng.standard_normal((5, 5))
    rows, y = 1e-16 * rng.standard_normal((3, 5)), np.ones((5, 1))
    times = np.array([1.0, 1e8, np.inf])
    known = solvers.eigendecompose(noise + noise.T, scale=10.0, size=20)
    assert np.max(np.abs(known.predict(rows, FLOW, times, 1.0, y))) < 1e-6
    assert known.unresolved == 5
    assert known.cut(times, 1.0).tolist() == [0, 0, 5]
    # Held to its own scale, noise without a negative eigenvalue is inverted: what the bound of the whole Gram is for.
    alone = solvers.eigendecompose(1e16 * noise @ noise.T)
    assert np.max(np.abs(alone.predict(rows, FLOW, times, 1.0, y))) > 0.1


def test_an_indefinite_block_is_unknown_up_to_its_defect():
    vectors, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))
    spectrum = solvers.eigendecompose((vectors * [-1e-3, 1.5e-3, 1.0, 2.0]) @ vectors.T)
    assert spectrum.defect == pytest.approx(2e-3)
    assert spectrum.unresolved == 2
    times = np.array([1e-5, 1e2, np.inf])
    assert spectrum.cut(times, 1.0).tolist() == [0, 2, 2]
    np.testing.assert_allclose(spectrum.phi(FLOW, times, 1.0)[:, :2], [[1e-5, 1e-5], [0, 0], [0, 0]])


def test_ridge_resolves_modes():
    hard = HARD["half singular"]
    spectrum = solvers.eigendecompose(hard.gram)
    y = labels(hard)
    found = spectrum.predict(np.eye(6), FLOW, np.array([np.inf]), 1.0, y, ridge=0.3)[0]
    np.testing.assert_allclose(found, np.linalg.solve(hard.gram + 0.3 * np.eye(6), y), atol=1e-12)
    assert spectrum.cut(np.array([np.inf]), 1.0, 0.3).tolist() == [0]
    assert spectrum.unresolved == 3


def test_timescales():
    spectra = [solvers.eigendecompose(HARD[name].gram) for name in ("half singular", "identity")]
    expected = np.sort(1 / (0.5 * np.array([1, 2, 3, *[1] * 8])))
    np.testing.assert_allclose(solvers.timescales(spectra, 0.5), expected, rtol=1e-12)
    np.testing.assert_allclose(solvers.timescales(spectra[:1], 1.0, 4.0).max(), 0.25, rtol=1e-12)


def test_an_eigensolver_is_passed_in():
    calls = []

    def eigh(matrix):
        calls.append(matrix.shape)
        return np.linalg.eigh(matrix)

    hard = HARD["clustered"]
    spectrum = solvers.eigendecompose(hard.gram, eigh=eigh)
    assert calls == [(12, 12)]
    np.testing.assert_allclose(spectrum.eigenvalues, hard.values, rtol=1e-9)


def test_an_empty_basis_predicts_nothing():
    # No distinct point carries a label of this irrep.
    spectrum = solvers.eigendecompose(np.eye(2), csr_matrix((2, 0)), scale=1.0)
    assert not spectrum.predict(np.ones((3, 2)), FLOW, np.array([1.0, np.inf]), 1.0, np.ones((2, 1))).any()


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        (np.ones((2, 3)), "must be square"),
        (np.ones((2, 2), int), "must be float32 or float64"),
        (np.full((2, 2), np.nan), "must be finite"),
        (np.ones((0, 0)), "must be square"),
    ],
)
def test_matrices_that_are_wrong(gram, message):
    with pytest.raises(ValueError, match=message):
        solvers.eigendecompose(gram)
