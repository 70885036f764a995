"""Numbers of twice float64's digits, as unevaluated sums of two: arithmetic, roots, exponentials, angles.

Every operation is a fixed sequence of float64 ones whose rounding errors are found exactly (Dekker 1971, Knuth 1969),
so that results carry about 31 digits. Plain NumPy: a compiler that rearranges sums would undo it.
"""

from decimal import Decimal, localcontext
from functools import cache
from typing import Any, Union

import numpy as np

__all__ = ["PI", "Extended", "atan2", "exp", "expm1", "sqrt"]

# Splits a factor into halves of 26 bits.
_SPLIT = 2.0**27 + 1
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
_LOG2 = Decimal("0.69314718055994530941723212145817656807550013436025525412068001")
# Angles of a half turn that are tabulated.
_STEPS = 256
# Halvings of an exponential's argument.
_HALVINGS = 9
# Below it exponentials are 0.
_LEAST = -760.0

Number = Union["Extended", np.ndarray, float]


def _two(value: Decimal) -> tuple[float, float]:
    high = float(value)
    return high, float(value - Decimal(high))


def _sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Return a + b, rounded, and the rounding error."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def _quick_sum(a: Any, b: Any) -> "Extended":
    """Return a + b for |a| >= |b|."""
    total = a + b
    return Extended(total, b - (total - a))


def _halves(a: Any) -> tuple[Any, Any]:
    product = _SPLIT * a
    high = product - (product - a)
    return high, a - high


def _product(a: Any, b: Any) -> tuple[Any, Any]:
    """Return a b, rounded, and the rounding error."""
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


class Extended:
    """An array of numbers high + low of about 31 digits; operators mix it with float64.

    Parameters
    ----------
    high, low : float64 array
        low is at most half a unit in high's last place. Below 1e300 in size.
    """

    __slots__ = ("high", "low")
    __array_ufunc__ = None  # so that array + Extended comes here

    def __init__(self, high: Any, low: Any = 0.0) -> None:
        self.high = np.asarray(high, float)
        self.low = np.asarray(low, float) + np.zeros_like(self.high)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.high.shape

    def __getitem__(self, some: Any) -> "Extended":
        return Extended(self.high[some], self.low[some])

    def reshape(self, *shape: int) -> "Extended":
        """Return the same numbers in another shape."""
        return Extended(self.high.reshape(shape), self.low.reshape(shape))

    def __neg__(self) -> "Extended":
        return Extended(-self.high, -self.low)

    def __add__(self, other: Number) -> "Extended":
        if isinstance(other, Extended):
            total, error = _sum(self.high, other.high)
            return _quick_sum(total, error + (self.low + other.low))
        total, error = _sum(self.high, other)
        return _quick_sum(total, error + self.low)

    __radd__ = __add__

    def __sub__(self, other: Number) -> "Extended":
        return self + -other

    def __rsub__(self, other: Number) -> "Extended":
        return -self + other

    def __mul__(self, other: Number) -> "Extended":
        if isinstance(other, Extended):
            product, error = _product(self.high, other.high)
            return _quick_sum(product, error + (self.high * other.low + self.low * other.high))
        product, error = _product(self.high, np.asarray(other, float))
        return _quick_sum(product, error + self.low * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Number) -> "Extended":
        divisor = other if isinstance(other, Extended) else Extended(other)
        first = self.high / divisor.high
        rest = self - divisor * first
        second = rest.high / divisor.high
        rest = rest - divisor * second
        return _quick_sum(first, second) + rest.high / divisor.high

    def __rtruediv__(self, other: Number) -> "Extended":
        return Extended(other) / self

    def where(self, condition: np.ndarray, other: Number) -> "Extended":
        """Return these numbers where the condition holds, others elsewhere."""
        others = other if isinstance(other, Extended) else Extended(other)
        return Extended(np.where(condition, self.high, others.high), np.where(condition, self.low, others.low))

    def scaled(self, power: Any) -> "Extended":
        """Return the numbers times 2^power, exactly."""
        return Extended(np.ldexp(self.high, power), np.ldexp(self.low, power))

    def mean(self, axis: int) -> "Extended":
        """Return the mean along an axis, added up in pairs."""
        part = Extended(np.moveaxis(self.high, axis, 0), np.moveaxis(self.low, axis, 0))
        count = len(part.high)
        while (length := len(part.high)) > 1:
            half = length // 2
            paired = part[:half] + part[half : 2 * half]
            if length % 2:
                last = paired[:1] + part[-1:]
                paired = Extended(
                    np.concatenate([last.high, paired.high[1:]]), np.concatenate([last.low, paired.low[1:]])
                )
            part = paired
        return part[0] / count


