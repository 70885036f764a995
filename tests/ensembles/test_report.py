"""The report, from made-up verdicts: every file, the HDF5 round trip, figures redrawn from it, the page as HTML."""

import base64
import doctest
import importlib
import pkgutil
import sys
from html.parser import HTMLParser
from importlib.metadata import version
from types import SimpleNamespace

import h5py
import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from haarflow.theorems import Measurement, Theorem, Verdict
from haarflow.theorems import report as room
from haarflow.theorems.report import FIGURES, figures, legend, read_report, redraw, verdict_table, write_report
from haarflow.theorems.report.data import as_report
from haarflow.theorems.report.style import new_figure

TIMES = np.append(np.geomspace(0.4, 2e6, 25), np.inf)
PICTURES = ["verdicts", "orbit_error", "members", "same_prediction", "concentration", "subgroups"]


def t3(rng):
    spans = {"times": TIMES, "early": np.array([4.0]), "late": np.array([2e5])}
    plain = 0.3 + 0.5 * np.log10(np.append(TIMES[:-1], 2e6) + 1) / 6.3
    return {**spans, "augmented": 1e-15 * (1 + rng.random(26)), "plain": plain}


def t4(rng, order=None):
    sizes = np.array([10, 100, 1000])
    members = 1.4 - 0.9 / (1 + 1e3 / np.append(TIMES[:-1], 1e9))
    curves = {**t3(rng), "sizes": sizes, "members": members}
    curves["means"] = members * sizes[:, None] ** -0.5 * np.exp(0.1 * rng.normal(size=(3, 26)))
    curves["ensemble"] = 1e-14 * (1 + rng.random(26))
    curves["law"] = 4e-15 * (1 + rng.random(26))
    if order:
        learnt = 1 / (1 + 1e3 / np.append(TIMES[:-1], 1e9))
        curves["osp_members"] = 1 + (order - 1) * (0.2 + 0.5 * learnt)
        curves["osp_means"] = 1 + (order - 1) * (1 - 0.5 / (1 + learnt * sizes[:, None] ** 0.5))
        curves["osp_ensemble"] = np.full(26, float(order))
        curves["osp_plain"] = 1 + (order - 1) * 0.4 * learnt
        curves["order"] = np.array([order])
    return curves


def t5(rng):
    ratios, sizes, times = np.linspace(0.5, 3, 6), np.array([5, 20, 80]), np.array([1.0, 1e3, np.inf])
    bound = np.sqrt(2 / np.pi) / ratios * np.exp(-(ratios**2) / 2)
    frequency = np.minimum(bound, 1) * (0.7 + 0.2 * rng.random((3, 3, 6)))
    frequency[0, 0, -1] = 0
    expected = np.array([0.8, 0.3, 0.1])[:, None] / sizes**0.5
    return {
        "ratios": ratios,
        "sizes": sizes,
        "times": times,
        "frequency": frequency,
        "bound": bound,
        "halved": np.broadcast_to(np.sqrt(1 / (2 * np.pi)) / ratios * np.exp(-2 * ratios**2), (3, 3, 6)).copy(),
        "trials": np.array([2000]),
        "rms": expected * np.exp(0.03 * rng.normal(size=(3, 3))),
        "expected": expected,
    }


def t6(rng):
    k, times = np.array([2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]), np.array([1.0, 1e3, np.inf])
    bound = np.array([0.1, 0.8, 2.0])[:, None] * 2 * np.sin(np.pi / (2 * k))
    ratio = 0.2 + 0.4 * rng.random((3, 11))
    return {
        "subgroups": k,
        "times": times,
        "deviation": 0.8 * ratio * bound,
        "bound": bound,
        "control": 0.3 * k * (1 + 0.1 * np.arange(3))[:, None],
        "ratio": ratio,
    }


def verdict(theorem, workload, curves, residual=2e-15, control=0.7, bound=1e-11, floor=1e-3):
    entry = Theorem(theorem, f"what {theorem} says", f"source of {theorem}", bound, floor, lambda workload: None)
    task = SimpleNamespace(name=workload, title=f"what {workload} is")
    return Verdict(entry, task, Measurement(residual, control, f"what {theorem} breaks", curves))


