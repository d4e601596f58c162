"""The parts of the docker engine that decide, without a daemon."""

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polyport.domain.instances import Container, Image, Instance
from polyport.engines.docker import asks, ends, limits, listening, network, output, records, steps
from polyport.engines.docker.daemon import Daemon, candidates, is_rootless
from polyport.engines.docker.ends import End
from polyport.errors import CannotChangeInstance, UsageError
from polyport.settings import Settings

RUNNING = steps.Seen("c1", "a", True, False, 7, "2026-01-01T00:00:00Z", "", 0, False, "")
EXITED = steps.Seen("c1", "a", False, False, None, "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z", 3, False, "")
CREATED = steps.Seen("c1", "a", False, True, None, "", "", 0, False, "")


@pytest.mark.parametrize(
    ("seen", "wanted", "kill_at", "start_at", "expected"),
    [
        (None, "a", None, 0.0, ("create", None)),
        (None, "a", None, 150.0, ("nothing", 150.0)),
        (CREATED, "a", None, 0.0, ("start", None)),
        (EXITED, "a", None, 0.0, ("start", None)),
        (EXITED, "a", None, 101.0, ("nothing", 101.0)),
        (RUNNING, "a", None, 0.0, ("nothing", None)),
        (RUNNING, "b", None, 0.0, ("terminate", None)),
        (RUNNING, "b", 130.0, 0.0, ("nothing", 130.0)),
        (RUNNING, "b", 100.0, 0.0, ("kill", None)),
        (EXITED, "b", 130.0, 150.0, ("remove", None)),
        (CREATED, None, None, 0.0, ("remove", None)),
        (RUNNING, None, None, 0.0, ("terminate", None)),
        (None, None, None, 150.0, ("drop", None)),
    ],
)
def test_each_situation_has_one_next_step(
    seen: steps.Seen | None,
    wanted: str | None,
    kill_at: float | None,
    start_at: float,
    expected: tuple[str, float | None],
) -> None:
    """Level-triggered: what is seen and what is wanted decide, not what was done before."""
    assert steps.decide(seen, wanted, kill_at, start_at, 100.0) == expected


def test_every_situation_leads_to_what_is_wanted() -> None:
    """Followed step by step, with a daemon that does as it is told, each situation comes to rest where it should."""
    for seen in (None, CREATED, EXITED, RUNNING):
        for wanted in ("a", "b", None):
            assert follow(seen, wanted) == (wanted, wanted is not None)


def follow(seen: steps.Seen | None, wanted: str | None) -> tuple[str | None, bool]:
    kill_at = None
    for _ in range(6):
        step, _ = steps.decide(seen, wanted, kill_at, 0.0, 100.0)
        if step in ("nothing", "drop"):
            break
        if step == "terminate":
            kill_at = 99.0
        elif step == "kill":
            seen = EXITED
        elif step == "remove":
            seen = None
        elif wanted is not None:
            base = CREATED if step == "create" else RUNNING
            seen = steps.Seen(*(getattr(base, name) if name != "digest" else wanted for name in base.__struct_fields__))
    return (seen.digest, seen.running) if seen else (None, False)


@pytest.mark.parametrize(
    ("code", "expected"), [(0, (0, None)), (3, (3, None)), (137, (None, 9)), (143, (None, 15)), (255, (255, None))]
)
def test_a_signal_is_told_from_a_code(code: int, expected: tuple[int | None, int | None]) -> None:
    """Daemons report 128 and the signal's number."""
    seen = steps.read(
        {"Id": "c", "State": {"Status": "exited", "ExitCode": code, "FinishedAt": "2026-01-01T00:00:05Z"}}
    )
    last = steps.read_exit(seen, End())
    assert (last.code, last.signal) == expected
    assert last.at == 1767225605.0


@pytest.mark.parametrize(
    ("error", "beginning"),
    [
        ('runc: exec: "/nowhere": stat /nowhere: no such file or directory: OCI runtime error', "entrypoint not found"),
        ('runc: exec: "serve": executable file not found in $PATH', "entrypoint not found"),
        ("crun: executable file `serve` not found in $PATH: No such file or directory", "entrypoint not found"),
        ('runc: exec: "/etc": permission denied: OCI permission denied', "entrypoint not executable"),
        ("exec /serve: exec format error", "the image is for another kind of machine"),
        ("error mounting /x: no such file or directory", "error mounting"),
    ],
)
def test_failed_starts_are_told_apart(error: str, beginning: str) -> None:
    """What most likely is wrong comes first, the daemon's own words after it."""
    reason = steps.why_not_started(error)
    assert reason.startswith(beginning)
    assert error in reason


