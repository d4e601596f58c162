"""What the process engine promises beyond the contract."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from engines.labs import (
    LABELS,
    ProcessLab,
    container_of,
    find,
    instance,
    pids,
    run,
    spare_ports,
    until,
    until_healthy,
    until_true,
)
from polyport.domain.instances import Container, ContainerPhase
from polyport.engines.process import files, processes
from polyport.engines.process.engine import ProcessEngine
from polyport.errors import EngineError

DUMP = "print('DUMP ' + __import__('json').dumps({expression}), flush=True)"


def dump(expression: str) -> dict[str, list[str]]:
    """Has a container print the value of an expression as JSON."""
    return {"runs": [DUMP.replace("{expression}", expression)]}


def read_dump(lab: ProcessLab, hostname: str = "first") -> object:
    """What it printed."""
    text = lab.log(hostname).read_text()
    return json.loads(text.partition(" stdout DUMP ")[2].partition("\n")[0])


def see(lab: ProcessLab, container: Container, **settings: object) -> object:
    """The value that the container dumped."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container))
        await until_healthy(engine)

    run(lab.make(**settings), story)
    return read_dump(lab, container.hostname)


def is_gone(pid: int) -> bool:
    """It ended; a zombie that nobody collected yet counts as ended."""
    process = processes.read(pid)
    return process is None or process.ended


def test_a_container_gets_a_clean_environment(process_lab: ProcessLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the server's environment but what a setting lists; the image's and user's own, and SageMaker's."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for containers")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    container = replace(process_lab.container("first", **dump("dict(os.environ)")), environment={"MODE": "fast"})
    environment = see(process_lab, container, inherit_environment=("HTTPS_PROXY", "ABSENT"))
    folder = process_lab.folder() / "containers" / "first"
    assert isinstance(environment, dict)
    port = int(environment.pop("SAGEMAKER_BIND_TO_PORT"))
    assert environment == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "MODE": "fast",
        "SAGEMAKER_SAFE_PORT_RANGE": f"{port + 1}-{port + 19}",
        "SAGEMAKER_BASE_DIR": str(folder / "ml"),
    }


def test_a_container_has_no_descriptors_but_its_own_three(process_lab: ProcessLab) -> None:
    """Neither files of the server, even inheritable ones, nor of its supervisor leak into it; stdin is empty."""
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    looks = "[os.readlink(f'/proc/self/fd/{fd}') for fd in range(3, 512) if os.path.exists(f'/proc/self/fd/{fd}')]"
    try:
        seen = see(process_lab, process_lab.container("first", **dump(f"[sys.stdin.read(), *{looks}]")))
    finally:
        os.close(leak)
    assert seen == [""]


def test_a_container_leads_a_session_of_its_own_with_default_signals(process_lab: ProcessLab) -> None:
    """Ctrl-C in the server's terminal does not reach it, and no signal is ignored or blocked to begin with."""
    status = "[line for line in open('/proc/self/status') if line[:6] in ('SigBlk', 'SigIgn')]"
    own, masks = see(process_lab, process_lab.container("first", **dump(f"[os.getsid(0) == os.getpid(), {status}]")))
    assert own is True
    # Python itself ignores SIGPIPE (13) and SIGXFSZ (25) at its start; 32 and 33 are the C library's own.
    ours = (1 << 12) | (1 << 24) | (1 << 31) | (1 << 32)
    assert [int(line.split()[1], 16) & ~ours for line in masks] == [0, 0]


def test_an_image_appears_in_the_working_folder(process_lab: ProcessLab, tmp_path: Path) -> None:
    """`python serve.py` works: the image's files are where the container starts, and it may write beside them."""
    image = tmp_path / "image"
    (image / "package").mkdir(parents=True)
    (image / "bin").mkdir()
    (image / "package" / "data.txt").write_text("data")
    python = image / "bin" / "my-python"
    python.symlink_to(sys.executable)
    container = process_lab.container(
        "first", **dump("[open('own.txt', 'w').write('x'), open('package/data.txt').read(), sorted(os.listdir('.'))]")
    )
    environment = {"PATH": f"{image / 'bin'}:/usr/bin"}
    command = ("my-python", *container.command[1:])
    container = replace(container, command=command, environment=environment, folder=str(image))
    assert see(process_lab, container) == [1, "data", ["bin", "own.txt", "package"]]
    assert sorted(path.name for path in image.iterdir()) == ["bin", "package"]


