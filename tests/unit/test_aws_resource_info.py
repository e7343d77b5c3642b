"""The module aws_resource_info, against moto and botocore's Stubber."""

from __future__ import annotations

import collections
import datetime
import json
from typing import Any
from unittest import mock

import boto3
import pytest
import yaml
from ansible_collections.lightbox.pacs.plugins.modules import aws_resource_info
from botocore.stub import ANY, Stubber

from tests.support.aws_modules import REGION, aws_account, failing, recorded_calls, run_module

DOCUMENTATION = yaml.safe_load(aws_resource_info.DOCUMENTATION)
RETURN = yaml.safe_load(aws_resource_info.RETURN)["resources"]["contains"]


@pytest.fixture(autouse=True, scope="module")
def account():
    """Two environments; the second with more of what there may be many of."""
    with aws_account():
        build("radiology")
        build("radiology-2", count=7)
        yield


def tags(kind: str, environment: str, name: str | None = None) -> list[dict[str, Any]]:
    both = {"Name": name or environment, "lightbox:environment": environment}
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in both.items()]}]


def build(environment: str, count: int = 1) -> None:
    """One resource of each kind, and `count` of those of which there may be more."""
    both = [{"Key": "lightbox:environment", "Value": environment}, {"Key": "Name", "Value": environment}]
    ec2, iam, rds, logs, kms = (boto3.client(name, REGION) for name in ("ec2", "iam", "rds", "logs", "kms"))
    key = kms.create_key(Tags=[{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in both])["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName=f"alias/{environment}", TargetKeyId=key)
    vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16", TagSpecifications=tags("vpc", environment))["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc,
            CidrBlock=f"10.77.{number}.0/24",
            AvailabilityZone=f"{REGION}{'ab'[number % 2]}",
            TagSpecifications=tags("subnet", environment, f"{environment}-{number}"),
        )["Subnet"]["SubnetId"]
        for number in range(count + 1)
    ]
    gateway = ec2.create_internet_gateway(TagSpecifications=tags("internet-gateway", environment))
    ec2.attach_internet_gateway(VpcId=vpc, InternetGatewayId=gateway["InternetGateway"]["InternetGatewayId"])
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=tags("route-table", environment))
    ec2.create_vpc_endpoint(
        VpcId=vpc,
        VpcEndpointType="Gateway",
        ServiceName=f"com.amazonaws.{REGION}.s3",
        RouteTableIds=[table["RouteTable"]["RouteTableId"]],
        TagSpecifications=tags("vpc-endpoint", environment),
    )
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    for suffix in ("", "-flow-logs"):
        iam.create_role(RoleName=f"{environment}-{REGION}{suffix}", AssumeRolePolicyDocument=trust, Tags=both)
    role = iam.get_role(RoleName=f"{environment}-{REGION}-flow-logs")["Role"]["Arn"]
    iam.create_instance_profile(InstanceProfileName=f"{environment}-{REGION}", Tags=both)
    logs.create_log_group(logGroupName=f"{environment}-flow-logs", tags={tag["Key"]: tag["Value"] for tag in both})
    logs.put_retention_policy(logGroupName=f"{environment}-flow-logs", retentionInDays=90)
    ec2.create_flow_logs(
        ResourceIds=[vpc],
        ResourceType="VPC",
        TrafficType="REJECT",
        LogGroupName=f"{environment}-flow-logs",
        DeliverLogsPermissionArn=role,
        TagSpecifications=tags("vpc-flow-log", environment),
    )
    groups = [
        ec2.create_security_group(
            GroupName=f"{environment}-{number}",
            Description="test",
            VpcId=vpc,
            TagSpecifications=tags("security-group", environment),
        )["GroupId"]
        for number in range(count)
    ]
    ec2.create_key_pair(KeyName=environment, TagSpecifications=tags("key-pair", environment))
    image = ec2.describe_images()["Images"][0]["ImageId"]
    instances = ec2.run_instances(
        ImageId=image,
        InstanceType="t3.large",
        MinCount=count,
        MaxCount=count,
        KeyName=environment,
        SubnetId=subnets[0],
        SecurityGroupIds=groups[:1],
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [*both, {"Key": "lightbox:user", "Value": "admin"}]},
        ],
    )["Instances"]
    for _number in range(count):
        volume = ec2.create_volume(
            Size=200,
            AvailabilityZone=f"{REGION}a",
            Encrypted=True,
            KmsKeyId=key,
            VolumeType="gp3",
            TagSpecifications=tags("volume", environment, f"{environment}-data"),
        )
    ec2.attach_volume(VolumeId=volume["VolumeId"], InstanceId=instances[0]["InstanceId"], Device="/dev/sdf")
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tags("elastic-ip", environment))
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instances[0]["InstanceId"])
    rds.create_db_subnet_group(
        DBSubnetGroupName=environment, DBSubnetGroupDescription="test", SubnetIds=subnets[:2], Tags=both
    )
    rds.create_db_parameter_group(
        DBParameterGroupName=f"{environment}-postgres17",
        DBParameterGroupFamily="postgres17",
        Description="test",
        Tags=both,
    )
    rds.create_db_instance(
        DBInstanceIdentifier=environment,
        DBInstanceClass="db.t4g.medium",
        Engine="postgres",
        EngineVersion="17.4",
        AllocatedStorage=50,
        MasterUsername="lightbox",
        ManageMasterUserPassword=True,
        StorageEncrypted=True,
        KmsKeyId=key,
        DBSubnetGroupName=environment,
        VpcSecurityGroupIds=groups[:1],
        DeletionProtection=True,
        PubliclyAccessible=False,
        Port=5432,
        Tags=both,
    )
    for number in range(count):
        rds.create_db_snapshot(
            DBInstanceIdentifier=environment, DBSnapshotIdentifier=f"{environment}-{number}", Tags=both
        )


