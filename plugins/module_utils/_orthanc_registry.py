# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""What is registered in Orthanc by name: modalities, peers, DICOMweb servers.

Their REST resources behave alike. One GET lists them all. A PUT answers 200 whatever it did and replaces the whole
object, so what a caller does not name is taken from what is there; where Orthanc does not tell it (passwords),
the caller must. Unknown keys are taken silently, so a change is read back.
"""

from __future__ import annotations

import abc
import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._names import is_ae_title, is_host, is_http_url
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    Orthanc,
    OrthancError,
    build_path,
    connection_spec,
)

Object = dict  # what Orthanc returns for one, or accepts by PUT
Entry = dict  # what the caller says of one; without what was not given

# A mark of the secrets that were written, kept in the object itself. Whoever else writes the object removes it.
FINGERPRINT = "LightboxFingerprint"
# What the modules of peers and DICOMweb servers have in common.
SERVICE_OPTIONS: dict[str, dict[str, Any]] = {
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "certificate_file": {"type": "str"},
    "certificate_key_file": {"type": "str", "no_log": False},
    "certificate_key_password": {"type": "str", "no_log": True},
    "pkcs11": {"type": "bool"},
    "http_headers": {"type": "dict", "no_log": True},
    "properties": {"type": "dict"},
}
UPDATE: dict[str, dict[str, Any]] = {
    "update_password": {
        "type": "str",
        "choices": ["on_change", "always", "on_create"],
        "default": "on_change",
        "no_log": False,
    },
}
SECRETS = ("password", "certificate_key_file", "certificate_key_password", "http_headers")


class Registry(abc.ABC):
    """One kind of named objects."""

    singular: str
    plural: str
    path: str
    option: str
    """Orthanc's own option that keeps changes over a restart."""
    name_pattern = r"[A-Za-z0-9_-]+"
    name_says = "letters, digits, '_' and '-'"
    hidden: ClassVar[dict[str, str]] = {}
    """Options with a secret that Orthanc shows, with the names under which `describe` returns it."""

    def __init__(self, orthanc: Orthanc, params: Mapping[str, Any]) -> None:
        self.orthanc = orthanc

    def list_objects(self) -> dict[str, Object]:
        return self.check_mapping(self.orthanc.get(self.path + "?expand"))

    def check_mapping(self, found: Any) -> dict[str, Object]:
        if not isinstance(found, dict):
            raise OrthancError(
                f"{self.orthanc.url}{self.path} lists the names of its {self.plural} only. "
                "Is url Orthanc's, and is it Orthanc 1.10 or newer?"
            )
        return found

    def remove(self, name: str) -> None:
        self.orthanc.delete(f"{self.path}{build_path(name)}")

    def write(self, name: str, body: Object) -> None:
        self.orthanc.put(f"{self.path}{build_path(name)}", body)

    @abc.abstractmethod
    def find_errors(self, entry: Entry) -> list[str]:
        """Return what is wrong with an entry, before any request."""

    @abc.abstractmethod
    def find_missing(self, entry: Entry) -> list[str]:
        """Return the options that a new object needs and the entry lacks."""

    @abc.abstractmethod
    def build_body(self, entry: Entry, current: Object | None) -> Object:
        """Build the body of a PUT, merged with the current object. Raises OrthancError where that is not possible."""

    def complete_body(self, entry: Entry, current: Object | None, body: Object) -> Object:
        """Complete the body of a PUT, once one is needed. Raises OrthancError where it would lose secrets."""
        return body

    @abc.abstractmethod
    def describe(self, found: Object) -> dict[str, Any]:
        """Return an object as the module's options, without secrets, for comparison, diff and result."""

    @abc.abstractmethod
    def has_other_secrets(self, entry: Entry, current: Object) -> bool:
        """Return whether a PUT is needed for what Orthanc does not show."""

    def describe_all(self, objects: Mapping[str, Object]) -> list[dict[str, Any]]:
        return [{"name": name, **self.describe(objects[name])} for name in sorted(objects)]