def test_model_data_is_at_sagemaker_base_dir(process_lab: ProcessLab, tmp_path: Path) -> None:
    """`model`, and `additional-model-data-sources/NAME`, wherever mounts are allowed or not."""
    container = replace(
        process_lab.container(
            "first",
            **dump("[open(os.environ['SAGEMAKER_BASE_DIR'] + p).read() for p in ('/model/w', "
                   "'/additional-model-data-sources/extra/w')]"),
        ),
        artifacts=make_models(tmp_path),
    )  # fmt: skip
    assert see(process_lab, container) == ["weights", "more"]


def make_models(tmp_path: Path) -> dict[str, str]:
    """Two folders of model data, as the artifact cache would have them."""
    for name, text in (("one", "weights"), ("two", "more")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w").write_text(text)
    return {"model": str(tmp_path / "one"), "additional-model-data-sources/extra": str(tmp_path / "two")}


TRY_TO_WRITE = """
def attempt(path):
    try:
        open(path, 'w').close()
    except OSError as error:
        return error.errno
tried = [attempt(p) for p in ('/opt/ml/model/new', os.environ['SAGEMAKER_BASE_DIR'] + '/model/new', SOURCE + '/new')]
print('DUMP ' + __import__('json').dumps([os.listdir('/opt/ml/model'), tried, sorted(os.listdir('/opt'))]), flush=True)
"""


def can_mount() -> bool:
    """Whether this machine allows mounts in a namespace of one's own, as another program sees it."""
    flags = ["-m"] if os.getuid() == 0 else ["-Um"]
    return subprocess.run(["unshare", *flags, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="mount namespaces are not allowed here")
def test_each_container_sees_its_own_model_at_opt_ml_read_only(process_lab: ProcessLab, tmp_path: Path) -> None:
    """The real path, each container its own, not to be written to there or where the cache has it; the host's /opt and
    its mounts stay as they were."""
    models = make_models(tmp_path)
    before = (sorted(path.name for path in Path("/opt").iterdir()), Path("/proc/self/mountinfo").read_text())

    def container(hostname: str, source: str) -> Container:
        runs = [TRY_TO_WRITE.replace("SOURCE", repr(source))]
        return replace(process_lab.container(hostname, runs=runs), artifacts={"model": source})

    async def story(engine: ProcessEngine) -> None:
        (tmp_path / "two" / "only-here").touch()
        first, second = container("first", models["model"]), container("second", str(tmp_path / "two"))
        await engine.apply(
            instance(first, second, process_lab.container("none", **dump("os.listdir('/opt/ml/model')")))
        )
        await until_healthy(engine)
        assert (
            sorted(path.name for path in Path("/opt").iterdir()),
            Path("/proc/self/mountinfo").read_text(),
        ) == before

    run(process_lab.make(), story)
    opt = sorted({*before[0], "ml"})
    assert read_dump(process_lab, "first") == [["w"], [30, 30, 30], opt]
    names, refusals, _ = read_dump(process_lab, "second")
    assert (sorted(names), refusals) == (["only-here", "w"], [30, 30, 30])
    assert read_dump(process_lab, "none") == []
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["w"]


WITHOUT_MOUNTS = """#!/bin/sh
export PYTHON="{python}"
exec unshare -Ur sh -c 'echo 0 > /proc/sys/user/max_user_namespaces &&
    exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$PYTHON" "$@"' sh "$@"
"""


@pytest.mark.skipif(not can_mount() or not shutil.which("setpriv"), reason="there is no way to forbid mounts here")
def test_where_mounts_are_forbidden_the_model_is_at_sagemaker_base_dir(
    process_lab: ProcessLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container runs all the same, and its log says what it has to do without."""
    wrapper = tmp_path / "python"
    wrapper.write_text(WITHOUT_MOUNTS.format(python=sys.executable))
    wrapper.chmod(0o755)
    read = "[open(os.environ['SAGEMAKER_BASE_DIR'] + '/model/w').read(), os.path.exists('/opt/ml')]"
    container = replace(process_lab.container("first", **dump(read)), artifacts=make_models(tmp_path))
    monkeypatch.setattr(sys, "executable", str(wrapper))
    there = Path("/opt/ml").exists()
    assert see(process_lab, container) == ["weights", there]
    assert " system /opt/ml is not shown here, only SAGEMAKER_BASE_DIR: " in process_lab.log("first").read_text()


def test_a_stray_in_a_session_of_its_own_ends_with_its_container(process_lab: ProcessLab) -> None:
    """Removal ends the whole container: children, and daemons that left the process group and lost their parent."""
    sleep = "[sys.executable, '-S', '-c', 'import signal; signal.signal(15, signal.SIG_IGN); signal.pause()']"
    orphan = "if os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  signal.pause()\n os._exit(0)\nos.wait()"
    container = process_lab.container(
        "first",
        runs=[f"subprocess.Popen({sleep})", f"subprocess.Popen({sleep}, start_new_session=True, env={{}})", orphan],
    )

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container, stop_timeout=0.2))
        state = await until_healthy(engine)
        base = process_lab.folder() / "containers" / "first" / "ml"
        main = processes.read(container_of(state, "first").pid or 0)
        assert main is not None
        members = processes.find_members(processes.Marks(base, main.pid, main.started))
        assert len(members) == 4
        await engine.remove("i-1")
        await until(engine, lambda states: not states)
        assert all(is_gone(pid) for pid in members)

    run(process_lab.make(), story)


def test_what_a_crashed_container_leaves_is_ended_before_its_next_start(process_lab: ProcessLab) -> None:
    """A worker that survives its main process would keep the port, whatever it did to its session and environment."""
    sleep = "[sys.executable, '-S', '-c', 'import signal; signal.pause()']"
    worker = "if os.fork() == 0:\n    signal.pause()"
    runs = [worker, f"subprocess.Popen({sleep}, start_new_session=True, env={{}})"] if can_mount() else [worker]
    container = process_lab.container("first", runs=runs)

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container, process_lab.container("second")))
        before = await until_healthy(engine)
        main = container_of(before, "first").pid or 0
        left = processes.find_descendants(main)
        assert len(left) == len(runs)
        os.kill(main, signal.SIGKILL)
        await until(engine, lambda states: container_of(find(states), "first").restarts == 1)
        assert all(is_gone(pid) for pid in left)
        assert container_of(find(await engine.observe()), "second") == container_of(before, "second")

    run(process_lab.make(), story)


def test_an_instance_comes_back_by_itself_when_its_supervisor_is_killed(process_lab: ProcessLab) -> None:
    """Containers die with their supervisor, strays too; a successor starts them without a new `apply`."""
    stray = "if os.fork() == 0:\n    os.setsid()\n    signal.pause()"
    sleep = "[sys.executable, '-S', '-c', 'import signal; signal.pause()']"
    runs = [stray, f"subprocess.Popen({sleep}, start_new_session=True, env={{}})"] if can_mount() else [stray]
    container = process_lab.container("first", runs=runs)

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container))
        before = container_of(await until_healthy(engine), "first").pid
        supervisor = process_lab.supervisor() or 0
        old = processes.find_descendants(supervisor)
        assert len(old) == 1 + len(runs)
        os.kill(supervisor, signal.SIGKILL)
        await until(engine, lambda states: container_of(find(states), "first").pid not in (before, None))
        after = container_of(await until_healthy(engine), "first")
        assert all(is_gone(pid) for pid in old)
        assert (after.restarts, after.last_exit and after.last_exit.signal) == (1, signal.SIGKILL)
        assert process_lab.supervisor() not in (supervisor, None)

    run(process_lab.make(), story)


def test_instances_whose_supervisor_died_unseen_come_back_at_open(process_lab: ProcessLab) -> None:
    """Control was down when the supervisor was killed: the next control finds the instance by its folder."""

    async def first(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        await until_healthy(engine)

    async def second(engine: ProcessEngine) -> None:
        assert container_of(await until_healthy(engine), "first").restarts == 1

    run(process_lab.make(), first)
    supervisor = process_lab.supervisor() or 0
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    run(process_lab.make(), second)


def test_removal_goes_on_when_the_supervisor_is_killed_over_it(process_lab: ProcessLab) -> None:
    """A successor finds that nothing is wanted, and clears away."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first", ignores_sigterm=True), stop_timeout=60))
        pid = container_of(await until_healthy(engine), "first").pid or 0
        await engine.remove("i-1")
        os.kill(process_lab.supervisor() or 0, signal.SIGKILL)
        await until(engine, lambda states: not states)
        assert is_gone(pid)
        assert not process_lab.folder().exists()

    run(process_lab.make(), story)


