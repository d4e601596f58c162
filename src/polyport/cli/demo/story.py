"""The demo, step by step.

SageMaker changes the mode of an endpoint by `UpdateEndpoint` to a configuration whose variant has another model. A call
is made differently in each mode (Direct wants `TargetContainerHostname`, Serial refuses it), so a client cannot be
right on both sides of one such update. Two updates leave no such moment: the first adds a Serial variant beside the
Direct one, clients move over, the second takes the Direct one away. A client calls through all of it, with retries off.
"""

import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from polyport.cli.demo import client, training
from polyport.cli.demo.caller import Caller, Form
from polyport.cli.demo.report import Report, Step
from polyport.cli.demo.training import Call, Trained
from polyport.cli.demo.workshops import Workshop
from polyport.cli.image import showing

EXAMPLES = Path(__file__).parent / "images"
FIRST, SECOND = "scikit-learn", "lightgbm"
#: How long the steady caller goes on after each update, in calls.
AFTERMATH = 50


class DemoFailed(Exception):
    """A call failed or an answer was not the expected one."""


class Story:
    """One run against one server. ``home`` is that server's home folder: buckets are put there."""

    def __init__(self, home: Path, work: Path, report: Report, workshop: Workshop, suffix: str = "") -> None:
        self._home = home
        self._work = work
        self._report = report
        self._workshop = workshop
        self._models: dict[str, Trained] = {}
        self._alone = 0.0
        self._in_service = 0.0
        self.endpoint = "demo" + suffix
        self._direct, self._serial = f"demo-direct{suffix}", f"demo-serial{suffix}"
        self._configs = [f"demo-{number}{suffix}" for number in (1, 2, 3)]
        self._bucket = f"polyport-demo{suffix}"

    # What there is before AWS is involved: images and model archives.

    def build_images(self) -> None:
        """Two environments. Made once; the next run finds them."""
        for name in (FIRST, SECOND):
            with self._report.step(f"Build the image {name}") as step:
                alias = f"{client.REGISTRY}/{name}:demo"
                self._workshop.build(name, EXAMPLES / name, showing.narrate(step.say), alias)

    def train(self) -> None:
        """The second model learns from the output of the first."""
        with self._report.step("Train both models") as step:
            step.say(FIRST)
            first = self._workshop.train(FIRST, self._work / FIRST)
            step.say(SECOND)
            second = self._workshop.train(SECOND, self._work / SECOND, first)
            self._models = {FIRST: first, SECOND: second}
            bucket = self._home / "buckets" / self._bucket
            for name, model in self._models.items():
                (bucket / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(model.archive, bucket / name / "model.tar.gz")
            step.result = training.conflicts(self._models)

    def time_alone(self) -> None:
        """The yardstick for InService."""
        with self._report.step("Start both model servers by hand, three times") as step:
            self._alone = self._workshop.measure([self._models[name] for name in (FIRST, SECOND)])
            step.result = f"own start-up {self._alone:.2f} s"

    # What boto3 does.

    def create(self, sagemaker: Any) -> None:
        """Models of both modes, the configurations, and the endpoint, direct at first."""
        with self._report.step("Create models and configurations"):
            archives = {name: f"s3://{self._bucket}/{name}/model.tar.gz" for name in (FIRST, SECOND)}
            client.create_model(sagemaker, self._direct, "Direct", archives)
            client.create_model(sagemaker, self._serial, "Serial", archives)
            direct, serial = {"direct": self._direct}, {"serial": self._serial}
            for config, variants in zip(self._configs, (direct, direct | serial, serial), strict=True):
                client.create_config(sagemaker, config, variants)
        with self._report.step("Create the endpoint: time to InService") as step:
            sagemaker.create_endpoint(EndpointName=self.endpoint, EndpointConfigName=self._configs[0])
            client.wait_until_in_service(sagemaker, self.endpoint, step.say)
            self._in_service = step.elapsed()
            step.result = f"own start-up {self._alone:.2f} s, and {self._in_service - self._alone:+.2f} s"

    def invoke_direct(self, runtime: Any) -> None:
        """Each container by its name."""
        for name in (FIRST, SECOND):
            with self._report.step(f"Invoke {name} by name") as step:
                self._compare(runtime, self._models[name].calls, step, TargetContainerHostname=name)

    def go_serial(self, sagemaker: Any) -> None:
        """From Direct to Serial in two updates, under a client that keeps calling."""
        by_name = Form(
            {"TargetVariant": "direct", "TargetContainerHostname": FIRST},
            self._models[FIRST].calls[0].rows,
            self._models[FIRST].calls[0].answer,
        )
        in_chain = Form({"TargetVariant": "serial"}, self._chain()[0].rows, self._chain()[0].answer)
        with Caller(self.endpoint, by_name) as caller:
            self._update(sagemaker, caller, self._configs[1], "Update: a Serial variant beside the Direct one")
            caller.switch(in_chain)
            self._update(sagemaker, caller, self._configs[2], "Update: Serial alone")

    def _update(self, sagemaker: Any, caller: Caller, config: str, title: str) -> None:
        with self._report.step(title) as step:
            before = caller.calls
            sagemaker.update_endpoint(EndpointName=self.endpoint, EndpointConfigName=config)
            client.wait_until_in_service(sagemaker, self.endpoint, step.say)
            caller.make(AFTERMATH)
            if caller.failures:
                raise DemoFailed(f"{len(caller.failures)} of {caller.calls} calls failed; {caller.failures[0]}")
            step.result = f"{caller.calls - before} calls meanwhile, none failed"

    def invoke_serial(self, runtime: Any) -> None:
        """The chain, with nothing in the call but the endpoint's name."""
        with self._report.step(f"Invoke the chain {FIRST} > {SECOND}") as step:
            self._compare(runtime, self._chain(), step)

    def delete(self, sagemaker: Any) -> None:
        """All that was made through the API, and the archives."""
        with self._report.step("Delete endpoint, configurations and models") as step:
            step.say("endpoint")
            client.delete_endpoint(sagemaker, self.endpoint)
            step.say("configurations and models")
            client.delete_rest(sagemaker, self._configs, [self._direct, self._serial])
        self._forget_files()

    def abandon(self, sagemaker: Any) -> None:
        """`delete` after a failure anywhere: removes what there is."""
        with suppress(ClientError, BotoCoreError):
            client.delete_endpoint(sagemaker, self.endpoint)
        for config in self._configs:
            with suppress(ClientError, BotoCoreError):
                client.delete_rest(sagemaker, [config], [])
        for model in (self._direct, self._serial):
            with suppress(ClientError, BotoCoreError):
                client.delete_rest(sagemaker, [], [model])
        self._forget_files()

    def verdict(self) -> str:
        """The promise and what came of it."""
        over = self._in_service - self._alone
        kept = "less" if over < self._workshop.allowance else "more"
        return (
            f"InService after {self._in_service:.2f} s: the containers' own start-up of {self._alone:.2f} s, "
            f"and {over:+.2f} s, {kept} than the {self._workshop.allowance} s allowed on top."
        )

    def examples(self) -> str:
        """boto3 to paste, for the endpoint as `go_serial` leaves it."""
        rows = self._models[FIRST].calls[0].rows
        return f"""import boto3, json, time
sagemaker, runtime = boto3.client("sagemaker"), boto3.client("sagemaker-runtime")
body = json.dumps({rows})
print(runtime.invoke_endpoint(EndpointName="{self.endpoint}", ContentType="application/json", Body=body)["Body"].read())

# Back to Direct, each container by its name:
sagemaker.update_endpoint(EndpointName="{self.endpoint}", EndpointConfigName="{self._configs[0]}")
while sagemaker.describe_endpoint(EndpointName="{self.endpoint}")["EndpointStatus"] != "InService":
    time.sleep(0.1)
print(runtime.invoke_endpoint(EndpointName="{self.endpoint}", TargetContainerHostname="{FIRST}",
                              ContentType="application/json", Body=body)["Body"].read())"""

    def _chain(self) -> list[Call]:
        """The first model's requests with the second model's answers, as computed in-process."""
        pairs = zip(self._models[FIRST].calls, self._models[SECOND].calls, strict=True)
        return [Call(first.rows, second.answer) for first, second in pairs]

    def _compare(self, runtime: Any, calls: list[Call] | tuple[Call, ...], step: Step, **target: str) -> None:
        """Every answer equals the in-process one, number for number: no tolerance."""
        numbers = 0
        for call in calls:
            answer = client.invoke(runtime, self.endpoint, call.rows, **target)
            if answer != call.answer:
                raise DemoFailed(f"{dict(target)}: answered {answer[:2]}..., in-process it is {call.answer[:2]}...")
            numbers += sum(map(len, answer))
        step.result = f"{len(calls)} calls, {numbers} numbers, all equal to the in-process ones"

    def _forget_files(self) -> None:
        shutil.rmtree(self._home / "buckets" / self._bucket, ignore_errors=True)


def new_suffix() -> str:
    """Keeps two demos on one server apart."""
    return "-" + secrets.token_hex(3)
