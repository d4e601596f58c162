"""What the README, the tutorial and the how-to pages say is run here as it stands."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.certificates import Authority
from support.server import READY, Server, wait_for

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Every fenced block of a page: its language, the word after it, its text."""
    found = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert found
    return found


def client_environment(url: str) -> dict[str, str]:
    """What `polyport serve` tells the user to export, and nothing else of AWS."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "POLYPORT_"))}
    return kept | {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "polyport",
        "AWS_SECRET_ACCESS_KEY": "polyport",
    }


def test_the_readmes_boto3_code_runs_as_it_stands(server: Server) -> None:
    """Only the images, their aliases and the archives are ours; the code is the page's, to the letter."""
    [code] = [text for language, _, text in blocks("README.md") if language == "python"]
    assert len([line for line in code.splitlines() if line and not line.startswith(("import", ")", "    "))]) <= 14
    bucket = server.home / "buckets" / "models"
    bucket.mkdir(parents=True)
    for name in ("first", "second"):
        server.command("image", "alias", f"{REGISTRY}/{name}:*", f"{name}:1")
        (server.home / "weights").write_text(name)
        subprocess.run(["tar", "-czf", bucket / f"{name}.tar.gz", "-C", server.home, "weights"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=client_environment(server.url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "b'5.1,3.5|second,text/csv'\n"


def test_the_readmes_image_is_a_valid_one(server: Server, tmp_path: Path) -> None:
    """The `image.toml` of the page builds, without a warning, by the command of the page."""
    [manifest] = [text for language, _, text in blocks("README.md") if language == "toml"]
    [commands] = [text for language, _, text in blocks("README.md") if language == "sh" and "polyport" in text]
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "image.toml").write_text(manifest)
    (folder / "requirements.txt").write_text("")
    (folder / "serve.py").write_text("")
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=tmp_path, env=terminal(server.home), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "first:1" in server.command("image", "alias", "--list")


def test_the_readmes_two_commands_close_a_server_and_let_others_in(terminals: "Terminals") -> None:
    """The key of the first is what the server of the second asks for."""
    [commands] = [text for language, _, text in blocks("README.md") if language == "bash"]
    make_key, serve = commands.splitlines()
    authority = Authority(terminals.work)
    authority.issue("server")
    terminals.run(make_key)
    terminals.start(serve)
    url = READY.search(terminals.said())
    assert url is not None
    call = "import boto3; print(boto3.client('sagemaker').list_endpoints()['Endpoints'])"
    settings = f"AWS_CA_BUNDLE={authority.file} AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1"
    exports = f"export {settings} AWS_ENDPOINT_URL={url[1]}"
    assert terminals.run(f'{exports}; python -c "{call}"') == "[]\n"
    strangers = terminals.run(f'AWS_SECRET_ACCESS_KEY=guess python -c "{call}" 2>&1 || true')
    assert "InvalidSignatureException" in strangers


def test_every_link_of_the_pages_leads_somewhere() -> None:
    """Files that a page names are there."""
    for page in ("README.md", "docs/tutorial.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8")):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


def terminal(home: Path) -> dict[str, str]:
    """A terminal in which the checkout's environment is active."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "POLYPORT_"))}
    return kept | {"PATH": path, "POLYPORT_HOME": str(home), "VIRTUAL_ENV": sys.prefix}


class Terminals:
    """The reader of the tutorial: one shell for the work, another one for the server, a home folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The page's port may be taken on this machine; the reader's home is not this user's.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = str(probe.getsockname()[1])
        wheels = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
        home = folder / "reader"
        self._environment = terminal(home / ".polyport") | {
            "HOME": str(home),
            "UV_CACHE_DIR": wheels,
            "POLYPORT_PORT": self._port,
        }
        home.mkdir()
        self.work = folder / "work"
        self.work.mkdir()
        self._log = folder / "serve.log"
        self._server: subprocess.Popen[bytes] | None = None
        self._state = folder / "exports"
        self._state.touch()

    def run(self, commands: str) -> str:
        """In the first terminal, whose exports last. Returns what was printed."""
        script = f". {self._state}\n{commands.replace('7070', self._port)}\nexport -p > {self._state}\n"
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.work,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    def said(self) -> str:
        """By the server so far."""
        return self._log.read_text()

    def start(self, command: str) -> None:
        """In the second terminal, where Ctrl-C ends what ran there before; returns once it is ready."""
        self.close()
        with self._log.open("wb") as said:
            self._server = subprocess.Popen(
                ["bash", "-euc", f"exec {command}"], cwd=self.work, env=self._environment, stdout=said, stderr=said
            )
        wait_for(lambda: READY.search(self.said()), "the server", deadline=30)

    def close(self) -> None:
        """Ctrl-C, as the page says."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            assert self._server.wait(60) == 0, self.said()
            self._server = None


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    made = Terminals(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page", ["docs/tutorial.md", "docs/how-to/access.md", "docs/how-to/backup.md", "docs/how-to/updates.md"]
)
def test_a_page_works_from_its_first_command_to_its_last(terminals: Terminals, page: str) -> None:
    """Every command is run in its order, and what the page says is printed is printed."""
    output = ""
    runners: dict[tuple[str, str], Callable[[str], str | None]] = {
        ("bash", ""): terminals.run,
        ("bash", "server"): terminals.start,
    }
    for language, word, text in blocks(page):
        if language == "text":
            assert output.endswith(text), output
        else:
            output = runners[language, word](text) or ""