def test_there_is_never_a_second_supervisor(process_lab: ProcessLab) -> None:
    """The lock decides: a second one ends at once and touches nothing."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        before = await until_healthy(engine)
        command = [sys.executable, "-I", "-m", "polyport.engines.process.supervisor", str(process_lab.folder())]
        second = await asyncio.create_subprocess_exec(*command)
        assert await second.wait() == 0
        assert pids(await until_healthy(engine)) == pids(before)

    run(process_lab.make(), story)


def test_a_supervisor_asked_to_end_ends_its_containers_and_leaves_the_instance(process_lab: ProcessLab) -> None:
    """SIGTERM, as a machine's shutdown sends it: containers end in order, and a next start brings them back."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        before = container_of(await until_healthy(engine), "first").pid
        os.kill(process_lab.supervisor() or 0, signal.SIGTERM)
        await until(engine, lambda states: container_of(find(states), "first").pid not in (before, None))
        await until_healthy(engine)

    run(process_lab.make(), story)


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
            log = process_lab.log("first")
            return log.exists() and "row 004999" in log.read_text()

        await until_true(all_written)
        assert (await engine.explain("i-1", "first")).output[-1] == "row 004999"

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


@pytest.mark.parametrize("damage", [b"", b'{"instance": {"id": "i-1"', b"[1, 2]", b'{"containers": 7}'])
def test_a_torn_specification_ends_the_instance(process_lab: ProcessLab, damage: bytes) -> None:
    """After a crash of the machine: what cannot be read is cleared away, its processes too, and the id is free."""

    async def first(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        await until_healthy(engine)

    async def second(engine: ProcessEngine) -> None:
        assert [state.stopping for state in await engine.observe()] == [True]
        await until(engine, lambda states: not states)
        assert is_gone(supervisor)
        await engine.apply(instance(process_lab.container("first")))
        await until_healthy(engine)

    run(process_lab.make(), first)
    supervisor = process_lab.supervisor() or 0
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    (process_lab.folder() / files.SPEC).write_bytes(damage)
    run(process_lab.make(), second)


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"null",
        b'{"containers": 1}',
        b'{"boot_id": 1, "containers": [7, {}, {"hostname": "first", "version": "x"}]}',
    ],
)
def test_foreign_state_files_are_not_believed(process_lab: ProcessLab, foreign: bytes) -> None:
    """A state that no supervisor of ours wrote is replaced, and does no harm in between."""

    async def first(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        await until_healthy(engine)

    async def second(engine: ProcessEngine) -> None:
        await until_healthy(engine)

    run(process_lab.make(), first)
    supervisor = process_lab.supervisor() or 0
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    (process_lab.folder() / files.STATE).write_bytes(foreign)
    run(process_lab.make(), second)


def test_foreign_folders_among_the_instances_are_left_alone(process_lab: ProcessLab) -> None:
    """What holds no specification is not an instance, and is not the engine's to remove."""
    for name in ("notes", ".hidden"):
        (process_lab.folder(name)).mkdir(parents=True)
    process_lab.folder("file").write_text("hello")

    async def story(engine: ProcessEngine) -> None:
        assert await engine.observe() == ()

    run(process_lab.make(), story)
    assert sorted(path.name for path in process_lab.folder().parent.iterdir()) == [".hidden", "file", "notes"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "/abs", "x" * 129, "with space"])
