"""What happened to instances: kept once, bounded, over restarts of control."""

from pathlib import Path

from msgspec.structs import replace

from control.values import endpoint, running, variant, wanted
from polyport.control import chronicle
from polyport.control.chronicle import FIRST, KEEP, LATEST, MOST_LINES, Chronicle
from polyport.domain import events
from polyport.domain.events import Event, Kind
from polyport.domain.instances import ContainerPhase, Exit

ROW = endpoint(wanted(1, variant()))
LABELS = {"account": ROW.owner.account, "region": ROW.owner.region, "endpoint": ROW.name}


def ping(at: float, text: str) -> Event:
    return Event(at, Kind.PING, text, "one")


def opened(home: Path | None) -> Chronicle:
    made = Chronicle(home)
    made.open("i-1", ROW, "A")
    return made


def file_of(home: Path) -> Path:
    [(name, instance, path)] = chronicle.find(home, LABELS)
    assert (name, instance) == ("A", "i-1")
    return path


def test_a_restart_of_control_loses_nothing_and_tells_nothing_twice(tmp_path: Path) -> None:
    """The next one goes on where the last one was, though the engine shows it all again."""
    news = list(events.of_container(None, running("one")))
    opened(tmp_path).note("i-1", *news, ping(2.0, "refused"))
    after = opened(tmp_path)
    after.note("i-1", *news, ping(3.0, "refused"), ping(4.0, "200"))
    assert after.known("i-1") == (*news, ping(2.0, "refused"), ping(4.0, "200"))
    assert tuple(chronicle.read(file_of(tmp_path))) == after.known("i-1")


def test_the_first_and_the_latest_events_are_kept(tmp_path: Path) -> None:
    """In memory and on disk, however much happens; also over restarts."""
    for begin in range(0, 3000, 1000):
        kept = opened(tmp_path)
        for number in range(begin, begin + 1000):
            kept.note("i-1", ping(number, f"answer {number}"))
    known = kept.known("i-1")
    assert len(known) == FIRST + LATEST
    assert [event.at for event in known[:FIRST]] == list(range(FIRST))
    assert known[-1].at == 2999
    assert tuple(chronicle.read(file_of(tmp_path))) == known
    assert len(file_of(tmp_path).read_bytes().splitlines()) <= MOST_LINES


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    """A full disk may leave half a line."""
    opened(tmp_path).note("i-1", ping(1.0, "200"))
    with file_of(tmp_path).open("ab") as file:
        file.write(b'{"at":2.0,"ki\n')
    assert opened(tmp_path).known("i-1") == (ping(1.0, "200"),)


def test_a_disk_that_takes_nothing_costs_no_more_than_events(tmp_path: Path) -> None:
    """What is in memory goes on."""
    (tmp_path / "logs").write_text("in the way")
    kept = opened(tmp_path)
    kept.note("i-1", ping(1.0, "200"))
    assert kept.known("i-1") == (ping(1.0, "200"),)


def test_what_is_old_goes_once_its_instance_is_gone(tmp_path: Path) -> None:
    """With its folder, if nothing else is in it."""
    opened(tmp_path).note("i-1", ping(1.0, "200"))
    path = file_of(tmp_path)
    later = path.stat().st_mtime + KEEP + 1
    assert chronicle.sweep(tmp_path, ["i-1"], lambda: later) == 0
    assert chronicle.sweep(tmp_path, [], lambda: later - 2) == 0
    assert chronicle.sweep(tmp_path, [], lambda: later) == 1
    assert not path.parent.exists()


def test_an_end_and_a_start_are_events_with_the_engines_time() -> None:
    """Also when control saw neither happen."""
    again = replace(running("one", started_at=9.0, restarts=1), last_exit=Exit(8.5, code=3))
    assert [(event.at, event.kind) for event in events.of_container(running("one"), again)] == [
        (8.5, Kind.ENDED),
        (9.0, Kind.STARTED),
    ]
    dead = replace(running("one"), phase=ContainerPhase.BACKOFF, last_exit=Exit(3.5, code=3))
    assert [event.text for event in events.of_container(running("one"), dead)][-1] == "exited with code 3 after 2.5 s"
    assert list(events.of_container(dead, dead)) == []
    end = Exit(3.5, signal=9, memory=3 << 30, memory_limit=4 << 30)
    dead = replace(dead, last_exit=end)
    assert [event.text for event in events.of_container(None, dead)][-1] == (
        "was ended by SIGKILL after 2.5 s; memory: 3.0 GiB at its peak, of 4.0 GiB"
    )


def test_what_had_no_instance_yet_is_kept_with_the_variant(tmp_path: Path) -> None:
    """An image that cannot be found, say; the same trouble is told once."""
    kept = Chronicle(tmp_path)
    for at in (1.0, 2.0):
        kept.note_variant(ROW, "A", Event(at, Kind.TROUBLE, "no image"))
    [(name, instance, path)] = chronicle.find(tmp_path, LABELS)
    assert (name, instance) == ("A", "")
    assert [event.at for event in chronicle.read(path)] == [1.0]
