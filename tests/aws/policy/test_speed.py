"""A decision is on the path of every invocation."""

import timeit

from aws.policy.policies import ENDPOINT, INVOKE, OWN, USER, allow, deny, policies, request
from polyport.aws.policy import evaluate


def test_the_usual_decision_takes_microseconds() -> None:
    """A few statements without conditions: some 3 microseconds on the reference machine. 30 here, for busy machines;
    a pattern compiled or a document read at each call would take more."""
    identity = policies(
        allow(["sagemaker:Describe*", "sagemaker:List*"]),
        allow(INVOKE, ENDPOINT[:-4] + "*"),
        deny("sagemaker:Delete*"),
    )
    call = request()
    assert evaluate.decide(call, USER, identity, None, None, OWN).allowed
    rounds = timeit.repeat(lambda: evaluate.decide(call, USER, identity, None, None, OWN), number=1_000, repeat=7)
    assert min(rounds) / 1_000 < 30e-6
