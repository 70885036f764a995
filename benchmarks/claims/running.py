"""What the scripts of the papers' experiments share: a run of some of them, and its files."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from claims.writing import Experiment, write_hdf5, write_markdown
from haarflow.bench import machine

__all__ = ["run"]


def run(script: str, stem: str, jobs: dict[str, Callable[[], Experiment]], opening: str, folder: Path, **about: Any):
    """Run experiments one after the other, and write folder/stem.h5, stem.md and figures after each.

    Parameters
    ----------
    script : str
        Its name, for the command in the Markdown file.
    stem : str
        Of the files.
    jobs : dict of callable
        name -> what runs the experiment.
    opening : str
        Above the tables, with fields for the command, the seconds and the machine.
    folder : Path
        Where files are written.
    **about
        Further fields and attributes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = " ".join([f"python benchmarks/{script}", *sys.argv[1:]])
    start, done, figures = time.perf_counter(), [], {}
    for name, job in jobs.items():
        began = time.perf_counter()
        found = job()
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        if found.figure is not None:
            figures[name] = f"{stem}_{name}.png"
            found.figure(folder / figures[name])
        done.append(found)
        # After every experiment: a run that is stopped keeps what it has.
        seconds = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time()}
        facts = {**machine(), **seconds, **about}
        write_hdf5(folder / f"{stem}.h5", done, facts)
        write_markdown(folder / f"{stem}.md", done, opening.format(command=command, **facts), figures)