def select_given(options: Mapping[str, Any], names: list[str]) -> Entry:
    return {name: options[name] for name in names if options.get(name) is not None}


def check_entries(registry: Registry, entries: list[Entry]) -> None:
    """Refuse wrong entries, all at once."""
    found = []
    names = [entry["name"] for entry in entries]
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.append(f"{name} is listed twice; list it once")
    for entry in entries:
        name = entry["name"]
        if not re.fullmatch(registry.name_pattern, name):
            found.append(f"the name '{name}' may contain {registry.name_says} only")
        found += [f"{name}: {error}" for error in registry.find_errors(entry)]
    if found:
        raise OrthancError(f"{registry.plural}: {'; '.join(found)}.")


def reconcile(
    registry: Registry, entries: list[Entry], absent: list[str], exclusive: bool, write: bool
) -> dict[str, Any]:
    """Change Orthanc to what the entries require and return the module's result. write: False in check mode."""
    check_entries(registry, entries)
    current = registry.list_objects()
    after = dict(current)
    bodies: dict[str, Object] = {}
    for entry in entries:
        name = entry["name"]
        was = current.get(name)
        missing = registry.find_missing(entry) if was is None else []
        if missing:
            raise OrthancError(
                f"The {registry.singular} {name} is not registered in Orthanc. To register it, set "
                f"{' and '.join(missing)}."
            )
        body = registry.build_body(entry, was)
        if was is None or registry.describe(was) != registry.describe(body) or registry.has_other_secrets(entry, was):
            bodies[name] = after[name] = registry.complete_body(entry, was, body)
    listed = {entry["name"] for entry in entries}
    gone = [name for name in absent if name in current]
    unlisted = sorted(set(current) - listed - set(gone))
    if exclusive:
        gone, unlisted = sorted(set(gone) | set(unlisted)), []
    for name in gone:
        del after[name]
    before_diff = {name: registry.describe(current[name]) for name in sorted({*bodies, *gone}) if name in current}
    after_diff = {name: registry.describe(after[name]) for name in sorted(bodies)}
    # The old value of a secret is not among those that Ansible hides; in check mode it stays in use.
    for entry in entries:
        for shown in (shown for option, shown in registry.hidden.items() if option in entry):
            for described in (before_diff, after_diff):
                described.get(entry["name"], {}).pop(shown, None)
    for name in bodies:
        if before_diff.get(name) == after_diff[name]:
            before_diff[name] = {**before_diff[name], "secrets": "as they were"}
            after_diff[name] = {**after_diff[name], "secrets": "as given"}
    if write and (bodies or gone):
        for name in gone:
            registry.remove(name)
        for name, body in bodies.items():
            registry.write(name, body)
        after = registry.list_objects()
        verify_result(registry, bodies, gone, after)
    return {
        "changed": bool(bodies or gone),
        "diff": {"before": before_diff, "after": after_diff},
        registry.plural: registry.describe_all(after),
        "unlisted": [{"name": name, **registry.describe(current[name])} for name in unlisted],
    }


def verify_result(registry: Registry, bodies: dict[str, Object], gone: list[str], after: dict[str, Object]) -> None:
    """Raise OrthancError for what Orthanc did not do; it answers 200 to everything."""
    for name in gone:
        if name in after:
            raise OrthancError(f"Orthanc reported that it removed the {registry.singular} {name}, but still has it.")
    for name, body in bodies.items():
        if name not in after:
            raise OrthancError(f"Orthanc reported that it stored the {registry.singular} {name}, but does not have it.")
        wanted, has = registry.describe(body), registry.describe(after[name])
        lost = [key for key in wanted if wanted[key] != has.get(key)]
        if lost:
            raise OrthancError(
                f"Orthanc stored the {registry.singular} {name} without {', '.join(lost)}. "
                "Remove that, or update Orthanc: older releases ignore unknown properties."
            )


