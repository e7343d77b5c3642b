# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand in for AWS: moto over HTTPS, with what the tests need besides.

It answers what moto lacks, records every call in order, fails calls on request, and makes the lab's servers follow:
the private address of an EC2 instance is a lab server's, an RDS endpoint is the name of a lab server with a real
PostgreSQL.

A client's account is the last 12 characters of its access key's identifier. The lab follows the account ACCOUNT alone,
so a test that needs an empty account takes another one and leaves that one as it is.

Control, JSON over the same port; ?key=… limits it to the calls and the faults of one access key:
    GET    /lab/calls   [{"call": "ec2:RunInstances", "key": the access key's identifier, "parameters": {…},
                        "error": null or its code}, …]
    DELETE /lab/calls
    POST   /lab/faults  {"call": "ec2:RunInstances" or "*", "fault": a key of FAULTS, "times": 1, "each": false,
                        "key": null}; "each" counts every action by itself, so that {"call": "*", "each": true}
                        fails the first call of each; "key" leaves other clients alone
    DELETE /lab/faults
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import datetime
import functools
import json
import os
import pathlib
import secrets
import signal
import ssl
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import yaml

PROJECT = pathlib.Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
os.environ.setdefault("MOTO_AMIS_PATH", str(pathlib.Path(__file__).with_name("images.json")))

# ruff: noqa: E402 - moto reads MOTO_AMIS_PATH when it is imported
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.elastic_block_store import Volume
from moto.ec2.responses.general import General
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.rds.exceptions import RDSClientError
from moto.rds.models import DBInstance, DBParameterGroup, MasterUserSecret, RDSBackend, rds_backends
from moto.rds.responses import RDSResponse
from werkzeug.serving import make_server

USER = f"arn:aws:iam::{ACCOUNT}:user/lab"
# kind of fault: {services (the rest is under ""): (code, HTTP status)}, and the message.
FAULTS: dict[str, tuple[dict[str, tuple[str, int]], str]] = {
    "throttle": (
        {
            "ec2": ("RequestLimitExceeded", 503),
            "json": ("ThrottlingException", 400),
            "": ("Throttling", 400),
        },
        "Rate exceeded",
    ),
    "deny": (
        {
            "ec2": ("UnauthorizedOperation", 403),
            "json": ("AccessDeniedException", 400),
            "": ("AccessDenied", 403),
        },
        "User: {user} is not authorized to perform: {call} because no identity-based policy allows the {call} action",
    ),
    "expired": (
        {
            "ec2": ("RequestExpired", 400),
            "json": ("ExpiredTokenException", 400),
            "": ("ExpiredToken", 403),
        },
        "The security token included in the request is expired",
    ),
    "clock": (
        {
            "ec2": ("AuthFailure", 401),
            "json": ("InvalidSignatureException", 400),
            "": ("SignatureDoesNotMatch", 403),
        },
        "Signature expired: 20260101T000000Z is now earlier than 20260101T005500Z (20260101T010000Z - 5 min.)",
    ),
    "capacity": (
        {
            "ec2": ("InsufficientInstanceCapacity", 500),
            "": ("InsufficientDBInstanceCapacity", 400),
        },
        "We currently do not have sufficient capacity in the Availability Zone you requested.",
    ),
}
JSON_SERVICES = ("kms", "logs", "secretsmanager", "ssm")
READS = ("Describe", "Get", "List", "Lookup")


@dataclasses.dataclass
class Fault:
    call: str
    fault: str
    times: int = 1
    each: bool = False
    key: str | None = None
    seen: dict[str, int] = dataclasses.field(default_factory=dict)

    def applies(self, call: str, key: str) -> bool:
        """Count the call; true for the first `times` ones."""
        if self.call not in ("*", call) or self.key not in (None, key):
            return False
        key = call if self.each else ""
        self.seen[key] = self.seen.get(key, 0) + 1
        return self.seen[key] <= self.times


class FaultError(ServiceException):
    """An error of no service of moto's, so that moto writes it in the format of the service that was called."""


