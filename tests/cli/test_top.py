"""`polyport top`: what one look makes of a home, how much of it a terminal shows, and what it refuses."""

import fcntl
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from cli.running import Run, refused
from control import values
from polyport.cli.cases import Case, State
from polyport.cli.top import drawing, picture
from polyport.cli.top.loads import Counted, Latency
from polyport.cli.top.picture import Picture, Sources
from polyport.control import failure
from polyport.domain.distributions import Distribution
from polyport.domain.endpoints import Endpoint, EndpointState, InstanceRow, Phase, Rollout, Status, Strategy
from polyport.domain.events import Event, Kind
from polyport.server.used import Used
from polyport.telemetry.metrics import counted
from polyport.telemetry.metrics.series import FINE, Key, SeriesFile, Value
from polyport.telemetry.metrics.table import By

NOW = 1_000_005.0
WELL = (Event(1.0, Kind.STARTED, "started"), Event(2.0, Kind.HEALTH, "healthy: it takes calls"))
Read = tuple[Key, int, Distribution]


def counts(name: str, *values_: float, by: By = By.VARIANT, more: str = "", start: int = 1_000_000) -> Read:
    """Of variant A of Endpoint."""
    found = Distribution()
    for value in values_:
        found.add(value)
    return counted.key(values.OWNER, name, by, endpoint="Endpoint", variant="A", more=more), start, found


def serving(*ids: str, **state: object) -> Endpoint:
    """An endpoint with the containers `one` and `two` in each instance."""
    active = values.deployment(1, values.fleet(values.variant(instances=len(ids)), *ids))
    whole = EndpointState(status=Status.IN_SERVICE, settled=1, active=active)
    return values.endpoint(values.wanted(1, values.variant()), msgspec.structs.replace(whole, **state))


def on_each(events: Iterable[Event], *hosts: str) -> tuple[Event, ...]:
    return tuple(msgspec.structs.replace(event, hostname=host) for host in hosts for event in events)


def look(
    endpoint: Endpoint,
    *read: Read,
    used: Iterable[Used] = (),
    events: dict[str, tuple[Event, ...]] | None = None,
) -> picture.EndpointPicture:
    """What is made of it; instances without events of their own are well."""

    def case(_: Endpoint, row: InstanceRow) -> Case:
        known = (events or {}).get(row.id, on_each(WELL, "one", "two"))
        return Case(row.id, row.variant, True, known, {})

    found = {(each.instance, each.hostname): each for each in used}
    return picture.describe(endpoint, Sources(Counted(read, NOW), found, case))


def drawn(*endpoints: picture.EndpointPicture, width: int | None = None, height: int | None = None) -> list[str]:
    return drawing.draw(Picture(NOW, "the server", endpoints), width, height).plain.split("\n")


def test_calls_are_of_the_last_ten_seconds_and_latencies_of_the_last_minute() -> None:
    """The ten seconds that are not over count with the ten before, over the time that they are about: less the second
    that counts may be on their way."""
    read = (
        counts("Invocations", *[1] * 28),
        counts("Invocations", *[1] * 28, start=999_990),
        counts("Invocations", *[1] * 500, start=999_950),
        counts("ModelLatency", *[1000.0] * 10),
        counts("ModelLatency", *[3000.0] * 90, start=999_950),
        counts("Invocation5XXErrors", 1, 0, 1, start=999_950),
        counts("ConcurrentRequestsPerModel", 9, start=999_990),
        counts("ConcurrentRequestsPerModel", 4),
    )
    [variant] = look(serving("i-1"), *read).variants
    assert variant.load.calls == pytest.approx(4.0)
    assert variant.load.latency
    assert variant.load.latency.p50 == pytest.approx(3.0, rel=0.05)
    assert variant.load.errors_5xx == 2
    assert variant.load.in_flight == 4


