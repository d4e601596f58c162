"""Mutation without a look at coverage: where there is no atheris, and for tests that show an oracle firing."""

import random
from collections.abc import Iterator

from fuzz.target import Target


def inputs(target: Target, seed: int) -> Iterator[bytes]:
    """The seeds, then changed ones, for ever."""
    seeds = target.seeds()
    yield from seeds
    chance = random.Random(seed)  # noqa: S311  # chances, not secrets
    while True:
        data = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
            data = edit(data, chance, target.tokens, seeds)
        yield data[: target.longest]


def edit(data: bytes, chance: random.Random, tokens: tuple[bytes, ...], seeds: list[bytes]) -> bytes:
    """One change: a byte, a token, a piece lost, repeated, moved, or taken from another seed."""
    at = chance.randrange(len(data) + 1)
    end = min(at + chance.choice((0, 1, 1, 4, 16, 64)), len(data))
    match chance.randrange(6):
        case 0:
            middle = bytes([chance.randrange(256)])
        case 1:
            middle = chance.choice(tokens)
        case 2:
            middle = b""
        case 3:
            middle = data[at:end] * 2
        case 4:
            other = chance.choice(seeds)
            start = chance.randrange(len(other) + 1)
            middle = other[start : start + chance.randrange(64)]
        case _:
            middle = bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1])
    return data[:at] + middle + data[end:]
