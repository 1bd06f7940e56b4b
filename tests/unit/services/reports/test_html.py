import re
from html.parser import HTMLParser
from typing import Any

import pytest

from services.reports.build import build_report
from services.reports.gates import VIEWS, before_of, view_of
from services.reports.html import render_html
from services.reports.plots import MAX_POINTS, attacks_plot, metrics_plot, training_plot
from tests.unit.services.reports import sample

VOID = {"meta", "br", "img", "link"}


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.urls: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._look(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._look(attrs)

    def _look(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"href", "src", "xlink:href", "action"} and value:
                self.urls.append(value)
            if name == "id" and value:
                self.ids.append(value)
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    reports = {"full": sample.full(), "rejected": sample.full("rejected"), "least": sample.least()}
    return {name: render_html(build_report(data)) for name, data in reports.items()}


@pytest.mark.parametrize("name", ["full", "rejected", "least"])
def test_the_page_is_whole_and_loads_nothing(pages: dict[str, str], name: str) -> None:
    page = Page(pages[name])
    assert page.open == []
    assert not {"script", "iframe", "object", "embed", "link", "img", "form"} & set(page.tags)
    assert page.handlers == []
    assert all(url.startswith("#") for url in page.urls)
    assert "default-src 'none'" in pages[name]
    assert "@import" not in pages[name]
    assert len(pages[name].encode()) < 200_000


@pytest.mark.parametrize("name", ["full", "rejected", "least"])
def test_every_point_has_its_section(pages: dict[str, str], name: str) -> None:
    page = Page(pages[name])
    assert {f"p{number}" for number in range(1, 14)} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids)), "an id is there twice"
    assert all(url[1:] in page.ids for url in page.urls)


def test_two_renderings_are_the_same_bytes(pages: dict[str, str]) -> None:
    assert render_html(build_report(sample.full())) == pages["full"]


def test_all_plots_are_inline_and_can_be_read_aloud(pages: dict[str, str]) -> None:
    assert pages["full"].count("<svg ") == 3
    assert pages["full"].count('role="img" aria-label=') == 3
    assert pages["least"].count("<svg ") == 0
    assert "<dc:date>" not in pages["full"]
    assert "Forgotten: KFR" in pages["full"]


def test_attacks_have_a_table_of_their_own(pages: dict[str, str]) -> None:
    assert "<h3>Attacks</h3>" in pages["full"]
    for text in ("quantised: nf4 merged", "a fall of at most 0.05", "worst subject of the run 0.940", "evidence"):
        assert text in pages["full"]
    assert "attack:prefix_injection" not in pages["full"]
    assert "<h3>Attacks</h3>" not in pages["least"]


def test_figures_beside_the_control_are_shown_with_why_they_were_not_run(pages: dict[str, str]) -> None:
    page = pages["full"]
    assert "Beside the control" in page
    assert "too few: 92 and 92 items" in page


def test_a_report_from_before_there_were_attacks_is_still_shown() -> None:
    report = build_report(sample.full())
    del report["attacks"]
    assert "<h3>Attacks</h3>" not in render_html(report)


def test_of_earlier_subjects_the_worst_is_drawn() -> None:
    drops = [
        sample.gate("earlier_kfr", drop, 0.05, subject=f"subj-{place}") for place, drop in enumerate((0.01, 0.04, 0.02))
    ]
    worst = [
        sample.gate("earlier_attack", kfr, 0.85, subject=f"subj-{place}") for place, kfr in enumerate((0.9, 0.86, 1.0))
    ]
    svg = metrics_plot([*drops, *worst])
    assert svg is not None
    assert "0.040" in svg
    assert "0.860" in svg
    assert not [figure for figure in ("0.010", "0.020", "0.900", "1.000") if f">{figure}" in svg]


def test_only_shares_of_secrets_are_drawn() -> None:
    tried = build_report(sample.full())["attacks"]["tried"]
    assert attacks_plot([one for one in tried if one["measure"] == "auc"]) is None
    svg = attacks_plot(tried)
    assert svg is not None
    assert "leak at k" in svg
    assert "membership" not in svg


def test_the_page_tells_the_verdict_and_what_is_missing(pages: dict[str, str]) -> None:
    assert "state-accepted" in pages["full"]
    assert "state-rejected" in pages["rejected"]
    assert "missing: the services did not run from a container image" in pages["full"]
    assert "missing: no verdict yet" in pages["least"]
    assert "A part-denial" in pages["full"]
    assert "lethe audit verify" in pages["full"]
    assert "encrypted under the subject" in pages["full"]


def test_whatever_a_report_holds_is_escaped() -> None:
    report = build_report(sample.full())
    report["not_claimed"] = ["<script>alert(1)</script>"]
    report["gates"][0]["reason"] = "<img src=x onerror=y>"
    report["training"]["terms"] = {"<script>": [1.0] * 40}
    text = render_html(report)
    assert "<script>" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_no_identifier_of_the_subject_is_on_the_page(pages: dict[str, str]) -> None:
    for value in sample.CANARY:
        assert value.casefold() not in pages["full"].casefold()


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 40.0])
def test_every_gate_can_be_drawn(name: str, value: float) -> None:
    gate = sample.gate(name, value, 0.5, base=0.2, bound=value)
    svg = metrics_plot([gate])
    assert svg is not None
    assert f"{value:.3f}" in svg


def test_a_gate_that_is_new_keeps_its_own_name() -> None:
    assert view_of("some_new_gate").label == "some new gate"
    assert before_of(sample.gate("kfr", 0.9, 0.9, base=0.1)) == 0.1
    assert before_of(sample.gate("kfr", 0.9, 0.9)) is None
    assert before_of(sample.gate("krr_ratio", 0.9, 0.9, base=0.97)) == 1.0


def test_nothing_to_draw_is_no_plot() -> None:
    assert metrics_plot([]) is None
    assert metrics_plot([sample.gate("control", None, None)]) is None
    assert training_plot(None) is None
    assert training_plot({"steps": [], "terms": {}}) is None


def test_a_long_training_is_thinned_and_keeps_its_end() -> None:
    curve: dict[str, Any] = {"steps": list(range(50_000)), "terms": {"total": [1.0 / (1 + i) for i in range(50_000)]}}
    svg = training_plot(curve)
    assert svg is not None
    assert len(svg) < 120_000
    assert len(re.findall(r"[ML] [\d.]+ [\d.]+", svg)) < 3 * MAX_POINTS
