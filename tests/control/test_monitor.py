"""The monitor: it asks containers, and survives whatever the engine does."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from control.gateways import until
from control.values import running, variant
from polyport.control import health
from polyport.control import monitor as monitor_module
from polyport.control.monitor import Monitor
from polyport.domain.instances import ContainerPhase, ContainerState, InstanceState
from polyport.engines.contract import Diagnosis, Ping
from polyport.errors import EngineError

RULES = health.Rules(startup_timeout=480.0, startup_restarts=3, ping_interval=0.02, unhealthy_after=2)
GOOD, REFUSED = Ping(status=200), Ping(error="refused")


class Engine:
    """The two verbs that a monitor uses; answers are set by the test."""

    def __init__(self) -> None:
        self.answer: Ping | Exception = GOOD
        self.diagnosis: Diagnosis | Exception = Diagnosis(output=("the last line",))
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def ping(self, instance_id: str, hostname: str, timeout: float) -> Ping:
        self.asked += 1
        answer = self.answer
        await self.gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def explain(self, instance_id: str, hostname: str) -> Diagnosis:
        if isinstance(self.diagnosis, Exception):
            raise self.diagnosis
        return self.diagnosis


class Watching:
    """A monitor that watches one instance with the containers ``one`` and ``two``."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.now = 1.0
        self.changes = 0
        self.monitor = Monitor(self.engine, 1.0, self._changed, lambda: self.now)  # type: ignore[arg-type]
        self.show(running("one"), running("two"))

    def _changed(self, key: str) -> None:
        assert key == "i-1"
        self.changes += 1

    def show(self, *containers: ContainerState) -> None:
        self.monitor.update({"i-1": InstanceState("i-1", containers)})

    def watch(self) -> None:
        self.monitor.watch("i-1", variant(), RULES)

    @property
    def healthy(self) -> bool:
        return self.monitor.is_healthy("i-1")


@pytest.fixture
def run() -> Callable[[Callable[[Watching], Awaitable[None]]], None]:
    async def main(body: Callable[[Watching], Awaitable[None]]) -> None:
        watching = Watching()
        await body(watching)
        await watching.monitor.close()
        assert len(asyncio.all_tasks()) == 1

    return lambda body: asyncio.run(main(body))


Run = Callable[[Callable[[Watching], Awaitable[None]]], None]


def test_an_instance_is_healthy_when_all_its_containers_are(run: Run) -> None:
    """One that is not shown or does not answer, and the instance is not; and nobody is before it was asked."""

    async def body(w: Watching) -> None:
        w.show(running("one"), replace(running("two"), phase=ContainerPhase.STARTING))
        w.watch()
        w.watch()
        assert not w.healthy
        await w.monitor.first_verdicts()
        assert not w.healthy
        assert w.monitor.hints("i-1") == ["two: starting"]
        w.show(running("one"), running("two"))
        await until(lambda: w.healthy)
        assert w.monitor.hints("i-1") == []
        assert w.changes >= 2
        assert not w.monitor.is_healthy("i-2")

    run(body)


def test_a_container_that_ended_is_unhealthy_at_once(run: Run) -> None:
    """Who publishes right after the engine was looked at must not publish it, though no ping told yet."""

    async def body(w: Watching) -> None:
        w.watch()
        await until(lambda: w.healthy)
        w.show(running("one"), running("two", started_at=50.0))
        assert not w.healthy
        await until(lambda: w.healthy)
        w.monitor.update({})
        assert not w.healthy
        assert w.monitor.hints("i-1") == ["one: being prepared", "two: being prepared"]

    run(body)


def test_a_restart_is_told_of_twice(run: Run) -> None:
    """That a container is unhealthy, and that it is healthy again, however soon it answers: whoever looks in between
    and takes it out of the table has to hear of the end."""

    async def body(w: Watching) -> None:
        w.watch()
        await until(lambda: w.healthy)
        before = w.changes
        w.show(running("one", started_at=2.0), running("two"))
        assert (w.healthy, w.changes) == (False, before + 1)
        await until(lambda: w.healthy)
        assert w.changes == before + 2

    run(body)