def gather(environment: str = "radiology", **arguments: Any) -> list[dict[str, Any]]:
    result = run_module("aws_resource_info", environment=environment, **arguments)
    assert result["changed"] is False, result
    return result["resources"]


def test_another_environment_has_none():
    assert gather("radio") == []


def test_every_kind_with_what_the_documentation_lists():
    found = gather()
    assert list(dict.fromkeys(resource["kind"] for resource in found)) == list(aws_resource_info.KINDS)
    assert DOCUMENTATION["options"]["kinds"]["choices"] == list(aws_resource_info.KINDS)
    returned: dict[str, set[str]] = collections.defaultdict(set)
    for resource in found:
        for field in resource:
            returned[field].add(resource["kind"])
    assert set(returned) == set(RETURN)
    types: dict[str, Any] = {"str": str, "list": list, "dict": dict, "bool": bool, "int": int}
    for field, documented in RETURN.items():
        if "kinds of RDS" in documented.get("returned", "") or "with which" in documented.get("returned", ""):
            continue
        expected = {
            kind
            for kind in aws_resource_info.KINDS
            if kind in documented.get("returned", kind).replace(",", "").split()
        }
        assert returned[field] == expected, field
        for resource in found:
            if field in resource:
                assert isinstance(resource[field], types[documented["type"]]), (field, resource)