def test_each_stage_has_its_own_latency() -> None:
    """By container over all instances, and what Polyport takes apart."""
    read = (
        counts("ContainerLatency", 2000.0, by=By.CONTAINER, more="one"),
        counts("ContainerLatency", 7000.0, by=By.CONTAINER, more="two"),
        counts("OverheadLatency", 100.0),
    )
    [variant] = look(serving("i-1"), *read).variants
    one, two = (stage.load.latency for stage in variant.stages)
    assert one
    assert two
    assert (one.p99, two.p99) == (2.0, 7.0)
    assert variant.load.overhead == Latency(0.1, 0.1, 0.1)
    assert any("(gateway)" in line and "0.10" in line for line in drawn(look(serving("i-1"), *read)))


def test_what_containers_use_adds_up() -> None:
    """CPU and memory of an instance are those of its containers, a variant's those of its instances; what is not
    measured is not shown as nothing."""
    used = (Used("i-1", "one", 1.0, 30.0, 1 << 30, 2 << 30), Used("i-1", "two", 1.0, None, 1 << 29, 2 << 30))
    seen = look(serving("i-1", "i-2"), used=used)
    assert (seen.use.cpu, seen.use.memory, seen.use.memory_limit) == (30.0, 3 << 29, 4 << 30)
    assert seen.variants[0].instances[1].use == picture.Use()
    text = drawn(seen)
    assert any("i-1" in line and line.endswith("1.5G/4.0G") for line in text)


ILL = (
    Event(3.0, Kind.FINDING, "It listens on 8080,\nexpected 20000.", "two", cause="wrong-port", fix="Bind."),
    Event(4.0, Kind.HEALTH, "not healthy: it takes no calls", "two"),
)
ENDED = Event(4.0, Kind.ENDED, "exited with code 1", "two")


def test_a_sick_container_is_told_with_its_cause_in_one_line() -> None:
    """The doctor's sentence, below the instance; an instance does as well as its container that does worst."""
    events = {"i-1": on_each(WELL, "one", "two") + ILL}
    seen = look(serving("i-1", "i-2"), events=events)
    [variant] = seen.variants
    assert [each.state for each in variant.instances] == ["unhealthy", "healthy"]
    assert (variant.healthy, variant.count) == (1, 2)
    assert "      two: wrong-port: It listens on 8080, expected 20000." in drawn(seen)
    assert any(line.startswith("Endpoint") and "InService (1 of 2)" in line for line in drawn(seen))


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ((), State.PREPARING),
        (WELL[:1], State.STARTING),
        (WELL, State.HEALTHY),
        ((*WELL, Event(3.0, Kind.PING, "/ping: timeout")), State.HEALTHY),
        ((*WELL, Event(3.0, Kind.HEALTH, "not healthy: it takes no calls")), State.UNHEALTHY),
        ((*WELL, Event(3.0, Kind.FINDING, "x", cause="ping-slow")), State.UNHEALTHY),
        ((*WELL, Event(3.0, Kind.ENDED, "x"), Event(4.0, Kind.FINDING, "x", cause="killed")), State.ENDED),
        ((*WELL, Event(3.0, Kind.ENDED, "x"), Event(4.0, Kind.STARTED, "x")), State.STARTING),
    ],
)
def test_the_state_of_a_container_comes_from_what_happened(events: tuple[Event, ...], state: State) -> None:
    """The latest event that says something of it decides; one that ended stays so until it is started again."""
    assert Case("i-1", "A", True, on_each(events, "one"), {}).state("one") is state


def test_an_update_shows_old_and_new_instances() -> None:
    """Under one variant, with the step that is under way; those that leave count no more."""
    pending = values.deployment(2, values.fleet(values.variant(), "i-new"))
    seen = look(
        serving(
            "i-old",
            pending=pending,
            rollout=Rollout(Strategy.CANARY, Phase.BAKING, 1.0, (0.5, 1.0), 1),
            retired=(InstanceRow("i-gone", 1.0, "A"),),
        )
    )
    [variant] = seen.variants
    parts = [(each.id, each.part, each.state) for each in variant.instances]
    assert parts == [("i-old", "active", "healthy"), ("i-new", "new", "healthy"), ("i-gone", "leaving", "leaving")]
    assert (variant.healthy, variant.count) == (2, 2)
    assert any("update to config-2, CANARY: step 1 of 2, baking" in line for line in drawn(seen))


