"""The fuzzer's oracles under hypothesis: every target holds for whatever is made of its seeds, and fires when what it
watches is broken."""

import contextlib
import hashlib
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import fuzz.target
import pytest
from fuzz.choices import Choices, cut, pack
from fuzz.target import NAMES, Target
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import __main__ as command
from fuzz import blind, session, shrink
from polyport.access.authority import Authority
from polyport.access.tokens import Sealer
from polyport.artifacts import archives, tree
from polyport.aws import claims, sigv4
from polyport.aws.policy import document, jsontext
from polyport.aws.policy.evaluate import Decision, Reason
from polyport.gateway import faults
from polyport.gateway.calls import headers, invocation
from polyport.gateway.channel import Channel
from polyport.gateway.clients import reader
from polyport.gateway.clients.request import Request
from polyport.gateway.containers.upstream import Upstream

#: Each is fast, but for those that write files or make gateways.
EXAMPLES = {"request": 150, "answer": 150, "signature": 400, "policy": 300, "archive": 200, "tokens": 300}
#: Seconds in which a broken part is found; usually it is a fraction of one.
SOON = 30.0


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """A seed with a few changes, or anything."""
    seeds = target.seeds()

    def changed(seed: bytes, number: int, count: int) -> bytes:
        chance = random.Random(number)
        for _ in range(count):
            seed = blind.edit(seed, chance, target.tokens, seeds)
        return seed[: target.longest]

    changes = st.builds(changed, st.sampled_from(seeds), st.integers(0, 2**32), st.integers(0, 6))
    pieces = st.lists(st.sampled_from(target.tokens) | st.binary(max_size=4), max_size=20).map(b"".join)
    chosen = st.builds(
        lambda payload, numbers: pack(payload, *numbers), pieces, st.lists(st.integers(0, 255), max_size=8)
    )
    return changes | chosen | st.binary(max_size=200)


@pytest.mark.parametrize("name", NAMES)
def test_every_oracle_holds(name: str) -> None:
    """Whatever is made of a target's seeds and tokens."""
    target = fuzz.target.load(name)

    @settings(max_examples=EXAMPLES[name], deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs(target))
    def check(data: bytes) -> None:
        target.check(data)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_every_seed_holds(name: str) -> None:
    """What the fuzzer begins with shows nothing."""
    target = fuzz.target.load(name)
    for seed in target.seeds():
        assert len(seed) <= target.longest
        target.check(seed)


# --- each oracle fires


def _raise(*_: Any, **__: Any) -> Any:
    raise ValueError("broken")


def _let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that does not look at signatures."""
    monkeypatch.setattr(sigv4, "matches", lambda *_: True)


def _forget_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is not signed."""
    monkeypatch.setattr(Request, "body_hash", _said)


def _said(request: Request) -> bytes:
    return hashlib.sha256(b'{"a": 1}').hexdigest().encode()


def _let_all_do_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that knows who calls, and lets everybody do everything."""
    monkeypatch.setattr(Authority, "refusal", lambda *_: None)


def _pass_all_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client says goes on as it is."""

    def to_container(members: dict[bytes, bytes]) -> bytes:
        return b"".join(b"\r\n%b: %b" % pair for pair in members.items())

    monkeypatch.setattr(headers, "to_container", to_container)


def _split_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that ends its line."""
    monkeypatch.setattr(headers, "to_container", lambda members: b"\r\nA: b\r\n\r\nPOST / HTTP/1.1" if members else b"")


def _crash_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in a parser's callback, which is answered with 500 and logged."""
    monkeypatch.setattr(reader, "path_of", _raise)


def _answer_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is told twice."""
    render = faults.render
    monkeypatch.setattr(faults, "render", lambda *given, **how: render(*given, **how) * 2)


def _read_by_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is another when it comes in pieces."""
    monkeypatch.setattr(Request, "keep", lambda request, piece: request.body.append(piece[:1]))


def _lie_of_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that says one byte more than it has."""
    monkeypatch.setattr(invocation.Invocation, "_framing", lambda *_: b"Content-Length: 3\r\nContent-Length: 2\r\n\r\n")


def _reuse_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is used again, whatever came over it."""
    monkeypatch.setattr(Upstream, "release", lambda upstream: upstream.pool.put(upstream))


