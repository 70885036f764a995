"""The theorems, one file each, entered into one registry; every one has a negative control that must fail."""

from haarflow.theorems import (
    peer,
    t1_kernels,
    t2_commutation,
    t3_equivariance,
    t4_law,
    t5_concentration,
    t6_subgroups,
    t7_any_width,
)
from haarflow.theorems.registry import THEOREMS, Measurement, Theorem, Verdict, plan, run, theorem
from haarflow.theorems.report import write_report
from haarflow.theorems.workloads import Workload, chosen_workload, standard_workloads

__all__ = [
    "THEOREMS",
    "Measurement",
    "Theorem",
    "Verdict",
    "Workload",
    "chosen_workload",
    "peer",
    "plan",
    "run",
    "standard_workloads",
    "t1_kernels",
    "t2_commutation",
    "t3_equivariance",
    "t4_law",
    "t5_concentration",
    "t6_subgroups",
    "t7_any_width",
    "theorem",
    "write_report",
]
