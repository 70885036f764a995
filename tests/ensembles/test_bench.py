"""The benchmarks' numbers: equal to the peer's or to direct evaluation. Their speed is not tested."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from haarflow import bench, cli, datasets
from haarflow.bench import counting, measuring, registry, writing
from haarflow.bench.hardware import Rates

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
    monkeypatch.setitem(bench.w1.SIZES, False, bench.w1.Size((6, 12, 24), 4))
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
    rows = bench.w1.whole_job(bench.Options(repeats=1))
    along_n, along_order = (row for row in rows if row.unit == "exponent")
    assert [row.case for row in rows[:-2]] == ["C4"] * 3 + ["C2", "D4"]
    assert (along_n.ours, along_n.peer) == (pytest.approx(2), pytest.approx(3))
    assert (along_order.ours, along_order.peer) == (pytest.approx(1), pytest.approx(2))
    assert along_n.ratio is None
    asked = bench.Options(repeats=1, ns=(12,))  # what was asked for, and no more
    assert [(row.case, row.detail["n"]) for row in bench.w1.whole_job(asked)] == [("C4", 12)]
    asked = bench.Options(repeats=1, ns=(12, 6), groups=("C2", "D4"))
    assert [(row.case, row.detail.get("n")) for row in bench.w1.whole_job(asked)][:4] == [
        *(("C2", 6), ("C2", 12), ("D4", 6), ("D4", 12))
    ]
    assert len(bench.w1.whole_job(asked)) == 4 + 3
    # Times of a quick look are those of calls and threads.
    monkeypatch.setitem(bench.w1.SIZES, True, bench.w1.Size((6, 12, 24), 4))
    assert all(row.unit != "exponent" for row in run("W1", peer=True))


@needs_data
def test_command_prints_the_table_and_writes_json(tiny, tmp_path):
    done = call("w5", "W7", "--quick", "--no-peer", "--repeats", 1, "--json", tmp_path / "found.json", "--n", 5)
    assert done.exit_code == 0, done.output
    for words in ("training, n = 5 x 64", "fit and predict, 12 times, n = 5", "W7: what do 200 times cost", "GF/s"):
        assert words in done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["machine"]["cores"] > 0
    assert found["rates"]["gemm"] == RATES.gemm
    options = {"quick": True, "repeats": 1, "peer": False, "ns": [5], "groups": [], "images": "FashionMNIST"}
    assert found["options"] == options
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
        (("--group", "C3"), "--group must be one of ['C2', 'C4', 'D4'], found 'C3'"),
    ):
        done = call(*arguments)
        assert done.exit_code == 2
        assert message in " ".join(done.output.replace("│", "").split())
    assert not list(tmp_path.iterdir())


@pytest.fixture
def without_fashion(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_DEBIAN_FOLDER", str(tmp_path))


def test_without_fashion_mnist_digits_are_measured(tiny, without_fashion, tmp_path, monkeypatch):
    monkeypatch.setattr(bench.w2, "CASES", (("CIRCULAR", "float32"),))
    done = call("--quick", "--no-peer", "--repeats", 1, "--json", tmp_path / "found.json")
    assert done.exit_code == 0, done.output
    assert "on scikit-learn's digits" in done.output
    assert "apt-get install dataset-fashion-mnist" in done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["options"]["images"] == "digits"
    assert {row["workload"] for row in found["rows"]} == set(bench.WORKLOADS)
    done = call("W3", "--n", 1598)
    assert done.exit_code == 1
    assert "--n must be at most the 1597 samples of digits, found 1598" in done.output


def test_whole_sizes_are_cut_down_to_what_there_is():
    options = bench.Options(images=bench.DIGITS)
    assert options.sized(bench.w1.SIZES).ns == (250, 500, 1000, 1597)
    assert options.sized(bench.w3.SIZES).ns == (1597,)
    assert bench.Options(images=bench.DIGITS, ns=(7,)).sized(bench.w1.SIZES).ns == (7,)


def test_digits_that_are_trained_on_are_not_tested_on():
    train, test = bench.DIGITS.train(bench.DIGITS.most).x, bench.DIGITS.test(200).x
    whole = datasets.digits().x
    assert np.array_equal(np.concatenate([train, test]), whole)


def test_without_any_data_it_says_so(tiny, without_fashion, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    done = call("W3", "--quick")
    assert done.exit_code == 1
    assert "needs scikit-learn" in done.output


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_table_shows_all_numbers(tiny, columns, monkeypatch):
    """On a terminal of 80 columns, and piped, where there are 80 too."""
    row = bench.Row("W2", "training, CIRCULAR, float64, n = 64", 0.0815, 15.8, difference=3e-12, note="a note")
    row = dataclasses.replace(row, work=counting.recursion(1e6, 3))
    monkeypatch.setitem(registry.WORKLOADS, "W3", dataclasses.replace(bench.WORKLOADS["W3"], run=lambda *_: [row]))
    done = CliRunner().invoke(cli.app, ["bench", "W3", "--no-peer"], env={"COLUMNS": str(columns)})
    assert done.exit_code == 0, done.output
    line = next(line for line in done.output.splitlines() if "0.0815 s" in line)
    gemm, memory = (f"{share:.0%}" for share in row.work.shares(0.0815, RATES))
    assert line.split()[-8:] == ["0.0815", "s", "15.8", "s", "193.9", "3e-12", gemm, memory]
    table = done.output.split("haarflow bench")[1].split("W3: ")[0]
    assert max(map(len, table.splitlines())) <= max(columns, 80)


@needs_data
def test_command_says_that_too_many_images_are_asked_for(tiny):
    done = call("W3", "--n", 60_001)
    assert done.exit_code == 1
    assert "--n must be at most the 60000 samples of FashionMNIST, found 60001" in done.output


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


def test_results_that_are_not_finite_are_null(tmp_path):
    """JSON has no NaN."""
    written = {"a": np.nan, "b": [1.0, np.float64(np.inf), {"c": (2, -np.inf)}]}
    bench.write_json(tmp_path / "found.json", written)
    found = json.loads((tmp_path / "found.json").read_text(), parse_constant=pytest.fail)
    assert (found["a"], found["b"]) == (None, [1.0, None, {"c": [2, None]}])
