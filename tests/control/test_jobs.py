"""Work in the background, and tries that fail."""

import asyncio
import logging

import pytest

from control.gateways import until
from control.values import fix_of
from polyport.control import attempts
from polyport.control.jobs import Jobs
from polyport.domain.diagnosis import Stage
from polyport.errors import ArtifactError, EngineError, ImageError


def test_work_with_the_same_key_runs_once_at_a_time() -> None:
    """A second start while it runs is nothing; afterwards it runs again."""

    async def main() -> None:
        jobs, gate, runs = Jobs(), asyncio.Event(), []

        async def work(name: str) -> None:
            runs.append(name)
            await gate.wait()

        jobs.start("key", work("first"))
        jobs.start("key", work("second"))
        jobs.start("other", work("third"))
        await asyncio.sleep(0)
        assert runs == ["first", "third"]
        gate.set()
        await until(lambda: "key" not in jobs)
        jobs.start("key", work("fourth"))
        await asyncio.sleep(0)
        assert runs == ["first", "third", "fourth"]
        await jobs.close()

    asyncio.run(main())


def test_closed_jobs_are_ended_and_none_begins() -> None:
    """All are cancelled, waited for, and what comes later is dropped without a warning."""

    async def main() -> None:
        jobs, ended = Jobs(), []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        jobs.start(1, work())
        jobs.start(2, work())
        await asyncio.sleep(0)
        jobs.cancel(1)
        jobs.cancel("unknown")
        await jobs.close()
        await jobs.close()
        assert ended == [True, True]
        jobs.start(3, work())
        assert 3 not in jobs
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_no_error_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """What work raises is in the log, and its key is free again."""

    async def main() -> None:
        jobs = Jobs()

        async def work() -> None:
            raise ZeroDivisionError("by zero")

        jobs.start("key", work())
        await until(lambda: "key" not in jobs)

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "by zero" in caplog.text


def test_tries_that_fail_are_repeated_ever_later() -> None:
    """Each failure waits longer than the one before, up to the last; since when they fail is remembered."""
    now, pauses, latest = 100.0, [], attempts.NEVER
    for _ in range(8):
        latest = attempts.failed(latest, "the reason", now)
        pauses.append(latest.again_at - now)
        now += 10.0
    assert pauses == [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 30.0, 30.0]
    assert (latest.since, latest.failures, latest.reason) == (100.0, 8, "the reason")


def test_a_failure_after_a_success_begins_anew() -> None:
    """What failed last week is no reason to call it overdue today."""
    before = attempts.Attempt(again_at=5.0)
    assert attempts.failed(before, "the reason", 1000.0).since == 1000.0


def test_our_own_errors_speak_for_themselves_and_bugs_are_named() -> None:
    """Users read what is wrong, then what to do; of a bug they read its name, the rest is in the log."""
    fix = fix_of("model-data-not-fetched")
    assert attempts.reason(ArtifactError("There is no such bucket."), Stage.MODEL) == f"There is no such bucket. {fix}"
    assert attempts.reason(EngineError("No port is left."), Stage.ENGINE) == "No port is left."
    assert attempts.reason(KeyError("x"), Stage.MODEL) == "Internal error: KeyError: 'x'"
    long = attempts.reason(ArtifactError("x" * 5000), Stage.MODEL)
    assert len(long) == 1024
    assert long.endswith(f"x…. {fix}")


def test_what_to_do_is_told_once() -> None:
    """An error that names the command or the setting has said it."""
    text = "There is no image 'x'. Build it with `polyport image build DIR --tag NAME`."
    assert attempts.reason(ImageError(text), Stage.IMAGE) == text
