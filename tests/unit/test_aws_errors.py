"""The filter explain_aws_error: what it makes of the errors that modules of amazon.aws and botocore report."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
from typing import Any
from unittest import mock

import boto3
import moto
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.lightbox.pacs.plugins.plugin_utils._aws_errors import explain_aws_error
from botocore import exceptions
from moto.core.responses import ActionAuthenticatorMixin

from tests.support.project import PROJECT, role_file

ARN = "arn:aws:iam::123456789012:user/someone"
DATE = "Mon, 30 Nov 2026 07:57:48 GMT"


class Reported(Exception):
    pass


class Reporter:
    """What fail_json_aws needs of a module."""

    def fail_json(self, **result: Any) -> None:
        raise Reported(result)

    def _gather_versions(self) -> dict[str, str]:
        return {"boto3_version": "1.40.0", "botocore_version": "1.40.0"}


def report(exception: Exception, msg: str | None = None) -> dict[str, Any]:
    """Return the result of a module that failed with one of botocore's exceptions."""
    try:
        AnsibleAWSModule.fail_json_aws(Reporter(), exception, msg)
    except Reported as reported:
        return reported.args[0] | {"failed": True, "exception": "(traceback unavailable)"}
    raise AssertionError


def refuse(code: str, operation: str = "RunInstances", message: str = "No.", **headers: str) -> dict[str, Any]:
    """Return the result of a module whose call was answered with an error."""
    metadata = {"HTTPHeaders": headers, "HTTPStatusCode": 400}
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
    return report(exceptions.ClientError(answer, operation), "Failed to do it")


# Code, operation, AWS's message, and what the person reads.
CODES = [
    (
        "UnauthorizedOperation",
        "RunInstances",
        "You are not authorized to perform this operation.",
        "do not have this permission",
    ),
    (
        "AccessDenied",
        "CreateDBInstance",
        f"User: {ARN} is not authorized to perform: rds:CreateDBInstance",
        f"({ARN}) do not have",
    ),
    ("AccessDenied", "CreateBucket", "Access Denied", "do not have this permission"),
    ("AccessDeniedException", "CreateKey", "No.", "do not have this permission"),
    ("AuthorizationError", "CreateKey", "No.", "do not have this permission"),
    ("KMSKeyNotAccessibleFault", "CreateDBInstance", "No.", "Set aws_kms_key_id"),
    ("403", "HeadBucket", "Forbidden", "do not have this permission"),
    (
        "ExpiredToken",
        "DescribeVpcs",
        "The security token included in the request is expired",
        "have expired. Log in again",
    ),
    ("ExpiredTokenException", "GetCallerIdentity", "expired", "have expired. Log in again"),
    ("InvalidClientTokenId", "GetCallerIdentity", "The security token is invalid.", "AWS_ACCESS_KEY_ID"),
    ("AuthFailure", "DescribeVpcs", "AWS was not able to validate the credentials", "AWS_PROFILE"),
    ("UnrecognizedClientException", "DescribeKey", "The security token is invalid.", "AWS_ACCESS_KEY_ID"),
    (
        "SignatureDoesNotMatch",
        "GetCallerIdentity",
        "The request signature we calculated does not match",
        "AWS_ACCESS_KEY_ID",
    ),
    (
        "SignatureDoesNotMatch",
        "GetCallerIdentity",
        "Signature not yet current: 20261130T0857Z is still later",
        "clock is wrong",
    ),
    ("InvalidSignatureException", "DescribeKey", "Signature expired: 20261130T0657Z is now earlier", "clock is wrong"),
    ("RequestExpired", "DescribeVpcs", "Request has expired.", "clock is wrong"),
    ("RequestTimeTooSkewed", "CreateBucket", "The difference is too large.", "clock is wrong"),
    ("SignatureExpired", "DescribeVpcs", "No.", "clock is wrong"),
    ("Throttling", "CreateDBInstance", "Rate exceeded", "Run the playbook again in a few minutes"),
    ("ThrottlingException", "CreateKey", "Rate exceeded", "Run the playbook again in a few minutes"),
    ("RequestLimitExceeded", "RunInstances", "Request limit exceeded.", "Run the playbook again in a few minutes"),
    ("VpcLimitExceeded", "CreateVpc", "The maximum number of VPCs has been reached.", "quota: VPCs per Region"),
    ("AddressLimitExceeded", "AllocateAddress", "The maximum number", "quota: EC2-VPC Elastic IPs"),
    ("VcpuLimitExceeded", "RunInstances", "You have requested more vCPU capacity", "quota: Running On-Demand Standard"),
    ("InstanceLimitExceeded", "RunInstances", "You have requested more", "quota: Running On-Demand Standard"),
    ("InstanceQuotaExceeded", "CreateDBInstance", "No.", "quota: DB instances"),
    ("InstanceQuotaExceededFault", "CreateDBInstance", "No.", "quota: DB instances"),
    ("StorageQuotaExceeded", "CreateDBInstance", "No.", "quota: Total storage for all DB instances"),
    ("RulesPerSecurityGroupLimitExceeded", "AuthorizeSecurityGroupIngress", "No.", "quota: Inbound or outbound rules"),
    ("InsufficientInstanceCapacity", "RunInstances", "We do not have capacity", "Set aws_host_instance_type"),
    ("InsufficientDBInstanceCapacity", "CreateDBInstance", "No.", "Set aws_database_instance_class"),
    ("InsufficientDBInstanceCapacityFault", "CreateDBInstance", "No.", "Set aws_database_instance_class"),
    ("OptInRequired", "RunInstances", "You are not subscribed to this service.", "set aws_region to another region"),
    (
        "Unsupported",
        "RunInstances",
        "Your requested instance type is not supported in your zone",
        "Set aws_host_instance_type",
    ),
    (
        "InvalidParameterCombination",
        "CreateDBInstance",
        "Cannot find version 99 for postgres",
        "Set aws_database_engine_version",
    ),
    (
        "InvalidParameterCombination",
        "CreateDBInstance",
        "RDS does not support creating a DB instance with the following combination: DBInstanceClass=db.x",
        "Set aws_database_instance_class",
    ),
    ("InvalidVpcID.NotFound", "CreateSubnet", "The vpc ID 'vpc-1' does not exist", "Set aws_network_vpc_id"),
    ("InvalidSubnetID.NotFound", "RunInstances", "No.", "Set aws_network_public_subnet_ids"),
    ("InvalidAMIID.NotFound", "RunInstances", "No.", "Set aws_host_image_id"),
    (
        "InvalidParameterCombination",
        "RunInstances",
        "The specified instance type is not eligible for Free Tier.",
        "Upgrade the plan",
    ),
    ("PendingVerification", "RunInstances", "Your request for accessing resources", "Run the playbook again later."),
    ("FreeTierRestrictionError", "CreateDBInstance", "The specified backup retention period", "Upgrade the plan"),
    (
        "VolumeModificationRateExceeded",
        "ModifyVolume",
        "You've reached the maximum",
        "one change of a volume in six hours",
    ),
    ("IncorrectModificationState", "ModifyVolume", "is in modification state OPTIMIZING", "in six hours"),
    ("InvalidVolume.NotFound", "AttachVolume", "No.", "Set aws_host_data_volume_id"),
    ("InvalidIPAddress.InUse", "RunInstances", "No.", "Set aws_host_private_address"),
    ("InvalidKey.Format", "ImportKeyPair", "No.", "Set aws_host_public_key"),
    ("NoSuchHostedZone", "ChangeResourceRecordSets", "No.", "Set aws_host_route53_zone"),
]