class Recorder:
    """What was called, and what is to fail."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls: list[dict[str, Any]] = []
        self.faults: list[Fault] = []

    def begin(self, call: str, key: str, parameters: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """Record a call; return its record, and the kind of fault that it is to fail with."""
        with self.lock:
            record = {"call": call, "key": key, "parameters": parameters, "error": None}
            self.calls.append(record)
            applying = [fault.fault for fault in self.faults if fault.applies(call, key)]
            return record, applying[0] if applying else None


RECORDER = Recorder()


def fault_of(kind: str, service: str, call: str) -> tuple[FaultError, int]:
    """The error that a service answers with, and its HTTP status."""
    codes, message = FAULTS[kind]
    code, status = codes.get(service) or codes.get("json" if service in JSON_SERVICES else "") or codes[""]
    return FaultError(code, message.format(user=USER, call=call)), status


def parameters_of(response: BaseResponse) -> dict[str, Any]:
    """The parameters of a call as they were sent."""
    if "Action" in response.querystring:
        return {name: values[0] for name, values in response.querystring.items() if name not in ("Action", "Version")}
    with contextlib.suppress(ValueError, TypeError):
        sent = json.loads(response.body)
        return sent if isinstance(sent, dict) else {}
    return {"": response.body if isinstance(response.body, str) else ""}


def error_code(body: Any) -> str:
    """The code in an answer that reports an error; "" where it has none."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    for start, end in (("<Code>", "</Code>"), ('"__type":"', '"'), ('"__type": "', '"')):
        if start in text:
            return text.split(start, 1)[1].split(end, 1)[0].rsplit("#", 1)[-1]
    return ""


def recorded(call_action: Callable[[BaseResponse], Any], lab: Lab | None) -> Callable[[BaseResponse], Any]:
    """Wrap moto's dispatch of one call."""

    def call(self: BaseResponse) -> Any:
        action = self._get_action() or "unknown"
        name = f"{self.service_name}:{action}"
        record, kind = RECORDER.begin(name, self.get_access_key(), parameters_of(self))
        if kind is not None:
            error, status = fault_of(kind, str(self.service_name), name)
            record["error"] = error.code
            _status, headers, body = self.serialized(ActionResult(error))
            return self._enrich(status, headers, body)
        try:
            answer = call_action(self)
        except NotImplementedError:
            record["error"] = "NotImplemented"
            raise
        if int(answer[0]) >= 400:
            record["error"] = error_code(answer[2]) or str(answer[0])
        elif lab is not None and self.current_account == ACCOUNT and not action.startswith(READS):
            lab.follow(str(self.service_name))
        return answer

    return call


# --- What moto lacks

# Major versions of PostgreSQL that RDS offers: minor ones (the default is the last but one), end of standard support.
# https://docs.aws.amazon.com/AmazonRDS/latest/PostgreSQLReleaseNotes/postgresql-release-calendar.html
VERSIONS = {
    "15": (["15.12", "15.13", "15.14"], "2028-02-29"),
    "16": (["16.8", "16.9", "16.10"], "2029-02-28"),
    "17": (["17.4", "17.5", "17.6"], "2030-02-28"),
}
CLASSES = ["db.t4g.micro", "db.t4g.medium", "db.t4g.large", "db.m6g.large", "db.m7g.large", "db.r7g.large"]
CERTIFICATES = {
    "rds-ca-rsa2048-g1": "2061-05-25T22:34:57Z",
    "rds-ca-rsa4096-g1": "2121-05-25T22:38:35Z",
    "rds-ca-ecc384-g1": "2121-05-25T22:42:53Z",
}
# Parameters that a group of RDS has a value for by itself: name → (value, apply type, data type, allowed values).
SYSTEM_PARAMETERS = {
    "log_destination": ("stderr", "dynamic", "string", "stderr,csvlog"),
    "max_connections": ("LEAST({DBInstanceClassMemory/9531392},5000)", "static", "integer", "6-262143"),
    "password_encryption": ("scram-sha-256", "dynamic", "string", "md5,scram-sha-256"),
    "rds.force_ssl": ("1", "dynamic", "boolean", "0,1"),
    "rds.logical_replication": ("0", "static", "boolean", "0,1"),
    "shared_preload_libraries": ("pg_stat_statements", "static", "list", None),
    "ssl": ("1", "dynamic", "boolean", "0,1"),
    "timezone": ("UTC", "dynamic", "string", None),
}
ENGINE_PARAMETERS = {
    "log_statement": ("dynamic", "string", "none,ddl,mod,all"),
    "log_min_duration_statement": ("dynamic", "integer", "-1-2147483647"),
    "log_connections": ("dynamic", "boolean", "0,1"),
    "log_disconnections": ("dynamic", "boolean", "0,1"),
    "rds.log_retention_period": ("dynamic", "integer", "1440-10080"),
    "ssl_min_protocol_version": ("dynamic", "string", "TLSv1,TLSv1.1,TLSv1.2,TLSv1.3"),
}
STATIC = {
    "autovacuum_max_workers",
    "huge_pages",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_wal_senders",
    "max_worker_processes",
    "shared_buffers",
    "track_activity_query_size",
    "wal_buffers",
}
UNMODIFIABLE = {"config_file", "data_directory", "fsync", "hba_file", "ident_file", "listen_addresses", "port", "ssl"}