def frame(stream: int, text: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


def test_frames_become_lines_however_they_are_cut() -> None:
    """Streams stay apart; a line may come in several frames, a frame in several pieces."""
    data = frame(1, b"2026-01-01T00:00:00.5Z one\n") + frame(1, b"2026-01-01T00:00:01Z lo") + frame(2, b"T2Z err\n")
    data += frame(1, b"2026-01-01T00:00:02Z ng\n") + frame(1, b"2026-01-01T00:00:03Z tail")
    expected = [
        output.Line(b"2026-01-01T00:00:00.5Z", "stdout", b"one"),
        output.Line(b"T2Z", "stderr", b"err"),
        output.Line(b"2026-01-01T00:00:02Z", "stdout", b"long"),
        output.Line(b"2026-01-01T00:00:03Z", "stdout", b"tail"),
    ]
    for size in (1, 7, len(data)):
        frames, lines = output.Frames(), []
        for at in range(0, len(data), size):
            lines += frames.feed(data[at : at + size])
        assert lines + frames.flush() == expected


@pytest.mark.parametrize("precision", [0, 6, 9])
@pytest.mark.parametrize("written", range(7))
def test_reading_again_adds_exactly_what_is_missing(written: int, precision: int) -> None:
    """Whatever part of the output is in the file, the file afterwards has each line once: for daemons that give whole
    seconds, and for those that give nanoseconds."""
    all_lines = [
        output.Line(time_at(second, micros, precision), stream, b"line %d" % number)
        for number, (second, micros, stream) in enumerate(
            [(1, 0, "stdout"), (1, 0, "stdout"), (1, 5, "stderr"), (2, 1, "stdout"), (2, 1, "stdout"), (2, 9, "stdout")]
        )
    ]
    now = b"2026-01-01T00:00:02.500000Z"
    records_ = [
        b"2026-01-01T00:00:00.000000Z stdout of another",
        b"2026-01-01T00:00:01.0Z system output of container c1",
    ]
    records_ += [
        b"%s %s %s" % (output.stamp(line.at, now), line.stream.encode(), line.text) for line in all_lines[:written]
    ]
    place = output.Place(records_, "c1")
    assert place.is_marked
    begin = float(place.since)
    again = [line for line in all_lines if output.parse_time(line.at) >= begin and not place.is_known(line)]
    assert again == all_lines[written:]


def time_at(second: int, micros: int, precision: int) -> bytes:
    text = f"2026-01-01T00:00:0{second}"
    return (text + (f".{micros:06d}000"[: precision + 1] if precision else "") + "Z").encode()


def test_times_without_their_last_zeros_are_the_same_times() -> None:
    """Docker writes `.5` for half a second: what came earlier in that tenth uses up no line of the last time."""
    file = [b"2026-01-01T00:00:01.0Z system output of container c1"]
    file += [b"2026-01-01T00:00:01.%s stdout line" % at for at in (b"500000Z", b"500001Z", b"500002Z")]
    place = output.Place(file, "c1")
    come = [output.Line(b"2026-01-01T00:00:01.%s" % at, "stdout", b"line") for at in (b"5Z", b"500001Z", b"500002Z")]
    assert [place.is_known(line) for line in come] == [True] * 3
    assert not place.is_known(come[-1])


def test_a_second_with_much_output_is_read_whole(tmp_path: Path) -> None:
    """Over several files and megabytes: where times are whole seconds, all of the last second's lines are counted."""
    log = tmp_path / "first.log"
    note = b"2026-01-01T00:00:00.000000Z system output of container c1\n"
    rows = [b"2026-01-01T00:00:05.%06dZ stdout %s\n" % (number, b"x" * 100) for number in range(20000)]
    for path, part in ((log.with_name("first.log.2"), [note, *rows[:8000]]), (log.with_name("first.log.1"), [])):
        path.write_bytes(b"".join(part))
    log.write_bytes(b"".join(rows[8000:]))
    place = output.Place(output.read_records(log), "c1")
    line = output.Line(b"2026-01-01T00:00:05Z", "stdout", b"x" * 100)
    assert [place.is_known(line) for _ in range(20002)] == [True] * 20000 + [False] * 2


def test_another_container_begins_anew() -> None:
    """Lines of the container before it do not count, even when they are of the same second."""
    lines = [b"2026-01-01T00:00:01.000000Z system output of container old", b"2026-01-01T00:00:01.000000Z stdout x"]
    place = output.Place(lines, "new")
    assert not place.is_marked
    assert place.since == "0"
    assert not place.is_known(output.Line(b"2026-01-01T00:00:01Z", "stdout", b"x"))


def test_a_note_too_far_back_does_not_make_doubles() -> None:
    """After so much output that the note has left what is read, what is read is the container's own."""
    place = output.Place([b"2026-01-01T00:00:01.000000Z stdout x"], "c1")
    assert place.is_marked
    assert place.is_known(output.Line(b"2026-01-01T00:00:01.000000Z", "stdout", b"x"))


def test_times_of_other_zones_are_written_in_utc() -> None:
    """Podman writes its machine's zone."""
    assert output.in_utc(b"2026-01-01T01:30:00.123+02:00") == b"2025-12-31T23:30:00.123Z"
    assert output.in_utc(b"2026-01-01T01:30:00Z") == b"2026-01-01T01:30:00Z"
    assert output.in_utc(b"nonsense") == b"nonsense"


def test_subnets_avoid_what_is_in_use() -> None:
    """The daemon's networks and the machine's routes; an empty list when there is no room."""
    taken = network.list_subnets(
        [{"IPAM": {"Config": [{"Subnet": "10.9.0.0/27"}, {"Subnet": "fd00::/64"}]}}, {"IPAM": {"Config": None}}, {}]
    )
    assert {str(subnet) for subnet in network.choose("10.9.0.0/26", taken)} == {"10.9.0.32/27"}
    assert network.choose("10.9.0.0/27", taken) == []
    with pytest.raises(UsageError, match="docker_subnets"):
        network.choose("10.9.0.0/33", [])
    with pytest.raises(UsageError, match="docker_subnets"):
        network.choose("10.9.0.0/28", [])


def test_routes_are_read_from_the_kernel(tmp_path: Path) -> None:
    """But for the default route, which leads everywhere."""
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
        "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\n"
        "eth0\t0000E60A\t00000000\t0001\t0\t0\t0\t0000FFFF\n"
    )
    assert network.list_routes(table) == [ipaddress.IPv4Network("10.230.0.0/16")]
    assert network.list_routes(tmp_path / "missing") == []


