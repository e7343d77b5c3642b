# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an error of AWS means for the person who ran the playbook, and what to do about it."""

from __future__ import annotations

import functools
import re
import typing as t

PAGE = "docs/aws-permissions.md"

# Services whose operations the collection calls: botocore's name, which is IAM's prefix, too.
SERVICES = (
    "ec2",
    "rds",
    "kms",
    "iam",
    "secretsmanager",
    "logs",
    "sts",
    "s3",
    "route53",
    "cloudwatch",
    "ssm",
    "service-quotas",
)
SERVICE_OF_MODULE = {"aws_caller": "sts", "cloudwatchlogs": "logs"}  # where the name does not begin with the service's

# Operations whose permission has another name.
PERMISSIONS = {
    "HeadBucket": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjects": "ListBucket",
    "HeadObject": "GetObject",
}

DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "AuthorizationErrorException",
    "NotAuthorized",
    "UnauthorizedOperation",
)

EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "UnauthorizedSSOTokenError")

CREDENTIALS = (
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "PartialCredentialsError",
    "NoCredentialsError",
    "ProfileNotFound",
    "UnrecognizedClientException",
)

CLOCK = ("RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed", "SignatureExpired")
SIGNATURE = ("InvalidSignatureException", "SignatureDoesNotMatch")

THROTTLED = (
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottledException",
    "ThrottlingException",
    "TooManyRequestsException",
)

_VCPUS = "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances, of Amazon EC2, which counts vCPUs"
# The name that Service Quotas shows.
QUOTAS = {
    "AddressLimitExceeded": "EC2-VPC Elastic IPs, of Amazon EC2",
    "DBInstanceQuotaExceeded": "DB instances, of Amazon RDS",
    "DBParameterGroupQuotaExceeded": "Parameter groups, of Amazon RDS",
    "DBSubnetGroupQuotaExceeded": "DB subnet groups, of Amazon RDS",
    "DBSubnetQuotaExceeded": "Subnets per DB subnet group, of Amazon RDS",
    "FlowLogsLimitExceeded": "flow logs per resource, of Amazon VPC",
    "InstanceLimitExceeded": _VCPUS,
    "InstanceQuotaExceeded": "DB instances, of Amazon RDS",
    "InternetGatewayLimitExceeded": "Internet gateways per Region, of Amazon VPC",
    "LimitExceeded": "Roles per account or Instance profiles per account, of IAM",
    "LimitExceededException": "Customer Master Keys (CMKs), of AWS KMS, or Log groups, of Amazon CloudWatch Logs",
    "NetworkInterfaceLimitExceeded": "Network interfaces per Region, of Amazon VPC",
    "ResourceLimitExceeded": "the one that the message names",
    "RouteLimitExceeded": "Routes per route table, of Amazon VPC",
    "RouteTableLimitExceeded": "Route tables per VPC, of Amazon VPC",
    "RulesPerSecurityGroupLimitExceeded": "Inbound or outbound rules per security group, of Amazon VPC",
    "SecurityGroupLimitExceeded": "VPC security groups per Region, of Amazon VPC",
    "SecurityGroupsPerInstanceLimitExceeded": "Security groups per network interface, of Amazon VPC",
    "SecurityGroupsPerInterfaceLimitExceeded": "Security groups per network interface, of Amazon VPC",
    "SnapshotQuotaExceeded": "Manual DB instance snapshots, of Amazon RDS",
    "StorageQuotaExceeded": "Total storage for all DB instances, of Amazon RDS",
    "SubnetLimitExceeded": "Subnets per VPC, of Amazon VPC",
    "VcpuLimitExceeded": _VCPUS,
    "VolumeLimitExceeded": "Storage for General Purpose SSD (gp3) volumes, in TiB, of Amazon EBS",
    "VpcEndpointLimitExceeded": "Gateway VPC endpoints per Region, of Amazon VPC",
    "VpcLimitExceeded": "VPCs per Region, of Amazon VPC",
}