def run(registry_class: type[Registry], options: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
    """Run a module: options describe one object, extra is what only this module has."""
    plural = registry_class.plural
    module = Module(
        argument_spec={
            **connection_spec(),
            **extra,
            "name": {"type": "str"},
            **options,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            plural: {
                "type": "list",
                "elements": "dict",
                "options": {"name": {"type": "str", "required": True}, **options},
            },
            "exclusive": {"type": "bool", "default": False},
            "persistent": {"type": "bool"},
        },
        required_one_of=[("name", plural)],
        mutually_exclusive=[("name", plural), *((option, plural) for option in options)],
        supports_check_mode=True,
    )
    params = module.params
    names = ["name", *options]
    try:
        if params[plural] is None:
            if params["exclusive"]:
                raise OrthancError(f"exclusive needs a list. Set {plural} with it, not name.")
            one = select_given(params, names)
            entries, absent = ([one], []) if params["state"] == "present" else ([], [one["name"]])
        else:
            if params["state"] == "absent":
                raise OrthancError(f"state: absent needs name. With {plural}, exclusive removes what is not listed.")
            entries, absent = [select_given(entry, names) for entry in params[plural]], []
        for entry in entries:
            entry["update_password"] = params.get("update_password")
        registry = registry_class(Orthanc(params), params)
        result = reconcile(registry, entries, absent, params["exclusive"], not module.check_mode)
    except OrthancError as error:
        module.fail_json(msg=str(error))
    if result["changed"] and params["persistent"] is None:
        module.warn(
            f"Orthanc forgets changed {plural.replace('_', ' ')} at its next restart unless its option "
            f"{registry.option} is true, and does not report its value. Set persistent to this value."
        )
    module.exit_json(**result)


class Modalities(Registry):
    """DICOM nodes that are registered in Orthanc."""

    singular, plural, path = "modality", "modalities", "/modalities"
    option = "DicomModalitiesInDatabase"
    hidden: ClassVar = {"secret_aet": "aet"}

    fields: ClassVar = {
        "aet": "AET",
        "host": "Host",
        "port": "Port",
        "manufacturer": "Manufacturer",
        "transcoding": "AllowTranscoding",
        "tls": "UseDicomTls",
        "local_aet": "LocalAet",
        "dicom_timeout": "Timeout",
        "retrieve_method": "RetrieveMethod",
    }
    allowed: ClassVar = {
        "echo": ("AllowEcho",),
        "store": ("AllowStore",),
        "find": ("AllowFind",),
        "find_worklist": ("AllowFindWorklist",),
        "get": ("AllowGet",),
        "move": ("AllowMove",),
        "storage_commitment": ("AllowNAction", "AllowEventReport"),
    }

    def find_errors(self, entry: Entry) -> list[str]:
        found = []
        if "aet" in entry and "secret_aet" in entry:
            found.append("aet and secret_aet are both set; set one of them")
        for option in ("aet", "secret_aet", "local_aet"):
            if (
                option in entry
                and not is_ae_title(entry[option])
                and not (option == "local_aet" and entry[option] == "")
            ):
                found.append(
                    f"{option} is '{entry[option]}', which is not an AE title; set it to 1 to 16 printable ASCII "
                    "characters without a backslash and without spaces at its ends"
                )
        if "host" in entry and not is_host(entry["host"]):
            found.append(
                f"host is '{entry['host']}', which is neither an IP address nor a DNS name; set it to one of these"
            )
        if not 1 <= entry.get("port", 1) <= 65534:
            found.append(f"port is {entry['port']}; set it to 1 to 65534, which is what Orthanc accepts")
        if entry.get("dicom_timeout", 0) < 0:
            found.append(f"dicom_timeout is {entry['dicom_timeout']}; set it to 0 or more")
        return found

    def find_missing(self, entry: Entry) -> list[str]:
        given = {*entry, *(["aet"] if "secret_aet" in entry else [])}
        return [option for option in ("aet", "host", "port") if option not in given]

    def build_body(self, entry: Entry, current: Object | None) -> Object:
        body = dict(current or {})
        body.update({key: entry[option] for option, key in self.fields.items() if option in entry})
        if "secret_aet" in entry:
            body["AET"] = entry["secret_aet"]
        allow = entry.get("allow", ["echo", "store"] if current is None else None)
        if allow is not None:
            body.update({key: right in allow for right, keys in self.allowed.items() for key in keys})
        return body

    def describe(self, found: Object) -> dict[str, Any]:
        shown: dict[str, Any] = {option: found[key] for option, key in self.fields.items() if key in found}
        shown["allow"] = [right for right, keys in self.allowed.items() if all(found.get(key) for key in keys)]
        return shown

    def has_other_secrets(self, entry: Entry, current: Object) -> bool:
        return False


class WebServices(Registry):
    """Peers and DICOMweb servers: an address with a login, of which Orthanc never shows the secrets."""

    prefix: str
    """Of the options whose names Orthanc's own options have: peer_url, server_timeout."""
    switches: ClassVar[dict[str, str]] = {}
    """Options that are properties of the object, and Boolean."""

    reserved = (
        "Url",
        "URL",
        "Username",
        "Password",
        "CertificateFile",
        "CertificateKeyFile",
        "CertificateKeyPassword",
        "Pkcs11",
        "Timeout",
        "HttpHeaders",
        FINGERPRINT,
    )

    def __init__(self, orthanc: Orthanc, params: Mapping[str, Any]) -> None:
        super().__init__(orthanc, params)
        self.fields = {
            f"{self.prefix}_url": "Url",
            "username": "Username",
            "certificate_file": "CertificateFile",
            "pkcs11": "Pkcs11",
            f"{self.prefix}_timeout": "Timeout",
        }

    def find_errors(self, entry: Entry) -> list[str]:
        found = []
        url = entry.get(f"{self.prefix}_url")
        if url is not None and not is_http_url(url):
            shown = re.sub("//[^/]*@", "//…@", url)
            found.append(f"{self.prefix}_url is '{shown}'; set it to an http or https address without a login")
        if "password" in entry and not entry.get("username"):
            found.append("password needs username")
        if {"certificate_key_file", "certificate_key_password"} & set(entry) and not entry.get("certificate_file"):
            found.append("certificate_key_file and certificate_key_password need certificate_file")
        own = sorted({*self.reserved, *self.switches.values()} & set(entry.get("properties", {})))
        if own:
            found.append(f"properties contains {', '.join(own)}, which has its own option")
        wrong = [key for key, value in entry.get("properties", {}).items() if isinstance(value, (dict, list))]
        if wrong:
            found.append(f"properties may contain text, numbers and Booleans only, not {', '.join(sorted(wrong))}")
        if entry.get(f"{self.prefix}_timeout", 0) < 0:
            found.append(f"{self.prefix}_timeout is below 0")
        return found

    def find_missing(self, entry: Entry) -> list[str]:
        return [option for option in (f"{self.prefix}_url",) if option not in entry]

    def build_body(self, entry: Entry, current: Object | None) -> Object:
        hidden = ("Password", "CertificateKeyFile", "CertificateKeyPassword", "HttpHeaders", FINGERPRINT)
        body: Object = {key: value for key, value in (current or {}).items() if key not in hidden}
        if "properties" in entry:
            known = {*self.reserved, *self.switches.values()}
            body = {key: value for key, value in body.items() if key in known}
            body.update({key: format_value(value) for key, value in entry["properties"].items()})
        body.update({key: entry[option] for option, key in self.fields.items() if option in entry})
        body.update({key: format_value(entry[option]) for option, key in self.switches.items() if option in entry})
        body["Url"] = body["Url"].rstrip("/") + "/"
        for key in ("Username", "CertificateFile"):
            if not body.get(key):
                body.pop(key, None)
        for option, key, owner in (
            ("password", "Password", "Username"),
            ("certificate_key_file", "CertificateKeyFile", "CertificateFile"),
            ("certificate_key_password", "CertificateKeyPassword", "CertificateFile"),
        ):
            if owner in body and entry.get(option):
                body[key] = entry[option]
        body["HttpHeaders"] = entry.get("http_headers", dict.fromkeys((current or {}).get("HttpHeaders") or []))
        return body

    def complete_body(self, entry: Entry, current: Object | None, body: Object) -> Object:
        was = current or {}
        unreadable = [
            option
            for option, key, present in (
                ("password", "Username", "Username"),
                ("certificate_key_file", "CertificateFile", "CertificateFile"),
                ("http_headers", "HttpHeaders", "HttpHeaders"),
            )
            if was.get(key) and body.get(present) and option not in entry
        ]
        if unreadable:
            raise OrthancError(
                f"The {self.singular} {entry['name']} cannot be changed without {' and '.join(unreadable)}: Orthanc "
                "does not show their values and would remove them. Set "
                f"{' and '.join(unreadable)}, to an empty value where there is none."
            )
        if entry["update_password"] == "on_change" and any(option in entry for option in SECRETS):
            return {**body, FINGERPRINT: compute_fingerprint(entry)}
        return body

    def describe(self, found: Object) -> dict[str, Any]:
        shown: dict[str, Any] = {option: found[key] for option, key in self.fields.items() if key in found}
        shown["http_headers"] = sorted(found.get("HttpHeaders") or [])
        for option, key in self.switches.items():
            if key in found:
                shown[option] = format_value(found[key]) == "1"
        known = {*self.reserved, *self.switches.values()}
        shown["properties"] = {key: format_value(found[key]) for key in sorted(found) if key not in known}
        return shown

    def has_other_secrets(self, entry: Entry, current: Object) -> bool:
        if not any(option in entry for option in SECRETS):
            return False
        how = entry["update_password"]
        return how == "always" or (how == "on_change" and not is_match(current.get(FINGERPRINT), entry))


class Peers(WebServices):
    """Other Orthanc servers, reached by the REST API."""

    singular, plural, path, prefix = "peer", "peers", "/peers", "peer"
    option = "OrthancPeersInDatabase"


class DicomWebServers(WebServices):
    """Servers to which Orthanc's DICOMweb plugin sends and which it queries."""

    singular, plural, prefix = "DICOMweb server", "servers", "server"
    option = "DicomWeb.ServersInDatabase"
    name_pattern = r"[^/\s]+"
    name_says = "characters other than '/' and spaces"
    switches: ClassVar[dict[str, str]] = {
        "has_delete": "HasDelete",
        "chunked_transfers": "ChunkedTransfers",
        "universal_transfer_syntax": "HasWadoRsUniversalTransferSyntax",
    }

    def __init__(self, orthanc: Orthanc, params: Mapping[str, Any]) -> None:
        super().__init__(orthanc, params)
        self.path = "/" + params["dicomweb_root"].strip("/") + "/servers"

    def list_objects(self) -> dict[str, Object]:
        found = self.orthanc.find(self.path + "?expand")
        if found is None:
            raise OrthancError(
                f"{self.orthanc.url}{self.path} is not there. Load Orthanc's DICOMweb plugin, or set dicomweb_root "
                "to its option DicomWeb.Root."
            )
        return self.check_mapping(found)

    def remove(self, name: str) -> None:
        try:
            super().remove(name)
        except OrthancError as error:
            if error.status != 400:  # what it says of one that somebody else removed in the meantime
                raise


def format_value(value: Any) -> str:
    """Format a property as Orthanc stores it: every value as text, true as 1."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def serialize(entry: Entry) -> bytes:
    return json.dumps({option: entry[option] for option in SECRETS if option in entry}, sort_keys=True).encode()


def compute_fingerprint(entry: Entry, salt: bytes | None = None) -> str:
    """Compute a fingerprint of secrets. Slow on purpose (40 ms), so that it is no help in guessing them."""
    salt = salt or os.urandom(12)
    return f"{salt.hex()}.{hashlib.scrypt(serialize(entry), salt=salt, n=2**14, r=8, p=1, dklen=24).hex()}"


def is_match(mark: Any, entry: Entry) -> bool:
    try:
        salt = bytes.fromhex(str(mark).split(".", maxsplit=1)[0])
    except ValueError:
        return False
    return bool(salt) and hmac.compare_digest(str(mark), compute_fingerprint(entry, salt))