def test_values():
    by_kind = {resource["kind"]: resource for resource in gather()}
    instance, volume, address, database = (
        by_kind[kind] for kind in ("instance", "volume", "elastic_ip", "db_instance")
    )
    assert (instance["name"], instance["state"], instance["type"]) == ("radiology", "running", "t3.large")
    assert (instance["zone"], instance["key_name"], instance["user"]) == (f"{REGION}a", "radiology", "admin")
    assert instance["private_address"].startswith("10.77.")
    assert instance["volume_ids"]["/dev/sdf"] == volume["id"]
    assert (volume["name"], volume["size_gb"], volume["encrypted"]) == ("radiology-data", 200, True)
    assert (volume["instance_id"], volume["device"]) == (instance["id"], "/dev/sdf")
    assert (volume["kms_key_id"], by_kind["kms_key"]["name"]) == (by_kind["kms_key"]["arn"], "alias/radiology")
    assert address["instance_id"] == instance["id"]
    assert address["address"] == instance["public_address"]
    assert database["endpoint"].startswith("radiology.")
    assert (database["port"], database["deletion_protection"], database["public"]) == (5432, True, False)
    assert database["secret_arn"].startswith("arn:aws:secretsmanager:")
    assert database["security_group_ids"] == [by_kind["security_group"]["id"]]
    assert by_kind["db_snapshot"]["database"] == "radiology"
    assert datetime.datetime.fromisoformat(by_kind["db_snapshot"]["created"]).tzinfo is not None
    assert by_kind["log_group"]["retention_days"] == 90
    assert by_kind["flow_log"]["log_group"] == by_kind["log_group"]["name"]
    assert by_kind["flow_log"]["vpc_id"] == by_kind["subnet"]["vpc_id"] == by_kind["vpc"]["id"]


@pytest.mark.parametrize("environment", ["radiology", "radiology-2"])
def test_environments_with_similar_names_do_not_meet(environment):
    found = gather(environment)
    assert [resource["name"] for resource in found if resource["kind"] in ("iam_role", "log_group")] == [
        f"{environment}-flow-logs",
        f"{environment}-{REGION}",
        f"{environment}-{REGION}-flow-logs",
    ]
    assert {resource["tags"]["lightbox:environment"] for resource in found if resource.get("tags")} == {environment}
    alone = gather(environment, kinds=["db_instance", "db_subnet_group", "db_snapshot", "kms_key"])
    assert [resource["name"] for resource in alone] == [
        f"alias/{environment}",
        environment,
        environment,
        *(f"{environment}-{number}" for number in range(7 if environment == "radiology-2" else 1)),
    ]


def test_the_log_of_another_environment_is_not_found_by_its_name():
    boto3.client("logs").create_log_group(logGroupName="cardiology-flow-logs")
    assert gather("cardiology-flow-logs", kinds=["log_group"]) == []


def test_each_region_has_roles_and_a_profile_of_its_own():
    """IAM is the same in all regions."""
    iam = boto3.client("iam")
    tag = [{"Key": "lightbox:environment", "Value": "neurology"}]
    for region in ("eu-central-1", "eu-west-3"):
        for suffix in ("", "-flow-logs"):
            iam.create_role(RoleName=f"neurology-{region}{suffix}", AssumeRolePolicyDocument="{}", Tags=tag)
        iam.create_instance_profile(InstanceProfileName=f"neurology-{region}", Tags=tag)
    found = gather("neurology", kinds=["iam_role", "instance_profile"], region="eu-west-3")
    names = ["neurology-eu-west-3", "neurology-eu-west-3-flow-logs", "neurology-eu-west-3"]
    assert [one["name"] for one in found] == names


def test_a_role_of_that_name_without_the_tag_is_somebody_elses():
    boto3.client("iam").create_role(RoleName=f"cardiology-{REGION}", AssumeRolePolicyDocument="{}")
    boto3.client("iam").create_instance_profile(InstanceProfileName=f"cardiology-{REGION}")
    assert gather("cardiology") == []


def test_what_has_such_a_name_without_the_tag_is_somebody_elses():
    ec2, rds = boto3.client("ec2", REGION), boto3.client("rds", REGION)
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"] if one["DefaultForAz"]]
    rds.create_db_subnet_group(DBSubnetGroupName="oncology", DBSubnetGroupDescription="theirs", SubnetIds=subnets)
    rds.create_db_parameter_group(
        DBParameterGroupName="oncology-postgres17", DBParameterGroupFamily="postgres17", Description="theirs"
    )
    boto3.client("logs").create_log_group(logGroupName="oncology-flow-logs")
    assert gather("oncology") == []


