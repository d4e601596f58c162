"""``FailureReason``: AWS's beginning, then the cause."""

import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec.structs import replace

from control.values import running, variant
from polyport.control import failure
from polyport.control.health import Health, Rules
from polyport.domain.diagnosis import find
from polyport.domain.endpoints import Mode
from polyport.domain.instances import ContainerPhase, ContainerState, Exit
from polyport.engines.contract import Diagnosis, Ping

BEGINNING = (
    "The container one for production variant A did not pass the ping health check. "
    "Please check CloudWatch logs for this endpoint. "
)
PORT = 20000
LISTENING = Diagnosis(listening=(PORT,))


def tell(
    container: ContainerState | None = None,
    diagnosis: Diagnosis = LISTENING,
    ping: Ping | None = None,
    mode: Mode = Mode.DIRECT,
) -> str:
    of = replace(variant(), mode=mode)
    container = container or running("one", PORT)
    evidence = failure.evidence(container, Health(last=ping or Ping()), Rules(), diagnosis)
    return failure.ping_failed(of, container, find(evidence))


def ended(end: Exit, restarts: int = 0) -> ContainerState:
    stopped = replace(running("one", PORT, restarts=restarts), phase=ContainerPhase.BACKOFF, pid=None)
    return replace(stopped, last_exit=end)


def test_a_single_container_is_called_primary() -> None:
    """The text that AWS gives for a model with one container, word for word at its beginning."""
    text = tell(mode=Mode.SINGLE, ping=Ping(status=500))
    assert text.startswith(
        "The primary container for production variant A did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint."
    )


@pytest.mark.parametrize(
    ("container", "diagnosis", "ping", "cause"),
    [
        (ended(Exit(1.0, code=3)), Diagnosis(), Ping(), "It exited with code 3."),
        (ended(Exit(1.0, code=3), 1), Diagnosis(), Ping(), "It exited with code 3 and was restarted once."),
        (ended(Exit(1.0, code=0), 3), Diagnosis(), Ping(), "It exited with code 0 and was restarted 3 times."),
        (ended(Exit(1.0, signal=11)), Diagnosis(), Ping(), "It was ended by SIGSEGV."),
        (ended(Exit(1.0, signal=99)), Diagnosis(), Ping(), "It was ended by signal 99."),
        (
            ended(Exit(1.0, signal=9, reason="out of memory")),
            Diagnosis(),
            Ping(),
            "It was ended by SIGKILL (out of memory): there was not enough memory for it. Choose",
        ),
        (
            None,
            Diagnosis(listening=(8000,)),
            Ping(error="refused"),
            "It listens on 8000, expected 20000. It must listen on the port that SAGEMAKER_BIND_TO_PORT gives.",
        ),
        (None, Diagnosis(listening=(80, 8000)), Ping(), "It listens on 80, 8000, expected 20000. "),
        (None, Diagnosis(), Ping(error="refused"), "It runs but does not listen; expected 20000 within 480 s."),
        (None, LISTENING, Ping(status=500), "GET /ping answered 500, expected 200."),
        (None, LISTENING, Ping(error="timeout"), "GET /ping got no answer (timeout)."),
        (None, LISTENING, Ping(), "GET /ping got no answer (not asked yet)."),
        # It was restarted and runs: what it does now counts, and its last exit only while it does not listen.
        (
            replace(running("one", PORT), last_exit=Exit(1.0, code=3)),
            LISTENING,
            Ping(status=404),
            "GET /ping answered 404",
        ),
        (
            replace(running("one", PORT, restarts=1), last_exit=Exit(1.0, code=3)),
            Diagnosis(),
            Ping(),
            "It exited with code 3",
        ),
    ],
)
def test_the_cause_is_told(container: ContainerState | None, diagnosis: Diagnosis, ping: Ping, cause: str) -> None:
    """Exit code, signal, the wrong port, or what /ping answered."""
    assert tell(container, diagnosis, ping).startswith(BEGINNING + cause)


@pytest.mark.parametrize("restarts", [0, 3])
def test_a_container_that_could_not_be_started_has_awss_other_text(restarts: int) -> None:
    """However often it was tried: it never ran, so it never failed a ping."""
    text = tell(ended(Exit(1.0, reason="there is no program 'serve.py'"), restarts), Diagnosis())
    assert text.startswith(
        "CannotStartContainerError. Please ensure the model container for variant A starts correctly when invoked with "
        "'docker run one:1 serve'. It could not be started: there is no program 'serve.py'"
    )


def test_the_last_lines_of_the_output_follow() -> None:
    """As many whole lines as fit, the last ones, without empty ones."""
    assert failure.clip("Why.", ("first", "", "second")) == "Why. Its last output:\nfirst\nsecond"
    assert failure.clip("Why.", ()) == failure.clip("Why.", ("", "  ")) == "Why."
    text = failure.clip("Why.", tuple(f"line {number} " + "x" * 90 for number in range(50)))
    assert text.endswith("line 49 " + "x" * 90)
    assert all(line.startswith("line ") for line in text.splitlines()[1:])
    assert len(text) > failure.LIMIT - 120


def test_of_an_over_long_line_the_end_is_kept() -> None:
    """The end of a long line (a JSON log record, say) is better than nothing."""
    text = failure.clip("Why.", ("x" * 5000 + "the point",))
    assert text.endswith("the point")
    assert len(text) == failure.LIMIT


@given(st.text(max_size=1200), st.lists(st.text(max_size=600), max_size=20))
def test_a_reason_is_never_longer_than_sagemakers_limit(text: str, output: list[str]) -> None:
    """1,024 characters, whatever goes into it."""
    assert len(failure.clip(text, tuple(output))) <= failure.LIMIT
    assert len(failure.join([text, *output])) <= failure.LIMIT


def test_several_reasons_are_each_told_once() -> None:
    """Ten instances that fail alike need one sentence."""
    assert failure.join(["a", "", "b", "a"]) == "a\nb"
