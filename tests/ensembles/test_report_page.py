"""The report's page, what is missing without matplotlib, and how a theorem brings a figure of its own."""

import base64
import doctest
import importlib
import pkgutil
import sys
from html.parser import HTMLParser
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
from reports import PICTURES, one_each, t3, verdict, write

from haarflow.theorems import Measurement, Theorem, Verdict
from haarflow.theorems import report as room
from haarflow.theorems.report import FIGURES, figures, read_report, redraw, write_report
from haarflow.theorems.report.style import new_figure


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("report") / "inner")


class Page(HTMLParser):
    """Checks nesting, collects text, images and attributes."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.tags = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def of(self, tag):
        return [attributes for found, attributes in self.tags if found == tag]


def test_page_stands_alone(written):
    verdicts, paths, folder = written
    source = paths[-1].read_text(encoding="utf-8")
    page = Page(source)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not any(word in source for word in ("http:", "https:", "url(", "@import"))
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.of("meta")
    images = page.of("img")
    assert [attributes["id"] for attributes in page.of("figure")] == PICTURES
    for name, image in zip(PICTURES, images, strict=True):
        kind, data = image["src"].split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) == (folder / f"{name}.png").read_bytes()
        assert len(image["alt"]) > 40
    text = "\n".join(page.text)
    assert f"haarflow {version('haarflow')}, 20" in text
    assert f"{len(verdicts)} of {len(verdicts)} verdicts hold." in text
    for given in verdicts:
        for words in (given.theorem.name, given.theorem.statement, given.theorem.source, given.measurement.broken):
            assert words in text
        assert given.measurement.note in text
        assert given.workload.title in text
    assert len([cell for cell in page.of("td") if cell["data-label"] == "residual"]) == len(verdicts)
    cells = "".join(page.text[page.text.index("T6") :])
    assert "plane x SO(2)0.61171holds" in cells.replace("\n", "")


def test_page_escapes(tmp_path):
    bad = '<b>&"a" <script>alert(1)</script>'
    rng = np.random.default_rng(4)
    entry = Theorem(bad, bad, bad, 1e-11, 1e-3, lambda workload: None)
    task = SimpleNamespace(name=bad.replace("/", ""), title=bad)
    paths = write_report([Verdict(entry, task, Measurement(1.0, 1.0, bad, t3(rng), bad))], tmp_path)
    source = paths[-1].read_text(encoding="utf-8")
    page = Page(source)
    assert not page.of("script")
    assert not page.of("b")
    assert "".join(page.text).count(bad) == 6  # name, statement, source, control, note, title
    assert "FAILS" in page.text
    assert read_report(paths[1]).rows[0].theorem == bad


def test_without_matplotlib(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    paths = write_report(one_each()[:2], tmp_path)
    assert [path.name for path in paths] == ["verdicts.txt", "verdicts.h5", "report.html"]
    page = Page(paths[-1].read_text(encoding="utf-8"))
    assert not page.of("img")
    assert 'pip install "haarflow[plots]"' in page.text
    with pytest.raises(ImportError, match=r'pip install "haarflow\[plots\]"'):
        redraw(paths[1], tmp_path)
    monkeypatch.undo()
    assert [path.name for path in redraw(paths[1], tmp_path)][-1] == "report.html"


def test_no_verdicts(tmp_path):
    assert [path.name for path in write_report([], tmp_path)] == ["verdicts.txt", "verdicts.h5", "report.html"]
    assert read_report(tmp_path / "verdicts.h5").rows == ()


def test_a_theorem_brings_its_figure_with_one_entry(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", dict(FIGURES))
    seen = []

    @room.figure("mine", "T9", ("height",), "Heights < depths.")
    def draw_mine(panels):
        seen.extend(panels)
        figure = new_figure(3, 2)
        figure.subplots().plot(panels[0].curves["height"])
        return figure

    verdicts = [verdict("T9", name, curves) for name, curves in (("a", {"height": np.arange(3.0)}), ("b", {}))]
    paths = write_report(verdicts, tmp_path)
    assert [path.name for path in paths[2:]] == ["verdicts.png", "mine.png", "report.html"]
    assert [(panel.workload, panel.bound) for panel in seen] == [("a", 1e-11)]
    assert "Heights &lt; depths." in paths[-1].read_text()


@pytest.mark.parametrize("name", [found.name for found in pkgutil.iter_modules(room.__path__)])
def test_examples(name):
    module = importlib.import_module(f"haarflow.theorems.report.{name}")
    assert doctest.testmod(module).failed == 0