def test_only_the_kinds_that_were_asked_for():
    with recorded_calls() as calls:
        found = gather(kinds=["instance", "db_instance"])
    assert [resource["kind"] for resource in found] == ["instance", "db_instance"]
    assert calls == ["ec2:DescribeInstances", "rds:DescribeDBInstances"]


def test_what_is_terminated_is_left_out():
    ec2 = boto3.client("ec2", REGION)
    vpc = ec2.create_vpc(CidrBlock="10.78.0.0/16")["Vpc"]["VpcId"]
    ec2.create_vpc_endpoint(
        VpcId=vpc,
        VpcEndpointType="Gateway",
        ServiceName=f"com.amazonaws.{REGION}.s3",
        TagSpecifications=tags("vpc-endpoint", "gone"),
    )
    image = ec2.describe_images()["Images"][0]["ImageId"]
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags("instance", "gone"))
    instance, endpoint = (found["id"] for found in gather("gone", kinds=["vpc_endpoint", "instance"])[::-1])
    ec2.stop_instances(InstanceIds=[instance])
    assert [found["state"] for found in gather("gone")] == ["available", "stopped"]
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    assert gather("gone") == []


def test_calls_only_read_and_are_as_many_with_many_resources():
    with recorded_calls() as few:
        assert len(gather("radiology")) < 25
    with recorded_calls() as many:
        assert len(gather("radiology-2", check=True)) > 50
    assert few == many
    assert len(few) == 24
    assert {call.partition(":")[2][:3] for call in few} == {"Des", "Get", "Lis"}
    documented = " ".join(DOCUMENTATION["notes"])
    assert set(few) == {word.strip("C().,;") for word in documented.split() if word.startswith("C(")}


@pytest.mark.parametrize("operation", ["DescribeSubnets", "DescribeKey", "GetRole", "DescribeDBSubnetGroups"])
def test_a_denied_call_fails_with_its_name(operation):
    with failing(operation, "AccessDenied"):
        result = run_module("aws_resource_info", environment="radiology")
    assert result["failed"]
    assert result["msg"] == (
        "Cannot list the AWS resources of radiology: An error occurred (AccessDenied) when calling the "
        f"{operation} operation: AccessDenied (test)"
    )
    assert "resources" not in result


@pytest.mark.parametrize("operation", ["DescribeVpcs", "DescribeAddresses", "GetInstanceProfile"])
def test_throttling_is_waited_for(operation):
    with failing(operation, "Throttling", times=3):
        assert len(gather()) > 15


def test_pages_are_put_together():
    ec2 = boto3.client("ec2", REGION)
    subnet: dict[str, Any] = {
        "VpcId": "vpc-1",
        "State": "available",
        "CidrBlock": "10.0.0.0/24",
        "AvailabilityZone": "",
    }
    subnet["MapPublicIpOnLaunch"] = False
    filters = {"Filters": [{"Name": "tag:lightbox:environment", "Values": ["radiology"]}]}
    pages = [{"Subnets": [subnet | {"SubnetId": f"subnet-{number}"}]} for number in range(3)]
    with Stubber(ec2) as stub, mock.patch.object(aws_resource_info.AwsModule, "client", return_value=ec2):
        for number, page in enumerate(pages):
            token = {"NextToken": str(number)} if number < 2 else {}
            asked = {"NextToken": ANY} if number else {}
            stub.add_response("describe_subnets", page | token, filters | asked)
        found = gather(kinds=["subnet"])
        stub.assert_no_pending_responses()
    assert [resource["id"] for resource in found] == ["subnet-0", "subnet-1", "subnet-2"]


