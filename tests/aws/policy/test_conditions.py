"""Condition operators, one line a case: the rule of IAM, the condition, what the request has, whether it holds."""

from typing import Any

import pytest

from aws.policy.policies import allow, decided, deny, policies

HOST, MODEL, NAME, IP = "sagemaker:TargetContainerHostname", "sagemaker:TargetModel", "aws:username", "aws:SourceIp"
TAGS, TYPES, ARN, NOW, EPOCH = (
    "aws:TagKeys",
    "sagemaker:InstanceTypes",
    "aws:PrincipalArn",
    "aws:CurrentTime",
    "aws:EpochTime",
)
SIZE, TLS, TAG = "sagemaker:ServerlessMemorySize", "aws:SecureTransport", "aws:RequestTag/Size"
BOB, KEY = "arn:aws:iam::111111111111:user/bob", "arn:aws:kms:eu-west-1:111111111111:key/1"

#: rule, operator, key, the policy's values, the request's value (None: absent), holds
CASES: list[tuple[str, str, str, Any, Any, bool]] = [
    ("equal", "StringEquals", HOST, "a", "a", True),
    ("other", "StringEquals", HOST, "a", "b", False),
    ("case matters", "StringEquals", HOST, "a", "A", False),
    ("values are ORed", "StringEquals", HOST, ["a", "b"], "b", True),
    ("none of the values", "StringEquals", HOST, ["a", "b"], "c", False),
    ("a missing key is not equal", "StringEquals", HOST, "a", None, False),
    ("a star is a star", "StringEquals", HOST, "a*", "ab", False),
    ("a star equals a star", "StringEquals", HOST, "a*", "a*", True),
    ("the empty text is a value", "StringEquals", HOST, "", "", True),
    ("the empty text is not absence", "StringEquals", HOST, "", None, False),
    ("keys in any case", "StringEquals", "SAGEMAKER:targetcontainerHOSTNAME", "a", "a", True),
    ("a number is a text too", "StringEquals", TAG, 5, "5", True),
    ("a boolean is a text too", "StringEquals", TLS, True, "true", True),
    ("not equal", "StringNotEquals", HOST, "a", "b", True),
    ("equal after all", "StringNotEquals", HOST, "a", "a", False),
    ("none of several may match", "StringNotEquals", HOST, ["a", "b"], "b", False),
    ("none of several does", "StringNotEquals", HOST, ["a", "b"], "c", True),
    ("a missing key is not equal: true", "StringNotEquals", HOST, "a", None, True),
    ("ignoring case", "StringEqualsIgnoreCase", HOST, "aB", "Ab", True),
    ("ignoring case, other", "StringEqualsIgnoreCase", HOST, "a", "b", False),
    ("ignoring case, missing", "StringEqualsIgnoreCase", HOST, "a", None, False),
    ("no wildcards there", "StringEqualsIgnoreCase", HOST, "a*", "ab", False),
    ("not, ignoring case", "StringNotEqualsIgnoreCase", HOST, "a", "A", False),
    ("not, ignoring case, other", "StringNotEqualsIgnoreCase", HOST, "a", "b", True),
    ("not, ignoring case, missing", "StringNotEqualsIgnoreCase", HOST, "a", None, True),
    ("like without wildcards", "StringLike", HOST, "a", "a", True),
    ("like is case-sensitive", "StringLike", HOST, "a*", "Ab", False),
    ("a star is any text", "StringLike", MODEL, "company_a/*", "company_a/x/y.tar.gz", True),
    ("a star is no text", "StringLike", HOST, "a*", "a", True),
    ("a star in the middle", "StringLike", HOST, "a*c", "abbc", True),
    ("several stars", "StringLike", HOST, "*b*d*", "abcde", True),
    ("stars do not overlap", "StringLike", HOST, "ab*ba", "aba", False),
    ("a question mark is one character", "StringLike", HOST, "a?", "ab", True),
    ("and not none", "StringLike", HOST, "a?", "a", False),
    ("and not two", "StringLike", HOST, "a?", "abc", False),
    ("both", "StringLike", HOST, "?b*?d", "abxxcd", True),
    ("no regular expression", "StringLike", HOST, "a.c|[x]", "abc", False),
    ("only a star, the empty text", "StringLike", HOST, "*", "", True),
    ("only a star, but the key is missing", "StringLike", HOST, "*", None, False),
    ("any of several", "StringLike", HOST, ["x*", "a*"], "ab", True),
    ("not like", "StringNotLike", HOST, "a*", "b", True),
    ("like after all", "StringNotLike", HOST, "a*", "ab", False),
    ("not like any", "StringNotLike", HOST, ["a*", "b*"], "bc", False),
    ("not like, missing", "StringNotLike", HOST, "*", None, True),
    ("numbers, not texts", "NumericEquals", SIZE, "1024", "1024.0", True),
    ("a JSON number", "NumericEquals", SIZE, 1024, "1024", True),
    ("an exponent", "NumericEquals", SIZE, "1e3", "1000", True),
    ("another number", "NumericEquals", SIZE, 1024, "1025", False),
    ("no number at all", "NumericEquals", SIZE, 1024, "much", False),
    ("beyond a double's precision", "NumericEquals", SIZE, "9007199254740993", "9007199254740992", False),
    ("number missing", "NumericEquals", SIZE, 1, None, False),
    ("numbers differ", "NumericNotEquals", SIZE, 1, "2", True),
    ("numbers do not differ", "NumericNotEquals", SIZE, [1, 2], "2", False),
    ("numbers differ, missing", "NumericNotEquals", SIZE, 1, None, True),
    ("what is no number is another", "NumericNotEquals", SIZE, 1, "much", True),
    ("less", "NumericLessThan", SIZE, 10, "9", True),
    ("not less", "NumericLessThan", SIZE, 10, "10", False),
    ("less than one of them", "NumericLessThan", SIZE, [5, 10], "9", True),
    ("less, missing", "NumericLessThan", SIZE, 10, None, False),
    ("less or equal", "NumericLessThanEquals", SIZE, 10, "10", True),
    ("not less or equal", "NumericLessThanEquals", SIZE, 10, "10.1", False),
    ("greater", "NumericGreaterThan", SIZE, "-1", "-0.5", True),
    ("not greater", "NumericGreaterThan", SIZE, -1, "-1", False),
    ("greater, missing", "NumericGreaterThan", SIZE, -1, None, False),
    ("greater or equal", "NumericGreaterThanEquals", SIZE, -1, "-1", True),
    ("not greater or equal", "NumericGreaterThanEquals", SIZE, -1, "-2", False),
    ("a tag may hold a number", "NumericLessThan", TAG, 3, "2", True),
    ("seconds are a number", "NumericGreaterThan", EPOCH, 1_700_000_000, "1700000001", True),
    (
        "the same moment, written otherwise",
        "DateEquals",
        NOW,
        "2026-01-02T03:04:05Z",
        "2026-01-02T05:04:05+02:00",
        True,
    ),
    ("a day begins at midnight UTC", "DateEquals", NOW, "2026-01-02", "2026-01-02T00:00:00Z", True),
    ("seconds and ISO 8601", "DateEquals", EPOCH, "1970-01-01T00:01:00Z", "60", True),
    ("another moment", "DateEquals", NOW, "2026-01-02", "2026-01-02T00:00:01Z", False),
    ("moment missing", "DateEquals", NOW, "2026-01-02", None, False),
    ("no moment", "DateEquals", NOW, "2026-01-02", "soon", False),
    ("dates differ", "DateNotEquals", NOW, "2026-01-02", "2026-01-03", True),
    ("dates do not", "DateNotEquals", NOW, "2026-01-02", "2026-01-02", False),
    ("dates differ, missing", "DateNotEquals", "aws:TokenIssueTime", "2026-01-02", None, True),
    ("before", "DateLessThan", NOW, "2026-01-02T00:00:00Z", "2026-01-01T23:59:59.999Z", True),
    ("not before", "DateLessThan", NOW, "2026-01-02", "2026-01-02", False),
    ("before, missing", "DateLessThan", NOW, "2026-01-02", None, False),
    ("before or at", "DateLessThanEquals", NOW, "2026-01-02", "2026-01-02", True),
    ("not before or at", "DateLessThanEquals", NOW, 0, "1970-01-01T00:00:01Z", False),
    ("after", "DateGreaterThan", NOW, "2026-01-02T00:00Z", "2026-01-02T00:00:00.5Z", True),
    ("not after", "DateGreaterThan", NOW, "2026-01-02", "2026-01-02", False),
    ("after or at", "DateGreaterThanEquals", EPOCH, 60, "60", True),
    ("not after or at", "DateGreaterThanEquals", EPOCH, 60, "59.9", False),
    ("a date without a zone is UTC", "DateEquals", NOW, "2026-01-02T03:04:05", "2026-01-02T03:04:05Z", True),
    ("true", "Bool", TLS, "true", "true", True),
    ("true, as JSON has it", "Bool", TLS, True, "True", True),
    ("false", "Bool", TLS, "false", "true", False),
    ("neither", "Bool", TLS, "false", "maybe", False),
    ("missing is not false", "Bool", TLS, "false", None, False),
    ("missing is not true", "Bool", TLS, "true", None, False),
    ("the same bytes", "BinaryEquals", TAG, "QmluYXJ5", "QmluYXJ5", True),
    ("other bytes", "BinaryEquals", TAG, "QmluYXJ5", "QmluYXJ6", False),
    ("no base64", "BinaryEquals", TAG, "QmluYXJ5", "QmluYXJ5!", False),
    ("bytes missing", "BinaryEquals", TAG, "QmluYXJ5", None, False),
    ("in the range", "IpAddress", IP, "203.0.113.0/24", "203.0.113.255", True),
    ("outside", "IpAddress", IP, "203.0.113.0/24", "203.0.114.0", False),
    ("one address", "IpAddress", IP, "203.0.113.7", "203.0.113.7", True),
    ("in one of the ranges", "IpAddress", IP, ["10.0.0.0/8", "203.0.113.0/24"], "203.0.113.7", True),
    ("bits behind the prefix do not count", "IpAddress", IP, "203.0.113.9/24", "203.0.113.1", True),
    ("everyone of IPv4", "IpAddress", IP, "0.0.0.0/0", "203.0.113.1", True),
    ("but not of IPv6", "IpAddress", IP, "0.0.0.0/0", "2001:db8::1", False),
    ("IPv6", "IpAddress", IP, "2001:db8::/32", "2001:DB8:0:0::1", True),
    ("outside, IPv6", "IpAddress", IP, "2001:db8::/32", "2001:db9::1", False),
    ("IPv4 in IPv6's clothes", "IpAddress", IP, "203.0.113.0/24", "::ffff:203.0.113.7", True),
    ("a range in IPv6's clothes", "IpAddress", IP, "::ffff:203.0.113.0/120", "203.0.113.7", True),
    ("no address", "IpAddress", IP, "0.0.0.0/0", "localhost", False),
    ("a range is no address", "IpAddress", IP, "203.0.113.0/24", "203.0.113.0/32", False),
    ("address missing", "IpAddress", IP, "0.0.0.0/0", None, False),
    ("not in the range", "NotIpAddress", IP, "203.0.113.0/24", "203.0.114.0", True),
    ("in the range after all", "NotIpAddress", IP, ["10.0.0.0/8", "203.0.113.0/24"], "203.0.113.1", False),
    ("not in the range, missing", "NotIpAddress", IP, "203.0.113.0/24", None, True),
    ("what is no address is in no range", "NotIpAddress", IP, "203.0.113.0/24", "unknown", True),
    ("the same ARN", "ArnEquals", ARN, BOB, BOB, True),
    ("ArnEquals knows wildcards", "ArnEquals", ARN, "arn:aws:iam::*:user/b*", BOB, True),
    ("another ARN", "ArnLike", ARN, "arn:aws:iam::*:user/a*", BOB, False),
    ("no wildcard reaches over a colon", "ArnLike", ARN, "arn:aws:*:111111111111:user/bob:x", BOB + ":x", False),
    ("but the last part's does", "ArnLike", ARN, "arn:aws:iam::111111111111:*", "arn:aws:iam::111111111111:a:b", True),
    ("a question mark in a part", "ArnLike", ARN, "arn:aws:iam::11111111111?:user/bob", BOB, True),
    ("any ARN", "ArnLike", ARN, "*", BOB, True),
    ("what is no ARN is not any ARN", "ArnLike", ARN, "*", "bob", False),
    ("ARN missing", "ArnLike", ARN, "*", None, False),
    ("not that ARN", "ArnNotEquals", ARN, BOB, BOB + "by", True),
    ("that ARN after all", "ArnNotEquals", ARN, [KEY, BOB], BOB, False),
    ("not that ARN, missing", "ArnNotEquals", ARN, BOB, None, True),
    ("not like that ARN", "ArnNotLike", ARN, "arn:aws:iam::*:role/*", BOB, True),
    ("like that ARN after all", "ArnNotLike", ARN, "arn:aws:iam::*:user/*", BOB, False),
    ("not like that ARN, missing", "ArnNotLike", ARN, "arn:aws:iam::*:user/*", None, True),
    ("a text compares ARNs as a whole", "StringLike", ARN, "arn:*:user/bob", BOB, True),
    ("absent, as wanted", "Null", HOST, "true", None, True),
    ("present, though absence is wanted", "Null", HOST, "true", "a", False),
    ("present, as wanted", "Null", HOST, False, "a", True),
    ("absent, though presence is wanted", "Null", HOST, "false", None, False),
    ("the empty text is there", "Null", HOST, "true", "", False),
    ("an empty list is not there", "Null", TAGS, "true", (), True),
    ("a list that is there", "Null", TAGS, "false", ("a",), True),
    ("either", "Null", HOST, ["true", "false"], None, True),
    ("if it exists: it does", "StringEqualsIfExists", HOST, "a", "a", True),
    ("if it exists: it does and is another", "StringEqualsIfExists", HOST, "a", "b", False),
    ("if it exists: it does not", "StringEqualsIfExists", HOST, "a", None, True),
    ("if it exists, like", "StringLikeIfExists", HOST, "a*", "b", False),
    ("if it exists, negated", "StringNotEqualsIfExists", HOST, "a", "a", False),
    ("if it exists, negated, missing", "StringNotEqualsIfExists", HOST, "a", None, True),
    ("if it exists, number", "NumericLessThanIfExists", SIZE, 1, None, True),
    ("if it exists, date", "DateGreaterThanIfExists", "aws:TokenIssueTime", "2026-01-01", None, True),
    ("if it exists, boolean", "BoolIfExists", TLS, "true", None, True),
    ("if it exists, boolean, it does", "BoolIfExists", TLS, "true", "false", False),
    ("if it exists, address", "IpAddressIfExists", IP, "10.0.0.0/8", None, True),
    ("if it exists, ARN", "ArnLikeIfExists", ARN, BOB, None, True),
    ("if it exists, bytes", "BinaryEqualsIfExists", TAG, "AA==", None, True),
    ("all values are in the set", "ForAllValues:StringEquals", TAGS, ["a", "b", "c"], ("a", "b"), True),
    ("one value is not", "ForAllValues:StringEquals", TAGS, ["a", "b"], ("a", "x"), False),
    ("all of no values", "ForAllValues:StringEquals", TAGS, ["a"], (), True),
    ("all of a missing key", "ForAllValues:StringEquals", TAGS, ["a"], None, True),
    ("all of a single value", "ForAllValues:StringEquals", TAGS, ["a"], "a", True),
    ("all like", "ForAllValues:StringLike", TYPES, ["ml.t*", "ml.m5.*"], ("ml.t3.medium", "ml.m5.large"), True),
    ("not all like", "ForAllValues:StringLike", TYPES, ["ml.t*"], ("ml.t3.medium", "ml.m5.large"), False),
    ("all are others", "ForAllValues:StringNotEquals", TAGS, ["x"], ("a", "b"), True),
    ("not all are others", "ForAllValues:StringNotEquals", TAGS, ["x"], ("a", "x"), False),
    ("all, ARN", "ForAllValues:ArnLike", "sagemaker:ModelArn", "arn:aws:sagemaker:*:*:model/a*", (BOB,), False),
    ("all, if it exists", "ForAllValues:StringEqualsIfExists", TAGS, ["a"], None, True),
    ("an empty list is a missing key", "StringEquals", TAGS, "a", (), False),
    ("an empty list is a missing key, negated", "StringNotEquals", TAGS, "a", (), True),
    ("an empty list is a missing key, if it exists", "ForAnyValue:StringEqualsIfExists", TAGS, "a", (), True),
    ("any value is in the set", "ForAnyValue:StringEquals", TAGS, ["a"], ("x", "a"), True),
    ("no value is", "ForAnyValue:StringEquals", TAGS, ["a", "b"], ("x", "y"), False),
    ("any of no values", "ForAnyValue:StringEquals", TAGS, ["a"], (), False),
    ("any of a missing key", "ForAnyValue:StringEquals", TAGS, ["a"], None, False),
    ("any like", "ForAnyValue:StringLike", TYPES, ["ml.p*"], ("ml.t3.medium", "ml.p4d.24xlarge"), True),
    ("any is another", "ForAnyValue:StringNotEquals", TAGS, ["a"], ("a", "x"), True),
    ("none is another", "ForAnyValue:StringNotEquals", TAGS, ["a", "b"], ("a", "b"), False),
    ("any other of a missing key", "ForAnyValue:StringNotEquals", TAGS, ["a"], None, False),
    ("any, if it exists", "ForAnyValue:StringEqualsIfExists", TAGS, ["a"], None, True),
    ("any, if it exists and does", "ForAnyValue:StringEqualsIfExists", TAGS, ["a"], ("x",), False),
    ("a variable", "StringEquals", "aws:ResourceTag/owner", "${aws:username}", "ann", True),
    ("a variable's value is another", "StringEquals", "aws:ResourceTag/owner", "${aws:username}", "bob", False),
    ("a variable in a text", "StringLike", MODEL, "${aws:username}/*", "ann/m.tar.gz", True),
    ("a variable in any case", "StringEquals", HOST, "${AWS:UserName}", "ann", True),
    ("a variable without case", "StringEqualsIgnoreCase", HOST, "X-${aws:username}", "x-ANN", True),
    ("a variable, negated", "StringNotEquals", HOST, "${aws:username}", "ann", False),
    ("a variable in an ARN", "ArnLike", ARN, "arn:aws:iam::*:user/${aws:username}", "arn:aws:iam::1:user/ann", True),
    ("a variable's default", "StringEquals", HOST, "${aws:userid, 'nobody'}", "nobody", True),
    ("a default is not used", "StringEquals", HOST, "${aws:username, 'nobody'}", "nobody", False),
    ("a variable without value", "StringLike", HOST, "*${aws:userid}*", "a", False),
    ("another value still matches", "StringEquals", HOST, ["${aws:userid}", "a"], "a", True),
    ("a wildcard in a value is none", "StringLike", HOST, "${aws:ResourceTag/pattern}", "ab", False),
    ("it stands for itself", "StringLike", HOST, "${aws:ResourceTag/pattern}", "a*", True),
    ("an escaped star", "StringLike", HOST, "a${*}", "a*", True),
    ("an escaped star is no wildcard", "StringLike", HOST, "a${*}", "ab", False),
    ("an escaped question mark", "StringLike", HOST, "a${?}", "a?", True),
    ("an escaped question mark is no wildcard", "StringLike", HOST, "a${?}", "ab", False),
    ("an escaped dollar", "StringEquals", HOST, "${$}{aws:username}", "${aws:username}", True),
    ("a dollar alone", "StringEquals", HOST, "$5 {x}", "$5 {x}", True),
]


