"""The theorem suite: every verdict holds, every control fails, and a planted error is noticed."""

import dataclasses

import h5py
import numpy as np
import pytest

from haarflow import groups, jacobian, kernels, law, solvers, theorems
from haarflow.theorems import t6_subgroups, workloads
from haarflow.theorems.report import legend, verdict_table

SMALL = {
    "digits c4": lambda: workloads.digits_c4(12),
    "digits d4": lambda: workloads.digits_d4(6),
    "ising": lambda: workloads.ising_c4(10),
    "vectors": lambda: workloads.vectors_o(6),
}


STANDARD = [name for name, entry in theorems.THEOREMS.items() if entry.own is None]
EXACT = ["T1", "T2", "T3", "T4", "NT"]


@pytest.mark.slow
def test_subgroups_for_every_k_up_to_64_on_a_fine_sample_of_angles():
    found = t6_subgroups.measure_subgroups(workloads.plane(), tuple(range(2, 65)), angles=240)
    assert found.curves["ratio"].max() <= 1
    assert (found.curves["control"].max(axis=0)[6:] > 1).all()  # k >= 8


@pytest.fixture(scope="module", params=SMALL)
def workload(request):
    return dataclasses.replace(SMALL[request.param](), quick=True)


@pytest.mark.parametrize("name", STANDARD)
def test_verdicts_hold_and_controls_fail(name, workload):
    verdicts = list(theorems.run(name, [workload]))
    if not verdicts:
        pytest.skip("neural-tangents is not installed")
    (verdict,) = verdicts
    assert verdict.holds
    assert verdict.measurement.residual <= verdict.theorem.bound
    assert verdict.measurement.control > (1e6 if name in EXACT else 10) * verdict.theorem.bound


@pytest.mark.slow
def test_subgroups_up_to_64():
    found = t6_subgroups.measure_subgroups(workloads.plane(6), (*range(2, 17), 24, 32, 48, 63, 64), angles=8)
    assert found.curves["ratio"].max() <= 1
    control = found.curves["control"].max(axis=0)
    assert (control[6:] > 1).all()  # k >= 8
    assert control[0] < control[-1]
    assert (found.curves["deviation"] <= found.curves["bound"]).all()


def plant(monkeypatch, target, name, spoil):
    original = getattr(target, name)
    monkeypatch.setattr(target, name, lambda *args, **kwargs: spoil(original(*args, **kwargs)))


def quickly(name):
    """Return the verdict on the theorem's own workload."""
    entry = theorems.THEOREMS[name]
    (workload,) = entry.own(0, True)
    return theorems.Verdict(entry, workload, entry.measure(workload))


def test_a_planted_sign_in_one_irrep_is_noticed(monkeypatch):
    def spoil(stream):
        for part in stream:
            part.ntk[-1][:, -1] *= -1
            yield part

    plant(monkeypatch, law, "orbit_rows", spoil)
    for name in ("T3", "T4"):
        assert not next(theorems.run(name, [SMALL["ising"]()])).holds


def test_a_planted_wrong_width_of_the_law_is_noticed(monkeypatch):
    plant(monkeypatch, solvers, "symmetric_root", lambda root: 1.2 * root)
    assert not next(theorems.run("T5", [SMALL["ising"]()])).holds


def test_a_planted_error_in_the_derivative_is_noticed(monkeypatch):
    plant(monkeypatch, jacobian, "mean_jacobian", lambda slopes: 0.2 * slopes)
    assert not quickly("T6").holds


def test_a_planted_symmetry_breaking_is_noticed(monkeypatch):
    def spoil(stream):
        for part in stream:
            part.ntk[0][:] *= 1 + np.linspace(0, 0.2, len(part.ntk[0]))[:, None, None, None]
            yield part

    plant(monkeypatch, law, "orbit_rows", spoil)
    assert not quickly("T6").holds


def test_finite_networks_with_symmetric_supports_leave_no_floor_and_others_do():
    verdict = quickly("T7")
    found = verdict.measurement
    assert verdict.holds
    floors = [found.curves[f"{name}_floor"][0] for name in ("symmetric", "initial", "asymmetric")]
    assert floors == sorted(floors)
    assert [found.curves[f"{name}_commutator"][0] > 0 for name in ("symmetric", "asymmetric")] == [False, True]
    assert "symmetric: commutator 0, floor" in found.note
    assert "asymmetric: commutator 0.43, floor" in found.note
    # A support that breaks the symmetry would be noticed in the first place of the verdict too.
    assert found.control > verdict.theorem.bound


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
    trivial = dataclasses.replace(right, action=groups.no_action(), output=None)
    for name in ("T3", "T4"):
        assert not next(theorems.run(name, [trivial])).holds


def test_names_are_checked():
    with pytest.raises(ValueError, match=r"theorem must be one of \['NT', 'T1', .*'T7'\], found 'T0'"):
        next(theorems.run("T0", []))


def test_report(tmp_path):
    verdicts = [verdict for name in ("T1", "T3") for verdict in theorems.run(name, [SMALL["ising"]()])]
    paths = theorems.write_report(verdicts, tmp_path / "report")
    names = ["verdicts.txt", "verdicts.h5", "verdicts.png", "orbit_error.png", "report.html"]
    assert [path.name for path in paths] == names
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