_HOST_TYPE = (
    "Set aws_host_instance_type to another type, or aws_network_zones to other zones of the region before the first run"
)
_DATABASE_CLASS = "Set aws_database_instance_class to another class"
CAPACITY = {
    "InsufficientAddressCapacity": "",
    "InsufficientCapacity": "",
    "InsufficientDBInstanceCapacity": f"{_DATABASE_CLASS} if that does not help.",
    "InsufficientInstanceCapacity": f"{_HOST_TYPE} if that does not help.",
    "InsufficientVolumeCapacity": "",
}

# What the zone or the region does not offer.
NOT_OFFERED = {
    "DBInstanceClassNotSupported": f"The region does not offer this class of database. {_DATABASE_CLASS}.",
    "InvalidInstanceType": f"This type of server does not exist. {_HOST_TYPE}.",
    "Unsupported": f"The zone does not offer this type of server. {_HOST_TYPE}.",
    "UnsupportedOperation": f"The zone or the region does not offer this. {_HOST_TYPE}.",
}

# A value that AWS does not accept, and the variable that it is set by.
_SUBNETS = "aws_network_public_subnet_ids and aws_network_private_subnet_ids"
_VOLUME_CHANGED = "AWS allows one change of a volume in six hours. Run the playbook again later."
_KEY = "Set aws_kms_key_id to the ARN of a key that exists and is enabled in aws_region, or to '' for an own key."
VALUES = {
    "CertificateNotFound": "Set aws_database_ca_identifier to a certificate authority that the region offers.",
    "DBSubnetGroupDoesNotCoverEnoughAZs": (
        f"The database needs private subnets in two zones. Set aws_network_zones, or {_SUBNETS}, to at least two zones."
    ),
    "DependencyViolation": (
        "Something that this collection did not make uses it. Remove that first; the message names the resource."
    ),
    "DisabledException": _KEY,
    "IncorrectState": "It is being changed. Run the playbook again in a few minutes.",
    "FreeTierRestrictionError": (
        "The account is on AWS's free plan, which does not allow this. Upgrade the plan in the billing console."
    ),
    "IncorrectModificationState": _VOLUME_CHANGED,
    "InvalidAMIID.Malformed": "Set aws_host_image_id to an image of aws_region, or to '' to have the newest one found.",
    "InvalidAMIID.NotFound": "Set aws_host_image_id to an image of aws_region, or to '' to have the newest one found.",
    "InvalidAMIID.Unavailable": (
        "Set aws_host_image_id to an image of aws_region, or to '' to have the newest one found."
    ),
    "InvalidAllocationID.NotFound": "The Elastic IP was released meanwhile. Run the playbook again.",
    "InvalidDBInstanceState": "The database is being changed. Run the playbook again when its status is available.",
    "InvalidGroup.NotFound": "The security group was removed meanwhile. Run the playbook again.",
    "InvalidIPAddress.InUse": "Set aws_host_private_address to an address that is free in its subnet, or to ''.",
    "InvalidInstanceID.NotFound": "The server was removed meanwhile. Run the playbook again.",
    "InvalidKey.Format": "Set aws_host_public_key to the path of a public key of OpenSSH, of type ed25519 or RSA.",
    "InvalidKeyPair.NotFound": (
        "The key pair was removed meanwhile. Run the playbook again; it is made from aws_host_public_key."
    ),
    "InvalidKmsKeyId": _KEY,
    "InvalidParameterValue.KmsKeyId": _KEY,
    "InvalidSubnet.Conflict": (
        "The networks of the subnets overlap. Set aws_network_cidr to a network that nothing in the VPC uses."
    ),
    "InvalidSubnetID.NotFound": f"Set {_SUBNETS} to subnets of aws_network_vpc_id in aws_region.",
    "InvalidSubnet.Range": "Set aws_network_cidr to a network of /16 to /25.",
    "InvalidVPCNetworkState": f"The database needs private subnets in two zones. Set {_SUBNETS} to such, in one VPC.",
    "InvalidVolume.NotFound": "Set aws_host_data_volume_id to a volume of aws_region, or to ''.",
    "InvalidVolume.ZoneMismatch": (
        "The data volume is in another zone than the server. Set aws_host_data_volume_id to a volume in the zone "
        "of the server's subnet."
    ),
    "InvalidVolumeID.Malformed": "Set aws_host_data_volume_id to the id of a volume (vol-…), or to ''.",
    "InvalidVpc.Range": "Set aws_network_cidr to a network of /16 to /25.",
    "InvalidVpcID.NotFound": "Set aws_network_vpc_id to a VPC of aws_region, or to '' to have one made.",
    "InvalidVpcId.Malformed": "Set aws_network_vpc_id to the id of a VPC (vpc-…), or to '' to have one made.",
    "KMSInvalidStateException": _KEY,
    "KMSKeyNotAccessible": _KEY,
    "NoSuchHostedZone": "Set aws_host_route53_zone to a zone of this account, or to ''.",
    "NotFoundException": _KEY,
    "PendingVerification": (
        "AWS still verifies the account for this region, which may take four hours. Run the playbook again later."
    ),
    "VolumeInUse": (
        "The data volume is attached to another server. Detach it, or set aws_host_data_volume_id to another one."
    ),
    "VolumeModificationRateExceeded": _VOLUME_CHANGED,
}

