"""``FailureReason``: begins as SageMaker's does, then says the cause. At most 1,024 characters."""

import signal

from polyport.control.health import Health, Rules
from polyport.domain.endpoints import Mode, Variant
from polyport.domain.instances import ContainerState, Exit
from polyport.engines.contract import Diagnosis

LIMIT = 1024


def ping_failed(variant: Variant, container: ContainerState, health: Health, rules: Rules, diagnosis: Diagnosis) -> str:
    """Why a container that did not get healthy was given up."""
    cause = _cause(container, health, rules, diagnosis)
    if container.last_exit and container.last_exit.reason and container.pid is None and not container.restarts:
        return clip(_cannot_start(variant, container.hostname, cause), diagnosis.output)
    name = "primary container" if variant.mode is Mode.SINGLE else f"container {container.hostname}"
    text = f"The {name} for production variant {variant.name} did not pass the ping health check. "
    text += "Please check CloudWatch logs for this endpoint. " + cause
    return clip(text, diagnosis.output)


def cannot_start(variant: Variant, hostname: str, cause: str) -> str:
    """Why a container could not be started at all."""
    return clip(_cannot_start(variant, hostname, cause), ())


def _cannot_start(variant: Variant, hostname: str, cause: str) -> str:
    image = next((spec.image for spec in variant.containers if spec.hostname == hostname), "<image>")
    return (
        f"CannotStartContainerError. Please ensure the model container for variant {variant.name} starts correctly "
        f"when invoked with 'docker run {image} serve'. {cause}"
    )


def clip(text: str, output: tuple[str, ...]) -> str:
    """The text with as many of the last lines of output as fit."""
    text = text.strip()[:LIMIT]
    kept: list[str] = []
    room = LIMIT - len(text) - len(" Its last output: ")
    for line in reversed([line for line in output if line.strip()]):
        room -= len(line) + 1
        if room < 0:
            break
        kept.insert(0, line)
    return f"{text} Its last output:\n" + "\n".join(kept) if kept else text


def _cause(container: ContainerState, health: Health, rules: Rules, diagnosis: Diagnosis) -> str:
    if container.last_exit and (container.pid is None or not diagnosis.listening):
        times = f" and was restarted {container.restarts} times" if container.restarts else ""
        return f"It {describe_exit(container.last_exit)}{times}."
    if diagnosis.listening and container.port not in diagnosis.listening:
        ports = ", ".join(str(port) for port in diagnosis.listening)
        return (
            f"It listens on {ports}, expected {container.port}: "
            "it must listen on the port that SAGEMAKER_BIND_TO_PORT gives."
        )
    if not diagnosis.listening:
        return f"It runs but does not listen; expected {container.port} within {rules.startup_timeout:g} s."
    if health.last.status is not None:
        return f"GET /ping answered {health.last.status}, expected 200."
    return f"GET /ping got no answer ({health.last.error or 'not asked yet'})."


def describe_exit(end: Exit) -> str:
    """``exited with code 3``, ``was ended by SIGKILL``, or why it could not be started."""
    if end.reason:
        return f"could not go on: {end.reason}"
    if end.signal is not None:
        try:
            return f"was ended by {signal.Signals(end.signal).name}"
        except ValueError:
            return f"was ended by signal {end.signal}"
    return f"exited with code {end.code}"
