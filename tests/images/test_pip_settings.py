"""Where pip finds packages, uv finds them too."""

from pathlib import Path

import pytest

from polyport.images import pip_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a pip.conf, and none of this machine's."""
    monkeypatch.setattr(pip_settings, "_files", lambda environ: [tmp_path / "pip.conf"])
    (tmp_path / "wheels").mkdir()
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://one.example/simple\nextra-index-url =\n  https://two.example/simple\n"
        f"  https://three.example/simple\nfind-links = {tmp_path}/wheels {tmp_path}/missing\n"
        "[install]\ntrusted-host = one.example\n"
    )
    return tmp_path


def test_the_file_is_translated(home: Path) -> None:
    """Rule: several indexes count alike, as with pip; folders that are missing are passed over, as by pip."""
    assert pip_settings.as_uv({}) == {
        "UV_DEFAULT_INDEX": "https://one.example/simple",
        "UV_INDEX": "https://two.example/simple https://three.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{home}/wheels",
        "UV_INSECURE_HOST": "one.example",
    }


def test_variables_go_before_the_file(home: Path) -> None:
    """Rule: pip's order."""
    found = pip_settings.as_uv({"PIP_INDEX_URL": "https://four.example/simple", "PIP_CERT": "/ca.pem"})
    assert found["UV_DEFAULT_INDEX"] == "https://four.example/simple"
    assert found["SSL_CERT_FILE"] == "/ca.pem"


@pytest.mark.parametrize("name", ["UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX"])
def test_who_told_uv_is_not_told_otherwise(home: Path, name: str) -> None:
    """Rule: uv's own index settings replace all of pip's."""
    assert set(pip_settings.as_uv({name: "https://mine.example"})) == {"UV_FIND_LINKS", "UV_INSECURE_HOST"}


def test_a_broken_file_is_passed_over(home: Path) -> None:
    """Rule: pip's file is for pip to complain about."""
    (home / "pip.conf").write_text("index-url = without a section")
    assert pip_settings.as_uv({}) == {}


def test_pip_itself_can_be_turned_off(tmp_path: Path) -> None:
    """Rule: `PIP_CONFIG_FILE=/dev/null` means no file at all; another value is one more file, the last."""
    assert pip_settings._files({"PIP_CONFIG_FILE": "/dev/null"}) == []
    assert pip_settings._files({"PIP_CONFIG_FILE": "/x", "HOME": "/h"})[-1] == Path("/x")
