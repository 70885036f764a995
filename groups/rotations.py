"""Rotations of the plane and of space: from angles, to quaternions."""

import numpy as np
from scipy.spatial.transform import Rotation

__all__ = ["about_axis", "euler_angles", "euler_products", "plane_rotations", "quaternions"]


def plane_rotations(angles: np.ndarray) -> np.ndarray:
    """Return the rotations [..., 2, 2] by angles [...] in radians."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)


def about_axis(axis: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return the rotations [N, 3, 3] about a unit vector [3] by angles [N] in radians."""
    return Rotation.from_rotvec(np.multiply.outer(angles, axis)).as_matrix()


def euler_products(alpha: np.ndarray, beta: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Return R_x(alpha) R_z(beta) R_x(gamma) [..., 3, 3] for angles that broadcast.

    The first row and column hold what depends on beta and one other angle only.
    """
    middle = np.zeros((*np.shape(beta), 3, 3))
    middle[..., :2, :2], middle[..., 2, 2] = plane_rotations(beta), 1
    return _about_x(alpha) @ middle @ _about_x(gamma)


def _about_x(angles: np.ndarray) -> np.ndarray:
    out = np.zeros((*np.shape(angles), 3, 3))
    out[..., 0, 0], out[..., 1:, 1:] = 1, plane_rotations(angles)
    return out


def euler_angles(rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return alpha, beta, gamma [...] with R = R_z(alpha) R_x(beta) R_z(gamma), to full precision at beta = 0 too."""
    alpha = np.arctan2(rotations[..., 0, 2], -rotations[..., 1, 2])
    beta = np.arctan2(np.hypot(rotations[..., 0, 2], rotations[..., 1, 2]), rotations[..., 2, 2])
    # Where beta is small alpha is noise, and gamma has to be what is left.
    cos, sin = np.cos(alpha), np.sin(alpha)
    row = cos[..., None] * rotations[..., 0, :2] + sin[..., None] * rotations[..., 1, :2]
    return alpha, beta, np.arctan2(-row[..., 1], row[..., 0])


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """Return a unit quaternion [N, 4] for each rotation [N, 3, 3], of either sign."""
    return Rotation.from_matrix(rotations).as_quat()