@pytest.mark.parametrize(("code", "operation", "message", "expected"), CODES)
def test_codes(code, operation, message, expected):
    services = {
        "GetCallerIdentity": "sts",
        "CreateKey": "kms",
        "DescribeKey": "kms",
        "ChangeResourceRecordSets": "route53",
    }
    service = services.get(operation, "rds" if "DB" in operation else "s3" if "Bucket" in operation else "ec2")
    action = f"{service}:{operation}".replace("HeadBucket", "ListBucket")
    text = explain_aws_error(refuse(code, operation, message), "Build it")
    assert text.startswith(f'The task "Build it" failed: AWS refused {action}. ')
    assert text.endswith(f" AWS's answer: {code}: {message}")
    assert expected in text
    # A page on permissions helps with permissions only.
    assert ("docs/aws-permissions.md" in text) is ("do not have this permission" in text or ARN in text)


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        (exceptions.NoCredentialsError(), "There are no complete credentials. Set the environment variables"),
        (
            exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
            "no complete credentials",
        ),
        (exceptions.ProfileNotFound(profile="hospital"), "The config profile (hospital) could not be found"),
        (exceptions.UnauthorizedSSOTokenError(), "Log in again"),
        (
            exceptions.TokenRetrievalError(provider="sso", error_msg="Token has expired and refresh failed"),
            "Log in again",
        ),
        (exceptions.EndpointConnectionError(endpoint_url="https://ec2.eu-centrl-1.amazonaws.com/"), "Set aws_region"),
        (exceptions.ConnectTimeoutError(endpoint_url="https://ec2.eu-central-1.amazonaws.com/"), "HTTPS_PROXY"),
        (exceptions.NoRegionError(), "You must specify a region."),
        (
            exceptions.SSLError(
                endpoint_url="https://ec2.amazonaws.com", error=ValueError("CERTIFICATE_VERIFY_FAILED")
            ),
            "Set AWS_CA_BUNDLE",
        ),
        (exceptions.WaiterError("DBInstanceAvailable", "Max attempts exceeded", {}), "Run the playbook again"),
    ],
)
def test_errors_without_an_answer(exception, expected):
    text = explain_aws_error(report(exception, "Failed to describe VPCs"), "Build it")
    assert text.startswith('The task "Build it" failed: ')
    assert expected in text
    assert str(exception) in text


