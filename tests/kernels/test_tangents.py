"""neural-tangents on current JAX: what it needs is there for its import alone, and it computes what it should."""

import subprocess
import sys

import numpy as np
import pytest
from haarflow import kernels
from haarflow.kernels.backend import x64

W = 2**0.5


@pytest.fixture(scope="module")
def nt():
    try:
        return kernels.neural_tangents()
    except ImportError as missing:
        pytest.skip(str(missing))


def run(program):
    return subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)


def test_jax_is_put_back(nt):
    program = """
import sys, jax, warnings
import jax.extend.core
def look():
    return dict(vars(jax.core)), "jax.util" in sys.modules, jax.config.values.copy(), list(warnings.filters)
before = look()
from haarflow import kernels
module = kernels.neural_tangents()
assert module is kernels.neural_tangents()
core, util, config, filters = look()
assert set(core) == set(before[0])
assert all(core[name] is before[0][name] for name in core)
assert (config, filters) == before[2:]
assert not any(name.split(".")[0] in ("tensorflow", "tf2jax") for name in sys.modules)
assert "neural_tangents.experimental" not in sys.modules
print("put back")
"""
    done = run(program)
    assert done.stdout == "put back\n", done.stderr


def test_not_installed_says_how_to_install():
    program = """
import sys
sys.modules["neural_tangents"] = None
from haarflow import kernels
for use in (kernels.neural_tangents, lambda: kernels.from_neural_tangents(print, "key")):
    try:
        use()
    except ImportError as error:
        print(error)
"""
    done = run(program)
    assert done.stdout.count("pip install --no-deps neural-tangents==0.6.5") == 2, done.stderr


def test_arc_cosine_by_hand(nt):
    network = kernels.Sequential(kernels.Dense(W), kernels.Relu(), kernels.Dense(1.0))
    kernel = kernels.from_neural_tangents(kernels.to_neural_tangents(network)[2], key="relu")
    x1, x2 = np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]])
    # W_std^2 x.x'/d has variances 1 and 2 at an angle of 45 degrees.
    angle = np.pi / 4
    nngp = np.sqrt(2) / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
    ntk = nngp + 1.0 * (np.pi - angle) / (2 * np.pi)
    found = kernel(x1, x2)
    assert found.nngp.item() == pytest.approx(nngp, rel=1e-14)
    assert found.ntk.item() == pytest.approx(ntk, rel=1e-14)
    assert found.ntk.dtype == np.float64
    assert kernel.content_key == "neural_tangents(relu)"
    assert kernels.from_neural_tangents(kernel.kernel_fn, "relu", "float32")(x1).ntk.dtype == np.float32


def test_predict_covariance_batch_and_monte_carlo_work(nt):
    network = kernels.Sequential(kernels.Dense(W), kernels.Relu(), kernels.Dense(1.0))
    init_fn, apply_fn, kernel_fn = kernels.to_neural_tangents(network, width=64)
    x = np.random.default_rng(0).standard_normal((4, 3))
    with x64():
        predict = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x, x[:, :1])
        mean, covariance = predict(t=10.0, x_test=x, get="ntk", compute_cov=True)
        assert mean.shape == (4, 1)
        assert np.linalg.eigvalsh(covariance).min() > -1e-12
        np.testing.assert_allclose(nt.batch(kernel_fn, 2)(x, None, "ntk"), kernel_fn(x, None, "ntk"), rtol=1e-9)
        import jax

        empirical = nt.monte_carlo_kernel_fn(init_fn, apply_fn, jax.random.PRNGKey(0), 4)(x, None, "nngp")
        assert np.isfinite(empirical).all()


def test_what_neural_tangents_does_not_have(nt):
    network = kernels.Sequential(kernels.Conv(3, support=((0, 0),)), kernels.Flatten(), kernels.Dense())
    with pytest.raises(ValueError, match="no filter support"):
        kernels.to_neural_tangents(network)


def test_arguments_that_are_wrong(nt):
    with pytest.raises(TypeError, match="kernel_fn must be callable"):
        kernels.from_neural_tangents(3, "key")
    for key in ("", None):
        with pytest.raises(ValueError, match="key must be a non-empty string"):
            kernels.from_neural_tangents(print, key)
    with pytest.raises(ValueError, match='must be "float64" or "float32"'):
        kernels.from_neural_tangents(print, "key", "int8")
