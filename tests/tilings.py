"""Small tiles, so that small data is spread over many of them."""

import importlib

orbit_tiles = importlib.import_module("haarflow.kernels.orbit_tiles")


def many_tiles(monkeypatch):
    for name, value in {"_LISTED_POINTS": 1, "_LISTED_NUMBERS": 64, "_SQUARE_NUMBERS": 1, "_SMALLEST_SIDE": 2}.items():
        monkeypatch.setattr(orbit_tiles, name, value)


def transformed(monkeypatch, numbers):
    """Take the group's fast transform at any order, where it has one, in tiles of so many numbers."""
    monkeypatch.setattr(orbit_tiles, "_TRANSFORMED_ORDER", 1)
    monkeypatch.setattr(orbit_tiles, "_TRANSFORMED_NUMBERS", numbers)
