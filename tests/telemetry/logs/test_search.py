"""Several logs as one listing, in pages."""

from pathlib import Path

from polyport.telemetry.logs import search
from polyport.telemetry.logs.records import Event, Span
from telemetry.logs.written import write

BEGIN = 1_700_000_000.0
EVER = Span()


def walk(logs: dict[str, Path], **options: object) -> list[tuple[str, Event]]:
    """All pages."""
    found, positions = [], {}
    while True:
        page = search.page(logs, positions, EVER, **options)  # type: ignore[arg-type]
        found += page.events
        if page.next is None:
            return found
        positions = page.next


def make(tmp_path: Path, count: int = 3, lines: int = 100) -> dict[str, Path]:
    logs = {f"log-{number}": tmp_path / f"{number}.log" for number in range(count)}
    for number, path in enumerate(logs.values()):
        write(path, *((BEGIN + line + number / 10, f"{number} {line}") for line in range(lines)))
    return logs


def test_events_of_several_logs_are_merged_by_time(tmp_path: Path) -> None:
    """Rule: by time over all; pages of any size hold the same events, each once."""
    logs = make(tmp_path)
    wanted = [f"{number} {line}" for line in range(100) for number in range(3)]
    for size in (1, 7, 10_000):
        assert [event.text for _, event in walk(logs, limits=search.Limits(size))] == wanted
    assert [event.text for _, event in walk(logs, limits=search.Limits(bytes=300))] == wanted


def test_each_log_keeps_its_own_order(tmp_path: Path) -> None:
    """Rule: a line that an earlier time was written to comes after the one before it all the same."""
    logs = make(tmp_path, 2, 5)
    write(logs["log-0"], (BEGIN, "0 late"))
    found = [event.text for name, event in walk(logs, limits=search.Limits(2)) if name == "log-0"]
    assert found == [f"0 {line}" for line in range(5)] + ["0 late"]


def test_lines_that_come_while_pages_are_read_are_in_later_pages(tmp_path: Path) -> None:
    """Rule: however late their time is, none is left out: pages go by places in the files, not by times."""
    logs = make(tmp_path, 2, 10)
    page = search.page(logs, {}, EVER, limits=search.Limits(15))
    assert page.next is not None
    write(logs["log-0"], (BEGIN + 1, "0 between"))
    rest = search.page(logs, page.next, EVER)
    assert len(page.events) + len(rest.events) == 21
    assert "0 between" in [event.text for _, event in rest.events]


def test_what_has_not_settled_waits(tmp_path: Path) -> None:
    """Rule: a listing ends before what is too young; the next one, from there on, has it."""
    logs = make(tmp_path, 2, 10)
    page = search.page(logs, {}, EVER, limits=search.Limits(settled=int((BEGIN + 5) * 1e6)))
    assert page.next is None
    assert [event.text for _, event in page.events] == [f"{n} {line}" for line in range(5) for n in range(2)]
    rest = search.page(logs, page.reached, EVER)
    assert len(rest.events) == 10


def test_a_page_without_events_may_have_a_successor(tmp_path: Path, monkeypatch: object) -> None:
    """Rule: no page looks through more than so many bytes in vain; the next one goes on from there."""
    path = tmp_path / "a.log"
    write(path, *((BEGIN + line, "x" * 1000) for line in range(2000)), (BEGIN + 9999, "needle"))
    monkeypatch.setattr(search, "MOST_READ", 500_000)  # type: ignore[attr-defined]
    pages, positions, found = 0, {}, []
    while True:
        page = search.page({"a": path}, positions, EVER, lambda text: text == "needle")
        pages, found = pages + 1, found + page.events
        if page.next is None:
            break
        assert page.next != positions
        positions = page.next
    assert [event.text for _, event in found] == ["needle"]
    assert pages > 2