@functools.cache
def engine_parameters() -> dict[str, dict[str, Any]]:
    """Every parameter of a group as RDS lists it where nobody set it, by name."""
    known = yaml.safe_load((PROJECT / "roles/postgresql/vars/main/parameters.yml").read_text())
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({*known["__postgresql_parameter_names"], *SYSTEM_PARAMETERS, *ENGINE_PARAMETERS}):
        value, *described = SYSTEM_PARAMETERS.get(name, (None, *ENGINE_PARAMETERS.get(name, ("", "string", None))))
        apply_type, data_type, allowed = described
        found[name] = {
            "ParameterName": name,
            "Description": f"Sets {name}.",
            "Source": "engine-default" if value is None else "system",
            "ApplyType": apply_type or ("static" if name in STATIC else "dynamic"),
            "DataType": data_type,
            "IsModifiable": name not in UNMODIFIABLE,
            "ApplyMethod": "pending-reboot",
        }
        found[name] |= {} if value is None else {"ParameterValue": value}
        found[name] |= {} if allowed is None else {"AllowedValues": allowed}
    return found


def is_newer(version: str, other: str) -> bool:
    return [int(part) for part in version.split(".")] > [int(part) for part in other.split(".")]


def engine_versions() -> Iterator[tuple[str, str, bool]]:
    """Major version, version, whether it is the default of its major version."""
    for major, (minors, _end) in VERSIONS.items():
        for minor in minors:
            yield major, minor, minor == minors[-2]


def resolve_version(asked: str | None) -> str:
    """The version that RDS creates for what was asked: a major version means its default."""
    for major, version, is_default in engine_versions():
        if asked == version or (is_default and asked in (major, None)):
            return version
    raise RDSClientError("InvalidParameterCombination", f"Cannot find version {asked} for postgres")


