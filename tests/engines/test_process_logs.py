"""What becomes of the output of the process engine's containers."""

import re
from pathlib import Path

from msgspec.structs import replace

from engines.labs import (
    LABELS,
    ProcessLab,
    container_of,
    find,
    instance,
    run,
    until,
    until_healthy,
    until_true,
)
from polyport.engines.process.engine import ProcessEngine


def test_everything_printed_before_an_exit_is_in_the_log(process_lab: ProcessLab) -> None:
    """No loss: much output and an immediate exit, a last line without its end, each line with a time and its stream."""
    prints = "sys.stdout.write(''.join(f'row {n}\\n' for n in range(50000)) + 'tail'); sys.stdout.flush()"
    moans = "os.write(2, b'moan\\n'); os._exit(4)"

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first", runs=[prints, moans])))
        await until(engine, lambda states: container_of(find(states), "first").restarts >= 1)
        await engine.remove("i-1")
        await until(engine, lambda states: not states)

    run(process_lab.make(), story)
    lines = process_lab.log("first").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (stdout|stderr|system) ", line) for line in lines)
    said = [line.split(" ", 2)[1:] for line in lines]
    rows = [text for stream, text in said if stream == "stdout"]
    runs = len(rows) // 50001
    assert runs >= 1
    assert rows[:50001] == [*(f"row {number}" for number in range(50000)), "tail"]
    assert rows.count("tail") == runs
    assert ["stderr", "moan"] in said
    assert ["system", "exited with code 4"] in said


def test_logs_are_rotated_and_the_oldest_go(process_lab: ProcessLab) -> None:
    """At most `log_files` older files of about `log_max_bytes`; the newest lines stay."""
    prints = "sys.stdout.write(''.join(f'row {n:06d}\\n' for n in range(5000))); sys.stdout.flush()"

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first", runs=[prints])))
        await until_healthy(engine)

        async def all_written() -> bool:
            # Not the file itself: while it is rotated, there is a moment without one.
            return "row 004999" in (await engine.explain("i-1", "first")).output[-1:]

        await until_true(all_written)

    run(process_lab.make(log_max_bytes=20000, log_files=3), story)
    log = process_lab.log("first")
    names = sorted(path.name for path in log.parent.iterdir())
    assert names == ["first.log", "first.log.1", "first.log.2", "first.log.3"]
    assert all(path.stat().st_size <= 20000 for path in log.parent.iterdir())


def test_logs_outlive_their_instance_and_hostile_labels_stay_inside(process_lab: ProcessLab, tmp_path: Path) -> None:
    """Labels come from users: they name folders below `logs`, never others."""
    labels = {**LABELS, "region": "../../../escape", "endpoint": ".."}

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(replace(instance(process_lab.container("first", output=["hello"])), labels=labels))
        await until_healthy(engine)
        await engine.remove("i-1")
        await until(engine, lambda states: not states)

    run(process_lab.make(), story)
    found = list((tmp_path / "home" / "logs").rglob("first.log"))
    assert len(found) == 1
    assert found[0].relative_to(tmp_path / "home" / "logs").parts[1:3] == ("_._.._.._escape", "_.")
    assert " stdout hello\n" in found[0].read_text()


def test_a_deleted_log_folder_does_no_harm(process_lab: ProcessLab) -> None:
    """A container whose log cannot be written goes on: lines are dropped rather than the container blocked."""
    log = process_lab.log("first")
    log.parent.parent.mkdir(parents=True)
    log.parent.write_text("in the way")
    prints = "sys.stdout.write('x' * 300000 + '\\n'); sys.stdout.flush()"

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first", runs=[prints])))
        await until_healthy(engine)

    run(process_lab.make(), story)
