"""The small parts: deadlines, the clock, and the pieces of the table that come from outside."""

import uuid
from email.utils import parsedate_to_datetime

import pytest

from gateway.fakes import Loop, World, endpoint, instance, variant
from polyport.errors import UsageError
from polyport.gateway import faults
from polyport.gateway.clients import request
from polyport.gateway.clock import Clock
from polyport.gateway.deadlines import Lane
from polyport.gateway.options import from_settings
from polyport.settings import Settings, environment_name, load


def test_items_fall_due_in_turn_and_done_ones_do_not() -> None:
    """Added ones wait their time from when they were added; adding again begins anew."""
    loop, fallen = Loop(), []
    lane: Lane[str] = Lane(loop, 10.0, fallen.append)
    lane.add("a")
    loop.advance(4)
    lane.add("b")
    lane.add("c")
    lane.discard("b")
    loop.advance(6)
    assert fallen == ["a"]
    loop.advance(4)
    assert fallen == ["a", "c"]
    assert not loop.timers
    assert len(lane) == 0


def test_an_item_may_end_others_and_begin_new_ones_when_it_falls_due() -> None:
    """As exchanges do that serve what waits behind them."""
    loop, fallen = Loop(), []

    def expire(item: str) -> None:
        fallen.append(item)
        lane.discard("b")
        lane.add("new")

    lane: Lane[str] = Lane(loop, 10.0, expire)
    lane.add("a")
    lane.add("b")
    loop.advance(10)
    assert fallen == ["a"]
    assert len(lane) == 1
    assert len(loop.timers) == 1
    loop.advance(10)
    assert fallen == ["a", "new"]


def test_a_mistake_with_one_item_does_not_keep_the_others_from_falling_due() -> None:
    """Deadlines hold whatever happens."""
    loop, fallen = Loop(), []

    def expire(item: str) -> None:
        if item == "bad":
            raise ValueError(item)
        fallen.append(item)

    lane: Lane[str] = Lane(loop, 10.0, expire)
    lane.add("bad")
    lane.add("good")
    with pytest.raises(ValueError, match="bad"):
        loop.advance(10)
    loop.advance(0)
    assert fallen == ["good"]


def test_a_closed_lane_forgets_all() -> None:
    """No timer stays behind."""
    loop = Loop()
    lane: Lane[str] = Lane(loop, 10.0, pytest.fail)
    lane.add("a")
    lane.close()
    assert not loop.timers
    loop.advance(20)


def test_request_ids_are_uuids_and_differ() -> None:
    """Between workers by their prefix, within one by their number."""
    one, other = Clock(), Clock()
    ids = [one.request_id() for _ in range(1000)] + [other.request_id() for _ in range(1000)]
    assert len(set(ids)) == 2000
    assert {uuid.UUID(each.decode()).version for each in ids} == {4}


def test_the_date_is_that_of_http() -> None:
    """SDKs correct their clocks by it."""
    clock = Clock()
    line = clock.date.decode()
    assert line.startswith("Date: ")
    assert line.endswith(" GMT\r\n")
    assert parsedate_to_datetime(line[6:-2]).tzinfo is not None
    assert 0 < clock.refresh() <= 1


def test_many_small_pieces_of_a_body_take_no_more_memory_than_the_body() -> None:
    """A byte a chunk would else take eight times its size."""
    made = request.Request()
    for _ in range(10_000):
        made.add(b"a")
    made.add(b"b" * 10_000)
    made.add(b"c")
    made.add(b"d")
    assert b"".join(made.body) == b"a" * 10_000 + b"b" * 10_000 + b"cd"
    assert made.size == 20_002
    assert len(made.body) == 4


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://h/a?b", b"/a?b"),
        (b"HTTP://h:80", b"/"),
        (b"https://h?x", b"/?x"),
        (b"*", b"*"),
    ],
)
def test_absolute_targets_have_a_path(target: bytes, path: bytes) -> None:
    """The authority is not of interest; Host is what is signed."""
    assert request.path_of(target) == path


def test_a_hostname_that_would_add_a_header_is_not_served() -> None:
    """Even if the table says so."""
    bad = endpoint("e", variant(instance("i", 1), hostnames=("a\r\nX: y",)))
    with pytest.raises(ValueError, match="cannot be in a header"):
        World(bad)


def test_a_table_whose_instances_do_not_match_its_hostnames_is_not_served() -> None:
    """Else a call would reach the wrong container."""
    bad = endpoint("e", variant(instance("i", 1, 2), mode="Direct", hostnames=("a",)))
    with pytest.raises(ValueError, match="zip"):
        World(bad)


def test_status_lines_have_a_phrase_where_there_is_one() -> None:
    """Any three digits can come from control."""
    assert faults.status_line(424) == b"HTTP/1.1 424 Failed Dependency\r\n"
    assert faults.status_line(299) == b"HTTP/1.1 299 \r\n"


def test_options_come_from_the_settings() -> None:
    """One table of settings for all."""
    made = from_settings(Settings(port=1, invocation_timeout=600), name="w", channel="c", control="h", parent=7)
    assert (made.port, made.account, made.region, made.parent) == (1, "123456789012", "us-east-1", 7)
    assert (made.invocation_timeout, made.stream_timeout, made.drain_timeout) == (600, 600, 600)
    assert made.max_body_bytes == 25 * 1024 * 1024


def test_what_a_container_is_given_is_shared_out_among_the_workers() -> None:
    """Each has at least one; off stays off."""

    def shares(bound: int, line: int) -> tuple[int, int]:
        settings = Settings(workers=4, max_concurrent_invocations=bound, queue_size=line)
        made = from_settings(settings, name="w", channel="c", control="h")
        return made.max_concurrent_invocations, made.queue_size

    assert [shares(*pair) for pair in ((0, 100), (1, 0), (8, 9), (9, 8))] == [(0, 25), (1, 0), (2, 3), (3, 2)]


def test_settings_of_the_gateway_are_checked() -> None:
    """What makes no sense is said with the name of the setting."""
    for name, value in (
        ("stage_timeout", "-1"),
        ("max_connections", "0"),
        ("queue_timeout", "0"),
        ("server_timing", "x"),
    ):
        with pytest.raises(UsageError, match=name):
            load({}, {environment_name(name): value, "POLYPORT_HOME": "/nowhere"})
    made = load({}, {"POLYPORT_SERVER_TIMING": "false", "POLYPORT_STAGE_TIMEOUT": "0", "POLYPORT_HOME": "/nowhere"})
    assert (made.server_timing, made.stage_timeout) == (False, 0)
