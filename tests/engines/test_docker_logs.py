"""What becomes of the output of real containers."""

import asyncio
import re
from pathlib import Path

import pytest

from engines.labs import DockerLab, container_of, find, instance, run, until, until_healthy, until_true
from polyport.domain.instances import ContainerPhase, InstanceState
from polyport.engines.docker.engine import DockerEngine

pytestmark = pytest.mark.slow


def read_all(lab: DockerLab, hostname: str = "first") -> list[list[str]]:
    """Stream and text of every line, oldest first."""
    log = lab.log(hostname)
    parts = sorted(log.parent.glob(f"{log.name}.*"), key=lambda path: -int(path.suffix[1:]))
    lines = [line for path in (*parts, log) for line in path.read_text().splitlines()]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (stdout|stderr|system) ", line) for line in lines)
    return [line.split(" ", 2)[1:] for line in lines]


def printed(lab: DockerLab, stream: str = "stdout") -> list[str]:
    return [text for kind, text in read_all(lab) if kind == stream]


async def until_printed(lab: DockerLab, text: str) -> None:
    async def is_printed() -> bool:
        await asyncio.sleep(0.1)
        return lab.log("first").exists() and text in printed(lab)

    await until_true(is_printed)


def test_every_line_is_in_the_log_once_over_restarts_of_control(docker_lab: DockerLab) -> None:
    """The container goes on printing while control comes and goes, on both streams."""
    prints = (
        "import time\n"
        "for n in range(300):\n"
        "    os.write(1, b'row %d\\n' % n)\n"
        "    os.write(2, b'moan %d\\n' % n)\n"
        "    time.sleep(0.02)\n"
    )

    async def first(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first", runs=[prints])))
        await until_printed(docker_lab, "row 20")

    async def later(engine: DockerEngine) -> None:
        await asyncio.sleep(0.7)

    async def last(engine: DockerEngine) -> None:
        await until_healthy(engine)
        await until_printed(docker_lab, "row 299")

    run(docker_lab.make(), first)
    for _ in range(3):
        run(docker_lab.make(), later)
    run(docker_lab.make(), last)
    assert printed(docker_lab) == [f"row {number}" for number in range(300)]
    moans = printed(docker_lab, "stderr")
    assert moans == [f"moan {number}" for number in range(len(moans))]
    assert len(moans) >= 299


def test_everything_printed_before_an_exit_is_in_the_log(docker_lab: DockerLab) -> None:
    """Much output and an immediate exit, a last line without its end; then the next run, each line once."""
    prints = "sys.stdout.write(''.join(f'row {n}\\n' for n in range(20000)) + 'tail'); sys.stdout.flush()"
    moans = "os.write(2, b'moan\\n'); os._exit(4)"

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first", runs=[prints, moans])))
        await until(engine, is_between_runs)
        await engine.remove("i-1")
        await until(engine, lambda states: not states)

    def is_between_runs(states: tuple[InstanceState, ...]) -> bool:
        state = container_of(find(states), "first")
        return state.restarts >= 2 and state.phase is ContainerPhase.BACKOFF

    run(docker_lab.make(), story)
    rows = printed(docker_lab)
    runs, rest = divmod(len(rows), 20001)
    assert (runs >= 2, rest) == (True, 0)
    assert rows == [*(f"row {number}" for number in range(20000)), "tail"] * runs
    said = read_all(docker_lab)
    assert said.count(["stderr", "moan"]) == runs
    assert said.count(["system", "exited with code 4"]) == runs


def test_long_lines_are_cut_as_everywhere(docker_lab: DockerLab) -> None:
    """Daemons cut them into small pieces: those are joined, and cut at 256 KiB."""
    prints = "sys.stdout.write('x' * 300000 + '\\nend\\n'); sys.stdout.flush()"

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first", runs=[prints])))
        await until_printed(docker_lab, "end")

    run(docker_lab.make(), story)
    assert [len(text) for text in printed(docker_lab)] == [256 * 1024, 300000 - 256 * 1024, 3]


def test_one_that_fills_its_log_fills_no_disk(docker_lab: DockerLab) -> None:
    """At most `log_files` older files of about `log_max_bytes`; the newest lines stay, and the container goes on."""
    prints = "sys.stdout.write(''.join(f'row {n:06d}\\n' for n in range(30000))); sys.stdout.flush()"

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first", runs=[prints])))
        await until_healthy(engine)
        await until_printed(docker_lab, "row 029999")

    run(docker_lab.make(log_max_bytes=100_000, log_files=3), story)
    log: Path = docker_lab.log("first")
    names = sorted(path.name for path in log.parent.iterdir())
    assert names == ["first.log", "first.log.1", "first.log.2", "first.log.3"]
    assert all(path.stat().st_size <= 100_000 for path in log.parent.iterdir())
    rows = printed(docker_lab)
    assert rows == [f"row {number:06d}" for number in range(30000 - len(rows), 30000)]


def test_a_log_that_cannot_be_written_does_no_harm(docker_lab: DockerLab) -> None:
    """Lines are dropped rather than the container blocked."""
    log = docker_lab.log("first")
    log.parent.parent.mkdir(parents=True)
    log.parent.write_text("in the way")

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first", output=["hello"])))
        await until_healthy(engine)
        assert (await engine.explain("i-1", "first")).output == ("hello",)

    run(docker_lab.make(), story)
