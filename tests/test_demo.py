"""The demo: its example images, its parts, and the whole of it against real servers."""

import http.client
import importlib.util
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from polyport.cli.demo import caller, client, places, startup, story, training
from polyport.cli.demo.chart import Chart
from polyport.cli.demo.report import Report
from polyport.engines.docker import asks
from support import daemons
from support.server import Server, wait_for

FIRST, SECOND = story.EXAMPLES / story.FIRST, story.EXAMPLES / story.SECOND


def load_server_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_model_server", FIRST / "server.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


model_server = load_server_module()
rows_of_floats = st.lists(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5), min_size=1, max_size=5
)


def test_both_images_hold_the_same_server() -> None:
    """An image is a folder that needs nothing outside, so the server is there twice; the two never drift apart."""
    assert (FIRST / "server.py").read_bytes() == (SECOND / "server.py").read_bytes()


def test_the_two_images_cannot_share_an_environment() -> None:
    """That is what separate environments are for: each pins another numpy."""
    pins = [
        set(re.findall(r"^numpy==(\S+)", (folder / "requirements.txt").read_text(), re.MULTILINE))
        for folder in (FIRST, SECOND)
    ]
    assert all(pins)
    assert not pins[0] & pins[1]


@given(rows_of_floats, st.sampled_from([model_server.CSV, model_server.JSON]))
def test_rows_come_back_as_the_same_floats(rows: list[list[float]], content_type: str) -> None:
    """Number for number: what is written in either form reads back exactly."""
    assert model_server.read_rows(model_server.write_rows(rows, content_type), content_type) == rows


@pytest.mark.parametrize(
    ("accept", "sent", "answered"),
    [
        ("*/*", "text/csv; charset=utf-8", "text/csv"),
        ("*/*", "application/json", "application/json"),
        ("application/json", "text/csv", "application/json"),
        ("image/png", "text/csv", "text/csv"),
    ],
)
def test_the_answer_has_the_form_that_is_accepted_or_else_that_of_the_request(
    accept: str, sent: str, answered: str
) -> None:
    """Accept goes first; what is not offered is not an error, as a chain's first container gets `*/*`."""
    assert model_server.answer_type(accept, sent) == answered


@contextmanager
def running_model_server() -> Iterator[tuple[http.client.HTTPConnection, subprocess.Popen[bytes]]]:
    """The example server with a model that doubles, and fails on 13."""
    port = startup.free_port()
    program = """
        from server import serve
        def double(rows):
            if rows[0][0] == 13:
                raise RuntimeError("unlucky")
            return [[2 * value for value in row] for row in rows]
        serve(double)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=FIRST,
        env={"SAGEMAKER_BIND_TO_PORT": str(port), "SAGEMAKER_BASE_DIR": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        wait_for(lambda: startup.answers(port), "the model server")
        yield connection, process
    finally:
        connection.close()
        process.kill()
        process.wait()


def test_the_model_server_keeps_to_the_contract() -> None:
    """Bad rows are the client's fault (400), a failing model is the server's (500), both on a connection that stays."""
    with running_model_server() as (connection, process):

        def post(body: str, content_type: str = "text/csv") -> tuple[int, bytes]:
            connection.request("POST", "/invocations", body, {"Content-Type": content_type})
            response = connection.getresponse()
            return response.status, response.read()

        connection.connect()
        socket = connection.sock
        assert post("1,2.5\n") == (200, b"2.0,5.0\n")
        assert post("[[0.1]]", "application/json") == (200, b"[[0.2]]")
        assert post("a,b")[0] == 400
        assert post("")[0] == 400
        assert post('{"rows": 1}', "application/json")[0] == 400
        assert post("13") == (500, b'{"error": "the model failed; its log says why"}')
        assert post("4") == (200, b"8.0\n")
        assert connection.sock is socket
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_an_archive_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    """Model data is cached by content: packing the same files again must not look like new data."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1 2 3")
    training.pack(tmp_path / "model", tmp_path / "one.tar.gz")
    os.utime(tmp_path / "model" / "weights", (1, 1))
    training.pack(tmp_path / "model", tmp_path / "two.tar.gz")
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()


