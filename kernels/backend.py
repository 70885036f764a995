"""The only file that touches JAX's moving parts: the x64 scope, host copies, fences between stages, and threads."""

import importlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache, lru_cache, partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = [
    "check_dtype",
    "compilations_told",
    "compiled",
    "cores",
    "fence",
    "in_threads",
    "is_traced",
    "on_cpu",
    "one_thread",
    "precision",
    "to_numpy",
    "x64",
]


# used: JAX was asked for something here, and has threads. lost: they stayed behind in the process this was forked from.
_threads = {"used": False, "lost": False}


def _check_threads() -> None:
    """Refuse to wait for threads that a forked process does not have, for ever."""
    if _threads["lost"]:
        raise RuntimeError(
            "kernels cannot be evaluated in this process: it was forked from one that had used JAX, whose threads do "
            "not come along, so that it would wait for ever. Start processes by "
            'multiprocessing.get_context("spawn") or "forkserver", or fork before the first kernel is evaluated'
        )
    _threads["used"] = True


def _notice_fork() -> None:
    # JAX may have been used by others than this library; what it is asked here is not public.
    bridge = sys.modules.get("jax._src.xla_bridge")
    _threads["lost"] = _threads["lost"] or _threads["used"] or bool(getattr(bridge, "_backends", None))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_notice_fork)


@contextmanager
def x64(enabled: bool = True) -> Iterator[None]:
    """Switch 64-bit JAX arrays on or off in this thread, inside a `with` block only.

    Results are to be converted with `to_numpy` inside the block, which must not hold a `yield` or `await`:
    what is suspended in it would take the scope along. Not inside `jax.jit`.
    """
    # The scope's place since JAX 0.8, and before; looked up at run time, since each version has only one.
    _check_threads()
    home = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
    with home.enable_x64(enabled):
        yield


def precision(dtype: str | np.dtype) -> AbstractContextManager[None]:
    """Return the x64 scope that a dtype needs: on for float64, off for float32."""
    return x64(check_dtype(dtype) == np.float64)


def check_dtype(dtype: Any) -> np.dtype:
    """Return float32 or float64 as a NumPy dtype, and refuse others."""
    with suppress(TypeError, ValueError, SyntaxError):
        # To NumPy, None is float64.
        if dtype is not None and np.dtype(dtype) in (np.dtype("float32"), np.dtype("float64")):
            return np.dtype(dtype)
    raise ValueError(f'dtype must be "float64" or "float32", found {dtype!r}')


def is_traced(*values: Any) -> bool:
    """Whether JAX traces any of the values, or whatever is computed here, as inside of jax.jit."""
    if any(isinstance(value, jax.core.Tracer) for value in values):
        return True
    # Outside of all transformations nothing is asked of JAX, whose threads a forked child does not have.
    if _transformed is not None and _transformed() == _OUTSIDE:
        return False
    # Inside of jax.jit, constants are traced too; inside of jax.grad and jax.vmap they are not.
    return isinstance(jnp.zeros(()), jax.core.Tracer)


_transformed: Callable[[], Any] | None = getattr(
    importlib.import_module("jax.extend.core"), "get_opaque_trace_state", None
)
_OUTSIDE = None if _transformed is None else _transformed()


def to_numpy(array: Any) -> np.ndarray:
    """Return a writable host copy."""
    return np.array(array)


def on_cpu() -> bool:
    """Whether JAX computes on a CPU by default."""
    _check_threads()
    return jax.default_backend() == "cpu"