class Answers:
    """Actions of RDS that moto has not, or answers incompletely; mixed into its class of them."""

    params: Any
    backend: RDSBackend

    def describe_certificates(self) -> ActionResult:
        wanted = self.params.get("CertificateIdentifier")
        if wanted and wanted not in CERTIFICATES:
            raise RDSClientError("CertificateNotFound", f"Certificate {wanted} not found.")
        found = [
            {
                "CertificateIdentifier": name,
                "CertificateType": "CA",
                "Thumbprint": "24a97b91cbe86911a1576ea6c65cc5c0a5ba9a12",
                "ValidFrom": datetime.datetime(2021, 5, 25, 21, 34, 57, tzinfo=datetime.UTC),
                "ValidTill": datetime.datetime.fromisoformat(end),
                "CertificateArn": f"arn:aws:rds:{self.backend.region_name}::cert:{name}",
                "CustomerOverride": False,
            }
            for name, end in CERTIFICATES.items()
            if wanted in (None, name)
        ]
        return ActionResult({"Certificates": found, "DefaultCertificateForNewLaunches": "rds-ca-rsa2048-g1"})

    def describe_pending_maintenance_actions(self) -> ActionResult:
        return ActionResult({"PendingMaintenanceActions": []})

    def describe_db_major_engine_versions(self) -> ActionResult:
        wanted = self.params.get("MajorEngineVersion")
        found = [
            {
                "Engine": "postgres",
                "MajorEngineVersion": major,
                "SupportedEngineLifecycles": [
                    {
                        "LifecycleSupportName": f"open-source-rds-{kind}-support",
                        "LifecycleSupportStartDate": end.replace(year=end.year - before, day=1),
                        "LifecycleSupportEndDate": end.replace(year=end.year + after, day=28),
                    }
                    for kind, before, after in (("standard", 5, 0), ("extended", 0, 3))
                ],
            }
            for major, (_minors, day) in VERSIONS.items()
            for end in [datetime.datetime.fromisoformat(f"{day}T00:00:00Z")]
            if wanted in (None, major) and self.params.get("Engine") in (None, "postgres")
        ]
        return ActionResult({"DBMajorEngineVersions": found})

    def describe_db_engine_versions(self) -> ActionResult:
        wanted, family = self.params.get("EngineVersion"), self.params.get("DBParameterGroupFamily")
        found = [
            {
                "Engine": "postgres",
                "MajorEngineVersion": major,
                "EngineVersion": version,
                "DBParameterGroupFamily": f"postgres{major}",
                "DBEngineDescription": "PostgreSQL",
                "DBEngineVersionDescription": f"PostgreSQL {version}-R1",
                "ValidUpgradeTarget": [
                    {
                        "Engine": "postgres",
                        "EngineVersion": target,
                        "AutoUpgrade": newer == major and is_target_default,
                        "IsMajorVersionUpgrade": newer != major,
                    }
                    for newer, target, is_target_default in engine_versions()
                    if is_newer(target, version)
                ],
                "ExportableLogTypes": ["postgresql", "upgrade"],
                "SupportsLogExportsToCloudwatchLogs": True,
                "SupportsReadReplica": True,
                "Status": "available",
                "SupportedCACertificateIdentifiers": list(CERTIFICATES),
                "SupportsCertificateRotationWithoutRestart": True,
            }
            for major, version, is_default in engine_versions()
            if wanted in (None, major, version)
            and family in (None, f"postgres{major}")
            and self.params.get("Engine") in (None, "postgres")
            and (is_default or not self.params.get("DefaultOnly"))
        ]
        return self._page("DBEngineVersions", found)

    def describe_orderable_db_instance_options(self) -> ActionResult:
        zones = [{"Name": f"{self.backend.region_name}{letter}"} for letter in "abc"]
        found = [
            {
                "Engine": "postgres",
                "EngineVersion": version,
                "DBInstanceClass": name,
                "LicenseModel": "postgresql-license",
                "AvailabilityZones": zones,
                "MultiAZCapable": True,
                "Vpc": True,
                "SupportsStorageEncryption": True,
                "StorageType": "gp3",
                "SupportsStorageAutoscaling": True,
                "SupportsIAMDatabaseAuthentication": True,
                "MinStorageSize": 20,
                "MaxStorageSize": 65536,
            }
            for _major, version, _is_default in engine_versions()
            for name in CLASSES
            if self.params.get("EngineVersion") in (None, version)
            and self.params.get("DBInstanceClass") in (None, name)
        ]
        return self._page("OrderableDBInstanceOptions", found if self.params.get("Engine") == "postgres" else [])

    def describe_db_parameters(self) -> ActionResult:
        name = self.params["DBParameterGroupName"]
        found = {key: dict(value) for key, value in engine_parameters().items()}
        if not name.startswith("default.postgres"):
            for key, value in self._group(name).parameters.items():
                found[key] |= value | {"Source": "user"}
        source = self.params.get("Source")
        return self._page("Parameters", [one for one in found.values() if source in (None, one["Source"])])

    def describe_engine_default_parameters(self) -> ActionResult:
        return ActionResult({"EngineDefaults": {"Parameters": list(engine_parameters().values())}})

    def reset_db_parameter_group(self) -> ActionResult:
        group = self._group(self.params["DBParameterGroupName"])
        if self.params.get("ResetAllParameters"):
            group.parameters.clear()
        for parameter in self.params.get("Parameters", []):
            group.parameters.pop(parameter["ParameterName"], None)
        return ActionResult({"DBParameterGroupName": group.name})

    def _page(self, key: str, found: list[dict[str, Any]]) -> ActionResult:
        start = int(self.params.get("Marker") or 0)
        end = start + int(self.params.get("MaxRecords") or 100)
        return ActionResult({key: found[start:end], "Marker": str(end) if end < len(found) else None})

    def _group(self, name: str) -> DBParameterGroup:
        if name not in self.backend.db_parameter_groups:
            raise RDSClientError("DBParameterGroupNotFound", f"DBParameterGroup not found: {name}")
        return self.backend.db_parameter_groups[name]


