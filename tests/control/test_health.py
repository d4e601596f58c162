"""Health: pure judgement of pings and of what the engine sees."""

import pytest
from msgspec.structs import replace

from control.values import running
from polyport.control import health
from polyport.control.health import Health, Rules
from polyport.domain.instances import ContainerPhase, ContainerState
from polyport.engines.contract import Ping

RULES = Rules(startup_timeout=480.0, startup_restarts=3, ping_interval=5.0, unhealthy_after=3)
GOOD, BAD, REFUSED = Ping(status=200), Ping(status=500), Ping(error="refused")


def healthy(at: float = 10.0) -> Health:
    container = running("one")
    return health.judge(health.observe(None, container, 1.0), GOOD, container, RULES, at)


def test_one_200_makes_a_container_healthy() -> None:
    """SageMaker's rule: status 200, whatever the body; and since when is remembered."""
    first = healthy(10.0)
    assert first.healthy
    assert first.since == 10.0
    assert health.judge(first, GOOD, running("one"), RULES, 15.0).since == 10.0


@pytest.mark.parametrize("ping", [Ping(status=201), Ping(status=204), BAD, REFUSED, Ping(error="timeout")], ids=str)
def test_nothing_but_200_does(ping: Ping) -> None:
    """Any other status, or none, is a failed ping."""
    new = health.observe(None, running("one"), 1.0)
    assert not health.judge(new, ping, running("one"), RULES, 2.0).healthy


def test_a_healthy_container_is_unhealthy_after_so_many_failures_in_a_row() -> None:
    """A good ping in between counts them anew."""
    now = healthy()
    for ping, expected in [(BAD, True), (REFUSED, True), (GOOD, True), (BAD, True), (BAD, True), (BAD, False)]:
        now = health.judge(now, ping, running("one"), RULES, 20.0)
        assert now.healthy is expected
    assert now.since == 20.0
    assert now.failures == 3


def test_a_container_that_ended_is_unhealthy_without_being_asked() -> None:
    """The engine knows before any ping does."""
    backoff = replace(running("one"), phase=ContainerPhase.BACKOFF, pid=None)
    now = health.observe(healthy(), backoff, 30.0)
    assert not now.healthy
    assert now.since == 30.0


def test_a_container_that_was_started_again_begins_anew() -> None:
    """Its old answers are of another process; how long it has been unhealthy goes on being counted."""
    now = health.observe(healthy(), running("one", started_at=31.0), 31.5)
    assert not now.healthy
    assert (now.since, now.started_at, now.failures) == (31.5, 31.0, 0)
    again = health.observe(now, running("one", started_at=40.0), 40.0)
    assert (again.since, again.started_at) == (31.5, 40.0)


def test_what_does_not_change_is_not_touched() -> None:
    """The same view of the same process is no news, healthy or not."""
    assert health.observe(healthy(), running("one"), 50.0) == healthy()
    unhealthy = health.observe(None, running("one"), 1.0)
    assert health.observe(unhealthy, running("one"), 50.0) == unhealthy


@pytest.mark.parametrize(
    ("age", "expected"), [(0.0, 0.02), (1.9, 0.02), (2.0, 0.1), (9.9, 0.1), (10.0, 0.5), (60.0, 2.0), (9999.0, 2.0)]
)
def test_a_young_container_is_asked_often_and_an_old_one_seldom(age: float, expected: float) -> None:
    """A model that loads in a second is in service in a second; one that needs minutes is not bothered."""
    assert health.pause(health.observe(None, running("one", started_at=100.0), 100.0), RULES, 100.0 + age) == expected


def test_a_container_that_was_never_started_is_not_asked_for_ever_at_the_fastest_pace() -> None:
    """An engine that needs minutes to start a container (it fetches an image) costs no busy loop meanwhile."""
    waiting = health.observe(None, ContainerState("one", ContainerPhase.STARTING), 100.0)
    assert health.pause(waiting, RULES, 100.0) == 0.02
    assert health.pause(waiting, RULES, 200.0) == health.PATIENT


def test_a_healthy_container_is_asked_at_the_interval_and_sooner_after_a_failure() -> None:
    """The usual cause of a first failure is a container that is gone."""
    assert health.pause(healthy(), RULES, 11.0) == 5.0
    failing = health.judge(healthy(), BAD, running("one"), RULES, 12.0)
    assert health.pause(failing, RULES, 12.0) == 0.5
    assert health.pause(failing, replace(RULES, ping_interval=0.1), 12.0) == 0.1


def test_a_start_that_takes_too_long_is_overdue() -> None:
    """Overdue is who has been unhealthy for longer than a start may take, at the beginning or later."""
    new = health.observe(None, running("one"), 100.0)
    assert not health.is_overdue(new, RULES, 580.0)
    assert health.is_overdue(new, RULES, 580.1)
    assert not health.is_overdue(healthy(), RULES, 1e9)


