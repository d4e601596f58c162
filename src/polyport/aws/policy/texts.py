"""Collections of patterns that a text is matched with: literals in a set, globs, and patterns with variables."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from polyport.aws.policy import globs, variables
from polyport.aws.policy.variables import Context, Part

Build = Callable[[Sequence[globs.Token]], globs.Matcher]


class Patterns:
    """Matches a text that any of its patterns matches."""

    __slots__ = ("_build", "_fixed", "_fold", "_literals", "_templates", "keys", "required")

    def __init__(self, patterns: Iterable[Sequence[Part]], build: Build = globs.matcher, *, fold: bool = False) -> None:
        """``build`` makes matchers of tokens; with ``fold`` case does not matter."""
        self._build = build
        self._fold = fold
        literals: set[str] = set()
        fixed: list[globs.Matcher] = []
        templates: list[Sequence[Part]] = []
        for parts in patterns:
            tokens = [part for part in parts if not isinstance(part, variables.Variable)]
            if len(tokens) < len(parts):
                templates.append(parts)
            elif (text := globs.literal(tokens)) is not None:
                literals.add(text.lower() if fold else text)
            else:
                fixed.append(self._matcher(tokens))
        self._literals = frozenset(literals)
        self._fixed = tuple(fixed)
        self._templates = tuple(templates)
        #: The condition keys (lower-case) that matching may read, and those without which a pattern means nothing.
        self.keys = frozenset[str]().union(*map(variables.names, templates))
        self.required = frozenset[str]().union(*map(variables.required, templates))

    def match(self, text: str, context: Context) -> bool:
        """Whether one of them matches. A pattern with a variable that has no value matches nothing."""
        if self._fold:
            text = text.lower()
        if text in self._literals:
            return True
        for matches in self._fixed:
            if matches(text):
                return True
        return any(self._fits(parts, text, context) for parts in self._templates)

    def _fits(self, parts: Sequence[Part], text: str, context: Context) -> bool:
        tokens = variables.resolve(parts, context)
        # The first test also keeps a pattern of many variables with long values from being put together.
        return tokens is not None and globs.length(tokens) <= len(text) and self._matcher(tokens)(text)

    def _matcher(self, tokens: Sequence[globs.Token]) -> globs.Matcher:
        if self._fold:
            tokens = [token.lower() if isinstance(token, str) else token for token in tokens]
        return self._build(tokens)


class Arn(NamedTuple):
    """Six patterns, one for each part of an ARN."""

    parts: tuple[globs.Matcher, ...]

    def matches(self, text: str) -> bool:
        """Whether the text is an ARN, each part of which is as wanted."""
        parts = text.split(":", 5)
        return len(parts) == 6 and all(matches(part) for matches, part in zip(self.parts, parts, strict=True))


def arn(tokens: Sequence[globs.Token]) -> globs.Matcher:
    """As IAM compares ARNs: part by part, so that no wildcard but the last part's reaches over a colon.

    ``*`` alone is any ARN; what has not six parts is none, and matches nothing.
    """
    parts = _split(tokens)
    if len(parts) == 1 and parts[0] == [globs.Wild.RUN]:
        parts = [[globs.Wild.RUN] for _ in range(6)]
    if len(parts) != 6:
        return lambda text: False  # noqa: ARG005 - it has a matcher's signature
    return Arn(tuple(globs.matcher(part) for part in parts)).matches


def _split(tokens: Iterable[globs.Token]) -> list[list[globs.Token]]:
    parts: list[list[globs.Token]] = [[]]
    for token in tokens:
        if isinstance(token, globs.Wild):
            parts[-1].append(token)
            continue
        first, *rest = token.split(":", 6 - len(parts))
        parts[-1].append(first)
        parts += [[piece] for piece in rest]
    return parts
