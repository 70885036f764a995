"""neural-tangents on current JAX: what it needs is there for its import alone, and it computes right."""

import subprocess
import sys

import jax
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
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_jax_is_put_back(nt):
    program = """
import sys, jax, warnings
import jax.extend.core
import scipy.sparse, scipy.special  # they add filters of their own
def look():
    return dict(vars(jax.core)), "jax.util" in sys.modules, jax.config.values.copy(), list(warnings.filters)
before = look()
from haarflow import kernels
module = kernels.neural_tangents()
assert module is kernels.neural_tangents()
core, util, config, filters = look()
assert set(core) == set(before[0])
assert all(core[name] is before[0][name] for name in core)
assert (util, config, filters) == before[1:]
assert jax.config.jax_enable_x64 is False
assert jax.numpy.ones(1).dtype == "float32"
assert not any(name.split(".")[0] in ("tensorflow", "tf2jax") for name in sys.modules)
assert "neural_tangents.experimental" not in sys.modules
assert "neural_tangents._src.utils.rules" not in sys.modules
print("put back")
"""
    done = run(program)
    assert done.stdout == "put back\n", done.stderr


def test_tensorflow_need_not_be_installed(nt):
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tf2jax"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from haarflow import kernels
print(kernels.neural_tangents().__version__)
"""
    done = run(program)
    assert done.stdout == "0.6.5\n", done.stderr


def test_threads_import_it_once(nt):
    program = """
import sys, threading
from haarflow import kernels
found, together = [], threading.Barrier(4)
def one():
    together.wait()
    found.append(kernels.neural_tangents().stax.serial)
threads = [threading.Thread(target=one) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(found), len(set(found)))
"""
    done = run(program)
    assert done.stdout == "4 1\n", done.stderr


def test_an_import_that_fails_leaves_nothing(nt):
    program = """
import sys, jax, jax.extend.core
from haarflow import kernels
before, names = dict(vars(jax.core)), set(sys.modules)
sys.modules["frozendict"] = None
try:
    kernels.neural_tangents()
except ImportError as error:
    print(error)
assert dict(vars(jax.core)) == before
assert not [name for name in sys.modules if name.startswith("neural_tangents")]
del sys.modules["frozendict"]
assert kernels.neural_tangents().stax
"""
    done = run(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("neural-tangents lacks frozendict: pip install")


BLOCKS = {
    "None in sys.modules": "sys.modules['neural_tangents'] = None",
    "not found": """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *args: None if name == "neural_tangents" else find(name, *args)
""",
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_not_installed_says_how_to_install(block):
    program = """
import sys
{block}
from haarflow import kernels
for use in (kernels.neural_tangents, lambda: kernels.from_neural_tangents(print, "key")):
    try:
        use()
    except ImportError as error:
        print(error)
"""
    done = run(program.replace("{block}", block))
    assert done.stdout.count("not installed: pip install --no-deps neural-tangents==0.6.5") == 2, done.stderr
    assert done.stdout.count("pip install frozendict") == 2


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
        batched, whole = nt.batch(kernel_fn, 2)(x, None, "ntk"), kernel_fn(x, None, "ntk")
        np.testing.assert_allclose(batched, whole, rtol=1e-8)  # its noise on coincident points is 5e-9
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


def test_a_batched_kernel_is_taken(nt):
    network = kernels.Sequential(kernels.Dense(W, 0.1), kernels.Erf(), kernels.Dense(1.0))
    kernel_fn = kernels.to_neural_tangents(network)[2]
    rng = np.random.default_rng(0)
    x1, x2 = rng.standard_normal((6, 3)), rng.standard_normal((4, 3))
    plain = kernels.from_neural_tangents(kernel_fn, "plain")
    for options in ({"device_count": 0}, {"store_on_device": False}):
        batched = kernels.from_neural_tangents(nt.batch(kernel_fn, 2, **options), "batched")
        for x in (None, x2):
            for found, expected in zip(batched(x1, x), plain(x1, x), strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-13)
                assert found.shape == (6, 6 if x is None else 4)
                assert found.dtype == np.float64


def test_spatial_axes_that_are_left_are_refused(nt):
    stax = nt.stax
    kernel_fn = stax.serial(stax.Conv(1, (3, 3), padding="SAME"))[2]
    with pytest.raises(ValueError, match=r"of shape \(2, 2\), found \(2, 2, 4, 4"):
        kernels.from_neural_tangents(kernel_fn, "conv")(np.ones((2, 4, 4, 1)))


def test_each_shape_is_traced_once(nt):
    network = kernels.Sequential(kernels.Dense(W), kernels.Relu(), kernels.Dense(1.0))
    kernel_fn = kernels.to_neural_tangents(network)[2]
    traced = []

    def counting(x1, x2, get):
        traced.append(x1.shape)
        return kernel_fn(x1, x2, get)

    kernel = kernels.from_neural_tangents(counting, "counting")
    rng = np.random.default_rng(0)
    for _ in range(3):
        for n in (2, 3):
            kernel(rng.standard_normal((n, 5)), rng.standard_normal((4, 5)))
    assert traced == [(2, 5), (3, 5)]


def test_results_are_the_users_own(nt):
    network = kernels.Sequential(kernels.Dense(W), kernels.Relu(), kernels.Dense(1.0))
    kernel = kernels.from_neural_tangents(kernels.to_neural_tangents(network)[2], "relu")
    x = np.random.default_rng(0).standard_normal((2, 5))
    first = kernel(x)
    first.ntk[:] = 0
    assert kernel(x).ntk.min() != 0
    assert jax.numpy.ones(1).dtype == "float32"
    with pytest.raises(AttributeError):
        kernel.key = "another"


k = kernels
FINITE = {
    "dense": ((k.Dense(W, 0.3), k.Relu(), k.Dense()), (5,)),
    "residual": (
        (k.Conv(3, W_std=W), k.Residual(k.LeakyRelu(0.1), k.Conv(3)), k.GlobalAvgPool(), k.Dense()),
        (4, 4, 2),
    ),
}


@pytest.mark.parametrize("name", FINITE)
def test_random_networks_have_our_covariance(nt, name):
    """An oracle that knows no dual activation: 400 random networks of 64 channels, 20 outputs each."""
    layers, shape = FINITE[name]
    network = kernels.Sequential(*layers)
    init_fn, apply_fn, _ = kernels.to_neural_tangents(network, width=64, outputs=20)
    x = np.random.default_rng(0).standard_normal((3, *shape)).astype("float32")
    outputs = jax.jit(jax.vmap(lambda key: apply_fn(init_fn(key, x.shape)[1], x)))
    found = np.asarray(outputs(jax.random.split(jax.random.PRNGKey(0), 400)), float)
    assert found.shape == (400, 3, 20)
    expected = kernels.analytic(network)(x).nngp
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    # Standard error sqrt(2 / 8000) = 0.016, and corrections of 1/64.
    assert np.max(np.abs(np.einsum("mik,mjk->ij", found, found) / 8000 - expected) / scale) < 0.08
