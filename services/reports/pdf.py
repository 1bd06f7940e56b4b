"""The report as a PDF, made from the JSON: the 13 points, figures, what is missing; the same report, the same bytes.

The plots are those of the page (HTML), as pictures; their figures stand in tables besides. Fonts are embedded.
"""

import io
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services.reports.html import rows_of, shown_seconds, shown_value
from services.reports.plots import pictures

_INK, _MUTED, _LINE, _BAD = "#1c2733", "#5b6875", "#c9d1d9", "#a8321f"
_FONT, _BOLD, _MONO = "LetheSans", "LetheSans-Bold", "LetheMono"
_WIDTH, _HIGHEST = 493.0, 640.0  # points between the margins, and what a picture may take of a page
_CELL = 900  # letters of one cell: a row that is higher than a page cannot be set


_one_at_a_time = threading.Lock()  # reportlab keeps its fonts for the whole process


def render_pdf(report: Mapping[str, Any]) -> bytes:
    """The PDF of a report."""
    with _one_at_a_time:
        return _rendered(report)


def _rendered(report: Mapping[str, Any]) -> bytes:
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    _fonts()
    target = io.BytesIO()
    document = SimpleDocTemplate(
        target,
        pagesize=A4,
        leftMargin=18 * mm,
        rightMargin=18 * mm,
        topMargin=16 * mm,
        bottomMargin=18 * mm,
        title=f"Erasure report {report['ticket_id']}",
        author="Lethe",
        subject=f"Digest of the JSON report: {report['digest']}",
        lang="en",
        invariant=True,  # no date and no random id: two renderings are the same bytes
    )

    def foot(canvas: Any, page: Any) -> None:
        canvas.saveState()
        canvas.setFont(_FONT, 7)
        canvas.setFillColor(_MUTED)
        canvas.drawString(18 * mm, 10 * mm, f"{report['ticket_id']}  ·  {report['digest']}")
        canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, f"page {page.page}")
        canvas.restoreState()

    document.build(_Story(report).flow(), onFirstPage=foot, onLaterPages=foot)
    return target.getvalue()


def _fonts() -> None:
    """DejaVu from matplotlib's own files: the standard fonts of PDF have neither Greek nor Czech letters."""
    import matplotlib
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    directory = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name, file in ((_FONT, "DejaVuSans"), (_BOLD, "DejaVuSans-Bold"), (_MONO, "DejaVuSansMono")):
        # Anew for every document: which letters are embedded must not depend on the documents before.
        pdfmetrics.registerFont(TTFont(name, str(directory / f"{file}.ttf")))


