"""Settings: one table, three places to set them, clear refusals."""

from pathlib import Path

import pytest

from polyport import settings
from polyport.errors import UsageError


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    """The nearest place wins."""
    (tmp_path / "polyport.toml").write_text('port = 1\nhost = "127.0.0.2"\nregion = "eu-west-1"\n')
    environ = {"POLYPORT_PORT": "2", "POLYPORT_HOST": "127.0.0.3"}
    loaded = settings.load({"home": tmp_path, "port": 3}, environ)
    assert (loaded.port, loaded.host, loaded.region) == (3, "127.0.0.3", "eu-west-1")


def test_a_list_in_the_environment_is_separated_by_commas(tmp_path: Path) -> None:
    """`POLYPORT_INHERIT_ENVIRONMENT=A,B` is the list of A and B."""
    loaded = settings.load({"home": tmp_path}, {"POLYPORT_INHERIT_ENVIRONMENT": "A,B"})
    assert loaded.inherit_environment == ("A", "B")


def test_a_setting_that_is_not_set_leaves_it_to_others(tmp_path: Path) -> None:
    """`traces_sample` has no default of its own: 0 is a share like any other."""
    assert settings.load({"home": tmp_path}, {}).traces_sample is None
    assert settings.default("traces_sample") == ""
    (tmp_path / "polyport.toml").write_text("traces_sample = 0\n")
    loaded = settings.load({"home": tmp_path}, {})
    assert loaded.traces_sample == 0.0
    assert settings.from_json(settings.to_json(loaded)).traces_sample == 0.0
    with pytest.raises(UsageError, match=r"POLYPORT_TRACES_SAMPLE: .*<= 1"):
        settings.load({"home": tmp_path}, {"POLYPORT_TRACES_SAMPLE": "2"})


def test_the_home_is_expanded_and_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` means the user's folder, wherever the home was set."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.load({}, {"POLYPORT_HOME": "~/here"}).home == tmp_path / "here"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("port = 70000", "port"),
        ("no_such_setting = 1", "no_such_setting"),
        ('account_id = "12"', "account_id"),
        ("startup_timeout = 0", "startup_timeout"),
        ("port = ", "polyport.toml"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, named: str) -> None:
    """The message names the file and the setting."""
    (tmp_path / "polyport.toml").write_text(text)
    with pytest.raises(UsageError, match=named) as refused:
        settings.load({"home": tmp_path}, {})
    assert "polyport.toml" in str(refused.value)


def test_a_wrong_variable_is_refused_with_its_name(tmp_path: Path) -> None:
    """The message names the environment variable."""
    with pytest.raises(UsageError, match="POLYPORT_WORKERS"):
        settings.load({"home": tmp_path}, {"POLYPORT_WORKERS": "many"})


def test_every_setting_is_explained() -> None:
    """A description and a default for each."""
    for name in settings.Settings.__struct_fields__:
        assert settings.description(name).endswith("."), name
        assert isinstance(settings.default(name), str)