REGION = ("OptInRequired", "SubscriptionRequiredException")

LOG_IN = "The credentials have expired. Log in again (for example by `aws sso login`) and run the playbook again."
SET_CREDENTIALS = (
    "Set the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for "
    "temporary ones),"
    " or AWS_PROFILE to a profile of ~/.aws/config; `aws sts get-caller-identity` shows whether they work."
)
# Texts of errors that have no code: what botocore and Ansible report themselves.
TEXTS = (
    (
        re.compile(r"required Python library \([^)]*boto"),
        "boto3 is not installed for the Python that runs Ansible. Install it: pip install -c constraints.txt -r "
        "requirements-aws.txt.",
    ),
    (
        re.compile(r"Failed to access secret \S+ \(AccessDenied\)"),
        "AWS refused secretsmanager:GetSecretValue. The credentials do not have this permission. Add it to their"
        f" policy; {PAGE} lists every permission that is needed.",
    ),
    (
        re.compile(
            r"Unable to locate credentials|Partial credentials found"
            r"|The config profile \(.*\) could not be found"
        ),
        f"There are no complete credentials. {SET_CREDENTIALS}",
    ),
    (
        re.compile(r"Passing both a profile and access tokens"),
        "AWS_PROFILE and AWS_ACCESS_KEY_ID are both set. Unset one of them.",
    ),
    (re.compile(r"SSO session|Token has expired|token from sso|Token for \S+ does not exist"), LOG_IN),
    (
        re.compile(
            r"Could not connect to the endpoint URL|[Tt]imeout on endpoint URL|Invalid endpoint|requires a region"
        ),
        "AWS cannot be reached. Set aws_region to a region that exists, for example eu-central-1, and check that "
        "this machine can connect to the internet on port 443, or its proxy (HTTPS_PROXY).",
    ),
    (
        re.compile(r"SSL validation failed|CERTIFICATE_VERIFY_FAILED"),
        "The certificate of AWS's endpoint is not trusted. Set AWS_CA_BUNDLE to the file with the CA of the proxy "
        "that inspects TLS.",
    ),
    (
        re.compile(r"Waiter \w+ failed|Max attempts exceeded|Timeout trying to"),
        "It was not ready in time. Run the playbook again: it goes on where it ended.",
    ),
)
OWN_MESSAGES = ("ansible.builtin.assert", "ansible.builtin.fail", "lightbox.pacs.validate_input")

