"""What a hostile container gets: nothing. Each guard is shown to fire by a program that tries."""

import contextlib
import errno
import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engines.labs import PATHS, ProcessLab, container_of, find, instance, run, until, until_healthy
from engines.seeing import LEVELS, descendants_of, dump, is_gone, make_models, read_dump, see
from polyport.engines.process.engine import ProcessEngine

AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root gives containers users of their own")
SEEN = ("bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "opt", "proc", "sbin", "sys", "tmp", "usr")
KEY = "a key that nobody else may read"
DENIED = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ESRCH, errno.EROFS}

TRY = """
import errno, json, socket
def attempt(do, *arguments):
    try:
        do(*arguments)
    except OSError as error:
        return error.errno
    return 0
def read(path):
    with open(path, 'rb') as file:
        file.read()
def write(path):
    with open(path, 'ab'):
        pass
def connect(path):
    socket.socket(socket.AF_UNIX).connect(path)
told = TOLD
tried = {name: attempt(globals_[name.split()[0]], *arguments) for name, arguments in told.items()}
tried['homes'] = [os.listdir(HOME), os.listdir(HOME + '/run'), os.listdir(HOME + '/run/instances')]
tried['processes'] = sorted(int(name) for name in os.listdir('/proc') if name.isdigit())
print('DUMP ' + json.dumps(tried), flush=True)
""".replace("globals_", "dict(read=read, write=write, connect=connect, kill=os.kill, list=os.listdir, mkdir=os.mkdir)")


@pytest.fixture
def home(process_lab: ProcessLab, tmp_path: Path) -> Iterator[Path]:
    """A home with secrets, as readable as carelessness makes them, and a socket that listens."""
    folder = tmp_path / "home"
    (folder / "run").mkdir(parents=True)
    for name in ("polyport.db", "keys.key"):
        (folder / name).write_text(KEY)
        (folder / name).chmod(0o600)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "run" / "control.sock"))
        (folder / "run" / "control.sock").chmod(0o777)
        listener.listen()
        yield folder


def attempts(home: Path, image: Path, neighbour: Path, victim: int, supervisor: int) -> dict[str, list[Any]]:
    """What the hostile program does: a verb with a name, and its arguments."""
    return {
        "read database": [str(home / "polyport.db")],
        "read key": [str(home / "keys.key")],
        "list neighbour": [str(neighbour)],
        "read shadow": ["/etc/shadow"],
        "connect server": [str(home / "run" / "control.sock")],
        "read neighbour": [str(neighbour / "tmp" / "secret")],
        "write neighbour": [str(neighbour / "work" / "new")],
        "read log": [str(home / "logs" / "123456789012")],
        "read environment of neighbour": [f"/proc/{victim}/environ"],
        "read environment of server": [f"/proc/{os.getpid()}/environ"],
        "write image": [str(image / "new")],
        "write image file": [str(image / "serve.py")],
        "write model": ["/opt/ml/model/new"],
        "mkdir etc": ["/etc/new"],
        "mkdir usr": ["/usr/new"],
        "kill supervisor": [supervisor, 9],
        "kill neighbour": [victim, 9],
        "kill server": [os.getpid(), 0],
    }


def test_a_hostile_container_reaches_nothing_of_others(process_lab: ProcessLab, home: Path, tmp_path: Path) -> None:
    """Not the database, keys, sockets, logs; not a neighbour's files, environment or life; not even its own image."""
    if os.getuid() != 0 and process_lab.level != "bubblewrap":
        pytest.skip("containers run as the user who tests, and see all that is theirs")
    image = tmp_path / "image"
    image.mkdir()
    (image / "serve.py").write_text("")
    leave = "open(os.environ['TMPDIR'] + '/secret', 'w').write('mine')"
    seen: dict[str, int] = {}

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("victim", runs=[leave]), id="i-2"))
        victim = container_of(await until_healthy(engine, "i-2"), "victim").pid or 0
        neighbour = process_lab.folder("i-2") / "containers" / "victim"
        supervisor = process_lab.supervisor("i-2") or 0
        told = attempts(home, image, neighbour, victim, supervisor)
        hostile = process_lab.container(
            "first", runs=[TRY.replace("TOLD", repr(told)).replace("HOME", repr(str(home)))]
        )
        hostile = replace(hostile, folder=str(image), artifacts={"model": make_models(tmp_path)["model"]})
        await engine.apply(instance(hostile))
        await until_healthy(engine)
        assert container_of(await until_healthy(engine, "i-2"), "victim").pid == victim
        assert not is_gone(supervisor)
        seen.update(victim=victim, supervisor=supervisor)

    run(process_lab.make(), story)
    tried = read_dump(process_lab)
    pids = tried.pop("processes")
    assert tried.pop("homes") == [["run"], ["instances"], ["i-1"]]
    assert {name: number for name, number in tried.items() if number not in DENIED} == {}
    if process_lab.level == "bubblewrap":
        assert not {seen["victim"], seen["supervisor"], os.getpid()} & set(pids)
        assert len(pids) <= 5


