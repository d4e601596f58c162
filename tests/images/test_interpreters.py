"""Where an environment's Python lives, whoever installed it."""

import sys
from pathlib import Path

import pytest

from polyport.images import interpreters


def install(prefix: Path) -> Path:
    """What an installation of Python looks like from outside."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib" / "python3.11").mkdir(parents=True)
    (prefix / "bin" / "python3.11").write_text("")
    return prefix / "bin" / "python3.11"


def link(path: Path, target: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def test_an_installation_is_the_folder_with_its_libraries(tmp_path: Path) -> None:
    """The program alone would not start."""
    python = link(tmp_path / "venv" / "bin" / "python", install(tmp_path / "opt" / "py"))
    assert interpreters.find(python) == (tmp_path / "opt" / "py",)


def test_links_between_are_part_of_the_way(tmp_path: Path) -> None:
    """A folder that is a link to the version of the day, and a program that is a link in a folder of its own."""
    install(tmp_path / "versions" / "3.11.7")
    link(tmp_path / "versions" / "3.11", tmp_path / "versions" / "3.11.7")
    shim = link(tmp_path / "shims" / "python3", tmp_path / "versions" / "3.11" / "bin" / "python3.11")
    python = link(tmp_path / "venv" / "bin" / "python", shim)
    assert set(interpreters.find(python)) == {shim, tmp_path / "versions" / "3.11", tmp_path / "versions" / "3.11.7"}


def test_a_python_in_the_users_home_does_not_show_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the parts that are Python's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    python = link(tmp_path / "venv" / "bin" / "python", install(tmp_path))
    assert set(interpreters.find(python)) == {tmp_path / "bin", tmp_path / "lib"}


def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    """Broken environments are for the registry to tell."""
    link(tmp_path / "a", tmp_path / "b")
    link(tmp_path / "b", tmp_path / "a")
    assert set(interpreters.find(tmp_path / "a")) <= {tmp_path / "a", tmp_path / "b"}


def test_the_python_of_these_tests_is_found() -> None:
    """The real thing: its standard library lies in one of the paths, or with the system."""
    found = interpreters.find(Path(sys.executable))
    library = Path(sys.base_prefix) / "lib"
    assert not found or any(library.is_relative_to(path) for path in found)
