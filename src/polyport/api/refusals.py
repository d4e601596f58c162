"""The errors that several operations answer with, in AWS's words where those are known."""

from polyport.domain import names
from polyport.domain.names import Owner
from polyport.errors import ApiError

#: How messages name a kind of resource, by its part of the ARN.
KINDS = {"model": "model", "endpoint-config": "endpoint configuration", "endpoint": "endpoint"}


def invalid(message: str) -> ApiError:
    """What SageMaker answers to nearly everything that is wrong with a call."""
    return ApiError("ValidationException", message)


def not_found(owner: Owner, kind: str, name: str) -> ApiError:
    """There is no resource of that name. Never a 404: waiters go by the code."""
    return invalid(f'Could not find {KINDS[kind]} "{names.arn(owner, kind, name)}".')


def already_exists(owner: Owner, kind: str, name: str) -> ApiError:
    """The name is taken, perhaps in another case."""
    return invalid(f'Cannot create already existing {KINDS[kind]} "{names.arn(owner, kind, name)}".')


def in_progress(arn: str) -> ApiError:
    """The endpoint is on its way somewhere; deletions are refused with the same words as updates."""
    return invalid(f'Cannot update in-progress endpoint "{arn}".')


def not_served(member: str, what: str) -> ApiError:
    """SageMaker has it, Polyport has not; running the endpoint without it would be something else."""
    return invalid(f"{member} is not supported: Polyport does not serve {what}.")
