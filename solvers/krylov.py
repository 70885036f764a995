"""The choice of the Krylov solver (provisional: to be replaced by the solver's own file)."""

from dataclasses import dataclass

__all__ = ["Krylov"]


@dataclass(frozen=True)
class Krylov:
    tolerance: float = 1e-6
    dimension: int = 4000
    preconditioner: int = 1000