def test_sizes_come_from_the_user_then_from_the_table() -> None:
    """The user's entries go first; an unknown type has no size."""
    assert limits.find("ml.m5.xlarge", ()) == limits.Size(4, 16.0)
    assert limits.find("ml.g4dn.xlarge", ()) == limits.Size(4, 16, 1)
    assert limits.find("ml.m5.xlarge", ["ml.m5.xlarge=1:0.5"]) == limits.Size(1.0, 0.5)
    assert limits.find("ml.own", ["ml.own=2:8:1"]) == limits.Size(2.0, 8.0, 1)
    assert limits.find("ml.m5.huge", ()) is None
    assert limits.find("", ()) is None
    for bad in ("ml.own", "ml.own=1", "ml.own=a:b", "ml.own=1:1:x", "=1:1", "ml.own=1.2.3:1"):
        with pytest.raises(UsageError, match="instance_types"):
            limits.parse([bad])


def test_sockets_are_tried_in_order_and_a_chosen_one_alone() -> None:
    """The setting goes before DOCKER_HOST, that before the usual places."""
    environ = {"XDG_RUNTIME_DIR": "/run/user/7"}
    usual = candidates("", environ)
    assert usual[0] == "unix:///var/run/docker.sock"
    assert "unix:///run/user/7/podman/podman.sock" in usual
    assert candidates("", environ | {"DOCKER_HOST": "tcp://h:1"}) == ("tcp://h:1",)
    assert candidates("/x.sock", environ | {"DOCKER_HOST": "tcp://h:1"}) == ("unix:///x.sock",)


def make_daemon(**more: object) -> Daemon:
    return Daemon(client=None, kind="docker", is_rootless=False, version="1", url="unix:///x", **more)  # type: ignore[arg-type]


