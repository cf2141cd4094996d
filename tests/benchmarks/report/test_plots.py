"""Scales, ticks and places of the plots; Markdown, and the files of a result."""

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_page import CURVES, NASTY, PAGE

from benchmarks.report import bars, marks
from benchmarks.report.files import write_all
from benchmarks.report.markdown import headline, markdown
from benchmarks.report.numbers import flat, of_curves, of_strips
from benchmarks.report.page import Curve, Curves, Page, Strips


def test_an_element_escapes_what_it_holds() -> None:
    assert (
        marks.element("text", {"x": 1.25, "class": 'a"b'}, text="<&")
        == '<text x="1.2" class="a&quot;b">&lt;&amp;</text>'
    )
    assert marks.element("line", {"x1": 2.0}) == '<line x1="2"/>'
    assert marks.element("g", {}, marks.element("line", {})) == "<g><line/></g>"


def test_scales() -> None:
    assert [marks.linear(0, 10, 100, 200)(value) for value in (0, 5, 10)] == [100, 150, 200]
    assert marks.logarithmic(1, 100, 0, 10)(10) == pytest.approx(5)
    assert marks.linear(3, 3, 0, 10)(3) == 0


@given(st.floats(0, 1e4), st.floats(1e-3, 1e4), st.integers(2, 10))
def test_round_ticks_lie_inside_and_are_even(low: float, span: float, most: int) -> None:
    ticks = marks.round_ticks(low, low + span, most)
    assert len(ticks) <= most + 1
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) + 1e-9 for tick in ticks)
    steps = [b - a for a, b in pairwise(ticks)]
    assert all(math.isclose(step, steps[0], rel_tol=1e-6) for step in steps)


def test_log_ticks() -> None:
    assert marks.log_ticks(1, 100) == [1, 2, 5, 10, 20, 50, 100]
    assert marks.log_ticks(1, 10_000) == [1, 10, 100, 1000, 10_000]
    assert marks.log_ticks(3, 8) == [5]


@given(st.lists(st.floats(0, 300), min_size=1, max_size=8))
def test_names_stay_apart_in_their_order(wanted: list[float]) -> None:
    placed = marks.apart(wanted, 15, 0, 300)
    assert all(-1e-6 <= place <= 300 + 1e-6 for place in placed)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    assert all(placed[b] - placed[a] >= 15 - 1e-6 for a, b in pairwise(order))


def test_names_with_room_are_where_they_belong() -> None:
    assert marks.apart([10, 100, 50], 15, 0, 300) == [10, 100, 50]


@pytest.mark.parametrize(
    ("share", "kind"), [(None, "none"), (0, "l0"), (1, "l10"), (0.001, "l1"), (0.999, "l9"), (0.5, "l5")]
)
def test_never_and_always_have_colours_of_their_own(share: float | None, kind: str) -> None:
    assert bars.level(share) == kind


def test_the_numbers_of_a_plot() -> None:
    table = of_curves(CURVES)
    assert table.head == ("samples, k", "one, %", "two, %", "a fit, %")
    assert table.rows == (
        ("1", "10.0 (5.0 to 20.0)", "12.0", "10.0"),
        ("10", "30.0 (20.0 to 40.0)", "28.0", ""),
        ("100", "60.0 (50.0 to 70.0)", "59.0", "60.0"),
    )
    strips = Strips(title="", says="", rows=(("a", (0.0, 0.5, 1.0, None, 1.0)),), columns=())
    assert of_strips(strips).rows == (("a", "1", "1", "2"),)


@pytest.mark.parametrize("log_x", [True, False])
def test_a_curve_of_one_point_and_one_of_zeros_can_be_drawn(log_x: bool) -> None:
    from benchmarks.report.curves import draw

    def plot(*curves: Curve) -> Curves:
        return Curves(title="t", says="s", x_label="x", y_label="y", curves=curves, log_x=log_x)

    assert "<polyline" in draw(plot(Curve(name="a", x=(1,), y=(0.5,))), "p")
    assert "<polyline" in draw(plot(Curve(name="a", x=(0, 1), y=(0, 0)), Curve(name="b", x=(0, 1), y=(1, 1))), "p")


def test_many_curves_that_lie_close_have_their_bands_in_the_table_alone() -> None:
    from benchmarks.experiments.plots import pass_curves
    from benchmarks.report.curves import draw

    points = [{"k": k, "value": 0.6 + k / 20, "interval_95": [0.2, 1.0]} for k in (1, 2)]
    few = pass_curves("t", dict.fromkeys("abc", points))
    many = pass_curves("t", dict.fromkeys("abcd", points))
    assert (few.crowded, many.crowded) == (False, True)
    assert draw(few, "p").count("<polygon") == 3 and ">0 %<" in draw(few, "p") and few.note.startswith("Bands")
    picture = draw(many, "p")
    assert "<polygon" not in picture and picture.count("<polyline") == 4
    assert ">60 %<" in picture and ">70 %<" in picture and ">50 %<" not in picture and "above 0" in many.note
    assert of_curves(many).rows[0] == ("1", *["65.0 (20.0 to 100.0)"] * 4)
    level = pass_curves("t", {name: [{"k": 1, "value": 1.0, "interval_95": [1.0, 1.0]}] for name in "abcd"})
    assert ">100 %<" in draw(level, "p")


def test_a_protocol_as_lines() -> None:
    values = {
        "a": {"b": [1, 2]},
        "arms": [{"name": "x", "n": None}, {"n": 2}],
        "stop": ["\nif"],
        "none": [],
        "on": False,
    }
    assert list(flat(values)) == [
        ("a · b", "1, 2"),
        ("arms x · n", "none"),
        ("arms 2 · n", "2"),
        ("stop", "'\\nif'"),
        ("none", "none"),
        ("on", "no"),
    ]


def test_markdown_says_the_same() -> None:
    text = markdown(PAGE)
    for words in ("31.2 %", "10.0 (5.0 to 20.0)", "3 passed, 1 time limit", "Fingerprint: `fff", "thresher bench x"):
        assert words in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in table)


def test_markdown_of_what_has_bars_in_it() -> None:
    assert "a\\|b" in markdown(Page(title="t", lead="l", blocks=(), protocol={"key": "a|b"}))


def test_the_headline_of_a_result() -> None:
    assert headline(PAGE).splitlines()[1] == "pass@1  31.2 %  (95 % interval 27.0 to 35.5)"
    assert headline(Page(title="T", lead="L", blocks=(), warning="Incomplete: 1 of 2.")) == "T: Incomplete: 1 of 2."


def test_the_files_of_a_result(tmp_path: Path) -> None:
    write_all(tmp_path / "a" / "r.json", {"complete": True}, lambda result: PAGE)
    assert json.loads((tmp_path / "a" / "r.json").read_text()) == {"complete": True}
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["r.html", "r.json", "r.md"]
    assert NASTY not in (tmp_path / "a" / "r.html").read_text()


def test_a_long_mapping_is_counted() -> None:
    assert list(flat({"a": {str(number): number for number in range(1000)}})) == [
        ("a", "1,000 entries, in the result document")
    ]
    assert len(list(flat({"a": {str(number): number for number in range(24)}}))) == 24
