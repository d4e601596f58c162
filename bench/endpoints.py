"""`python -m bench.endpoints`: many endpoints created at once, and what they cost once nothing happens.

The server runs with the fake engine: what is measured is Polyport's own work. The targets are those of 2 cores.
"""

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import processes, served

#: Seconds that getting all endpoints into service may take at all.
PATIENCE = 300.0
#: The targets: seconds until all are in service, and percent of one core afterwards.
MOST_SECONDS, MOST_PERCENT = 20.0, 5.0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench.endpoints", description=__doc__)
    made.add_argument("--endpoints", type=int, default=200, help="how many are created at once (200)")
    made.add_argument("--instances", type=int, default=2, help="of each (2)")
    made.add_argument("--workers", type=int, default=2, help="gateway workers (2)")
    made.add_argument("--rest", type=float, default=20.0, help="seconds over which the steady state is measured (20)")
    made.add_argument("--clients", type=int, default=8, help="threads that create (8)")
    made.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status."""
    given = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="pp") as folder:
        server, url = served.start(Path(folder), "--engine", "fake", "--workers", str(given.workers))
        try:
            seconds = _create(url, given)
            spent = _rest(server.pid, given.rest)
        finally:
            server.terminate()
            server.wait(60)
    percent = sum(spent.values())
    parts = ", ".join(f"{name} {share:.1f} %" for name, share in spent.items())
    print(f"{given.endpoints} endpoints with {given.instances} instances each:")
    print(f"  all InService after {seconds:.1f} s (target: {MOST_SECONDS:g} s)")
    print(f"  steady state: {percent:.1f} % of one core (target: {MOST_PERCENT:g} %): {parts}")
    missed = seconds > MOST_SECONDS or percent > MOST_PERCENT
    return 1 if given.strict and missed else 0


def _create(url: str, given: argparse.Namespace) -> float:
    """Seconds from the first CreateEndpoint until the last endpoint is InService."""
    sagemaker = served.client("sagemaker", url)
    sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": "any:1"})
    variant = {"VariantName": "A", "ModelName": "m", "InitialInstanceCount": given.instances}
    sagemaker.create_endpoint_config(
        EndpointConfigName="c", ProductionVariants=[variant | {"InstanceType": "ml.m5.large"}]
    )
    begun = time.monotonic()

    def create(number: int) -> None:
        sagemaker.create_endpoint(EndpointName=f"e{number}", EndpointConfigName="c")

    with ThreadPoolExecutor(given.clients) as pool:
        list(pool.map(create, range(given.endpoints)))
    while (count := _in_service(sagemaker)) < given.endpoints:
        if time.monotonic() - begun > PATIENCE:
            raise SystemExit(f"only {count} endpoints are InService after {PATIENCE:g} s")
        time.sleep(0.2)
    return time.monotonic() - begun


def _in_service(sagemaker: Any) -> int:
    pages = sagemaker.get_paginator("list_endpoints").paginate(
        StatusEquals="InService", PaginationConfig={"PageSize": 100}
    )
    return sum(len(page["Endpoints"]) for page in pages)


def _rest(server: int, seconds: float) -> dict[str, float]:
    """Percent of one core that each part of the server uses while nobody asks for anything."""
    time.sleep(2)  # the last of the work that the creation left
    parts = {_part(pid, server): pid for pid in processes.tree(server)}
    before = {name: processes.cpu_seconds([pid]) for name, pid in parts.items()}
    time.sleep(seconds)
    return {name: 100 * (processes.cpu_seconds([pid]) - before[name]) / seconds for name, pid in parts.items()}


def _part(pid: int, server: int) -> str:
    if pid == server:
        return "launcher"
    line = processes.command_line(pid)
    return "control" if "polyport.server.control" in line else f"gateway {pid}" if "gateway" in line else f"other {pid}"


if __name__ == "__main__":
    sys.exit(main())
