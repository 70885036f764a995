"""Fixtures that every test has, and which cases are slow."""

from collections.abc import Iterator

import jax
import pytest
from slow_cases import SLOW_CASES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name, _, case = item.nodeid.removeprefix("tests/").removesuffix("]").partition("[")
        if any(words in case for words in SLOW_CASES.get(name, ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="module")
def _few_compiled_programs() -> Iterator[None]:
    # The peer's and the oracles' programs: all of them together take more memory maps than Linux grants (65530).
    yield
    jax.clear_caches()