def test_an_answer_of_a_process_that_is_no_more_does_not_count(run: Run) -> None:
    """It was asked, it answered 200, and it had ended when the answer came."""

    async def body(w: Watching) -> None:
        w.engine.gate.clear()
        w.watch()
        await until(lambda: w.engine.asked == 2)
        ended = replace(running("two"), phase=ContainerPhase.BACKOFF, pid=None)
        w.show(running("one"), ended)
        w.engine.gate.set()
        await until(lambda: w.monitor.hints("i-1") == ["two: backoff"])
        assert not w.healthy

    run(body)


def test_an_engine_that_is_away_makes_nobody_ask_in_vain_for_ever(run: Run) -> None:
    """Its error counts as a failed ping; the asking goes on and finds it back."""

    async def body(w: Watching) -> None:
        w.watch()
        await until(lambda: w.healthy)
        w.engine.answer = EngineError("the daemon is away")
        await until(lambda: not w.healthy)
        assert w.monitor.hints("i-1")[0] == "one: /ping: the daemon is away"
        w.engine.answer = GOOD
        await until(lambda: w.healthy)

    run(body)


def test_a_bug_in_an_engine_ends_no_watch_and_no_start(run: Run) -> None:
    """The first verdicts are there, the error is in the log, and the next answer is taken."""

    async def body(w: Watching) -> None:
        w.engine.answer = ZeroDivisionError()
        w.watch()
        async with asyncio.timeout(5):
            await w.monitor.first_verdicts()
        assert not w.healthy
        w.engine.answer = GOOD
        await until(lambda: w.healthy)

    run(body)


def test_a_busy_container_is_not_judged_by_one_ping(run: Run) -> None:
    """A ping that timed out is asked again before a verdict: so many times that a healthy one would be unhealthy."""

    async def body(w: Watching) -> None:
        w.engine.answer = Ping(error="timeout")
        w.engine.gate.clear()
        w.watch()
        verdicts = asyncio.create_task(w.monitor.first_verdicts())
        await until(lambda: w.engine.asked == 2)
        w.engine.answer = GOOD
        w.engine.gate.set()
        await verdicts
        assert w.healthy
        assert w.engine.asked >= 4

    run(body)


def test_a_container_that_only_times_out_does_not_hold_up_a_start(run: Run) -> None:
    """After so many failures it is unhealthy, and that is a verdict."""

    async def body(w: Watching) -> None:
        w.now = 1000.0
        w.engine.answer = Ping(error="timeout")
        w.watch()
        async with asyncio.timeout(5):
            await w.monitor.first_verdicts()
        assert w.engine.asked == 4
        assert not w.healthy

    run(body)


def test_who_is_overdue_says_why(run: Run) -> None:
    """All failing containers are named, then what they printed; overdue is never seen before the reason."""

    async def body(w: Watching) -> None:
        w.engine.answer = Ping(status=503)
        w.watch()
        await w.monitor.first_verdicts()
        assert not w.monitor.failure("i-1")
        w.now += 481.0
        w.monitor.suspect("i-1", "one")
        await until(lambda: w.monitor.is_overdue("i-1"))
        assert w.monitor.failure("i-1")
        await until(lambda: "container two" in w.monitor.failure("i-1"))
        reason = w.monitor.failure("i-1")
        assert reason.index("container one") < reason.index("container two") < reason.index("the last line")
        w.engine.answer = GOOD
        w.monitor.suspect("i-1", "one")
        await until(lambda: w.healthy)
        assert not w.monitor.is_overdue("i-1")
        assert not w.monitor.failure("i-1")

    run(body)