_OCCURRED = re.compile(
    r"An error occurred \(([\w.]*)\) when calling the (\w+) operation(?: \(reached max retries: \d+\))?: ?(.*)"
)
_NAMED = re.compile(r"authorized to perform:? \[?'?([a-z0-9-]+:[A-Za-z0-9]+)")
_WHO = re.compile(r"(arn:aws[\w-]*:(?:iam|sts)::\d*:[^\s]+) is not authorized")
_XML = re.compile(r"<Code>([\w.]+)</Code>.*?<Message>(.*?)</Message>", re.S)
_HIDDEN = re.compile(r"Failed to ([a-z]+(?: [A-Za-z]+)+)\s*\Z")
_CREATED_VOLUME = re.compile(r"creating EBS volume")


class AwsError(t.NamedTuple):
    """AWS's answer: `action` is `service:Operation`, '' where it is not shown; `hidden`: the answer itself is not."""

    code: str
    message: str
    action: str
    hidden: bool = False


def module_service(module: str) -> str:
    """Return the service that a module is about, '' where its name does not show it."""
    name = module.rpartition(".")[2]
    for prefix, service in [*SERVICE_OF_MODULE.items(), *((service, service) for service in SERVICES)]:
        if name.startswith(prefix):
            return service
    return ""


@functools.cache
def find_operations(service: str) -> dict[str, str]:
    """Return the names of a service's operations by their names in lower case; none without botocore."""
    try:
        from botocore.loaders import Loader
    except ImportError:
        return {}
    return {name.lower(): name for name in Loader().load_service_model(service, "service-2")["operations"]}


def find_action(operation: str, module: str = "") -> str:
    """Return `service:Operation` for an operation in any case of its letters, or as it is where no service has it."""
    own = module_service(module)
    for service in sorted(SERVICES, key=lambda service: service != own):
        if name := find_operations(service).get(operation.lower()):
            return f"{service}:{PERMISSIONS.get(name, name) if service == 's3' else name}"
    return operation


def parse_error(result: t.Mapping[str, t.Any], module: str = "") -> AwsError | None:
    """Return what a failed result has of AWS's answer; None where it is not one of AWS's."""
    # Some modules end with a traceback only; others have one where ANSIBLE_DISPLAY_TRACEBACK is set.
    text = "\n".join(str(result.get(key) or "") for key in ("msg", "exception", "module_stderr"))
    occurred = _OCCURRED.search(text)
    error: dict[str, t.Any] = result.get("error") or {}
    code, message, operation = str(error.get("code") or ""), str(error.get("message") or ""), ""
    if occurred:
        code, operation, message = code or occurred[1], occurred[2], message or occurred[3]
    if xml := _XML.search(message):
        code, message = xml[1], xml[2]
    if named := _NAMED.search(message):
        return AwsError(code, message, named[1])
    if occurred or error:
        return AwsError(code, message, find_action(operation, module) if operation else "")
    hidden = _HIDDEN.search(str(result.get("msg") or ""))
    if hidden and "boto3_version" in result:
        words = "create volume" if _CREATED_VOLUME.search(text) else hidden[1]
        return AwsError("", "", find_action(words.replace(" ", ""), module), hidden=True)
    return None


def _clock(result: t.Mapping[str, t.Any]) -> str:
    headers = (result.get("response_metadata") or {}).get("http_headers") or {}
    return f" AWS's clock showed {headers['date']}." if "date" in headers else ""


def _advise_denied(error: AwsError) -> str:
    who = _WHO.search(error.message)
    advice = (
        f"The credentials{f' ({who[1]})' if who else ''} do not have this permission. Add it to their policy; "
        f"{PAGE} lists"
        " every permission that is needed."
    )
    if "explicit deny" in error.message:
        advice += " A policy denies it explicitly, perhaps one of the organization: that one has to change."
    if "ncoded authorization failure message" in error.message:
        advice += (
            " AWS encoded the details at the end of its answer. Decode them: aws sts decode-authorization-message"
            " --encoded-message <that text>."
        )
    return advice


