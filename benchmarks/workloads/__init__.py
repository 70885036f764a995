"""The workloads of `haarflow bench`, one file each, entered into one registry; neural-tangents is run beside ours."""

from haarflow.bench import w1, w2, w3, w5, w7
from haarflow.bench.hardware import Rates, machine, measure_rates
from haarflow.bench.images import DIGITS, FASHION, installed
from haarflow.bench.measuring import DENSE, timed
from haarflow.bench.peer import peer_missing
from haarflow.bench.registry import WORKLOADS, Options, Row, Workload, plan, workload
from haarflow.bench.writing import as_json, bench_table, check_json, machine_line, notes, write_json

__all__ = [
    "DENSE",
    "DIGITS",
    "FASHION",
    "WORKLOADS",
    "Options",
    "Rates",
    "Row",
    "Workload",
    "as_json",
    "bench_table",
    "check_json",
    "installed",
    "machine",
    "machine_line",
    "measure_rates",
    "notes",
    "peer_missing",
    "plan",
    "timed",
    "w1",
    "w2",
    "w3",
    "w5",
    "w7",
    "workload",
    "write_json",
]
