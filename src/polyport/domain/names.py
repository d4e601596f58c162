"""Who owns a resource, and what its ARN is."""

import msgspec


class Owner(msgspec.Struct, frozen=True, order=True):
    """The account (12 digits) and the region that a resource belongs to. Two owners may use the same names."""

    account: str
    region: str


PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}


def partition(region: str) -> str:
    """The ARN partition of a region: ``aws`` but for China, GovCloud and the European Sovereign Cloud."""
    return next((name for prefix, name in PARTITIONS.items() if region.startswith(prefix)), "aws")


def arn(owner: Owner, kind: str, name: str) -> str:
    """``arn:aws:sagemaker:REGION:ACCOUNT:KIND/name``; SageMaker lower-cases the name inside an ARN."""
    return f"arn:{partition(owner.region)}:sagemaker:{owner.region}:{owner.account}:{kind}/{name.lower()}"
