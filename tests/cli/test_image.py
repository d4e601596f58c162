"""`polyport image` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support import server as support

ALIAS = "123456789012.dkr.ecr.us-east-1.amazonaws.com/myimage1:*"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that can be built, without the label that AWS asks for."""
    path = tmp_path / "folder"
    path.mkdir()
    (path / "image.toml").write_text('entrypoint = ["python", "serve.py"]\n')
    (path / "serve.py").write_text("print('hello')\n")
    return path


@pytest.fixture
def polyport(tmp_path: Path):
    """Runs `polyport image` on a home of the test's own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "polyport", "image", *map(str, arguments), "--home", str(tmp_path / "home")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def listed(polyport) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(polyport("ls", "--json").stdout)
    return found


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Its one line on standard error, after what a build said of its progress."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("polyport: ")]
    assert done.stderr.endswith(line + "\n")
    return line


def test_an_image_is_built_listed_and_removed(polyport, folder: Path) -> None:
    """The whole life of an image; its name without a tag means `latest`."""
    built = polyport("build", folder, "--tag", "mine")
    assert built.returncode == 0, built.stderr
    assert built.stdout.startswith("mine:latest  sha256:")
    [image] = listed(polyport)
    assert image["name"] == "mine:latest"
    assert image["digest"] == built.stdout.split()[1]
    assert polyport("ls").stdout.split()[:2] == ["mine:latest", image["digest"]]
    assert polyport("rm", "mine").returncode == 0
    assert listed(polyport) == []


def test_a_missing_label_is_a_warning(polyport, folder: Path) -> None:
    """AWS would refuse the image in a multi-container endpoint, so the user hears of it; the build goes on."""
    built = polyport("build", folder, "--tag", "mine")
    assert built.returncode == 0
    assert "Warning: " in built.stderr
    assert "accept-bind-to-port" in built.stderr
    assert listed(polyport)[0]["warnings"]
    with (folder / "image.toml").open("a") as manifest:
        manifest.write('[labels]\n"com.amazonaws.sagemaker.capabilities.accept-bind-to-port" = "true"\n')
    assert "Warning" not in polyport("build", folder, "--tag", "mine").stderr


def test_aliases_are_made_listed_and_removed(polyport, folder: Path) -> None:
    """The names of a registry may stay in the user's code."""
    polyport("build", folder, "--tag", "mine")
    assert polyport("alias", ALIAS, "mine").returncode == 0
    assert polyport("alias", "--list").stdout == f"{ALIAS}\tmine:latest\n"
    assert listed(polyport)[0]["aliases"] == [ALIAS]
    assert polyport("alias", "--remove", ALIAS).returncode == 0
    assert polyport("alias", "--list").stdout == ""


def test_an_image_with_an_alias_is_only_removed_by_force(polyport, folder: Path) -> None:
    """An alias that leads nowhere would be found out too late."""
    polyport("build", folder, "--tag", "mine")
    polyport("alias", ALIAS, "mine")
    assert ALIAS in refused(polyport("rm", "mine"))
    assert polyport("rm", "mine", "--force").returncode == 0
    assert polyport("alias", "--list").stdout == ""


def test_what_is_wrong_is_one_line(polyport, folder: Path, tmp_path: Path) -> None:
    """Every mistake is named on one line, with exit status 2 and no traceback."""
    assert "unknown" in refused(polyport("rm", "unknown"))
    assert "nowhere" in refused(polyport("build", tmp_path / "nowhere", "--tag", "mine"))
    assert "PATTERN and NAME" in refused(polyport("alias", ALIAS))
    assert "unknown" in refused(polyport("alias", ALIAS, "unknown"))
    (folder / "image.toml").write_text('entrypoint = "python"\n')
    assert "entrypoint" in refused(polyport("build", folder, "--tag", "mine"))


def test_an_image_that_an_endpoint_uses_is_not_removed(server: support.Server) -> None:
    """The home's database says what runs; the image can go once the endpoint is gone."""
    support.create_endpoint(server, "busy", {"Image": "first:1"}, mode="Single")
    sagemaker = server.client("sagemaker")
    support.wait_for_status(sagemaker, "busy", "InService")

    def remove() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "polyport", "image", "rm", "first:1", "--home", str(server.home)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert "endpoint" in refused(remove())
    sagemaker.delete_endpoint(EndpointName="busy")
    support.wait_until_gone(sagemaker, "busy")
    assert remove().returncode == 0