def test_without_isolation_the_same_program_reaches_what_it_tries(tmp_path: Path) -> None:
    """The attempts are good ones: what stops them elsewhere is the isolation. (This one kills nobody.)"""
    lab = ProcessLab(tmp_path, "none")
    home, image = tmp_path / "home", tmp_path / "image"
    for folder in (home / "run", home / "logs" / "x", image):
        folder.mkdir(parents=True)
    for path in (home / "polyport.db", home / "keys.key", image / "serve.py"):
        path.write_text(KEY)
    told = attempts(home, image, home, os.getpid(), os.getpid())
    names = ("read database", "read key", "list neighbour", "read environment of server", "write image file")
    chosen = {**{name: told[name] for name in names}, "kill server": told["kill server"]}
    runs = [TRY.replace("TOLD", repr(chosen)).replace("HOME", repr(str(home)))]
    tried = see(lab, lab.container("first", runs=runs))
    lab.clean()
    assert os.getpid() in tried.pop("processes")
    assert "polyport.db" in tried.pop("homes")[0]
    assert tried == dict.fromkeys(chosen, 0)


def test_a_sandbox_shows_what_was_listed_and_nothing_else(sandbox_lab: ProcessLab, tmp_path: Path) -> None:
    """No home folders, no /var, no /run; a root that cannot be written to; a host name of its own; its own /dev."""
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "data").write_text("more")
    looks = (
        "[sorted(os.listdir('/')), sorted(os.listdir('/opt')), os.uname().nodename, sorted(os.listdir('/dev')),"
        f" open({str(extra / 'data')!r}).read(), [os.path.exists(p) for p in ('/var', '/run', '/home', '/etc/shadow')],"
        " os.access('/', os.W_OK), os.access('/dev', os.W_OK), os.access('/dev/shm', os.W_OK),"
        " open('/tmp/x', 'w').write('x'),"
        " __import__('pwd').getpwuid(os.getuid()).pw_dir == os.environ['HOME'],"
        " __import__('socket').gethostbyname(os.uname().nodename)]"
    )
    root, opt, name, devices, data, there, *writable = see(
        sandbox_lab, sandbox_lab.container("first", **dump(looks)), container_paths=(str(extra),)
    )
    assert set(root) <= {*SEEN, *mine()}
    assert (opt, name, data) == (["ml"], "first", "more")
    assert {"null", "zero", "urandom", "shm", "pts"} <= set(devices)
    assert not {"sda", "vda", "kmsg", "mem"} & set(devices)
    assert there == ["var" in mine(), "run" in mine(), "home" in mine(), False]
    assert writable == [False, False, True, 1, True, "127.0.0.1"]


def mine() -> set[str]:
    """The folders at the top of where this Python and these tests are: the test shows them to its containers."""
    return {Path(path).parts[1] for path in PATHS}


@AS_ROOT
def test_each_container_has_a_user_of_its_own(process_lab: ProcessLab) -> None:
    """In the range of the setting, without groups, without capabilities, and without a way to get some; it stays the
    same over restarts, and its folders are its own."""
    status = "[line.split() for line in open('/proc/self/status') if line[:3] in ('Cap', 'NoN', 'Gro', 'Uid', 'Gid')]"
    folders = "[os.stat(p).st_uid for p in ('.', os.environ['HOME'], os.environ['TMPDIR'], '/opt/ml')]"
    container = process_lab.container("first", **dump(f"[{status}, {folders}]"))
    uids = {}

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container, process_lab.container("second")))
        state = await until_healthy(engine)
        for hostname in ("first", "second"):
            uids[hostname] = uid_of(container_of(state, hostname).pid)
        os.kill(container_of(state, "first").pid or 0, signal.SIGKILL)
        await until(engine, lambda states: container_of(find(states), "first").restarts == 1)
        assert uid_of(container_of(await until_healthy(engine), "first").pid) == uids["first"]

    run(process_lab.make(container_user_range="300000-310000"), story)
    lines, owners = read_dump(process_lab)
    facts = {line[0]: line[1:] for line in lines}
    uid = str(uids["first"])
    assert 300000 <= uids["first"] <= 310000
    assert uids["first"] != uids["second"]
    assert facts["Uid:"] == facts["Gid:"] == [uid] * 4
    assert facts.get("Groups:", []) in ([], [uid])
    names = ("CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:")
    assert [facts[name] for name in names] == [["0" * 16]] * 5
    assert facts["NoNewPrivs:"] == ["1"]
    assert owners == [uids["first"]] * 4


def uid_of(pid: int | None) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


KEYRING = """
import ctypes, platform
number = {'x86_64': 250, 'aarch64': 219}[platform.machine()]
keyring = ctypes.CDLL(None).syscall(number, 0, -3, 0)
print('DUMP ' + str(keyring), flush=True)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the test knows two kinds of machines")
def test_the_session_keyring_of_the_server_is_not_inherited(sandbox_lab: ProcessLab) -> None:
    """It may hold keys of the user's disks and shares, and whoever has it may use them."""
    environment = {"os": os, "sys": sys, "print": lambda text, **_: own.append(text)}
    own: list[str] = []
    exec(KEYRING, environment)
    theirs = see(sandbox_lab, sandbox_lab.container("first", runs=[KEYRING]))
    assert f"DUMP {theirs}" != own[0] or own[0] == "DUMP -1"


