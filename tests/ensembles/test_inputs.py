"""Bad input: each error names the argument, what was found, and what would be right."""

import jax.numpy as jnp
import numpy as np
import pytest

import haarflow as hf
from haarflow import groups, kernels, solvers

X = np.random.default_rng(0).standard_normal((4, 4, 4, 1))
Y = np.eye(4)
NETWORK = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5), kernels.Relu(), kernels.Dense())
VECTORS = groups.octahedral()


def ensemble(**options):
    return hf.DeepEnsemble(NETWORK, **options)


def spoilt(array, index, value):
    array = array.copy()
    array[index] = value
    return array


FIT = {
    "nan in x": (
        lambda: (spoilt(X, (1, 2, 3, 0), np.nan), Y),
        ValueError,
        r"x must be finite: found 1 .* index \(1, 2, 3, 0\)",
    ),
    "inf in y": (
        lambda: (X, spoilt(Y, (2, 1), np.inf)),
        ValueError,
        r"y must be finite: found 1 .* index \(2, 1\)",
    ),
    "lengths": (lambda: (X, Y[:3]), ValueError, "same length, found 4 samples and 3 labels"),
    "no samples": (lambda: (X[:0], Y[:0]), ValueError, "at least one sample"),
    "class labels": (lambda: (X, np.arange(4)), ValueError, r"pass hf.one_hot\(y, k\)"),
    "flat y": (lambda: (X, np.ones(4)), ValueError, r"one output is y\[:, None\]"),
    "no columns": (lambda: (X, Y[:, :0]), ValueError, "at least one column"),
    "complex x": (
        lambda: (X.astype(complex), Y),
        TypeError,
        "x must be real numbers, found dtype complex128",
    ),
    "complex y": (lambda: (X, Y.astype(complex)), TypeError, "y must be real numbers"),
    "strings": (lambda: (X.astype(str), Y), TypeError, "x must be real numbers"),
    "one number a sample": (lambda: (np.ones(4), Y), ValueError, r"x must be \[n, d\]"),
    "ragged": (lambda: ([[1.0, 2.0], [3.0]], Y), ValueError, "x must be"),
}


@pytest.mark.parametrize("name", FIT)
def test_training_sets_that_are_wrong(name):
    make, kind, message = FIT[name]
    with pytest.raises(kind, match=message):
        ensemble().fit(*make())


