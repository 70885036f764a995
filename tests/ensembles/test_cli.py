"""The command line as a user types it."""

import errno
import sys

import numpy as np
import pytest
from stores import refuse
from typer.testing import CliRunner

import haarflow as hf
from haarflow import cli, groups, kernels, solvers, theorems
from haarflow.kernels import Store
from haarflow.theorems import workloads


def call(*arguments, columns=200):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": str(columns)})


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(theorems, "standard_workloads", lambda seed, quick: [workloads.ising_c4(6, seed)])


def test_version():
    from haarflow import __version__

    assert call("--version").output == f"haarflow {__version__}\n"


def test_verify(small, tmp_path):
    done = call("verify", "T1", "T3", "--report", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert "2 of 2 verdicts hold" in done.output
    assert (tmp_path / "report" / "orbit_error.png").exists()


def test_verify_a_chosen_group_and_network(tmp_path):
    done = call("verify", "T1", "--group", "C2", "--network", "cnn", "--quick", "--report", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert "digits x C2, cnn" in done.output
    assert "1 of 1 verdicts hold" in done.output


def test_quick_leaves_the_peer_out(small, tmp_path, monkeypatch):
    for name in ("T2", "T3", "T4", "T5", "T6", "T7"):
        monkeypatch.delitem(theorems.THEOREMS, name)
    done = call("verify", "--quick", "--report", tmp_path / "report")
    assert "1 of 1 verdicts hold" in done.output


def test_verify_exits_with_1_when_a_verdict_fails(small, tmp_path, monkeypatch):
    import dataclasses

    strict = dataclasses.replace(theorems.THEOREMS["T1"], bound=-1.0)
    monkeypatch.setitem(theorems.THEOREMS, "T1", strict)
    done = call("verify", "T1", "--report", tmp_path / "report")
    assert done.exit_code == 1
    assert "FAILS" in done.output
    assert "0 of 1 verdicts hold" in done.output


def test_verify_without_data_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    done = call("verify", "T1", "--report", tmp_path / "report")
    assert done.exit_code == 1
    assert 'pip install "haarflow[data]"' in done.output


def test_verify_refuses(small, tmp_path):
    done = call("verify", "T99", "--report", tmp_path / "report")
    assert done.exit_code == 2
    assert "theorem must be one of" in done.output
    for options, message in (
        (("--group", "C7"), "group must be one of"),
        (("--network", "transformer"), "network must be 'dense' or 'cnn'"),
        (("--group", "O", "--network", "cnn"), "acts on vectors"),
    ):
        done = call("verify", "T5", *options, "--report", tmp_path / "report")
        assert done.exit_code == 2
        assert message in done.output
    (tmp_path / "file").write_text("")
    done = call("verify", "T1", "--report", tmp_path / "file")
    assert done.exit_code == 2
    assert "needs a folder" in done.output


def test_store_commands(tmp_path):
    store = Store(tmp_path / "store")
    store.put("gram", {"architecture": "Dense", "samples": 3, "dtype": "float64"}, {"block": np.eye(3)})
    store.put("spectrum", {"architecture": "Dense"}, {"values": np.ones(3)})
    listed = call("store", "ls", store.path)
    assert listed.exit_code == 0, listed.output
    assert "gram" in listed.output
    assert "Dense" in listed.output
    assert "0 damaged" in call("store", "check", store.path).output
    path = next(store.path.glob("gram-*"))
    path.write_bytes(path.read_bytes()[:-1])
    checked = call("store", "check", store.path)
    assert checked.exit_code == 1
    assert path.name in checked.output.replace("\n", "")
    assert call("store", "prune", store.path, "--damaged").output.count("removed") == 1
    assert call("store", "prune", store.path, "--kind", "spectrum").output.count("removed") == 1
    assert call("store", "prune", store.path).exit_code == 2  # nobody means everything by saying nothing
    store.put("gram", {"architecture": "[/red] \x1b[31m", "samples": 1}, {"block": np.eye(1)})
    assert "[/red] ?[31m" in call("store", "ls", store.path).output
    assert call("store", "prune", store.path, "--all").output.count("removed") == 1
    missing = call("store", "ls", tmp_path / "nowhere")
    assert missing.exit_code == 2
    assert "nowhere" in missing.output.replace("\n", "")


def test_a_run_is_listed_in_80_columns(tmp_path):
    """Each Gram matrix and each Krylov space in one line, whatever the length of the architecture."""
    hidden = (kernels.Dense(2**0.5, 0.1), kernels.Relu()) * 4
    network = kernels.Sequential(kernels.Flatten(), *hidden, kernels.Dense())
    how = {"solver": solvers.Krylov(tolerance=1e-3), "store": tmp_path / "store"}
    data = hf.datasets.digits(45)
    for n in (40, 44):
        ensemble = hf.DeepEnsemble(network, action=groups.image_rotations(4), **how)
        ensemble.fit(data.x[:n], data.y[:n]).predict(data.x[44:], [1e2])
    steps = [entry.key["samples"] for entry in Store(tmp_path / "store").entries() if entry.kind == "krylov"]
    (head, _, *rows), (legend,) = _table(call("store", "ls", tmp_path / "store", columns=80).output)
    assert head.split() == ["kind", "samples", "dtype", "files", "size", "made", "network"]
    assert legend == f"1: {network.key}"
    assert len(legend) > 200
    found = [row.split() for row in rows]
    assert sorted(row[:-5] for row in found) == sorted(
        [["gram", n, "float64", "1", "of", "1"] for n in ("40", "44")]
        + [["krylov", str(n), "float64", str(steps.count(n))] for n in (40, 44)]
    )
    assert min(map(steps.count, (40, 44))) > 2
    assert all(row[-1] == "1" for row in found)


def _table(output):
    """The lines of a table, which fit 80 columns, and those below it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    below = [line for line in lines if line.startswith("1: ")]
    table = [line for line in lines if line not in below]
    assert max(map(len, table)) <= 80
    return table, below


def test_entries_that_cannot_be_read(tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    store.put("gram", {"samples": 1}, {"block": np.eye(1)})
    refuse(errno.EMFILE, "open", lambda path: path.suffix == ".h5", monkeypatch.setattr)
    checked = call("store", "check", store.path)
    assert checked.exit_code == 1
    assert "Too many open files" in checked.output
    assert "1 files checked, 0 damaged or foreign, 1 unreadable" in checked.output
    pruned = call("store", "prune", store.path, "--damaged")
    assert (pruned.exit_code, pruned.output) == (0, "")
    assert "gram" in call("store", "ls", store.path).output


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    Store(tmp_path / "store")

    def fail(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cli.Path, "iterdir", fail)
    for command in (("ls",), ("check",), ("prune", "--all")):
        done = call("store", *command, tmp_path / "store")
        assert done.exit_code == 1
        assert "Permission denied" in done.output.replace("\n", " ")
