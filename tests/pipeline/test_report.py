"""The report is one file that needs nothing else, for everybody, and that nothing in the data can break into."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from trimtab.pipeline import report as report_module
from trimtab.pipeline.evaluation import HeldOut
from trimtab.pipeline.report import Explained, Term, render
from trimtab.pipeline.svg import cloud

CSS = (Path(report_module.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
HOSTILE = "<script>alert('x')</script>\"'&<img src=x onerror=alert(1)>"
VOID = {"meta", "br", "img", "circle", "path"}


class _Page(HTMLParser):
    """Every element with its attributes; checks that what is opened is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def count(self, tag):
        return sum(found == tag for found, _ in self.elements)


def _render(pair, **more):
    train, found = pair
    return render(train, found.evaluation, found.held_out, explained=found.explained, **more)


@pytest.fixture(scope="module")
def regression(shared_scene):
    return shared_scene.evaluated("regression", "linear", "kernel_ridge",
                                  data=shared_scene.data(names=("年龄", HOSTILE, "spread")))


@pytest.fixture(scope="module")
def binary(shared_scene):
    return shared_scene.evaluated("binary", "logistic", data=shared_scene.data("binary", classes=("良性", HOSTILE)))


@pytest.fixture(scope="module")
def multiclass(shared_scene):
    return shared_scene.evaluated("multiclass", "logistic")


@pytest.fixture(params=["regression", "binary", "multiclass"])
def page(request):
    return _render(request.getfixturevalue(request.param), made_at="2026-11-24 08:40 UTC")


def test_it_is_one_file_without_scripts_or_anything_fetched(page):
    parsed = _Page(page)
    tags = {tag for tag, _ in parsed.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "img", "form", "base", "audio", "video"}
    for _, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src", "href")]
    assert not re.search(r"url\(|@import|https?:", page)


def test_its_security_policy_allows_its_own_style_and_nothing_else(page):
    policy = next(a["content"] for t, a in _Page(page).elements if a.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_names_from_the_data_are_text_and_never_markup(regression, binary):
    for pair in (regression, binary):
        page = _render(pair)
        assert "<script" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page


def test_chinese_names_stay_right(regression, binary):
    assert "年龄" in "".join(_Page(_render(regression)).text)
    assert "良性" in "".join(_Page(_render(binary)).text)
    assert '<meta charset="utf-8">' in _render(regression)


def test_every_picture_says_what_it_is_and_has_its_figures_as_a_table(page):
    parsed = _Page(page)
    pictures = [attributes for tag, attributes in parsed.elements if tag == "svg"]
    assert len(pictures) >= 5
    assert all(picture["role"] == "img" and len(picture["aria-label"]) > 20 for picture in pictures)
    assert parsed.count("figure") == parsed.count("figcaption") == len(pictures)
    assert page.count("<summary>Show as table</summary>") == len(pictures)


def test_tables_are_real_tables(page):
    parsed = _Page(page)
    heads = [attributes for tag, attributes in parsed.elements if tag == "th"]
    assert all(head.get("scope") in ("col", "row") for head in heads)
    assert parsed.count("h1") == 1
    assert dict(parsed.elements)["html"]["lang"] == "en"


def test_the_numbers_of_the_evaluation_are_in_the_text(regression):
    train, found = regression
    text = "".join(_Page(_render(regression)).text)
    assert "Test MSE" in text
    for one in found.evaluation.paired:
        assert one.words in text
    for gate in found.evaluation.gates.gates:
        assert gate.reason in text
    assert found.evaluation.stability.words in text
    assert f"{found.evaluation.rows:,} rows, opened 1 time" in text
    assert train.dataset in text


def test_a_kernel_machine_shows_its_sum_and_the_rows_that_carried_a_prediction(regression):
    text = "".join(_Page(_render(regression)).text)
    assert "ŷ(x) = Σ αᵢ K(xᵢ, x; θ)" in text
    assert text.count("The training rows with the largest part in this answer") == 3
    assert "other rows" in text


def test_classes_get_roc_recall_reliability_confusion_and_cost(binary, multiclass):
    page = _render(binary)
    for title in ("ROC", "Precision and recall", "Reliability", "Cost by threshold", "Confusion matrix"):
        assert f"<h3>{title}</h3>" in page
    assert "Cost by threshold" not in _render(multiclass)
    assert "Each class against the others." in _render(multiclass)


def test_before_an_evaluation_the_page_says_that_there_was_none(regression):
    page = render(regression[0])
    _Page(page)
    assert "Not evaluated yet" in page
    assert "Next: trimtab evaluate" in page
    assert "Test MSE" not in page


def test_an_opening_more_than_once_is_told(regression):
    train, found = regression
    page = render(train, replace(found.evaluation, openings=3), found.held_out)
    assert "opened 3 times: each look makes these figures a little too good" in page


@pytest.mark.parametrize("name", ["regression", "binary", "multiclass"])
def test_100_000_rows_fit_into_500_kilobytes(name, request):
    train, found = request.getfixturevalue(name)
    rng = np.random.default_rng(0)
    rows = np.arange(100_000)
    if name == "regression":
        y = rng.normal(size=100_000)
        held = HeldOut(rows=rows, y=y, answers=y + rng.normal(size=100_000))
    else:
        classes = len(found.evaluation.classes)
        answers = rng.dirichlet(np.ones(classes), size=100_000)
        held = HeldOut(rows=rows, y=rng.integers(0, classes, 100_000), answers=answers)
    page = render(train, replace(found.evaluation, rows=100_000), held, explained=found.explained)
    assert len(page.encode()) <= 500_000
    assert ('class="hex"' in page) == (name == "regression")


def test_a_hundred_classes_stay_readable(multiclass):
    train, found = multiclass
    classes = tuple(f"class {code}" for code in range(100))
    rng = np.random.default_rng(0)
    held = HeldOut(rows=np.arange(5000), y=rng.integers(0, 100, 5000), answers=rng.dirichlet(np.ones(100), size=5000))
    page = render(replace(train, classes=classes), replace(found.evaluation, classes=classes), held)
    assert "true another class" in page
    assert len(page.encode()) <= 500_000


def test_no_row_is_lost_between_hexagons():
    """Many rows are counted, not drawn; the table's counts add up to all of them."""
    rng = np.random.default_rng(0)
    chart = cloud("t", rng.normal(size=5000), rng.normal(size=5000), x_axis="x", y_axis="y", caption="c")
    assert sum(int(row[-1].replace(",", "")) for row in chart.rows) == 5000


def test_the_rest_of_an_explanation_makes_the_sum_whole():
    one = Explained(row=0, actual="1", answered="2", total=5.0, intercept=1.0, count=10,
                    terms=(Term(row=1, coefficient=2.0, kernel=0.5), Term(row=2, coefficient=-1.0, kernel=1.0)))
    assert one.rest == pytest.approx(4.0)


def _luminance(colour):
    channels = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055)**2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one, other):
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_keep_the_contrast_of_wcag_2_2(theme):
    """Text at least 4.5:1 (1.4.3), marks and lines at least 3:1 (1.4.11), on paper and on panels."""
    block = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[theme]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    for ground in ("paper", "panel"):
        for text in ("ink", "soft", "good", "bad"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for mark in ("s1", "s2", "s3", "s4", "ref"):
            assert _contrast(colours[mark], colours[ground]) >= 3, (mark, ground)
