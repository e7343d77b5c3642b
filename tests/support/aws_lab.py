"""What stands in for AWS in the scenario `aws`: boto3 for the tests, empty accounts, recorded calls and faults."""

from __future__ import annotations

import configparser
import contextlib
import functools
import itertools
import os
import pathlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import boto3
import requests

from tests.support.lab import INVENTORY, KillablePlaybook, run_playbook

REGION = "eu-central-1"
ENVIRONMENT = "lightbox-lab"
NETWORK = "172.28.77.0/24"
ENDPOINT = f"{ENVIRONMENT}.aaaaaaaaaa.{REGION}.rds.amazonaws.com"
# The account that molecule's own runs use: the lab's servers follow it.
ACCOUNT = "123456789012"
URL = os.environ.get("AWS_ENDPOINT_URL", "")
CA = os.environ.get("AWS_CA_BUNDLE", "")
READS = ("Describe", "Get", "List")
_numbers = itertools.count(1)


def secret_key() -> str:
    """The generated secret of the credentials."""
    parser = configparser.ConfigParser()
    parser.read(os.environ["AWS_SHARED_CREDENTIALS_FILE"])
    return parser["default"]["aws_secret_access_key"]


def key_of(account: str) -> str:
    """The identifier of the access key that the playbooks use in an account."""
    return f"AKIALABX{account}"


def new_account() -> str:
    """An account that has nothing yet; two runs of the tests do not meet in one."""
    return f"{os.getpid() % 10**6:06}{next(_numbers):06}"


@functools.cache
def client(service: str, account: str = ACCOUNT) -> Any:
    """A client of the tests, whose calls are recorded under another key than those of the playbooks."""
    return boto3.session.Session().client(  # the default session is not for several threads
        service,
        region_name=REGION,
        endpoint_url=URL,
        verify=CA,
        aws_access_key_id=f"AKIATEST{account}",
        aws_secret_access_key="unused",
    )


def control(method: str, path: str, **body: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, f"{URL}/lab/{path}", json=body or None, verify=CA, timeout=10)
    answer.raise_for_status()
    return answer


def calls(account: str | None = ACCOUNT) -> list[dict[str, Any]]:
    """What the playbooks called, in order; account: None for all."""
    found = control("GET", f"calls?key={key_of(account)}" if account else "calls").json()
    return [one for one in found if one["key"].startswith(key_of(""))]


def is_read(call: str) -> bool:
    return call.split(":")[1].startswith(READS)


def actions(recorded: list[dict[str, Any]]) -> set[str]:
    """The actions that were called and that need a permission; everybody may ask who they are."""
    return {one["call"] for one in recorded} - {"sts:GetCallerIdentity"}


def writes(recorded: list[dict[str, Any]]) -> list[str]:
    return [one["call"] for one in recorded if not is_read(one["call"])]


def inject(call: str, kind: str, account: str, **options: Any) -> None:
    """Let the playbooks' calls of an account fail from now on."""
    control("POST", "faults", call=call, fault=kind, key=key_of(account), **options)


@contextlib.contextmanager
def fault(call: str, kind: str, account: str, **options: Any) -> Iterator[None]:
    """Let the playbooks' calls of an account fail in this block."""
    inject(call, kind, account, **options)
    try:
        yield
    finally:
        control("DELETE", f"faults?key={key_of(account)}")


class Run:
    """A run of a playbook that builds on AWS, and what it called."""

    def __init__(self, *arguments: str | os.PathLike[str], account: str = ACCOUNT, playbook: str = "aws") -> None:
        before = len(calls(account))
        self.result = run_playbook(
            f"playbooks/{playbook}.yml", "-i", INVENTORY, *answers(account), *arguments, **credentials(account)
        )
        self.calls = calls(account)[before:]

    @property
    def output(self) -> str:
        return self.result.stdout + self.result.stderr

    @property
    def message(self) -> str:
        """The output without line breaks, to search sentences in it."""
        return " ".join(self.output.split())


def kill_at(account: str, call: int, log: pathlib.Path, *options: str) -> None:
    """Kill a run once it made so many calls that write, or at its end."""
    before = len(calls(account))
    arguments = [*answers(account), *options]
    run = KillablePlaybook(log, "playbooks/aws.yml", "-i", INVENTORY, *arguments, **credentials(account))
    try:
        until = time.monotonic() + 300
        while run.process.poll() is None and len(writes(calls(account)[before:])) < call:
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        run.kill()


