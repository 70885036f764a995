"""The report, from made-up verdicts: every file, the HDF5 round trip, figures redrawn from it."""

from importlib.metadata import version

import h5py
import numpy as np
import pytest
from matplotlib.image import imread
from reports import NOTE, PICTURES, TIMES, made_up, t3, t4, t5, t6, t7, verdict, write

from haarflow.theorems import report as room
from haarflow.theorems.report import FIGURES, legend, read_report, redraw, verdict_table, write_report
from haarflow.theorems.report.data import as_report


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("report") / "inner")


def drawn(name, workloads):
    """Draw one figure with a number of workloads, out of the made-up curves."""
    entry = FIGURES[name]
    rng = np.random.default_rng(1)
    make = {"T3": t3, "T4": lambda rng: t4(rng, 6), "T5": t5, "T6": t6, "T7": t7}[entry.theorem]
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
    assert f"    supports x C4: {NOTE}\n" in text
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
