"""Results of one experiment, and how they are written: every number to HDF5, tables to Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = ["Experiment", "Table", "number", "write_hdf5", "write_markdown"]


@dataclass(frozen=True)
class Table:
    """One Markdown table.

    Attributes
    ----------
    title, note : str
        Above and below it.
    columns : sequence of str
        Heads.
    rows : sequence of sequences of str
        Cells.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """What one experiment found.

    Attributes
    ----------
    name, title, question : str
        For the file, the heading, and the line below it.
    setting : list of str
        What was computed and what is a stand-in, in sentences.
    tables : list of Table
        For the Markdown file.
    numbers : dict
        Arrays, numbers and strings for the HDF5 file; a "/" in a name makes a group.
    figure : callable, optional
        figure(path) draws it.
    """

    name: str
    title: str
    question: str
    setting: list[str]
    tables: list[Table]
    numbers: dict[str, Any]
    figure: Callable[[Path], None] | None = field(default=None, repr=False)


def number(value: float) -> str:
    """Write a number with three digits.

    Examples
    --------
    >>> number(0.0012345), number(14.24), number(3e-15)
    ('0.00123', '14.2', '3e-15')
    """
    if value == 0 or 1e-4 <= abs(value) < 1e4:
        return f"{value:.3g}"
    return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e")


def write_hdf5(path: Path, experiments: list[Experiment], about: dict[str, Any]) -> None:
    """Write all numbers, a group for each experiment."""
    with h5py.File(path, "w") as file:
        file.attrs.update(about)
        for each in experiments:
            group = file.create_group(each.name)
            group.attrs["question"] = each.question
            group.attrs["setting"] = "\n".join(each.setting)
            for name, value in each.numbers.items():
                array = np.asarray(value)
                group[name] = array if array.dtype.kind in "biuf" else array.astype(h5py.string_dtype())


def write_markdown(path: Path, experiments: list[Experiment], opening: str, figures: dict[str, str]) -> None:
    """Write all tables; `figures` gives the link to the figure of some experiments."""
    parts = [opening]
    for each in experiments:
        parts.append(f"## {each.title}\n\n{each.question}\n")
        parts.append("\n".join(f"- {line}" for line in each.setting) + "\n")
        for table in each.tables:
            head = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
            body = ["| " + " | ".join(row) + " |" for row in table.rows]
            parts.append(f"**{table.title}**\n\n" + "\n".join(head + body) + "\n")
            if table.note:
                parts.append(table.note + "\n")
        if each.name in figures:
            parts.append(f"![{each.title}]({figures[each.name]})\n")
    path.write_text("\n".join(parts), encoding="utf-8")
