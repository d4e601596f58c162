"""Signature Version 4, made by botocore as every AWS SDK makes it."""

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "us-east-1"
#: An access key and its secret: what a server without keys accepts as well as anything else.
Key = tuple[str, str]
ANY_KEY: Key = ("polyport", "polyport")


def sign(headers: dict[str, str], path: str, body: bytes, key: Key, *, tampered: bool = False) -> dict[str, str]:
    """The headers with ``X-Amz-Date`` and ``Authorization`` added; ``tampered`` makes the signature a wrong one."""
    unsigned = {name: value for name, value in headers.items() if name != "Content-Length"}
    made = AWSRequest(method="POST", url=f"http://{headers['Host']}{path}", headers=unsigned, data=body)
    SigV4Auth(Credentials(*key), "sagemaker", REGION).add_auth(made)
    signed = headers | {name: made.headers[name] for name in ("X-Amz-Date", "Authorization")}
    if tampered:
        flipped = "0" if signed["Authorization"][-1] != "0" else "1"
        signed["Authorization"] = signed["Authorization"][:-1] + flipped
    return signed
