"""Who may call a real server: keys, policies, sessions, TLS and the audit log, through unmodified clients."""

import contextlib
import http.client
import io
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from polyport import cli
from support.certificates import Authority
from support.people import ACCOUNT, ALLOW_ALL, OTHER, REGION, allow, arn, deny, policy
from support.server import Server, call, create_endpoint, wait_for, wait_for_status

Pair = tuple[str, ...]
PAIR = ({"Image": "first:1", "ContainerHostname": "first"}, {"Image": "second:1", "ContainerHostname": "second"})
#: Seconds within which what a command changed is in force, everywhere.
SOON = 2.0


def run(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A `polyport` command on the server's home, in a process of its own."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("POLYPORT_")}
    command = [sys.executable, "-m", "polyport", *arguments, "--home", str(server.home)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


class Admin:
    """Who keeps the keys of one server, and remembers every secret that was used."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.secrets: list[str] = []

    def add(self, user: str, *statements: dict[str, Any], account: str = ACCOUNT) -> Pair:
        """A user who may do that; its key."""
        options = ["--policy", str(self._write(*statements))] if statements else []
        made = json.loads(self.do("key", "create", "--user", user, "--account", account, "--json", *options))
        self.secrets.append(made["secret"])
        return made["key"], made["secret"]

    def allow(self, user: str, *statements: dict[str, Any]) -> None:
        """Another policy in place of the first."""
        self.do("policy", "put", str(self._write(*statements)), "--user", user)

    def do(self, *arguments: str) -> str:
        """A `polyport` command on the server's home; what it printed. In this process, since starting one is dear."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.app([*arguments, "--home", str(self.server.home)], standalone_mode=False)
        assert not status, err.getvalue()
        return out.getvalue()

    def role(self, name: str, trusted: str, *statements: dict[str, Any]) -> str:
        """A role that a user may assume; its ARN."""
        trust = self.server.home.parent / "trust.json"
        principal = {"AWS": f"arn:aws:iam::{ACCOUNT}:user/{trusted}"}
        trusting = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        trust.write_text(json.dumps({"Version": "2012-10-17", "Statement": [trusting]}))
        return self.do("role", "create", name, "--trust", str(trust), "--policy", str(self._write(*statements))).strip()

    def _write(self, *statements: dict[str, Any]) -> Path:
        # Beside the home: what is in it is searched for secrets.
        path = self.server.home.parent / "policy.json"
        path.write_text(policy(*statements).document)
        return path


def said(work: Callable[[], Any]) -> str:
    """The code of the error that a call is answered with; empty when it is served."""
    try:
        work()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def invoking(server: Server, credentials: Pair, name: str = "pair", **arguments: Any) -> Callable[[], bytes]:
    """A call of the first container, unless arguments say otherwise."""
    runtime = server.client("sagemaker-runtime", credentials)
    return lambda: call(runtime, name, **({"TargetContainerHostname": "first"} | arguments))


def listing(server: Server, credentials: Pair) -> Callable[[], Any]:
    """A call of the control plane."""
    sagemaker = server.client("sagemaker", credentials)
    listing: Callable[[], Any] = sagemaker.list_endpoints
    return listing


def soon(work: Callable[[], Any], wanted: str) -> None:
    """Poll until the call ends so: empty for one that is served."""
    wait_for(lambda: said(work) == wanted, wanted or "no error", SOON)


def ask(
    server: Server,
    credentials: Pair,
    path: str = "/endpoints/pair/invocations",
    body: bytes = b"x",
    *,
    presigned: bool = False,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """One request that is signed by hand: status, and the error's code or the body."""
    address = urlsplit(server.url)
    fields = {"Host": address.netloc, "X-Amzn-SageMaker-Target-Container-Hostname": "first", **(headers or {})}
    request = AWSRequest("POST", server.url + path, headers=fields, data=b"" if presigned else body)
    auth = SigV4QueryAuth if presigned else SigV4Auth
    auth(Credentials(*credentials), "sagemaker", REGION).add_auth(request)
    target = request.url.removeprefix(server.url)
    connection: http.client.HTTPConnection
    if address.scheme == "https":
        context = ssl.create_default_context(cafile=str(server.authority))
        connection = http.client.HTTPSConnection(address.netloc, timeout=10, context=context)
    else:
        connection = http.client.HTTPConnection(address.netloc, timeout=10)
    try:
        connection.request("POST", target, request.data, dict(request.headers.items()))
        answer = connection.getresponse()
        content = answer.read().decode()
        return answer.status, answer.headers.get("x-amzn-errortype") or content
    finally:
        connection.close()


def audit(server: Server) -> list[dict[str, Any]]:
    """What the audit log has so far."""
    path = server.home / "audit" / "audit.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def refused_invocations(server: Server) -> list[str]:
    """Codes of the errors."""
    return [record["errorCode"] for record in audit(server) if record["eventName"] == "InvokeEndpoint"]


def with_secrets(server: Server, secrets: list[str]) -> list[tuple[str, str]]:
    """Files of the home that hold one of the secrets: database, logs, audit log and all else."""
    assert secrets
    found = [(path, path.read_bytes()) for path in server.home.rglob("*") if path.is_file()]
    assert {"polyport.db", "stderr.log", "stdout.log", "audit.jsonl"} <= {path.name for path, _ in found}
    return [(str(path), secret) for path, content in found for secret in secrets if secret.encode() in content]


# --- one server that has keys from its first start on


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """Of a server on the fake engine with an endpoint in Direct mode, called pair."""
    home = tmp_path_factory.mktemp("shared") / "home"
    home.mkdir()
    server = Server(home, engine="fake")
    made = Admin(server)
    server.credentials = made.add("root", ALLOW_ALL)
    server.start()
    create_endpoint(server, "pair", *PAIR, mode="Direct")
    wait_for_status(server.client("sagemaker"), "pair", "InService")
    yield made
    assert server.stop() == 0


@pytest.fixture
def server(admin: Admin) -> Server:
    return admin.server


def test_a_disabled_key_is_refused_by_gateways_and_control(admin: Admin, server: Server) -> None:
    """Within a second or two; and served again once it is enabled."""
    key = admin.add("carol", ALLOW_ALL)
    invoke, look = invoking(server, key), listing(server, key)
    soon(invoke, "")
    soon(look, "")
    for command, code in (("disable", "UnrecognizedClientException"), ("enable", "")):
        admin.do("key", command, key[0])
        began = time.monotonic()
        soon(invoke, code)
        soon(look, code)
        assert time.monotonic() - began < SOON
        # Whichever worker it is that a new connection leads to.
        assert [said(invoking(server, key)) for _ in range(4)] == [code] * 4
    admin.do("user", "delete", "carol")
    soon(invoke, "UnrecognizedClientException")


def test_a_rotated_key_works_until_its_grace_is_over(admin: Admin, server: Server) -> None:
    """Old and new together, then the new one alone, of gateways and control, without anybody doing anything."""
    old = admin.add("kim", ALLOW_ALL)
    soon(invoking(server, old), "")
    made = json.loads(admin.do("key", "rotate", old[0], "--grace", "2", "--json"))
    admin.secrets.append(made["secret"])
    new = (made["key"], made["secret"])
    soon(invoking(server, new), "")
    assert (said(invoking(server, old)), said(listing(server, old))) == ("", "")
    wait_for(lambda: said(invoking(server, old)) == "UnrecognizedClientException", "the end of the grace", 4)
    assert said(listing(server, old)) == "UnrecognizedClientException"
    assert (said(invoking(server, new)), said(listing(server, new))) == ("", "")


def test_a_policy_is_in_force_soon_after_it_was_changed(admin: Admin, server: Server) -> None:
    """By gateways and by control, for calls on connections that are open already."""
    key = admin.add("dave", allow(arn("pair")))
    invoke, look = invoking(server, key), listing(server, key)
    soon(invoke, "")
    soon(look, "AccessDeniedException")
    admin.allow("dave", allow(action="sagemaker:List*"))
    soon(invoke, "AccessDeniedException")
    soon(look, "")


def test_a_user_may_call_one_container_and_no_other(admin: Admin, server: Server) -> None:
    """SageMaker's documented policy, through boto3: the error names user, action and endpoint."""
    key = admin.add("erin", allow(arn("pair"), StringLike={"sagemaker:TargetContainerHostname": ["first*"]}))
    soon(invoking(server, key), "")
    with pytest.raises(ClientError) as raised:
        invoking(server, key, TargetContainerHostname="second")()
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert raised.value.response["Error"]["Message"] == (
        f"User: arn:aws:iam::{ACCOUNT}:user/erin is not authorized to perform: sagemaker:InvokeEndpoint on resource: "
        f"{arn('pair')} because no identity-based policy allows the sagemaker:InvokeEndpoint action"
    )
    assert said(lambda: call(server.client("sagemaker-runtime", key), "pair")) == "AccessDeniedException"
    assert said(invoking(server, key, "nothing")) == "AccessDeniedException"


def test_sessions_from_sts_invoke(admin: Admin, server: Server) -> None:
    """A role's session has the role's rights, less what its session policy takes; a user's has the user's."""
    key = admin.add("frank", allow(arn("pair"), StringEquals={"sagemaker:TargetContainerHostname": "second"}))
    role = admin.role("caller", "frank", allow(arn("pair")))
    sts = server.client("sts", key)
    soon(sts.get_caller_identity, "")
    soon(lambda: sts.assume_role(RoleArn=role, RoleSessionName="nightly"), "")
    limit = policy(allow(StringEquals={"sagemaker:TargetContainerHostname": "first"})).document
    sessions = {
        "role": sts.assume_role(RoleArn=role, RoleSessionName="nightly")["Credentials"],
        "limited": sts.assume_role(RoleArn=role, RoleSessionName="nightly", Policy=limit)["Credentials"],
        "user": sts.get_session_token(DurationSeconds=900)["Credentials"],
    }
    keys = {name: (one["AccessKeyId"], one["SecretAccessKey"], one["SessionToken"]) for name, one in sessions.items()}
    admin.secrets += [secret for one in keys.values() for secret in one[1:]]
    may = {
        (name, target): said(invoking(server, one, TargetContainerHostname=target)) == ""
        for name, one in keys.items()
        for target in ("first", "second")
    }
    assert [target for (name, target), allowed in may.items() if allowed and name == "role"] == ["first", "second"]
    assert [target for (name, target), allowed in may.items() if allowed and name == "limited"] == ["first"]
    assert [target for (name, target), allowed in may.items() if allowed and name == "user"] == ["second"]
    whoami = server.client("sts", keys["role"]).get_caller_identity()["Arn"]
    assert whoami == f"arn:aws:sts::{ACCOUNT}:assumed-role/caller/nightly"
    assert said(invoking(server, (*keys["role"][:2], keys["limited"][2]))) == "UnrecognizedClientException"
    admin.do("role", "delete", "caller")
    soon(invoking(server, keys["role"]), "UnrecognizedClientException")


def test_a_role_is_not_assumed_by_whom_it_does_not_trust(admin: Admin, server: Server) -> None:
    """However much the user may do otherwise: one that is not there is refused in the same words."""
    key = admin.add("gina", allow(action="sagemaker:*"))
    role = admin.role("other", "frank", ALLOW_ALL)
    sts = server.client("sts", key)
    soon(sts.get_caller_identity, "")
    for name in (role, role.replace("other", "nothing")):
        assert said(lambda name=name: sts.assume_role(RoleArn=name, RoleSessionName="nightly")) == "AccessDenied"  # type: ignore[misc]


def test_another_account_invokes_by_the_arn_that_the_endpoint_s_policy_gives_it(admin: Admin, server: Server) -> None:
    """It takes the endpoint's policy and the caller's own; PutEndpointPolicy is in force soon."""
    key = admin.add("zoe", allow(), account=OTHER)
    by_arn = invoking(server, key, arn("pair"))
    soon(by_arn, "AccessDeniedException")
    statement = {"Effect": "Allow", "Principal": {"AWS": OTHER}, "Action": "sagemaker:InvokeEndpoint"}
    sagemaker = server.client("sagemaker")
    granted = policy(statement | {"Resource": arn("pair")}).document
    sagemaker.put_endpoint_policy(EndpointName="pair", ResourcePolicy=granted)
    soon(by_arn, "")
    assert said(invoking(server, key)) == "ValidationError"
    sagemaker.delete_endpoint_policy(EndpointName="pair")
    soon(by_arn, "AccessDeniedException")


def test_a_presigned_url_invokes(server: Server) -> None:
    """The signature is in the query, as botocore puts it there; another URL's is none."""
    status, body = ask(server, server.credentials, presigned=True)
    assert (status, body) == (200, "")
    other = ask(server, (server.credentials[0], "guess"), presigned=True)
    assert other == (403, "InvalidSignatureException")


def test_in_the_clear_a_body_must_be_signed_and_conditions_know_it(admin: Admin, server: Server) -> None:
    """UNSIGNED-PAYLOAD and aws:SecureTransport are for https."""
    unsigned = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    assert ask(server, server.credentials, headers=unsigned) == (403, "InvalidSignatureException")
    key = admin.add("henry", allow(), deny(Bool={"aws:SecureTransport": "false"}))
    soon(invoking(server, key), "AccessDeniedException")


def test_the_audit_log_has_calls_of_the_control_plane_and_refused_invocations(admin: Admin, server: Server) -> None:
    """CloudTrail's fields, and which statement decided; invocations that are served are not in it."""
    key = admin.add("iris", allow(action="sagemaker:Describe*"), deny(arn("pair")) | {"Sid": "NeverPair"})
    describe = server.client("sagemaker", key).describe_endpoint
    soon(lambda: describe(EndpointName="pair"), "")
    answered = describe(EndpointName="pair")["ResponseMetadata"]["RequestId"]
    assert said(invoking(server, key)) == "AccessDeniedException"
    served = invoking(server, server.credentials)
    served()

    def records() -> list[dict[str, Any]] | None:
        mine = [one for one in audit(server) if one["userIdentity"].get("userName") == "iris"]
        return mine if mine and mine[-1]["eventName"] == "InvokeEndpoint" else None

    *_, told, denied = wait_for(records, "the refusal in the audit log")
    assert told["requestID"] == answered
    assert (told["eventSource"], told["eventName"]) == ("sagemaker.amazonaws.com", "DescribeEndpoint")
    assert (told["readOnly"], told["eventCategory"], told["awsRegion"]) == (True, "Management", REGION)
    assert told["sourceIPAddress"] == "127.0.0.1"
    assert told["userIdentity"]["arn"] == f"arn:aws:iam::{ACCOUNT}:user/iris"
    assert told["userIdentity"]["accessKeyId"] == key[0]
    assert told["resources"] == [{"ARN": arn("pair")}]
    assert told["additionalEventData"]["decision"] == "allowed by an identity-based policy: policy, statement 1"
    assert (denied["errorCode"], denied["eventCategory"]) == ("AccessDeniedException", "Data")
    assert denied["requestParameters"] == {"endpointName": "pair", "targetContainerHostname": "first"}
    decision = denied["additionalEventData"]["decision"]
    assert decision == "explicit deny in an identity-based policy: policy, statement 2 (NeverPair)"
    assert [one for one in audit(server) if one["eventName"] == "InvokeEndpoint" and "errorCode" not in one] == []
    assert stat.S_IMODE((server.home / "audit" / "audit.jsonl").stat().st_mode) == 0o600


def test_no_secret_is_in_any_file_of_the_home(admin: Admin, server: Server) -> None:
    """Whatever was done with them: used well, used wrongly, sent in the wrong places, or rotated."""
    key = admin.add("jane", ALLOW_ALL)
    soon(invoking(server, key), "")
    session = server.client("sts", key).get_session_token()["Credentials"]
    admin.secrets += [session["SecretAccessKey"], session["SessionToken"]]
    temporary = (session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    said(invoking(server, temporary))
    said(invoking(server, (*key, "no-such-token")))
    said(listing(server, (key[0], session["SecretAccessKey"])))
    ask(server, key, headers={"X-Amz-Security-Token": session["SessionToken"]})
    admin.secrets.append(json.loads(admin.do("key", "rotate", key[0], "--json"))["secret"])
    soon(invoking(server, key), "UnrecognizedClientException")
    wait_for(lambda: audit(server)[-1].get("errorCode") == "UnrecognizedClientException", "the last refusal")
    assert with_secrets(server, [key[0]]) != [], "an access key's id is no secret: this search finds what is there"
    assert with_secrets(server, admin.secrets) == []


# --- servers of their own


@pytest.fixture
def make_admin(tmp_path: Path) -> Iterator[Callable[..., Admin]]:
    """Of a server on the fake engine that is not started yet."""
    made: list[Admin] = []

    def make(**settings: Any) -> Admin:
        home = tmp_path / f"f{len(made)}" / "home"
        home.mkdir(parents=True)
        made.append(Admin(Server(home, engine="fake", **settings)))
        return made[-1]

    yield make
    for one in made:
        assert one.server.stop() == 0


def test_a_key_made_while_the_server_runs_closes_it(make_admin: Callable[..., Admin]) -> None:
    """Until then any credentials are good; the command says what it does, and it is so within a second or two."""
    admin = make_admin()
    server = admin.server.start()
    create_endpoint(server, "pair", *PAIR, mode="Direct")
    wait_for_status(server.client("sagemaker"), "pair", "InService")
    anybody = server.credentials
    invoke, look = invoking(server, anybody), listing(server, anybody)
    assert (said(invoke), said(look)) == ("", "")
    assert "Any credentials are accepted" in server.output()
    done = run(server, "key", "create", "--user", "alice", "--policy", "AdministratorAccess", "--json")
    began = time.monotonic()
    assert "from now on the running server refuses calls that are not signed with a key" in done.stderr
    soon(invoke, "UnrecognizedClientException")
    soon(look, "UnrecognizedClientException")
    assert time.monotonic() - began < SOON
    made = json.loads(done.stdout)
    server.credentials = (made["key"], made["secret"])
    # What was made before belongs to the same account, and is there still.
    assert said(invoking(server, server.credentials)) == ""
    assert server.client("sagemaker").describe_endpoint(EndpointName="pair")["EndpointArn"] == arn("pair")


@pytest.mark.slow
def test_a_restart_keeps_everything_and_the_audit_log_is_rotated(make_admin: Callable[..., Admin]) -> None:
    """Keys, also disabled ones, policies, roles, sessions; the log is bounded, and only its owner can read it."""
    admin = make_admin(audit_max_bytes=4000, audit_files=2)
    server = admin.server
    server.credentials = root = admin.add("root", ALLOW_ALL)
    key, off = admin.add("alice", allow(action="sagemaker:List*")), admin.add("bob", ALLOW_ALL)
    admin.do("key", "disable", off[0])
    role = admin.role("lister", "alice", allow(action="sagemaker:List*"))
    server.start()
    given = server.client("sts", key).assume_role(RoleArn=role, RoleSessionName="nightly")["Credentials"]
    session = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    assert server.stop() == 0
    server.start()
    assert [said(listing(server, one)) for one in (root, key, session)] == ["", "", ""]
    assert said(listing(server, off)) == "UnrecognizedClientException"
    assert said(lambda: server.client("sagemaker", key).delete_model(ModelName="x")) == "AccessDeniedException"
    look = listing(server, key)
    for _ in range(30):
        look()
    files = sorted((server.home / "audit").iterdir())
    assert [path.name for path in files] == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert all(path.stat().st_size <= 4000 for path in files)
    assert all(json.loads(line)["eventVersion"] for path in files for line in path.read_text().splitlines())
    admin.secrets += session[1:]
    assert with_secrets(server, admin.secrets) == []


@pytest.mark.slow
def test_a_server_that_others_can_reach_wants_a_key(make_admin: Callable[..., Admin]) -> None:
    """Without one it does not start, and says which command to run; with one it starts."""
    admin = make_admin(host="0.0.0.0")
    server = admin.server
    refused = run(server, "serve", "--host", "0.0.0.0", "--port", "0", "--engine", "fake")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "without a key anybody there could use this server" in refused.stderr
    assert "polyport key create --user NAME --policy AdministratorAccess" in refused.stderr
    assert f"--home {server.home}" in refused.stderr
    assert "Traceback" not in refused.stderr
    server.credentials = admin.add("root", ALLOW_ALL)
    server.start()
    assert server.url.startswith("http://127.0.0.1:")
    assert said(listing(server, server.credentials)) == ""
    assert said(listing(server, ("polyport", "polyport"))) == "UnrecognizedClientException"
    # Without keys again, nobody may call: it never opens to other machines.
    admin.do("key", "delete", server.credentials[0], "--force")
    soon(listing(server, server.credentials), "UnrecognizedClientException")
    assert said(listing(server, ("polyport", "polyport"))) == "UnrecognizedClientException"


def test_https_serves_both_planes(make_admin: Callable[..., Admin], tmp_path: Path) -> None:
    """The flags' certificate; conditions see https, and a body may go unsigned, since nobody can change it there."""
    authority = Authority(tmp_path)
    certificate, key_file = authority.issue("server")
    admin = make_admin(tls_cert=certificate, tls_key=key_file)
    server = admin.server
    server.authority = authority.file
    server.credentials = admin.add("root", ALLOW_ALL)
    key = admin.add("alice", allow(), deny(Bool={"aws:SecureTransport": "false"}))
    server.start()
    assert server.url.startswith("https://")
    create_endpoint(server, "pair", *PAIR, mode="Direct")
    wait_for_status(server.client("sagemaker"), "pair", "InService")
    assert invoking(server, key)() == b"x"
    unsigned = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    assert ask(server, key, body=b"hello", headers=unsigned) == (200, "hello")
    assert ask(server, (key[0], "guess"), headers=unsigned) == (403, "InvalidSignatureException")
    plain = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    try:
        plain.request("GET", "/healthz")
        with pytest.raises((OSError, http.client.HTTPException)):
            plain.getresponse()
    finally:
        plain.close()


@pytest.mark.slow
def test_gateways_verify_and_refuse_while_control_is_away(make_server: Callable[..., Server]) -> None:
    """On the process engine, with per-container policies: what was refused meanwhile is in the audit log later."""
    server = make_server()
    admin = Admin(server)
    server.credentials = admin.add("root", ALLOW_ALL)
    key = admin.add("alice", allow(arn("pair"), StringLike={"sagemaker:TargetContainerHostname": ["first"]}))
    server.start()
    create_endpoint(server, "pair", *PAIR, mode="Direct")
    wait_for_status(server.client("sagemaker"), "pair", "InService")
    first, second = invoking(server, key), invoking(server, key, TargetContainerHostname="second")
    assert first() == b"x|first,text/csv"
    assert said(second) == "AccessDeniedException"
    wait_for(lambda: refused_invocations(server), "the record of a refusal")
    assert server.process
    # A launcher that stands still does not bring control back.
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        os.kill(control_of(server), signal.SIGKILL)
        wait_for(lambda: said(listing(server, key)) == "ServiceUnavailable", "control to be away")
        assert [first() for _ in range(5)] == [b"x|first,text/csv"] * 5
        assert [said(second) for _ in range(5)] == ["AccessDeniedException"] * 5
        assert said(invoking(server, (key[0], "guess"))) == "InvalidSignatureException"
        # More than a second: workers tried to hand over what they have, and kept it.
        time.sleep(1.2)
        assert refused_invocations(server) == ["AccessDeniedException"]
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    wanted = ["AccessDeniedException"] * 6 + ["InvalidSignatureException"]
    wait_for(lambda: sorted(refused_invocations(server)) == wanted, "the records of that time")
    soon(listing(server, server.credentials), "")
    assert with_secrets(server, admin.secrets) == []


def control_of(server: Server) -> int:
    """The process id of the server's control."""
    assert server.process
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return next(int(pid) for pid in children if b"polyport.server.control" in Path(f"/proc/{pid}/cmdline").read_bytes())
