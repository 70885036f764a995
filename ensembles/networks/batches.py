"""Which samples a member sees at which step: the whole orbit, or random elements of it, from its seed alone."""

from dataclasses import dataclass

import numpy as np

__all__ = ["AUGMENTATIONS", "Schedule"]

AUGMENTATIONS = ("orbit", "random")
# Streams apart from those of the initial parameters.
_ORDER, _ELEMENTS = 102, 103


@dataclass(frozen=True)
class Schedule:
    """How steps walk through the augmented training set.

    Attributes
    ----------
    augmentation : {"orbit", "random"}
        All transforms of each sample, or one random transform of each, drawn anew at every step.
    samples, order : int
        n and |G|.
    batch : int or None
        Samples of a step; None: all.
    """

    augmentation: str
    samples: int
    order: int
    batch: int | None

    @property
    def whole(self) -> bool:
        """Whether every step sees the whole augmented set, so that nothing is drawn."""
        return self.augmentation == "orbit" and self.batch is None

    @property
    def size(self) -> int:
        """Samples of one step."""
        return self.samples * (self.order if self.augmentation == "orbit" else 1) if self.batch is None else self.batch

    def picks(self, seed: int, member: int, start: int, steps: int) -> np.ndarray:
        """Draw what some steps see: array [steps, 2, size] int32 of elements and samples.

        Parameters
        ----------
        seed, member : int
            Whose draws.
        start, steps : int
            The first step, and how many.

        Notes
        -----
        An epoch is one shuffled walk through the n samples ("random") or the n |G| augmented ones ("orbit"); what is
        left of it and too small for a batch is dropped. Each epoch, and each step's elements, have a stream of their
        own, so that a member goes on after an interruption as it would have.
        """
        total = self.samples * (self.order if self.augmentation == "orbit" else 1)
        each = 1 if self.batch is None else total // self.size
        out = np.empty((steps, 2, self.size), np.int32)
        shuffled, epoch = np.arange(total), -1
        for row, step in enumerate(range(start, start + steps)):
            if self.batch is not None and step // each != epoch:
                epoch = step // each
                shuffled = np.random.default_rng([_ORDER, seed, member, epoch]).permutation(total)
            first = step % each * self.size
            chosen = shuffled[first : first + self.size]
            if self.augmentation == "orbit":
                out[row] = np.divmod(chosen, self.samples)
            else:
                elements = np.random.default_rng([_ELEMENTS, seed, member, step])
                out[row] = elements.integers(0, self.order, self.size), chosen
        return out
