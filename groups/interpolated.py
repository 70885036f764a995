"""Rotations of images by any angle: bilinear interpolation, hence no exact group action."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import affine_transform

from haarflow.groups.actions import Action
from haarflow.groups.catalogue import cyclic
from haarflow.groups.images import check_images

__all__ = ["interpolated_rotations"]


@dataclass(frozen=True, eq=False)
class _InterpolatedTurns(Action):
    exact: bool = False

    def check_shape(self, shape: tuple[int, ...]) -> None:
        check_images(shape, self.name, square=True)

    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        turns, rest = divmod(4 * g, self.group.order)
        if rest == 0:
            return np.array(np.rot90(x, turns, axes=(1, 2)), order="C")
        angle = 2 * np.pi * g / self.group.order
        # The value at a pixel comes from where the inverse rotation takes it.
        matrix = np.eye(4)
        matrix[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        centre = np.array([0, (x.shape[1] - 1) / 2, (x.shape[2] - 1) / 2, 0])
        return affine_transform(x, matrix.T, centre - matrix.T @ centre, order=1, mode="constant")


def interpolated_rotations(k: int) -> Action:
    """Return rotations of square images [n, H, H, C] by 360 g/k degrees, interpolated bilinearly.

    They are no group action on pixels, so that ensembles augmented with them list the augmented set.

    Parameters
    ----------
    k : int
        Number of rotations, not 1, 2 or 4, for which `image_rotations(k)` is exact.

    Raises
    ------
    ValueError
        For k = 1, 2, 4, or no positive integer.
    """
    if k in (1, 2, 4):
        raise ValueError(f"k = {k} needs no interpolation: use image_rotations({k})")
    return _InterpolatedTurns(cyclic(k), f"interpolated_rotations({k})", False)
