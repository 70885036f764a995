"""What is shown and said of long work: it moves soon, its end is foretold, and what would be cheaper."""

import re
import warnings

import numpy as np
import pytest

import haarflow as hf
from haarflow import cost, groups, kernels, progress
from haarflow.cost import Foretelling, cheaper
from haarflow.kernels.pair import KernelPair
from haarflow.progress import Pace, progress_bar

CONV, RELU, END = kernels.Conv(3), kernels.Relu(), kernels.Dense()
GAP = kernels.Sequential(CONV, RELU, CONV, RELU, kernels.GlobalAvgPool(), END)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 1e6

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(progress, "monotonic", found)
    return found


def worked(clock, steps, pace, done=0, total=10_000):
    """Report steps of (seconds, items), and return when the first estimate came, and the worst of all estimates."""
    first, worst, start = None, 0.0, clock.now
    whole = sum(seconds for seconds, _ in steps)
    for seconds, items in steps:
        clock.now += seconds
        done += items
        pace.add(done, total)
        if pace.remaining is not None and done < total:
            first = clock.now - start if first is None else first
            left = whole - (clock.now - start)
            worst = max(worst, abs(pace.remaining - left) / left) if left > 0.2 * whole else worst
    return first, worst


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("seconds", [0.01, 0.5, 2.0, 5.0])
def test_the_end_is_foretold(clock, workers, seconds, monkeypatch):
    """Workers that began together report together."""
    monkeypatch.setattr(progress, "cores", lambda: workers)
    steps = [(seconds if k % workers == 0 else 0.001, 10) for k in range(1000)]
    first, worst = worked(clock, steps, Pace())
    assert first < 2.1 + 4 * seconds
    assert worst < 0.3


def test_what_was_kept_or_compiled_is_not_part_of_the_pace(clock):
    pace = Pace()
    clock.now += 40  # compiling
    first, worst = worked(clock, [(0.5, 10)] * 500, pace, done=5000)
    assert first < 5
    assert worst < 0.05


def test_a_pace_that_changes(clock):
    """The last minute counts: a machine that others use, too."""
    pace = Pace()
    worked(clock, [(1.0, 20)] * 200, pace)
    worked(clock, [(1.0, 5)] * 61, pace, done=4000)
    assert pace.speed == pytest.approx(5, rel=0.02)
    clock.now += 10
    assert pace.remaining == pytest.approx((10_000 - 4305) / 5 - 10, rel=0.02)


def test_a_second_pass_has_its_own_pace(clock):
    pace = Pace()
    worked(clock, [(0.1, 100)] * 100, pace)
    _, worst = worked(clock, [(1.0, 10)] * 1000, pace)
    assert worst < 0.05


def test_nothing_is_foretold_of_nothing(clock):
    pace = Pace()
    assert pace.speed is pace.remaining is None
    for _ in range(20):
        pace.add(5, 10)
        clock.now += 5
    assert pace.remaining is None


def test_long_work_is_foretold_once(clock):
    hears = Foretelling("less is faster")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for done in range(30):
            hears("orbit Gram", 10 * done, 100_000)
            clock.now += 1
    assert [str(each.message) for each in caught] == [
        "the orbit Gram takes about 3 hours more at the present pace: less is faster"
    ]
    assert caught[0].category is hf.CostWarning
    assert caught[0].filename == __file__


def test_short_work_is_not(clock):
    hears = Foretelling("less is faster")
    for done in range(60):
        hears("orbit Gram", done, 600)
        clock.now += 1


def test_what_would_be_cheaper():
    shape = (28, 28, 1)
    found = cheaper(kernels.analytic(GAP), shape, stored=False)
    assert "sum over 614,656 pairs of positions" in found
    # 784^2 pairs, two duals and a sum each; of Flatten 784 and two.
    assert "Flatten() in place of GlobalAvgPool() would take 1176 times less" in found
    assert "images of half the side would take 16 times less" in found
    # One dual and one sum of all pairs, and both of a sixteenth.
    assert "AvgPool(2) behind the first nonlinearity" not in found  # 1.4
    assert "with store=... what is done is kept" in found
    assert "store" not in cheaper(kernels.analytic(GAP), shape, stored=True)
    deep = kernels.Sequential(*[CONV, RELU] * 6, kernels.GlobalAvgPool(), END)
    assert "AvgPool(2) behind the first nonlinearity would take 2.9 times less" in cheaper(
        kernels.analytic(deep), shape, True
    )
    dense = kernels.Sequential(kernels.Flatten(), *[kernels.Dense(), RELU] * 2, END)
    assert cheaper(kernels.analytic(dense), shape, True) == "half the samples take a quarter"


class Slow:
    """Inner products, which take an hour each by the clock."""

    dtype, content_key = "float64", "slow"

    def __init__(self, clock):
        self._clock = clock

    def __call__(self, x1, x2=None):
        x2 = x1 if x2 is None else x2
        self._clock.now += 3600
        found = x1 @ x2.T
        return KernelPair(found, found)


def test_a_fit_says_how_long_it_takes_where_nothing_shows_it(clock, monkeypatch):
    monkeypatch.setattr("haarflow.kernels.gram_tiles._LARGEST_SIDE", 4)
    x, y = np.random.default_rng(0).standard_normal((20, 3)), np.ones((20, 1))
    with pytest.warns(hf.CostWarning, match=r"the orbit Gram takes about \d+ hours more .* with store=") as told:
        hf.DeepEnsemble(Slow(clock)).fit(x, y)
    assert told[0].filename == __file__
    hf.DeepEnsemble(Slow(clock), progress=lambda *_: None).fit(x, y)  # whoever is told needs no warning


def test_a_bar_shows_pace_and_time_left(clock, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "150")
    with progress_bar(None, per_second=1) as report:
        for done in range(9):
            report("orbit Gram", 1000 * done, 20_000)
            report("W1", done, 20)
            clock.now += 1
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert re.search(r"orbit Gram \S+ +40% +1e\+03 entries/s +0:00:11", shown)
    assert re.search(r"W1 +\S+ +8/20 +0:00:11", shown)


def test_a_bar_shows_that_something_is_compiled(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    network = kernels.Sequential(kernels.Dense(1.04, 0.1), RELU, END)
    with progress_bar(True, per_second=50):
        kernels.analytic(network)(np.ones((3, 3)))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert re.search(r"compiling \S+ +\d+ s", shown)
    assert "compiling" not in shown.rsplit("\r", 1)[-1]


def test_explicit_paths_and_covariances_report():
    """Every pass over a kernel of images: none is silent."""
    seen = {}
    network = kernels.Sequential(CONV, RELU, kernels.GlobalAvgPool(), END)
    x = np.random.default_rng(0).standard_normal((40, 4, 4, 1))
    hears = lambda label, done, total: seen.setdefault(label, []).append((done, total))  # noqa: E731
    ensemble = hf.DeepEnsemble(network, groups.image_rotations(4), reduction="explicit", progress=hears)
    ensemble.fit(x, np.ones((40, 1)), covariance=True).predict(x, 1.0, "full")
    for label in ("orbit Gram", "test kernel", "prior"):
        assert len(seen[label]) > 1, label
        assert seen[label][-1][0] == seen[label][-1][1]
        assert seen[label] == sorted(seen[label])


def test_warnings_point_outside():
    assert cost.outside() == 1
