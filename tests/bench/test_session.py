"""A run of the benchmark: which systems, in which order, and one small run from end to end."""

import json
import shutil
from pathlib import Path

import pytest
from bench.cases import CASES, MODELS, PROXIES
from bench.client import Target
from bench.ground import Ground, Unavailable
from bench.results import Results
from bench.rounds import Pair
from bench.systems import worker

from bench import __main__ as command
from bench import rounds, session, systems


class Fake:
    """A system without processes."""

    title = "fake"

    def __init__(self, name: str, fails: bool = False) -> None:
        self.name = name
        self.fails = fails
        self.stops = 0

    def start(self) -> None:
        if self.fails:
            raise Unavailable("not for this machine")

    def stop(self) -> None:
        self.stops += 1

    def target(self, case: object) -> Target:
        raise Unavailable("does not do this")

    def serving(self) -> list[int]:
        return []

    def beside(self) -> list[int]:
        return []


def test_rounds_are_interleaved_and_each_begins_with_another_system() -> None:
    """Within a round all systems do the same work one after the other; who is first changes from round to round."""
    one, two = CASES[0], CASES[3]
    pairs = [Pair(Fake(name), case, Target(1, "/")) for name in "xyz" for case in (one, two)]
    orders = [[(pair.case.name, pair.system.name) for pair in rounds.order(pairs, number)] for number in range(3)]
    assert orders[0] == [(case.name, name) for case in (one, two) for name in "xyz"]
    assert orders[1] == [(case.name, name) for case in (one, two) for name in "yzx"]
    assert sorted(orders[2]) == sorted(orders[0])


def test_what_a_system_does_not_do_is_noted_with_the_reason() -> None:
    """No silent gaps: each system that takes no part in a case has a reason in the results."""
    results = Results()
    assert rounds.check_all({"polyport": Fake("polyport")}, [CASES[0]], results) == []
    assert results.missing == {("polyport", CASES[0].name): "does not do this"}


def test_a_system_that_does_not_start_is_noted_and_all_are_ended() -> None:
    """The others go on; at the end every system was stopped, also after an error."""
    good, bad = Fake("good"), Fake("bad", fails=True)
    results, heard = Results(), []
    make = {"good": good, "bad": bad}.__getitem__

    def interrupted() -> None:
        with session.started(["good", "bad"], make, results, heard.append) as running:
            assert list(running) == ["good"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert results.missing == {("bad", ""): "not for this machine"}
    assert good.stops == 1
    assert bad.stops >= 1


def test_cases_and_systems_can_be_chosen() -> None:
    """Only systems that take part in a chosen case are started; an unknown case is refused."""
    cases, names = session.select(["direct"], [])
    assert [case.name for case in cases] == ["direct"]
    assert set(names) == {"polyport", *PROXIES, "worker"}
    assert session.select(["chain"], ["nginx"])[1] == []
    with pytest.raises(KeyError):
        session.select(["nonsense"], [])


def test_every_system_of_every_case_can_be_made(tmp_path: Path) -> None:
    """The names in the cases are names of systems; making one starts nothing."""
    ports = {endpoint: tuple(range(1, 1 + len(stages))) for endpoint, stages in MODELS.items()}
    ground = Ground(tmp_path, tmp_path / "model", ports, frozenset(), frozenset())
    for name in {name for case in CASES for name in case.systems}:
        assert systems.make(name, ground, tmp_path).name == name
    with pytest.raises(KeyError):
        systems.make("apache", ground, tmp_path)


def test_a_large_table_holds_the_measured_endpoints_in_its_middle() -> None:
    """A thousand endpoints with unlike names, the measured ones among them and not at an end."""
    ports = {endpoint: tuple(range(1, 1 + len(stages))) for endpoint, stages in MODELS.items()}
    names = [endpoint.name for endpoint in worker.table(ports, 1000).endpoints]
    assert len(set(names)) == len(names) == 1000
    assert 100 < names.index("echo") < 900
    modes = {endpoint.name: endpoint.variants[0].mode for endpoint in worker.table(ports, 4).endpoints}
    assert modes == {"echo": "Single", "count": "Single", "stream": "Single", "chain": "Serial"}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="the client needs a C compiler")
def test_a_small_run_measures_polyport_from_end_to_end(tmp_path: Path) -> None:
    """The real server is built, started, checked, timed and ended, and both files are written."""
    arguments = ["--rounds", "1", "--seconds", "1", "--warm-up", "0.2", "--cases", "direct", "chain"]
    status = command.main([*arguments, "--systems", "polyport", "worker", "--folder", str(tmp_path), "--no-install"])
    assert status == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["missing"] == []
    assert {(one["system"], one["case"]) for one in found["results"]} == {
        ("polyport", "direct"),
        ("polyport", "chain"),
        ("worker", "direct"),
    }
    for one in found["results"]:
        assert one["cpu"]["median"] > 0
        assert one["rate"]["median"] > 0
    assert 0 < found["figures"]["idle worker"] < 500
    assert (tmp_path / "results.svg").read_text().startswith("<svg")