def test_details_that_aws_encoded():
    message = (
        f"You are not authorized to perform this operation. User: {ARN} is not authorized to perform: iam:PassRole on"
        " resource: arn:aws:iam::123456789012:role/pacs with an explicit deny in a service control policy. Encoded"
        " authorization failure message: AbC123"
    )
    text = explain_aws_error(refuse("UnauthorizedOperation", message=message), "Run the server")
    assert "AWS refused iam:PassRole" in text
    assert "aws sts decode-authorization-message" in text
    assert "denies it explicitly" in text


def test_the_clock_of_aws_is_shown():
    assert DATE in explain_aws_error(refuse("RequestExpired", "DescribeVpcs", date=DATE), "Build it")


def test_an_operation_of_many_services_is_the_modules_own():
    denied = refuse("AccessDenied", "ListTagsForResource", "Access Denied")
    assert "refused route53:ListTagsForResource" in explain_aws_error(denied, "Name it", "amazon.aws.route53_zone")
    assert "refused rds:ListTagsForResource" in explain_aws_error(denied, "Name it", "lightbox.pacs.rds_database")
    assert "refused logs:ListTagsForResource" in explain_aws_error(
        denied, "Name it", "amazon.aws.cloudwatchlogs_log_group"
    )


def test_each_kind_of_error_in_a_loop_is_shown_once():
    failed = [
        refuse("VpcLimitExceeded", "CreateVpc"),
        refuse("VpcLimitExceeded", "CreateVpc"),
        refuse("Throttling", "CreateVpc"),
    ]
    loop = {"failed": True, "msg": "One or more items failed", "results": [*failed, {"changed": False, "msg": "done"}]}
    first, second = explain_aws_error(loop, "Build it").splitlines()
    assert "quota" in first
    assert "rate" in second


@pytest.mark.parametrize(
    ("result", "module", "expected"),
    [
        ({"msg": "aws_account_id is 1."}, "ansible.builtin.fail", "aws_account_id is 1."),
        ({"msg": ["a is 1.", "b is 2."]}, "lightbox.pacs.validate_input", "a is 1.\nb is 2."),
        ({"msg": "a is 1."}, "", "a is 1."),
        ({"msg": "Set size."}, "amazon.aws.ec2_vol", 'The task "Build it" failed: Set size.'),
        (
            refuse("SomethingNew"),
            "",
            'The task "Build it" failed: Failed to do it: An error occurred (SomethingNew) when',
        ),
    ],
)
def test_other_messages_stay_as_they_are(result, module, expected):
    text = explain_aws_error(result, "Build it", module)
    assert text == expected or (expected.endswith("when") and text.startswith(expected))


def test_what_a_module_did_not_catch():
    """Ansible puts these words before the message of an exception."""
    msg = "Task failed: Module failed: An error occurred (VpcLimitExceeded) when calling the CreateVpc operation: No."
    assert "AWS refused ec2:CreateVpc. The account" in explain_aws_error(
        {"msg": msg}, "Build it", "amazon.aws.ec2_vpc_net"
    )
    other = explain_aws_error({"msg": "Task failed: Module failed: Odd."}, "Build it", "amazon.aws.ec2_vpc_net")
    assert other == 'The task "Build it" failed: Odd.'


def test_a_secret_that_may_not_be_read():
    """What the lookup amazon.aws.secretsmanager_secret reports."""
    msg = "Failed to access secret arn:aws:secretsmanager:eu-central-1:1:secret:a (AccessDenied)"
    text = explain_aws_error({"msg": msg}, "Read the password", "amazon.aws.secretsmanager_secret")
    assert "AWS refused secretsmanager:GetSecretValue." in text
    assert "docs/aws-permissions.md" in text


def test_a_missing_boto3():
    """amazon.aws's own message where its modules find no boto3."""
    msg = "Failed to import the required Python library (botocore and boto3) on pacs's Python."
    text = explain_aws_error({"failed": True, "msg": msg}, "Query the account", "amazon.aws.aws_caller_info")
    assert "pip install -c constraints.txt -r requirements-aws.txt" in text