def test_a_container_that_its_engine_never_shows_gets_overdue_too(run: Run) -> None:
    """An instance without containers is one whose start hangs, and does not hang the endpoint."""

    async def body(w: Watching) -> None:
        w.engine.diagnosis = EngineError("the daemon is away")
        w.show()
        w.watch()
        await w.monitor.first_verdicts()
        w.now += 481.0
        w.monitor.suspect("i-1", "one")
        await until(lambda: w.monitor.is_overdue("i-1"))
        assert "the daemon is away" in w.monitor.failure("i-1")

    run(body)


def test_what_is_held_against_an_instance_ends_with_it(run: Run) -> None:
    """An instance that went away and comes back has its whole time again."""

    async def body(w: Watching) -> None:
        w.engine.answer = Ping(status=503)
        w.watch()
        await w.monitor.first_verdicts()
        w.now += 481.0
        w.monitor.suspect("i-1", "one")
        await until(lambda: w.monitor.is_overdue("i-1"))
        w.monitor.update({})
        assert not w.monitor.is_overdue("i-1")
        assert not w.monitor.failure("i-1")
        w.monitor.update({"i-1": InstanceState("i-1", (running("one", started_at=482.0), running("two")))})
        asked = w.engine.asked
        await until(lambda: w.engine.asked > asked + 4)
        assert not w.monitor.is_overdue("i-1")

    run(body)


def test_a_forgotten_instance_is_not_asked(run: Run) -> None:
    """Nor kicked, nor judged."""

    async def body(w: Watching) -> None:
        w.watch()
        await until(lambda: w.healthy)
        w.monitor.forget("i-1")
        w.monitor.forget("i-1")
        asked = w.engine.asked
        w.monitor.suspect("i-1", "one")
        w.show(running("one"))
        await asyncio.sleep(0.1)
        assert w.engine.asked == asked
        assert not w.healthy
        assert w.monitor.hints("i-1") == []

    run(body)


def test_an_engine_that_hangs_does_not_hang_the_asking(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a ping nor an explanation is waited for longer than it may take: the verdict comes all the same."""
    monkeypatch.setattr(monitor_module, "ENGINE_TIME", -0.95)

    async def hang(*_: object) -> Diagnosis:
        await asyncio.Event().wait()
        raise AssertionError

    async def body(w: Watching) -> None:
        w.watch()
        await until(lambda: w.healthy)
        w.engine.gate.clear()
        await until(lambda: not w.healthy)
        assert w.monitor.hints("i-1")[0] == "one: /ping: the engine gave no answer"
        monkeypatch.setattr(monitor_module, "ENGINE_TIME", 0.05)
        w.engine.explain = hang  # type: ignore[method-assign]
        w.now += 481.0
        w.engine.answer = REFUSED
        w.engine.gate.set()
        await until(lambda: w.monitor.is_overdue("i-1"))
        assert w.monitor.failure("i-1")

    run(body)


def test_who_hangs_is_slow_first_and_then_complained_of(run: Run) -> None:
    """Both are told to whoever listens, and both end with the first good ping."""

    async def body(w: Watching) -> None:
        w.watch()
        await until(lambda: w.healthy)
        w.engine.answer = Ping(error="timeout")
        await until(lambda: not w.healthy and w.monitor.is_slow("i-1"))
        assert w.monitor.complaint("i-1") == ""
        changes = w.changes
        w.now += 31.0
        await until(lambda: w.monitor.complaint("i-1"))
        assert "its last ping: timeout" in w.monitor.complaint("i-1")
        assert w.changes > changes
        w.engine.answer = GOOD
        await until(lambda: w.healthy)
        assert w.monitor.complaint("i-1") == ""
        w.engine.answer = Ping(error="timeout")
        await until(lambda: not w.healthy and w.monitor.is_slow("i-1"))
        w.show(running("one"), replace(running("two"), phase=ContainerPhase.BACKOFF, pid=None))
        assert not w.monitor.is_slow("i-1"), "who has ended is not slow"

    run(body)
