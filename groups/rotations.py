"""Rotations of the plane and of space: from angles, to quaternions."""

import numpy as np
from scipy.spatial.transform import Rotation

__all__ = ["about_axis", "euler_grid", "plane_rotations", "quaternions"]


def plane_rotations(angles: np.ndarray) -> np.ndarray:
    """Return the rotations [..., 2, 2] by angles [...] in radians."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)


def about_axis(axis: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return the rotations [N, 3, 3] about a unit vector [3] by angles [N] in radians."""
    return Rotation.from_rotvec(np.multiply.outer(angles, axis)).as_matrix()


def euler_grid(alpha: np.ndarray, beta: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Return R_x(alpha) R_z(beta) R_x(gamma) for all triples of angles: [A, B, C, 3, 3].

    The first row and column then hold what depends on beta and one other angle only.
    """
    first, last = _about_x(alpha), _about_x(gamma)
    middle = np.zeros((len(beta), 3, 3))
    middle[:, :2, :2], middle[:, 2, 2] = plane_rotations(beta), 1
    return np.einsum("aij,bjk,ckl->abcil", first, middle, last)


def _about_x(angles: np.ndarray) -> np.ndarray:
    out = np.zeros((len(angles), 3, 3))
    out[:, 0, 0], out[:, 1:, 1:] = 1, plane_rotations(angles)
    return out


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """Return a unit quaternion [N, 4] for each rotation [N, 3, 3], of either sign."""
    return Rotation.from_matrix(rotations).as_quat()