class _Story:
    """The flow of one document."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        from reportlab.lib.styles import ParagraphStyle

        self.report = report
        self.text = ParagraphStyle("text", fontName=_FONT, fontSize=8.5, leading=11, textColor=_INK)
        self.small = ParagraphStyle("small", parent=self.text, fontSize=7.5, leading=9.5)
        self.muted = ParagraphStyle("muted", parent=self.small, textColor=_MUTED)
        self.code = ParagraphStyle("code", parent=self.small, fontName=_MONO, fontSize=6.8, splitLongWords=1)
        self.title = ParagraphStyle("title", parent=self.text, fontName=_BOLD, fontSize=17, leading=22)
        self.head = ParagraphStyle(
            "head",
            parent=self.text,
            fontName=_BOLD,
            fontSize=12,
            leading=15,
            spaceBefore=12,
            spaceAfter=2,
            keepWithNext=1,
        )
        self.sub = ParagraphStyle("sub", parent=self.head, fontSize=9.5, leading=12, spaceBefore=8)

    def flow(self) -> list[Any]:
        """Everything, in order."""
        story = self._top()
        for point in self.report["points"]:
            story += self._point(point)
        story += self._table(
            "What is missing",
            ("Point", "Item", "Why"),
            [(m["point"], m["item"], m["why"]) for m in self.report["missing"]],
        ) or [self._p("Nothing is missing: every item of the 13 points is here.", self.text)]
        story.append(self._p("Made from the JSON report, which is the truth. Its digest:", self.muted))
        return [*story, self._p(self.report["digest"], self.code)]

    def _top(self) -> list[Any]:
        report, summary = self.report, self.report["summary"]
        facts = [
            ("Subject (random reference)", report["subject_ref"]),
            ("Regime", summary["regime"]),
            ("Base", summary["base"]),
            ("Status of the ticket", summary["status"]),
            ("Verdict", summary["verdict"] or "none yet"),
            ("Live", f"generation {summary['generation']}" if summary["live"] else "no"),
            ("Answer due", summary["answer_due"]),
            ("Made", report["generated_at"]),
        ]
        return [
            self._p(f"Erasure report {report['ticket_id']}", self.title),
            *self._table(None, None, [(name, shown_value(value)) for name, value in facts]),
        ]

    def _point(self, point: Mapping[str, Any]) -> list[Any]:
        story = [self._p(f"{point['number']}  {point['title']}", self.head), self._p(point["question"], self.muted)]
        if point["number"] == 8:
            story += self._plots() + self._metrics()
        tables = []
        items: list[tuple[Any, Any]] = []
        for item in point["items"]:
            value = item.get("value")
            if item["kind"] == "table" and value:
                tables += self._records(item["label"], value)
            else:
                items += self._item(item)
        story += self._table(None, None, items) + tables
        report = self.report
        if point["number"] == 5:
            story += self._records("What of the subject still exists", report["remains"] or [])
        elif point["number"] == 10:
            story += self._records("The way of the ticket", report["timeline"])
        elif point["number"] == 12:
            story += self._records("How to check it", report["verification"])
        elif point["number"] == 13:
            story += [self._p(f"• {line}", self.text) for line in report["not_claimed"]]
        return story

    def _item(self, item: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        """The rows of one item: a long list or many pairs get a row each, so that a page can break between them."""
        label, value = item["label"], item.get("value")
        if "missing" in item:
            return [(label, self._p(f"missing: {item['missing']}", self.small, colour=_BAD))]
        if "absent" in item:
            return [(label, item["absent"])]
        if item["kind"] in {"digest", "code"}:
            return [(label, self._p(str(value), self.code))]
        if item["kind"] == "seconds":
            return [(label, shown_seconds(value))]
        if isinstance(value, list) and value:
            return [(label if not number else "", shown_value(one)) for number, one in enumerate(value)]
        if isinstance(value, Mapping) and value:
            pairs = [f"{key.replace('_', ' ')}: {shown_value(one)}" for key, one in sorted(value.items())]
            return [(label if not number else "", pair) for number, pair in enumerate(pairs)]
        return [(label, shown_value(value) if value not in ([], {}) else "none")]

    def _plots(self) -> list[Any]:
        from reportlab.platypus import Image, KeepTogether, Spacer

        story: list[Any] = []
        for one in pictures(self.report):
            width = min(_WIDTH, _HIGHEST / one.shape)
            image = Image(io.BytesIO(one.png), width=width, height=width * one.shape, hAlign="LEFT")
            story += [KeepTogether([self._p(one.title, self.sub), image]), Spacer(1, 4)]
        return story

    def _metrics(self) -> list[Any]:
        gates = [
            (
                row["label"],
                *(_figure(row[key]) for key in ("before", "value", "bound")),
                row["needs"],
                row["n"],
                row["state_words"],
            )
            for row in rows_of(self.report)
        ]
        head = ("Metric", "Before", "After", "Bound", "Threshold", "n", "Result")
        story = self._table("Metrics against thresholds", head, gates)
        attacks = self.report.get("attacks")
        tried = [
            (
                a["name"],
                a["tier"],
                _figure(a["before"]),
                _figure(a["value"]),
                _figure(a["bound"]),
                a["limit"] or "–",
                a["n"],
                a["state"],
            )
            for a in (attacks["tried"] if attacks else ())
        ]
        return story + self._table(
            "Attacks", ("Attack", "Tier", "Before", "Under it", "Bound", "Allowed", "n", "State"), tried
        )

    def _records(self, title: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Records as blocks of name and value: a table of ten columns does not fit a page."""
        if not rows:
            return []
        story = [self._p(title, self.sub)]
        for row in rows:
            story += self._table(
                None, None, [(key.replace("_", " "), shown_value(value)) for key, value in row.items()]
            )
        return story

    def _table(self, title: str | None, head: Sequence[str] | None, rows: Sequence[Sequence[Any]]) -> list[Any]:
        from reportlab.platypus import Spacer, Table, TableStyle

        if not rows:
            return []
        cells = [[self._cell(cell) for cell in row] for row in rows]
        if head is not None:
            cells.insert(0, [self._p(name, self.muted) for name in head])
        style = [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, -1), 0.3, _LINE),
            ("TOPPADDING", (0, 0), (-1, -1), 1.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
            ("LEFTPADDING", (0, 0), (-1, -1), 2),
        ]
        widths = _widths(len(cells[0]))
        table = Table(cells, colWidths=widths, repeatRows=int(head is not None), style=TableStyle(style), hAlign="LEFT")
        return [*([self._p(title, self.sub)] if title else []), table, Spacer(1, 4)]

    def _cell(self, value: Any) -> Any:
        if not isinstance(value, str | int | float) and value is not None:
            return value
        text = shown_value(value)
        return self._p(text, self.code if len(text) >= 40 and " " not in text else self.small)

    def _p(self, text: str, style: Any, *, colour: str | None = None) -> Any:
        from xml.sax.saxutils import escape  # escapes only; nothing is parsed

        from reportlab.platypus import Paragraph

        text = escape(text if len(text) <= _CELL else f"{text[:_CELL]} …")
        return Paragraph(f'<font color="{colour}">{text}</font>' if colour else text, style)


def _widths(columns: int) -> list[float]:
    """Of the 493 points between the margins."""
    if columns == 2:
        return [150.0, 343.0]
    if columns == 3:
        return [40.0, 170.0, 283.0]
    return [493.0 - 52.0 * (columns - 1), *[52.0] * (columns - 1)]


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