def context(key: str, value: Any) -> dict[str, Any]:
    present = {"aws:username": "ann", "aws:resourcetag/pattern": "a*"}
    return present | ({} if value is None else {key.lower(): value})


@pytest.mark.parametrize(
    ("rule", "operator", "key", "wanted", "value", "holds"), CASES, ids=[case[0] for case in CASES]
)
def test_a_condition_holds_or_does_not(
    rule: str, operator: str, key: str, wanted: Any, value: Any, holds: bool
) -> None:
    """Each rule twice: for an Allow, and for a Deny beside an Allow of everything."""
    conditions = {operator: {key: wanted}}
    seen = context(key, value)
    assert decided(policies(allow(Condition=conditions)), context=seen).allowed is holds
    assert decided(policies(allow(), deny(Condition=conditions)), context=seen).allowed is not holds


@pytest.mark.parametrize(
    ("rule", "operator", "key", "wanted", "value"),
    [
        ("several values, no quantifier: not all match", "StringEquals", TAGS, ["a"], ("a", "x")),
        ("several values, no quantifier: not all are others", "StringNotEquals", TAGS, ["a"], ("a", "x")),
        ("is it another one? nobody knows", "StringNotEquals", HOST, "${aws:userid}", "a"),
        ("is it unlike? nobody knows", "StringNotLike", HOST, ["x", "${aws:userid}*"], "a"),
        ("a variable with several values has none", "StringNotEquals", HOST, "${aws:RequestTag/two}", "a"),
    ],
)
def test_doubt_goes_against_access(rule: str, operator: str, key: str, wanted: Any, value: Any) -> None:
    """Where IAM's documentation leaves it open: such an Allow does not apply, such a Deny does."""
    seen = context(key, value) | {"aws:requesttag/two": ("b", "c")}
    conditions = {operator: {key: wanted}}
    assert not decided(policies(allow(Condition=conditions)), context=seen).allowed
    assert not decided(policies(allow(), deny(Condition=conditions)), context=seen).allowed


