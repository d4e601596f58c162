"""What a build is made from, without a daemon: the Dockerfile, the tar, which wheels fit."""

import io
import tarfile
from pathlib import Path

import pytest

from polyport.errors import ImageError
from polyport.images.daemon import context, recipe
from polyport.images.daemon.probe import Target
from polyport.images.daemon.values import DaemonImage
from polyport.images.manifest import Manifest

BASE = DaemonImage(
    name="base:1",
    id="sha256:" + "1" * 64,
    tags=("base:1",),
    digests=(),
    architecture="amd64",
    os="linux",
    labels={},
    environment=("PATH=/usr/local/bin:/bin", "X=1"),
    ports=(),
    user="1000:1000",
    created_at=0.0,
    size=1,
)


def names_in(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar.getmembers()}


def packed(folder: Path) -> dict[str, tarfile.TarInfo]:
    file = io.BytesIO()
    context.pack_folder(file, folder)
    return names_in(file.getvalue())


def test_values_of_users_are_no_text_of_the_dockerfile() -> None:
    """Rule: whatever an environment value holds, it cannot become an instruction; it goes as a build argument."""
    evil = 'x"\nRUN rm -rf /\n${HOME} \\'
    made = recipe.write(Manifest(("python", "a b", "$c"), environment={"E": evil}), BASE)
    assert "rm -rf" not in made.text
    assert evil in made.arguments.values()
    assert 'ENTRYPOINT ["python", "a b", "$c"]' in made.text
    assert f"FROM {BASE.id}" in made.text


def test_the_image_has_a_python_of_its_own_first_on_the_path() -> None:
    """As with process images; the base's own programs are still found, and its user is kept."""
    made = recipe.write(Manifest(("python", "serve.py")), BASE)
    assert made.arguments["POLYPORT_0"] == "/opt/polyport/venv/bin:/usr/local/bin:/bin"
    assert made.text.index("USER 0") < made.text.index("USER 1000:1000")


def test_labels_are_in_the_dockerfile_in_one_order() -> None:
    """Rule: the same folder gives the same bytes. Podman would add them in another order each time."""
    labels = {"b.c/d-e": "2 $HOME", "a": "1", 'odd "name"': "3"}
    made = recipe.write(Manifest(("python",), labels=labels), BASE)
    found = [line for line in made.text.splitlines() if line.startswith("LABEL")]
    assert [line.partition("=")[0] for line in found] == ["LABEL a", "LABEL b.c/d-e"]
    assert [made.arguments[line.split("${")[1].rstrip('}"')] for line in found] == ["1", "2 $HOME"]


def test_packages_are_installed_offline_in_a_stage_of_their_own() -> None:
    """Rule: no wheel, no index and no password in a layer of the image."""
    made = recipe.write(Manifest(("python",), requirements="r.txt"), BASE, pip="pip-1-py3-none-any.whl")
    build, image = made.text.split(f"FROM {BASE.id}\n")
    assert "--no-index" in build
    assert "--require-hashes" in build
    assert "wheels" not in image
    assert "COPY --from=packages" in image


@pytest.mark.parametrize(
    ("target", "uv", "first", "last"),
    [
        (Target((3, 11), "x86_64", glibc=36), "x86_64-manylinux_2_36", "manylinux_2_36_x86_64", "linux_x86_64"),
        (Target((3, 11), "aarch64", glibc=30), "aarch64-manylinux_2_28", "manylinux_2_30_aarch64", "linux_aarch64"),
        (Target((3, 12), "x86_64", glibc=99), "x86_64-manylinux_2_40", "manylinux_2_99_x86_64", "linux_x86_64"),
        (Target((3, 12), "x86_64", True), "x86_64-unknown-linux-musl", "musllinux_1_2_x86_64", "musllinux_1_0_x86_64"),
    ],
)
def test_wheels_fit_the_base_image_and_not_this_machine(target: Target, uv: str, first: str, last: str) -> None:
    """The newest that the C library of the image takes, down to the oldest."""
    assert target.uv_platform == uv
    assert (target.pip_platforms[0], target.pip_platforms[-1]) == (first, last)
    if not target.musl:
        assert f"manylinux2014_{target.machine}" in target.pip_platforms


@pytest.mark.parametrize(
    ("ignore", "kept"),
    [
        ("", {"a.txt", "b.log", "sub/c.txt", "sub/deep/d.log"}),
        ("*.log", {"a.txt", "sub/c.txt", "sub/deep/d.log"}),
        ("**/*.log", {"a.txt", "sub/c.txt"}),
        ("sub", {"a.txt", "b.log"}),
        ("/sub/deep/", {"a.txt", "b.log", "sub/c.txt"}),
        ("*\n!a.txt", {"a.txt"}),
        ("# nothing\n\n?.log\n[bc].txt", {"a.txt", "sub/c.txt", "sub/deep/d.log"}),
        ("Dockerfile\n.dockerignore\n**", set()),
    ],
)
def test_dockerignore_means_what_it_means_to_docker(tmp_path: Path, ignore: str, kept: set[str]) -> None:
    """The last rule that matches counts; the Dockerfile itself always goes."""
    for name in ("a.txt", "b.log", "sub/c.txt", "sub/deep/d.log", "Dockerfile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text(ignore)
    found = {name for name, member in packed(tmp_path).items() if member.isfile()}
    assert found - {"Dockerfile", ".dockerignore"} == kept
    assert "Dockerfile" in found


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    """Whoever made them and whenever: the daemon's cache goes by the bytes."""
    import os

    (tmp_path / "Dockerfile").write_text("FROM x")
    (tmp_path / "run.sh").write_text("#!/bin/sh")
    (tmp_path / "run.sh").chmod(0o700)
    (tmp_path / "link").symlink_to("run.sh")
    os.link(tmp_path / "run.sh", tmp_path / "twin.sh")
    first, second = io.BytesIO(), io.BytesIO()
    context.pack_folder(first, tmp_path)
    os.utime(tmp_path / "run.sh", (1, 1))
    context.pack_folder(second, tmp_path)
    assert first.getvalue() == second.getvalue()
    members = names_in(first.getvalue())
    assert members["run.sh"].mode == members["twin.sh"].mode == 0o755
    assert members["twin.sh"].isreg()
    assert members["link"].issym()


def test_a_socket_is_refused(tmp_path: Path) -> None:
    """An image holds files, folders and links."""
    import os

    (tmp_path / "Dockerfile").write_text("FROM x")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="pipe is neither a file"):
        packed(tmp_path)
