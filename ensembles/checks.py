"""What an ensemble is told besides its samples: options checked at the door, and how it is shown."""

from pathlib import Path
from typing import Any

import numpy as np

from haarflow import solvers
from haarflow.fitted import Fitted
from haarflow.groups import Action, HaarAction
from haarflow.kernels import AnalyticKernel, Kernel, Sequential, Store, TangentKernel
from haarflow.kernels.channels import warn_of_channels
from haarflow.kernels.distributed import check_executor, check_workers
from haarflow.kernels.own import OwnKernel
from haarflow.training import KRYLOV_TOLERANCE, Means

__all__ = ["as_means", "check_choice", "check_clock", "check_covariance", "check_sees", "shown", "unknown"]

_SOLVERS = ("auto", "dense", "krylov")
# What training in steps is told elsewhere.
_IN_STEPS = ("epochs", "steps", "n_epochs", "batch_size", "batch", "optimizer", "lr", "verbose", "callbacks")


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError for what is none of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {choices}, found {value!r}")


def check_clock(action: Action | HaarAction, loss: str, ridge: float) -> None:
    """Raise ValueError for what depends on a number of elements, where there are infinitely many."""
    if isinstance(action, HaarAction) and (loss == "sum" or ridge > 0):
        raise ValueError(
            f'loss must be "mean" and ridge 0 under {action.group.name}, found loss={loss!r}, '
            f"ridge={ridge}: both would depend on the number of group elements, which is arbitrary here"
        )


def as_means(solver: Any, store: Any, executor: Any, dtype: str) -> Means:
    """Return how blocks are solved, where they are kept, and by whom they are computed.

    Parameters
    ----------
    solver, store, executor
        As `DeepEnsemble` takes them.
    dtype : str
        The kernel's.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    if not isinstance(solver, solvers.Krylov) and (not isinstance(solver, str) or solver not in _SOLVERS):
        raise ValueError(f"solver must be one of {_SOLVERS} or solvers.Krylov(...), found {solver!r}")
    if store is not None and not isinstance(store, (str, Path, Store)):
        raise TypeError(f"store must be a path or a Store, found {store!r}")
    store = Store(store) if isinstance(store, (str, Path)) else store
    if executor is not None:
        check_executor(executor)
        check_workers(executor)
        if store is None:
            raise ValueError("store must be a folder that all workers of the executor see, found None")
    return Means(solvers.Krylov(tolerance=KRYLOV_TOLERANCE[dtype]) if solver == "krylov" else solver, store, executor)


def unknown(options: dict[str, Any], method: str, takes: str, instead: str) -> None:
    """Raise TypeError for arguments that a method does not have, such as those of training in steps.

    Parameters
    ----------
    options : dict
        What was given by names that the method does not know.
    method, takes, instead : str
        The method, its arguments, and what has training times.
    """
    if options:
        found = ", ".join(f"{name}={value!r}" for name, value in options.items())
        told = (
            f": nothing is trained in steps; {instead} has the training times"
            if any(name.lower() in _IN_STEPS for name in options)
            else ""
        )
        raise TypeError(f"{method} takes {takes}, found {found}{told}")


def check_covariance(solver: str | solvers.Krylov, solved: str) -> None:
    """Raise ValueError where blocks are solved by Krylov spaces, which learn the labels alone.

    Parameters
    ----------
    solver : str or Krylov
        What was asked for.
    solved : {"dense", "krylov"}
        What is done.
    """
    if solved == "krylov":
        found = 'a Krylov space, which "auto" chose' if solver == "auto" else solver
        raise ValueError(
            f'solver must be "dense" for covariances and members, found {found}, which learns the labels alone'
        )


def check_sees(kernel: Kernel, action: Action | HaarAction, x: np.ndarray) -> None:
    """Refuse samples that network or action do not fit, and warn of those that are likely to be read otherwise.

    Parameters
    ----------
    kernel : Kernel
        Whose network sees them, where it has one.
    action : Action or HaarAction
        How the group acts on them.
    x : array [n, ...]
        Samples.
    """
    shape = x.shape[1:]
    architecture = getattr(kernel, "architecture", None)
    if isinstance(architecture, Sequential):
        architecture.check(shape)
    action.check_shape(shape)
    # An action has its own say on which axes are which.
    if isinstance(architecture, Sequential) and isinstance(action, Action) and action.group.order == 1:
        warn_of_channels(architecture.layers, shape)
    if type(kernel) is not AnalyticKernel and not isinstance(kernel, TangentKernel):
        trial = kernel if isinstance(kernel, OwnKernel) else OwnKernel(kernel, kernel.content_key, kernel.dtype)
        trial.check(x)


def shown(kernel: Kernel, action: Action | HaarAction, output: Any, fitted: Fitted | None) -> str:
    """Return an ensemble in one line: network, action, outputs, and what it was fitted to."""
    network = repr(kernel)
    if isinstance(kernel, AnalyticKernel):
        network = " - ".join(type(layer).__name__ for layer in kernel.architecture.layers)
    outputs = "invariant" if output is None else getattr(output, "name", "") or f"{type(output).__name__} {output.dim}"
    told = f"{network}, {kernel.dtype}, {action.name}, outputs {outputs}"
    if fitted is None:
        return f"DeepEnsemble({told}; not fitted)"
    n, k = fitted.problem.y.shape
    samples = f"{n} samples {fitted.sample_shape}, {k} output{'s' if k > 1 else ''}"
    return f"DeepEnsemble({told}; {samples}, {fitted.problem.reduction}, {fitted.solver})"
