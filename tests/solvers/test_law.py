"""The law's blocks against dense matrix functions from SciPy; roots and draws against their definitions."""

import numpy as np
import pytest
import scipy.linalg
from hard import HARD

from haarflow import solvers

FLOW = solvers.GradientFlow()
TIMES = np.array([0.0, 0.3, 2.0, 40.0, np.inf])
RATE = 0.7
WEIGHT = 2 / 12


def psd(rng, order, rank=None):
    factor = rng.standard_normal((order, 2 * order if rank is None else rank))
    return factor @ factor.T / order


class Case:
    """Two kernels between a block's samples and m test points of d rows, on a subspace of rank r."""

    def __init__(self, order=9, rank=9, m=4, d=3, seed=0):
        rng = np.random.default_rng(seed)
        self.basis = None
        if rank < order:  # coinciding samples: the same coordinates in both kernels
            self.basis, _ = np.linalg.qr(rng.standard_normal((order, rank)))
        lift = np.eye(order) if self.basis is None else self.basis
        self.theta, self.nngp = (lift @ psd(rng, rank) @ lift.T for _ in range(2))
        self.rows, self.nngp_rows = (rng.standard_normal((m, d, rank)) @ lift.T for _ in range(2))

    def block(self, dtype="float64"):
        spectrum = solvers.eigendecompose(self.theta.astype(dtype), self.basis)
        nngp = solvers.to_eigenbasis(spectrum, self.nngp.astype(dtype))
        block = solvers.LawBlock(spectrum, nngp, WEIGHT)
        return block, block.project(self.rows.astype(dtype), self.nngp_rows.astype(dtype))

    def exact(self, ridge=0.0):
        """Entry [t, x, s, x'] of sum_d theta F_t K F_s theta' - theta F_t k' - k F_s theta', F = phi(Theta)."""
        ridged = self.theta + ridge * np.eye(len(self.theta))
        inverse = scipy.linalg.pinvh(ridged)
        trained = []
        for t in TIMES:
            decayed = np.zeros_like(ridged) if np.isinf(t) else scipy.linalg.expm(-ridged * RATE * t)
            trained.append(self.rows @ inverse @ (np.eye(len(ridged)) - decayed))
        trained = np.array(trained)
        both = np.einsum("txdi,ij,sydj->txsy", trained, self.nngp, trained)
        crossed = np.einsum("txdi,ydi->txy", trained, self.nngp_rows)
        return WEIGHT * (both - crossed[:, :, None, :] - crossed.transpose(2, 0, 1)[None])


CASES = {"regular": {}, "coinciding": {"rank": 6}, "one row": {"m": 1, "d": 1}, "one sample": {"order": 1, "rank": 1}}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 2e-4)])
@pytest.mark.parametrize("ridge", [0.0, 0.2])
@pytest.mark.parametrize("name", CASES)
def test_blocks_against_matrix_functions(name, ridge, dtype, tolerance):
    case = Case(**CASES[name])
    block, at = case.block(dtype)
    how = (FLOW, TIMES, RATE, ridge)
    exact = case.exact(ridge)
    atol = tolerance * np.abs(exact).max()
    joint = block.joint_covariance(at, *how)
    np.testing.assert_allclose(joint, exact, atol=atol)
    at_once = np.einsum("txty->txy", exact)
    np.testing.assert_allclose(block.covariance(at, *how), at_once, atol=atol)
    np.testing.assert_allclose(block.variance(at, *how), np.einsum("txx->tx", at_once), atol=atol)
    assert joint.dtype == block.covariance(at, *how).dtype == block.variance(at, *how).dtype == np.float64
    assert np.abs(joint[0]).max() > 0  # f_0 and f_t are correlated, whatever t
    assert not block.covariance(at, *how)[0].any()  # nothing is learnt at t = 0
    np.testing.assert_array_equal(block.covariance(at, *how), block.covariance(at, *how).transpose(0, 2, 1))


def test_eigenbasis_against_products():
    for rank in (9, 5):
        case = Case(rank=rank)
        spectrum = solvers.eigendecompose(case.theta, case.basis)
        turned = solvers.to_eigenbasis(spectrum, case.nngp)
        vectors = spectrum.eigenvectors if case.basis is None else case.basis @ spectrum.eigenvectors
        np.testing.assert_allclose(turned, vectors.T @ case.nngp @ vectors, atol=1e-13)
        np.testing.assert_array_equal(turned, turned.T)
        assert turned.dtype == spectrum.dtype
        np.testing.assert_allclose(np.trace(turned), np.trace(case.nngp), rtol=1e-13)


