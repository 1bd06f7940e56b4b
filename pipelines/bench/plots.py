"""Two kinds of plots as SVG text: the same bytes for the same figures, and no library."""

from collections.abc import Sequence

from markupsafe import escape

INK, MUTED, LINE = "#1c2733", "#5b6875", "#c9d1d9"
_WIDTH, _LABEL, _ROW, _TEXT = 760, 190, 24, 13
_LETTER = 7.2  # mean width of a letter at that size
_PLOT = _WIDTH - _LABEL - 70


def bars(rows: Sequence[tuple[str, float, str]]) -> str | None:
    """A bar for each (label, value, colour), from 0 to both sides; None without rows."""
    if not rows:
        return None
    low, high = min(0.0, *(value for _, value, _ in rows)), max(0.0, *(value for _, value, _ in rows))
    scale = _PLOT / ((high - low) or 1.0)
    zero = _LABEL - low * scale
    parts = [_line(zero, 4, zero, _ROW * len(rows) + 4)]
    for number, (label, value, colour) in enumerate(rows):
        top = 4 + number * _ROW
        left, width = min(zero, zero + value * scale), abs(value) * scale
        parts.append(_text(_LABEL - 8 if low == 0 else 4, top + 16, label, "end" if low == 0 else "start"))
        parts.append(f'<rect x="{left:.1f}" y="{top + 4}" width="{max(width, 1):.1f}" height="15" fill="{colour}"/>')
        parts.append(_text(max(zero, zero + value * scale) + 6, top + 16, f"{value:.3f}", "start", MUTED))
    return _svg(parts, _ROW * len(rows) + 8)


def scatter(points: Sequence[tuple[str, float, float, str]]) -> str | None:
    """A labelled point for each (label, x, y, colour), both axes from 0; the line marks a utility of 0.95.

    No label lies on a point or on another label while there is room.
    """
    if not points:
        return None
    height, left, bottom = 380, 60, 36
    top_x, top_y = max(1.05, *(x for _, x, _, _ in points)), max(1.05, *(y for _, _, y, _ in points))

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x / top_x * (_WIDTH - left - 130), height - bottom - y / top_y * (height - bottom - 10)

    (x0, y0), (x1, _), (_, y1) = at(0, 0), at(top_x, 0), at(0, top_y)
    limit, _ = at(0.95, 0)
    parts = [_line(x0, y0, x1, y0), _line(x0, y0, x0, y1), _line(limit, y0, limit, y1, dashed=True)]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        tx, ty = at(tick, tick)
        parts.append(_text(tx, y0 + 16, f"{tick:g}", "middle", MUTED))
        parts.append(_text(x0 - 8, ty + 4, f"{tick:g}", "end", MUTED))
    parts.append(_text((x0 + x1) / 2, height - 4, "utility: what is kept, as a share of the base's", "middle", MUTED))
    parts.append(_text(x0 + 6, y1 + 8, "forgotten and fluent", "start", MUTED))
    dots = [at(x, y) for _, x, y, _ in points]
    taken: list[_Box] = [(px - 6, py - 6, px + 6, py + 6) for px, py in dots]
    frame = (x0, 0.0, float(_WIDTH), y0)
    for (label, _, _, colour), (px, py) in zip(points, dots, strict=True):
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="{colour}"/>')
        box, anchor = _free(px, py, len(label) * _LETTER, taken, frame)
        taken.append(box)
        middle = (box[1] + box[3]) / 2
        near = box[0] if anchor == "start" else box[2]
        if abs(middle - py) > _TEXT:
            parts.append(_line(px, py, near, middle))
        parts.append(_text(near, middle + 4, label, anchor))
    return _svg(parts, height)


_Box = tuple[float, float, float, float]  # left, top, right, bottom


def _free(x: float, y: float, width: float, taken: Sequence[_Box], frame: _Box) -> tuple[_Box, str]:
    """Where a point's label covers nothing, the nearest first, and its anchor; beside the point where all is full."""
    half = _TEXT / 2
    places: list[tuple[_Box, str]] = []
    for off in range(12):
        for step in (off, -off):
            middle = y + step * _TEXT
            places.append(((x + 9, middle - half, x + 9 + width, middle + half), "start"))
            places.append(((x - 9 - width, middle - half, x - 9, middle + half), "end"))
    for box, anchor in places:
        inside = box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]
        if inside and not any(_meet(box, other) for other in taken):
            return box, anchor
    return places[0]


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _svg(parts: Sequence[str], height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'font-size="{_TEXT}" font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{LINE}"{dash}/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
