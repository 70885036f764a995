"""Rows as a table on the screen, and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from math import isfinite
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from haarflow.bench.hardware import Rates, machine
from haarflow.bench.registry import Options, Row

__all__ = ["as_json", "bench_table", "check_json", "machine_line", "notes", "write_json"]


def bench_table(rows: Sequence[Row], rates: Rates) -> Table:
    """Return the table: ours, the peer, ratio, largest relative difference, shares of the machine.

    Parameters
    ----------
    rows : sequence of Row
        In the order of the table.
    rates : Rates
        Of the machine.
    """
    # Without lines between columns all of it fits 80 characters.
    shares = "GEMM, memory: which share of the machine's rates was reached"
    table = Table(title="haarflow bench", caption=shares, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("workload", overflow="fold", min_width=16)
    for heading in ("ours", "peer", "ratio", "difference", "GEMM", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)  # on a narrow screen workloads fold, numbers never
    last = None
    for row in rows:
        if last not in (None, row.workload):
            table.add_section()
        last = row.workload
        unit = f" {row.unit}" if row.seconds is not None else ""
        table.add_row(
            Text(f"{row.workload} {row.case}"),
            f"{row.ours:.3g}{unit}",
            "–" if row.peer is None else f"{row.peer:.3g}{unit}",
            "" if row.ratio is None else f"{row.ratio:.1f}",
            "" if row.difference is None else f"{row.difference:.0e}",
            *("" if share is None else f"{share:.0%}" for share in _shares(row, rates)),
        )
    return table


def _shares(row: Row, rates: Rates) -> tuple[float | None, float | None]:
    if row.work is None or row.seconds is None:
        return None, None
    return row.work.shares(row.seconds, rates)


def notes(rows: Sequence[Row]) -> str:
    """Return what the reader of the table is to know of its rows, a line for each note."""
    return "\n".join(f"{row.workload} {row.case}: {row.note}" for row in rows if row.note)


def machine_line(rates: Rates) -> str:
    """Say in one line on what was measured, and what it can do."""
    about = machine()
    threads = "" if about["threads"] is None else f", {about['threads']} BLAS threads"
    versions = ", ".join(f"{name} {about[name]}" for name in about if name not in ("cores", "threads", "processor"))
    return f"{about['cores']} cores{threads} ({about['processor']}); {rates}; {versions}"


def as_json(rows: Sequence[Row], rates: Rates, options: Options) -> dict[str, Any]:
    """Return everything measured, for `write_json`.

    Parameters
    ----------
    rows : sequence of Row
        Of all workloads.
    rates : Rates
        Of the machine.
    options : Options
        How the workloads were run.
    """
    listed = []
    for row in rows:
        gemm, memory = _shares(row, rates)
        listed.append({**asdict(row), "ratio": row.ratio, "gemm_share": gemm, "memory_share": memory})
    told = {each.name: getattr(options, each.name) for each in fields(options)}
    return {"rates": asdict(rates), "options": {**told, "images": options.images.name}, "rows": listed}


def check_json(path: Path) -> None:
    """Raise ValueError where no file can be written, before anything long is run."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; the results need a file")
    there = path.exists()
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise ValueError(f"{path} must be a file that can be written, found: {error.strerror}") from error
    if not there:
        path.unlink()


def write_json(path: str | Path | None, results: dict[str, Any]) -> None:
    """Write results with the machine they were measured on, null where they are not finite; nothing without a path."""
    if path is not None:
        written = json.dumps(_plain({"machine": machine(), **results}), indent=2, allow_nan=False)
        Path(path).write_text(written + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
