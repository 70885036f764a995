"""The house's rules: what is packaged, which way imports run, and no folder that shadows the package."""

import ast
import configparser
from pathlib import Path

import pytest
from slow_cases import SLOW_CASES

ROOT = Path(__file__).parents[1]
ROOMS = {
    "haarflow": "ensembles",
    "haarflow.bench": "benchmarks/workloads",
    "haarflow.groups": "groups",
    "haarflow.kernels": "kernels",
    "haarflow.solvers": "solvers",
}
MAY_IMPORT = {"groups": {"groups"}, "solvers": {"solvers"}, "kernels": {"groups", "kernels"}}
SOURCES = sorted(path for folder in ROOMS.values() for path in (ROOT / folder).rglob("*.py"))


def test_every_package_is_listed():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    listed = set(settings["options"]["packages"].split())
    found = set()
    for package, folder in ROOMS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            inner = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((package, *inner)))
    assert listed == found


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "haarflow")


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_one_way(room):
    for path in (ROOT / room).rglob("*.py"):
        ours = {
            name.split(".")[1] if "." in name else "" for name in imported(path) if name.split(".")[0] == "haarflow"
        }
        assert ours - {""} <= MAY_IMPORT[room], path


def test_moving_parts_of_jax_have_one_home():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if path.name not in ("backend.py", "tangents.py"):
            assert not any(word in text for word in ("enable_x64", "jax.config", "jax._src")), path


def test_nothing_shadows_the_package():
    assert not [p for p in ROOT.rglob("haarflow") if p.is_dir() and ".venv" not in p.parts and "build" not in p.parts]


def test_files_stay_short():
    assert not [p for p in SOURCES if len(p.read_text(encoding="utf-8").splitlines()) > 400]


@pytest.mark.parametrize("test", SLOW_CASES)
def test_slow_cases_are_of_tests_that_exist(test):
    path, name = test.split("::")
    tree = ast.parse((Path(__file__).parent / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
