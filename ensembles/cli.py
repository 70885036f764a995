"""The command line: haarflow verify, haarflow bench, haarflow store, haarflow --version."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from haarflow.bench import Options, Row
    from haarflow.bench import Workload as Benchmark
    from haarflow.kernels.store import Entry, Store
    from haarflow.theorems import Theorem, Verdict, Workload

__all__ = ["app", "main"]

app = typer.Typer(
    help="Exact predictions of infinitely wide deep ensembles trained with data augmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
store_app = typer.Typer(
    help="Look after a store of Gram matrices, eigendecompositions and Krylov spaces.", no_args_is_help=True
)
app.add_typer(store_app, name="store")

# Columns that the table of `haarflow bench` takes at least.
_TABLE = 76

_StorePath = Annotated[Path, typer.Argument(help="The store's folder.")]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"haarflow {version('haarflow')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Exact predictions of infinitely wide deep ensembles trained with data augmentation."""


@app.command()
def verify(
    theorems: Annotated[list[str] | None, typer.Argument(help="Such as T1 T5; default all.")] = None,
    report: Annotated[Path, typer.Option(help="Folder for tables, figures and HDF5.")] = Path("haarflow-report"),
    seed: Annotated[int, typer.Option(help="Of samples, draws and N(0, 1) inputs.")] = 0,
    group: Annotated[str | None, typer.Option(help="C2, C4, D4 (digits), T, O or I (vectors).")] = None,
    network: Annotated[str | None, typer.Option(help="dense or cnn.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller workloads, no CNN, no neural-tangents.")] = False,
) -> None:
    """Verify the theorems numerically, each with a negative control; exit with 1 when a verdict fails."""
    from haarflow.theorems import THEOREMS, chosen_workload, plan, standard_workloads, write_report

    console = Console()
    if report.exists() and not report.is_dir():
        raise typer.BadParameter(f"{report} is a file; the report needs a folder", param_hint="--report")
    theorems = [name.upper() for name in theorems] if theorems else None
    if quick and theorems is None:
        theorems = [name for name in THEOREMS if name != "NT"]  # importing the peer alone takes as long
    try:
        chosen = group is not None or network is not None
        own = {name for name, entry in THEOREMS.items() if entry.own is not None}
        if chosen and not quick and own.intersection(theorems or ()):
            raise ValueError(f"--group and --network must be left out for {sorted(own)}, whose workload is its own")
        if chosen:
            theorems = [name for name in theorems or THEOREMS if name not in own]
        workloads = [chosen_workload(group, network, seed)] if chosen else standard_workloads(seed, quick)
        jobs = plan(theorems, [replace(workload, quick=quick) for workload in workloads], seed, quick)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except ImportError as error:  # the digits
        console.print(str(error), markup=False, style="red")
        raise typer.Exit(1) from error
    start = time.monotonic()
    verdicts, skipped = _measure(jobs)
    _print(console, verdicts, skipped)
    paths = write_report(verdicts, report)
    failed = sum(not verdict.holds for verdict in verdicts)
    elapsed = timedelta(seconds=round(time.monotonic() - start))
    console.print(f"{len(verdicts) - failed} of {len(verdicts)} verdicts hold, in {elapsed}")
    console.print("report: " + ", ".join(str(path) for path in paths), markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _measure(jobs: "Sequence[tuple[Theorem, Workload]]") -> "tuple[list[Verdict], set[str]]":
    """Return the verdicts, and the theorems that do not apply or whose peer is missing."""
    from haarflow.progress import progress_bar
    from haarflow.theorems import Verdict

    verdicts, skipped = [], set()
    with progress_bar(None) as progress:
        for done, (entry, workload) in enumerate(jobs):
            if progress is not None:
                progress(f"verifying {entry.name}", done, len(jobs))
            measurement = entry.measure(workload)
            if measurement is None:
                skipped.add(entry.name)
            else:
                verdicts.append(Verdict(entry, workload, measurement))
    return verdicts, skipped


def _print(console: Console, verdicts: "Sequence[Verdict]", skipped: set[str]) -> None:
    from haarflow.theorems.report import legend, verdict_table

    console.print(verdict_table(verdicts))
    console.print(legend(verdicts), markup=False, highlight=False, soft_wrap=True)
    for name in sorted(skipped):
        console.print(f"{name} was left out: neural-tangents is not installed (see the README)", markup=False)


@app.command()
def bench(
    workloads: Annotated[list[str] | None, typer.Argument(help="Such as W1 W3; default all.")] = None,
    json: Annotated[Path | None, typer.Option(help="File for all results.")] = None,
    n: Annotated[
        list[int] | None, typer.Option(min=2, help="Base samples in place of each workload's own; repeatable.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="C2, C4 or D4 in place of W1's own, at each n; repeatable.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Of which the median counts; the peer's are at most 3.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, for a look.")] = False,
    no_peer: Annotated[bool, typer.Option("--no-peer", help="Ours alone, without neural-tangents.")] = False,
) -> None:
    """Time the workloads beside neural-tangents, and say how much of the machine they reach."""
    from haarflow.bench import Options, check_json, installed, peer_missing, plan
    from haarflow.bench.w1 import GROUPS

    console = Console()
    options = Options(quick, repeats, not no_peer, tuple(n or ()), tuple(name.upper() for name in group or ()))
    try:
        chosen = plan([name.upper() for name in workloads] if workloads else None)
        if options.groups and not any(workload.name == "W1" for workload in chosen):
            raise ValueError("--group must be left out where W1 is not among the workloads")
        for name in options.groups:
            if name not in GROUPS:
                raise ValueError(f"--group must be one of {sorted(GROUPS)}, found {name!r}")
        if json is not None:
            check_json(json)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        images, missing = installed()
        options = replace(options, images=images)
        if (most := max(max(options.sized(workload.sizes).ns) for workload in chosen)) > images.most:
            raise ValueError(f"--n must be at most the {images.most} samples of {images.name}, found {most}")
    except (ImportError, ValueError) as error:
        console.print(str(error), markup=False, style="red")
        raise typer.Exit(1) from error
    if missing is not None:
        said = f"on scikit-learn's digits of 8 x 8 pixels, no more than {images.most} of them: {missing}"
        console.print(said, markup=False, soft_wrap=True)
    if options.peer and (missing := peer_missing()) is not None:
        console.print(f"ours alone: {missing}", markup=False, soft_wrap=True)
        options = replace(options, peer=False)
    _bench(console, chosen, options, json)


def _bench(console: Console, chosen: "Sequence[Benchmark]", options: "Options", json: Path | None) -> None:
    """Run workloads; what is measured by the time that one fails or is interrupted is printed and written too."""
    from haarflow.bench import as_json, bench_table, machine_line, measure_rates, notes, write_json
    from haarflow.progress import progress_bar

    rates = measure_rates()
    console.print(machine_line(rates), markup=False, highlight=False, soft_wrap=True)
    rows: list[Row] = []
    start = time.monotonic()
    try:
        with progress_bar(None, per_second=1) as progress:
            for workload in chosen:
                rows += workload.run(options, progress)
    finally:
        # Numbers are not cut where the screen is too narrow for them.
        Console(width=max(console.width, _TABLE)).print(bench_table(rows, rates))
        questions = "".join(f"{workload.name}: {workload.question}\n" for workload in chosen)
        console.print((questions + notes(rows)).rstrip(), markup=False, highlight=False, soft_wrap=True)
        write_json(json, as_json(rows, rates, options))
    console.print(f"in {timedelta(seconds=round(time.monotonic() - start))}")


@store_app.command("ls")
def store_ls(path: _StorePath) -> None:
    """List the store's entries."""
    series: dict[str, list[Entry]] = {}
    with _opened(path) as store:
        for entry in store.entries():
            series.setdefault(_series(entry), []).append(entry)
    # Without lines between columns all of it fits 80 characters; architectures, which are long, stand below.
    names = "kind", "samples", "dtype", "files", "size", "made", "network"
    table = Table(*names, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    architectures: list[str] = []
    for parts in series.values():
        key = parts[0].key or {}
        samples, dtype, architecture = (_shown(key.get(name, "")) for name in ("samples", "dtype", "architecture"))
        if architecture and architecture not in architectures:
            architectures.append(architecture)
        size = f"{sum(part.bytes for part in parts) / 1e6:.1f} MB"
        made = max(part.created for part in parts)
        network = str(architectures.index(architecture) + 1) if architecture else ""
        table.add_row(*map(Text, (parts[0].kind, samples, dtype, _count(parts), size, made, network)))
    console = Console()
    console.print(table)
    for number, architecture in enumerate(architectures, 1):
        console.print(f"{number}: {architecture}", markup=False, highlight=False, soft_wrap=True)


def _shown(value: object) -> str:
    """Return a text of a file that may be a stranger's: shown, not interpreted."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def _series(entry: "Entry") -> str:
    """Return what the tiles of one Gram matrix share, or the steps of one Krylov space."""
    key = {name: value for name, value in (entry.key or {}).items() if name not in ("row", "column", "step", "after")}
    return f"{entry.kind} {sorted(key.items(), key=str)}" if entry.key is not None else str(entry.path)


def _count(parts: "Sequence[Entry]") -> str:
    key = parts[0].key or {}
    samples, side = key.get("samples"), key.get("side")
    if not (isinstance(samples, int) and isinstance(side, int) and samples > 0 and side > 0):
        return str(len(parts))
    along = -(-samples // side)
    there = {(str((part.key or {}).get("row")), str((part.key or {}).get("column"))) for part in parts}
    return f"{len(there)} of {along * (along + 1) // 2}"


@store_app.command("check")
def store_check(path: _StorePath) -> None:
    """Verify every entry's checksum and contents; exit with 1 when something is damaged or cannot be read."""
    from haarflow.progress import progress_bar

    console = Console()
    checked = damaged = unreadable = 0
    with _opened(path) as store, progress_bar(None) as progress:
        total = len(os.listdir(store.path))
        for entry, problem in store.check():
            checked += 1
            damaged += entry.damage is not None
            unreadable += entry.unreadable is not None
            if problem:
                console.print(f"{entry.path}: {problem}", markup=False, soft_wrap=True)
            if progress is not None:
                progress("checking", checked, max(checked, total))
    console.print(f"{checked} files checked, {damaged} damaged or foreign, {unreadable} unreadable")
    if damaged or unreadable:
        raise typer.Exit(1)


@store_app.command("prune")
def store_prune(
    path: _StorePath,
    kind: Annotated[str | None, typer.Option(help='Only this kind: "gram", "spectrum" or "krylov".')] = None,
    damaged: Annotated[bool, typer.Option(help="Only damaged entries and left-over temporary files.")] = False,
    outdated: Annotated[bool, typer.Option(help="Only entries of older kernel versions, which no run finds.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every entry.")] = False,
) -> None:
    """Remove entries: of a kind, damaged ones, those of older versions, or all."""
    if kind is None and not damaged and not outdated and not everything:
        raise typer.BadParameter("say what to remove: --damaged, --outdated, --kind or --all")
    with _opened(path) as store:
        for removed in store.prune(kind=kind, damaged=damaged, chosen=_is_outdated if outdated else None):
            Console().print(f"removed {removed}", markup=False, soft_wrap=True)


def _is_outdated(entry: "Entry") -> bool:
    from haarflow.kernels import KERNEL_VERSION

    version = (entry.key or {}).get("kernel_version")
    return isinstance(version, int) and version < KERNEL_VERSION


@contextmanager
def _opened(path: Path) -> "Iterator[Store]":
    """Open a store; what it refuses meanwhile is printed, and ends the command with 1."""
    from haarflow.kernels import Store

    try:
        store = Store(path, create=False)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="PATH") from error
    try:
        yield store
    except OSError as error:
        Console(stderr=True).print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def main() -> None:
    """Run the command line."""
    app()