def test_a_missing_libgomp_is_named_with_its_remedy() -> None:
    """LightGBM's wheel needs a system library that a bare machine lacks; no traceback, but what to install."""
    stderr = "Traceback ...\nOSError: libgomp.so.1: cannot open shared object file: No such file or directory\n"
    assert "apt-get install libgomp1" in training.explain("lightgbm", stderr)
    assert training.explain("lightgbm", "Traceback ...\nValueError: no\n").endswith("failed: ValueError: no")


def trained(**versions: str) -> training.Trained:
    return training.Trained("m", Path(), (), versions)


def test_conflicting_versions_are_found() -> None:
    """Only libraries that both have, and in different versions."""
    models = {"a": trained(numpy="1.26.4", scipy="1.16.3"), "b": trained(numpy="2.3.5", scipy="1.16.3", lightgbm="4")}
    assert training.conflicts(models) == "numpy 1.26.4 and 2.3.5"


def test_a_wrong_answer_counts_as_a_failed_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steady caller does not only look for errors."""
    monkeypatch.setattr(client, "runtime_client", lambda: None)
    monkeypatch.setattr(client, "invoke", lambda *_, **__: [[2.0]])
    with caller.Caller("demo", caller.Form({}, [[1.0]], [[2.0]])) as steady:
        steady.make(3)
        assert not steady.failures
        steady.switch(caller.Form({"TargetVariant": "serial"}, [[1.0]], [[math.nextafter(2.0, 3.0)]]))
    assert "TargetVariant" in steady.failures[0]


def test_a_failed_step_is_shown_as_failed() -> None:
    """The table never tells more than what happened."""
    console = Console(record=True, width=120, file=io.StringIO())

    def boil() -> None:
        with Report(console).step("Boil water") as step:
            step.say("heating")
            raise ValueError("no gas")

    with pytest.raises(ValueError, match="no gas"):
        boil()
    shown = console.export_text()
    assert "Boil water: heating" in shown
    assert "✗ Boil water" in shown


def test_homes_that_nobody_uses_are_swept_and_others_are_not(tmp_path: Path) -> None:
    """A kept server's home lives for as long as the server holds its lock."""
    abandoned = places.make_home(tmp_path)
    with places.own_home(tmp_path) as first, places.own_home(tmp_path) as second:
        assert not abandoned.exists()
        assert first.exists()
        assert second.exists()
        assert (first / "images").resolve() == (second / "images").resolve() == tmp_path / "images"
    assert not first.exists()
    assert not second.exists()
    assert (tmp_path / "images").is_dir()


# The whole of it.


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all demos here: the images are built by the first."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def demo_environment(cache: Path) -> dict[str, str]:
    """The user's environment with that cache, but for the wheels, which are downloaded once for all."""
    wheels = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
    return os.environ | {"XDG_CACHE_HOME": str(cache), "UV_CACHE_DIR": wheels, "COLUMNS": "160"}


