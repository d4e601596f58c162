"""One log over its rotated files."""

from pathlib import Path

from polyport.engines import logs
from polyport.telemetry.logs import parts, places
from polyport.telemetry.logs.records import Event, Position, Span
from telemetry.logs.written import events, record, write

BEGIN = 1_700_000_000.0


def span(first: float, end: float) -> Span:
    return Span(int(first * 1e6), int(end * 1e6))


def numbered(count: int, first: int = 0) -> list[tuple[float, str]]:
    return [(BEGIN + number / 1000, f"line {number}") for number in range(first, first + count)]


def texts(found: list[Event]) -> list[str]:
    return [event.text for event in found]


def test_all_lines_come_in_order_over_rotated_files(tmp_path: Path) -> None:
    """Rule: what was written is read, once, in the order of writing, whichever file it is in; backwards likewise."""
    path = tmp_path / "a.log"
    write(path, *numbered(500), max_bytes=5000, keep=50)
    assert len(list(tmp_path.iterdir())) > 3
    wanted = [text for _, text in numbered(500)]
    assert texts(events(path)) == wanted
    with parts.Log(path) as log:
        assert texts(list(log.backward())) == wanted[::-1]


def test_a_place_stays_right_while_files_are_rotated(tmp_path: Path) -> None:
    """Rule: reading goes on after the last line that was read, also when its file has another name by then."""
    path = tmp_path / "a.log"
    write(path, *numbered(30), max_bytes=5000, keep=50)
    seen, count = events(path), 30
    for _ in range(10):
        write(path, *numbered(70, count), max_bytes=5000, keep=50)
        count += 70
        seen += events(path, seen[-1].after)
    assert texts(seen) == [text for _, text in numbered(count)]


def test_where_the_file_of_a_place_is_gone_younger_ones_follow(tmp_path: Path) -> None:
    """Rule: what retention took is skipped; nothing comes twice."""
    path = tmp_path / "a.log"
    write(path, *numbered(20))
    place = events(path)[10].after
    path.unlink()
    write(path, *numbered(5, 100))
    assert texts(events(path, place)) == [text for _, text in numbered(5, 100)]
    assert events(path, Position(place.file + 10**12, 0)) == []


def test_a_line_on_its_way_is_not_shown_yet(tmp_path: Path) -> None:
    """Rule: only whole lines; the place is before the one that is not."""
    path = tmp_path / "a.log"
    path.write_bytes(record(BEGIN, "one") + record(BEGIN + 1, "two")[:-2])
    first = events(path)
    assert texts(first) == ["one"]
    path.write_bytes(record(BEGIN, "one") + record(BEGIN + 1, "two"))
    assert texts(events(path, first[-1].after)) == ["two"]


def test_times_bound_what_is_read_even_after_the_clock_was_set_back(tmp_path: Path) -> None:
    """Rule: from the first time on, before the last; each line by its own time, in the order of the file."""
    path = tmp_path / "a.log"
    many = [(BEGIN + number, "x" * 1000) for number in range(300)]
    write(path, *many, (BEGIN + 5.5, "late"), *((at + 1000, text) for at, text in many))
    index = parts.Index()
    for _ in range(2):  # found out, then known
        with parts.Log(path, index) as log:
            found = [item for item in log.forward(None, span(BEGIN + 5, BEGIN + 7)) if isinstance(item, Event)]
        assert [event.micros / 1e6 - BEGIN for event in found] == [5, 6, 5.5]


def test_what_is_far_from_the_times_is_not_read_again(tmp_path: Path) -> None:
    """Rule: the second search for a time reads the blocks that hold it, no others."""
    path = tmp_path / "a.log"
    write(path, *((BEGIN + number, "x" * 1000) for number in range(2000)))
    index = parts.Index()
    sizes = []
    for _ in range(2):
        with parts.Log(path, index) as log:
            items = list(log.forward(None, span(BEGIN + 1000, BEGIN + 1001)))
        assert sum(isinstance(item, Event) for item in items) == 1
        sizes.append(sum(item.size for item in items if isinstance(item, parts.Passed)))
    assert sizes[0] > 2_000_000
    assert sizes[1] < 2.5 * parts.BLOCK


def test_the_longest_lines_are_read_whole(tmp_path: Path) -> None:
    """Rule: lines longer than a block are events like any other, forwards and backwards."""
    path = tmp_path / "a.log"
    long = ["a" * logs.MAX_LINE, "b", "c" * logs.MAX_LINE, "d" * (parts.BLOCK - 10)]
    write(path, *((BEGIN + number, text) for number, text in enumerate(long)))
    assert texts(events(path)) == long
    with parts.Log(path) as log:
        assert texts(list(log.backward())) == long[::-1]


def test_torn_pieces_and_odd_bytes_do_no_harm(tmp_path: Path) -> None:
    """Rule: what has no time in front is left out, what is no UTF-8 is replaced; the lines around are there."""
    path = tmp_path / "a.log"
    path.write_bytes(b"\nrest of a line\n" + record(BEGIN, "one") + b"2026-99-99T00:00:00.000000Z stdout x\n")
    with path.open("ab") as file:
        file.write(logs.format_time(BEGIN + 1) + b" stderr \xff\xfe\n" + record(BEGIN + 2, ""))
    assert texts(events(path)) == ["one", "\ufffd\ufffd", ""]


def test_a_file_that_was_deleted_is_begun_anew(tmp_path: Path) -> None:
    """Rule: lines printed after a log was deleted are in a new file; none goes where nobody can read it."""
    path = tmp_path / "deep" / "a.log"
    log = logs.Log(path, 1 << 20, 5)
    log.append([record(BEGIN, "one")])
    path.unlink()
    path.parent.rmdir()
    log.append([record(BEGIN + 1, "two")])
    log.close()
    assert texts(events(path)) == ["two"]


def test_no_log_has_no_events(tmp_path: Path) -> None:
    """Rule: a log that is not there is an empty one."""
    with parts.Log(tmp_path / "none.log") as log:
        assert (list(log.forward()), list(log.backward()), log.size) == ([], [], 0)


def test_nothing_is_missed_in_the_midst_of_a_rotation(tmp_path: Path) -> None:
    """Rule: whichever file has just been renamed to make room, those before and after it are read."""
    for hole in range(4):
        path = tmp_path / str(hole) / "a.log"
        write(path, *numbered(200), max_bytes=2000, keep=50)
        files = len(list(path.parent.iterdir()))
        for number in range(files - 1, hole - 1, -1):
            (places.rotated(path, number) if number else path).replace(places.rotated(path, number + 1))
        assert texts(events(path)) == [text for _, text in numbered(200)]