@AS_ROOT
def test_users_can_be_turned_off(process_lab: ProcessLab) -> None:
    """Then containers run as the server does; bubblewrap takes the capabilities all the same."""
    looks = "[os.getuid(), [line.split()[1] for line in open('/proc/self/status') if line[:6] == 'CapEff']]"
    uid, [capabilities] = see(process_lab, process_lab.container("first", **dump(looks)), container_users="off")
    assert uid == 0
    assert (int(capabilities, 16) == 0) is (process_lab.level == "bubblewrap")


DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64)
        os.environ.clear()
        os.execve(sys.executable, [sys.executable, '-I', '-S', '-c', 'import signal; signal.pause()'], {})
    os._exit(0)
os.wait()
"""


def test_a_daemon_does_not_outlive_its_container(process_lab: ProcessLab) -> None:
    """A process in a session of its own, with an empty environment and no parent, ends when the main process does."""
    container = process_lab.container("first", runs=[DAEMON])

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container))
        main = container_of(await until_healthy(engine), "first").pid or 0
        strays = descendants_of(process_lab.supervisor() or 0) - {main}
        assert strays
        os.kill(main, signal.SIGKILL)
        await until(engine, lambda states: container_of(find(states), "first").restarts == 1)
        assert all(is_gone(pid) for pid in strays)

    run(process_lab.make(), story)


def test_sigterm_is_for_the_program_which_ends_in_its_own_time(process_lab: ProcessLab) -> None:
    """A container that tidies up after SIGTERM has all of its processes until it has done so, and its exit code."""
    tidy = """
def tidy(*_):
    child.stdin.write(b'x')
    child.stdin.close()
    print('child said', child.wait(), flush=True)
    os._exit(5)
wait = "import os, signal, sys; signal.signal(15, signal.SIG_IGN); os.close(1); sys.stdin.read(1); sys.exit(9)"
child = subprocess.Popen([sys.executable, '-I', '-S', '-c', wait], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.read()
signal.signal(signal.SIGTERM, tidy)
"""
    container = process_lab.container("first", runs=[tidy.replace("def tidy", "global child\ndef tidy")])

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container))
        main = container_of(await until_healthy(engine), "first").pid or 0
        await engine.remove("i-1")
        await until(engine, lambda states: not states)
        assert is_gone(main)

    run(process_lab.make(), story)
    log = process_lab.log("first").read_text()
    assert "stdout child said 9" in log
    assert "system exited with code 5" in log


def test_links_that_a_container_leaves_are_not_followed(process_lab: ProcessLab, tmp_path: Path) -> None:
    """Folders are made with the supervisor's rights, in places that the container has written to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    base = "os.environ['SAGEMAKER_BASE_DIR']"
    plant = f"""
import contextlib
for name in ('additional-model-data-sources', 'model'):
    with contextlib.suppress(OSError):
        os.rename({base} + '/' + name, {base} + '/moved-' + name)
        os.symlink({str(outside)!r}, {base} + '/' + name)
"""
    container = replace(process_lab.container("first", runs=[plant]), artifacts=make_models(tmp_path))

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container))
        for restarts in (0, 1, 2):
            await until(engine, lambda states, n=restarts: container_of(find(states), "first").restarts == n)
            main = container_of(await until_healthy(engine), "first").pid or 0
            os.kill(main, signal.SIGKILL)

    run(process_lab.make(), story)
    assert list(outside.iterdir()) == []


def test_a_home_inside_of_a_path_that_is_shown_stays_hidden(sandbox_lab: ProcessLab, tmp_path: Path) -> None:
    """`container_paths` may lie above Polyport's home: the home is not shown for that."""
    tmp_path.chmod(0o755)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "keys.key").write_text(KEY)
    (tmp_path / "beside").write_text("seen")
    looks = f"[os.path.exists({str(tmp_path / 'home' / 'keys.key')!r}), open({str(tmp_path / 'beside')!r}).read()]"
    seen = see(sandbox_lab, sandbox_lab.container("first", **dump(looks)), container_paths=(str(tmp_path),))
    assert seen == [False, "seen"]


def test_tmp_is_on_the_disk_and_its_own(tmp_path: Path) -> None:
    """Where nothing else has to appear below it, as with homes elsewhere: large files do not fill the memory."""
    if "bubblewrap" not in LEVELS or any(path.startswith("/tmp/") for path in PATHS):
        pytest.skip("bubblewrap does not work here, or these tests are in /tmp themselves")
    root = Path(tempfile.mkdtemp(dir="/var/tmp"))
    root.chmod(0o755)
    lab = ProcessLab(root, "bubblewrap")
    try:
        looks = "[open('/tmp/mine', 'w').write('x'), os.listdir(os.environ['TMPDIR']), os.listdir('/tmp')]"
        assert see(lab, lab.container("first", **dump(looks))) == [1, ["mine"], ["mine"]]
    finally:
        lab.clean()
        with contextlib.suppress(OSError):
            shutil.rmtree(root)
