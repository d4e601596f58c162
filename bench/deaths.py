"""`python -m bench.deaths`: how long after a container's death DescribeEndpoint tells why, on real processes.

Containers die of an import error: while their endpoint is created, while it is in service, and for the last time
before it is given up. What is measured goes from the last thing that a container does to the first answer that has the
cause.
"""

import argparse
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import served

#: The target, in seconds; and how long anything may take at all.
MOST, PATIENCE = 2.0, 120.0
PROGRAM = """
import http.server, os, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
left = float(os.environ["DIES_AT"]) - time.time()
if left > 0:
    server = http.server.HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler)
    server.timeout = 0.05
    while time.time() < float(os.environ["DIES_AT"]):
        server.handle_request()
else:
    time.sleep(float(os.environ["LIVES"]))
print("It dies at", time.time(), flush=True)
import no_such_package
"""
CAUSE = "No module named 'no_such_package'"
_DEATH = re.compile(r"It dies at ([0-9.]+)")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench.deaths", description=__doc__)
    made.add_argument("--deaths", type=int, default=5, help="of each kind (5)")
    made.add_argument("--together", type=int, default=5, help="of them at the same time, in the second part (5)")
    made.add_argument("--strict", action="store_true", help="exit with 1 when the target is missed")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status."""
    given = parser().parse_args(arguments)
    with served.running(PROGRAM, "deaths:1") as (home, _, url):
        ward = Ward(home, url)
        found = {
            "while it is created": [ward.dies_in_creation([f"new{n}"]) for n in range(given.deaths)],
            "in service": [ward.dies_in_service([f"old{n}"]) for n in range(given.deaths)],
            "given up": [ward.is_given_up([f"up{n}"]) for n in range(given.deaths)],
            f"in service, {given.together} together": [
                ward.dies_in_service([f"all{n}" for n in range(given.together)])
            ],
        }
    print(f"Seconds from a container's death to its cause in DescribeEndpoint (target: {MOST:g} at most):")
    every = {kind: sorted(delay for delays in several for delay in delays) for kind, several in found.items()}
    for kind, delays in every.items():
        print(f"  {kind}: {len(delays)} deaths, median {delays[len(delays) // 2]:.2f}, longest {delays[-1]:.2f}")
    missed = max(delays[-1] for delays in every.values()) > MOST
    return 1 if given.strict and missed else 0


class Ward:
    """A server on which containers die."""

    def __init__(self, home: Path, url: str) -> None:
        self._home = home
        self._sagemaker = served.client("sagemaker", url)

    def dies_in_creation(self, names: list[str]) -> list[float]:
        """They end half a second after they began; it is told in VariantStatus while they are tried again."""
        for name in names:
            self._create(name, dies_at=0.0, lives=0.5)
        return list(self._measure(names, first=True))

    def dies_in_service(self, names: list[str]) -> list[float]:
        """They answer until that moment, and no start after it succeeds."""
        dies_at = time.time() + 4.0 + len(names)
        for name in names:
            self._create(name, dies_at=dies_at, lives=0.0)
        self._wait(names, "InService", dies_at)
        return list(self._measure(names, first=True))

    def is_given_up(self, names: list[str]) -> list[float]:
        """From the last of the deaths that a start may have to FailureReason."""
        for name in names:
            self._create(name, dies_at=0.0, lives=0.0)
        return list(self._measure(names, first=False))

    def _create(self, name: str, dies_at: float, lives: float) -> None:
        environment = {"DIES_AT": str(dies_at), "LIVES": str(lives)}
        container = {"Image": "deaths:1", "Environment": environment}
        served.create_endpoint(self._sagemaker, name, PrimaryContainer=container)

    def _wait(self, names: list[str], status: str, until: float) -> None:
        while any(self._sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] != status for name in names):
            if time.time() > until:
                raise SystemExit(f"{', '.join(names)} did not become {status} in time: this machine is too slow")
            time.sleep(0.05)

    def _measure(self, names: list[str], *, first: bool) -> Iterator[float]:
        seen: dict[str, float] = {}
        until = time.time() + PATIENCE
        while len(seen) < len(names):
            for name in names:
                answer = self._sagemaker.describe_endpoint(EndpointName=name)
                if name not in seen and CAUSE in _told(answer, whole=first):
                    seen[name] = time.time()
            if time.time() > until:
                raise SystemExit(f"the cause was not told within {PATIENCE:g} s")
            time.sleep(0.02)
        for name, at in seen.items():
            deaths = [death for death in self._deaths(name) if death <= at]
            yield at - (deaths[0] if first else deaths[-1])
            # One that is in progress cannot be deleted by SageMaker's own operation.
            served.command(self._home, "endpoints", "delete", name, "--force")

    def _deaths(self, name: str) -> list[float]:
        logs = self._home.glob(f"logs/*/*/{name}/*/*/*.log")
        return sorted(float(at) for log in logs for at in _DEATH.findall(log.read_text()))


def _told(answer: dict[str, Any], *, whole: bool) -> str:
    """All that is said of what goes on; or of why it failed alone."""
    variants = answer.get("ProductionVariants", ()) if whole else ()
    messages = [status.get("StatusMessage", "") for each in variants for status in each.get("VariantStatus", ())]
    return " ".join([answer.get("FailureReason", ""), *messages])


if __name__ == "__main__":
    sys.exit(main())