def run_module(module_name: str, /, **arguments: Any) -> dict[str, Any]:
    """Run a module of amazon.aws in this process and return its result."""
    printed, module = (
        io.StringIO(),
        importlib.import_module(f"ansible_collections.amazon.aws.plugins.modules.{module_name}"),
    )
    with patch_module_args(arguments), contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        module.main()
    return json.loads(printed.getvalue().strip().splitlines()[-1])


@pytest.fixture
def nobody():
    """An account of moto that enforces permissions, and credentials of a user who has none."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "eu-central-1"}
    with (
        mock.patch.dict(os.environ, others | keys | {"AWS_DEFAULT_REGION": "eu-central-1"}, clear=True),
        moto.mock_aws(),
    ):
        iam = boto3.client("iam")
        iam.create_user(UserName="nobody")
        key = iam.create_access_key(UserName="nobody")["AccessKey"]
        user = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        with (
            mock.patch.dict(os.environ, user),
            mock.patch.object(ActionAuthenticatorMixin, "request_count", 1),
            mock.patch("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0.0),
        ):
            yield


@pytest.mark.parametrize(
    ("module", "arguments", "action"),
    [
        ("ec2_vpc_net", {"name": "a", "cidr_block": "10.0.0.0/16"}, "ec2:DescribeVpcs"),
        ("ec2_vpc_subnet", {"vpc_id": "vpc-1", "cidr": "10.0.0.0/24"}, "ec2:DescribeSubnets"),
        ("ec2_security_group", {"name": "a", "description": "a"}, "ec2:DescribeSecurityGroups"),
        ("ec2_eip", {}, "ec2:AllocateAddress"),
        ("kms_key", {"alias": "a"}, "kms:DescribeKey"),
        ("iam_role", {"name": "a", "assume_role_policy_document": "{}"}, "iam:GetRole"),
        ("cloudwatchlogs_log_group", {"log_group_name": "a"}, "logs:DescribeLogGroups"),
        ("aws_az_info", {}, "ec2:DescribeAvailabilityZones"),
        ("s3_bucket", {"name": "images"}, "s3:ListBucket"),
        # These do not report AWS's answer.
        ("rds_instance_info", {"db_instance_identifier": "a"}, "rds:DescribeDBInstances"),
        ("ec2_vol", {"volume_size": 1, "zone": "eu-central-1a"}, "ec2:CreateVolume"),
        ("ec2_instance", {"name": "a", "image_id": "ami-1", "vpc_subnet_id": "subnet-1"}, "ec2:DescribeInstances"),
        ("ec2_security_group_info", {}, "ec2:DescribeSecurityGroups"),
    ],
)
def test_modules_of_amazon_aws_without_permission(nobody, module, arguments, action):
    text = explain_aws_error(run_module(module, **arguments), "Build it", f"amazon.aws.{module}")
    assert f"AWS refused {action}." in text or f"when it called {action}: " in text
    assert "docs/aws-permissions.md" in text


def test_an_answer_that_only_a_traceback_has():
    """What a module that ends with a traceback prints, and one with ANSIBLE_DISPLAY_TRACEBACK=error."""
    raised = "ClientError: An error occurred (VcpuLimitExceeded) when calling the RunInstances operation: No."
    msg = "Failed to create new EC2 instance: Failed to run instances"
    for result in (
        {
            "msg": "Module result deserialization failed: No start of json char found",
            "module_stderr": f"Trace\n{raised}\nmore",
        },
        {"msg": msg, "exception": f"Traceback\n{raised}\n\nmore", "boto3_version": "1"},
    ):
        assert "quota: Running On-Demand" in explain_aws_error(result, "Run it", "amazon.aws.ec2_instance")
    hidden = explain_aws_error({"msg": msg, "boto3_version": "1"}, "Run it", "amazon.aws.ec2_instance")
    assert "ec2:RunInstances" in hidden
    assert "ANSIBLE_DISPLAY_TRACEBACK=error" in hidden


def test_variables_and_pages_in_messages_exist():
    source = (PROJECT / "plugins/plugin_utils/_aws_errors.py").read_text()
    roles = [path.name for path in (PROJECT / "roles").glob("aws_*")]
    known = {"aws_region", "aws_kms_key_id"}
    for role in roles:
        known |= set(role_file(role, "defaults/main.yml")) | set(
            role_file(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
        )
    assert set(re.findall(r"\baws_(?!caller|errors)[a-z0-9_]+", source)) <= known
    assert all((PROJECT / page).exists() for page in re.findall(r"docs/[a-z-]+\.md|requirements-aws\.txt", source))
