"""`python -m bench.worker`: one bare gateway worker in front of the benchmark's containers, for a profiler."""

import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from bench import ground, tools
from bench.ground import Ground
from bench.systems.worker import Worker


def main() -> None:
    """Run until SIGTERM or Ctrl-C; prints what to call and what to profile."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="polyport-worker-") as temporary:
        folder = Path(temporary)
        model = tools.compile_native(folder, "model")
        with ground.models(model, folder, frozenset()) as ports:
            worker = Worker(Ground(folder, model, ports, frozenset(), frozenset()))
            try:
                worker.start()
                url = f"http://127.0.0.1:{worker.port}/endpoints/echo/invocations"
                print(f"process {worker.serving()[0]}, {url}", flush=True)
                signal.pause()
            finally:
                worker.stop()


if __name__ == "__main__":
    main()