def test_eigenbasis_refuses():
    spectrum = solvers.eigendecompose(np.diag([1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match=r"nngp must be \[3, 3\] to fit the block, found \(2, 2\)"):
        solvers.to_eigenbasis(spectrum, np.eye(2))
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="nngp must be finite"):
            solvers.to_eigenbasis(spectrum, np.diag([1.0, bad, 1.0]))


def test_rows_that_do_not_fit_the_block():
    block, _ = Case().block()
    with pytest.raises(ValueError, match=r"rows must be \[\.\.\., 9\] to fit the block"):
        block.project(np.ones((2, 1, 8)), np.ones((2, 1, 8)))


def test_a_kernel_that_vanishes_learns_nothing():
    spectrum = solvers.eigendecompose(np.zeros((4, 4)), scale=0.0)
    block = solvers.LawBlock(spectrum, solvers.to_eigenbasis(spectrum, np.eye(4)), 1.0)
    at = block.project(np.full((2, 1, 4), 1e-17), np.ones((2, 1, 4)))
    for share in (block.variance, block.covariance, block.joint_covariance):
        assert not share(at, FLOW, TIMES, RATE).any()


def test_a_block_of_rounding_is_not_inverted():
    # Beside a block of size 1 this one is noise: at late times it must not be divided by.
    noise = 1e-17 * psd(np.random.default_rng(0), 4)
    spectrum = solvers.eigendecompose(noise, scale=1.0, size=8)
    block = solvers.LawBlock(spectrum, solvers.to_eigenbasis(spectrum, np.eye(4)), 1.0)
    at = block.project(np.full((2, 1, 4), 1e-17), np.full((2, 1, 4), 1e-17))
    assert np.abs(block.covariance(at, FLOW, TIMES, RATE)).max() < 1e-15


# --- roots ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["well conditioned", "geometric", "clustered", "one dominant", "identity", "huge"])
def test_root_against_scipy(name):
    gram = HARD[name].gram
    root = solvers.symmetric_root(gram, float(np.trace(gram)))
    size = np.sqrt(np.linalg.norm(gram, 2))
    np.testing.assert_allclose(root, scipy.linalg.sqrtm(gram), atol=1e-7 * size)
    np.testing.assert_allclose(root, root.T, atol=1e-14 * size)


@pytest.mark.parametrize("name", HARD)
def test_root_squares_to_the_covariance(name):
    gram = HARD[name].gram
    trace = float(np.trace(gram))
    root = solvers.symmetric_root(gram, trace)
    cut = len(gram) * np.finfo(float).eps * trace
    assert np.linalg.norm(root @ root - gram, 2) <= 3 * cut


def test_root_has_no_negative_and_no_known_zero_modes():
    vectors = HARD["half singular"].vectors
    root = solvers.symmetric_root((vectors * [-1e-16, -1e-17, 0, 1, 2, 3]) @ vectors.T, 6.0)
    assert np.linalg.norm(root @ vectors[:, :3]) < 1e-7
    assert not solvers.symmetric_root(np.zeros((3, 3)), 0.0).any()


@pytest.mark.parametrize(("name", "bound"), [("clustered", 1e-12), ("identity", 1e-14), ("half singular", 1e-8)])
def test_root_forgets_rounding_where_eigenvectors_do_not(name, bound):
    """Equal eigenvalues have no eigenvectors of their own: a change of 1e-16 turns V sqrt(lambda) by O(1)."""
    gram = HARD[name].gram
    size = np.linalg.norm(gram, 2)
    noise = np.random.default_rng(1).standard_normal(gram.shape)
    other = gram + 1e-16 * size * (noise + noise.T)
    roots = [solvers.symmetric_root(each, float(np.trace(gram))) for each in (gram, other)]
    assert np.abs(roots[0] - roots[1]).max() < bound * np.sqrt(size)
    if name != "half singular":
        factors = [vectors * np.sqrt(values) for values, vectors in map(np.linalg.eigh, (gram, other))]
        assert np.abs(factors[0] - factors[1]).max() > 0.1 * np.sqrt(size)


@pytest.mark.parametrize("eps", [np.finfo("float64").eps, np.finfo("float32").eps])
@pytest.mark.parametrize("name", ["half singular", "clustered", "zero"])
def test_root_changes_as_little_as_the_cut_promises(name, eps):
    gram = HARD[name].gram
    scale = max(float(np.trace(gram)), 1.0)
    noise = np.random.default_rng(2).standard_normal(gram.shape)
    noise = (noise + noise.T) * eps * scale / 10
    cut = len(gram) * eps * scale
    roots = [solvers.symmetric_root(each, scale, eps) for each in (gram, gram + noise)]
    change = np.linalg.norm(roots[1] - roots[0], 2)
    assert 0 < change <= 1.01 * np.linalg.norm(noise, 2) / np.sqrt(cut)


# --- draws ------------------------------------------------------------------------------------------------


def law(T=3, m=4, k=2):
    rng = np.random.default_rng(5)
    return rng.standard_normal((T, m, k)), rng.standard_normal((T, m, m)), rng.standard_normal((T * m, T * m))


def test_draws_are_the_roots_times_white_noise():
    mean, roots, joint = law()
    z = np.random.default_rng(9).standard_normal((5, 3, 4, 2))
    found = solvers.draw(mean, roots, 5, np.random.default_rng(9))
    np.testing.assert_allclose(found, mean[:, None] + np.einsum("txy,Mtyk->tMxk", roots, z), atol=1e-13)
    found = solvers.draw(mean, joint, 5, np.random.default_rng(9))
    exact = mean[:, None] + np.einsum("txsy,Msyk->tMxk", joint.reshape(3, 4, 3, 4), z)
    np.testing.assert_allclose(found, exact, atol=1e-13)
    assert found.flags.c_contiguous


@pytest.mark.parametrize("which", [1, 2])
def test_first_members_of_more_are_the_same(which):
    arrays = law()
    few, many = (solvers.draw(arrays[0], arrays[which], M, np.random.default_rng(3)) for M in (3, 70))
    assert few.shape == (3, 3, 4, 2)
    np.testing.assert_allclose(many[:, :3], few, atol=1e-13)


def test_white_noise_is_not_shared():
    """Members, times, points and outputs of an uncorrelated law are 4,000 uncorrelated normal numbers."""
    z = solvers.draw(np.zeros((4, 5, 2)), np.tile(np.eye(5), (4, 1, 1)), 100, np.random.default_rng(0))
    assert len(np.unique(z)) == z.size == 4000
    for axis in range(4):
        shifted = np.roll(z, 1, axis=axis)
        assert abs(np.mean(z * shifted)) < 5 / np.sqrt(z.size)
