"""A user's own kernel: what it may return, and what is refused because it would be silently wrong."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels

X = np.random.default_rng(0).standard_normal((6, 4))
Y = np.random.default_rng(1).standard_normal((6, 2))
X_TEST = np.random.default_rng(2).standard_normal((5, 4))
TIMES = [1.0, 50.0, np.inf]
SHIFTS = groups.matrix_action(groups.cyclic(4), np.stack([np.roll(np.eye(4), g, axis=0) for g in range(4)]))


def values(x1, x2):
    """K and Theta of inner products alone."""
    c = x1 @ x2.T / 4
    K = np.exp(c) if isinstance(c, np.ndarray) else jnp.exp(c)
    return K, K * (1 + c)


def by_hand(x_test, t, x=X, y=Y):
    """Gradient flow on the mean loss over all shifts of x, written out."""
    points = np.concatenate([np.roll(x, g, axis=1) for g in range(4)])
    labels = np.concatenate([y] * 4)
    lambdas, vectors = np.linalg.eigh(values(points, points)[1])
    phi = -np.expm1(-lambdas * t / labels.size) / lambdas
    return values(x_test, points)[1] @ (vectors * phi) @ vectors.T @ labels


class Own:
    """A class as docs/extending.md describes it."""

    dtype, content_key = "float64", "own"

    def __init__(self, spoil=lambda x1, x2, pair: pair):
        self.spoil = spoil

    def __call__(self, x1, x2=None):
        x2 = x1 if x2 is None else x2
        return self.spoil(x1, x2, kernels.KernelPair(*values(x1, x2)))

    def __repr__(self):
        return "Own()"


class OfTwo(Own):
    def __call__(self, x1, x2):
        return super().__call__(x1, x2)


GOOD = {
    "a class": Own(),
    "without x2=None": OfTwo(),
    "a plain tuple": Own(lambda x1, x2, pair: tuple(pair)),
    "a list": Own(lambda x1, x2, pair: list(pair)),
    "JAX arrays": Own(lambda x1, x2, pair: kernels.KernelPair(*map(jnp.asarray, pair))),
    "more digits": Own(lambda x1, x2, pair: tuple(part.astype(np.longdouble) for part in pair)),
    "a function": kernels.from_function(values, key="dots"),
    "a function with a default": kernels.from_function(
        lambda x1, x2=None: values(x1, x1 if x2 is None else x2), "dots"
    ),
    "a function of JAX": kernels.from_function(lambda x1, x2: values(jnp.asarray(x1), jnp.asarray(x2)), key="dots"),
    "compiled by JAX": kernels.from_function(jax.jit(values), key="dots"),
}


@pytest.mark.parametrize("name", GOOD)
def test_kernels_in_every_form_give_the_listed_mean_and_covariance(name):
    ensemble = hf.DeepEnsemble(GOOD[name], action=SHIFTS).fit(X, Y)
    law = ensemble.predict(X_TEST, TIMES, covariance="full")
    assert ensemble.reduction == "orbit"
    for mean, t in zip(law.mean, TIMES, strict=True):
        np.testing.assert_allclose(mean, by_hand(X_TEST, t), rtol=1e-6, atol=1e-8)
    assert np.isfinite(law.covariance).all()
    assert not jax.config.jax_enable_x64


SPOILT = {
    "transposed": (
        lambda x1, x2, pair: tuple(part.T for part in pair),
        ValueError,
        r"kernel\(x1, x2\) must give nngp \[n1, n2\] = \(\d, \d\), found shape \(\d, \d\), its transpose",
    ),
    "Theta alone transposed": (
        lambda x1, x2, pair: (pair.nngp, pair.ntk.T),
        ValueError,
        r"must give ntk \[n1, n2\] = .* its transpose",
    ),
    "not symmetric": (
        lambda x1, x2, pair: (pair.nngp, pair.ntk * (1 + 1e-4 * x1[:, :1])),
        ValueError,
        r"kernel must be symmetric, ntk\(x1, x2\) = ntk\(x2, x1\)\^T, found them apart by",
    ),
    "float32": (
        lambda x1, x2, pair: tuple(part.astype(np.float32) for part in pair),
        ValueError,
        r"nngp in its dtype float64, found float32, which has fewer digits",
    ),
    "complex": (
        lambda x1, x2, pair: (1j * pair[0], pair[1]),
        TypeError,
        "nngp of real numbers, found dtype complex128",
    ),
    "one matrix": (lambda x1, x2, pair: pair[1], TypeError, r"must return \(nngp, ntk\), .* found an array of shape"),
    "a dict": (lambda x1, x2, pair: pair._asdict(), TypeError, r"must return \(nngp, ntk\)"),
    "flat": (lambda x1, x2, pair: tuple(part.ravel() for part in pair), ValueError, r"found shape \(\d+,\)"),
    "NaN": (lambda x1, x2, pair: (pair[0], pair[1] * np.nan), ValueError, "ntk of finite numbers, found .* NaN"),
    "negative": (lambda x1, x2, pair: (-pair[0], pair[1]), ValueError, "diagonal >= 0, .* found nngp of -"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_kernels_that_would_be_silently_wrong(name):
    spoil, kind, message = SPOILT[name]
    with pytest.raises(kind, match=message):
        hf.DeepEnsemble(Own(spoil)).fit(X, Y)
    if name != "not symmetric":  # one sample alone is
        with pytest.raises(kind, match=message):
            hf.DeepEnsemble(Own(spoil)).fit(X[:1], Y[:1])


def test_a_batch_with_itself_is_what_two_equal_batches_are():
    class Different(Own):
        def __call__(self, x1, x2=None):
            nngp, ntk = values(x1, x1 if x2 is None else x2)
            return nngp, ntk + (np.eye(len(x1)) if x2 is None else 0)  # a jitter that hides in the default

    with pytest.raises(ValueError, match=r"ntk\(x\) = ntk\(x, x\)"):
        hf.DeepEnsemble(Different()).fit(X, Y)


def test_float32_kernels_stay_float32():
    kernel = kernels.from_function(lambda x1, x2: values(jnp.asarray(x1), jnp.asarray(x2)), "dots", dtype="float32")
    found = kernel(X, X_TEST)
    assert found.ntk.dtype == np.float32
    np.testing.assert_allclose(found.ntk, values(X, X_TEST)[1], rtol=1e-5)
    assert kernels.from_function(values, "dots", "float32")(X).nngp.dtype == np.float32
    assert hf.DeepEnsemble(kernel).fit(X, Y).predict(X_TEST, 1.0).mean.shape == (1, 5, 2)


def test_assemblers_take_plain_kernels_too():
    irreps = groups.irreps(SHIFTS.group)
    plain, ours = (
        Own(lambda x1, x2, pair: tuple(map(jnp.asarray, pair))),
        kernels.from_function(values, "dots"),
    )
    gram = kernels.orbit_gram(plain, SHIFTS, X, irreps)
    for found, wanted in zip(gram.blocks, kernels.orbit_gram(ours, SHIFTS, X, irreps).blocks, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(kernels.kernel_diagonal(plain, X).ntk, np.diagonal(values(X, X)[1]), rtol=1e-12)
    assert kernels.check_invariance(plain, SHIFTS, (4,)).holds
    with pytest.raises(TypeError, match="kernel must be callable, with a dtype and a content_key"):
        kernels.check_invariance(values, SHIFTS, (4,))


def test_what_a_function_needs():
    for key in ("", None, 3):
        with pytest.raises(ValueError, match="key must be a non-empty string"):
            kernels.from_function(values, key)
    with pytest.raises(TypeError, match=r"function must be callable as function\(x1, x2\)"):
        kernels.from_function(np.eye(3), "dots")
    with pytest.raises(ValueError, match="dtype must be"):
        kernels.from_function(values, "dots", "float16")
    for wrong in (values, "resnet", 3):
        with pytest.raises(TypeError, match=r"from_function\(f, key=\"...\"\).*from_neural_tangents\(kernel_fn, key"):
            hf.DeepEnsemble(wrong)


def test_keys_and_names_stay_the_users():
    assert hf.DeepEnsemble(Own())._kernel.content_key == "own"
    kernel = kernels.from_function(values, "dots")
    assert kernel.content_key == "function(dots)"
    assert kernel == kernels.from_function(by_hand, "dots")  # as the user promised
    assert repr(kernel) == "kernels.from_function(values, key='function(dots)', dtype='float64')"
    assert repr(hf.DeepEnsemble(Own())._kernel) == "Own()"
    assert np.array_equal(pickle.loads(pickle.dumps(kernel))(X).ntk, kernel(X).ntk)
    analytic = kernels.analytic(kernels.Sequential(kernels.Dense(), kernels.Relu(), kernels.Dense()))
    assert hf.DeepEnsemble(analytic)._kernel is analytic
