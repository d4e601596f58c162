"""`polyport demo update`: a canary that goes well and one that an alarm takes back, under calls that never stop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live

from polyport.cli.demo import client
from polyport.cli.demo.chart import Chart
from polyport.cli.demo.report import Report
from polyport.cli.demo.tally import Tally

IMAGE = "version"
VERSIONS = ("v1", "v2", "v3")
ENDPOINT, ALARM = "demo-update", "demo-errors"
#: Instances of each version; one of them is the canary.
INSTANCES = 4
#: Seconds that each step bakes, and that the old fleet is kept after the last.
BAKE, TERMINATION = 4, 2
#: Seconds of one column of the drawing.
MOMENT = 0.25

DEPLOYMENT = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
            "WaitIntervalInSeconds": BAKE,
        },
        "TerminationWaitInSeconds": TERMINATION,
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": ALARM}]},
}

Show = Callable[[Chart, str], None]


class Rollout:
    """One run against the server that the environment names. ``set_alarm`` makes the alarm go off."""

    def __init__(self, console: Console, report: Report, set_alarm: Callable[[], None]) -> None:
        self._console = console
        self._report = report
        self._set_alarm = set_alarm
        self._sagemaker = client.control_client()

    def create(self) -> None:
        """A model and a configuration for each version, and the endpoint with the first."""
        with self._report.step("Create the endpoint with v1") as step:
            for version in VERSIONS:
                client.create_version(self._sagemaker, name_of(version), IMAGE, version, INSTANCES)
            self._sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=name_of("v1"))
            client.wait_until_in_service(self._sagemaker, ENDPOINT, step.say)

    def go_well(self, tally: Tally) -> str:
        """From the first version to the second; what came of it."""
        self._say(f"\nUpdateEndpoint to v2: one canary of {INSTANCES} instances, {BAKE} s later the rest.")
        description = self._update(tally, Chart("v1", "v2"), lambda: None)
        return f"v2 serves alone, {description['EndpointStatus']}."

    def go_back(self, tally: Tally) -> str:
        """To the third version, but the alarm goes off while the canary bakes; what came of it."""
        self._say(f"\nUpdateEndpoint to v3, the same way; while the canary bakes: polyport alarm set {ALARM} ALARM")
        description = self._update(tally, Chart("v2", "v3"), self._set_alarm)
        return (
            f"v2 serves on, {description['EndpointStatus']}. {description.get('FailureReason', 'No reason is given.')}"
        )

    def delete(self) -> None:
        """All of it."""
        names = [name_of(version) for version in VERSIONS]
        with self._report.step("Delete endpoint, configurations and models"):
            client.delete_endpoint(self._sagemaker, ENDPOINT)
            client.delete_rest(self._sagemaker, names, names)

    def _update(self, tally: Tally, chart: Chart, in_the_bake: Callable[[], None]) -> dict[str, Any]:
        """Draws until the endpoint has settled and one moment longer, which shows where it ended; its description."""
        config = name_of(chart.new)
        self._sagemaker.update_endpoint(EndpointName=ENDPOINT, EndpointConfigName=config, DeploymentConfig=DEPLOYMENT)
        begun, canary_at, is_done, has_settled = time.monotonic(), 0.0, False, False
        with self._drawing() as show:
            while True:
                now = time.monotonic()
                description: dict[str, Any] = self._sagemaker.describe_endpoint(EndpointName=ENDPOINT)
                chart.add(tally.take())
                show(chart, f"{now - begun:4.1f} s  {client.describe_status(description)}")
                if has_settled:
                    return description
                has_settled = description["EndpointStatus"] in client.SETTLED
                canary_at = canary_at or (now if chart.share else 0.0)
                if canary_at and not is_done and now >= canary_at + BAKE / 2:
                    is_done = True
                    in_the_bake()
                time.sleep(MOMENT)

    @contextmanager
    def _drawing(self) -> Iterator[Show]:
        """On a terminal a picture that moves; elsewhere a line for each moment."""
        if not self._console.is_terminal:
            yield lambda chart, caption: self._say(chart.tell(caption))
            return
        with Live(console=self._console, auto_refresh=False) as live:
            yield lambda chart, caption: live.update(chart.draw(caption), refresh=True)

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def name_of(version: str) -> str:
    """Of its model and its configuration."""
    return f"{ENDPOINT}-{version}"
