"""IAM policies, pure: text in, decision out; no sockets, no store.

From a document to a decision::

    found = document.parse(text, document.Kind.IDENTITY)          # raises errors.PolicyError with the position
    policies = compiled.compile([("name", found)])                # once, when a policy changes
    request = evaluate.Request("sagemaker:InvokeEndpoint", arn, {"aws:username": "ann"})
    decision = evaluate.decide(request, principal, policies, None, None, account)

`trace` tells of every statement why it did or did not match. Where IAM's documentation leaves open what happens
(a variable without a value under a negation, several values without a quantifier), doubt goes against access: an
Allow does not apply, a Deny does.
"""
