"""The one error tree. Whose fault an error is decides its branch; each boundary translates with ``raise ... from``."""


class PolyportError(Exception):
    """Whatever Polyport raises on purpose. Its text is for the user: what is wrong, and what to do."""


class ApiError(PolyportError):
    """The caller of the AWS API is told no: becomes an AWS-shaped error.

    ``code`` is the service model's error name (``ValidationException``), ``status`` the HTTP status; ``members`` are
    further members of the error's body.
    """

    def __init__(self, code: str, message: str, status: int = 400, **members: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.members = members


class UsageError(PolyportError):
    """The command line, a setting or the machine is not as it must be; `polyport` prints it and exits with 2."""


class ImageError(PolyportError):
    """An image is unknown, cannot be built, or cannot be removed."""


class ArtifactError(PolyportError):
    """Model data is missing, broken or hostile."""


class PolicyError(PolyportError):
    """An IAM policy document is refused.

    ``path`` is where (``Statement[1].Condition.StringLik``), empty where the text is no JSON; ``line`` and ``column``
    count from 1.
    """

    def __init__(self, message: str, path: str, line: int, column: int) -> None:
        place = f"line {line}, column {column}"
        super().__init__(f"{path} ({place}): {message}" if path else f"{place}: {message}")
        self.message = message
        self.path = path
        self.line = line
        self.column = column

    @property
    def position(self) -> str:
        """The path, or for a text that is no JSON line and column."""
        return self.path or f"line {self.line}, column {self.column}"


class EngineError(PolyportError):
    """An engine could not do what it was asked."""


class CannotChangeInstance(EngineError):
    """This engine cannot change that instance while it runs; it has to be replaced."""


class StoreError(PolyportError):
    """The database cannot be used: newer than this program, damaged, or locked by another."""


class DiskFull(StoreError):
    """A write did not find room; the database is as it was."""


class StaleWrite(PolyportError):
    """A compare-and-swap lost: the row was written in between. Read it again and decide again."""


class AlreadyExists(PolyportError):
    """A row of that name is there."""
