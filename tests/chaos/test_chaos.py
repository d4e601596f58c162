"""`make chaos`: what excuses a failed call and what does not, schedules that come again, and a short real run."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from chaos.calls import CONNECTION, MODEL_ERROR, OK, Call, Fault, judge
from chaos.scenarios import Plan, Result
from chaos.strategies import STRATEGIES

from chaos import mix, report
from polyport.aws import service, validate

ROOT = Path(__file__).parents[2]


def call(began: float, ended: float, outcome: str = OK, endpoint: str = "e") -> Call:
    return Call(f"c{began}", endpoint, began, ended, outcome)


KILL = Fault("kill container", "i-1", 10.0, 10.2, (MODEL_ERROR,), "e")


@pytest.mark.parametrize(
    ("one", "is_excused"),
    [
        (call(9.9, 10.1, MODEL_ERROR), True),
        (call(10.1, 10.9, MODEL_ERROR), True),
        (call(9.0, 9.9, MODEL_ERROR), False),
        (call(10.3, 10.4, MODEL_ERROR), False),
        (call(9.9, 10.1, CONNECTION), False),
        (call(9.9, 10.1, MODEL_ERROR, "other"), False),
    ],
    ids=["in flight", "began while it died", "before", "after", "another outcome", "another endpoint"],
)
def test_a_fault_excuses_the_calls_that_were_in_flight_in_it_and_no_others(one: Call, is_excused: bool) -> None:
    """By time, by outcome, by endpoint."""
    verdict = judge([one, call(1, 2)], [KILL])
    assert verdict.calls == 2
    assert verdict.broken == (() if is_excused else (one,))
    assert verdict.excused == ({"kill container: ModelError": 1} if is_excused else {})


def test_a_call_that_a_container_got_twice_is_found() -> None:
    """Unless a container died over it: then the gateway may have tried a reused connection anew."""
    quiet, killed = call(1, 2), call(9.9, 10.1)
    verdict = judge([quiet, killed], [KILL], Counter({quiet.id: 2, killed.id: 2}))
    assert verdict.doubled == (quiet.id,)
    assert verdict.broken == ()


def test_a_seed_is_a_schedule() -> None:
    """The same seed gives the same steps, another one others; and every kind of fault comes."""
    assert mix.schedule(7, 200) == mix.schedule(7, 200)
    assert mix.schedule(7, 200) != mix.schedule(8, 200)
    assert {step.kind for step in mix.schedule(7, 200)} == set(mix.KINDS)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_api_takes_every_strategy(name: str) -> None:
    """They are SageMaker's own words."""
    operation = service.load("sagemaker").operation("UpdateEndpoint")
    validate.validate(operation, {"EndpointName": "e", "EndpointConfigName": "c", **STRATEGIES[name]})


def test_the_figures_of_a_run_replace_those_of_the_one_before(tmp_path: Path) -> None:
    """One block of the page, written by a command; the rest of the page stays."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{report.BEGIN}\n\nold\n\n{report.END}\n\nafter\n")
    plan = Plan(3, 1.0, 5)
    result = Result("updates", "none fail", plan, 1234, {}, {"ModelError": 2}, {"x": 1.5}, ("2 calls failed",))
    made = report.Report(5, "2026-01-31", "2 CPUs", (result,))
    report.write_page(msgspec.json.decode(msgspec.json.encode(made), type=report.Report), page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| updates | 3 | 1,234 | 0 | ModelError 2 | x: 1.5 |" in text
    assert "- updates: 2 calls failed" in text


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_run_on_real_processes_keeps_every_promise(tmp_path: Path) -> None:
    """Real server, real client, real kills; the results are written, and the exit status tells."""
    command = [sys.executable, "-m", "chaos", "--scenario", "worker-kills", "mix", "--times", "1", "--seconds", "10"]
    done = subprocess.run(
        [*command, "--seed", "4", "--folder", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=report.Report)
    assert [one.scenario for one in written.results] == ["worker-kills", "mix"]
    assert all(one.calls > 50 for one in written.results)
