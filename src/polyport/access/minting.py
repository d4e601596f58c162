"""New ids and secrets, in the form that AWS gives them: tools that look for keys in code and logs know it."""

import base64
import secrets

_KEY = "AKIA"
_SESSION_KEY = "ASIA"
_USER = "AIDA"
_ROLE = "AROA"


def key_id() -> str:
    """Of a long-lived access key: 20 characters."""
    return _KEY + _random_id()


def session_key_id() -> str:
    """Of temporary credentials: 20 characters."""
    return _SESSION_KEY + _random_id()


def user_id() -> str:
    """A user's unique id."""
    return _USER + _random_id()


def role_id() -> str:
    """A role's unique id."""
    return _ROLE + _random_id()


def secret() -> str:
    """A secret access key: 40 characters, 240 random bits."""
    return base64.b64encode(secrets.token_bytes(30)).decode()


def _random_id() -> str:
    """16 characters of base32: 80 random bits."""
    return base64.b32encode(secrets.token_bytes(10)).decode()