def set_parameters(self: DBParameterGroup, parameters: list[dict[str, Any]]) -> None:
    """In place of moto's DBParameterGroup.update_parameters, which takes anything."""
    for parameter in parameters:
        name, described = parameter["ParameterName"], engine_parameters().get(parameter["ParameterName"])
        if described is None:
            raise RDSClientError("InvalidParameterValue", f"Could not find parameter with name: {name}")
        if not described["IsModifiable"]:
            raise RDSClientError("InvalidParameterValue", f"The parameter {name} cannot be modified.")
        if described["ApplyType"] == "static" and parameter.get("ApplyMethod") != "pending-reboot":
            raise RDSClientError(
                "InvalidParameterCombination", f"cannot use immediate apply method for static parameter: {name}"
            )
        allowed = str(described.get("AllowedValues", "")).split(",")
        if len(allowed) > 1 and parameter["ParameterValue"] not in allowed:
            raise RDSClientError(
                "InvalidParameterValue", f"Invalid parameter value: {parameter['ParameterValue']} for: {name}"
            )
    for parameter in parameters:
        self.parameters[parameter["ParameterName"]].update(dict(parameter))


class Timing:
    """How long AWS takes where moto is immediate, in seconds; short, but not nothing."""

    database = 4.0
    console = 1.0


def complete_rds() -> None:
    """Let moto's RDS behave as AWS's where the collection relies on it."""
    for name, method in vars(Answers).items():
        if callable(method):
            setattr(RDSResponse, name, method)
    DBParameterGroup.update_parameters = set_parameters
    create, modify, endpoint = RDSBackend.create_db_instance, RDSBackend.modify_db_instance, DBInstance.endpoint.fget

    def create_db_instance(self: RDSBackend, db_kwargs: Any) -> DBInstance:
        if db_kwargs.get("engine") == "postgres":
            db_kwargs["engine_version"] = resolve_version(db_kwargs.get("engine_version"))
            if db_kwargs.get("db_instance_class") not in CLASSES:
                raise RDSClientError(
                    "InvalidParameterCombination",
                    f"RDS does not support creating a DB instance with the following combination: DBInstanceClass="
                    f"{db_kwargs.get('db_instance_class')}, Engine=postgres",
                )
        return create(self, db_kwargs)

    def modify_db_instance(self: RDSBackend, db_instance_identifier: str, db_kwargs: Any) -> DBInstance:
        if self.describe_db_instances(db_instance_identifier)[0].status != "available":
            raise RDSClientError(
                "InvalidDBInstanceState", f"Database instance is not in available state: {db_instance_identifier}"
            )
        if db_kwargs.get("engine_version"):
            db_kwargs["engine_version"] = resolve_version(db_kwargs["engine_version"])
        return modify(self, db_instance_identifier, db_kwargs)

    def is_created(database: DBInstance) -> bool:
        age = datetime.datetime.now(datetime.UTC) - database.created.replace(tzinfo=datetime.UTC)
        return age.total_seconds() >= Timing.database

    RDSBackend.create_db_instance = create_db_instance
    RDSBackend.modify_db_instance = modify_db_instance
    DBInstance.status = property(
        lambda self: self.__dict__["status"] if is_created(self) else "creating",
        lambda self, value: self.__dict__.__setitem__("status", value),
    )
    DBInstance.endpoint = property(lambda self: endpoint(self) if is_created(self) else None)
    DBInstance.certificate_details = property(
        lambda self: {
            "CAIdentifier": self.ca_certificate_identifier,
            "ValidTill": datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=365),
        }
    )
    # The same for all in moto.
    MasterUserSecret._generate_secret_string = lambda self: json.dumps(
        {"username": self.resource.master_username, "password": secrets.token_urlsafe(21)}
    )


