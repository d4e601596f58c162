"""The engines' smaller parts, one by one, without containers."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engines.labs import spare_ports
from polyport.engines import atomic, backoff, catalog, fake, logs, ping
from polyport.engines.contract import Ping
from polyport.engines.ports import BLOCK, Ports, list_blocks
from polyport.engines.process import container, files, processes
from polyport.engines.process.container import DROP, KILL, NOTHING, START, SWEEP, TERMINATE, Situation, decide
from polyport.engines.process.engine import ProcessEngine
from polyport.engines.process.launch import CannotStart, find_program
from polyport.errors import EngineError, UsageError
from polyport.settings import Settings


def test_pauses_grow_and_a_minute_of_running_forgives() -> None:
    """0, 1, 2, 4, 8, 15, 30, 30, ... seconds; a container that ran for a minute starts over."""
    ends, pauses = 0, []
    for _ in range(9):
        ends, pause = backoff.plan_restart(ends, ran_for=0.5)
        pauses.append(pause)
    assert pauses == [0, 1, 2, 4, 8, 15, 30, 30, 30]
    assert backoff.plan_restart(ends, ran_for=59.9)[1] == 30
    assert backoff.plan_restart(ends, ran_for=60.0) == (1, 0.0)


def situation(**facts: object) -> Situation:
    made = Situation()
    for name, value in facts.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("facts", "wanted", "expected"),
    [
        ({}, 1, (START, None)),
        ({"version": 1, "alive": True}, 1, (NOTHING, None)),
        ({"version": 1, "alive": True}, 2, (TERMINATE, None)),
        ({"version": 1, "alive": True}, None, (TERMINATE, None)),
        ({"version": 1, "alive": True, "kill_at": 130.0}, None, (NOTHING, 130.0)),
        ({"version": 1, "alive": True, "kill_at": 100.0}, None, (KILL, 100.02)),
        ({"version": 1, "sweep_until": 105.0}, 1, (SWEEP, 100.02)),
        ({"version": 1, "sweep_until": 105.0}, None, (SWEEP, 100.02)),
        ({"version": 1}, None, (DROP, None)),
        ({"version": 1, "start_at": 104.0}, 1, (NOTHING, 104.0)),
        ({"version": 1, "start_at": 100.0}, 1, (START, None)),
        ({"version": 1, "start_at": 104.0}, 2, (START, None)),
    ],
)
def test_the_next_step_follows_from_the_situation(
    facts: dict[str, object], wanted: int | None, expected: tuple[str, float | None]
) -> None:
    """At 100 s: another version is replaced after the old one is gone for good; pauses hold for the same one only."""
    assert decide(situation(**facts), wanted, 100.0) == expected


def test_lines_are_cut_at_line_feeds_and_at_the_limit() -> None:
    """Over-long lines come in pieces; the rest waits for its end, or for the flush."""
    lines = logs.Lines(limit=4)
    assert lines.feed(b"ab") == []
    assert lines.feed(b"c\n\nde") == [b"abc", b""]
    assert lines.feed(b"fghijk") == [b"defg"]
    assert lines.flush() == [b"hijk"]
    assert lines.flush() == []


@pytest.mark.parametrize("sizes", [(1, 7, 300), (65536,)])
def test_no_byte_is_lost_or_moved_between_lines(sizes: tuple[int, ...]) -> None:
    """However the bytes arrive, the pieces are the same bytes in order."""
    data = b"".join(b"%d\n" % number for number in range(3000)) + b"end"
    lines, pieces, at = logs.Lines(limit=1000), [], 0
    while at < len(data):
        for size in sizes:
            pieces += lines.feed(data[at : at + size])
            at += size
    assert pieces + lines.flush() == data.split(b"\n")


def test_a_log_says_what_a_full_disk_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are dropped while nothing can be written; the next line that fits begins on a line of its own."""
    log = logs.Log(tmp_path / "a.log", 10**6, 3)
    log.write("stdout", [b"before"])
    real, room = os.write, [10]

    def full(fd: int, data: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return real(fd, data[: room.pop()])

    monkeypatch.setattr(os, "write", full)
    log.write("stdout", [b"torn", b"lost"])
    log.write("stderr", [b"lost"])
    monkeypatch.undo()
    log.write("stdout", [b"after"])
    log.close()
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert [line.partition("Z ")[2] for line in lines] == [
        "stdout before",
        "",
        "system 3 lines were lost: the disk took no more.",
        "stdout after",
    ]


def test_times_are_utc_with_microseconds() -> None:
    """ISO 8601, so that logs sort as text."""
    assert logs.format_time(1769860800.1234565) == b"2026-01-31T12:00:00.123456Z"
    assert logs.format_time(0.0) == b"1970-01-01T00:00:00.000000Z"


def test_a_lock_is_seen_but_not_disturbed_by_asking(tmp_path: Path) -> None:
    """Who asks learns the holder's pid from the kernel; a forked child does not hold its parent's lock."""
    path = tmp_path / "lock"
    assert files.lock_holder(path) is None
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(ready[1], b"1" if files.take_lock(path) else b"0")
        os.read(go[0], 1)
        os._exit(0)
    try:
        assert os.read(ready[0], 1) == b"1"
        assert files.lock_holder(path) == pid
        assert files.take_lock(path) is False
        assert files.lock_holder(path) == pid
    finally:
        os.write(go[1], b"x")
        os.waitpid(pid, 0)
        for fd in (*ready, *go):
            os.close(fd)
    assert files.lock_holder(path) is None


def test_a_poke_reaches_who_listens_and_nobody_else(tmp_path: Path) -> None:
    """No reader, no pipe and a full pipe are all fine: pokes are hints."""
    path = tmp_path / "poke"
    files.poke(path, "nobody")
    assert not path.exists()
    fd = files.open_poke(path)
    files.poke(path, "one")
    files.poke(path, "two")
    assert files.drain(fd) == b"one\ntwo\n"
    assert files.drain(fd) == b""
    for _ in range(70):
        files.poke(path, "x" * 1000)
    assert len(files.drain(fd)) <= 65536
    os.close(fd)


def test_an_atomic_write_leaves_no_draft(tmp_path: Path) -> None:
    """Readers see a whole file or none; what is not an object reads as nothing."""
    atomic.write_atomically(tmp_path / "a", b'{"x": 1}')
    assert files.read_object(tmp_path / "a") == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert files.read_object(tmp_path / "absent") is None


def test_a_process_is_read_whatever_its_name_is() -> None:
    """Names may hold blanks and parentheses."""
    stat = "7 (a) b (c) S 5 6 4 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0"
    process = processes.Process(7, stat)
    assert (process.parent, process.session, process.started, process.ended) == (5, 4, 12345, False)


def test_a_pid_given_away_again_is_no_leader_of_ours() -> None:
    """The session number alone proves nothing: its leader must have started when ours did."""
    own = processes.read(os.getpid())
    assert own is not None
    session = os.getsid(0)
    leader = processes.read(session)
    started = leader.started if leader else own.started
    assert os.getpid() in processes.find_members(processes.Marks(Path("/nowhere"), session, started))
    if leader:
        assert processes.find_members(processes.Marks(Path("/nowhere"), session, started - 1)) == set()


def test_programs_are_found_as_a_shell_would(tmp_path: Path) -> None:
    """By the container's PATH, or by a path; what is missing or not executable is said plainly."""
    (tmp_path / "plain").write_text("text")
    assert find_program("sh", "/nowhere:/bin").endswith("/sh")
    assert find_program("/bin/sh", "") == "/bin/sh"
    with pytest.raises(CannotStart, match="entrypoint not found: there is no 'nothing' in the container's PATH"):
        find_program("nothing", "/bin")
    with pytest.raises(CannotStart, match="entrypoint not executable"):
        find_program(str(tmp_path / "plain"), "/bin")


def test_blocks_lie_in_the_range_on_common_boundaries() -> None:
    """Homes with different ranges agree on where blocks begin; a range too small is the user's error."""
    assert list_blocks("20000-20059") == [20000, 20020, 20040]
    assert list_blocks("20001-20059") == [20020, 20040]
    assert list_blocks("65500-70000") == [65500]
    with pytest.raises(UsageError, match="port_range"):
        list_blocks("20001-20020")


@pytest.fixture
def make_ports() -> Iterator[Callable[[str], Ports]]:
    made: list[Ports] = []

    def make(port_range: str) -> Ports:
        made.append(Ports(port_range))
        return made[-1]

    yield make
    for ports in made:
        ports.close()


def test_a_block_is_taken_once_on_a_machine(make_ports: Callable[[str], Ports]) -> None:
    """Two homes share a range; a block with one port in use, on any address, is passed over."""
    first = spare_ports(3)
    one, two = make_ports(f"{first}-{first + 59}"), make_ports(f"{first}-{first + 59}")
    with socket.create_server(("127.0.0.1", first + BLOCK + 3)):
        taken = {one.take(), two.take()}
        assert taken == {first, first + 40}
        with pytest.raises(EngineError, match="port_range"):
            one.take()
    one.close()
    two.close()
    assert one.claim(first)
    assert not two.claim(first)


async def answer(data: bytes, *, then_hang: bool = False) -> Ping:
    """What a ping makes of a peer that answers so."""
    hang = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1:")
        writer.write(data)
        if then_hang:
            await hang.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        return await ping.ping("127.0.0.1", server.sockets[0].getsockname()[1], 0.3)
    finally:
        hang.set()
        server.close()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Ping(status=200)),
        (b"HTTP/1.0 200\r\n\r\nwhatever", Ping(status=200)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\n\r\n", Ping(status=503)),
        (b"HTTP/1.1 204 \r\n\r\n", Ping(status=204)),
        (b"", Ping(error="closed")),
        (b"HTTP/1.1 200 OK\r\n", Ping(error="closed")),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Ping(error="malformed")),
        (b"HTTP/1.1 2000 OK\r\n\r\n", Ping(error="malformed")),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 40000 + b"\r\n\r\n", Ping(error="malformed")),
    ],
)
def test_a_ping_takes_any_answer(data: bytes, expected: Ping) -> None:
    """It never raises for what the peer says, and reads no more than it must."""
    assert asyncio.run(answer(data)) == expected