def test_the_request_says_what_sagemaker_does() -> None:
    """`serve` alone, the entry point kept, read-only data, restarts not the daemon's, limits and GPUs if asked."""
    it = Container("one", Image("a:1", "a@sha256:1", 0.0), environment={"A": "1"}, artifacts={"model": "/data/one"})
    daemon = make_daemon(cpus=2, offers_gpus=True, is_selinux=True)
    config = asks.container(it, "net", 20000, limits.Size(8, 0.5, 1), daemon, Settings(shm_size=7))
    host = config["HostConfig"]
    assert config["Cmd"] == ["serve"]
    assert "Entrypoint" not in config
    assert config["Image"] == "a@sha256:1"
    assert "A=1" in config["Env"]
    assert "SAGEMAKER_BIND_TO_PORT=8080" in config["Env"]
    assert host["Mounts"] == [{"Type": "bind", "Source": "/data/one", "Target": "/opt/ml/model", "ReadOnly": True}]
    assert host["RestartPolicy"] == {"Name": "no"}
    assert host["ShmSize"] == 7
    assert host["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20000"}]}
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (2**29, 2**29, 2 * 10**9)
    assert host["DeviceRequests"] == [{"Driver": "", "Count": 1, "Capabilities": [["gpu"]]}]
    assert host["SecurityOpt"] == ["label=disable"]
    plain = asks.container(it, "net", 0, None, make_daemon(), Settings())["HostConfig"]
    assert not {"PortBindings", "Memory", "NanoCpus", "DeviceRequests", "SecurityOpt"} & plain.keys()


def test_gpus_are_asked_for_only_where_there_are_any() -> None:
    """The type has them and the daemon offers them."""
    it = Container("one", Image("a:1", "a@sha256:1", 0.0))
    for size, offers in ((limits.Size(1, 1, 1), False), (limits.Size(1, 1, 0), True)):
        config = asks.container(it, "net", 0, size, make_daemon(offers_gpus=offers), Settings())
        assert "DeviceRequests" not in config["HostConfig"]


def make_entry(container: Container, slot: int, port: int) -> records.Entry:
    config = {"Hostname": container.hostname, "Env": container.environment}
    return records.Entry(container.hostname, slot, port, config, records.digest(config))


def test_unchanged_containers_keep_their_entries_and_addresses_are_never_shared() -> None:
    """Also with those that are on their way out."""
    one, two, other = (Container(name, Image("a", "a", 0.0)) for name in ("one", "two", "other"))
    spec = records.revise(None, Instance("i-1", {}, (one, two)), make_entry)
    changed = Container("two", Image("b", "b", 0.0), environment={"X": "1"})
    after = records.revise(spec, Instance("i-1", {}, (changed, other)), make_entry)
    slots = {entry.hostname: entry.slot for entry in (*spec.containers, *after.containers)}
    assert len(set(slots.values())) == 3
    assert after.containers[0].slot == spec.containers[1].slot
    assert after.containers[0].digest != spec.containers[1].digest
    again = records.revise(after, Instance("i-1", {"new": "label"}, (changed, other)), make_entry)
    assert again.containers == after.containers
    with pytest.raises(CannotChangeInstance):
        records.revise(spec, Instance("i-1", {}, (one, two), network_isolation=True), make_entry)


def test_a_home_has_an_id_of_its_own_even_as_a_copy(tmp_path: Path) -> None:
    """Its containers are found by it: it stays the same, and a copy of the folder has another."""
    first = records.home_id(tmp_path / "a")
    assert records.home_id(tmp_path / "a") == first
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / records.HOME_ID).write_bytes((tmp_path / "a" / records.HOME_ID).read_bytes())
    assert records.home_id(tmp_path / "b") != first
    assert records.home_id(tmp_path / "c") != first


def test_memory_counters_are_found_for_both_versions_of_cgroups(tmp_path: Path) -> None:
    """And read as 0 where there are none."""
    found = ends.find_counters("4:memory:/libpod_parent/libpod-1\n0::/machine.slice/x\n3:cpu:/y\n")
    assert [str(path) for path in found] == [
        "/sys/fs/cgroup/memory/libpod_parent/libpod-1/memory.oom_control",
        "/sys/fs/cgroup/machine.slice/x/memory.events",
    ]
    events = tmp_path / "memory.events"
    assert ends.count_kills(events) == 0
    events.write_text("low 0\nhigh 0\nmax 5\noom 1\noom_kill 2\n")
    assert ends.count_kills(events) == 2


