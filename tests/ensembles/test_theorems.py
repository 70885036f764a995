"""The theorem suite: every verdict holds, every control fails, and a planted error is noticed."""

import dataclasses

import h5py
import numpy as np
import pytest

from haarflow import kernels, theorems
from haarflow.theorems import workloads
from haarflow.theorems.report import legend, verdict_table

SMALL = {
    "digits c4": lambda: workloads.digits_c4(12),
    "digits d4": lambda: workloads.digits_d4(6),
    "ising": lambda: workloads.ising_c4(10),
    "vectors": lambda: workloads.vectors_o(6),
}


@pytest.fixture(scope="module", params=SMALL)
def workload(request):
    return SMALL[request.param]()


@pytest.mark.parametrize("name", theorems.THEOREMS)
def test_verdicts_hold_and_controls_fail(name, workload):
    verdicts = list(theorems.run(name, [workload]))
    if not verdicts:
        pytest.skip("neural-tangents is not installed")
    (verdict,) = verdicts
    assert verdict.holds
    assert verdict.measurement.residual <= verdict.theorem.bound
    assert verdict.measurement.control > 1e6 * verdict.theorem.bound


def plant(monkeypatch, target, name, spoil):
    original = getattr(target, name)
    monkeypatch.setattr(target, name, lambda *args, **kwargs: spoil(original(*args, **kwargs)))


def test_a_planted_sign_in_one_irrep_is_noticed(monkeypatch):
    from haarflow import law

    def spoil(stream):
        for part in stream:
            part.ntk[-1][:, -1] *= -1
            yield part

    plant(monkeypatch, law, "orbit_rows", spoil)
    assert not next(theorems.run("T3", [SMALL["ising"]()])).holds


def test_a_planted_error_in_the_kernel_is_noticed(monkeypatch):
    call = kernels.AnalyticKernel.__call__

    def skewed(self, x1, x2=None):
        pair = call(self, x1, x2)
        flat = np.asarray(x1).reshape(len(x1), -1)
        tilt = 1 + 1e-6 * (flat @ np.arange(flat.shape[1]))[:, None]
        return kernels.KernelPair(pair.nngp * tilt, pair.ntk * tilt)

    monkeypatch.setattr(kernels.AnalyticKernel, "__call__", skewed)
    for name in ("T1", "T2"):
        assert not next(theorems.run(name, [SMALL["digits c4"]()])).holds


def test_a_control_that_does_not_fail_fails_the_verdict():
    right = SMALL["ising"]()
    blunt = dataclasses.replace(right, broken_map=lambda x: x)
    assert not next(theorems.run("T1", [blunt])).holds


def test_names_are_checked():
    with pytest.raises(ValueError, match=r"theorem must be one of \['NT', 'T1', 'T2', 'T3'\], found 'T0'"):
        next(theorems.run("T0", []))


def test_report(tmp_path):
    verdicts = [verdict for name in ("T1", "T3") for verdict in theorems.run(name, [SMALL["ising"]()])]
    paths = theorems.write_report(verdicts, tmp_path / "report")
    assert [path.name for path in paths] == ["verdicts.txt", "verdicts.h5", "verdicts.png", "orbit_error.png"]
    assert all(path.stat().st_size > 500 for path in paths)
    text = paths[0].read_text()
    assert "holds" in text
    assert legend(verdicts) in text
    assert verdicts[0].theorem.statement in text
    with h5py.File(paths[1]) as file:
        group = file["T3/Ising x C4"]
        assert group.attrs["residual"] == verdicts[1].measurement.residual
        assert np.array_equal(group["augmented"], verdicts[1].measurement.curves["augmented"])
    assert verdict_table(verdicts).row_count == 2
    with pytest.raises(NotADirectoryError, match="needs a folder, found the file"):
        theorems.write_report(verdicts, paths[0])
