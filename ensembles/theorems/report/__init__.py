"""The report of `haarflow verify`: a table, an HDF5 of every plotted number, figures drawn from it, one HTML page."""

# Their figures enter the registry on import, in the order of the page.
from haarflow.theorems.report import training, concentration, subgroups, any_width  # noqa: I001
from haarflow.theorems.report.data import Report, Row, read_report
from haarflow.theorems.report.figures import FIGURES, Panel, figure
from haarflow.theorems.report.table import legend, verdict_table
from haarflow.theorems.report.writing import redraw, write_report

__all__ = [
    "FIGURES",
    "Panel",
    "Report",
    "Row",
    "any_width",
    "concentration",
    "figure",
    "legend",
    "read_report",
    "redraw",
    "subgroups",
    "training",
    "verdict_table",
    "write_report",
]
