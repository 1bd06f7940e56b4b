"""Two kinds of plots as SVG text: the same bytes for the same figures, and no library."""

from collections.abc import Sequence

from markupsafe import escape

INK, MUTED, LINE = "#1c2733", "#5b6875", "#c9d1d9"
_WIDTH, _LABEL, _ROW, _TEXT = 760, 190, 24, 13
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
    """A labelled point for each (label, x, y, colour), both axes from 0; the line marks a utility of 0.95."""
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
    taken: list[tuple[float, float]] = []
    for label, x, y, colour in sorted(points, key=lambda point: (-point[2], point[1], point[0])):
        px, py = at(x, y)
        place = py + 4
        while any(abs(place - other) < 13 and abs(px - across) < 150 for across, other in taken):
            place += 13
        taken.append((px, place))
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="{colour}"/>')
        parts.append(_text(px + 9, place, label, "start"))
    return _svg(parts, height)


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