def _is_clock(error: AwsError) -> bool:
    return error.code in CLOCK or (
        error.code in SIGNATURE and bool(re.search(r"Signature (expired|not yet current)|skew", error.message))
    )


def advise(error: AwsError, result: t.Mapping[str, t.Any]) -> str:
    """Return what an error's code means and what to do, '' for a code that is not listed here."""
    code = re.sub(r"(^Client\.|Fault$)", "", error.code)
    if code in DENIED or (code in ("403", "") and error.message in ("Forbidden", "Access Denied")):
        return _advise_denied(error)
    if code in EXPIRED:
        return LOG_IN
    if _is_clock(error):
        return f"This machine's clock is wrong. Set it, for example by `timedatectl set-ntp true`.{_clock(result)}"
    if code in CREDENTIALS or code in SIGNATURE:
        return (
            "The credentials are wrong or were deleted, or the region aws_region is not enabled in the account, or this"
            f" machine's clock is wrong.{_clock(result)} {SET_CREDENTIALS}"
        )
    if code in THROTTLED:
        return (
            "It limited the rate of requests, and several attempts did not help. Run the playbook again in a few "
            "minutes:"
            " it goes on where it ended."
        )
    if code in QUOTAS:
        return (
            f"The account has reached a quota: {QUOTAS[code]}. Request an increase in the console of Service "
            "Quotas, for the"
            " region aws_region, or remove what is not used."
        )
    if code in CAPACITY:
        return f"It has no capacity for this at the moment. Run the playbook again later. {CAPACITY[code]}".rstrip()
    if code in REGION:
        return (
            "The region is not enabled in the account, or the account's registration is not complete. Enable it on the"
            " account's page in the console, or set aws_region to another region."
        )
    if "Cannot find version" in error.message:
        return "Set aws_database_engine_version to a version of PostgreSQL that the region offers."
    if "not eligible for Free Tier" in error.message:
        return VALUES["FreeTierRestrictionError"]
    if "combination: DBInstanceClass" in error.message:
        return NOT_OFFERED["DBInstanceClassNotSupported"]
    return NOT_OFFERED.get(code) or VALUES.get(code) or ""


def explain_result(result: t.Mapping[str, t.Any], task: str, module: str = "") -> str:
    """Return one message for one failed result, that of a loop's item included."""
    msg = result.get("msg") or ""
    msg = "\n".join(map(str, msg)) if isinstance(msg, list) else str(msg)
    msg = msg.removeprefix("Task failed: ").removeprefix("Module failed: ")
    failed = f'The task "{task}" failed'
    error = parse_error(result, module)
    if error and error.hidden:
        return (
            f"{failed} when it called {error.action}: {msg}. The module does not report AWS's answer. Run the "
            "playbook again"
            f" with ANSIBLE_DISPLAY_TRACEBACK=error to see it. Where the permission {error.action} is missing, add "
            "it to the"
            f" policy of the credentials; {PAGE} lists every permission that is needed."
        )
    if error and (advice := advise(error, result)):
        return (
            f"{failed}: AWS refused {error.action or 'the request'}. {advice} AWS's answer: {error.code}: "
            f"{error.message}"
        )
    text = "\n".join(str(result.get(key) or "") for key in ("msg", "exception", "module_stderr"))
    if advice := next((advice for pattern, advice in TEXTS if pattern.search(text)), ""):
        return f"{failed}: {advice} The error: {msg}"
    is_own = module in OWN_MESSAGES or (not module and "boto3_version" not in result)
    return msg if is_own else f"{failed}: {msg}"


def explain_aws_error(result: t.Mapping[str, t.Any], task: str, module: str = "") -> str:
    """Return one message for a failed task of Ansible: one line for each kind of error, where the task has a loop."""
    items: list[t.Mapping[str, t.Any]]
    items = [item for item in result.get("results") or [] if isinstance(item, dict) and item.get("failed")]
    return "\n".join(dict.fromkeys(explain_result(item, task, module) for item in items or [result]))