def compiled(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return jax.jit(f) with the first argument static, on a CPU with vectors as wide as it has.

    XLA stops at 256 bits by default; on processors with 512 convolutional kernels take a fifth less time. The programs
    of the last 64 static arguments are kept: a convolutional one takes 200 memory maps, and a process that runs into
    the system's limit on them (65530 on Linux) is killed by the compiler.
    """

    @lru_cache(maxsize=64)
    def jitted(
        static: Any, alone: bool = False
    ) -> Any:  # at the first call, since asking for the platform takes a while
        options = {**_wide_vectors(), **({"xla_cpu_multi_thread_eigen": False} if alone else {})} if on_cpu() else {}
        return jax.jit(partial(traced, static), compiler_options=options or None)

    @wraps(f)
    def traced(static: Any, *arguments: Any) -> Any:  # runs only where JAX meets arguments of other shapes
        if _here.tell is not None and not _here.compiling:
            _here.compiling = True
            _here.tell(True)
        return f(static, *arguments)

    @wraps(f)
    def call(static: Any, *arguments: Any) -> Any:
        _check_threads()
        with _compiling:  # two threads would make one each
            function = jitted(static, _here.alone)
        try:
            return function(*arguments)
        finally:
            if _here.compiling and _here.tell is not None:
                _here.compiling = False
                _here.tell(False)

    call.jitted = jitted  # type: ignore[attr-defined]
    return call


_compiling = threading.Lock()


@contextmanager
def compilations_told(tell: Callable[[bool], None]) -> Iterator[None]:
    """Have this thread, and those that work for it, call tell(True) before a program is compiled, tell(False) after.

    From whichever thread compiles, and inside its x64 scope: `tell` is not to use JAX. The first run of the program
    belongs to it.
    """
    before, _here.tell = _here.tell, tell
    try:
        yield
    finally:
        _here.tell = before


@cache
def _wide_vectors() -> dict[str, Any]:
    options = {"xla_cpu_prefer_vector_width": 512}
    try:  # not every version of JAX and XLA knows of it
        jax.jit(lambda x: x + 1, compiler_options=options)(np.float32(0))
    except Exception:
        return {}
    return options


def fence(go: Any, f: Callable[..., Any], *arrays: Any) -> Any:
    """Return f(*arrays), compiled apart from what surrounds it; `go` must be a true argument of the jitted function.

    XLA's CPU compiler would merge the sum over a filter's offsets with the dual activation in front of it, and
    evaluate that once for each offset (9 times for 3 x 3); it removes optimization barriers before it does so.
    The branches of a conditional it leaves alone. On a GPU, f is called as it stands.
    """
    if not on_cpu():
        return f(*arrays)
    shapes = jax.eval_shape(f, *arrays)
    return lax.cond(go, f, lambda *_: jax.tree.map(lambda part: jnp.zeros(part.shape, part.dtype), shapes), *arrays)


def in_threads(work: Callable[[Any], Any], jobs: Iterable[Any], stop: threading.Event | None = None) -> Iterator[Any]:
    """Yield work(job) for every job in order, on a CPU as many at a time as there are cores.

    XLA splits small operations over cores badly, whole tiles side by side use both well. JAX's x64 scope is local
    to a thread: `work` enters its own. Jobs that are under way when nobody listens any more are waited for: long ones
    may look at `stop`, an event of this call's own, which is set when threads are not listened to any more.
    """
    _check_threads()
    jobs = list(jobs)
    if len(jobs) < 2 or cores() < 2 or not on_cpu() or _here.worker:
        yield from map(work, jobs)
        return
    # Few in flight: results do not pile up, and whoever stops listening leaves little behind.
    flying: deque[Future[Any]] = deque()
    try:
        for job in jobs:
            flying.append(_pool().submit(_told, _here.tell, work, job))
            if len(flying) > 2 * cores():
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()
    finally:
        running = [future for future in flying if not future.cancel()]
        if stop is not None:
            stop.set()
        if not _here.worker:  # a generator may be closed by whichever thread collects garbage
            wait(running)


def _told(tell: Callable[[bool], None] | None, work: Callable[[Any], Any], job: Any) -> Any:
    _here.tell = tell
    try:
        return work(job)
    finally:
        _here.tell = None


class _Here(threading.local):
    """What holds in this thread."""

    worker = False  # it is one of several, and takes tiles one after the other
    alone = False  # XLA has no threads beside it
    tell: Callable[[bool], None] | None = None  # who is told of compilations
    compiling = False  # whether they were told of one


_here = _Here()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on this thread alone, without this module's others and XLA's: for a worker that was given one.

    Beside others like it, a worker whose XLA starts threads for every core takes twice as long.
    """
    before = vars(_here).copy()
    _here.worker = _here.alone = True
    try:
        yield
    finally:
        vars(_here).clear()
        vars(_here).update(before)


@cache
def _pool() -> ThreadPoolExecutor:
    # Kept: beside a busy BLAS a thread takes milliseconds to start.
    return ThreadPoolExecutor(cores(), "haarflow", initializer=lambda: setattr(_here, "worker", True))


@cache
def cores() -> int:
    """Return how many cores this process may use, as far as the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
