"""Which version answers how many of the calls, over time, as text: drawn while it happens."""

from collections import Counter, deque

from rich.text import Text

#: Lines that the drawing is high, and how many moments it shows at once.
HEIGHT, WIDTH = 8, 72
#: Of a cell that is filled up to eighths of its height.
_EIGHTHS = " ▁▂▃▄▅▆▇█"


class Chart:
    """One column a moment: from below, the share of the calls that the new version answered."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new
        self._moments: deque[float | None] = deque(maxlen=WIDTH)

    def add(self, answers: Counter[str]) -> None:
        """The answers of one moment, by version."""
        total = answers[self.old] + answers[self.new]
        self._moments.append(answers[self.new] / total if total else None)

    @property
    def share(self) -> float:
        """The new version's, at the last moment in which somebody called."""
        return next((share for share in reversed(self._moments) if share is not None), 0.0)

    def draw(self, caption: str) -> Text:
        """The drawing, with the newest moment at the right, and a line below it."""
        lines = [Text(f"100 % ┤ answered by {self.old} (light) and {self.new} (dark)", style="dim")]
        for row in reversed(range(HEIGHT)):
            cells = "".join(_cell(share, row) for share in self._moments)
            label = "  0 % ┤" if row == 0 else "      │"
            lines.append(Text.assemble((f"{label} ", "dim"), (cells, "green on bright_black")))
        lines.append(Text(caption))
        return Text("\n").join(lines)

    def tell(self, caption: str) -> str:
        """The last moment in one line, where nothing can be drawn."""
        filled = round(self.share * 20)
        return f"  {'█' * filled}{'░' * (20 - filled)} {self.new} {self.share:4.0%}  {caption}"


def _cell(share: float | None, row: int) -> str:
    if share is None:
        return "·"
    return _EIGHTHS[max(0, min(8, round((share * HEIGHT - row) * 8)))]
