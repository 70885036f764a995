"""LAPACK with Python's lock released: SciPy's bits, while other threads go on."""

import threading
import time

import numpy as np
import pytest
import scipy.linalg

from haarflow.solvers import unlocked


def symmetric(n, dtype=np.float64):
    a = np.random.default_rng(n).standard_normal((n, n))
    return np.asfortranarray((a + a.T).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 2, 3, 26, 60, 200])
def test_the_same_bits_as_scipy(n, dtype):
    expected = scipy.linalg.eigh(symmetric(n, dtype), driver="evd")
    for matrix in (symmetric(n, dtype), np.ascontiguousarray(symmetric(n, dtype))):
        values, vectors = unlocked.divide_and_conquer(matrix)
        assert values.tobytes() == expected[0].tobytes()
        assert vectors.tobytes() == expected[1].tobytes()
        assert np.shares_memory(vectors, matrix)


def test_what_it_does_not_know_is_left_to_scipy(monkeypatch):
    matrix = symmetric(20)
    expected = scipy.linalg.eigh(matrix, driver="evd")
    monkeypatch.setattr(unlocked, "_syevd", lambda kind: None)
    values, vectors = unlocked.divide_and_conquer(matrix.copy(order="F"))
    assert np.array_equal(values, expected[0])
    assert np.array_equal(vectors, expected[1])


def test_no_convergence_is_an_error(monkeypatch):
    call = unlocked._call
    monkeypatch.setattr(unlocked, "_call", lambda *arguments: call(*arguments) or arguments[-1] > 0)
    with pytest.raises(scipy.linalg.LinAlgError, match="did not converge for a matrix of order 30"):
        unlocked.divide_and_conquer(symmetric(30))


def test_other_threads_go_on():
    """Another thread counts, which SciPy's call would hold up from begin to end."""
    matrix, stop, counted = symmetric(1000), threading.Event(), [0]

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        while counted[0] < 3:
            time.sleep(0.01)
        before = counted[0]
        unlocked.divide_and_conquer(matrix)
        moved = counted[0] - before
    finally:
        stop.set()
        thread.join()
    assert moved >= 5
