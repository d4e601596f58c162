"""``FailureReason``: begins as SageMaker's does, then says the cause. At most 1,024 characters."""

import signal
from collections.abc import Iterable

from polyport.control.health import Health, Rules
from polyport.domain.endpoints import Mode, Variant
from polyport.domain.instances import ContainerState, Exit
from polyport.engines.contract import Diagnosis

LIMIT = 1024


def ping_failed(variant: Variant, container: ContainerState, health: Health, rules: Rules, diagnosis: Diagnosis) -> str:
    """Why a container that did not get healthy was given up; `clip` adds what it printed."""
    cause = _cause(container, health, rules, diagnosis)
    if container.pid is None and container.last_exit and _never_ran(container.last_exit):
        return cannot_start(variant, container.hostname, cause)
    name = "primary container" if variant.mode is Mode.SINGLE else f"container {container.hostname}"
    text = f"The {name} for production variant {variant.name} did not pass the ping health check. "
    return text + "Please check CloudWatch logs for this endpoint. " + cause


def cannot_start(variant: Variant, hostname: str, cause: str) -> str:
    """Why a container could not be started at all."""
    image = next((spec.image for spec in variant.containers if spec.hostname == hostname), "<image>")
    return (
        f"CannotStartContainerError. Please ensure the model container for variant {variant.name} starts correctly "
        f"when invoked with 'docker run {image} serve'. {cause}"
    )


def clip(text: str, output: tuple[str, ...]) -> str:
    """The text with as many of the last lines of output as fit; of a line that is longer than that, its end."""
    text = text.strip()[:LIMIT]
    lines = "\n".join(line for line in output if line.strip())
    introduction = " Its last output:\n"
    room = LIMIT - len(text) - len(introduction)
    if not lines or room <= 0:
        return text
    if len(lines) > room:
        lines = lines[-room:]
        # Whole lines, when there is one.
        lines = lines[lines.find("\n") + 1 :]
    return text + introduction + lines


def join(reasons: Iterable[str]) -> str:
    """Several reasons in one, each told once."""
    return "\n".join(dict.fromkeys(filter(None, reasons)))[:LIMIT]


def _cause(container: ContainerState, health: Health, rules: Rules, diagnosis: Diagnosis) -> str:
    if container.last_exit and (container.pid is None or not diagnosis.listening):
        times = f" and was restarted {_times(container.restarts)}" if container.restarts else ""
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
    """``exited with code 3``, ``was ended by SIGKILL (out of memory)``, or why it could not be started."""
    if _never_ran(end):
        return f"could not be started: {end.reason}"
    detail = f" ({end.reason})" if end.reason else ""
    return (f"was ended by {_signal_name(end.signal)}" if end.signal else f"exited with code {end.code}") + detail


def _never_ran(end: Exit) -> bool:
    return bool(end.reason) and end.code is None and end.signal is None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
