"""`python -m bench.telemetry`: what logs cost, whether all lines come out again, how soon a call is in the metrics.

One endpoint of many containers, real processes. Each prints numbered lines at a steady rate; Polyport's processor time
meanwhile, without the containers' own, is compared with that of a time in which nothing is printed. Then all lines are
read back through FilterLogEvents, counted and looked through for gaps. At the end single calls are sent, and
GetMetricData is asked until it has each of them.
"""

import argparse
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from bench import processes, served

#: The targets: percent of one core for 10,000 lines a second, and seconds until a call is in GetMetricData.
MOST_PERCENT, MOST_SECONDS = 10.0, 5.0
PATIENCE = 120.0
NAME = "bench"
GROUP = f"/aws/sagemaker/Endpoints/{NAME}"
PROGRAM = """
import http.server, os, sys, threading, time
RATE, SECONDS = float(os.environ["RATE"]), float(os.environ["SECONDS"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer()
    def do_POST(self):
        if self.rfile.read(int(self.headers["Content-Length"])) == b"print":
            threading.Thread(target=talk).start()
        self.answer()
    def answer(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass
def talk():
    # Ten lines a write at most, as a busy program with line buffering looks to a pipe's reader.
    begun, number, total = time.monotonic(), 0, int(RATE * SECONDS)
    while number < total:
        due = min(total, int((time.monotonic() - begun) * RATE) + 1)
        while number < due:
            print(f"line {number} of a container that says as much as a line of an access log does, more or less")
            number += 1
        sys.stdout.flush()
        time.sleep(0.01)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench.telemetry", description=__doc__)
    made.add_argument("--containers", type=int, default=15, help="of the endpoint (15)")
    made.add_argument("--rate", type=float, default=10_000, help="lines a second, of all together (10000)")
    made.add_argument("--seconds", type=float, default=20.0, help="for how long they print (20)")
    made.add_argument("--calls", type=int, default=5, help="how many are looked for in the metrics (5)")
    made.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status."""
    given = parser().parse_args(arguments)
    with served.running(PROGRAM, "lines:1") as (_, server, url):
        names = _create(url, given)
        try:
            rest = _spent(server.pid, given.seconds)
            _call(url, names, b"print")
            busy = _spent(server.pid, given.seconds)
            time.sleep(2)  # what is on its way
            lines, reading = _read(server.pid, url, given)
            delays = [_delay(url, names[0]) for _ in range(given.calls)]
        finally:
            _delete(url)
    percent = 100 * (busy - rest) / given.seconds * 10_000 / given.rate
    print(f"{given.rate:g} lines a second from {given.containers} containers for {given.seconds:g} s:")
    print(f"  kept: {percent:.1f} % of one core for 10,000 a second (target: {MOST_PERCENT:g} %)")
    print(
        f"  read through FilterLogEvents: {lines} lines, none lost or out of order, {1e6 * reading / lines:.1f} us each"
    )
    print(f"calls in GetMetricData after {max(delays):.1f} s at most (target: {MOST_SECONDS:g} s)")
    return 1 if given.strict and (percent > MOST_PERCENT or max(delays) > MOST_SECONDS) else 0


def _create(url: str, given: argparse.Namespace) -> list[str]:
    """The endpoint, in service; its containers' names."""
    sagemaker = served.client("sagemaker", url)
    names = [f"c{number}" for number in range(given.containers)]
    environment = {"RATE": str(given.rate / given.containers), "SECONDS": str(given.seconds)}
    containers = [{"ContainerHostname": name, "Image": "lines:1", "Environment": environment} for name in names]
    served.create_endpoint(sagemaker, NAME, Containers=containers, InferenceExecutionConfig={"Mode": "Direct"})
    until = time.monotonic() + PATIENCE
    while sagemaker.describe_endpoint(EndpointName=NAME)["EndpointStatus"] != "InService":
        if time.monotonic() > until:
            raise SystemExit(f"the endpoint is not InService after {PATIENCE:g} s")
        time.sleep(0.2)
    return names


def _call(url: str, names: list[str], body: bytes) -> None:
    runtime = served.client("sagemaker-runtime", url)
    for name in names:
        runtime.invoke_endpoint(EndpointName=NAME, TargetContainerHostname=name, Body=body)


def _spent(server: int, seconds: float) -> float:
    """Processor time of Polyport's processes, without the containers, during the next seconds."""
    ours = [pid for pid in processes.tree(server) if "serve.py" not in processes.command_line(pid)]
    before = processes.cpu_seconds(ours)
    time.sleep(seconds)
    return processes.cpu_seconds(ours) - before


def _read(server: int, url: str, given: argparse.Namespace) -> tuple[int, float]:
    """How many lines came out, and Polyport's processor time for it. Raises `SystemExit` when some are missing."""
    pages = (
        served.client("logs", url)
        .get_paginator("filter_log_events")
        .paginate(logGroupName=GROUP, filterPattern='"line "')
    )
    ours = processes.tree(server)
    before = processes.cpu_seconds(ours)
    found: dict[str, list[int]] = {}
    for page in pages:
        for event in page["events"]:
            found.setdefault(event["logStreamName"], []).append(int(event["message"].split()[1]))
    spent = processes.cpu_seconds(ours) - before
    expected = list(range(int(given.rate / given.containers * given.seconds)))
    if len(found) != given.containers or any(numbers != expected for numbers in found.values()):
        counts = {name: len(numbers) for name, numbers in found.items()}
        raise SystemExit(f"lines are lost or out of order: {counts}, not {len(expected)} each")
    return sum(map(len, found.values())), spent


def _delay(url: str, name: str) -> float:
    """Seconds from the end of a call until GetMetricData has it."""
    cloudwatch = served.client("cloudwatch", url)
    before = _count(cloudwatch, name)
    _call(url, [name], b"x")
    called = time.monotonic()
    while _count(cloudwatch, name) == before:
        if time.monotonic() - called > PATIENCE:
            raise SystemExit(f"a call is not in GetMetricData after {PATIENCE:g} s")
        time.sleep(0.05)
    return time.monotonic() - called


def _count(cloudwatch: Any, name: str) -> float:
    """All invocations of the container within the hour."""
    now = datetime.now(UTC)
    values = {"EndpointName": NAME, "VariantName": "A", "ContainerName": name}
    dimensions = [{"Name": key, "Value": value} for key, value in values.items()]
    metric = {"Namespace": "AWS/SageMaker", "MetricName": "Invocations", "Dimensions": dimensions}
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=[{"Id": "m", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
    )
    return float(sum(answer["MetricDataResults"][0]["Values"]))


def _delete(url: str) -> None:
    """The endpoint and its processes, so that none outlives the measurement."""
    sagemaker = served.client("sagemaker", url)
    sagemaker.delete_endpoint(EndpointName=NAME)
    until = time.monotonic() + PATIENCE
    while sagemaker.list_endpoints()["Endpoints"] and time.monotonic() < until:
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