def complete_ec2(host_keys: Callable[[str], list[str]]) -> None:
    """Let an instance print its SSH host keys as cloud-init does, a moment after its start.

    Besides, as on EC2, a volume made of no snapshot has an empty one, and the default group of a VPC allows its members
    everything.
    """
    Volume.snapshot_id = property(
        lambda self: self.__dict__.get("snapshot_id") or "",
        lambda self, value: self.__dict__.__setitem__("snapshot_id", value),
    )

    def get_console_output(self: General) -> ActionResult:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        result = {"InstanceId": instance.id, "Timestamp": datetime.datetime.now(datetime.UTC)}
        keys = host_keys(instance.private_ip)
        started = instance.launch_time if isinstance(instance.launch_time, datetime.datetime) else None
        now = datetime.datetime.now(datetime.UTC)
        if keys and not (started and (now - started.replace(tzinfo=datetime.UTC)).total_seconds() < Timing.console):
            lines = [
                "[    0.000000] Linux version 6.12.57+deb13-cloud-amd64",
                "-----BEGIN SSH HOST KEY KEYS-----",
                *keys,
                "-----END SSH HOST KEY KEYS-----",
                "cloud-init: finished",
            ]
            result["Output"] = base64.b64encode("\r\n".join(lines).encode()).decode()
        return ActionResult(result)

    General.get_console_output = get_console_output
    create_group = EC2Backend.create_security_group

    def create_security_group(self: EC2Backend, *arguments: Any, **options: Any) -> Any:
        group = create_group(self, *arguments, **options)
        if options.get("is_default"):
            self.authorize_security_group_ingress(group.id, "-1", None, None, [], source_groups=[{"GroupId": group.id}])
        return group

    EC2Backend.create_security_group = create_security_group


# --- The lab follows


# Moto's own root volume, whatever the image says.
ROOT_DEVICES = ("/dev/sda1", "/dev/xvda")


