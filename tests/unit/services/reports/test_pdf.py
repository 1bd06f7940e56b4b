"""The PDF of a report: all 13 points, the same bytes for the same report, nothing that runs or loads."""

import io
from typing import Any

import pytest
from pypdf import PdfReader

from services.reports.build import build_report
from services.reports.data import ReportData
from services.reports.pdf import render_pdf
from services.reports.plots import pictures
from tests.unit.services.reports.sample import CANARY, full, least


@pytest.fixture(scope="module", params=["full", "least"])
def pair(request: pytest.FixtureRequest) -> tuple[dict[str, Any], bytes]:
    data: ReportData = full() if request.param == "full" else least()
    report = build_report(data)
    return report, render_pdf(report)


def text_of(pdf: bytes) -> str:
    pages = PdfReader(io.BytesIO(pdf)).pages
    return " ".join(" ".join(page.extract_text().split()) for page in pages)


def test_the_plots_are_those_of_the_page_and_are_looked_at_as_pictures(pair: tuple[dict[str, Any], bytes]) -> None:
    report, pdf = pair
    expected = pictures(report)
    images = [image for page in PdfReader(io.BytesIO(pdf)).pages for image in page.images]
    assert len(images) == len(expected) == (3 if report["training"] else 0)
    text = text_of(pdf)
    for one, image in zip(expected, images, strict=True):
        assert one.title in text
        shown = image.image
        assert shown is not None
        assert shown.size[0] > 1000
        assert len(set(shown.convert("L").tobytes())) > 20  # something is drawn on it


def test_every_point_and_every_item_is_there(pair: tuple[dict[str, Any], bytes]) -> None:
    report, pdf = pair
    text = text_of(pdf)
    for point in report["points"]:
        assert f"{point['number']} {point['title']}" in text
        for item in point["items"]:
            if "value" not in item or item["value"] not in ([], {}):
                assert item["label"] in text, item["path"]
    for line in report["not_claimed"]:
        assert line[:40] in text
    for gap in report["missing"]:
        assert gap["item"] in text
    assert report["digest"] in text.replace(" ", "")


def test_two_renderings_are_the_same_bytes(pair: tuple[dict[str, Any], bytes]) -> None:
    report, pdf = pair
    render_pdf(build_report(full("rejected")))  # another document in between
    assert render_pdf(report) == pdf


def test_nothing_in_it_runs_or_loads_and_its_fonts_are_its_own(pair: tuple[dict[str, Any], bytes]) -> None:
    report, pdf = pair
    reader = PdfReader(io.BytesIO(pdf))
    assert reader.metadata is not None
    assert reader.metadata.title == f"Erasure report {report['ticket_id']}"
    for word in (b"/JavaScript", b"/Launch", b"/URI", b"/EmbeddedFile", b"/OpenAction"):
        assert word not in pdf
    fonts = {str(font) for page in reader.pages for font in (page["/Resources"]["/Font"] or {}).values()}  # type: ignore[index]
    assert fonts
    assert b"/FontFile2" in pdf


def test_no_identifier_is_in_it(pair: tuple[dict[str, Any], bytes]) -> None:
    text = text_of(pair[1])
    assert not [one for one in CANARY if one in text]


def test_markup_and_endless_texts_in_a_value_are_only_text() -> None:
    report = build_report(full())
    report["not_claimed"] = ["<b>bold</b> & <img src='http://x/'/>", "x" * 5000, "Ž ě ř σ"]
    text = text_of(render_pdf(report))
    assert "<img src='http://x/'/>" in text
    assert "Ž ě ř σ" in text
