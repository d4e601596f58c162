"""Real builds by a real daemon: from `image.toml`, from a Dockerfile, and those that fail."""

import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyport.errors import ImageError
from polyport.images.daemon import builds
from polyport.images.daemon.values import BUILT_LABEL
from polyport.images.records import BIND_LABEL, Step
from support import base_images, daemons

pytestmark = pytest.mark.slow


@pytest.fixture
def base(daemon: daemons.Daemon) -> str:
    """With `python3`."""
    return daemon.make_build_base()


@pytest.fixture
def tag(daemon: daemons.Daemon) -> Iterator[str]:
    """A name of the test's own."""
    name = f"localhost/polyport-test/built-{secrets.token_hex(4)}:1"
    yield name
    daemon.cli("rmi", "--force", name, check=False)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package without an index: a folder of links, as in ``pip --find-links``."""
    links = tmp_path / "links"
    links.mkdir()
    info = "nicety-1.5.dist-info"
    with zipfile.ZipFile(links / "nicety-1.5-py3-none-any.whl", "w") as file:
        file.writestr("nicety.py", "WORD = 'from the wheel'\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: nicety\nVersion: 1.5\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/entry_points.txt", "[console_scripts]\nnicely = nicety:main\n")
        file.writestr(f"{info}/RECORD", "")
    return links


def make(folder: Path, program: str, more: str = "", **files: str) -> Path:
    path = folder / "example"
    path.mkdir(exist_ok=True)
    (path / "image.toml").write_text(f'entrypoint = ["python", "main.py"]\n{more}')
    for name, text in {"main.py": program, **files}.items():
        (path / name).write_text(text)
    return path


def test_an_image_toml_becomes_a_real_image(
    open_library, run, daemon: daemons.Daemon, base: str, tag: str, tmp_path: Path
) -> None:
    """Rule: what the process engine runs from the folder, a container runs too: its `python`, `serve` at the end,
    environment and labels to the letter, and the base image's own environment."""
    program = (
        "import json, os, sys; print(json.dumps([sys.argv[1:], sys.prefix, os.environ['V'], os.environ['FROM_BASE']]))"
    )
    more = f'[environment]\nV = "a \\"b\\" $HOME \\\\ \\n c"\n[labels]\n"{BIND_LABEL}" = "true"\n"x" = "y z"\n'
    folder = make(tmp_path, program, more)
    steps: list[Step] = []

    async def test() -> None:
        async with open_library() as library:
            image = await builds.build(library, base, folder, tag, steps.append)
            assert image.labels[BUILT_LABEL] == "image.toml"
            assert image.labels["x"] == "y z"
            assert image.warnings == ()
            assert image.name in [each.name for each in await library.shown()]
            # Nothing has changed, so nothing is built.
            assert (await builds.build(library, base, folder, tag)).id == image.id

    run(test())
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert steps[-1] == Step("Done", 1.0)
    said = daemon.cli("run", "--rm", "--network=none", tag, "serve")
    assert said == '[["serve"], "/opt/polyport/venv", "a \\"b\\" $HOME \\\\ \\n c", "yes"]'


def test_packages_come_with_the_build(
    open_library,
    run,
    daemon: daemons.Daemon,
    base: str,
    tag: str,
    wheel: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Downloaded here, installed there without a network, with their scripts; no index and no wheel stays."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel))
    program = "import nicety, shutil, os\n"
    program += "print(nicety.WORD, shutil.which('nicely'), os.path.exists('/opt/polyport/packages'))"
    folder = make(tmp_path, program, 'requirements = "needs.txt"\n', **{"needs.txt": "nicety==1.5\n"})

    async def test() -> None:
        async with open_library() as library:
            await builds.build(library, base, folder, tag)

    run(test())
    said = daemon.cli("run", "--rm", "--network=none", tag, "serve")
    assert said == "from the wheel /opt/polyport/venv/bin/nicely False"
    assert str(wheel) not in daemon.cli("history", "--no-trunc", tag)


def test_a_dockerfile_goes_first(
    open_library, run, daemon: daemons.Daemon, base: str, tag: str, tmp_path: Path
) -> None:
    """One folder may serve both engines."""
    dockerfile = f'FROM {base}\nCOPY main.py /m.py\nENTRYPOINT ["python3", "/m.py"]\n'
    folder = make(tmp_path, "import sys; print('own', sys.argv[1:])", Dockerfile=dockerfile)

    async def test() -> None:
        async with open_library() as library:
            image = await builds.build(library, base, folder, tag)
            assert image.labels[BUILT_LABEL] == "Dockerfile"

    run(test())
    assert daemon.cli("run", "--rm", "--network=none", tag, "serve") == "own ['serve']"


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        ('FROM {base}\nRUN ["python3", "-c", "print(6*7); raise SystemExit(3)"]', "42"),
        ("FROM {base}\nCOPY nothing /x", "nothing"),
        ("FROM {base}\nFRM x", "FRM"),
    ],
)
def test_a_build_that_fails_says_what_the_build_said(
    open_library, run, base: str, tag: str, tmp_path: Path, dockerfile: str, said: str
) -> None:
    """Rule: its own last lines; no image of that name is there then."""
    folder = make(tmp_path, "", Dockerfile=dockerfile.format(base=base))

    async def test() -> None:
        async with open_library() as library:
            with pytest.raises(ImageError, match="could not be built") as failed:
                await builds.build(library, base, folder, tag)
            assert said in str(failed.value)
            assert await library.inspect(tag) is None

    run(test())


def test_what_is_wrong_is_said_before_anything_is_built(
    open_library,
    run,
    daemon: daemons.Daemon,
    base: str,
    tag: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wheel: Path,
) -> None:
    """No base image, a base image without Python, requirements that cannot be met, a folder that is none."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    folder = make(tmp_path, "", 'requirements = "needs.txt"\n', **{"needs.txt": "nicety==9\n"})

    async def test() -> None:
        async with open_library(image_pull="never") as library:
            with pytest.raises(ImageError, match="is not on this machine"):
                await builds.build(library, "localhost/polyport-test/none:1", folder, tag)
            with pytest.raises(ImageError, match="has no python3"):
                await builds.build(library, base_images.STATIC_IMAGE, folder, tag)
            with pytest.raises(ImageError, match="nicety"):
                await builds.build(library, base, folder, tag)
            with pytest.raises(ImageError, match=r"has no image\.toml"):
                await builds.build(library, base, tmp_path / "links", tag)
            with pytest.raises(ImageError, match="a tag is NAME or NAME:TAG"):
                await builds.build(library, base, folder, f"x@sha256:{'0' * 64}")

    run(test())