def _pass_all_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a container says goes to the client as it is."""
    plain = headers.from_container
    monkeypatch.setattr(headers, "_TO_CLIENT", (*headers._TO_CLIENT, (b"set-cookie", b"Set-Cookie: ")))
    monkeypatch.setattr(
        headers,
        "from_container",
        lambda said: plain(said) | {name.lower(): value for name, value in said if name.lower() == b"set-cookie"},
    )


def _raise_in_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that raises what is not documented."""
    monkeypatch.setattr(claims, "_from_date_header", _raise)


def _keep_slashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is signed as it is."""
    monkeypatch.setattr(sigv4, "_path", lambda path: path)


def _skip_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old signatures are as good as new ones."""
    monkeypatch.setattr(sigv4, "MAX_SKEW", 300)
    monkeypatch.setattr(claims, "epoch", lambda timestamp: 1_767_356_100)


def _raise_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that raises what is not documented."""
    monkeypatch.setattr(jsontext, "_STRING", jsontext.re.compile(r'"[^"]*"'))


def _take_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma that may be left out."""
    expect = jsontext._Reader._expect

    def lenient(reading: Any, character: str, otherwise: str) -> None:
        if character != "," or reading._text.startswith(",", reading.position):
            expect(reading, character, otherwise)

    monkeypatch.setattr(jsontext._Reader, "_expect", lenient)


def _allow_what_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions that do not look at policies."""
    from polyport.aws.policy import evaluate

    allowed = Decision(True, Reason.ALLOWED_BY_IDENTITY, "sagemaker:InvokeEndpoint")
    monkeypatch.setattr(evaluate, "decide", lambda *_: allowed)


def _take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that takes seconds."""
    from fuzz.targets import policy

    parse = document.parse

    def slow(text: str, kind: document.Kind) -> document.Document:
        sum(range(2_000_000 if "*" in text else 0))
        return parse(text, kind)

    monkeypatch.setattr(policy, "LONGEST_TAKEN", 0.05)
    monkeypatch.setattr(document, "parse", slow)


def _follow_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own unpacker, as it was before it had filters."""

    def unpack(raw: Any, into: Any) -> None:
        with contextlib.suppress(OSError, tarfile.TarError, EOFError, ValueError), tarfile.open(fileobj=raw) as archive:
            for member in archive:
                # Nothing that this machine would really be changed by.
                if not member.name.startswith("/") and not member.linkname.startswith("/") and not member.isdev():
                    archive.extract(member, into.root, filter="fully_trusted")

    monkeypatch.setattr(archives, "unpack", unpack)


def _link_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links that nobody follows on paper."""
    monkeypatch.setattr(tree.Tree, "_check_target", lambda *_: None)


def _keep_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set-id bits that stay."""
    add = tree.Tree.add_file

    def add_file(made: Any, parts: Any, *given: Any, **how: Any) -> None:
        add(made, parts, *given, **how)
        made._path(parts).chmod(0o4755)

    monkeypatch.setattr(tree.Tree, "add_file", add_file)


def _unpack_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bound on the sum of sizes."""
    monkeypatch.setattr(tree.Room, "check_sum", lambda *_: None)


def _leave_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused stays."""
    monkeypatch.setattr(tree, "discard", lambda folder: None)


def _raise_in_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unpacker whose errors are not its own."""
    monkeypatch.setattr(archives, "MALFORMED", (EOFError,))


def _open_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sealer that takes what nobody sealed."""
    session_ = Sealer.open
    from fuzz.targets import tokens

    other = tokens.msgspec.structs.replace(tokens.SESSION, account="210987654321")
    monkeypatch.setattr(Sealer, "open", lambda sealer, token: session_(sealer, token) or other)


def _raise_in_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that a frame ends."""
    monkeypatch.setattr(Channel, "_publish", _raise)


