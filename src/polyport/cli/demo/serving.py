"""A server of the demo's own: `polyport serve` as another process."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from polyport.errors import UsageError

START_PATIENCE = 60.0
#: `polyport serve` finishes the calls in flight first; nobody calls any more when the demo stops it.
STOP_PATIENCE = 45.0
POLL_INTERVAL = 0.02


class Server:
    """Starts at once, is ready after `wait`. A context manager, which stops it unless `keep` was called."""

    def __init__(self, home: Path, engine: str = "process", docker_host: str = "") -> None:
        self._log = home / "serve.log"
        self._kept = False
        command = [sys.executable, "-m", "polyport", "serve", "--port", "0", "--home", str(home), "--engine", engine]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POLYPORT_")}
        if docker_host:
            environment["POLYPORT_DOCKER_HOST"] = docker_host
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is for the demo, which stops the server when it has tidied up.
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            self.stop()

    def wait(self) -> str:
        """The URL, once `GET /healthz` answers 200 there. Raises `UsageError` with the server's last words."""
        deadline = time.monotonic() + START_PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"listens on (http://\S+)", self._log.read_text(errors="replace"))
            if found and healthy(found[1]):
                return found[1]
            time.sleep(POLL_INTERVAL)
        last = "\n".join(self._log.read_text(errors="replace").strip().splitlines()[-20:])
        raise UsageError(f"The server did not start. It printed:\n{last}")

    def keep(self) -> None:
        """Leave it running."""
        self._kept = True

    def stop(self) -> None:
        """SIGTERM, once more for "at once", then SIGKILL."""
        for patience, number in ((STOP_PATIENCE, signal.SIGTERM), (5.0, signal.SIGTERM), (None, signal.SIGKILL)):
            if self.process.poll() is None:
                self.process.send_signal(number)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            return


def healthy(url: str) -> bool:
    """Whether ``GET /healthz`` answers 200. Raises `UsageError` for what is not a URL."""
    try:
        # No proxy: a server that this user started is reached directly.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url.rstrip('/')}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
    except ValueError as error:
        raise UsageError(f"--url {url}: {error}") from error


def exports(url: str) -> dict[str, str]:
    """The environment that points an unmodified AWS client at a server."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "polyport",
        "AWS_SECRET_ACCESS_KEY": "polyport",
    }


def point_clients_at(url: str, own: bool) -> None:
    """Set `exports` in this process. For a server of the demo's own, nothing else of AWS's settings stays: the user's
    profile must not lead calls elsewhere. For another server the user's credentials count."""
    if own:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
        os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost"]))
    for name, value in exports(url).items():
        os.environ.setdefault(name, value)
    os.environ["AWS_ENDPOINT_URL"] = url
