"""What is accepted and likely to be meant otherwise is warned of once; what is certainly wrong says what to pass."""

import copy
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import haarflow as hf
from haarflow import finite, groups, kernels, measures

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((4, 4, 4, 1)), np.eye(4)
CONV = kernels.Sequential(kernels.Conv(3), kernels.Relu(), kernels.Flatten(), kernels.Dense())
POOL = kernels.Sequential(kernels.Conv(3), kernels.Relu(), kernels.GlobalAvgPool(), kernels.Dense())
BRANCH = kernels.Sequential(kernels.Conv(1), kernels.Residual(kernels.Relu(), kernels.Conv(3)), *POOL.layers[2:])
DENSE = kernels.Sequential(kernels.Flatten(), kernels.Dense(2**0.5, 0.1), kernels.Relu(), kernels.Dense())


def heard(call):
    """The messages of input warnings that a call gives, and where they point."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", hf.InputWarning)
        call()
    return [(str(each.message), each.filename) for each in caught if each.category is hf.InputWarning]


CHANNELS_FIRST = {"grey": (4, 1, 8, 8), "colour": (4, 3, 8, 8), "small": (4, 1, 4, 4)}
CHANNELS_LAST = {
    "grey": (4, 8, 8, 1),
    "3 x 3 in colour": (4, 3, 3, 3),
    "a strip": (4, 1, 8, 4),
    "two rows": (4, 2, 8, 8),
}


@pytest.mark.parametrize("network", [CONV, POOL, BRANCH], ids=["conv", "pool", "branch"])
@pytest.mark.parametrize("name", CHANNELS_FIRST)
def test_channels_in_front_are_told(name, network):
    x = RNG.standard_normal(CHANNELS_FIRST[name])
    ((message, where),) = heard(lambda: hf.DeepEnsemble(network).fit(x, Y))
    h, w, c = x.shape[1:]
    assert f"read as images of {h} x {w} pixels with {c} channels" in message
    assert "x.transpose(0, 2, 3, 1)" in message
    assert where == __file__


@pytest.mark.parametrize("name", CHANNELS_LAST)
def test_channels_behind_are_taken_without_a_word(name):
    assert not heard(lambda: hf.DeepEnsemble(POOL).fit(RNG.standard_normal(CHANNELS_LAST[name]), Y))


def test_dense_networks_take_channels_anywhere():
    assert not heard(lambda: hf.DeepEnsemble(DENSE).fit(RNG.standard_normal((4, 1, 8, 8)), Y))


def test_finite_networks_tell_channels_in_front_too():
    ensemble = hf.FiniteEnsemble(POOL, 4, 1, progress=False)
    ((message, _),) = heard(lambda: ensemble.fit(RNG.standard_normal((4, 1, 8, 8)), Y, 0))
    assert "1 x 8 pixels with 8 channels" in message


def test_signals_under_shifts_of_their_sites_are_signals():
    x = RNG.standard_normal((4, 1, 8, 8))
    shifts = groups.image_translations((1, 8))
    assert np.array_equal(shifts(3, x), np.roll(x, 3, axis=2))
    circular = kernels.Sequential(kernels.Conv(3, "CIRCULAR"), *POOL.layers[1:])
    assert not heard(lambda: hf.DeepEnsemble(circular, action=shifts).fit(x, Y))
    for coarse in (groups.image_translations((8, 8)), groups.image_translations((1, 4)), groups.image_rotations(2)):
        with pytest.raises(ValueError, match="channel axis must be the last"):
            hf.DeepEnsemble(circular, action=coarse).fit(x, Y)


def test_a_width_in_place_of_a_standard_deviation_is_told():
    for make in (
        lambda: kernels.Dense(128),
        lambda: kernels.Dense(np.int64(8)),
        lambda: kernels.Conv(3, W_std=64),
        lambda: kernels.Dense(W_std=512),
    ):
        ((message, where),) = heard(make)
        assert "W_std is a standard deviation of the weights and no width, found the integer" in message
        assert where == __file__
    for make in (lambda: kernels.Dense(128.0), lambda: kernels.Dense(2), lambda: kernels.Dense(1.5, 10)):
        assert not heard(make)
    layer = kernels.Dense(7.5)
    assert not heard(lambda: copy.deepcopy(layer))


def test_pixels_that_are_not_scaled_are_told():
    pixels = RNG.integers(0, 256, (4, 4, 4, 1))
    pixels[0, 0, 0], pixels[1, 0, 0] = 0, 255
    for x in (pixels, pixels.astype(np.uint8), pixels[..., 0].astype(np.int32)):
        network = DENSE if x.ndim == 4 else kernels.Sequential(*DENSE.layers)
        ((message, where),) = heard(lambda x=x, network=network: hf.DeepEnsemble(network).fit(x, Y))
        assert "x holds integers 0 .. 255" in message
        assert "x / 255" in message
        assert where == __file__
    fitted = hf.DeepEnsemble(DENSE).fit(pixels / 255, Y)
    ((message, where),) = heard(lambda: fitted.predict(pixels, 1.0))
    assert "x_test holds integers 0 .. 255" in message
    assert where == __file__
    flat = kernels.Sequential(*DENSE.layers[1:])
    assert len(heard(lambda: hf.DeepEnsemble(flat).fit(RNG.integers(0, 256, (4, 784)), Y))) == 1
    quiet = {
        "digits of 16 levels": RNG.integers(0, 17, (4, 64)),
        "a few features": RNG.integers(0, 100, (4, 5)),
        "signs": np.sign(X).astype(int),
        "signed": RNG.integers(-100, 100, (4, 4, 4, 1)),
        "large": RNG.integers(0, 10_000, (4, 4, 4, 1)),
        "floats": pixels.astype(float),
    }
    for name, x in quiet.items():
        network = DENSE if x.ndim == 4 else flat
        assert not heard(lambda x=x, network=network: hf.DeepEnsemble(network).fit(x, Y)), name


def test_members_on_orbits_of_a_guessed_number_of_outputs_are_told():
    covariance = np.eye(40)
    ((message, where),) = heard(lambda: finite.members_needed_on_orbit(covariance, 1.0, 0.05))
    assert "counts one output" in message
    assert "all 40 points of covariance for one orbit" in message
    assert "ensemble.members_needed(x, delta, probability, times)" in message
    assert where == __file__
    with pytest.raises(ValueError, match=r"group must have the 40 elements of the orbit, found C4 \(order 4\)"):
        finite.members_needed_on_orbit(covariance, 1.0, 0.05, k=10, group=groups.image_rotations(4))


MASKED = np.ma.MaskedArray(X, mask=False)
MASKED[1, 2, 3, 0] = np.ma.masked
Y_MASKED = np.ma.MaskedArray(Y, mask=Y == 1)
KERNEL = kernels.analytic(DENSE)
WITH_MASKS = {
    "x": lambda: hf.DeepEnsemble(DENSE).fit(MASKED, Y),
    "a list": lambda: hf.DeepEnsemble(DENSE).fit(list(MASKED), Y),
    "y": lambda: hf.DeepEnsemble(DENSE).fit(X, Y_MASKED),
    "x_test": lambda: hf.DeepEnsemble(DENSE).fit(X, Y).predict(MASKED, 1.0),
    "finite x": lambda: hf.FiniteEnsemble(DENSE, 4, 1).fit(MASKED, Y, 0),
    "an action": lambda: groups.image_rotations(4)(1, MASKED),
    "an orbit": lambda: groups.image_rotations(4).orbit(MASKED),
    "a kernel": lambda: KERNEL(MASKED),
    "a kernel's second": lambda: KERNEL(X, MASKED),
    "outputs": lambda: measures.orbit_error(Y_MASKED),
    "reference": lambda: measures.continuous_same_prediction(
        np.ones((2, 3)), np.ma.MaskedArray([1.0, 2, 3], [0, 1, 0])
    ),
    "features": lambda: measures.feature_correlation(lambda x: x, groups.image_rotations(4), MASKED),
    "covariance": lambda: finite.orbit_variance(Y_MASKED),
    "labels": lambda: hf.one_hot(np.ma.MaskedArray([0, 1, 2], [0, 0, 1]), 3),
    "a test": lambda: hf.testing.assert_equivariant(lambda x: x, groups.image_rotations(4), None, MASKED),
    "its function": lambda: hf.testing.assert_equivariant(lambda x: MASKED, groups.image_rotations(4), None, X),
}


@pytest.mark.parametrize("name", WITH_MASKS)
def test_masked_entries_are_refused(name):
    with pytest.raises(ValueError, match=r"must have no masked entries, found \d+: give them values with .*filled"):
        WITH_MASKS[name]()


def test_a_mask_that_hides_nothing_is_fine():
    mean = hf.DeepEnsemble(DENSE).fit(np.ma.MaskedArray(X, mask=False), Y).predict(X, 10.0).mean
    assert np.array_equal(mean, hf.DeepEnsemble(DENSE).fit(X, Y).predict(X, 10.0).mean)


# --- labels that a dtype does not hold ------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e39), ("float64", 1e305)])
def test_labels_beyond_the_dtype_name_y(dtype, size):
    with pytest.raises(ValueError, match=r"y must stay below 1e\+\d+ in magnitude, which float\d\d holds, found 1.0e"):
        hf.DeepEnsemble(DENSE, dtype=dtype).fit(X, size * Y)


@pytest.mark.parametrize(("dtype", "sizes"), [("float32", (1e-42, 1e-20, 1e30, 9e37)), ("float64", (1e-300, 9e299))])
def test_means_scale_with_their_labels(dtype, sizes):
    def mean(y):
        return hf.DeepEnsemble(DENSE, dtype=dtype).fit(X / 8, y).predict(X[:2] / 4, [1.0, 1e4, np.inf]).mean

    plain = mean(Y)
    powers = [2.0 ** round(np.log2(size)) for size in sizes]
    for power in powers:
        assert np.array_equal(mean(power * Y) / power, plain)
    columns = np.resize(powers, 4)  # each column in a unit of its own
    assert np.array_equal(mean(columns * Y) / columns, plain)


# --- messages -------------------------------------------------------------------------------------------------


class DataLoader:
    batch_size, dataset = 2, None

    def __iter__(self):
        yield X, Y


class Samples:
    def __len__(self):
        return 2

    def __getitem__(self, i):
        return X[i], 0


class NAType:
    pass


FITTED = hf.DeepEnsemble(DENSE, action=groups.image_rotations(4)).fit(X, Y)
MESSAGES = {
    "epochs": (
        lambda: FITTED.fit(X, Y, epochs=3),
        TypeError,
        r"fit takes x, y and covariance, found epochs=3: nothing is trained in steps; predict\(x_test, times\) has",
    ),
    "string labels": (
        lambda: FITTED.fit(X, np.array(["cat", "dog", "cat", "cow"])),
        TypeError,
        r"found strings such as 'cat': number the classes, classes, labels = np.unique\(y, return_inverse=True\)"
        r", and pass hf.one_hot\(labels, len\(classes\)\)",
    ),
    "strings as objects": (
        lambda: FITTED.fit(X, np.array(["cat", "dog", "cat", "cow"], object)),
        TypeError,
        r"np.unique\(y, return_inverse=True\)",
    ),
    "strings to one_hot": (
        lambda: hf.one_hot(["cat", "dog"], 2),
        TypeError,
        r"np.unique\(labels, return_inverse=True\)",
    ),
    "a loader": (
        lambda: FITTED.fit(DataLoader(), Y),
        TypeError,
        r"x must be an array, found a DataLoader: collect its batches, x = np.concatenate",
    ),
    "a data set": (
        lambda: FITTED.fit(Samples(), Y),
        TypeError,
        r"x must be an array, found a Samples: stack its samples, x = np.stack",
    ),
    "a generator": (
        lambda: FITTED.fit((x for x in X), Y),
        TypeError,
        r"x must be an array, found a generator: list it first, x = np.array\(list\(x\)\)",
    ),
    "nothing": (lambda: FITTED.fit(None, Y), TypeError, "x must be an array, found a NoneType"),
    "a dict": (lambda: FITTED.fit({"x": X}, Y), TypeError, "x must be an array, found a dict"),
    "missing": (
        lambda: FITTED.fit(np.array([[1.0, NAType()]], object), Y),
        TypeError,
        r"found dtype object that holds a NAType; give missing values a number, x.fillna",
    ),
    "one image": (
        lambda: FITTED.predict(X[0], 1.0),
        ValueError,
        r"hold samples of the training shape \(4, 4, 1\), found shape \(4, 4, 1\): one sample is x_test\[None\]",
    ),
    "one vector": (
        lambda: hf.DeepEnsemble(kernels.Sequential(*DENSE.layers[1:])).fit(X[..., 0, 0], Y).predict(X[0, :, 0, 0], 1.0),
        ValueError,
        r"found shape \(4,\): one sample is x_test\[None\]",
    ),
    "a string of turns": (
        lambda: groups.image_rotations("4"),
        ValueError,
        "k must be the integer 1, 2 or 4 for exact rotations, found '4' of type str",
    ),
    "several turns": (lambda: groups.image_rotations([1, 2]), ValueError, r"found \[1, 2\] of type list"),
    "eight turns": (lambda: groups.image_rotations(8), ValueError, r"found 8: see interpolated_rotations\(8\)"),
    "derivatives": (
        lambda: blank().jacobian(0 * X, 1.0),
        ValueError,
        "x_test must be where the mean has a derivative, found none at sample 0",
    ),
}


def blank():
    network = kernels.Sequential(kernels.Conv(3), kernels.Relu(), kernels.Flatten(), kernels.Dense())
    return hf.DeepEnsemble(network).fit(X, Y)


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_say_what_to_do(name):
    call, kind, message = MESSAGES[name]
    with pytest.raises(kind, match=message):
        call()


TRACED = {
    "predict": lambda x: FITTED.predict(x, 1.0).mean,
    "sample": lambda x: FITTED.sample(x, 1.0, 3, 0),
    "jacobian": lambda x: FITTED.jacobian(x, 1.0),
    "constant samples": lambda x: FITTED.predict(X, 1.0).mean + x.sum(),
    "times": lambda x: FITTED.predict(X, x[0, 0, 0]).mean,
    "fit": lambda x: hf.DeepEnsemble(DENSE).fit(x, Y).predict(X, 1.0).mean,
}


@pytest.mark.parametrize("name", TRACED)
def test_ensembles_inside_of_jit_say_what_to_use(name):
    with pytest.raises(TypeError, match=r"NumPy in, NumPy out.*ensemble.jacobian.*kernels.to_neural_tangents\(arch\)"):
        jax.jit(TRACED[name])(jnp.asarray(X))
    with pytest.raises(TypeError, match=r"outside of jax\.jit"):
        jax.grad(lambda x: FITTED.predict(x, 1.0).mean.sum())(jnp.asarray(X))
    with pytest.raises(TypeError, match=r"outside of jax.jit and its kind.*kernels.to_neural_tangents\(arch\)"):
        jax.jit(lambda x: KERNEL(x).ntk)(jnp.asarray(X))


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("ReLU", r"here it is kernels.Relu"),
        ("relu", r"here it is kernels.Relu"),
        ("Linear", r"here it is kernels.Dense\(W_std, b_std\)"),
        ("Conv2d", r"here it is kernels.Conv\(size"),
        ("GELU", "kernels.Gelu"),
        ("Tanh", r"Erf\(\), Gelu\(\) and Sin\(\); .*hf.networks.Tanh\(\)"),
        ("MaxPool", r"no kernel in closed form: AvgPool\(size\) and GlobalAvgPool\(\)"),
        ("BatchNorm", "has no kernel"),
        ("something", "module 'haarflow.kernels' has no attribute 'something'"),
    ],
)
def test_layers_of_other_libraries_are_named(name, there):
    assert not hasattr(kernels, name)
    with pytest.raises(AttributeError, match=there):
        getattr(kernels, name)


def test_laws_and_ensembles_show_themselves_in_a_line():
    law = FITTED.predict(X, [0.0, 1.0, np.inf], covariance="diagonal")
    assert repr(law) == "Law(times [0, 1, inf], mean [3, 4, 4], variance [3, 4], 0 unresolved, nothing cut)"
    assert law != FITTED.predict(X, [0.0, 1.0, np.inf])
    assert law == law
    assert len({law, law}) == 1
    assert repr(FITTED) == (
        "DeepEnsemble(Flatten - Dense - Relu - Dense, float64, image_rotations(4), outputs invariant; "
        "4 samples (4, 4, 1), 4 outputs, orbit, dense)"
    )
    group = groups.octahedral()
    output = groups.Representation(group, group.matrices)
    vectors = hf.DeepEnsemble(DENSE, action=groups.matrix_action(group), output=output)
    assert repr(vectors).endswith("matrix_action(O, 3 x 3), outputs Representation 3; not fitted)")
    own = hf.DeepEnsemble(kernels.from_function(lambda a, b: (a @ b.T, a @ b.T), key="linear"))
    assert "kernels.from_function(<lambda>, key='function(linear)'" in repr(own)
    space = groups.so3(2)
    haar = hf.DeepEnsemble(DENSE, action=groups.matrix_action(space), output=groups.vector(space))
    assert "SO(3) on vectors" in repr(haar)
    trained = hf.FiniteEnsemble(DENSE, width=4, members=2, progress=False)
    assert repr(trained).endswith("width 4, 2 members, no action, sgd, float32; not fitted)")
    assert repr(trained.fit(X, Y, [0, 1])).endswith("; steps [0, 1])")
