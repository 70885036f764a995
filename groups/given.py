"""What is refused of all arrays that a user hands over, in every room: values that are masked or missing."""

from typing import Any

import numpy as np

__all__ = ["refuse_masked"]


def refuse_masked(values: Any, name: str) -> None:
    """Raise ValueError for masked entries, which NumPy would use with whatever value lies under the mask.

    Parameters
    ----------
    values : anything
        What was given; a list of masked arrays counts as one.
    name : str
        The argument's name.
    """
    parts = values if isinstance(values, (list, tuple)) else [values]
    masked = sum(int(np.ma.count_masked(part)) for part in parts if isinstance(part, np.ma.MaskedArray))
    if masked:
        raise ValueError(
            f"{name} must have no masked entries, found {masked}: give them values with {name}.filled(...), or leave "
            "their samples out"
        )
