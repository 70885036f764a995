"""Tiles that are read again and again, as by a Krylov space, and are spoiled meanwhile."""

import random
import shutil
import time

import pytest
from reliability.hooks import flip
from reliability.program import CORNERS
from reliability.trials import damages, judge, seeds

pytestmark = pytest.mark.reliability

PRODUCTS = {"work": "products"}
# Two irreps of one dimension and one of two, with twelve products each; ten tiles in each product.
COUNT, READS = 36, 360


@pytest.fixture(scope="module")
def multiplied(zygote, tmp_path_factory):
    """A store with all tiles, and the bits of the products with them."""
    folder = tmp_path_factory.mktemp("multiplied") / "store"
    first, second = (zygote.run(folder, **PRODUCTS) for _ in range(2))
    assert (len(first.computed), len(second.computed)) == (len(CORNERS), 0)
    assert first.result == second.result is not None
    return folder, first.result


def check(outcome, expected, store, kind):
    assert judge(kind, outcome, expected, store) == "same"
    assert outcome.warned
    assert len(outcome.computed) <= 1


HOW = ["flip", "flip", "flip", "shorten", "remove", "zeros", "pipe", "link", "folder"]


@pytest.mark.parametrize("seed", seeds(90))
def test_spoiled_between_products(zygote, multiplied, store, seed):
    shutil.copytree(multiplied[0], store)
    how = HOW[seed % len(HOW)]
    product = random.Random(seed).randrange(2, COUNT + 1)
    hook = {"spoil_between_products": {"product": product, "how": how, "seed": seed}}
    outcome = zygote.run(store, hooks=hook, **PRODUCTS)
    if how == "folder" and outcome.result is None:  # in the way of the tile that is computed again
        assert judge("spoiled between products", outcome, "", store) == "StoreError"
        return
    check(outcome, multiplied[1], store, "spoiled between products")
    assert len(outcome.computed) == 1
    assert damages(store) == []


@pytest.mark.parametrize("seed", seeds(40))
def test_flipped_while_read(zygote, multiplied, store, seed):
    shutil.copytree(multiplied[0], store)
    read = random.Random(seed).randrange(2 * len(CORNERS), READS)
    outcome = zygote.run(store, hooks={"flip_while_read": {"read": read, "seed": seed}}, **PRODUCTS)
    check(outcome, multiplied[1], store, "flipped while read")


@pytest.mark.parametrize("seed", seeds(40))
def test_flipped_by_another_process(zygote, multiplied, store, seed):
    shutil.copytree(multiplied[0], store)
    draw = random.Random(seed)
    running = zygote.start(store, how={"count": 100}, **PRODUCTS)
    untouched = zygote_result(zygote, multiplied)
    for _ in range(3):
        time.sleep(draw.random() * 0.1)
        flip(draw.choice(sorted(store.glob("gram-*"))), draw)
    assert judge("flipped by another process", running.wait(), untouched, store) == "same"


def zygote_result(zygote, multiplied):
    """The bits of more products."""
    return zygote.run(multiplied[0], how={"count": 100}, **PRODUCTS).result