def test_a_ping_is_strict_about_time() -> None:
    """No head in time is a time-out; a head in time counts, whatever the body does."""
    assert asyncio.run(answer(b"HTTP/1.1 200 OK\r\n", then_hang=True)) == Ping(error="timeout")
    assert asyncio.run(answer(b"HTTP/1.1 200 OK\r\n\r\npart", then_hang=True)) == Ping(status=200)


def test_a_ping_to_nobody_is_refused() -> None:
    """The word that the failure reason builds on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert asyncio.run(ping.ping("127.0.0.1", unused.getsockname()[1], 1.0)) == Ping(error="refused")


def test_engines_are_chosen_by_name() -> None:
    """An unknown name is the user's error, and names those that are known."""
    assert isinstance(catalog.create(Settings(engine="process")), ProcessEngine)
    assert isinstance(catalog.create(Settings(engine="fake")), fake.FakeEngine)
    with pytest.raises(UsageError, match="process, docker, fake, auto"):
        catalog.create(Settings(engine="magic"))


def test_the_supervisor_loads_the_standard_library_alone() -> None:
    """Its start is part of every instance's start: nothing of site-packages, nothing of the server."""
    import subprocess
    import sys

    code = "import sys, polyport.engines.process.supervisor; print('\\n'.join(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"msgspec", "asyncio", "logging", "dataclasses", "polyport.settings", "polyport.domain.instances"}
    assert not heavy & set(modules)
    assert container.__name__ in modules
