"""Drivers by order: what LAPACK is asked for is what it needs, at orders that no test can hold."""

import numpy as np
import pytest
import scipy.linalg
from hard import HARD, REGULAR

from haarflow import solvers
from haarflow.solvers import lapack

ORDERS = [1, 2, 10, 4000, 16_384, 20_000, 23_170, 30_000, 32_765, 32_766, 32_767, 32_768, 40_000, 46_341, 100_000]


def queried(driver, prefix, order):
    """The workspace that SciPy would pass."""
    found = (
        getattr(scipy.linalg.lapack, f"{prefix}sy{driver}_lwork")(order, compute_v=1)
        if driver == "evd"
        else (getattr(scipy.linalg.lapack, f"{prefix}sy{driver}_lwork")(order))
    )
    return found[0]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("prefix", "sd")
def test_the_driver_gets_the_workspace_it_needs(order, prefix):
    driver = lapack.eigh_driver(order)
    needed = {"evd": 1 + 6 * order + 2 * order**2 if order > 1 else 1, "evr": max(1, 26 * order)}[driver]
    assert needed < 2**31
    assert needed <= queried(driver, prefix, order) * (1 + 1e-7) < 2**31


def test_divide_and_conquer_wherever_it_serves():
    assert [lapack.eigh_driver(n) for n in (1, 10_000, 32_766, 32_767, 10**6)] == ["evd"] * 3 + ["evr"] * 2
    # What SciPy is answered one order above: less than the columns it would write.
    assert queried("evd", "d", 32_767) < 2 * 32_767**2


@pytest.mark.parametrize("order", ORDERS)
def test_singular_values(order):
    driver = lapack.svd_driver(order)
    found = scipy.linalg.lapack.dgesdd_lwork(order, order, compute_uv=1, full_matrices=0)[0]
    if driver == "gesdd":
        assert 3 * order**2 + 7 * order <= found < 2**31
    else:
        assert 5 * order <= scipy.linalg.lapack.dgesvd_lwork(order, order)[0] < 2**31


@pytest.mark.parametrize("name", REGULAR)
def test_both_drivers_agree(name, monkeypatch):
    gram = HARD[name].gram
    by_evd = lapack.eigh(gram)
    monkeypatch.setattr(lapack, "_MOST", 0)
    assert lapack.eigh_driver(len(gram)) == "evr"
    values, vectors = lapack.eigh(gram)
    np.testing.assert_allclose(values, by_evd[0], rtol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(gram)), atol=1e-13)
    np.testing.assert_allclose((vectors * values) @ vectors.T, gram, atol=1e-13 * HARD[name].values.max())
    left, sizes, right = lapack.svd(gram.copy())
    np.testing.assert_allclose((left * sizes) @ right, gram, atol=1e-13 * HARD[name].values.max())
    spectrum = solvers.eigendecompose(gram)
    np.testing.assert_array_equal(spectrum.eigenvalues, values)
    root = solvers.symmetric_root(gram, float(np.trace(gram)))
    np.testing.assert_allclose(root @ root, gram, atol=1e-12 * np.trace(gram))


def test_what_no_memory_holds_is_refused(monkeypatch):
    monkeypatch.setattr(lapack, "machine_memory", lambda: 24 * 10**9)
    lapack.check_memory([20_000], [20_000], "float64")
    lapack.check_memory([40_000], [10_000], "float64")  # most points coincide
    with pytest.raises(ValueError, match=r"a block of order 40000 takes 38.4 GB to factorise, .* has 24 GB: .*float32"):
        lapack.check_memory([100, 40_000], [100, 40_000], "float64")
    with pytest.raises(ValueError, match=r"order 30000 takes 28.8 GB .* solver=\"krylov\", which"):
        lapack.check_memory([30_000], [30_000], "float64")
    lapack.check_memory([40_000], [40_000], "float32")
    monkeypatch.setattr(lapack, "machine_memory", lambda: None)
    lapack.check_memory([10**6], [10**6], "float64")