class Lab:
    """The lab's servers: EC2 instances by their private address, RDS databases by the name of their endpoint."""

    # Volumes of Docker: the files of the disks, and the servers' /dev/disk.
    DISKS = "lightbox-aws-disks"
    DEVICES = "{container}-devices"

    def __init__(self, region: str, image: str, servers: dict[str, str], databases: dict[str, str]) -> None:
        self.region, self.image, self.servers, self.databases = region, image, servers, databases
        self.lock = threading.Lock()
        self.attached: dict[str, tuple[str, str]] = {}
        self.applied: dict[str, Any] = {}

    @staticmethod
    def docker(*arguments: str, stdin: str = "") -> str:
        done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"docker {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def host_keys(self, address: str) -> list[str]:
        if address not in self.servers:
            return []
        keys = self.docker("exec", self.servers[address], "sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub")
        return keys.splitlines()

    def follow(self, service: str) -> None:
        """Bring the lab's servers to what the account describes now."""
        with self.lock:
            if service == "ec2":
                for address, container in self.servers.items():
                    self.follow_instance(address, container)
            elif service in ("rds", "secretsmanager"):
                for name, container in self.databases.items():
                    self.follow_database(name, container)

    def follow_instance(self, address: str, container: str) -> None:
        backend = ec2_backends[ACCOUNT][self.region]
        instances = [
            instance
            for reservation in backend.reservations.values()
            for instance in reservation.instances
            if instance.private_ip == address
        ]
        wanted: dict[str, int] = {}
        for instance in instances:
            if instance.state_code in (16, 80):  # running, stopped
                for device, attachment in instance.block_device_mapping.items():
                    if device not in (instance.root_device_name, *ROOT_DEVICES):
                        wanted[attachment.volume_id] = int(
                            attachment.size or backend.volumes[attachment.volume_id].size
                        )
        for volume in [
            volume for volume, (_loop, of) in self.attached.items() if of == container and volume not in wanted
        ]:
            self.detach(volume)
        for volume, size in wanted.items():
            if volume not in self.attached:
                self.attach(volume, size, container)
        for volume in [volume for volume in self.applied.get("disks", set()) if volume not in backend.volumes]:
            self.privileged(f"rm -f /disks/{volume}.img", container)
            self.applied["disks"].discard(volume)
        is_running = any(instance.state_code in (0, 16) for instance in instances)
        if instances and self.applied.get(container) != is_running:
            self.docker("start" if is_running else "stop", container)
            self.applied[container] = is_running

    def privileged(self, script: str, container: str) -> str:
        volumes = [f"{self.DISKS}:/disks", f"{self.DEVICES.format(container=container)}:/devices", "/dev:/dev"]
        options = [f"--volume={volume}" for volume in volumes]
        # Less than --privileged, which a Docker Engine in a container may not grant.
        options += ["--cap-add=SYS_ADMIN", "--device-cgroup-rule=b 7:* rwm", "--device-cgroup-rule=c 10:237 rwm"]
        options += ["--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined", "--network=none"]
        return self.docker("run", "--rm", *options, self.image, "sh", "-euc", script).strip()

    def attach(self, volume: str, size: int, container: str) -> None:
        """A loop device on a file, under the name that udev gives a volume on Nitro."""
        link = f"/devices/by-id/nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}"
        loop = self.privileged(
            f"test -e /disks/{volume}.img || truncate -s {size}G /disks/{volume}.img\n"
            f"loop=$(losetup --find --show /disks/{volume}.img)\n"
            "mkdir -p /devices/by-id /devices/nodes\n"
            'node=/devices/nodes/$(basename "$loop")\n'
            'test -e "$node" || mknod "$node" b $(stat -c "%Hr %Lr" "$loop")\n'
            f'ln -sfn "../nodes/$(basename "$loop")" {link}\n'
            'echo "$loop"',
            container,
        )
        self.attached[volume] = (loop, container)
        self.applied.setdefault("disks", set()).add(volume)

    def detach(self, volume: str) -> None:
        loop, container = self.attached.pop(volume)
        link = f"/devices/by-id/nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}"
        self.privileged(
            f"losetup --detach {loop} || true; rm -f {link} /devices/nodes/{loop.rsplit('/', 1)[-1]}", container
        )

    def follow_database(self, name: str, container: str) -> None:
        backend = rds_backends[ACCOUNT][self.region]
        database = next((one for one in backend.databases.values() if one.address == name), None)
        if database is None:
            if self.applied.pop(name, None):
                self.docker("exec", container, "systemctl", "stop", "postgresql@17-main.service")
            return
        secret = json.loads(database.master_user_secret.secret.secret_string)
        (group,) = database.db_parameter_groups()
        forced = group.parameters.get("rds.force_ssl", {}).get("ParameterValue", "1") == "1"
        state = (secret["username"], secret["password"], forced)
        if self.applied.get(name) == state:
            return
        # create.yml installs it in the background.
        installed = "until [ -e /etc/postgresql/lab-is-ready ]; do sleep 0.2; done"
        self.docker("exec", container, "timeout", "300", "sh", "-c", installed)
        self.docker("exec", container, "systemctl", "start", "postgresql@17-main.service")
        rules = f"local all postgres peer\n{'hostssl' if forced else 'host'} all all 0.0.0.0/0 scram-sha-256\n"
        self.docker("exec", "--interactive", container, "tee", "/etc/postgresql/17/main/pg_hba.conf", stdin=rules)
        # As RDS makes its master user: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.MasterAccounts.html
        statements = (
            "SELECT 'CREATE ROLE rds_superuser NOLOGIN' WHERE to_regrole('rds_superuser') IS NULL \\gexec\n"
            "GRANT pg_monitor, pg_signal_backend, pg_checkpoint TO rds_superuser WITH ADMIN OPTION;\n"
            "SELECT format('CREATE ROLE %I', :'name') WHERE to_regrole(:'name') IS NULL \\gexec\n"
            "ALTER ROLE :\"name\" LOGIN CREATEDB CREATEROLE NOSUPERUSER PASSWORD :'password';\n"
            'GRANT rds_superuser TO :"name";\n'
            "SELECT pg_reload_conf();\n"
        )
        variables = f"\\set name {secret['username']}\n\\set password '{secret['password']}'\n"
        psql = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1"]
        self.docker("exec", "--interactive", container, *psql, stdin=variables + statements)
        self.applied[name] = state