def test_listeners_on_loopback_are_told_from_others() -> None:
    """A container that listens on 127.0.0.1 only cannot be reached, though it listens on the right port. The name
    server that Docker runs at 127.0.0.11 in every container is not the container's."""
    rows = [
        "  sl  local_address rem_address   st tx_queue",
        "   0: 0100007F:1F90 00000000:0000 0A 00000000",
        "   1: 00000000:1F91 00000000:0000 0A 00000000",
        "   2: 0B00007F:9999 00000000:0000 0A 00000000",
        "   3: 00000000000000000000000000000000:1F92 00000000000000000000000000000000:0000 0A",
        "   4: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A",
        "   5: 0100007F:0BB8 0100007F:1F90 01 00000000",
        "   6: 0100007F:1F92 00000000:0000 0A 00000000",
    ]
    found = listening.parse(rows)
    assert found.reachable == (8081, 8082)
    assert found.loopback == (8080,)


def test_a_line_that_ended_with_its_run_is_not_joined_to_the_next_runs_first() -> None:
    """Read again, both runs come in one stream, and nothing in it tells where the first one ended."""
    file = [
        b"2026-01-01T00:00:01.000000Z system output of container c1",
        b"2026-01-01T00:00:01.000100Z stdout one",
        b"2026-01-01T00:00:01.000200Z stdout tail",
        b"2026-01-01T00:00:01.000300Z system exited with code 4",
    ]
    second = b"2026-01-01T00:00:01Z "
    for next_second in (second, b"2026-01-01T00:00:02Z "):
        place = output.Place(file, "c1")
        frames = output.Frames(place.tails)
        data = frame(1, second + b"one\n") + frame(1, second + b"tail") + frame(1, next_second + b"one\n")
        lines = frames.feed(data)
        assert [line.text for line in lines] == [b"one", b"tail", b"one"]
        assert [line.text for line in lines if not place.is_known(line)] == [b"one"]


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"SecurityOptions": ["name=seccomp,profile=default"]}, False),
        ({"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}, True),  # Docker
        ({"SecurityOptions": ["name=seccomp,profile=default"], "Rootless": True}, True),  # Podman 4.3
        ({"SecurityOptions": None, "Rootless": False}, False),
    ],
)
def test_a_rootless_daemon_is_known(info: dict[str, Any], expected: bool) -> None:
    """Its containers' addresses are those of another network: another machine may answer there."""
    assert is_rootless(info) is expected


def test_a_container_is_started_again_once_its_last_run_is_tidied_up() -> None:
    """Podman takes down a run's network after its end: late, it would be that of the next run. It is not waited for
    without an end."""
    untidy = replace(EXITED, is_untidy=True, finished_at="2026-01-01T00:00:05Z")
    ended = 1767225605.0
    assert steps.decide(untidy, EXITED.digest, None, 0.0, ended + 0.1) == (
        steps.NOTHING,
        ended + 0.1 + steps.TIDY_PAUSE,
    )
    assert steps.decide(untidy, EXITED.digest, None, 0.0, ended + steps.TIDY_LIMIT)[0] == steps.START
    assert steps.decide(EXITED, EXITED.digest, None, 0.0, ended)[0] == steps.START
    assert steps.read({"Id": "c", "State": {"Status": "stopped"}}).is_untidy
    assert not steps.read({"Id": "c", "State": {"Status": "exited"}}).is_untidy


def test_the_peak_and_the_limit_are_read_where_the_kernel_has_them(tmp_path: Path) -> None:
    """Cgroups of version 2 say ``max`` for no limit, and have no peak in older kernels; version 1 has other names."""
    assert ends.read_peak(tmp_path) == (None, None)
    (tmp_path / "memory.max").write_text("max\n")
    assert ends.read_peak(tmp_path) == (None, None)
    (tmp_path / "memory.peak").write_text("4096\n")
    assert ends.read_peak(tmp_path) == (4096, None)
    old = tmp_path / "old"
    old.mkdir()
    (old / "memory.max_usage_in_bytes").write_text("8192\n")
    (old / "memory.limit_in_bytes").write_text("65536\n")
    assert ends.read_peak(old) == (8192, 65536)
