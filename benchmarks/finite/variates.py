"""Members that are trained beside their own linearisations, which are taken from them as control variates."""

import jax
import jax.numpy as jnp
import numpy as np

from haarflow.kernels.backend import in_threads, one_thread, x64
from haarflow.networks import Network, initial_parameters
from haarflow.networks.forward import forward

__all__ = ["trained"]


def trained(task, width, members, seed):
    """Train members in float64, beside what has mean zero over initialisations of one hidden layer.

    Parameters
    ----------
    task : finite.tasks.Task
        The task.
    width, members, seed : int
        Of the ensemble.

    Returns
    -------
    f, g, d : arrays [M, D]
        On all test orbits, less the law's mean: the network; the linearised network with the infinite network's
        kernel, whose covariance is the law's; and the first order in (Theta_member - Theta) of the linearised network
        with the member's own kernel.
    """
    network = Network(task.architecture, width, task.x.shape[1:], task.y.shape[1])
    mean, _ = task.law
    with x64():
        arrays = [np.concatenate([task.listed, task.points]), task.targets, task.theta]
        both, y, theta = (jnp.asarray(a) for a in arrays)
        eta = task.rate / y.size
        program = jax.jit(lambda start: _steps(network, start, both, y, theta, eta, task.steps))

    def work(member):
        with one_thread(), x64():
            start = jax.tree.map(jnp.asarray, initial_parameters(network, seed, member, "float64"))
            return [np.asarray(part).ravel() for part in program(start)]

    found = np.array(list(in_threads(work, range(members))))
    found[:, :2] -= mean
    return tuple(np.moveaxis(found, 1, 0))


def _steps(network, start, both, y, theta, eta, steps):
    n = len(y)
    f0 = forward(network, start, both)
    _, pull = jax.vjp(lambda p: forward(network, p, both[:n]), start)

    def own_kernel(r):
        return jax.jvp(lambda p: forward(network, p, both), (start,), pull(r))[1]

    def step(_, carry):
        p, g, d = carry
        f, back = jax.vjp(lambda p: forward(network, p, both[:n]), p)
        p = jax.tree.map(lambda a, b: a - eta * b, p, back(f - y)[0])
        # g: the infinite network's kernel from this member's start; d: the first order of the difference of kernels.
        seen = g[:n] - y
        d = d - eta * (theta @ d[:n] + own_kernel(seen) - theta @ seen)
        return p, g - eta * (theta @ seen), d

    p, g, d = jax.lax.fori_loop(0, steps, step, (start, f0, jnp.zeros_like(f0)))
    return forward(network, p, both)[n:], g[n:], d[n:]
