"""Everything the report shows as plain values, written to one HDF5 file and read back."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from haarflow.theorems.registry import Verdict

__all__ = ["Report", "Row", "as_report", "read_report", "write_data"]


@dataclass(frozen=True)
class Row:
    """One verdict, as the report shows it.

    Attributes
    ----------
    theorem, statement, source : str
        Short name, claim, and whose claim it is.
    workload, title : str
        Short name of the task, and one line that says what it is.
    residual, bound : float
        What was measured, and the most it may be.
    control, floor : float
        The same with the condition `broken`, and what it has to exceed.
    broken : str
        What was broken.
    note : str
        What else was found, or nothing.
    holds : bool
        The verdict.
    curves : mapping of str to array
        The numbers that figures are drawn from.
    """

    theorem: str
    statement: str
    source: str
    workload: str
    title: str
    residual: float
    bound: float
    control: float
    floor: float
    broken: str
    note: str
    holds: bool
    curves: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Report:
    """All rows, with haarflow's version and the date (UTC)."""

    version: str
    date: str
    rows: tuple[Row, ...]


_TEXT = ("theorem", "statement", "source", "workload", "title", "broken", "note")
_NUMBERS = ("residual", "bound", "control", "floor")


def as_report(verdicts: Sequence[Verdict]) -> Report:
    """Return what the report shows of verdicts, dated now.

    Parameters
    ----------
    verdicts : sequence of Verdict
        In the order of the rows.
    """
    return Report(
        version=version("haarflow"),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        rows=tuple(
            Row(
                theorem=verdict.theorem.name,
                statement=verdict.theorem.statement,
                source=verdict.theorem.source,
                workload=verdict.workload.name,
                title=verdict.workload.title,
                residual=float(verdict.measurement.residual),
                bound=float(verdict.theorem.bound),
                control=float(verdict.measurement.control),
                floor=float(verdict.theorem.floor),
                broken=verdict.measurement.broken,
                note=verdict.measurement.note,
                holds=verdict.holds,
                curves={name: np.asarray(values) for name, values in verdict.measurement.curves.items()},
            )
            for verdict in verdicts
        ),
    )


def write_data(report: Report, path: Path) -> Path:
    """Write a report to HDF5: the group "theorem/workload" holds one row, its curves are data sets.

    Parameters
    ----------
    report : Report
        Rows that share theorem and workload get a number behind the name.
    path : Path
        Replaced when it exists.

    Returns
    -------
    Path
        The file written.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(haarflow=report.version, date=report.date)
        for position, row in enumerate(report.rows):
            group = file.create_group(_unused(file, f"{row.theorem}/{row.workload}"))
            group.attrs.update({name: getattr(row, name) for name in (*_TEXT, *_NUMBERS, "holds")})
            group.attrs["position"] = position  # HDF5 lists groups by name
            for name, values in row.curves.items():
                group[name] = values
    path.write_bytes(buffer.getvalue())
    return path


def read_report(path: str | Path) -> Report:
    """Read back the HDF5 file of a report.

    Parameters
    ----------
    path : path
        The report's verdicts.h5.

    Returns
    -------
    Report
        Equal to what was written.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the file is not the HDF5 of a report.
    """
    path = Path(path)
    raw = path.read_bytes()
    refusal = f"{path} is not a report's verdicts.h5"
    try:
        file = h5py.File(io.BytesIO(raw), "r")
    except OSError as error:
        raise ValueError(f"{refusal}: HDF5 cannot open it ({error})") from error
    with file:
        if not {"haarflow", "date"} <= set(file.attrs):
            raise ValueError(f'{refusal}: found no attributes "haarflow" and "date"')
        rows = [
            (int(group.attrs["position"]), _read_row(group)) for group in _groups(file) if "position" in group.attrs
        ]
        ordered = tuple(row for _, row in sorted(rows, key=lambda pair: pair[0]))
        return Report(str(file.attrs["haarflow"]), str(file.attrs["date"]), ordered)


def _unused(file: h5py.File, path: str) -> str:
    number, candidate = 1, path
    while candidate in file:
        number += 1
        candidate = f"{path} ({number})"
    return candidate


def _groups(parent: h5py.Group) -> Iterator[h5py.Group]:
    for child in parent.values():
        if isinstance(child, h5py.Group):
            yield child
            yield from _groups(child)


def _read_row(group: h5py.Group) -> Row:
    found: dict[str, Any] = {name: str(group.attrs[name]) for name in _TEXT if name != "note"}
    found["note"] = str(group.attrs.get("note", ""))  # of files written before there were any
    found |= {name: float(group.attrs[name]) for name in _NUMBERS}
    return Row(
        **found,
        holds=bool(group.attrs["holds"]),
        curves={name: item[()] for name, item in group.items() if isinstance(item, h5py.Dataset)},
    )
