"""Irreps of SO(2), O(2), SO(3) and O(3) as functions of their matrices, and direct sums of them."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from math import comb, copysign, sqrt

import numpy as np

from haarflow.groups.decomposition import Isotypic
from haarflow.groups.haar import HaarQuadrature, as_count
from haarflow.groups.representations import Representation
from haarflow.groups.representations import direct_sum as _finite_sum
from haarflow.groups.rotations import euler_angles, plane_rotations

__all__ = ["Harmonic", "HarmonicSum", "direct_sum", "harmonic", "harmonics", "pseudovector", "vector"]


@dataclass(frozen=True, eq=False)
class Harmonic:
    """A real orthogonal irrep of a compact group.

    Attributes
    ----------
    group : HaarQuadrature
        The group.
    degree : int
        Frequency on the circle, angular momentum in space.
    odd : bool
        Whether the second component carries an extra sign: det for O(2)'s degree 0, the inversion for O(3).
    dim, commutant_dim : int
        d, and 1 or 2 for real or complex type.
    """

    group: HaarQuadrature = field(repr=False)
    degree: int
    odd: bool
    dim: int
    commutant_dim: int

    @property
    def name(self) -> str:
        """For messages."""
        return f"degree {self.degree}{', odd' if self.odd else ''} of {self.group.name}"

    @property
    def digest(self) -> str:
        """Equal for equal irreps, at any resolution."""
        return hashlib.sha256(f"{self.group.name}|{self.degree}|{self.odd}".encode()).hexdigest()

    def at(self, elements: np.ndarray) -> np.ndarray:
        """Evaluate the irrep.

        Parameters
        ----------
        elements : array [..., d, d]
            Elements of the group.

        Returns
        -------
        array [..., dim, dim]

        Raises
        ------
        ValueError
            For matrices outside the group.

        Notes
        -----
        Cost: 2 (2 degree + 1)^3 operations for each element of SO(3).
        Source: Pinchon & Hoggan 2007, who split a rotation into turns about one axis.
        """
        return self.of_members(self.group.check(elements))

    def of_members(self, elements: np.ndarray) -> np.ndarray:
        """Evaluate the irrep as `at` does, at float64 matrices that are known to lie in the group."""
        if self.group.dim == 2:
            return self._of_the_plane(elements)
        sign = np.sign(np.linalg.det(elements))
        values = _wigner(self.degree, elements * sign[..., None, None])
        return values * sign[..., None, None] if self.odd else values

    def _of_the_plane(self, elements: np.ndarray) -> np.ndarray:
        sign = np.sign(np.linalg.det(elements))
        if self.degree == 0:
            return (sign if self.odd else np.ones(elements.shape[:-2]))[..., None, None]
        rotated = plane_rotations(self.degree * np.arctan2(elements[..., 1, 0], elements[..., 0, 0]))
        rotated[..., 1] *= sign[..., None]  # g = R(angle) diag(1, det)
        return rotated


@dataclass(frozen=True, eq=False)
class HarmonicSum:
    """A direct sum of irreps, how a compact group acts on outputs.

    Attributes
    ----------
    group : HaarQuadrature
        The group.
    irreps : tuple of Harmonic
        In the order of the outputs' columns.
    """

    group: HaarQuadrature
    irreps: tuple[Harmonic, ...]

    @property
    def dim(self) -> int:
        """Dimension k."""
        return sum(irrep.dim for irrep in self.irreps)

    def at(self, elements: np.ndarray) -> np.ndarray:
        """Return rho_Y(g) for elements [..., d, d] of the group: [..., k, k], block-diagonal."""
        elements = self.group.check(elements)
        out = np.zeros((*np.shape(elements)[:-2], self.dim, self.dim))
        start = 0
        for irrep in self.irreps:
            stop = start + irrep.dim
            out[..., start:stop, start:stop] = irrep.of_members(elements)
            start = stop
        return out

    def isotypic(self) -> list[Isotypic]:
        """Return the copies of each irrep with the columns they occupy."""
        columns: dict[str, list[np.ndarray]] = {}
        of: dict[str, Harmonic] = {}
        start = 0
        for irrep in self.irreps:
            of[irrep.digest] = irrep
            columns.setdefault(irrep.digest, []).append(np.eye(self.dim)[:, start : start + irrep.dim])
            start += irrep.dim
        return [Isotypic(of[digest], np.array(copies)) for digest, copies in columns.items()]


Summand = Representation | Harmonic | HarmonicSum


def harmonic(group: HaarQuadrature, degree: int, odd: bool = False) -> Harmonic:
    """Return one irrep.

    Parameters
    ----------
    group : HaarQuadrature
        SO(2), O(2), SO(3) or O(3).
    degree : int
        At most the rule's band limit.
    odd : bool
        O(2), degree 0: the determinant. O(3): the inversion is -1. Elsewhere there is none.

    Raises
    ------
    TypeError, ValueError
        For another kind of group, a degree that is no integer or that the quadrature cannot serve, or a parity
        that the group does not have.
    """
    if not isinstance(group, HaarQuadrature):
        raise TypeError(f"group must be groups.so2(...), o2, so3 or o3, found {group!r}")
    degree = as_count(degree, "degree", 0)
    if degree > group.band_limit:
        raise ValueError(
            f"degree must lie in 0 .. {group.band_limit}, the band limit of {group}, found {degree}: "
            "a higher resolution serves it"
        )
    if odd and not (group.name == "O(3)" or (group.name == "O(2)" and degree == 0)):
        raise ValueError(f"odd must be False: {group.name} has no odd irrep of degree {degree}")
    if group.dim == 3:
        return Harmonic(group, degree, odd, 2 * degree + 1, 1)
    if degree == 0:
        return Harmonic(group, 0, odd, 1, 1)
    return Harmonic(group, degree, odd, 2, 2 if group.name == "SO(2)" else 1)


def harmonics(group: HaarQuadrature, degree: int) -> list[Harmonic]:
    """Return all irreps up to a degree, at most the band limit, the trivial one first."""
    found = []
    for each in range(degree + 1):
        found.append(harmonic(group, each))
        if group.name == "O(3)" or (group.name == "O(2)" and each == 0):
            found.append(harmonic(group, each, odd=True))
    return found


def vector(group: HaarQuadrature, copies: int = 1) -> HarmonicSum:
    """Return how vectors turn: rho_Y(g) = g, once or several times side by side."""
    return HarmonicSum(group, (harmonic(group, 1, odd=group.name == "O(3)"),) * as_count(copies, "copies", 1))


def pseudovector(group: HaarQuadrature, copies: int = 1) -> HarmonicSum:
    """Return how cross products turn: rho_Y(g) = det(g) g in space, det(g) in the plane."""
    in_the_plane = group.name in ("SO(2)", "O(2)")
    irrep = harmonic(group, 0, odd=group.name == "O(2)") if in_the_plane else harmonic(group, 1)
    return HarmonicSum(group, (irrep,) * as_count(copies, "copies", 1))


def direct_sum(a: Summand, b: Summand) -> Representation | HarmonicSum:
    """Return the block-diagonal representation of a and b, of one group, finite or compact.

    Parameters
    ----------
    a, b : Representation, or Harmonic or HarmonicSum
        Of the same group; of a compact one, at any resolution.

    Raises
    ------
    TypeError, ValueError
        For something else, or representations of two groups.
    """
    if isinstance(a, Representation) and isinstance(b, Representation):
        return _finite_sum(a, b)
    for name, part in (("a", a), ("b", b)):
        if not isinstance(part, (Representation, Harmonic, HarmonicSum)):
            raise TypeError(
                f"{name} must be a groups.Representation, or groups.harmonic(...) or groups.vector(...), "
                f"found {type(part).__name__}"
            )
    if isinstance(a, Representation) or isinstance(b, Representation) or a.group.name != b.group.name:
        raise ValueError(f"direct_sum needs representations of one group, found {a.group} and {b.group}")
    return HarmonicSum(a.group, (*summands(a), *summands(b)))


def summands(output: Harmonic | HarmonicSum) -> tuple[Harmonic, ...]:
    """Return the irreps of one or several."""
    return (output,) if isinstance(output, Harmonic) else tuple(output.irreps)


def trivial_outputs(group: HaarQuadrature, k: int) -> HarmonicSum:
    """Return k invariant outputs."""
    return HarmonicSum(group, (harmonic(group, 0),) * k)


def _wigner(degree: int, rotations: np.ndarray) -> np.ndarray:
    """Return D(R) with Y(R r) = D(R) Y(r) for real spherical harmonics; degree 1 is R itself."""
    if degree == 0:
        return np.ones((*rotations.shape[:-2], 1, 1))
    if degree == 1:
        return rotations
    alpha, beta, gamma = euler_angles(rotations)
    m = np.arange(-degree, degree + 1)
    # D(R_x(beta)) = C D(R_z(beta)) C^T for C = D(R_y(pi/2)); about z the harmonics m and -m turn into one another.
    quarter = _quarter_turn(degree)
    phase = beta[..., None, None] * m
    tilted = (np.cos(phase) * quarter + np.sin(phase) * quarter[:, ::-1]) @ quarter.T
    phase = gamma[..., None, None] * m
    tilted = np.cos(phase) * tilted + np.sin(phase) * tilted[..., ::-1]
    phase = alpha[..., None, None] * m[:, None]
    return np.cos(phase) * tilted - np.sin(phase) * tilted[..., ::-1, :]


@lru_cache(maxsize=64)
def _quarter_turn(degree: int) -> np.ndarray:
    """Return D(R_y(pi/2)) for real harmonics, m ascending, every entry to its last bit.

    Among |m> it is a table of Krawtchouk numbers, the coefficients of (1 - z)^x (1 + z)^(n - x) with n = 2 degree:
    integers, of which squares are divided as such. An error here is the same at all nodes, and no average removes it.
    """
    n = 2 * degree
    binomials = [comb(n, k) for k in range(n + 1)]
    turn, row = np.empty((n + 1, n + 1)), binomials
    for x in range(n + 1):
        squares = (number**2 * binomials[x] / (binomials[k] << n) for k, number in enumerate(row))
        turn[x] = [copysign(sqrt(square), number) for square, number in zip(squares, row, strict=True)]
        following: list[int] = []
        for k, number in enumerate(row):  # (1 + z) times the next row is (1 - z) times this one
            following.append(number - (row[k - 1] + following[k - 1] if k else 0))
        row = following
    turn = turn[:, ::-1]
    m = np.arange(-degree, degree + 1)
    # Columns: (|-m> + (-1)^m |m>) / sqrt 2 at m > 0, i (|-m> - (-1)^m |m>) / sqrt 2 at -m.
    sign = (-1.0) ** m
    real = np.zeros((len(m), len(m)), complex)
    for k in range(1, degree + 1):
        up, down = degree + k, degree - k
        real[down, up], real[up, up] = 1, sign[up]
        real[down, down], real[up, down] = 1j, -1j * sign[up]
    real[degree, degree] = 2**0.5
    out = np.ascontiguousarray((real.conj().T @ turn @ real).real / 2)
    out.setflags(write=False)
    return out
