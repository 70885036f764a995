"""report.html: one page with table and figures that needs no network, no scripts and no other file."""

import base64
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from haarflow.theorems.report.data import Report, Row
from haarflow.theorems.report.figures import Drawing
from haarflow.theorems.report.table import number

__all__ = ["write_page"]

_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 0 auto;
  padding: 1rem; }
h1 { margin-bottom: 0; }
.when { color: #555; margin-top: .2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody th { background: #f2f5f8; font-weight: normal; padding-top: .6rem; }
.source { color: #555; font-size: .9em; }
.holds { color: #00674b; }
.fails { color: #a83c00; font-weight: bold; }
figure { margin: 1.5rem 0; }
.scroll { overflow-x: auto; }
img { width: 100%; min-width: 34rem; height: auto; }
figcaption { max-width: 45rem; }
dt { font-weight: bold; }
dd { margin: 0 0 .5rem 0; }
@media (max-width: 40rem) {
  thead { display: none; }
  table, tbody, tr, th, td { display: block; }
  td, td.number { border: 0; padding: .1rem .6rem; text-align: left; }
  td::before { content: attr(data-label) ": "; color: #555; }
  tr { border-bottom: 1px solid #ddd; padding: .3rem 0; }
}
"""
_COLUMNS = ("workload", "residual", "at most", "control", "above", "verdict")


def write_page(report: Report, drawings: Sequence[Drawing] | None, path: Path) -> Path:
    """Write the report as one self-contained HTML page.

    Parameters
    ----------
    report : Report
        What the table shows.
    drawings : sequence of Drawing or None
        Embedded as they are; None where matplotlib is missing, and the page then says how to install it.
    path : Path
        Replaced when it exists.

    Returns
    -------
    Path
        The file written.
    """
    holding = sum(row.holds for row in report.rows)
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>haarflow verify</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        "<h1>haarflow verify</h1>",
        f'<p class="when">haarflow {escape(report.version)}, {escape(report.date)}</p>',
        f"<p><strong>{holding} of {len(report.rows)} verdicts hold.</strong> A verdict holds when the residual is at "
        "most its bound and the negative control, the same measurement with a condition of the theorem broken, is "
        "above its floor.</p>",
        _table(report.rows),
        _workloads(report.rows),
        _figures(drawings),
        "</body>\n</html>\n",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _table(rows: Sequence[Row]) -> str:
    heads = "".join(f'<th scope="col"{_number_class(name)}>{name}</th>' for name in _COLUMNS)
    bodies = []
    for (theorem, statement, source), group in groupby(rows, lambda row: (row.theorem, row.statement, row.source)):
        members = list(group)
        broken = "; ".join(dict.fromkeys(row.broken for row in members))
        notes = "".join(f"<br>{escape(row.workload)}: {escape(row.note)}" for row in members if row.note)
        bodies.append(
            f'<tbody>\n<tr><th scope="rowgroup" colspan="{len(_COLUMNS)}"><strong>{escape(theorem)}</strong> '
            f'{escape(statement)}<br><span class="source">{escape(source)}. Control: {escape(broken)}{notes}</span>'
            "</th></tr>"
        )
        bodies += [_row(row) for row in members]
        bodies.append("</tbody>")
    return "\n".join(["<table>", f"<thead><tr>{heads}</tr></thead>", *bodies, "</table>"])


def _row(row: Row) -> str:
    verdict = "holds" if row.holds else "FAILS"
    values = (row.workload, *map(number, (row.residual, row.bound, row.control, row.floor)))
    cells = [
        f'<td data-label="{name}"{_number_class(name)}>{escape(value)}</td>'
        for name, value in zip(_COLUMNS, values, strict=False)
    ]
    cells.append(f'<td data-label="verdict" class="{verdict.lower()}">{verdict}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _number_class(name: str) -> str:
    return "" if name in ("workload", "verdict") else ' class="number"'


def _workloads(rows: Sequence[Row]) -> str:
    titles = {row.workload: row.title for row in rows}
    entries = [f"<dt>{escape(name)}</dt><dd>{escape(title)}</dd>" for name, title in titles.items()]
    return "\n".join(["<h2>Workloads</h2>", "<dl>", *entries, "</dl>"])


def _figures(drawings: Sequence[Drawing] | None) -> str:
    if drawings is None:
        return (
            "<h2>Figures</h2>\n<p>Figures need matplotlib: <code>pip install &quot;haarflow[plots]&quot;</code>. Then "
            "<code>haarflow.theorems.report.redraw</code> draws them from verdicts.h5.</p>"
        )
    parts = ["<h2>Figures</h2>"]
    for drawing in drawings:
        caption = escape(drawing.caption)
        data = base64.b64encode(drawing.png).decode("ascii")
        parts.append(
            f'<figure id="{escape(drawing.name)}"><div class="scroll"><img alt="{caption}" '
            f'src="data:image/png;base64,{data}"></div>\n<figcaption>{caption}</figcaption></figure>'
        )
    return "\n".join(parts)
