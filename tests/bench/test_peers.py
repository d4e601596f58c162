"""The Python peers: each has what it needs to be run, and none is left out without a word."""

import json
from pathlib import Path

import pytest
from bench.cases import CASES, MODELS, SMALL
from bench.ground import Ground, Unavailable
from bench.peers import PEERS
from bench.peers.peer import APPS
from bench.results import Results

from bench import session


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """Nothing runs on it."""
    ports = {endpoint: tuple(range(1, 1 + len(stages))) for endpoint, stages in MODELS.items()}
    return Ground(tmp_path, tmp_path / "model", ports, frozenset(), frozenset())


@pytest.mark.parametrize("name", sorted(PEERS))
def test_a_peer_does_the_direct_call_and_the_chain_or_says_why_not(name: str, ground: Ground, tmp_path: Path) -> None:
    """What it must answer tells the stages apart; other work is refused with a reason."""
    peer = PEERS[name](ground, tmp_path)
    cases = {case.name: case for case in CASES}
    assert (APPS / f"{name}_app.py").exists()
    direct = peer.target(cases["direct"])
    assert direct.answer(cases["direct"]).replace(b" ", b"") == SMALL
    if peer.no_chain:
        with pytest.raises(Unavailable, match=peer.no_chain):
            peer.target(cases["chain"])
    else:
        answer = peer.target(cases["chain"]).answer(cases["chain"])
        assert answer == SMALL + b"abc" or json.loads(answer)["marks"] == "abc"
    with pytest.raises(Unavailable):
        peer.target(cases["6MB"])


def test_a_peer_that_is_not_installed_is_reported(ground: Ground, tmp_path: Path) -> None:
    """With installing switched off a missing peer ends in the table of what was not measured."""
    results = Results()
    with session.started(
        ["mosec"], lambda name: PEERS[name](ground, tmp_path, install=False), results, lambda _: None
    ) as running:
        assert running == {}
    assert results.missing == {("mosec", ""): "not installed, and --no-install was given"}
