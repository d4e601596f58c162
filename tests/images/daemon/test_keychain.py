"""Credentials come from Docker's own configuration and its helpers, and are told to nobody but the registry."""

import asyncio
import base64
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from polyport.images import references
from polyport.images.daemon import keychain
from polyport.images.daemon.keychain import Credentials, Found, Keychain

HOST = "registry.example:5000"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Machine:
    """A user's home and programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()
        runtime, configuration = folder / "runtime", folder / "configuration"
        self.environ = {
            "HOME": str(folder),
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(configuration),
        }

    def write(self, path: str, content: Any) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    def docker(self, **content: Any) -> None:
        self.write(".docker/config.json", content)

    def helper(self, name: str, script: str) -> None:
        path = self.programs / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def find(self, image: str = f"{HOST}/team/model:1") -> Found:
        return asyncio.run(Keychain(self.environ, helper_timeout=1.0).find(references.parse(image)))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One that is logged in nowhere."""
    return Machine(tmp_path)


def test_nothing_is_configured(machine: Machine) -> None:
    """Then pulls are anonymous, and that is no problem."""
    assert machine.find() == Found()


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/", f"http://{HOST}/v2/", f"{HOST}/v1"])
def test_a_registry_is_found_in_every_spelling(machine: Machine, key: str) -> None:
    """Docker has written its keys in several ways over the years."""
    machine.docker(auths={key: {"auth": encoded("me:pass:word")}})
    assert machine.find().credentials == Credentials("me", "pass:word")
    assert machine.find("other.example/team/model").credentials is None


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
@pytest.mark.parametrize("image", ["python:3.11", "team/model", "docker.io/team/model"])
def test_the_hub_has_a_name_of_its_own(machine: Machine, key: str, image: str) -> None:
    """Names without a host are the Hub's, and what the daemon is told is the name that it knows it by."""
    machine.docker(auths={key: {"auth": encoded("me:secret")}})
    found = machine.find(image).credentials
    assert found == Credentials("me", "secret")
    assert found.header(references.parse(image))["serveraddress"] == "https://index.docker.io/v1/"


def test_the_longest_part_of_the_name_counts(machine: Machine) -> None:
    """Podman keeps credentials for parts of a registry."""
    auths = {
        HOST: {"auth": encoded("all:1")},
        f"{HOST}/team": {"auth": encoded("team:2")},
        f"{HOST}/te": {"auth": encoded("no:3")},
    }
    machine.write("runtime/containers/auth.json", {"auths": auths})
    assert machine.find(f"{HOST}/team/model").credentials == Credentials("team", "2")
    assert machine.find(f"{HOST}/tea/model").credentials == Credentials("all", "1")


def test_an_identity_token_stands_for_a_password(machine: Machine) -> None:
    """Azure's registries give such."""
    machine.docker(auths={HOST: {"auth": encoded("0000:"), "identitytoken": "tok"}})
    found = machine.find().credentials
    assert found is not None
    assert found.header(references.parse(f"{HOST}/x"))["identitytoken"] == "tok"


def test_the_order_of_the_files(machine: Machine) -> None:
    """The file that was named, then Docker's, then Podman's of this session, then Podman's kept one."""
    places = {
        "configuration/containers/auth.json": "kept",
        "runtime/containers/auth.json": "session",
        ".docker/config.json": "docker",
        "elsewhere/config.json": "moved",
        "named.json": "named",
    }
    found = []
    for path, user in places.items():
        machine.write(path, {"auths": {HOST: {"auth": encoded(f"{user}:x")}}})
        if user == "moved":
            machine.environ["DOCKER_CONFIG"] = str(machine.folder / "elsewhere")
        if user == "named":
            machine.environ["REGISTRY_AUTH_FILE"] = str(machine.folder / path)
        credentials = machine.find().credentials
        assert credentials is not None
        found.append(credentials.username)
    assert found == list(places.values())