OPTIONS = {
    "loss": ({"loss": "cross-entropy"}, ValueError, "loss must be one of"),
    "solver": ({"solver": "magic"}, ValueError, "solver must be one of"),
    "reduction": ({"reduction": "maybe"}, ValueError, "reduction must be one of"),
    "flow": ({"flow": "adam"}, ValueError, "flow must be one of"),
    "learning rate": ({"learning_rate": 0}, ValueError, "learning_rate must be finite and > 0, found 0"),
    "ridge": ({"ridge": -1.0}, ValueError, "ridge must be finite and >= 0, found -1.0"),
    "learning rate of another type": ({"learning_rate": "a"}, TypeError, "learning_rate must be a number, found 'a'"),
    "ridge of another type": ({"ridge": None}, TypeError, "ridge must be a number, found None"),
    "several learning rates": ({"learning_rate": np.ones(2)}, TypeError, "learning_rate must be a number"),
    "progress": ({"progress": 3}, TypeError, "progress must be callable"),
    "nan ridge": ({"ridge": np.nan}, ValueError, "ridge must be finite"),
    "dtype": ({"dtype": "float16"}, ValueError, "dtype must be"),
    "action": ({"action": "C4"}, TypeError, r"action must be an Action such as groups.image_rotations\(4\)"),
    "a group": ({"action": groups.cyclic(4)}, TypeError, r"such as groups.matrix_action\(group\), found the group"),
    "output": ({"output": np.eye(3)}, TypeError, "output must be a groups.Representation or None"),
    "output's group": (
        {"action": groups.image_rotations(4), "output": groups.trivial(groups.cyclic(3))},
        ValueError,
        "output must represent the action's group C4 .* found one of C3",
    ),
    "store": ({"store": 3}, TypeError, "store must be a path or a Store"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_are_wrong(name):
    options, kind, message = OPTIONS[name]
    with pytest.raises(kind, match=message):
        ensemble(**options)


def test_networks_that_are_wrong():
    with pytest.raises(TypeError, match=r"arch must be kernels.Sequential\(...\) or a kernel"):
        hf.DeepEnsemble("resnet")
    with pytest.raises(ValueError, match="dtype must be the kernel's own, 'float32', found 'float64'"):
        hf.DeepEnsemble(kernels.analytic(NETWORK, "float32"), dtype="float64")
    unflattened = kernels.Sequential(kernels.Dense(), kernels.Relu(), kernels.Dense())
    with pytest.raises(ValueError, match=r"Dense needs flat inputs .* found spatial axes"):
        hf.DeepEnsemble(unflattened).fit(X, Y)


ACTIONS = {
    "not square": (groups.image_rotations(4), np.ones((4, 3, 4, 1)), "needs square images"),
    "channels first": (groups.image_rotations(4), np.ones((4, 1, 8, 8)), "channel axis must be the last"),
    "channels first, half turns": (groups.image_rotations(2), np.ones((4, 3, 8, 8)), "channel axis must be the last"),
    "channels first, shifts": (
        groups.image_translations((8, 8)),
        np.ones((4, 1, 8, 8)),
        "channel axis must be the last",
    ),
    "no channels": (groups.image_rotations(4), np.ones((4, 8, 8)), "add a channel axis"),
    "other sides": (groups.image_translations((3, 3)), X, "multiples of"),
    "other vectors": (groups.matrix_action(VECTORS, VECTORS.matrices), X, "last axis of size 3"),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_samples_that_the_action_does_not_fit(name):
    action, x, message = ACTIONS[name]
    with pytest.raises(ValueError, match=message):
        ensemble(action=action).fit(x, Y)


def test_labels_of_another_width_than_output():
    output = groups.Representation(VECTORS, VECTORS.matrices)
    action = groups.matrix_action(VECTORS, VECTORS.matrices)
    with pytest.raises(ValueError, match="y must have 3 columns, the dimension of the output representation, found 4"):
        ensemble(action=action, output=output).fit(np.ones((4, 2, 3)), Y)


def test_predicting_too_early_or_elsewhere():
    for use in (lambda e: e.predict(X, 1.0), lambda e: e.timescales, lambda e: e.reduction):
        with pytest.raises(RuntimeError, match=r"call fit\(x, y\) before"):
            use(ensemble())
    fitted = ensemble().fit(X, Y)
    with pytest.raises(
        ValueError, match=r"x_test must hold samples of the training shape \(4, 4, 1\), found \(5, 5, 1\)"
    ):
        fitted.predict(np.ones((2, 5, 5, 1)), 1.0)
    with pytest.raises(ValueError, match="x_test must be finite"):
        fitted.predict(X * np.nan, 1.0)
    for times in (-1.0, [1.0, np.nan], []):
        with pytest.raises(ValueError, match="times must be"):
            fitted.predict(X, times)
    with pytest.raises(ValueError, match="whole numbers of steps"):
        ensemble(flow="gradient_descent", learning_rate=0.01).fit(X, Y).predict(X, 0.5)
    with pytest.raises(ValueError, match="learning_rate must be below"):
        ensemble(flow="gradient_descent", learning_rate=1e6).fit(X, Y).predict(X, 1)


def test_a_failed_fit_leaves_the_earlier_one():
    fitted = ensemble().fit(X, Y)
    before = fitted.predict(X, 10.0).mean
    with pytest.raises(ValueError, match="same length"):
        fitted.fit(X, Y[:2])
    assert np.array_equal(fitted.predict(X, 10.0).mean, before)


def test_inputs_are_converted_and_left_alone():
    whole = (8 * X).astype(int)
    kept = whole.copy()
    by_type = [
        ensemble().fit(x, y).predict(x[:2], [0.5, 40]).mean
        for x, y in (
            (whole.astype(float), Y),
            (whole, Y.astype(int)),
            (jnp.asarray(whole, jnp.float32), jnp.asarray(Y)),
        )
    ]
    for mean in by_type:
        assert np.array_equal(mean, by_type[0])
        assert type(mean) is np.ndarray
        assert mean.flags.writeable
    assert np.array_equal(whole, kept)


def test_a_kernel_brings_its_dtype():
    ensemble = hf.DeepEnsemble(kernels.analytic(NETWORK, "float32")).fit(X, Y)
    again = hf.DeepEnsemble(NETWORK, dtype=np.float32).fit(X, Y)
    assert np.array_equal(ensemble.predict(X, 1e3).mean, again.predict(X, 1e3).mean)


def test_samples_that_overflow():
    for dtype, size in (("float32", 1e20), ("float64", 1e100)):
        with pytest.raises(ValueError, match=r"x must stay below .* found 1.0e.* rescale it"):
            ensemble(dtype=dtype).fit(np.full(X.shape, size), Y)


def test_what_is_no_solver():
    with pytest.raises(ValueError, match=r"solver must be one of .* or solvers.Krylov\(...\), found 'lanczos'"):
        hf.DeepEnsemble(NETWORK, solver="lanczos")
    with pytest.raises(ValueError, match="tolerance must be"):
        solvers.Krylov(tolerance=2)
    for wrong in ({"dimension": 50.5}, {"preconditioner": True}):
        with pytest.raises(TypeError, match="must be an integer, found"):
            solvers.Krylov(**wrong)