def test_a_database_that_is_being_made_has_no_endpoint():
    rds = boto3.client("rds", REGION)
    answer = {
        "DBInstanceIdentifier": "radiology",
        "DBInstanceArn": "arn:aws:rds:eu-central-1:123456789012:db:radiology",
        "DBInstanceStatus": "creating",
        "DBInstanceClass": "db.t4g.medium",
        "AllocatedStorage": 50,
        "StorageEncrypted": True,
        "EngineVersion": "17.4",
        "MultiAZ": False,
        "PubliclyAccessible": False,
        "DeletionProtection": True,
        "TagList": [{"Key": "lightbox:environment", "Value": "radiology"}],
    }
    with Stubber(rds) as stub, mock.patch.object(aws_resource_info.AwsModule, "client", return_value=rds):
        stub.add_response("describe_db_instances", {"DBInstances": [answer]}, {})
        found = gather(kinds=["db_instance"])[0]
    assert (found["state"], found["endpoint"], found["port"]) == ("creating", "", None)
    assert (found["secret_arn"], found["zone"]) == ("", "")


def test_a_key_that_an_interrupted_run_left_without_alias_is_found_by_its_tag():
    """CreateKey and CreateAlias are two calls."""
    kms = boto3.client("kms", REGION)
    tag = [{"TagKey": "lightbox:environment", "TagValue": "urology"}]
    left = kms.create_key(Tags=tag)["KeyMetadata"]["Arn"]
    deleted = kms.create_key(Tags=tag)["KeyMetadata"]["KeyId"]
    kms.schedule_key_deletion(KeyId=deleted)
    kms.create_key(Tags=[{"TagKey": "lightbox:environment", "TagValue": "urology-2"}])
    (found,) = gather("urology", kinds=["kms_key"])
    assert (found["arn"], found["name"]) == (left, "alias/urology")
    kms.create_alias(AliasName="alias/urology", TargetKeyId=left)
    with recorded_calls() as calls:
        (found,) = gather("urology", kinds=["kms_key"])
    assert found["arn"] == left
    assert found["tags"] == {"lightbox:environment": "urology"}
    assert calls == ["kms:DescribeKey", "kms:ListResourceTags"]


def test_the_tags_of_a_key_with_the_name_show_whose_it_is():
    kms = boto3.client("kms", REGION)
    key = kms.create_key(Tags=[{"TagKey": "owner", "TagValue": "them"}])["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/dermatology", TargetKeyId=key)
    (found,) = gather("dermatology", kinds=["kms_key"])
    assert (found["id"], found["tags"]) == (key, {"owner": "them"})


def test_a_key_that_refuses_is_somebody_elses():
    kms = boto3.client("kms", REGION)
    keys = {"Keys": [{"KeyId": "theirs", "KeyArn": "arn:aws:kms:eu-central-1:123456789012:key/theirs"}]}
    with Stubber(kms) as stub, mock.patch.object(aws_resource_info.AwsModule, "client", return_value=kms):
        stub.add_client_error("describe_key", "NotFoundException")
        stub.add_response("list_keys", keys)
        stub.add_client_error("list_resource_tags", "AccessDeniedException")
        assert gather(kinds=["kms_key"]) == []


@pytest.mark.parametrize("code", ["NotFoundException", "AccessDeniedException"])
def test_only_a_missing_key_is_none(code):
    kms = boto3.client("kms", REGION)
    with Stubber(kms) as stub, mock.patch.object(aws_resource_info.AwsModule, "client", return_value=kms):
        stub.add_client_error("describe_key", code)
        stub.add_response("list_keys", {"Keys": []})
        result = run_module("aws_resource_info", environment="radiology", kinds=["kms_key"])
    assert result.get("failed", False) is (code != "NotFoundException")


def test_without_credentials(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    result = run_module("aws_resource_info", environment="radiology", kinds=["vpc"])
    assert result["failed"]
    assert result["msg"] == "Cannot list the AWS resources of radiology: Unable to locate credentials"
