"""Trials: runs in processes of their own, and the verdict on each.

A run gives the bits of the undisturbed one, or refuses with the library's own error, which names the place. Anything
else is a failure: a wrong number, a process that hangs or crashes, an error of another library.

`pytest -m reliability` runs a tenth of all trials, and every fifth of each catalogue of hostile files;
`HAARFLOW_TRIALS=full pytest -m reliability` runs all, and says how they ended. The seeds are fixed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from reliability.program import CORNERS

from haarflow.kernels import Store

TESTS = Path(__file__).parents[1]
# How each kind of trial ended, for the summary.
TALLY = defaultdict(Counter)
# Seconds. No run takes a tenth of it.
TIMEOUT = 30
FULL = os.environ.get("HAARFLOW_TRIALS", "") == "full"


def seeds(full):
    """The seeds of all trials, or of a tenth of them."""
    return range(full if FULL else -(-full // 10))


def some(catalogue, *always):
    """All names of a catalogue, or every fifth and those that are tried always."""
    return [name for place, name in enumerate(catalogue) if FULL or place % 5 == 0 or name in always]


@dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    status: int | None
    log: str
    seconds: float
    result: str | None = None
    computed: tuple = ()
    products: int = 0
    warned: tuple = ()
    kinds: tuple = ()
    error: str = ""
    trace: str = ""
    peak: int = 0
    moments: tuple = ()
    rounds: int = 0
    damages: tuple = ()

    @property
    def killed(self):
        """Whether it was killed, by whomever."""
        return self.status is not None and os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL


class Running:
    """A run that was started."""

    def __init__(self, zygote, pid, out):
        self._zygote, self.pid, self._out, self._start = zygote, pid, out, time.monotonic()

    def kill(self):
        """As kill -9; the process is reaped by `wait`, so its number is still its own."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout=TIMEOUT):
        """What came of it."""
        status = self._zygote.ask({"pid": self.pid, "timeout": timeout})
        seconds = time.monotonic() - self._start
        if status is None:
            self.kill()
            self._zygote.ask({"pid": self.pid, "timeout": TIMEOUT})
        log = Path(f"{self._out}.log")
        found = json.loads(self._out.read_text(encoding="utf-8")) if self._out.exists() else {}
        found["computed"] = tuple(map(tuple, found.get("computed", ())))
        return Outcome(status, log.read_text(encoding="utf-8") if log.exists() else "", seconds, **found)


def environment():
    """That of all processes: the suite can be imported, and there is one BLAS thread, since bits depend on them."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Zygote:
    """The process that forks all runs."""

    def __init__(self, folder):
        self._folder, self._numbers = folder, count()
        command = [sys.executable, "-c", "from reliability.zygote import main; main()"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment()
        )
        assert self._process.stdout.readline() == "ready\n"

    def ask(self, order):
        """Send a line, and return the answer."""
        self._process.stdin.write(json.dumps(order) + "\n")
        return json.loads(self._process.stdout.readline())

    def start(self, store, **order):
        """Start a run on a store."""
        out = self._folder / str(next(self._numbers))
        return Running(self, self.ask({"store": str(store), "out": str(out), **order}), out)

    def run(self, store, **order):
        """Run to the end."""
        return self.start(store, **order).wait()

    def close(self):
        """End it."""
        self._process.stdin.close()
        self._process.wait(TIMEOUT)
        self._process.stdout.close()


def judge(kind, outcome, reference, store):
    """Return "same", or the name of the library's own error; fail on anything else."""
    verdict, problem = _verdict(outcome, reference, str(store))
    TALLY[kind][verdict] += 1
    assert problem is None, f"{verdict}: {problem}\n{outcome.trace}{outcome.log}"
    return verdict


def _verdict(outcome, reference, store):
    if outcome.status is None:
        return "hang", f"no end after {outcome.seconds:.0f} s"
    if outcome.status != 0:
        return "crash", f"wait status {outcome.status}"
    if outcome.log:
        return "noise", outcome.log
    strange = [text for text in outcome.warned if not (text.startswith("StoreWarning: ") and store in text)]
    if strange:
        return "strange warning", "\n".join(strange)
    if outcome.result is not None:
        right = outcome.result == reference
        return ("same", None) if right else ("wrong number", "other bits than the undisturbed run's")
    if outcome.kinds[0] != "StoreError" or store not in outcome.error:
        return f"deep {outcome.kinds[0]}", outcome.error
    return "StoreError", None


@dataclass(frozen=True)
class Case:
    """One way to solve, a finished store of it, and the undisturbed run."""

    solver: str
    store: Path
    outcome: Outcome

    @property
    def how(self):
        """What its runs are told."""
        return {"solver": self.solver}

    @property
    def result(self):
        """The bits that every run must give."""
        return self.outcome.result

    @property
    def sizes(self):
        """Bytes of the finished store's files."""
        return sorted(path.stat().st_size for path in self.store.iterdir())

    def copy(self, store):
        """A finished store to be spoiled."""
        shutil.copytree(self.store, store)
        return store


def finished(store):
    """Which tiles a store has that are sound, and how many other entries of each kind."""
    if not (store / "haarflow-store.json").exists():
        return set(), Counter()
    sound = [entry for entry, damage in Store(store, create=False).check() if damage is None]
    tiles = {(entry.key["row"], entry.key["column"]) for entry in sound if entry.kind == "gram"}
    return tiles, Counter(entry.kind for entry in sound)


def check_resumed(case, before, outcome):
    """A run did again nothing that was finished before."""
    tiles, kinds = before
    needed = set() if kinds["spectrum"] else set(CORNERS) - tiles
    assert sorted(outcome.computed) == sorted(needed)
    # The first entry of a Krylov space are the labels.
    assert outcome.products == case.outcome.products - max(kinds["krylov"] - 1, 0)


def damages(store):
    """What `store check` finds."""
    return [damage for _, damage in Store(store, create=False).check() if damage is not None]