PI = Extended(*_two(_PI))
_LN2 = Extended(*_two(_LOG2))


def sqrt(a: Extended) -> Extended:
    """Return the square root; what is negative counts as 0."""
    positive = a.high > 0
    start = np.sqrt(np.where(positive, a.high, 1.0))
    # One step of Newton's from float64's digits doubles them.
    return _quick_sum(start, (a - Extended(*_product(start, start))).high / (2 * start)).where(positive, 0.0)


def _small_expm1(x: Extended) -> Extended:
    """Return exp(x) - 1 for |x| below 0.4."""
    small = x.scaled(-_HALVINGS)
    series = Extended(np.zeros(x.shape))
    for k in range(9, 1, -1):
        series = (series + 1.0) * small / float(k)
    value = small + small * series
    for _ in range(_HALVINGS):  # exp(2 x) - 1 from exp(x) - 1
        value = value * 2.0 + value * value
    return value


def _reduced(x: Extended) -> tuple[Extended, np.ndarray]:
    """Return x less a multiple of log 2, and which."""
    within = x.where(x.high > _LEAST, _LEAST)
    power = np.rint(within.high / float(_LOG2))
    return within - _LN2 * power, power.astype(int)


def exp(x: Extended) -> Extended:
    """Return exp(x), x at most 700."""
    rest, power = _reduced(x)
    return (_small_expm1(rest) + 1.0).scaled(power)


def expm1(x: Extended) -> Extended:
    """Return exp(x) - 1, with small x to their relative accuracy; x at most 700."""
    small = np.abs(x.high) < 0.3
    return _small_expm1(x.where(small, 0.0)).where(small, exp(x) - 1.0)


@cache
def _table() -> tuple[np.ndarray, ...]:
    """Return cosines and sines, high and low, of k / _STEPS of a half turn, k = 0 .. _STEPS."""
    with localcontext() as context:
        context.prec = 60
        step = _PI / _STEPS
        c, s, term = Decimal(1), Decimal(0), Decimal(1)
        for k in range(1, 30):
            term = term * step / k
            if k % 2:
                s += term if k % 4 == 1 else -term
            else:
                c += term if k % 4 == 0 else -term
        points = [(Decimal(1), Decimal(0))]
        for _ in range(_STEPS):
            x, y = points[-1]
            points.append((x * c - y * s, x * s + y * c))
        return tuple(np.array(part) for part in zip(*((*_two(x), *_two(y)) for x, y in points), strict=True))


# arcsin(s) = s (1 + s^2 / 6 + ...)
_ARCSINE = [Decimal(1)]
for _k in range(1, 9):
    _ARCSINE.append(_ARCSINE[-1] * (2 * _k - 1) ** 2 / (2 * _k * (2 * _k + 1)))


def atan2(y: Extended, x: Extended) -> Extended:
    """Return the angle of (x, y), x^2 + y^2 = 1 up to float64's rounding; small y to their relative accuracy.

    The vector is turned back by a tabulated angle next to it; what is left is an arcsine of at most 0.01.
    """
    near = np.rint(np.arctan2(y.high, x.high) * (_STEPS / np.pi)).astype(int)
    cosines, cosines_low, sines, sines_low = (part[np.abs(near)] for part in _table())
    sign = np.where(near < 0, -1.0, 1.0)
    c, s = Extended(cosines, cosines_low), Extended(sign * sines, sign * sines_low)
    turned = y * c - x * s
    length = x * x + y * y
    # length^(-1/2) around 1
    turned = turned - turned * ((length - 1.0) * 0.5)
    square = turned * turned
    tail = np.zeros(square.shape)
    for coefficient in _ARCSINE[:3:-1]:
        tail = tail * square.high + float(coefficient)
    series = Extended(tail)
    for coefficient in _ARCSINE[3::-1]:
        series = series * square + Extended(*_two(coefficient))
    return turned * series + PI * (near / _STEPS)