def test_a_helper_is_asked_for_its_registry(machine: Machine) -> None:
    """``credHelpers`` goes before ``credsStore``, and both before what the file holds; the server is on its input."""
    machine.helper("one", 'read server; echo "{\\"Username\\": \\"one at $server\\", \\"Secret\\": \\"s1\\"}"')
    machine.helper("all", 'read server; echo "{\\"Username\\": \\"all at $server\\", \\"Secret\\": \\"s2\\"}"')
    machine.docker(credHelpers={HOST: "one"}, credsStore="all", auths={HOST: {"auth": encoded("file:x")}})
    assert machine.find().credentials == Credentials(f"one at {HOST}", "s1")
    assert machine.find("python").credentials == Credentials("all at https://index.docker.io/v1/", "s2")


def test_a_helper_may_give_an_identity_token(machine: Machine) -> None:
    """The user name says so."""
    machine.helper("all", 'echo "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"tok\\"}"')
    machine.docker(credsStore="all")
    assert machine.find().credentials == Credentials(identity_token="tok")


def test_a_helper_that_has_nothing_is_no_problem(machine: Machine) -> None:
    """The file may still have something."""
    machine.helper("all", 'echo "credentials not found in native keychain"; exit 1')
    machine.docker(credsStore="all", auths={HOST: {"auth": encoded("file:x")}})
    assert machine.find() == Found(Credentials("file", "x"))
    machine.docker(credsStore="all")
    assert machine.find() == Found()


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo its-secret; exit 3", "failed with exit status 3"),
        ("echo its-secret", "answered something that is not its protocol"),
        ("exec sleep 60", "did not answer within 1 s"),
        ("exec head -c 400000 /dev/zero", "answered more than 262144 bytes"),
        (None, "is not installed"),
    ],
)
def test_a_helper_that_fails_is_named_and_never_quoted(
    machine: Machine, script: str | None, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Rule: what a helper prints may be a secret. The pull goes on without it, and its error can name the helper."""
    if script:
        machine.helper("bad", script)
    machine.docker(credsStore="bad")
    with caplog.at_level(logging.DEBUG):
        found = machine.find()
    assert found.credentials is None
    assert found.problems == (f"The credential helper docker-credential-bad {problem}.",)
    assert problem in caplog.text
    assert "its-secret" not in caplog.text


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "x;y"])
def test_a_helper_is_a_program_on_the_path(machine: Machine, name: str) -> None:
    """Rule: a configuration cannot make Polyport run another file."""
    machine.docker(credsStore=name)
    assert "cannot be a program's name" in machine.find().problems[0]


@pytest.mark.parametrize("content", ['{"auths": {"x": "top-secret"', '["top-secret"]'])
def test_a_broken_file_is_named_and_never_quoted(
    machine: Machine, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The next file may do."""
    machine.write(".docker/config.json", content)
    found = machine.find()
    assert "config.json cannot be used: it is not" in found.problems[0]
    assert "top-secret" not in caplog.text + found.problems[0]
    machine.write("runtime/containers/auth.json", {"auths": {HOST: {"auth": encoded("me:x")}}})
    assert machine.find().credentials == Credentials("me", "x")


@pytest.mark.parametrize("entry", [{"auth": "%%%"}, {"auth": encoded("nocolon")}, {}, "text", None, {"auth": 7}])
def test_an_odd_entry_counts_as_none(machine: Machine, entry: Any) -> None:
    """Docker leaves empty entries behind for what its helpers keep."""
    machine.docker(auths={HOST: entry}, credHelpers="odd")
    assert machine.find().credentials is None


def test_secrets_do_not_show() -> None:
    """Not in a log of the value, not in what a daemon repeats."""
    held = Credentials("me", "s3cret", "t0ken")
    assert "s3cret" not in repr(held)
    assert "t0ken" not in repr(held)
    assert held.hide("denied for me with s3cret and t0ken") == "denied for me with *** and ***"


def test_the_files_of_root_and_of_the_session_are_known() -> None:
    """Podman run by root keeps its logins below /run/containers."""
    assert any(str(path).startswith("/run/") for path in keychain.files({"HOME": "/home/me"}))
