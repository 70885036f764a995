"""The benchmarks' numbers: equal to the peer's or to direct evaluation. Their speed is not tested."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from haarflow import bench, cli, datasets
from haarflow.bench import counting, measuring, registry, writing
from haarflow.bench.hardware import Rates
from haarflow.progress import progress_bar

needs_data = pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="dataset-fashion-mnist is not installed"
)
needs_peer = pytest.mark.skipif(bench.peer_missing() is not None, reason="neural-tangents is not installed")
RATES = Rates({"float64": 1e10, "float32": 2e10}, 1e10)
TINY = {
    "W1": bench.w1.Size((8,), 4),
    "W2": bench.w2.Size((4,), 6, (2,), 2),
    "W3": bench.w3.Size((24,), (8,)),
    "W5": bench.w5.Size((6,), 4, (16,), 4),
    "W7": bench.w7.Size((8,), 4, 12),
}


@pytest.fixture
def tiny(monkeypatch):
    for name, entry in bench.WORKLOADS.items():
        monkeypatch.setitem(entry.sizes, True, TINY[name])
    # Compiling a convolutional kernel takes seconds: each padding and each dtype once.
    monkeypatch.setattr(bench.w2, "CASES", (("CIRCULAR", "float32"), ("SAME", "float64")))
    monkeypatch.setattr(bench, "measure_rates", lambda: RATES)


def run(name, peer, progress=None):
    return bench.WORKLOADS[name].run(bench.Options(quick=True, repeats=1, peer=peer), progress)


def call(*arguments):
    return CliRunner().invoke(cli.app, ["bench", *map(str, arguments)], env={"COLUMNS": "200"})


@needs_data
@needs_peer
@pytest.mark.parametrize("name", ["W1", "W2", "W3", "W5", "W7"])
def test_rows_agree_with_the_peer(tiny, name):
    rows = run(name, peer=True)
    compared = [row for row in rows if row.difference is not None]
    assert compared
    for row in compared:
        assert row.difference < (1e-4 if "float32" in row.case else 1e-6), row
    for row in rows:
        assert row.workload == name
        assert row.ours > 0 or row.unit == "exponent"
        assert row.ratio is None or row.ratio > 0
    assert any(row.ratio is not None for row in rows)


@needs_data
def test_without_the_peer_ours_alone_is_measured(tiny):
    told = []
    rows = run("W5", peer=False, progress=lambda *step: told.append(step))
    assert rows[0].difference < 1e-12  # of sums over listed orbits
    assert all(row.peer is None and row.ratio is None for row in rows)
    assert [step for step in told if step[0] == "W5"] == [("W5", done, 2) for done in range(3)]
    whole, entry = rows
    assert entry.ours == pytest.approx(1e9 * whole.ours / (6**2 * 64))


@needs_data
def test_growth_is_fitted(tiny, monkeypatch):
    monkeypatch.setitem(bench.w1.SIZES, True, bench.w1.Size((6, 12, 24), 4))
    # A job that takes n^2 |G| seconds.
    monkeypatch.setattr(
        bench.w1,
        "_job",
        lambda name, x, y, test, options: bench.Row(
            "W1",
            name,
            len(x) ** 2 * (order := bench.w1.GROUPS[name].group.order),
            3.0 * len(x) ** 3 * order**2,
            detail={"n": len(x), "order": order},
        ),
    )
    along_n, along_order = (row for row in run("W1", peer=True) if row.unit == "exponent")
    assert (along_n.ours, along_n.peer) == (pytest.approx(2), pytest.approx(3))
    assert (along_order.ours, along_order.peer) == (pytest.approx(1), pytest.approx(2))
    assert along_n.ratio is None


@needs_data
def test_command_prints_the_table_and_writes_json(tiny, tmp_path):
    done = call("w5", "W7", "--quick", "--no-peer", "--repeats", 1, "--json", tmp_path / "found.json", "--n", 5)
    assert done.exit_code == 0, done.output
    for words in ("training, n = 5 x 64", "fit and predict, 12 times, n = 5", "W7: what do 200 times cost", "GF/s"):
        assert words in done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["machine"]["cores"] > 0
    assert found["rates"]["gemm"] == RATES.gemm
    assert found["options"] == {"quick": True, "repeats": 1, "peer": False, "ns": [5]}
    assert [row["workload"] for row in found["rows"]] == ["W5"] * 2 + ["W7"] * 6
    whole = found["rows"][0]
    assert whole["gemm_share"] == pytest.approx(whole["work"]["flops"] / whole["ours"] / 1e10)
    assert whole["memory_share"] == pytest.approx(whole["work"]["bytes"] / whole["ours"] / 1e10)


def test_command_refuses_before_anything_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "measure_rates", lambda: pytest.fail("something was run"))
    for arguments, message in (
        (("W4",), "workload must be one of ['W1', 'W2', 'W3', 'W5', 'W7'], found 'W4'"),
        (("--json", tmp_path), "is a folder"),
        (("--json", tmp_path / "nowhere" / "found.json"), "No such file"),
        (("--repeats", "0"), "--repeats"),
        (("--n", "1"), "--n"),
    ):
        done = call(*arguments)
        assert done.exit_code == 2
        assert message in " ".join(done.output.replace("│", "").split())
    assert not list(tmp_path.iterdir())


def test_command_says_what_data_is_missing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_DEBIAN_FOLDER", str(tmp_path))
    done = call("W3", "--quick")
    assert done.exit_code == 1
    assert "apt-get install dataset-fashion-mnist" in done.output


@needs_data
def test_command_says_that_too_many_images_are_asked_for(tiny):
    done = call("W3", "--n", 60_001)
    assert done.exit_code == 1
    assert "at most the 60000 samples" in done.output


@needs_data
def test_command_without_neural_tangents_says_how_to_install_it(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "neural_tangents", None)
    done = call("W3", "--quick", "--repeats", 1)
    assert done.exit_code == 0, done.output
    assert done.output.count("pip install --no-deps neural-tangents") == 1


@needs_data
def test_what_is_measured_outlives_a_failure(tiny, tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("no")

    monkeypatch.setitem(registry.WORKLOADS, "W7", dataclasses.replace(bench.WORKLOADS["W7"], run=fails))
    done = call("W5", "W7", "--quick", "--no-peer", "--repeats", 1, "--json", tmp_path / "found.json")
    assert isinstance(done.exception, RuntimeError)
    assert "training, n = 6 x 64" in done.output
    assert len(json.loads((tmp_path / "found.json").read_text())["rows"]) == 2


def test_every_header_says_its_question():
    for name, entry in bench.WORKLOADS.items():
        header = sys.modules[entry.run.__module__].__doc__
        assert header.startswith(f"Question: {entry.question}\n"), name
        assert "Timed:" in header
        assert "Shares count" in header


def test_medians_and_warm_up():
    calls = []
    seconds, last = bench.timed(lambda: calls.append(0) or len(calls), 3, warm_up=True)
    assert (len(calls), last) == (4, 4)
    assert seconds >= 0


def test_difference_is_relative_to_the_largest():
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.5, 2.0], [3.0, 5.0]])
    assert measuring.difference(a, b) == pytest.approx(1 / 5)
    assert measuring.difference(a, b, np.eye(2) == 0) == 0


def test_shares_by_hand():
    work = counting.inner_products(10, 5, "float32") + counting.recursion(10, 2, "float32")
    assert work.flops == 2 * 5 * 10 + 20 * (2 * 13 + 30)
    assert work.bytes == 20 * 4 * 4
    assert work.shares(2.0, RATES) == (work.flops / 4e10, work.bytes / 2e10)
    assert counting.by_fourier(3, (4, 4)).flops == 3 * 16 * (3 + 2.5 * 4)
    assert counting.eigendecomposition(3).flops == pytest.approx(14 / 3 * 27)


def test_rates_are_measured():
    rates = bench.measure_rates(side=64, megabytes=1, repeats=1)
    assert min(*rates.gemm.values(), rates.bandwidth) > 0
    assert "GF/s in float64" in writing.machine_line(rates)


def test_the_bar_shows_rate_and_time_left(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr("rich.progress.Task.speed", property(lambda task: 12.34))
    monkeypatch.setattr("rich.progress.Task.time_remaining", property(lambda task: 61.0))
    with progress_bar(None, per_second=1) as progress:
        progress("orbit Gram", 1, 8)
        progress("W1", 1, 8)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "12.3 tiles/s 0:01:01" in shown
    assert shown.count("/s") == shown.count("tiles/s")


def test_results_that_are_not_finite_are_null(tmp_path):
    """JSON has no NaN."""
    written = {"a": np.nan, "b": [1.0, np.float64(np.inf), {"c": (2, -np.inf)}]}
    bench.write_json(tmp_path / "found.json", written)
    found = json.loads((tmp_path / "found.json").read_text(), parse_constant=pytest.fail)
    assert (found["a"], found["b"]) == (None, [1.0, None, {"c": [2, None]}])
