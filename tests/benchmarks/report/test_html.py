"""The HTML page: one file, well formed, readable by everyone, and nothing of what is in it breaks out."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.report_page import NASTY, PAGE

from benchmarks.report import html as html_module
from benchmarks.report.html import html
from benchmarks.report.page import Page, ProblemRow, ProblemTable, Strips

STYLE = (Path(html_module.__file__).parent / "style.css").read_text()
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Reads a page, and fails where an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def said(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@pytest.fixture(scope="module")
def text() -> str:
    return html(PAGE)


@pytest.fixture(scope="module")
def page(text: str) -> Reader:
    return Reader(text)


def test_nothing_is_loaded_and_nothing_runs(text: str, page: Reader) -> None:
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import|@font-face|javascript:|\bon\w+=", text.replace("alert", ""))
    for _, attributes in page.tags:
        assert not {"src", "srcset", "xlink:href"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")


def test_what_is_shown_is_escaped(text: str, page: Reader) -> None:
    assert NASTY not in text and page.said("script") == []
    assert sum(NASTY in said for _, said in page.texts) >= 8
    assert page.said("h1") == [PAGE.title] and PAGE.lead in page.said("p")


def test_the_page_has_one_order_of_headings_and_its_parts_can_be_reached(page: Reader) -> None:
    assert len(page.all("h1")) == 1 and not page.all("h3")
    titles = ["Coverage", "Verdicts", "Problem by problem", "Words", "A table", "All problems", "Protocol", "Made by"]
    assert page.said("h2") == titles
    ids = [one["id"] for _, one in page.tags if one.get("id")]
    assert len(ids) == len(set(ids))
    targets = [(one["href"] or "")[1:] for one in page.all("a")]
    assert targets and set(targets) <= set(ids)
    assert page.all("html")[0]["lang"] == "en" and page.all("main") and page.all("nav")[0]["aria-label"]


def test_every_picture_says_what_it_shows(text: str) -> None:
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(pictures) == 3
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        title, desc = root[0], root[1]
        assert (title.tag, desc.tag) == ("title", "desc") and title.text and desc.text
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {desc.attrib['id']}"
        assert root.attrib["viewBox"].split()[:2] == ["0", "0"]
        assert not any("style" in element.attrib or "fill" in element.attrib for element in root.iter())


def test_every_plot_has_its_numbers_in_a_table(page: Reader) -> None:
    assert len(page.all("details")) == 3
    assert len(page.all("table")) == 3 + 1 + 1 + 2
    assert all(one.get("scope") in ("col", "row") for one in page.all("th"))
    cells = page.said("td")
    assert "10.0 (5.0 to 20.0)" in cells and "59.0" in cells


def test_curves_are_named_at_their_ends_and_differ_without_colour(text: str) -> None:
    root = ElementTree.fromstring(re.findall(r"<svg.*?</svg>", text, re.DOTALL)[0])
    names = [one for one in root.iter() if "name" in one.attrib.get("class", "").split()]
    assert [one.text for one in names] == ["one", "two", "a fit"]
    heights = sorted(float(one.attrib["y"]) for one in names)
    assert all(b - a >= 14.9 for a, b in pairwise(heights))
    lines = [one for one in root.iter() if "curve" in one.attrib.get("class", "").split()]
    kinds = [(one.attrib.get("stroke-dasharray"), "fit" in one.attrib["class"].split()) for one in lines]
    assert len(set(kinds)) == 3
    assert len([one for one in root.iter() if "band" in one.attrib.get("class", "")]) == 1


def test_problems_show_their_verdicts(page: Reader) -> None:
    assert "3 / 4" in page.said("td") and "0 / 4" in page.said("td")
    stacks = [one for one in page.all("td") if one.get("class") == "stack"]
    assert [one["title"] for one in stacks] == [
        "passed 3, time limit 1",
        "wrong answer 4",
        "odd verdict 4",
        "not in this arm",
    ]
    widths = [one["style"] for one in page.all("i") if "style" in one]
    assert widths == ["width:75%", "width:25%", "width:100%", "width:100%"]
    classes = {one["class"] for one in page.all("i")}
    assert {"v-passed", "v-limit", "v-wrong", "v-other"} <= classes


def test_the_protocol_is_there_to_its_leaves(page: Reader) -> None:
    rows = dict(zip(page.said("th"), page.said("th"), strict=True))
    assert {"ks", "arms one · sampling · stop", "deep · flag", "command"} <= rows.keys()
    assert "1, 10" in page.said("td") and "yes" in page.said("td")
    assert any("f" * 64 in said for said in page.said("p"))


def test_an_incomplete_page_warns_first_and_shows_no_scores() -> None:
    found = Reader(html(Page(title="T", lead="L", blocks=(), warning="Incomplete: 3 of 9 problems are done.")))
    assert [one["role"] for one in found.all("p") if one.get("class") == "warning"] == ["alert"]
    assert not found.all("svg") and not found.all("dl") and not found.all("nav")


def test_a_large_page_stays_small() -> None:
    many = tuple(
        ProblemRow(id=f"p/{n}", verdicts=({"passed": n % 80, "wrong_answer": 80 - n % 80},)) for n in range(974)
    )
    shares = tuple((n % 81) / 80 for n in range(974))
    strips = Strips(title="S", says="s", rows=tuple((f"T = {n}", shares) for n in range(10)), columns=("",) * 974)
    large = Page(title="T", lead="L", blocks=(strips, ProblemTable(title="P", arms=("a",), rows=many)))
    assert len(html(large)) < 900_000


def variables(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", block))


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """By WCAG 2."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


SCHEMES = {
    "light": variables(STYLE.split("@media (prefers-color-scheme: dark)")[0]),
    "dark": variables(STYLE.split("@media (prefers-color-scheme: dark)")[1].split("* { box-sizing")[0]),
    "print": variables(STYLE.split("@media print")[1]),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_colours_have_contrast(scheme: str) -> None:
    colours = SCHEMES[scheme]
    paper = colours["paper"]
    texts = ["ink", "muted", *(f"s{n}" for n in range(6))]
    assert all(contrast(colours[name], paper) >= 4.5 for name in texts), {n: contrast(colours[n], paper) for n in texts}
    assert contrast(colours["warn"], colours["warn-paper"]) >= 4.5
    shapes = ["good", "v-wrong", "v-error", "v-limit", "v-other", "l10"]
    assert all(contrast(colours[name], paper) >= 3 for name in shapes), {n: contrast(colours[n], paper) for n in shapes}


def test_all_schemes_set_the_same_colours() -> None:
    assert SCHEMES["light"].keys() == SCHEMES["dark"].keys() == SCHEMES["print"].keys()


def test_the_style_sheet_knows_every_class_and_no_other(text: str) -> None:
    used = {name for found in re.findall(r'class="([^"]+)"', text) for name in found.split()}
    known = set(re.findall(r"\.([a-z][\w-]*)", re.sub(r"[\d.]+(rem|em|px|s)\b", "", STYLE)))
    assert used <= known | {"l"}, used - known  # what is not to the right is to the left