# --- The server


class Control:
    """Answers /lab/…, and hands everything else to moto."""

    def __init__(self) -> None:
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if not path.startswith("/lab/"):
            return self.moto(environ, start_response)
        status, answer = "200 OK", None
        (key,) = urllib.parse.parse_qs(environ.get("QUERY_STRING", "")).get("key", [None])
        with RECORDER.lock:
            if (method, path) == ("GET", "/lab/calls"):
                answer = [one for one in RECORDER.calls if key in (None, one["key"])]
            elif (method, path) == ("DELETE", "/lab/calls"):
                RECORDER.calls = [one for one in RECORDER.calls if key not in (None, one["key"])]
            elif (method, path) == ("POST", "/lab/faults"):
                asked = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
                if asked.get("fault") in FAULTS:
                    RECORDER.faults.append(Fault(**asked))
                else:
                    status, answer = "400 Bad Request", f"fault must be one of {', '.join(FAULTS)}"
            elif (method, path) == ("DELETE", "/lab/faults"):
                RECORDER.faults = [one for one in RECORDER.faults if key not in (None, one.key)]
            else:
                status, answer = "404 Not Found", "no such path"
            body = json.dumps(answer).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]


def enrich(self: BaseResponse, status: int, headers: dict[str, str], body: Any) -> tuple[int, dict[str, str], Any]:
    headers, body = self._enrich_response({**headers, "status": str(status)}, body)
    return status, headers, body


def account_of(self: BaseResponse) -> str:
    suffix = self.get_access_key()[-12:]
    return suffix if suffix.isdigit() else ACCOUNT


def install(lab: Lab | None) -> None:
    """Change moto in this process."""
    BaseResponse.get_current_account = account_of
    BaseResponse._enrich = enrich
    BaseResponse.call_action = recorded(BaseResponse.call_action, lab)
    complete_rds()
    complete_ec2(lab.host_keys if lab else lambda _address: [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--directory", type=pathlib.Path, required=True, help="has localhost.pem and localhost.key, gets pid"
    )
    parser.add_argument("--region", default="eu-central-1")
    parser.add_argument("--image", default="", help="an image with losetup")
    parser.add_argument("--server", action="append", default=[], help="ADDRESS=CONTAINER: an EC2 instance")
    parser.add_argument("--database", action="append", default=[], help="ENDPOINT=CONTAINER: an RDS instance")
    arguments = parser.parse_args()
    servers, databases = (dict(one.split("=", 1) for one in pairs) for pairs in (arguments.server, arguments.database))
    install(Lab(arguments.region, arguments.image, servers, databases) if servers or databases else None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments.directory / "localhost.pem", arguments.directory / "localhost.key")
    server = make_server(
        "127.0.0.1",
        arguments.port,
        Control(),
        threaded=True,
        request_handler=MotoRequestHandler,
        ssl_context=context,
    )
    signal.signal(signal.SIGTERM, lambda *_unused: sys.exit(0))
    with (arguments.directory / "server.log").open("ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    (arguments.directory / "pid").write_text(f"{os.getpid()}\n")
    server.serve_forever()


if __name__ == "__main__":
    main()
