"""What every layer of an architecture is."""

from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = ["Layer"]

_KINDS = ("linear", "nonlinear", "pool", "collapse", "residual", "norm")


@dataclass(frozen=True)
class Layer:
    """One layer; `kind` says which rules of composition hold for it, and every class says its own.

    "linear" makes what follows Gaussian, "nonlinear" needs that and ends it; "pool" and "collapse" change the spatial
    axes, "residual" adds a branch, "norm" rescales samples: these leave Gaussian what is.
    """

    kind: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        kind = getattr(cls, "kind", None)
        if kind not in _KINDS:
            found = "none" if kind is None else repr(kind)
            raise TypeError(
                f"{cls.__name__}: a Layer must say its kind, one of {', '.join(_KINDS)}, as in "
                f'kind: ClassVar[str] = "nonlinear", found {found}'
            )

    def spatial_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the spatial axes' sizes behind this layer, given those in front of it."""
        return shape