def made_up(seed=0):
    rng = np.random.default_rng(seed)
    names = ("digits x C4", "digits x D4", "Ising x C4", "vectors x O")
    verdicts = [verdict(theorem, name, {}) for theorem in ("NT", "T1", "T2") for name in names]
    verdicts += [verdict("T3", names[2], t3(rng))]
    verdicts += [verdict("T4", name, t4(rng, order)) for name, order in zip(names[1:3], (8, None), strict=True)]
    verdicts += [verdict("T5", names[0], t5(rng), residual=0.8, control=1.7, bound=1, floor=1)]
    verdicts += [verdict("T6", "plane x SO(2)", t6(rng), residual=0.6, control=17.0, bound=1, floor=1)]
    return verdicts


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    verdicts = made_up()
    folder = tmp_path_factory.mktemp("report") / "inner"
    before = dict(matplotlib.rcParams)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.pyplot", None)  # whoever imports it now fails
        paths = write_report(verdicts, folder)
    assert dict(matplotlib.rcParams) == before
    return verdicts, paths, folder


def one_each():
    """Return one verdict per theorem."""
    return list({given.theorem.name: given for given in reversed(made_up())}.values())


def drawn(name, workloads):
    """Draw one figure with a number of workloads, out of the made-up curves."""
    entry = FIGURES[name]
    rng = np.random.default_rng(1)
    make = {"T3": t3, "T4": lambda rng: t4(rng, 6), "T5": t5, "T6": t6}[entry.theorem]
    panels = [room.Panel(f"workload {number}", make(rng), 1e-11) for number in range(workloads)]
    return panels, entry.draw(panels)


def lines(ax):
    """Return the values of lines and of dots at infinity by label; a dot follows its line."""
    found, last = {}, None
    for line in ax.get_lines():
        if line.get_label().startswith("_"):
            found.setdefault(last, []).append(line.get_ydata())
        else:
            last = line.get_label()
            found.setdefault(last, []).append(line.get_ydata())
    return {label: np.concatenate([np.atleast_1d(part) for part in parts]) for label, parts in found.items()}


def test_every_file_is_written(written):
    _, paths, folder = written
    assert [path.name for path in paths] == [
        "verdicts.txt",
        "verdicts.h5",
        *(f"{name}.png" for name in PICTURES),
        "report.html",
    ]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in paths)
    for name in PICTURES:
        picture = imread(folder / f"{name}.png")
        assert 200 < picture.shape[0] < 3000
        assert picture[..., :3].std() > 0.05


def test_text(written):
    verdicts, paths, _ = written
    text = paths[0].read_text(encoding="utf-8")
    assert legend(verdicts) in text
    assert text.count("holds") == len(verdicts) == verdict_table(verdicts).row_count
    strange = verdict("T3", "[bold]sizes[/bold]", {}, control=0)
    write_report([strange], paths[0].parent / "strange")
    text = (paths[0].parent / "strange" / "verdicts.txt").read_text()
    assert text.count("[bold]sizes[/bold]") == 3  # in the table, and twice in the legend
    assert "FAILS" in text


def test_hdf5_holds_everything_and_reads_back(written):
    verdicts, paths, _ = written
    report = read_report(paths[1])
    assert report.version == version("haarflow")
    assert len(report.rows) == len(verdicts)
    for row, given in zip(report.rows, verdicts, strict=True):
        entry, found = given.theorem, given.measurement
        assert (row.theorem, row.statement, row.source) == (entry.name, entry.statement, entry.source)
        assert (row.workload, row.title) == (given.workload.name, given.workload.title)
        assert (row.residual, row.bound, row.control, row.floor) == (
            found.residual,
            entry.bound,
            found.control,
            entry.floor,
        )
        assert (row.broken, row.holds) == (found.broken, given.holds)
        assert set(row.curves) == set(found.curves)
        for name, values in found.curves.items():
            np.testing.assert_array_equal(row.curves[name], values)
            assert row.curves[name].dtype == values.dtype
    with h5py.File(paths[1]) as file:
        np.testing.assert_array_equal(file["T4/Ising x C4/means"], verdicts[14].measurement.curves["means"])
        assert file["T4/Ising x C4"].attrs["residual"] == 2e-15


def test_rows_of_one_name_are_kept_apart(tmp_path):
    rng = np.random.default_rng(2)
    verdicts = [verdict("T3", "a/b", t3(rng), residual=r) for r in (1e-15, 2e-15, 3e-15)] + [verdict("T3", "a", {})]
    report = read_report(write_report(verdicts, tmp_path)[1])
    assert [row.residual for row in report.rows] == [1e-15, 2e-15, 3e-15, 2e-15]
    assert [row.workload for row in report.rows] == ["a/b", "a/b", "a/b", "a"]
    for row, given in zip(report.rows, verdicts, strict=True):
        assert set(row.curves) == set(given.measurement.curves)
        np.testing.assert_array_equal(row.curves.get("augmented", 0), given.measurement.curves.get("augmented", 0))