@pytest.mark.parametrize(
    ("phase", "restarts", "expected"),
    [
        (ContainerPhase.BACKOFF, 2, False),
        (ContainerPhase.BACKOFF, 3, True),
        (ContainerPhase.STOPPED, 3, True),
        # Perhaps this start is the good one.
        (ContainerPhase.RUNNING, 9, False),
    ],
)
def test_a_container_that_exits_too_often_is_given_up(phase: ContainerPhase, restarts: int, expected: bool) -> None:
    """Only exits without once being healthy in between count."""
    container = replace(running("one", restarts=restarts), phase=phase)
    assert health.is_crashing(health.observe(None, container, 1.0), container, RULES) is expected
    once_healthy = replace(healthy(), healthy=False, restarts=restarts)
    assert not health.is_crashing(once_healthy, container, RULES)


def fallen(times: int, pause: float = 20.0) -> Health:
    """A container that fell ill so many times and is ill now."""
    now, container, at = healthy(), running("one"), 100.0
    for _ in range(times):
        while not now.healthy:
            now = health.judge(now, GOOD, container, RULES, at)
        now = health.judge(health.suspect(now), BAD, container, RULES, at)
        at += pause
    return now


def test_a_gateways_word_and_one_failed_ping_are_enough() -> None:
    """Two witnesses; a good ping clears the container, and one that is ill already cannot be suspected."""
    suspected = health.suspect(healthy())
    assert not health.judge(suspected, REFUSED, running("one"), RULES, 20.0).healthy
    cleared = health.judge(suspected, GOOD, running("one"), RULES, 20.0)
    assert health.judge(cleared, REFUSED, running("one"), RULES, 21.0).healthy
    new = health.observe(None, running("one"), 1.0)
    assert health.suspect(new) == new


@pytest.mark.parametrize(("falls", "expected"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (9, 32)])
def test_who_falls_ill_again_needs_more_good_pings_each_time(falls: int, expected: int) -> None:
    """Twice as many each time, and no more than 32; a bad one in between begins anew."""
    rules = replace(RULES, healthy_after=2)
    now = replace(fallen(1), falls=falls)
    assert health.needed(now, rules, 130.0) == expected
    for _ in range(expected - 1):
        now = health.judge(now, GOOD, running("one"), rules, 130.0)
        assert not now.healthy
    assert (
        not health.judge(
            health.judge(now, BAD, running("one"), rules, 130.0), GOOD, running("one"), rules, 130.0
        ).healthy
        or expected == 1
    )
    assert health.judge(now, GOOD, running("one"), rules, 130.0).healthy


def test_falls_are_forgotten_after_a_while() -> None:
    """Ten minutes after the last one."""
    now = fallen(3)
    assert health.recent_falls(now, now.fell_at + 599) == 3
    assert health.recent_falls(now, now.fell_at + 600) == 0
    assert health.needed(now, RULES, now.fell_at + 600) == 1


def test_good_pings_of_one_that_flaps_are_spread_over_a_while() -> None:
    """A second apart, however young the process is; after the first fall they may be quick."""
    once = health.judge(fallen(1), GOOD, running("one"), replace(RULES, healthy_after=2), 1.5)
    assert health.pause(once, RULES, 1.5) == 0.02
    twice = health.judge(fallen(2), GOOD, running("one"), RULES, 1.5)
    assert health.pause(twice, RULES, 1.5) == 1.0


def test_one_that_hangs_is_complained_of_after_a_while() -> None:
    """It runs, it was healthy since its start, and it has been ill for `replace_after` seconds."""
    ill = fallen(1)
    assert health.complaint(ill, running("one"), RULES, ill.since + 29) == ""
    text = health.complaint(ill, running("one"), RULES, ill.since + 30)
    assert text == "container one has been unhealthy for 30 s; its last ping: answered 500."
    assert health.complaint(healthy(), running("one"), RULES, 1e9) == ""


def test_one_that_was_started_again_has_its_start_up_time_in_place() -> None:
    """It may have a large model to load: another instance would have, too."""
    again = health.observe(healthy(), running("one", started_at=31.0), 31.5)
    assert health.complaint(again, running("one", started_at=31.0), RULES, 400.0) == ""


def test_one_that_flaps_is_complained_of_while_it_is_ill() -> None:
    """After `replace_falls` falls, at once."""
    assert health.complaint(fallen(4), running("one"), RULES, 180.0) == ""
    assert (
        health.complaint(fallen(5), running("one"), RULES, 180.0) == "container one fell ill 5 times in a short time."
    )


def test_slow_is_who_was_healthy_and_only_times_out() -> None:
    """Refused connections and other statuses are worse than slow, and a new container was never quick."""
    slow = replace(fallen(1), last=Ping(error="timeout"))
    assert health.is_slow(slow, running("one"))
    assert not health.is_slow(replace(slow, last=REFUSED), running("one"))
    assert not health.is_slow(replace(slow, last=BAD), running("one"))
    assert not health.is_slow(replace(slow, proven=False), running("one"))
    assert not health.is_slow(slow, replace(running("one"), phase=ContainerPhase.BACKOFF))
