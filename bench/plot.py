"""The results as a picture: bars with the range over the rounds, in SVG that fits a light and a dark page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench.results import Range, Results

WIDTH, LABELS, FIGURES = 760, 190, 90
BAR, GAP, TITLE, MARGIN = 18, 8, 40, 16

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 14px }
.bar { fill: #8c959f } .ours { fill: #0969da } .range { stroke: #24292f; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .bar { fill: #6e7681 } .ours { fill: #388bfd } .range { stroke: #e6edf3 }
}
"""


@dataclass(frozen=True)
class Panel:
    """One group of bars: a metric of some systems on one case."""

    title: str
    case: str
    metric: str
    systems: Sequence[str]
    decimals: int = 1


PANELS = (
    Panel(
        "CPU per direct call, microseconds (less is better)", "direct", "cpu", ("polyport", "nginx", "haproxy", "envoy")
    ),
    Panel(
        "6 MB request body, MB/s (more is better)", "6MB", "throughput", ("polyport", "nginx", "haproxy", "envoy"), 0
    ),
)


def draw(results: Results, panels: Sequence[Panel], titles: Mapping[str, str]) -> str:
    """The picture; panels and bars without results are left out."""
    parts, y = [], MARGIN
    for panel in panels:
        bars = [
            (name, found)
            for name in panel.systems
            if (found := results.range(name, panel.case, panel.metric)) is not None
        ]
        if bars:
            parts.append(_panel(panel, bars, titles, y))
            y += TITLE + len(bars) * (BAR + GAP) + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" role="img">'
    return f"{head}\n<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"


def _panel(panel: Panel, bars: Sequence[tuple[str, Range]], titles: Mapping[str, str], y: int) -> str:
    scale = (WIDTH - LABELS - FIGURES - MARGIN) / (max(found.most for _, found in bars) or 1)
    parts = [f'<text class="title" x="{MARGIN}" y="{y + 20}">{escape(panel.title)}</text>']
    for number, (name, found) in enumerate(bars):
        top = y + TITLE + number * (BAR + GAP)
        parts.append(_bar(name, titles.get(name, name), found, scale, top, panel.decimals))
    return "\n".join(parts)


def _bar(name: str, title: str, found: Range, scale: float, top: int, decimals: int) -> str:
    middle, kind = top + BAR / 2, "bar ours" if name.startswith("polyport") else "bar"
    width, least, most = (round(value * scale, 1) for value in (found.median, found.least, found.most))
    return (
        f'<text x="{LABELS - 8}" y="{middle + 5}" text-anchor="end">{escape(title)}</text>\n'
        f'<rect class="{kind}" x="{LABELS}" y="{top}" width="{width}" height="{BAR}" rx="2"/>\n'
        f'<line class="range" x1="{LABELS + least}" x2="{LABELS + most}" y1="{middle}" y2="{middle}"/>\n'
        f'<text x="{LABELS + most + 8}" y="{middle + 5}">{found.median:,.{decimals}f}</text>'
    )
