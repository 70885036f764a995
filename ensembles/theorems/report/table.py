"""The table of verdicts on the screen and in verdicts.txt."""

import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from haarflow.theorems.registry import Verdict

__all__ = ["legend", "number", "verdict_table", "write_text"]


def number(value: float) -> str:
    """Return a number with two digits.

    Parameters
    ----------
    value : float
        Any.

    Examples
    --------
    >>> number(1e-11), number(0.7483), number(1234.5)
    ('1e-11', '0.75', '1.2e+03')
    """
    return f"{value:.2g}"


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Return the table of verdicts: residual, bound, negative control, verdict.

    Parameters
    ----------
    verdicts : sequence of Verdict
        In the order of the rows.
    """
    table = Table(title="haarflow verify", caption_justify="left")
    for heading in ("theorem", "workload", "residual", "at most", "control", "above", "verdict"):
        right = heading in ("residual", "at most", "control", "above")
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for verdict in verdicts:
        entry, found = verdict.theorem, verdict.measurement
        table.add_row(
            Text(entry.name),
            Text(verdict.workload.name),
            number(found.residual),
            number(entry.bound),
            number(found.control),
            number(entry.floor),
            "[green]holds[/green]" if verdict.holds else "[bold red]FAILS[/bold red]",
        )
    return table


def legend(verdicts: Sequence[Verdict]) -> str:
    """Return what the table's rows mean: each theorem's statement, source, broken condition and notes, each workload.

    Parameters
    ----------
    verdicts : sequence of Verdict
        The table's rows.
    """
    lines = []
    for entry in {v.theorem.name: v.theorem for v in verdicts}.values():
        lines.append(f"{entry.name}: {entry.statement}  [{entry.source}]")
        broken = dict.fromkeys(v.measurement.broken for v in verdicts if v.theorem is entry)
        lines.append(f"    control: {'; '.join(broken)}")
        notes = [(v.workload.name, v.measurement.note) for v in verdicts if v.theorem is entry and v.measurement.note]
        lines += [f"    {workload}: {note}" for workload, note in notes]
    lines += [f"{w.name}: {w.title}" for w in {v.workload.name: v.workload for v in verdicts}.values()]
    return "\n".join(lines) + "\n"


def write_text(verdicts: Sequence[Verdict], path: Path) -> Path:
    """Write table and legend as plain text.

    Parameters
    ----------
    verdicts : sequence of Verdict
        The table's rows.
    path : Path
        Replaced when it exists.

    Returns
    -------
    Path
        The file written.
    """
    stream = io.StringIO()
    Console(file=stream, width=160).print(verdict_table(verdicts))
    path.write_text(stream.getvalue() + legend(verdicts), encoding="utf-8")
    return path
