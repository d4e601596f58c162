"""The parts of isolation, one by one, without containers."""

import os
from pathlib import Path

import pytest

from polyport.engines.ports import BLOCK
from polyport.engines.process import folders, isolation
from polyport.engines.process.isolation import mounts, probe, users, view
from polyport.engines.process.program import Program
from polyport.errors import UsageError
from polyport.settings import Settings

WORKS = probe.Found("", "", "", "/usr/bin/bwrap")


def program(folder: Path, home: Path, *paths: Path) -> Program:
    return Program(
        command=["serve"],
        environment={},
        folder=folder,
        hostname="first",
        port=20000,
        level=isolation.BUBBLEWRAP,
        user=None,
        home=str(home),
        paths=[str(path) for path in paths],
        artifacts={"model": "/models/one"},
        protected=[],
        network_isolation=False,
    )


def mounted(words: list[str]) -> list[str]:
    """The places that something is put at, in order."""
    sizes = {"--ro-bind": 2, "--bind": 2, "--dev-bind": 2, "--symlink": 2, "--tmpfs": 1, "--dir": 1}
    sizes |= {"--proc": 1, "--dev": 1, "--perms": 1, "--remount-ro": 1}
    found, at = [], 0
    while at < len(words):
        size = sizes[words[at]]
        if words[at] not in ("--dir", "--perms", "--remount-ro"):
            found.append(words[at + size])
        at += 1 + size
    return found


def test_graphics_processors_come_with_what_their_drivers_read() -> None:
    """Each device by itself, and /sys; without one only what tells how many processors there are."""
    words = view.device_arguments(["/dev/nvidia0", "/dev/dri"])
    assert mounted(words) == ["/dev/nvidia0", "/dev/dri", "/sys"]
    assert "--dev-bind /dev/nvidia0 /dev/nvidia0" in " ".join(words)
    assert all(
        path.startswith(("/sys/devices/system/", "/sys/fs/cgroup/")) for path in mounted(view.device_arguments([]))
    )


def test_a_home_in_a_folder_of_the_system_is_hidden_and_what_is_needed_of_it_shown(tmp_path: Path) -> None:
    """/usr is shown whole, so a home in it has to be covered, before its images appear in it again."""
    home, venv = Path("/usr/share"), Path("/usr/share/man")
    places = mounted(view.arguments(program(tmp_path / "c", home, venv)))
    assert places.index("/usr") < places.index(str(home)) < places.index(str(venv))
    assert places.index("/opt/ml") < places.index("/opt/ml/model")


def test_what_a_shown_folder_holds_is_not_shown_again(tmp_path: Path) -> None:
    """Links in it are there already, and bwrap would stumble over them."""
    (tmp_path / "venv" / "lib").mkdir(parents=True)
    (tmp_path / "venv" / "lib64").symlink_to("lib")
    shown = mounted(
        view.arguments(program(tmp_path / "c", tmp_path / "home", tmp_path / "venv", tmp_path / "venv" / "lib64"))
    )
    assert str(tmp_path / "venv") in shown
    assert str(tmp_path / "venv" / "lib64") not in shown


def test_the_way_is_opened_at_the_first_closed_folder(tmp_path: Path) -> None:
    """What other users may not pass is covered, once, as far up as it begins."""
    tmp_path.chmod(0o755)
    (tmp_path / "closed" / "open" / "closed").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "closed" / "open" / "closed").chmod(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "closed" / "open")
    outer = mounts.find_covers([str(tmp_path)])
    found = mounts.find_covers([str(tmp_path / "closed" / "open" / "closed"), str(tmp_path / "link" / "closed")])
    assert found == (outer or {tmp_path / "closed"})


def test_no_two_containers_of_a_machine_have_one_user() -> None:
    """Users go with blocks of ports, which are claimed machine-wide."""
    ids = users.parse_range("200000-265535")
    picked = [users.pick(ids, port, BLOCK) for port in range(0, 65536, BLOCK)]
    assert len(set(picked)) == len(picked)
    assert all(user in ids for user in picked)
    assert users.pick(range(1, 10), 20000, BLOCK) is None


@pytest.mark.parametrize("text", ["5-4", "0-100000", "200000-5000000000"])
def test_ranges_that_hold_no_ordinary_users_are_refused(text: str) -> None:
    """Neither root nor numbers that the kernel does not have."""
    with pytest.raises(ValueError, match="range of user ids"):
        users.parse_range(text)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives containers users of their own")
def test_a_range_that_is_too_small_is_the_users_error() -> None:
    """Every port must have a user: said at the start, not with the container that has none."""
    with pytest.raises(UsageError, match=r"container_user_range: .*too small"):
        probe.choose(Settings(container_user_range="200000-200100"), WORKS)
    assert probe.choose(Settings(container_users="off"), WORKS).users is None
    assert probe.choose(Settings(isolation="none"), WORKS).users is None
    assert probe.choose(Settings(), WORKS).users == (200000, 265536)


def test_places_for_model_data_replace_what_a_container_put_there(tmp_path: Path) -> None:
    """A link, or a file, in the place of a folder is the container's doing: it is taken away, and not followed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    base = tmp_path / "c" / folders.BASE
    base.mkdir(parents=True)
    (base / "additional-model-data-sources").symlink_to(outside)
    (base / "model").write_text("in the way")
    folders.prepare(tmp_path / "c", None, {"additional-model-data-sources/x": "/m", "model": "/n"}, mounted=True)
    assert list(outside.iterdir()) == []
    assert (base / "additional-model-data-sources" / "x").is_dir()
    assert (base / "model").is_dir()
    folders.prepare(tmp_path / "c", None, {"model": "/n"}, mounted=False)
    assert (base / "model").readlink() == Path("/n")
