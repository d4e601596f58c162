"""The key file, and what is encrypted with it."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from polyport.access import vault
from polyport.access.tokens import MAX_LENGTH, Sealer, Session
from polyport.domain.access import PolicyText, PrincipalKind
from polyport.errors import UsageError

SESSION = Session(
    key_id="ASIAONE",
    secret="not-to-be-seen",
    account="123456789012",
    kind=PrincipalKind.ROLE,
    name="batch",
    principal_id="AROAONE",
    issued_at=1.0,
    expires_at=2.0,
    session_name="nightly",
    policies=(PolicyText("session", "{}"),),
)


def test_the_key_file_is_made_once_and_is_only_ours(tmp_path: Path) -> None:
    """Mode 0600 from its first moment on; what was encrypted before can be decrypted after a restart."""
    text = vault.open_vault(tmp_path).encrypt("secret")
    file = tmp_path / vault.FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert vault.open_vault(tmp_path).decrypt(text) == "secret"
    assert [path.name for path in tmp_path.iterdir()] == [vault.FILE_NAME]


def test_programs_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """Nobody overwrites a key file that somebody else may have used already."""
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: vault.open_vault(tmp_path).token_key, range(8)))
    assert len(set(made)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The text says what to do."""
    vault.open_vault(tmp_path)
    (tmp_path / vault.FILE_NAME).chmod(mode)
    with pytest.raises(UsageError, match="chmod 600"):
        vault.open_vault(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"short", base64.b64encode(b"x" * 31), b"\xff" * 44, base64.b64encode(b"x" * 33)]
)
def test_a_damaged_key_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    """A new key would make every secret useless."""
    file = tmp_path / vault.FILE_NAME
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(UsageError, match="is damaged"):
        vault.open_vault(tmp_path)
    assert file.read_bytes() == content


def test_a_secret_of_another_key_file_is_told(tmp_path: Path) -> None:
    """Not as a mistake in the cryptography."""
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        home.mkdir()
    text = vault.open_vault(homes[0]).encrypt("secret")
    with pytest.raises(UsageError, match="encrypted with another key"):
        vault.open_vault(homes[1]).decrypt(text)


def test_the_same_secret_never_looks_the_same(tmp_path: Path) -> None:
    """Rows do not tell which users have the same."""
    opened = vault.open_vault(tmp_path)
    assert opened.encrypt("secret") != opened.encrypt("secret")
    assert "secret" not in opened.encrypt("secret")


def test_a_session_token_opens_to_what_was_sealed(tmp_path: Path) -> None:
    """By whoever has the token key, and by nobody else."""
    key = vault.open_vault(tmp_path).token_key
    token = Sealer(key).seal(SESSION)
    assert Sealer(key).open(token.encode()) == SESSION
    (tmp_path / "b").mkdir()
    assert Sealer(vault.open_vault(tmp_path / "b").token_key).open(token.encode()) is None


def test_a_token_with_any_byte_changed_is_none(tmp_path: Path) -> None:
    """It is authenticated as a whole."""
    sealer = Sealer(vault.open_vault(tmp_path).token_key)
    token = sealer.seal(SESSION).encode()
    for at in range(len(token)):
        changed = token[:at] + (b"A" if token[at : at + 1] != b"A" else b"B") + token[at + 1 :]
        # The last digits of base64 may hold bits that mean nothing.
        assert sealer.open(changed) in (None, SESSION)
        if at < len(token) - 4:
            assert sealer.open(changed) is None
    for nonsense in (b"", b"x", os.urandom(200), b"A" * (MAX_LENGTH + 1), token[:-10]):
        assert sealer.open(nonsense) is None


def test_a_secret_at_rest_is_no_token(tmp_path: Path) -> None:
    """The two keys differ: what gateways are given opens no row."""
    opened = vault.open_vault(tmp_path)
    assert Sealer(opened.token_key).open(opened.encrypt("secret").encode()) is None


def test_no_session_shows_its_secret() -> None:
    """Not when it is logged by accident."""
    assert "not-to-be-seen" not in repr(SESSION)


@pytest.mark.parametrize("plain", [b"\x81\xa6key_id\xa1\xff", b"\x81\xa1x" + b"\x91" * 5000 + b"\xc0", b"\xc1", b""])
def test_what_is_sealed_and_is_no_session_opens_nothing(plain: bytes, tmp_path: Path) -> None:
    """A text that is none, and nesting without end, are no reason to fail: other versions seal with the same key."""
    key = vault.open_vault(tmp_path).token_key
    assert Sealer(key).open(Fernet(key).encrypt(plain)) is None
