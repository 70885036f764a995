"""Fixtures that every test has."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def _few_compiled_programs() -> Iterator[None]:
    # The peer's and the oracles' programs: all of them together take more memory maps than Linux grants (65530).
    yield
    jax.clear_caches()
