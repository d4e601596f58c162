"""`image.toml`: what is accepted, and that each mistake is named with its file, its key and what is expected."""

from pathlib import Path

import pytest

from polyport.errors import ImageError
from polyport.images import manifest


def test_all_keys_are_read(tmp_path: Path) -> None:
    """Rule: entrypoint, requirements, environment, labels, as the documentation shows them."""
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "image.toml").write_text(
        'entrypoint = ["python", "serve.py"]\nrequirements = "requirements.txt"\n'
        '[environment]\nWORKERS = "2"\nEMPTY = ""\n[labels]\n"com.amazonaws.x.y-z" = "true"\n'
    )
    found = manifest.read(tmp_path)
    assert found.entrypoint == ("python", "serve.py")
    assert found.requirements == "requirements.txt"
    assert found.environment == {"WORKERS": "2", "EMPTY": ""}
    assert found.labels == {"com.amazonaws.x.y-z": "true"}


LIST = "entrypoint: expected a list of one or more non-empty strings"
TABLE = "environment: expected a table of strings"
GOOD = 'entrypoint = ["a"]\n'
BAD = {
    "": "missing required field `entrypoint`. Known keys are entrypoint: a list",
    'entrypoint = "python serve.py"': LIST,
    "entrypoint = []": LIST,
    'entrypoint = [""]': LIST,
    "entrypoint = [1]": LIST,
    'entrypoint = ["a\\u0000"]': LIST,
    GOOD + "requirements = 1": "requirements: expected the path of a requirements file",
    GOOD + 'requirements = "none.txt"': "requirements: there is no file",
    GOOD + 'requirements = "../outside.txt"': "requirements: .* which is outside",
    GOOD + 'requirements = "/etc/hostname"': "requirements: .* which is outside",
    GOOD + 'requirements = "link.txt"': "requirements: .* which is outside",
    GOOD + "[environment]\nWORKERS = 2": TABLE,
    GOOD + '[environment]\n"A B" = "2"': TABLE,
    GOOD + '[environment]\nA = "\\u0000"': TABLE,
    GOOD + 'environment = "A=1"': TABLE,
    GOOD + "[labels]\nx = true": "labels: expected a table of strings",
    GOOD + 'command = ["serve"]': "unknown field `command`. Known keys are",
    "entrypoint = [": "is not valid TOML",
    "\udc80": "is not valid TOML",
}


@pytest.mark.parametrize(("text", "reason"), BAD.items())
def test_a_mistake_is_named(text: str, reason: str, tmp_path: Path) -> None:
    """Rule: the error names the file, the key, and what is expected there."""
    (tmp_path / "outside.txt").touch()
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "image.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ImageError, match=reason) as refusal:
        manifest.read(folder)
    assert str(folder / "image.toml") in str(refusal.value)


def test_a_folder_without_the_file_is_no_image(tmp_path: Path) -> None:
    """Rule: the missing file is named."""
    with pytest.raises(ImageError, match=r"has no image\.toml"):
        manifest.read(tmp_path)