def test_what_is_no_report_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_report(tmp_path / "verdicts.h5")
    (tmp_path / "text").write_text("no HDF5")
    with pytest.raises(ValueError, match=r"text is not a report's verdicts.h5: HDF5 cannot open it"):
        read_report(tmp_path / "text")
    with h5py.File(tmp_path / "other", "w") as file:
        file["a"] = 1
    with pytest.raises(ValueError, match='found no attributes "haarflow" and "date"'):
        read_report(tmp_path / "other")
    for call in (lambda: write_report([], tmp_path / "text"), lambda: redraw(tmp_path / "other", tmp_path / "text")):
        with pytest.raises((NotADirectoryError, ValueError)):
            call()
    with pytest.raises(NotADirectoryError, match="needs a folder, found the file"):
        write_report([], tmp_path / "text")


def test_redrawn_figures_are_the_same(written, tmp_path):
    _, paths, folder = written
    again = redraw(paths[1], tmp_path / "again")
    assert [path.name for path in again] == [path.name for path in paths[2:]]
    for path in again[:-1]:
        np.testing.assert_array_equal(imread(path), imread(folder / path.name))
    assert again[-1].read_bytes() == paths[-1].read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_figures_change_with_every_curve(written, name):
    _, paths, _ = written
    entry = FIGURES[name]
    report = read_report(paths[1])
    row = next(row for row in report.rows if row.theorem == entry.theorem and set(entry.needs) <= set(row.curves))
    whole = room.Panel(row.workload, dict(row.curves), row.bound)
    pictures = {None: contents(entry.draw([whole]))}
    for curve in entry.needs:
        spoilt = row.curves[curve] * 3 if curve != "order" else row.curves[curve] + 1
        pictures[curve] = contents(entry.draw([whole._replace(curves={**row.curves, curve: spoilt})]))
    for curve in entry.needs:
        assert pictures[curve] != pictures[None], curve


def contents(figure):
    """Return all that an axis shows: coordinates of lines, areas and spans, ticks and words."""
    shown = []
    for ax in figure.axes:
        shown += [line.get_xydata().tolist() for line in ax.get_lines()]
        shown += [path.vertices.tolist() for area in ax.collections for path in area.get_paths()]
        shown += [patch.get_path().transformed(patch.get_patch_transform()).vertices.tolist() for patch in ax.patches]
        shown += [ax.get_title(), ax.get_ylim(), ax.get_legend_handles_labels()[1]]
        if ax.get_legend():
            shown += [text.get_text() for text in ax.get_legend().get_texts()]
    return repr(shown)


def test_members_show_the_curves(written):
    (panel,), figure = drawn("members", 1)
    upper, lower = figure.axes
    curves = panel.curves
    shown = {**lines(upper), **lines(lower)}
    for label, name in (
        ("single members", "members"),
        ("infinite ensemble, no augmentation", "plain"),
        ("infinite ensemble", "ensemble"),
        ("covariance of its members", "law"),
    ):
        np.testing.assert_array_equal(shown[label], curves[name])
    for size, mean in zip(curves["sizes"], curves["means"], strict=True):
        np.testing.assert_array_equal(shown[f"mean of M = {size} members"], mean)
    # The dots of t = inf stand right of every finite time, under their own tick.
    dots = [line for line in upper.get_lines() if line.get_marker() == "o"]
    assert {float(dot.get_xdata()[0]) for dot in dots} == {upper.get_xticks()[-1]}
    assert upper.get_xticks()[-1] > TIMES[-2]
    assert lower.get_xticklabels()[-1].get_text() == "∞"


def test_same_prediction_reaches_from_1_to_the_order():
    (panel,), figure = drawn("same_prediction", 1)
    (ax,) = figure.axes
    low, high = ax.get_ylim()
    assert low < 1
    assert high > 6
    assert list(ax.get_yticks()) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(lines(ax)["single members"], panel.curves["osp_members"])


LAYOUTS = [
    ("orbit_error", 4),
    ("members", 1),
    ("members", 3),
    ("same_prediction", 2),
    ("concentration", 2),
    ("subgroups", 2),
]


