"""The scenario's stand-in for AWS, asked by boto3 over HTTPS as a process of its own."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.pki import make_pki
from tests.support.project import PROJECT

REGION = "eu-central-1"
# One attempt, so that a fault is seen.
ONCE = Config(retries={"total_max_attempts": 1})


class Server:
    def __init__(self, port: int, ca: str) -> None:
        self.url, self.ca = f"https://localhost:{port}", ca
        self.client = functools.cache(self.make_client)  # which takes long to make

    def make_client(self, service: str, account: str = "123456789012", config: Config = ONCE) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            verify=self.ca,
            aws_access_key_id=f"AKIALABX{account}",
            aws_secret_access_key="secret",
            config=config,
        )

    def control(self, method: str, path: str, **body: Any) -> Any:
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, f"{self.url}/lab/{path}", json=body or None, verify=self.ca, timeout=10)

    def calls(self) -> list[str]:
        return [one["call"] for one in self.control("GET", "calls").json()]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    directory = make_pki(tmp_path_factory.mktemp("aws"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [f"--port={port}", f"--directory={directory}"]
    process = subprocess.Popen([sys.executable, PROJECT / "molecule/aws/server.py", *arguments])
    context = ssl.create_default_context(cafile=directory / "ca.pem")
    try:
        until = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 5) as plain:
                context.wrap_socket(plain, server_hostname="localhost").close()
                break
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.1)
        assert (directory / "pid").read_text() == f"{process.pid}\n"
        yield Server(port, str(directory / "ca.pem"))
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.fixture(autouse=True)
def clean(server) -> None:
    server.control("DELETE", "calls")
    server.control("DELETE", "faults")


def make_group(rds: Any, name: str, **parameters: str) -> None:
    rds.create_db_parameter_group(DBParameterGroupName=name, DBParameterGroupFamily="postgres17", Description=name)
    for key, value in parameters.items():
        set_parameter(rds, name, key.replace("__", "."), value)


def set_parameter(rds: Any, group: str, name: str, value: str, method: str = "immediate") -> None:
    changed = {"ParameterName": name, "ParameterValue": value, "ApplyMethod": method}
    rds.modify_db_parameter_group(DBParameterGroupName=group, Parameters=[changed])


def parameters(rds: Any, group: str, **arguments: str) -> dict[str, dict]:
    pages = rds.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=group, **arguments)
    return {one["ParameterName"]: one for page in pages for one in page["Parameters"]}


def make_database(rds: Any, name: str, **arguments: Any) -> dict:
    asked = {
        "DBInstanceClass": "db.t4g.medium",
        "Engine": "postgres",
        "EngineVersion": "17",
        "AllocatedStorage": 20,
        "MasterUsername": "lightbox",
        "ManageMasterUserPassword": True,
    }
    return rds.create_db_instance(DBInstanceIdentifier=name, **(asked | arguments))["DBInstance"]


def test_the_actions_that_moto_lacks_are_answered_in_the_format_of_rds(server):
    rds = server.client("rds")
    (certificate,) = rds.describe_certificates(CertificateIdentifier="rds-ca-rsa2048-g1")["Certificates"]
    assert certificate["ValidTill"].year == 2061
    assert len(rds.describe_certificates()["Certificates"]) == 3
    assert rds.describe_pending_maintenance_actions()["PendingMaintenanceActions"] == []
    (major,) = rds.describe_db_major_engine_versions(Engine="postgres", MajorEngineVersion="17")[
        "DBMajorEngineVersions"
    ]
    standard, extended = major["SupportedEngineLifecycles"]
    assert standard["LifecycleSupportEndDate"].date().isoformat() == "2030-02-28"
    assert standard["LifecycleSupportEndDate"] < extended["LifecycleSupportEndDate"]
    versions = rds.describe_db_engine_versions(Engine="postgres", EngineVersion="17")["DBEngineVersions"]
    assert [one["EngineVersion"] for one in versions] == ["17.4", "17.5", "17.6"]
    (default,) = rds.describe_db_engine_versions(Engine="postgres", EngineVersion="17", DefaultOnly=True)[
        "DBEngineVersions"
    ]
    assert (default["EngineVersion"], default["DBParameterGroupFamily"]) == ("17.5", "postgres17")
    assert rds.describe_db_engine_versions(Engine="postgres", EngineVersion="99")["DBEngineVersions"] == []
    options = rds.describe_orderable_db_instance_options(
        Engine="postgres", EngineVersion="17.5", DBInstanceClass="db.t4g.medium"
    )
    assert [one["StorageType"] for one in options["OrderableDBInstanceOptions"]] == ["gp3"]


def test_an_unknown_certificate_is_refused(server):
    with pytest.raises(ClientError, match="CertificateNotFound"):
        server.client("rds").describe_certificates(CertificateIdentifier="rds-ca-2019")


def test_a_parameter_group_lists_every_parameter(server):
    rds = server.client("rds", "000000000001")
    make_group(rds, "group", log_statement="ddl")
    found = parameters(rds, "group")
    assert len(found) > 300
    assert (found["log_statement"]["ParameterValue"], found["log_statement"]["Source"]) == ("ddl", "user")
    assert (found["rds.force_ssl"]["ParameterValue"], found["rds.force_ssl"]["Source"]) == ("1", "system")
    assert "ParameterValue" not in found["work_mem"]
    assert list(parameters(rds, "group", Source="user")) == ["log_statement"]
    assert parameters(rds, "default.postgres17")["log_statement"]["Source"] == "engine-default"
    rds.reset_db_parameter_group(
        DBParameterGroupName="group", Parameters=[{"ParameterName": "log_statement", "ApplyMethod": "immediate"}]
    )
    assert parameters(rds, "group", Source="user") == {}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("log_statment", "none", "Could not find parameter"),
        ("fsync", "0", "cannot be modified"),
        ("log_statement", "some", "Invalid parameter value"),
        ("max_connections", "100", "immediate apply method for static"),
    ],
)
def test_a_parameter_that_rds_would_refuse_is_refused(server, name, value, reason):
    rds = server.client("rds", f"00000000010{len(reason) % 10}")
    with contextlib.suppress(rds.exceptions.DBParameterGroupAlreadyExistsFault):
        make_group(rds, "group")
    with pytest.raises(ClientError, match=reason):
        set_parameter(rds, "group", name, value)
    assert parameters(rds, "group", Source="user") == {}


def test_a_database_takes_its_time_and_its_master_has_a_password_of_its_own(server):
    rds, vault = server.client("rds", "000000000002"), server.client("secretsmanager", "000000000002")
    made = [make_database(rds, name) for name in ("one", "two")]
    assert [(one["DBInstanceStatus"], one["EngineVersion"]) for one in made] == [("creating", "17.5")] * 2
    assert "Endpoint" not in made[0]
    with pytest.raises(ClientError, match="InvalidDBInstanceState"):
        rds.modify_db_instance(DBInstanceIdentifier="one", BackupRetentionPeriod=3)
    known = []
    for one in made:
        secret = vault.get_secret_value(SecretId=one["MasterUserSecret"]["SecretArn"])["SecretString"]
        assert '"username": "lightbox"' in secret
        known.append(secret)
    assert known[0] != known[1]
    rds.get_waiter("db_instance_available").wait(
        DBInstanceIdentifier="one", WaiterConfig={"Delay": 1, "MaxAttempts": 10}
    )
    (ready,) = rds.describe_db_instances(DBInstanceIdentifier="one")["DBInstances"]
    assert ready["Endpoint"]["Address"] == f"one.aaaaaaaaaa.{REGION}.rds.amazonaws.com"
    assert ready["CertificateDetails"]["CAIdentifier"]
    rds.modify_db_instance(DBInstanceIdentifier="one", BackupRetentionPeriod=3)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"EngineVersion": "99"}, "Cannot find version 99 for postgres"),
        ({"DBInstanceClass": "db.t4g.huge"}, "RDS does not support creating a DB instance"),
    ],
)
def test_a_database_that_rds_does_not_offer_is_refused(server, arguments, reason):
    with pytest.raises(ClientError, match=reason):
        make_database(server.client("rds", "000000000003"), "one", **arguments)


def test_calls_are_recorded_in_order_with_service_and_parameters(server):
    server.client("sts").get_caller_identity()
    vpc = server.client("ec2").create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    server.client("kms").list_aliases()
    server.client("logs").describe_log_groups(logGroupNamePrefix="lightbox")
    server.client("secretsmanager").list_secrets()
    server.client("iam").list_roles()
    server.client("route53").list_hosted_zones_by_name(DNSName="example.org")
    server.client("cloudwatch").list_metrics(Namespace="AWS/RDS")
    with pytest.raises(ClientError, match="InvalidVpcID"):
        server.client("ec2").delete_vpc(VpcId="vpc-1")
    assert server.calls() == [
        "sts:GetCallerIdentity",
        "ec2:CreateVpc",
        "kms:ListAliases",
        "logs:DescribeLogGroups",
        "secretsmanager:ListSecrets",
        "iam:ListRoles",
        "route53:ListHostedZonesByName",
        "cloudwatch:ListMetrics",
        "ec2:DeleteVpc",
    ]
    recorded = server.control("GET", "calls").json()
    assert {one["key"] for one in recorded} == {"AKIALABX123456789012"}
    assert recorded[1]["parameters"]["CidrBlock"] == "10.77.0.0/16"
    assert recorded[3]["parameters"] == {"logGroupNamePrefix": "lightbox"}
    assert [one["error"] for one in recorded] == [None] * 8 + ["InvalidVpcID.NotFound"]
    assert vpc not in {one["VpcId"] for one in server.client("ec2", "000000000004").describe_vpcs()["Vpcs"]}


def test_an_account_is_that_of_the_access_key(server):
    assert server.client("sts", "000000000005").get_caller_identity()["Account"] == "000000000005"
    server.client("ec2", "000000000005").create_key_pair(KeyName="one")
    assert server.client("ec2", "000000000006").describe_key_pairs()["KeyPairs"] == []


ASKED = {
    "ec2": lambda client: client.describe_vpcs(),
    "rds": lambda client: client.describe_db_instances(),
    "kms": lambda client: client.list_keys(),
    "iam": lambda client: client.list_roles(),
    "sts": lambda client: client.get_caller_identity(),
    "logs": lambda client: client.describe_log_groups(),
    "secretsmanager": lambda client: client.list_secrets(),
    "route53": lambda client: client.list_hosted_zones(),
    "cloudwatch": lambda client: client.list_metrics(),
}


@pytest.mark.parametrize("service", ASKED)
@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        ("throttle", {"ec2": "RequestLimitExceeded", "json": "ThrottlingException", "": "Throttling"}),
        ("deny", {"ec2": "UnauthorizedOperation", "json": "AccessDeniedException", "": "AccessDenied"}),
        ("expired", {"ec2": "RequestExpired", "json": "ExpiredTokenException", "": "ExpiredToken"}),
        ("clock", {"ec2": "AuthFailure", "json": "InvalidSignatureException", "": "SignatureDoesNotMatch"}),
    ],
)
def test_a_fault_is_an_error_of_its_service_and_ends(server, service, fault, codes):
    server.control("POST", "faults", call="*", fault=fault, times=1)
    with pytest.raises(ClientError) as raised:
        ASKED[service](server.client(service))
    kind = service if service in codes else "json" if service in ("kms", "logs", "secretsmanager") else ""
    assert raised.value.response["Error"]["Code"] == codes[kind]
    if fault == "deny":
        assert f"is not authorized to perform: {service}:" in raised.value.response["Error"]["Message"]
    ASKED[service](server.client(service))
    assert [one["error"] for one in server.control("GET", "calls").json()] == [codes[kind], None]


@pytest.mark.parametrize("service", ASKED)
def test_boto3_repeats_a_throttled_call(server, service):
    server.control("POST", "faults", call="*", fault="throttle", each=True)
    ASKED[service](server.client(service, config=Config(retries={"mode": "standard"})))
    assert len(server.calls()) == 2


def test_a_fault_concerns_its_action_and_its_client(server):
    server.control("POST", "faults", call="ec2:DescribeVpcs", fault="deny", times=2, key="AKIALABX000000000007")
    server.client("ec2", "000000000007").describe_subnets()
    server.client("ec2").describe_vpcs()
    for _attempt in range(2):
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            server.client("ec2", "000000000007").describe_vpcs()
    server.client("ec2", "000000000007").describe_vpcs()


def test_the_control_is_limited_to_one_client_where_that_is_asked(server):
    server.control("POST", "faults", call="*", fault="deny", times=9, key="AKIALABX000000000007")
    server.control("DELETE", "faults?key=AKIALABX000000000008")
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        server.client("ec2", "000000000007").describe_vpcs()
    server.control("DELETE", "faults?key=AKIALABX000000000007")
    server.client("ec2", "000000000007").describe_subnets()
    server.client("ec2", "000000000008").describe_vpcs()

    def calls(key: str) -> list[str]:
        return [one["call"] for one in server.control("GET", f"calls?key={key}").json()]

    assert calls("AKIALABX000000000008") == ["ec2:DescribeVpcs"]
    server.control("DELETE", "calls?key=AKIALABX000000000008")
    assert calls("AKIALABX000000000008") == []
    assert calls("AKIALABX000000000007") == ["ec2:DescribeVpcs", "ec2:DescribeSubnets"]


def test_what_the_control_does_not_offer_is_refused(server):
    assert server.control("POST", "faults", call="*", fault="sleep").status_code == 400
    assert server.control("GET", "nothing").status_code == 404


def test_the_images_are_found_by_owner_and_name(server):
    ec2 = server.client("ec2")
    for owner, name in (("136693071363", "debian-13-arm64-*"), ("099720109477", "ubuntu/*noble-24.04-amd64-server-*")):
        found = ec2.describe_images(Owners=[owner], Filters=[{"Name": "name", "Values": [name]}])["Images"]
        assert len(found) == 2


def test_an_instance_without_a_lab_server_prints_nothing(server):
    ec2 = server.client("ec2", "000000000008")
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    (instance,) = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    assert not ec2.get_console_output(InstanceId=instance["InstanceId"]).get("Output")


def test_a_volume_made_of_no_snapshot_has_an_empty_one(server):
    ec2 = server.client("ec2", "000000000009")
    ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8)
    (volume,) = ec2.describe_volumes()["Volumes"]
    assert volume["SnapshotId"] == ""


def test_the_default_group_of_a_vpc_allows_its_members_everything(server):
    ec2 = server.client("ec2", "000000000009")
    vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    (group,) = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    (rule,) = group["IpPermissions"]
    assert (rule["IpProtocol"], rule["UserIdGroupPairs"][0]["GroupId"]) == ("-1", group["GroupId"])
    ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
    (group,) = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    assert group["IpPermissions"] == []
