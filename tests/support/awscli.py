"""The AWS CLI, version 2, as a distribution packages it: the program `aws` that users have."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.server import Server


@functools.cache
def _program() -> str:
    """The first `aws` of version 2; empty: there is none."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    for folder in dict.fromkeys(folders):
        program = shutil.which("aws", path=folder)
        if program and _version(program).startswith("aws-cli/2."):
            return program
    return ""


def _version(program: str) -> str:
    # Not with this environment's packages: the program has its own.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run([program, "--version"], env=environ, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout


def require() -> str:
    """Its path. Skips the test where it is not installed; fails it where it must be."""
    if not _program():
        reason = "the AWS CLI, version 2, is not installed"
        if os.environ.get("POLYPORT_REQUIRE_CONTAINERS") == "1":
            pytest.fail(f"{reason}; it is required here", pytrace=False)
        pytest.skip(reason)
    return _program()


class AwsCli:
    """`aws` for one server, with an empty home of its own: no configuration but what is given here."""

    def __init__(self, server: Server, home: Path) -> None:
        self._program = require()
        self._url = server.url
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": server.credentials[0],
            "AWS_SECRET_ACCESS_KEY": server.credentials[1],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_PAGER": "",
            # What it prints into a pipe or a file is there at once, as in a terminal.
            "PYTHONUNBUFFERED": "1",
        }

    def command(self, *arguments: str) -> list[str]:
        """A command line for this server."""
        return [self._program, "--endpoint-url", self._url, *arguments]

    def run(self, *arguments: str, deadline: float = 60.0) -> str:
        """What it prints; an assertion fails with what it complains of."""
        done = subprocess.run(
            self.command(*arguments), env=self.environ, capture_output=True, text=True, timeout=deadline, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