@pytest.mark.parametrize(("name", "workloads"), LAYOUTS)
def test_nothing_is_cut_off_and_nothing_overlaps(name, workloads):
    _, figure = drawn(name, workloads)
    check_layout(figure)


def test_layout_of_the_overview():
    from haarflow.theorems.report.overview import draw_overview

    check_layout(draw_overview(as_report(made_up()).rows))
    check_layout(draw_overview(as_report(made_up()[:1]).rows))


def check_layout(figure):
    figure.draw_without_rendering()
    page = figure.bbox.padded(1)
    axes = [ax for ax in figure.axes if ax.get_visible()]
    (key,) = figure.legends
    boxes = {"legend": key.get_window_extent()}
    if figure.get_suptitle():
        boxes["title"] = figure._suptitle.get_window_extent()
    for number, ax in enumerate(axes):
        assert ax.has_data()
        if ax.get_legend():
            own = ax.get_legend().get_window_extent()
            assert not [
                line for line in ax.get_lines() if own.count_contains(line.get_transform().transform(line.get_xydata()))
            ]
        boxes[f"panel {number}"] = ax.get_tightbbox()
        for axis in (ax.xaxis, ax.yaxis):
            labels = [text for text in axis.get_ticklabels(which="both") if text.get_visible() and text.get_text()]
            places = [text.get_window_extent() for text in labels]
            assert not overlapping(dict(zip(map(str, labels), places, strict=True)))
    for name, box in boxes.items():
        assert page.containsx(box.x0), name
        assert page.containsx(box.x1), name
        assert page.containsy(box.y0), name
        assert page.containsy(box.y1), name
    assert not overlapping(boxes)


def overlapping(boxes):
    names = list(boxes)
    return [
        (a, b)
        for place, a in enumerate(names)
        for b in names[place + 1 :]
        if min(boxes[a].x1, boxes[b].x1) - max(boxes[a].x0, boxes[b].x0) > 1
        and min(boxes[a].y1, boxes[b].y1) - max(boxes[a].y0, boxes[b].y0) > 1
    ]


@pytest.mark.parametrize("spoil", [np.negative, lambda curve: np.full(np.shape(curve), np.nan)])
@pytest.mark.parametrize("name", FIGURES)
def test_hopeless_numbers_are_drawn_too(name, spoil):
    keep = ("times", "early", "late", "sizes", "ratios", "trials", "subgroups", "order")
    (panel,), _ = drawn(name, 1)
    curves = {key: curve if key in keep else spoil(curve) for key, curve in panel.curves.items()}
    FIGURES[name].draw([panel._replace(curves=curves)]).draw_without_rendering()


def test_hopeless_residuals_are_drawn_too(tmp_path):
    nan, infinite = float("nan"), float("inf")
    verdicts = [verdict("T1", "a", {}, *values) for values in ((nan, nan), (infinite, infinite), (-1.0, -infinite))]
    paths = write_report([*verdicts, verdict("T1", "b", {}, bound=-1.0, floor=0.0)], tmp_path)
    assert paths[2].name == "verdicts.png"
    assert [row.residual for row in read_report(paths[1]).rows][1:] == [infinite, -1.0, 2e-15]


def test_only_infinite_time(tmp_path):
    rng = np.random.default_rng(3)
    curves = {name: curve[..., -1:] for name, curve in t4(rng, 4).items() if name not in ("sizes", "means")}
    curves |= {"sizes": np.array([7]), "means": np.array([[0.1]]), "osp_means": np.array([[3.0]])}
    assert "members.png" in [path.name for path in write_report([verdict("T4", "a", curves)], tmp_path)]


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
        assert given.workload.title in text
    assert len([cell for cell in page.of("td") if cell["data-label"] == "residual"]) == len(verdicts)
    cells = "".join(page.text[page.text.index("T6") :])
    assert "plane x SO(2)0.61171holds" in cells.replace("\n", "")


def test_page_escapes(tmp_path):
    bad = '<b>&"a" <script>alert(1)</script>'
    rng = np.random.default_rng(4)
    entry = Theorem(bad, bad, bad, 1e-11, 1e-3, lambda workload: None)
    task = SimpleNamespace(name=bad.replace("/", ""), title=bad)
    paths = write_report([Verdict(entry, task, Measurement(1.0, 1.0, bad, t3(rng)))], tmp_path)
    source = paths[-1].read_text(encoding="utf-8")
    page = Page(source)
    assert not page.of("script")
    assert not page.of("b")
    assert "".join(page.text).count(bad) == 5  # name, statement, source, control, title
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