def _keep_the_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control counts workers that are gone."""
    from polyport.control.publish import Publisher

    monkeypatch.setattr(Publisher, "workers", property(lambda publisher: tuple(publisher._connections) or ("w",)))


BROKEN = {
    "request": (
        *(_let_in, _forget_the_body, _let_all_do_all, _pass_all_headers, _split_lines, _crash_while_reading),
        *(_answer_twice, _read_by_packets),
    ),
    "answer": (_lie_of_length, _reuse_all, _pass_all_back),
    "signature": (_raise_in_claims, _keep_slashes, _skip_the_time, _let_in),
    "policy": (_raise_in_json, _take_no_json, _allow_what_is_denied, _take_long),
    "archive": (_follow_links, _link_anywhere, _keep_modes, _unpack_without_end, _leave_some, _raise_in_archives),
    "tokens": (_open_all, _raise_in_channel, _keep_the_gone),
}
CASES = [(name, break_it) for name, several in BROKEN.items() for break_it in several]


@pytest.mark.parametrize(("name", "break_it"), CASES, ids=[f"{name}-{one.__name__[1:]}" for name, one in CASES])
def test_an_oracle_fires(name: str, break_it: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a target watches is broken, and it says so soon; whole again, the same input shows nothing."""
    target = fuzz.target.load(name)
    with monkeypatch.context() as broken:
        break_it(broken)
        found = session.search(target, SOON)
    assert found is not None
    target.check(found)


# --- the fuzzer itself


def test_what_is_found_is_made_small_and_can_be_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The input as a literal, the command that shows it again, and status 1; status 0 once it is mended."""
    path = tmp_path / "crash"
    with monkeypatch.context() as broken:
        _raise_in_json(broken)
        target = fuzz.target.load("policy")
        found = session.search(target, SOON)
        assert found is not None
        path.write_bytes(b" " * 200 + found)
        command.show(target, path)
        said = capsys.readouterr()
        assert f"python -m fuzz --replay policy {path}" in said.out
        assert repr(path.read_bytes()) in said.out
        assert len(path.read_bytes()) < 20
        assert "Traceback" in said.err
        assert command.main(["--replay", "policy", str(path)]) == 1
    assert command.main(["--replay", "policy", str(path)]) == 0


@pytest.mark.slow
@pytest.mark.skipif(not session.is_guided(), reason="atheris has no wheel for this machine")
def test_a_run_keeps_what_reached_new_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run begins with it; nothing is left in the folder for temporary files."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    assert command.main(["--seconds", "1", "--targets", "tokens", "--corpus", str(tmp_path), "--seed", "3"]) == 0
    assert "places reached" in capsys.readouterr().out
    assert list((tmp_path / "tokens" / "corpus").iterdir())
    assert not list((tmp_path / "tokens" / "found").iterdir())
    assert not list(scratch.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not session.is_guided(), reason="atheris has no wheel for this machine")
def test_a_fuzzer_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    """Neither the targets' processes nor what they have made."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = ["--seconds", "60", "--targets", "tokens", "archive", "--corpus", str(tmp_path / "corpus")]
    process = subprocess.Popen(
        [sys.executable, "-m", "fuzz", *arguments],
        cwd=session.ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    try:
        while len(list(scratch.glob("*"))) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(90) != 0
    finally:
        process.kill()
        process.wait()
    assert not list(scratch.iterdir())
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_without_atheris_it_fuzzes_blindly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And finds what is easily found."""
    monkeypatch.setattr(session, "is_guided", lambda: False)
    monkeypatch.setattr(document, "parse", _raise)
    assert command.main(["--seconds", "5", "--targets", "policy", "--corpus", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "blindly" in said
    assert "policy: b''" in said


def test_inputs_are_taken_apart_as_they_were_put_together() -> None:
    """Any bytes are an input; choices that are missing are 0."""
    choices = Choices(pack(b"payload", 7, 3))
    assert (choices.payload, choices.below(4), choices.rest(), choices.below(9)) == (b"payload", 3, [3], 0)
    assert Choices(b"").payload == Choices(b"\xff").payload == b""
    assert cut(b"abcdef", [1, 2]) == [b"a", b"bc", b"d", b"ef"]
    assert cut(b"abc", []) == [b"abc"]
    assert cut(b"abc", [0]) == [b"a", b"b", b"c"]


def test_an_input_is_made_smaller_as_long_as_it_shows_the_same() -> None:
    """Pieces that do not matter go, the rest stays."""
    assert (
        shrink.shrink(b"x" * 500 + b"(" + b"y" * 300 + b")" + b"z" * 99, lambda data: b"(" in data and b")" in data)
        == b"()"
    )
