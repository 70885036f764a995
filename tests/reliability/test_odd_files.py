"""What is no file, or far too large, in the place of an entry or of the marker: never waited for, never read whole."""

import os
import socket

import pytest
from reliability.forged import tile
from reliability.trials import judge, some

pytestmark = pytest.mark.reliability

TERABYTE = 2**40
MEMORY = 2**30
PEAK = 2**27
# No trial waits for anything.
SECONDS = 20


def _listen(path, content):
    # A socket's name is short.
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(path.parent)
        listener.bind("s")
        os.rename("s", path.name)
        os.chdir(here)


def _stretch(path, content, size=TERABYTE):
    """The first line, and nothing but zeros after it."""
    path.write_bytes(content[: content.find(b"\n") + 1])
    os.truncate(path, size)


def _fill_folder(path, content):
    path.mkdir()
    (path / "other").write_bytes(content)


def _link(target):
    return lambda path, content: path.symlink_to(target)


ODD = {
    "folder": lambda path, content: path.mkdir(),
    "folder with files": _fill_folder,
    "pipe": lambda path, content: os.mkfifo(path),
    "socket": _listen,
    "link to zeros": _link("/dev/zero"),
    "link to a device": _link("/dev/full"),
    "link to another file": _link("/etc/passwd"),
    "link to nothing": _link("/nowhere"),
    "link to itself": lambda path, content: path.symlink_to(path),
    "link to a folder": _link("/"),
    "terabyte of zeros": lambda path, content: (path.write_bytes(b""), os.truncate(path, TERABYTE)),
    "terabyte after a first line": _stretch,
    "empty": lambda path, content: path.write_bytes(b""),
    "text": lambda path, content: path.write_text("notes"),
    "brackets": lambda path, content: path.write_bytes(b"[" * 200_000),
    "braces": lambda path, content: path.write_bytes(b'{"a":' * 200_000),
    "long number": lambda path, content: path.write_bytes(b'{"format": ' + b"9" * 100_000 + b"}"),
}


# What would be waited for, or fill the memory.
ENDLESS = ("pipe", "link to zeros", "link to itself", "terabyte after a first line")
# Verifying has to read all of it, in pieces.
ODD_TO_CHECK = {**ODD, "larger than memory": lambda path, content: _stretch(path, content, MEMORY * 5 // 4)}
del ODD_TO_CHECK["terabyte after a first line"]


def put_odd(name, path):
    content = path.read_bytes()
    path.unlink()
    ODD_TO_CHECK.get(name, ODD.get(name))(path, content)


def run(zygote, store, dense, kind):
    outcome = zygote.start(store, memory=MEMORY).wait(SECONDS)
    verdict = judge(kind, outcome, dense.result, store)
    assert outcome.peak < PEAK
    return verdict, outcome


@pytest.mark.parametrize("place", ["in the way", "beside"])
@pytest.mark.parametrize("name", some(ODD, *ENDLESS))
def test_in_the_place_of_a_tile(zygote, copy, dense, name, place):
    """Under the name that the run will write to, or another one of the same key."""
    path, _, _ = tile(copy)
    if place == "beside":
        path = path.rename(path.with_name(f"{path.stem[:-64]}{'0' * 64}.h5"))
    put_odd(name, path)
    verdict, outcome = run(zygote, copy, dense, "odd file as a tile")
    if verdict == "same":
        assert outcome.computed == ((0, 1),)
        # A link to nothing may count as removed in between.
        told = [path.name in text for text in outcome.warned]
        assert told == [True] or (told == [] and name == "link to nothing")
    else:  # a folder is not replaced
        assert (place, name.startswith("folder")) == ("in the way", True)
    assert os.path.exists("/etc/passwd")


@pytest.mark.parametrize("name", some(ODD, *ENDLESS))
def test_in_the_place_of_the_marker(zygote, copy, dense, name):
    put_odd(name, copy / "haarflow-store.json")
    verdict, _ = run(zygote, copy, dense, "odd file as the marker")
    assert verdict == "StoreError"


@pytest.mark.parametrize("name", some(ODD_TO_CHECK, "pipe", "larger than memory"))
def test_verifying(zygote, copy, dense, name):
    """`store check` finds it, and waits for nothing."""
    put_odd(name, tile(copy)[0])
    outcome = zygote.start(copy, memory=MEMORY, hooks={"check_before": {}}).wait(SECONDS)
    judge("odd file to verify", outcome, dense.result, copy)
    assert len(outcome.damages) == 1 or (outcome.damages == [] and name == "link to nothing")
    assert outcome.peak < PEAK


@pytest.mark.parametrize("content", ['{"format": 99}', '{"format": 2, "made_by": "haarflow 9.0"}'])
def test_a_newer_version(zygote, copy, dense, content):
    (copy / "haarflow-store.json").write_text(content, encoding="ascii")
    verdict, outcome = run(zygote, copy, dense, "newer version")
    assert verdict == "StoreError"
    assert "of a newer haarflow; this version reads" in outcome.error
