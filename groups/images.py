"""Exact turns, flips and shifts of images [n, H, W, C], and turns with shifts."""

from dataclasses import dataclass

import numpy as np

from haarflow.groups.actions import Action
from haarflow.groups.catalogue import cyclic, dihedral, p4, translations
from haarflow.groups.correlations import shift_correlations

__all__ = ["check_images", "image_dihedral", "image_p4", "image_rotations", "image_translations"]


def check_images(shape: tuple[int, ...], name: str, square: bool) -> None:
    """Raise ValueError where `shape` is no image [H, W, C], or not a square one that is needed."""
    if len(shape) != 3:
        hint = "; add a channel axis with x[..., None]" if len(shape) == 2 else ""
        raise ValueError(f"{name} acts on images [n, H, W, C], found samples of shape {shape}{hint}")
    if shape[0] in (1, 3) and shape[1] == shape[2] > 4:
        hint = "the channel axis must be the last: x.transpose(0, 2, 3, 1)"
        raise ValueError(f"{name} acts on images [n, H, W, C], found samples of shape {shape}; {hint}")
    if square and shape[0] != shape[1]:
        hint = "; the channel axis must be the last: x.transpose(0, 2, 3, 1)" if shape[1] == shape[2] else ""
        raise ValueError(f"{name} needs square images [n, H, H, C], found samples of shape {shape}{hint}")


@dataclass(frozen=True, eq=False)
class _ImageTurns(Action):
    """Element r * flips + f: flip left-right if f, then r * step quarter turns."""

    step: int = 1
    flips: int = 1

    def check_shape(self, shape: tuple[int, ...]) -> None:
        square = self.step * (self.group.order > 1) % 2 == 1
        check_images(shape, self.name, square)

    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        turns, flip = divmod(g, self.flips)
        return np.array(np.rot90(x[:, :, ::-1] if flip else x, turns * self.step, axes=(1, 2)), order="C")


def image_rotations(k: int) -> Action:
    """Return exact turns C_k of images [n, H, W, C]; element g turns by 360 g/k degrees, as np.rot90 does.

    Parameters
    ----------
    k : {1, 2, 4}
        Order; for 4 the images are square.

    Raises
    ------
    ValueError
        For another k: `interpolated_rotations(k)` turns by other angles, inexactly.
    """
    if isinstance(k, (str, bytes)) or np.ndim(k) != 0 or k not in (1, 2, 4):
        whole = isinstance(k, (int, np.integer)) and k > 0
        other = f": see interpolated_rotations({k})" if whole else f" of type {type(k).__name__}"
        raise ValueError(f"k must be the integer 1, 2 or 4 for exact rotations, found {k!r}{other}")
    return _ImageTurns(cyclic(k), f"image_rotations({k})", step=4 // k)


def image_dihedral() -> Action:
    """Return the 8 exact turns and flips D4 of square images [n, H, H, C]: flip left-right, then turn."""
    return _ImageTurns(dihedral(4), "image_dihedral()", flips=2)


@dataclass(frozen=True, eq=False)
class _ImageShifts(Action):
    shape: tuple[int, int] = (1, 1)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        if shape[:2] != self.shape or len(shape) != 3:  # whoever names both sides means no channels by them
            check_images(shape, self.name, square=False)
        if any(side % steps for side, steps in zip(shape, self.shape, strict=False)):
            raise ValueError(
                f"{self.name} needs images whose sides are multiples of {self.shape}, found samples of shape {shape}"
            )

    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        steps = np.unravel_index(g, self.shape)
        shift = [int(s) * side // n for s, side, n in zip(steps, x.shape[1:3], self.shape, strict=True)]
        return np.roll(x, shift, axis=(1, 2))

    def _correlate(self, x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
        return shift_correlations(x1, x2[None], self.shape)


def image_translations(shape: tuple[int, int]) -> Action:
    """Return the cyclic shifts of images [n, H, W, C].

    Parameters
    ----------
    shape : (int, int)
        Number of shifts along each axis: (H, W) for all, or divisors of H and W for every H/shape-th.

    Raises
    ------
    ValueError
        For a shape that is not two positive integers.
    """
    if np.shape(shape) != (2,):
        raise ValueError(f"shape must be (H, W), found {shape}")
    group = translations(shape)
    return _ImageShifts(group, f"image_translations({tuple(shape)})", shape=(int(shape[0]), int(shape[1])))


@dataclass(frozen=True, eq=False)
class _ImageP4(Action):
    """Element s * 4 + r: r quarter turns about the centre, then shift number s."""

    side: int = 1

    def check_shape(self, shape: tuple[int, ...]) -> None:
        check_images(shape, self.name, square=True)
        if shape[0] % self.side:
            raise ValueError(
                f"{self.name} needs images whose sides are multiples of {self.side}, found samples of shape {shape}"
            )

    def _transform(self, g: int, x: np.ndarray) -> np.ndarray:
        shift, turns = divmod(g, 4)
        step = x.shape[1] // self.side
        down, right = divmod(shift, self.side)
        moved = np.roll(np.rot90(x, turns, axes=(1, 2)), (down * step, right * step), axis=(1, 2))
        return np.ascontiguousarray(moved)

    def _correlate(self, x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
        turned = np.stack([np.rot90(x2, turns, axes=(1, 2)) for turns in range(4)])
        return shift_correlations(x1, turned, (self.side, self.side))


def image_p4(side: int) -> Action:
    """Return the cyclic shifts and quarter turns of square images [n, H, H, C]: the wallpaper group p4 of the torus.

    Parameters
    ----------
    side : int
        Number of shifts along each axis: H for all, or a divisor of H for every H/side-th.

    Returns
    -------
    Action
        Of order 4 side^2. Element s * 4 + r turns by r quarters as np.rot90 does, then shifts by
        (s // side, s % side) steps as np.roll does.

    Raises
    ------
    ValueError
        For a side that is not a positive integer.

    Notes
    -----
    The group's table holds 16 side^4 numbers: 39 MB for side 28.
    Source: Cohen and Welling, Group equivariant convolutional networks, ICML 2016, on the group p4.
    """
    return _ImageP4(p4(side), f"image_p4({side})", side=int(side))
