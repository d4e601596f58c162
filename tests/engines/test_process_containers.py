"""What a container of the process engine sees of the world."""

import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from engines.labs import (
    ProcessLab,
    instance,
    run,
    until_healthy,
)
from engines.seeing import can_mount, dump, make_models, read_dump, see
from polyport.domain.instances import Container
from polyport.engines.process.engine import ProcessEngine


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


def test_a_container_leads_a_session_of_its_own_with_default_signals(
    process_lab: ProcessLab, request: pytest.FixtureRequest
) -> None:
    """Ctrl-C in the server's terminal does not reach it, and no signal is ignored or blocked to begin with: not even
    what a shell's background or nohup has the server ignore."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        request.addfinalizer(partial(signal.signal, number, signal.signal(number, signal.SIG_IGN)))
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


TRY_TO_WRITE = """
def attempt(path):
    try:
        open(path, 'w').close()
    except OSError as error:
        return error.errno
tried = [attempt(p) for p in ('/opt/ml/model/new', os.environ['SAGEMAKER_BASE_DIR'] + '/model/new', SOURCE + '/new')]
print('DUMP ' + __import__('json').dumps([os.listdir('/opt/ml/model'), tried, sorted(os.listdir('/opt'))]), flush=True)
"""


def host_view(lab: Path) -> tuple[list[str], list[str]]:
    """What is in /opt, and which mounts touch it or the lab; others may mount elsewhere meanwhile."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return sorted(path.name for path in Path("/opt").iterdir()), [
        line for line in mounts if " /opt" in line or str(lab) in line
    ]


@pytest.mark.skipif(not can_mount(), reason="mount namespaces are not allowed here")
def test_each_container_sees_its_own_model_at_opt_ml_read_only(process_lab: ProcessLab, tmp_path: Path) -> None:
    """The real path, each container its own, not to be written to there or where the cache has it; the host's /opt and
    its mounts stay as they were."""
    models = make_models(tmp_path)
    before = host_view(tmp_path)

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
        assert host_view(tmp_path) == before

    run(process_lab.make(), story)
    opt = sorted({*before[0], "ml"})
    if process_lab.level == "bubblewrap":  # where it sees neither the cache nor the host's /opt
        expected, opt = [30, 30, 2], ["ml"]
    else:
        expected = [30, 30, 30]
    assert read_dump(process_lab, "first") == [["w"], expected, opt]
    names, refusals, _ = read_dump(process_lab, "second")
    assert (sorted(names), refusals) == (["only-here", "w"], expected)
    assert read_dump(process_lab, "none") == []
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["w"]


WITHOUT_MOUNTS = """#!/bin/sh
export PYTHON="{python}"
exec unshare -Ur sh -c 'echo 0 > /proc/sys/user/max_user_namespaces &&
    exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$PYTHON" "$@"' sh "$@"
"""


@pytest.mark.skipif(not can_mount() or not shutil.which("setpriv"), reason="there is no way to forbid mounts here")
def test_where_mounts_are_forbidden_the_model_is_at_sagemaker_base_dir(
    mounts_lab: ProcessLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container runs all the same, and its log says what it has to do without."""
    wrapper = tmp_path / "python"
    wrapper.write_text(WITHOUT_MOUNTS.format(python=sys.executable))
    wrapper.chmod(0o755)
    read = "[open(os.environ['SAGEMAKER_BASE_DIR'] + '/model/w').read(), os.path.exists('/opt/ml')]"
    container = replace(mounts_lab.container("first", **dump(read)), artifacts=make_models(tmp_path))
    monkeypatch.setattr(sys, "executable", str(wrapper))
    there = Path("/opt/ml").exists()
    assert see(mounts_lab, container, container_users="off") == ["weights", there]
    assert " system /opt/ml is not shown here, only SAGEMAKER_BASE_DIR: " in mounts_lab.log("first").read_text()
