"""The house style, and figures that are the same bytes each time."""

import itertools

import matplotlib
import pytest

from finetunelab import plots
from finetunelab.errors import UserError
from finetunelab.stats import Interval

matplotlib.use("Agg")
CURVES = {
    name: [Interval(x, x - 0.1, x + 0.1) for x in points] for name, points in {"full": (0.5, 0.7, 0.9), "frozen": (0.5, 0.6, 0.89)}.items()
}


def luminance(color):
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(color)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))


def as_seen(color, kind):
    """A color as seen without red or green cones (Viénot, Brettel and Mollon 1999), in linear light."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(color))
    mixed = 0.11238 * r + 0.88762 * g if kind == "protan" else 0.29275 * r + 0.70725 * g
    blue = 0.00401 * r - 0.00401 * g + b if kind == "protan" else -0.02234 * r + 0.02234 * g + b
    return mixed, blue


@pytest.mark.parametrize("kind", ["protan", "deutan"])
def test_first_colors_differ_for_color_blind_readers(kind):
    seen = [as_seen(color, kind) for color in plots.COLORS[:3]]
    assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) > 0.12 for a, b in itertools.combinations(seen, 2))


def test_text_stands_out_from_white():
    for color in (plots.INK, plots.FAINT):
        assert 1.05 / (luminance(color) + 0.05) >= 4.5


def test_style_has_no_frame_and_large_text():
    fig, ax = plots.figure("Title", "x", "y")
    assert not ax.spines["top"].get_visible() and not ax.spines["right"].get_visible()
    assert min(ax.xaxis.label.get_size(), ax.get_xticklabels()[0].get_size()) >= 11
    matplotlib.pyplot.close(fig)


def test_curves_are_named_where_they_end_without_overlap():
    fig = plots.curve_with_band([8, 32, 128], CURVES, log_x=True, x_label="labels")
    ax = fig.axes[0]
    labels = {text.get_text(): text for text in ax.texts}
    assert set(labels) == set(CURVES) and ax.get_legend() is None
    fig.canvas.draw()
    boxes = [text.get_window_extent() for text in labels.values()]
    assert not boxes[0].overlaps(boxes[1])
    assert labels["full"].get_color() == ax.lines[0].get_color()
    assert ax.lines[0].get_marker() != ax.lines[1].get_marker()
    matplotlib.pyplot.close(fig)
    with pytest.raises(ValueError, match="one interval"):
        plots.curve_with_band([1, 2], CURVES)


def test_interval_plot_has_a_row_for_each_name():
    fig = plots.interval_plot({"A1.gap": Interval(0.2, 0.1, 0.3), "A2": Interval(0.1, -0.1, 0.3)}, reference=0, reference_label="no effect")
    ax = fig.axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["A1.gap", "A2"]
    assert ax.lines[0].get_xdata()[0] == 0.1 and ax.texts[0].get_text() == "no effect"
    matplotlib.pyplot.close(fig)
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.interval_plot({})


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_saved_twice_is_the_same_and_described(tmp_path, kind):
    paths = [plots.save(plots.curve_with_band([1, 2, 3], CURVES), tmp_path / f"{i}.{kind}", "Two rising curves") for i in (1, 2)]
    assert paths[0].read_bytes() == paths[1].read_bytes() and b"Two rising curves" in paths[0].read_bytes()
    assert matplotlib.pyplot.get_fignums() == []


def test_saving_asks_for_a_format_and_a_description(tmp_path):
    fig, _ = plots.figure()
    with pytest.raises(UserError, match="PNG or SVG"):
        plots.save(fig, tmp_path / "x.jpg", "alt")
    with pytest.raises(UserError, match="description"):
        plots.save(fig, tmp_path / "x.png", " ")
    matplotlib.pyplot.close(fig)


def test_a_slider_holds_every_figure_once_with_its_name_and_description():
    from html.parser import HTMLParser

    frames = {name: plots.figure(name)[0] for name in ("none", 'half "of" it <b>', "all")}
    slider = plots.Slider(frames, "severity", ["no shift", "half a shift", "the whole shift"])
    assert matplotlib.pyplot.get_fignums() == [] and "severity" in repr(slider)
    tags = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))

    Tags().feed(slider._repr_html_())
    images = [attrs for tag, attrs in tags if tag == "img"]
    assert [image["data-name"] for image in images] == list(frames) and [image["alt"] for image in images] == slider.alts
    assert len({image["src"] for image in images}) == 3 and ["hidden" in image for image in images] == [False, True, True]
    assert next(attrs for tag, attrs in tags if tag == "input")["max"] == "2" and "script" not in {tag for tag, _ in tags}


def test_a_slider_wants_a_description_for_each_figure():
    with pytest.raises(ValueError, match="0 figures"):
        plots.Slider({}, "x", [])
