"""How long the containers take to start by themselves, with no server around them: the yardstick for InService."""

import http.client
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from polyport.cli.demo.training import Trained
from polyport.errors import UsageError
from polyport.images.registry import ProcessImage

ROUNDS = 3
POLL_INTERVAL = 0.005
PATIENCE = 60.0

Pair = tuple[ProcessImage, Trained]


def measure(pairs: Sequence[Pair]) -> float:
    """Seconds from the start of all processes, together, to the last first 200 on /ping; the median of three rounds."""
    return statistics.median(measure_once(pairs) for _ in range(ROUNDS))


def measure_once(pairs: Iterable[Pair]) -> float:
    """One round. They start together because an endpoint starts them so, on the same cores."""
    begun = time.perf_counter()
    with ExitStack() as stack:
        ports = [stack.enter_context(running(image, model)) for image, model in pairs]
        while ports:
            ports = [port for port in ports if not answers(port)]
            if time.perf_counter() - begun > PATIENCE:
                raise UsageError(f"A model server did not answer /ping within {PATIENCE:.0f} s.")
            time.sleep(POLL_INTERVAL)
        return time.perf_counter() - begun


@contextmanager
def running(image: ProcessImage, model: Trained) -> Iterator[int]:
    """The image's command on a free port, with the model in its base folder."""
    port = free_port()
    environment = {
        **image.environment,
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_BASE_DIR": str(model.folder),
    }
    program = shutil.which(image.command[0], path=image.environment["PATH"]) or image.command[0]
    process = subprocess.Popen(
        [program, *image.command[1:]],
        cwd=image.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port that nothing uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether ``GET /ping`` answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