def test_names_that_reach_outside_are_refused(process_lab: ProcessLab, name: str) -> None:
    """Ids and host names become folders: nothing else than a plain name may."""

    async def story(engine: ProcessEngine) -> None:
        good = process_lab.container("first")
        for bad in (
            instance(good, id=name),
            instance(replace(good, hostname=name)),
            instance(replace(good, artifacts={f"../{name}": "/tmp"})),
        ):
            with pytest.raises(EngineError):
                await engine.apply(bad)
        assert await engine.observe() == ()

    run(process_lab.make(), story)


def test_a_home_may_be_deep(process_lab: ProcessLab) -> None:
    """Nothing depends on the 108 bytes that the path of a Unix socket may have."""
    home = "/".join(["deep" * 10] * 5)

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        await until_healthy(engine)

    run(process_lab.make(home), story)


def test_ports_are_kept_over_restarts_and_shared_with_nobody(process_lab: ProcessLab) -> None:
    """A block of ports belongs to one container of all homes on the machine, for as long as it lives."""

    async def story(engine: ProcessEngine) -> None:
        with pytest.raises(EngineError, match="port_range"):
            await engine.apply(instance(*(process_lab.container(f"c{number}") for number in range(3))))
        await engine.apply(instance(process_lab.container("first")))
        await engine.apply(instance(process_lab.container("second"), id="i-2"))
        with pytest.raises(EngineError, match="port_range"):
            await engine.apply(instance(process_lab.container("third"), id="i-3"))
        assert {state.id for state in await engine.observe()} == {"i-1", "i-2"}
        await engine.remove("i-2")
        await until(engine, lambda states: find(states, "i-2") is None)
        await engine.apply(instance(process_lab.container("third"), id="i-3"))
        await until_healthy(engine, "i-3")

    first = spare_ports(2)
    run(process_lab.make(port_range=f"{first}-{first + 39}"), story)


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