def test_the_busiest_endpoint_goes_first() -> None:
    """Or whatever --sort says; equals by name."""
    busy, hungry, idle = (
        msgspec.structs.replace(look(serving("i-1")), endpoint=name, calls=calls, use=picture.Use(cpu))
        for name, calls, cpu in (("busy", 9.0, 1.0), ("hungry", 1.0, 90.0), ("idle", 0.0, None))
    )
    given = [idle, hungry, busy, msgspec.structs.replace(idle, endpoint="a")]

    def names(order: str) -> list[str]:
        return [each.endpoint for each in picture.arrange(given, order)]

    assert names("load") == ["busy", "hungry", "a", "idle"]
    assert names("cpu") == ["hungry", "busy", "a", "idle"]
    assert names("name") == ["a", "busy", "hungry", "idle"]


def test_a_low_terminal_shows_less_of_each_and_never_more_lines_than_it_has() -> None:
    """First the containers of healthy instances go, then these, then stages; at last endpoints themselves, and it says
    how many. What is not well goes last."""
    events = {"i-1": on_each(WELL, "one", "two") + ILL}
    seen = look(serving("i-1", "i-2"), events=events)
    heights = {height: drawn(seen, height=height) for height in range(1, 20)}
    assert all(len(lines) <= height for height, lines in heights.items())
    assert heights[19] == drawn(seen)
    assert "i-2" not in "\n".join(heights[9])
    assert "wrong-port" in "\n".join(heights[8])
    many = drawn(*(msgspec.structs.replace(seen, endpoint=f"e{n}") for n in range(30)), height=10)
    assert len(many) == 10
    assert many[-1] == "and 24 more endpoints: polyport top ENDPOINT shows one"


def test_a_narrow_terminal_drops_columns_and_cuts_names() -> None:
    """No line is wider than it; calls a second stay longest."""
    events = {"i-1": on_each(WELL, "one", "two") + ILL}
    seen = look(serving("i-1"), counts("Invocations", 1.0), events=events)
    for width in (200, 120, 80, 60, 40, 20):
        assert max(map(len, drawn(seen, width=width))) <= width
    assert "CALLS/S" in "\n".join(drawn(seen, width=60))
    assert "BUSY" not in "\n".join(drawn(seen, width=100))


def test_the_failure_reason_begins_with_what_is_new_in_it() -> None:
    """SageMaker's own sentence, which says nothing, would take the room. So would what the container printed."""
    reason = "The primary container ... . Please check CloudWatch logs for this endpoint. It exited\nwith code 3."
    reason = failure.clip(reason, ("Traceback (most recent call last):", "  ..."))
    seen = look(serving(status=Status.FAILED, failure_reason=reason))
    assert "  It exited with code 3." in drawn(seen)


def test_without_a_server_it_says_so(polyport: Run, home: Path) -> None:
    """In one line, with what to do; nothing is shown that would look alive."""
    said = refused(polyport("top"))
    assert said.startswith(f"No server runs on the home {home}: start one with polyport serve")


def test_an_unknown_order_or_endpoint_is_refused(polyport: Run, home: Path) -> None:
    """With those that there are, or where to find them."""
    assert refused(polyport("top", "--sort", "luck")) == "--sort luck: give one of load, cpu, memory, errors, name."
    (home / "run").mkdir(mode=0o700)
    with (home / "run" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert refused(polyport("top", "nobody")) == "There is no endpoint nobody. See polyport endpoints list."


def test_the_file_of_metrics_is_read_while_another_writes_it(tmp_path: Path) -> None:
    """Of the names asked for, the fine periods from a moment on; the reader cannot change it."""
    writer, reader = SeriesFile(tmp_path / "metrics.db"), SeriesFile(tmp_path / "metrics.db")
    writer.open()
    reader.open_to_read()
    for name, start in (("Invocations", 1_000_000), ("Invocations", 999_000), ("ModelLatency", 1_000_000)):
        key, _, found = counts(name, 1.0)
        writer.add([Value(key, start, found)])
    [(key, start, found)] = reader.read_latest(("Invocations",), NOW - 60)
    assert (key.name, start // FINE * FINE, found.count) == ("Invocations", 1_000_000, 1.0)
    writer.close()
    reader.close()