def run_demo(environment: dict[str, str], *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polyport", "demo", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_runs_and_leaves_nothing_behind(demo_environment: dict[str, str], cache: Path) -> None:
    """Two images, one endpoint, direct and serial, no call fails, all numbers equal; then server and home are gone."""
    done = run_demo(demo_environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "numpy 1.26.4 and 2.3.5" in done.stdout or sys.version_info >= (3, 13)
    assert done.stdout.count("all equal to the in-process ones") == 6  # three steps, each as a line and in the table
    assert done.stdout.count("none failed") == 4
    assert "InService after" in done.stdout
    assert list((cache / "polyport" / "demo" / "runs").iterdir()) == []
    assert not processes_that_mention(cache)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_demo_of_updates_draws_a_canary_and_one_that_is_rolled_back(
    demo_environment: dict[str, str], cache: Path
) -> None:
    """Traffic goes to the new version in two steps, and back when the alarm goes off; no call fails, nothing stays."""
    done = run_demo(demo_environment, "update")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = done.stdout.split("v2 serves alone, InService.")
    shares = [int(each) for each in re.findall(r" v2 +(\d+)%", first)]
    assert shares[0] == 0
    assert any(0 < share < 60 for share in shares)
    assert shares[-1] == 100
    taken_back = [int(each) for each in re.findall(r" v3 +(\d+)%", second)]
    assert max(taken_back) < 100
    assert taken_back[-1] == 0
    assert "The alarm demo-errors was in ALARM" in second
    assert done.stdout.count("none failed") == 2
    assert list((cache / "polyport" / "demo" / "runs").iterdir()) == []
    assert not processes_that_mention(cache)


def test_the_chart_shows_the_share_of_the_new_version() -> None:
    """One column a moment, eighths of a line exact; a moment without calls is a point."""
    drawn = Chart("v1", "v2")
    for old, new in ((1, 0), (3, 1), (0, 0), (0, 2)):
        drawn.add(Counter({"v1": old, "v2": new}))
    lines = drawn.draw("now").plain.splitlines()
    assert [line[8:] for line in lines[1:-1]] == ["  ·█"] * 6 + [" █·█"] * 2
    assert lines[-1] == "now"
    assert drawn.share == 1.0
    assert drawn.tell("now") == f"  {'█' * 20} v2 100%  now"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_runs_in_real_containers(
    podman: daemons.Daemon, demo_environment: dict[str, str], cache: Path
) -> None:
    """The same story with `--engine docker`: images from the same folders, and nothing is left running."""
    podman.start()
    environment = demo_environment | {
        "POLYPORT_DOCKER_HOST": podman.url,
        "POLYPORT_BASE_IMAGE": podman.make_build_base(),
    }
    done = run_demo(environment, "--engine", "docker", timeout=800)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert done.stdout.count("all equal to the in-process ones") == 6
    assert done.stdout.count("none failed") == 4
    assert list((cache / "polyport" / "demo" / "runs").iterdir()) == []
    assert not [home for home in podman.values_left(asks.LABEL_HOME_PATH) if Path(home).is_relative_to(cache)]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_tidies_up_on_a_server_that_is_not_its_own(
    make_server: Callable[..., Server], demo_environment: dict[str, str]
) -> None:
    """With --url, the endpoint, configurations, models and archives are gone in the end, and the server goes on."""
    server = make_server().start()
    done = run_demo(demo_environment, "--url", server.url, "--home", str(server.home))
    assert done.returncode == 0, done.stdout + done.stderr
    sagemaker = server.client("sagemaker")
    assert sagemaker.list_endpoints()["Endpoints"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert sagemaker.list_models()["Models"] == []
    assert list((server.home / "buckets").iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_ctrl_c_stops_the_demos_server(demo_environment: dict[str, str], cache: Path, tmp_path: Path) -> None:
    """An interrupted demo leaves no server, no containers and no home."""
    out = tmp_path / "out"
    with out.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "polyport", "demo"], env=demo_environment, stdout=file, stderr=file
        )
    try:
        wait_for(lambda: "time to InService: Creating" in out.read_text(), "the endpoint", deadline=200)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    assert list((cache / "polyport" / "demo" / "runs").iterdir()) == []
    assert not processes_that_mention(cache)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_kept_demo_can_be_played_with(demo_environment: dict[str, str], cache: Path) -> None:
    """The lines that are printed at the end of `demo --keep` work as they stand."""
    done = run_demo(demo_environment, "--keep")
    [pid] = re.findall(r"kill (\d+)", done.stdout)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        exports = dict(re.findall(r"^export (\w+)=(.*)$", done.stdout, re.MULTILINE))
        example = done.stdout[done.stdout.index("import boto3") : done.stdout.index("The server goes on")]
        played = subprocess.run(
            [sys.executable, "-c", example],
            env=os.environ | exports,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert played.returncode == 0, played.stderr
        chain, direct = played.stdout.splitlines()
        assert len(json.loads(chain[2:-1])[0]) == 1
        assert len(json.loads(direct[2:-1])[0]) == 8
    finally:
        os.kill(int(pid), signal.SIGTERM)
        wait_for(lambda: not processes_that_mention(cache), "the server to end", deadline=60)


def test_a_url_that_nobody_serves_is_refused(demo_environment: dict[str, str]) -> None:
    """One line that says what was asked and found; no traceback."""
    done = run_demo(demo_environment, "--url", f"http://127.0.0.1:{startup.free_port()}")
    assert done.returncode == 2
    assert "There is no Polyport at http://127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def processes_that_mention(folder: Path) -> list[str]:
    """Command lines of running processes with this path in them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in command:
            found.append(command)
    return found
