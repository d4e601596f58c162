"""The table of causes: each is found by what tells it from the others."""

import signal

import pytest

from polyport.domain import diagnosis
from polyport.domain.diagnosis import Evidence, Stage
from polyport.domain.instances import Exit

CODE_1 = Exit(10.0, code=1)
CASES: list[tuple[str, Evidence]] = [
    ("disk-full", Evidence(end=CODE_1, output=("OSError: [Errno 28] No space left on device: 'x'",))),
    ("disk-full", Evidence(stage=Stage.MODEL, trouble="s3://b/k: No space left on device")),
    ("wrong-architecture", Evidence(end=Exit(1.0, reason="entrypoint cannot be started: [Errno 8] Exec format error"))),
    ("wrong-architecture", Evidence(end=CODE_1, output=("exec /serve: exec format error",))),
    ("wrong-architecture", Evidence(stage=Stage.IMAGE, trouble="no matching manifest for linux/arm64")),
    ("image-not-found", Evidence(stage=Stage.IMAGE, trouble="There is no image x:1.")),
    ("model-data-not-fetched", Evidence(stage=Stage.MODEL, trouble="There is nothing at s3://b/k.")),
    ("engine-refused", Evidence(stage=Stage.ENGINE, trouble="There is no port left.")),
    ("entry-point-missing", Evidence(end=Exit(1.0, reason="entrypoint not found: there is no 'serve'"))),
    ("entry-point-missing", Evidence(end=Exit(1.0, code=127))),
    ("cannot-start", Evidence(end=Exit(1.0, reason="its isolation is not to be had"))),
    ("out-of-memory", Evidence(end=Exit(1.0, signal=9, reason="out of memory"))),
    ("out-of-memory", Evidence(end=CODE_1, output=("torch.OutOfMemoryError: CUDA out of memory.",))),
    (
        "import-error",
        Evidence(end=CODE_1, output=("Traceback", "ImportError: libgomp.so.1: cannot open shared object")),
    ),
    ("port-taken", Evidence(end=CODE_1, port=20000, output=("OSError: [Errno 98] Address already in use",))),
    (
        "model-data-unreadable",
        Evidence(end=CODE_1, output=("FileNotFoundError: [Errno 2] No such file: '/opt/ml/model/a.bin'",)),
    ),
    ("model-data-unreadable", Evidence(end=CODE_1, output=("_pickle.UnpicklingError: invalid load key, 'x'.",))),
    ("bad-instruction", Evidence(end=Exit(1.0, signal=signal.SIGILL))),
    ("killed", Evidence(end=Exit(1.0, signal=signal.SIGKILL))),
    ("done-at-once", Evidence(end=Exit(1.0, code=0))),
    ("exits-at-once", Evidence(end=CODE_1, lived=0.5)),
    ("exits-later", Evidence(end=CODE_1, lived=60.0)),
    ("port-ignored", Evidence(port=20000, listening=(8080,), error="refused")),
    ("unreachable", Evidence(port=8080, unreachable=("127.0.0.1:8080",), error="refused")),
    ("wrong-port", Evidence(port=20000, listening=(80, 8000), error="refused")),
    ("not-listening", Evidence(port=20000, error="refused", overdue=True)),
    ("ping-404", Evidence(port=1, listening=(1,), status=404)),
    ("ping-500", Evidence(port=1, listening=(1,), status=503)),
    ("ping-slow", Evidence(port=1, listening=(1,), error="timeout")),
    ("ping-broken", Evidence(port=1, listening=(1,), error="malformed")),
    ("unhealthy", Evidence(port=1, listening=(1,), error="the engine gave no answer", overdue=True)),
]


@pytest.mark.parametrize(("name", "evidence"), CASES)
def test_a_cause_is_found(name: str, evidence: Evidence) -> None:
    """And told in whole sentences, with all that is known."""
    found = diagnosis.find(evidence)
    assert found is not None
    assert found.name == name
    assert found.cause.endswith((".", "'"))
    assert found.fix.endswith(".")
    assert "{" not in found.text
    assert "<" not in found.text


def test_every_cause_has_a_case() -> None:
    """A cause that nothing leads to is none."""
    assert {name for name, _ in CASES} == {cause.name for cause in diagnosis.CAUSES}


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(port=1, error="refused"),
        Evidence(port=1, listening=(1,), error="not running"),
        Evidence(port=1, listening=(1,), status=200, output=("ImportError: tried without it",)),
    ],
)
def test_who_may_still_get_healthy_is_accused_of_nothing(evidence: Evidence) -> None:
    """What it prints counts once it ended, its silence once its time is over."""
    assert diagnosis.find(evidence) is None


def test_a_lack_of_memory_is_told_with_both_figures() -> None:
    """The peak and what there was, as far as they are known."""
    for memory, limit, text in (
        (2000 << 20, 2 << 30, "there was not enough memory for it (2.0 GiB at its peak, of 2.0 GiB)."),
        (700 << 20, None, "there was not enough memory for it (700 MiB at its peak)."),
        (None, 2 << 30, "there was not enough memory for it (it may have 2.0 GiB)."),
        (None, None, "there was not enough memory for it."),
    ):
        found = diagnosis.find(Evidence(end=Exit(1.0, None, 9, "out of memory", memory, limit)))
        assert found is not None
        assert found.cause == f"It was ended by SIGKILL (out of memory): {text}"