def test_secrets_are_for_the_owner_alone(process_lab: ProcessLab) -> None:
    """The specification holds the containers' environment: no other user may read it, nor the logs."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first", output=["secret"])))
        await until_healthy(engine)

        async def logged() -> bool:
            return process_lab.log("first").exists()

        await until_true(logged)
        folder = process_lab.folder()
        for path in (folder, folder / files.SPEC, folder / files.STATE, process_lab.log("first")):
            assert path.stat().st_mode & 0o077 == 0

    run(process_lab.make(), story)


def test_a_supervisor_starts_its_containers_quickly(process_lab: ProcessLab) -> None:
    """From `apply` to the container's own code: the budget of an endpoint is half a second, this part's is a fifth."""

    async def story(engine: ProcessEngine) -> None:
        best = min([await measure(engine, f"i-{number}") for number in range(3)])
        assert best < 0.5

    async def measure(engine: ProcessEngine, instance_id: str) -> float:
        begin = time.monotonic()
        await engine.apply(instance(process_lab.container("first"), process_lab.container("second"), id=instance_id))
        running = ContainerPhase.RUNNING
        await until(
            engine, lambda states: all(c.phase is running for c in (find(states, instance_id) or fail()).containers)
        )
        return time.monotonic() - begin

    run(process_lab.make(), story)


def fail() -> None:
    """The instance has to be there."""
    raise AssertionError("the instance is not observed")


def test_a_specification_survives_writing_and_reading(process_lab: ProcessLab) -> None:
    """What an engine asked for is found again, word for word, by the next one."""
    wanted = replace(
        instance(replace(process_lab.container("first"), environment={"TEXT": 'é "quoted" \n and more'})),
        network_isolation=True,
    )

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(wanted)
        await until_healthy(engine)

    run(process_lab.make(), story)
    spec = msgspec.json.decode((process_lab.folder() / files.SPEC).read_bytes())
    assert msgspec.convert(spec["instance"], type(wanted)) == wanted