def assert_throttled(recorded: list[dict[str, Any]]) -> None:
    """Each action that was called was refused at first, and answered then."""
    called = {one["call"] for one in recorded}
    assert len(called) > 20
    for action in called:
        errors = [one["error"] for one in recorded if one["call"] == action]
        assert re.search("Throttling|RequestLimitExceeded", errors[0] or ""), action
        assert None in errors[1:] or errors[1] not in ("Throttling", "RequestLimitExceeded"), action


def answers(account: str) -> list[str]:
    return [] if account == ACCOUNT else ["-e", f"aws_account_id='{account}'"]


def credentials(account: str) -> dict[str, Any]:
    """Environment variables that win over the file of credentials."""
    if account == ACCOUNT:
        return {}
    return {"AWS_ACCESS_KEY_ID": key_of(account), "AWS_SECRET_ACCESS_KEY": secret_key()}


def keys_of_environments(kms: Any) -> list[str]:
    """The environment of each key, which costs money with or without an alias."""
    tags = [kms.list_resource_tags(KeyId=one["KeyId"])["Tags"] for one in kms.list_keys()["Keys"]]
    return [tag["TagValue"] for of_key in tags for tag in of_key if tag["TagKey"] == "lightbox:environment"]


def names(account: str) -> Counter[tuple[str, str]]:
    """How many there are of each kind and name in an account, of what the playbooks make."""
    ec2, rds, iam, kms, logs = (client(service, account) for service in ("ec2", "rds", "iam", "kms", "logs"))
    parameter_groups = rds.describe_db_parameter_groups()["DBParameterGroups"]

    def name_of(one: dict[str, Any]) -> str:
        return next((tag["Value"] for tag in one.get("Tags", []) if tag["Key"] == "Name"), "")

    instances = [one for group in ec2.describe_instances()["Reservations"] for one in group["Instances"]]
    found = {
        "vpc": [name_of(one) for one in ec2.describe_vpcs()["Vpcs"] if not one["IsDefault"]],
        "subnet": [name_of(one) for one in ec2.describe_subnets()["Subnets"] if not one["DefaultForAz"]],
        "gateway": [name_of(one) for one in ec2.describe_internet_gateways()["InternetGateways"]],
        "route table": [name_of(one) for one in ec2.describe_route_tables()["RouteTables"] if name_of(one)],
        "endpoint": [
            one["ServiceName"]
            for one in ec2.describe_vpc_endpoints()["VpcEndpoints"]
            if not one["State"].lower().startswith("delet")
        ],
        "flow log": [one["ResourceId"] for one in ec2.describe_flow_logs()["FlowLogs"]],
        "group": [one["GroupName"] for one in ec2.describe_security_groups()["SecurityGroups"] if name_of(one)],
        "key": [one["KeyName"] for one in ec2.describe_key_pairs()["KeyPairs"]],
        "instance": [name_of(one) for one in instances if one["State"]["Name"] != "terminated"],
        "volume": [name_of(one) for one in ec2.describe_volumes()["Volumes"] if name_of(one)],
        "address": [name_of(one) for one in ec2.describe_addresses()["Addresses"]],
        "database": [one["DBInstanceIdentifier"] for one in rds.describe_db_instances()["DBInstances"]],
        "subnet group": [one["DBSubnetGroupName"] for one in rds.describe_db_subnet_groups()["DBSubnetGroups"]],
        "parameter group": [one["DBParameterGroupName"] for one in parameter_groups],
        "role": [one["RoleName"] for one in iam.list_roles()["Roles"]],
        "profile": [one["InstanceProfileName"] for one in iam.list_instance_profiles()["InstanceProfiles"]],
        "alias": [one["AliasName"] for one in kms.list_aliases()["Aliases"] if "/aws/" not in one["AliasName"]],
        "encryption key": keys_of_environments(kms),
        "log group": [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"]],
    }
    return Counter((kind, name) for kind, all_of_kind in found.items() for name in all_of_kind)


def log_of_runs() -> str:
    """What molecule's own runs printed with -vvv --diff since it made the servers; the file may have earlier ones."""
    text = (pathlib.Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "runs.log").read_text()
    return text.rpartition("PLAY [Make the lab servers]")[2]


def assert_unique(account: str) -> None:
    found = names(account)
    assert {name: count for name, count in found.items() if count > 1} == {}


def complete(account: str, *arguments: str) -> Run:
    """A run to the end, in which the first call of each action is throttled."""
    with fault("*", "throttle", account, each=True):
        run = Run(*arguments, account=account)
    assert run.result.returncode == 0, run.output[-3000:]
    assert_unique(account)
    return run
