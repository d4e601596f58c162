"""Where in a request a value is, as AWS writes it: ``productionVariants.1.member.instanceType``."""


def member(path: str, name: str) -> str:
    """A member of a structure: its name with a lower-case first letter."""
    lowered = name[:1].lower() + name[1:]
    return f"{path}.{lowered}" if path else lowered


def element(path: str, index: int) -> str:
    """An element of a list; ``index`` counts from 0, AWS from 1."""
    return f"{path}.{index + 1}.member"


def entry(path: str, key: str) -> str:
    """The value under a key of a map, which is the caller's and may be of any length."""
    return f"{path}.{key[:128]}.member"
