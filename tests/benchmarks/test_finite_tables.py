"""The tables of finite networks: what they estimate from members, and that every script runs."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from finite import members, supports
from finite.cross_product import _floor

from haarflow import groups, measures

ROOT = Path(__file__).parents[2]
FASHION = Path("/usr/share/datasets/fashion-mnist")


def test_the_floor_of_an_orbit_mse_with_its_standard_error():
    """Members whose mean is not equivariant, under noise of size 1: outputs [T, P, |G|, m, 3]."""
    turns = np.concatenate([np.eye(3)[None], groups.so3(1).random(5, 0)])
    rotated, rng = SimpleNamespace(matrices=turns), np.random.default_rng(0)
    mean = 0.3 * rng.standard_normal((1, 1, 6, 4, 3))
    wanted = measures.orbit_mse(mean[:, 0], rotated, axis=1).mean()
    found = np.array([_floor(mean + rng.standard_normal((1, 20, 6, 4, 3)), rotated)[0] for _ in range(200)])
    assert abs(found[:, 0].mean() - wanted) < 4 * found[:, 0].std() / np.sqrt(200)
    assert 0.8 < found[:, 1].mean() / found[:, 0].std() < 1.25
    # Nothing is left of an equivariant mean, on average.
    nothing = np.array([_floor(rng.standard_normal((1, 20, 6, 4, 3)), rotated)[0, 0] for _ in range(200)])
    assert abs(nothing.mean()) < 4 * nothing.std() / np.sqrt(200)


def test_ensembles_of_some_members():
    outputs = np.arange(6.0)[None, :, None]
    assert members.counts((1, 3, 5, 10), 6) == [1, 3, 5, 6]
    assert np.array_equal(members.means(outputs, 1, 9, 0), outputs)
    assert members.means(outputs, 6, 9, 0) == pytest.approx(2.5)
    threes = members.means(outputs, 3, 40, 0)[0, :, 0]
    assert threes.shape == (40,)
    # Each a mean of three different ones of 0 .. 5.
    assert set(np.round(3 * threes).astype(int)) <= set(range(3, 13))
    assert len(set(threes)) > 5
    assert threes.min() >= 1
    assert threes.max() <= 4


def test_bootstraps_draw_members_with_replacement():
    """Of members that agree all means are one; else their OSP and divergence are those of a weighted mean."""
    rng = np.random.default_rng(1)
    one = np.broadcast_to(rng.standard_normal((4, 1, 5, 10)), (4, 7, 5, 10))
    osp, divergence = measures.orbit_same_prediction(one[:, 0]).mean(), measures.symmetrised_kl(one[:, 0]).mean()
    np.testing.assert_allclose(supports._bootstrap(one, 3, 4, 0), [(osp, divergence)] * 4, rtol=1e-10)
    several = supports._bootstrap(rng.standard_normal((4, 7, 5, 10)), 7, 50, 0)
    assert len({round(kl, 12) for _, kl in several}) > 40


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ising", "supports", "cross_product", "fashion"])
def test_every_table_is_made_at_tiny_sizes(name, tmp_path):
    if name in ("supports", "fashion") and not FASHION.is_dir():
        pytest.skip("dataset-fashion-mnist is not installed")
    pytest.importorskip("matplotlib")
    command = [sys.executable, "benchmarks/finite_width.py", "--quick", "--only", name, "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    text = (tmp_path / "finite.md").read_text(encoding="utf-8")
    assert (tmp_path / f"finite_{name}.png").stat().st_size > 10_000
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) > 8
    assert not re.search(r"\|\s*nan\b", text)