@pytest.mark.parametrize(
    ("rule", "conditions", "seen", "holds"),
    [
        ("no condition", {}, {}, True),
        ("operators are ANDed", {"StringEquals": {HOST: "a"}, "Bool": {TLS: True}}, {HOST: "a", TLS: "true"}, True),
        ("one operator fails", {"StringEquals": {HOST: "a"}, "Bool": {TLS: True}}, {HOST: "a", TLS: "false"}, False),
        ("keys are ANDed", {"StringEquals": {HOST: "a", NAME: ["x", "y"]}}, {HOST: "a", NAME: "y"}, True),
        ("one key fails", {"StringEquals": {HOST: "a", NAME: ["x", "y"]}}, {HOST: "a", NAME: "z"}, False),
        ("present and all in the set", {"Null": {TAGS: False}, "ForAllValues:StringEquals": {TAGS: "a"}}, {}, False),
    ],
)
def test_conditions_are_all_needed(rule: str, conditions: dict[str, Any], seen: dict[str, Any], holds: bool) -> None:
    """Several operators, several keys."""
    lowered = {key.lower(): value for key, value in seen.items()}
    assert decided(policies(allow(Condition=conditions)), context=lowered).allowed is holds


def test_variables_mean_nothing_in_the_older_version() -> None:
    """Version 2008-10-17, also where no version is given: ``${aws:username}`` is just that text."""
    conditions = {"StringLike": {HOST: "${aws:username}"}}
    old = policies(allow(Condition=conditions), version="2008-10-17")
    assert not decided(old, context=context(HOST, "ann")).allowed
    assert decided(old, context=context(HOST, "${aws:username}")).allowed
    assert old.dependencies == {HOST.lower()}
