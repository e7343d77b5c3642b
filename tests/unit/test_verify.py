# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks against a small reverse proxy and archive that can be broken in one place at a time.

A check that cannot fail is worth nothing: every row of BREAKAGES names what is broken and the check that must notice.
"""

from __future__ import annotations

import contextlib
import datetime
import gzip
import http.client
import http.server
import io
import json
import os
import posixpath
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import typing as t
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pydicom
import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lightbox.pacs.plugins.module_utils import (
    _dicom,
    _dicom_association,
    _verify,
    _verify_host,
    _verify_images,
)
from ansible_collections.lightbox.pacs.plugins.module_utils._dicom_association import EchoError
from ansible_collections.lightbox.pacs.plugins.module_utils._http import Connection, basic_auth
from ansible_collections.lightbox.pacs.plugins.modules import pacs_verify
from ansible_collections.lightbox.pacs.plugins.test import tcp_port_open
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "pacs.lightbox.test"
WEB_USER, WEB_PASSWORD = "admin", "web-Secret-9"
ARCHIVE_USER, ARCHIVE_PASSWORD = "reverse_proxy", "archive-Secret-7"
TRICK = re.compile(r"^[^?]*(//|/\.|%|\\)|.*#")
BUNDLE = "/app.bundle.0123456789abcdef.js"
PAGE = f"""<!doctype html><html><head><link rel="stylesheet" href="/app.bundle.css">
<link rel="manifest" href="/manifest.json">
<script src="/app-config.js"></script><script defer src="{BUNDLE}"></script></head><body></body></html>""".encode()
CONFIG = b"window.config = { dataSources: [{ configuration: { qidoRoot: '/pacs/dicom-web' } }] };"
POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; frame-ancestors 'none'"
WORKER_POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'unsafe-eval'"


# --- certificates


def certificate(
    directory: Path, days: int = 90, name: str = NAME, age: int = 400, subject: str = ""
) -> tuple[Path, Path]:
    """A CA and a chain with its key for one name; returns (ca.pem, pair.pem)."""
    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _key in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("Test CA", subject or name)]
    made = []
    for number, (key, whose) in enumerate(zip(keys, names, strict=True)):
        builder = (
            x509.CertificateBuilder()
            .subject_name(whose)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=age if number else 400))
            .not_valid_after(now + datetime.timedelta(days=days if number else 400, hours=1))
            .add_extension(x509.BasicConstraints(ca=number == 0, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
        )
        if number:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    ca, pair = directory / "ca.pem", directory / "pair.pem"
    ca.write_bytes(made[0])
    secret = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pair.write_bytes(made[1] + secret)
    return ca, pair


# --- a small archive


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    lab: Lab
    raw_requestline: bytes

    def log_message(self, *arguments: t.Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def begin(self) -> tuple[str, bytes]:
        """The request target as it was sent (the base class changes it) and the body."""
        target = self.raw_requestline.decode("latin-1").split(" ")[1]
        return target, self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, value: t.Any, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def do_GET(self) -> None:
        self.serve()

    do_POST = do_HEAD = do_DELETE = do_GET

    def serve(self) -> None:
        raise NotImplementedError


class ArchiveHandler(Handler):
    """As much of Orthanc as the checks ask for."""

    def serve(self) -> None:
        lab, (target, body) = self.lab, self.begin()
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        login = self.headers.get("Authorization", "")
        logins = [basic_auth(ARCHIVE_USER, ARCHIVE_PASSWORD)["Authorization"]]
        if lab.is_broken("archive default login"):
            logins.append(basic_auth("orthanc", "orthanc")["Authorization"])
        if login not in logins and not lab.is_broken("archive asks nobody"):
            self.answer(401, headers={"WWW-Authenticate": "Basic"})
            return
        lab.archive_log.append(f"{self.command} {target}")
        if url.path.startswith("/pacs/dicom-web/"):
            if lab.is_broken("queries not decoded"):
                query = dict(pair.split("=", 1) for pair in url.query.split("&") if pair)
            self.dicomweb(url.path, query, body)
        else:
            self.rest(url.path, url.query, body)

    def rest(self, path: str, query: str, body: bytes) -> None:
        lab = self.lab
        if path == "/system":
            aet = "OTHER" if lab.is_broken("archive title") else "LIGHTBOX"
            self.answer_json({"Version": "1.12.7", "ApiVersion": 27, "DicomAet": aet})
        elif path == "/changes" and query == "last":
            self.answer_json({"Last": 5}, 503 if lab.is_broken("archive index") else 200)
        elif path == "/plugins/dicom-web" and not lab.is_broken("archive plugin"):
            self.answer_json({"Version": "1.20"})
        elif path == "/plugins":
            self.answer_json(["dicom-web"] if lab.is_broken("no GDCM") else ["dicom-web", "gdcm"])
        elif path == "/tools/execute-script":
            self.answer(200 if lab.is_broken("archive scripts") else 403)
        elif path.endswith("/export"):
            self.answer(404 if lab.is_broken("archive export") else 403)
        elif path == "/tools/lookup":
            found = [{"Type": "Study", "ID": "study-" + key} for key in lab.studies if key == body.decode()]
            found += [
                {"Type": "Instance", "ID": "instance-" + key}
                for key, one in lab.studies.items()
                if one.SOPInstanceUID == body.decode()
            ]
            self.answer_json(found)
        elif path == "/tools/find":
            wanted = json.loads(body or b'{"Query": {"PatientID": "*"}}')["Query"]["PatientID"].rstrip("*")
            self.answer_json(
                [lab.describe(key) for key, one in lab.studies.items() if one.PatientID.startswith(wanted)]
            )
        elif path.startswith("/studies/study-"):
            key = path[len("/studies/study-") :]
            if key not in lab.studies:
                self.answer_json({"OrthancStatus": 17}, 404)
            elif self.command == "DELETE":
                lab.deleted.append(lab.studies[key].PatientID)
                if not lab.is_broken("delete"):
                    del lab.studies[key]
                self.answer_json({})
            else:
                self.answer_json(lab.describe(key))
        elif path.startswith("/instances/instance-"):
            self.answer(200, lab.pixels(path.split("/")[2][len("instance-") :], "C-STORE pixels"))
        elif path in ("/", "/studies", "/app/explorer.html"):
            self.answer_json([])
        else:
            self.answer_json({"OrthancStatus": 17}, 404)

    def dicomweb(self, path: str, query: dict[str, str], body: bytes) -> None:
        lab = self.lab
        if self.command == "POST":
            if lab.is_broken("STOW"):
                self.answer(413)
                return
            if not body:
                self.answer_json({"OrthancStatus": 8}, 400)
                return
            part = _dicom.first_part(self.headers["Content-Type"], body)
            one = lab.store(part)
            self.answer_json({"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [one]}}]}})
            return
        forwarded = dict(item.split("=") for item in self.headers.get("Forwarded", "").split(";") if "=" in item)
        base = f"{forwarded.get('proto', 'http')}://{forwarded.get('host', 'localhost')}/pacs/dicom-web"
        uid = query.get("StudyInstanceUID") or (path.split("/") + [""] * 9)[4]
        study = lab.studies.get(uid)
        if path == "/pacs/dicom-web/studies" and "StudyDescription" in query:
            matching = [
                one
                for one in lab.studies.values()
                if all(query[name] == str(one.get(name)) for name in ("PatientID", "PatientName", "StudyDescription"))
            ]
            self.answer_json([{} for _one in matching])
        elif path == "/pacs/dicom-web/studies":
            if study is None or lab.is_broken("QIDO"):
                self.answer_json([])
                return
            link = {"vr": "UR", "Value": [f"{base}/studies/{uid}"]}
            self.answer_json([{"00081190": link, "00100020": {"vr": "LO", "Value": [study.PatientID]}}])
        elif study is None:
            self.answer_json({"OrthancStatus": 17}, 404)
        elif "JPEG 2000" in study.file_meta.TransferSyntaxUID.name and lab.is_broken("JPEG 2000 ends it"):
            lab.restarts += 1
            self.answer(502)
        elif lab.is_broken("no GDCM") and not path.endswith("/frames/1") and not path.endswith("/metadata"):
            self.answer_json({"OrthancStatus": 15}, 400)
        elif "/instances/" in path and not path.endswith("/frames/1"):
            pixels = study.pixel_array.tobytes()
            if lab.is_broken("JPEG 2000 pixels"):
                pixels = pixels[::-1]
            part = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + pixels + b"\r\n--b--\r\n"
            self.answer(200, part, {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'})
        elif path.endswith("/frames/1"):
            pixels = lab.pixels(uid, "WADO pixels")
            part = b"--b\r\nContent-Type: application/octet-stream\r\n\r\n" + pixels + b"\r\n--b--\r\n"
            self.answer(200, part, {"Content-Type": 'multipart/related; type="application/octet-stream"; boundary=b'})
        elif path.endswith("/metadata"):
            found = study.to_json_dict(bulk_data_threshold=64, bulk_data_element_handler=lambda e: f"{base}/bulk")
            if lab.is_broken("metadata"):
                del found["00280100"]
            self.answer_json([found])
        else:
            self.answer_json({"OrthancStatus": 17}, 404)


# --- a small reverse proxy


class ProxyHandler(Handler):
    """What the role reverse_proxy makes of nginx, as far as the checks look."""

    def serve(self) -> None:
        lab, (target, body) = self.lab, self.begin()
        if lab.is_broken("busy") and self.headers.get("Authorization") and lab.busy > 0:
            lab.busy -= 1
            self.answer(429)
            return
        if lab.is_broken("reverse proxy hangs up") and "Authorization" not in self.headers:
            self.close_connection = True
            return
        login = self.headers.get("Authorization", "") == basic_auth(WEB_USER, WEB_PASSWORD)["Authorization"]
        if TRICK.match(target):
            if lab.is_broken("tricks open") or (login and lab.is_broken("tricks with login")):
                path = posixpath.normpath(unquote(target))
                self.proxy("/" + path.lstrip("/").removeprefix("pacs").lstrip("/"), b"")
            else:
                self.answer(400)
            return
        disguised = "_method=" in target or "X-HTTP-Method-Override" in self.headers
        origin = self.headers.get("Origin", lab.url)
        foreign = origin != lab.url or self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        if lab.is_broken("own origin"):
            foreign = "Origin" in self.headers
        if (disguised and not lab.is_broken("disguises")) or (
            foreign and self.command == "POST" and not lab.is_broken("other sites")
        ):
            self.answer(403)
            return
        path = target.split("?")[0]
        kind = "dicomweb" if path.startswith(("/pacs/dicom-web/", "/pacs/wado")) else "viewer"
        kind = "archive" if kind == "viewer" and path.startswith("/pacs/") else kind
        if lab.is_broken("login refused"):
            login = False
        elif lab.is_broken("any password") and self.headers.get("Authorization", "").startswith("Basic YWRtaW46"):
            login = True
        elif lab.is_broken("reverse proxy default login"):
            login = login or self.headers.get("Authorization") == basic_auth("admin", "admin")["Authorization"]
        elif lab.is_broken("identity header"):
            login = login or "X-Remote-User" in self.headers
        elif lab.is_broken("trusted address"):
            login = login or self.headers.get("X-Forwarded-For") == "127.0.0.1"
        if not login and not lab.is_broken(f"{kind} open"):
            if lab.is_broken("archive errors") and kind == "archive":
                self.answer_json({"OrthancStatus": 17}, 404)
                return
            self.answer(401, b"<h1>401</h1>", {"WWW-Authenticate": "Basic", "Content-Type": "text/html"})
        elif kind != "viewer" and lab.is_broken("no way"):
            self.answer(502)
        elif kind == "viewer" and lab.is_broken("page gone"):
            self.answer(404)
        elif kind == "dicomweb":
            self.proxy(target, body)
        elif kind == "archive":
            self.proxy(target[len("/pacs") :], body)
        else:
            self.file(path)

    def proxy(self, target: str, body: bytes) -> None:
        archive = http.client.HTTPConnection("127.0.0.1", self.lab.archive_port, timeout=5)
        headers = dict(basic_auth(ARCHIVE_USER, ARCHIVE_PASSWORD))
        if not self.lab.is_broken("links"):
            headers["Forwarded"] = f"host={self.headers['Host']};proto=https"
        for name in ("Accept", "Content-Type"):
            if name in self.headers:
                headers[name] = self.headers[name]
        try:
            archive.request(self.command, target, body or None, headers)
            response = archive.getresponse()
            content = response.read()
        finally:
            archive.close()
        self.answer(response.status, content, {"Content-Type": response.getheader("Content-Type", "text/plain")})

    def file(self, path: str) -> None:
        lab = self.lab
        headers = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
        headers["Content-Security-Policy"] = POLICY
        accepts = self.headers.get("Accept-Encoding", "")
        if path == "/app-config.js":
            content, headers["Content-Type"] = lab.config, "application/javascript"
            if lab.is_broken("config type"):
                headers["Content-Type"] = "text/plain"
            if lab.is_broken("config cached"):
                headers["Cache-Control"] = "public, max-age=3600"
            if lab.is_broken("config demo"):
                content = b"window.config = {}"
            if lab.is_broken("config stale gzip") and "gzip" in accepts:
                content, headers["Content-Encoding"] = gzip.compress(b"window.config = 'old'"), "gzip"
            if lab.is_broken("config stale brotli") and "br" in accepts:
                content, headers["Content-Encoding"] = b"\x8b\x00\x80x\x03", "br"
        elif path == BUNDLE:
            content, headers["Content-Type"] = b"(()=>{})()" * 100, "text/javascript"
            headers |= {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
            headers["Content-Security-Policy"] = POLICY if lab.is_broken("worker policy") else WORKER_POLICY
            if "gzip" in accepts and not lab.is_broken("bundle plain"):
                content, headers["Content-Encoding"] = gzip.compress(content), "gzip"
            if lab.is_broken("bundle cache"):
                headers["Cache-Control"] = "no-cache"
            if lab.is_broken("bundle vary"):
                del headers["Vary"]
            if lab.is_broken("bundle type"):
                headers["Content-Type"] = "application/octet-stream"
        elif path in ("/app.bundle.css", "/manifest.json"):
            content = b"{}"
            headers["Content-Type"] = "text/css" if path.endswith("css") else "application/json"
            if lab.is_broken("css type"):
                headers["Content-Type"] = "text/plain"
        elif re.search(r"\.(js|css|wasm|json)$", path) and not lab.is_broken("missing is page"):
            self.answer(404, b"<h1>404</h1>", {"Content-Type": "text/html"})
            return
        else:
            content, headers["Content-Type"] = PAGE, "text/html; charset=utf-8"
            if lab.is_broken("page default"):
                content = b"<h1>Welcome to nginx!</h1>"
            if lab.is_broken("page type"):
                headers["Content-Type"] = "text/plain"
            if lab.is_broken("page cached"):
                headers["Cache-Control"] = "max-age=3600"
            if lab.is_broken("page policy"):
                headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline'"
            for name in ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy"):
                if lab.is_broken(f"no {name}"):
                    del headers[name]
        self.answer(200, content, headers)


class PlainHandler(Handler):
    """The port that only redirects."""

    def serve(self) -> None:
        target = self.begin()[0]
        if self.lab.is_broken("plain answers"):
            self.answer(200, PAGE)
        elif self.lab.is_broken("plain elsewhere"):
            self.answer(301, headers={"Location": f"https://elsewhere.test{target}"})
        else:
            self.answer(301, headers={"Location": self.lab.url + target})


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: t.Any) -> None:
        pass


class Lab:
    """A server to check. ``broken`` says what of it does not work."""

    def __init__(self, directory: Path, old_tls: bool = False, **certified: t.Any) -> None:
        self.broken = ""
        self.config = CONFIG
        self.busy = 0
        self.restarts = 0
        self.studies: dict[str, pydicom.Dataset] = {}
        self.deleted: list[str] = []
        self.archive_log: list[str] = []
        self.directory = directory
        self.ca, pair = certificate(directory, **certified)
        self.servers = [self.server(handler) for handler in (ArchiveHandler, ProxyHandler, PlainHandler)]
        self.archive_port, self.port, self.plain_port = (server.server_address[1] for server in self.servers)
        self.url = f"https://{NAME}:{self.port}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if old_tls:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
        context.load_cert_chain(pair)
        self.servers[1].socket = context.wrap_socket(
            self.servers[1].socket, server_side=True, do_handshake_on_connect=False
        )
        (directory / "net").mkdir()
        self.listen({(self.archive_port, "0100007F"), (14242, "0100007F")})
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def server(self, handler: type[Handler]) -> Server:
        return Server(("127.0.0.1", 0), type(handler.__name__, (handler,), {"lab": self}))

    def close(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def is_broken(self, what: str) -> bool:
        return self.broken == what

    def listen(self, sockets: set[tuple[int, str]]) -> None:
        """Writes what the kernel would tell in /proc/net/tcp; the last socket is connected, not listening."""
        lines = [f"   0: {address}:{port:04X} 00000000:0000 0A 00000000:00000000" for port, address in sockets]
        lines.append("   9: 0500A8C0:1F90 0600A8C0:D431 01 00000000:00000000")
        (self.directory / "net" / "tcp").write_text("\n".join(["  sl  local_address rem_address", *lines]) + "\n")

    # what the archive holds

    def store(self, file: bytes) -> str:
        one = pydicom.dcmread(io.BytesIO(file))
        self.studies[one.StudyInstanceUID] = one
        return str(one.SOPInstanceUID)

    def describe(self, key: str) -> dict[str, t.Any]:
        one = self.studies[key]
        return {
            "ID": "study-" + key,
            "MainDicomTags": {"StudyInstanceUID": one.StudyInstanceUID},
            "PatientMainDicomTags": {"PatientID": one.PatientID, "PatientName": str(one.PatientName)},
        }

    def pixels(self, key: str, breakage: str) -> bytes:
        data = bytes(self.studies[key].PixelData)
        return bytes([data[0] ^ 1]) + data[1:] if self.is_broken(breakage) else data

    # what programs on the server say

    def run(self, arguments: list[str]) -> tuple[int, str, str]:
        """docker and storescu."""
        if arguments[0] == "docker":
            return self.docker()
        calling = Path(arguments[1].removeprefix("@")).read_text().removeprefix('-aet "').removesuffix('"\n')
        called = arguments[arguments.index("-aec") + 1]
        reason = "" if self.is_broken("stranger stores") else self.refusal(calling, called)
        if reason:
            return 1, "", f"F: Association Rejected:\nF: Result: Rejected Permanent\nF: Reason: {reason}\n"
        if calling == "LBXVERIFY" and self.is_broken("C-STORE refused"):
            return 1, "", "E: Store Failed, status 0xA700\n"
        self.store(Path(arguments[-1]).read_bytes())
        return 0, "", ""

    # what the DICOM listeners say; the module dicom_echo's tests ask real ones

    def echo(
        self,
        host: str,
        port: int,
        called: str,
        calling: str,
        timeout: float,
        context: ssl.SSLContext | None,
        server_name: str,
    ) -> _dicom_association.EchoResult:
        if self.is_broken("DICOM down"):
            raise EchoError("cannot be reached (Connection refused)")
        if port == 11112:
            assert server_name == NAME
            if self.is_broken("DICOM TLS") or (context is None and not self.is_broken("DICOM TLS plain")):
                raise EchoError("failed in TLS (WRONG)")
            assert context is None or context.get_ca_certs()
        elif refusal := self.refusal(calling, called):
            raise EchoError(f"refused the association because {refusal}")
        return _dicom_association.EchoResult(0.1, "SCP", {"version": "TLSv1.3"} if context else None)

    def refusal(self, calling: str, called: str) -> str:
        if called != "LIGHTBOX" and not self.is_broken("any called title"):
            return "the called AE title is not its own"
        if calling != "LBXVERIFY" and not self.is_broken("stranger echoes"):
            return "it does not know the calling AE title"
        return ""

    def docker(self) -> tuple[int, str, str]:
        if self.is_broken("no container"):
            return 1, "[]\n", "Error: No such container: orthanc\n"
        state: dict[str, t.Any] = {"Status": "running", "Running": True, "Restarting": False}
        state["Health"] = {"Status": "healthy"}
        if self.is_broken("container stopped"):
            state = {"Status": "exited", "Running": False, "Restarting": False}
        elif self.is_broken("container unhealthy"):
            state["Health"] = {"Status": "unhealthy"}
        elif self.is_broken("container unchecked"):
            del state["Health"]
        address = "0.0.0.0" if self.is_broken("container published") else "127.0.0.1"  # noqa: S104
        found = {
            "Name": "/orthanc",
            "State": {**state, "StartedAt": f"2026-11-29T20:00:{self.restarts:02d}Z"},
            "RestartCount": self.restarts,
            "HostConfig": {"NetworkMode": "host" if self.is_broken("container on host network") else "archive"},
            "NetworkSettings": {"Ports": {"8042/tcp": [{"HostIp": address, "HostPort": "8042"}], "4242/tcp": None}},
        }
        return 0, json.dumps([found]), ""

    def options(self) -> dict[str, t.Any]:
        return {
            "url": self.url,
            "ca_path": str(self.ca),
            "username": WEB_USER,
            "password": WEB_PASSWORD,
            "archive_url": f"http://127.0.0.1:{self.archive_port}",
            "archive_username": ARCHIVE_USER,
            "archive_password": ARCHIVE_PASSWORD,
            "http_port": self.plain_port,
            "dicom_tls_port": 11112,
            "containers": ["orthanc"],
            "closed_ports": [self.archive_port, 14242],
            "outside_probe": {"address": "192.0.2.1", "reference": True, "reached": []},
            "timeout": 3,
        }


class Exit(Exception):
    """What the module returned."""


def run(lab: Lab, check_mode: bool = False, **changes: t.Any) -> dict[str, t.Any]:
    """The module's result against the lab; fails when a secret is in it."""
    arguments = {
        **lab.options(),
        **changes,
        "_ansible_check_mode": check_mode,
        "_ansible_remote_tmp": str(lab.directory),
    }
    written: list[str] = []
    warned: list[str] = []

    def exit_json(self: t.Any, **result: t.Any) -> t.NoReturn:
        written.append(json.dumps(result))
        raise Exit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic.AnsibleModule, "exit_json", exit_json)
        patch.setattr(basic.AnsibleModule, "warn", lambda self, text: warned.append(text))
        patch.setattr(basic.AnsibleModule, "get_bin_path", lambda self, name, **kwargs: name)
        patch.setattr(basic.AnsibleModule, "run_command", lambda self, arguments: lab.run(arguments))
        patch.setattr(_verify_images, "send_echo", lab.echo)
        patch.setattr(_verify_host, "PROC_NET", str(lab.directory / "net"))
        with patch_module_args(arguments), pytest.raises(Exit):
            pacs_verify.main()
    for user, password in ((WEB_USER, WEB_PASSWORD), (ARCHIVE_USER, ARCHIVE_PASSWORD)):
        assert password not in written[0]
        assert basic_auth(user, password)["Authorization"].split()[1] not in written[0]
    return t.cast("dict[str, t.Any]", json.loads(written[0])) | {"warned": warned}


def failed(result: dict[str, t.Any]) -> dict[str, str]:
    """{name of the failed check: what was found}."""
    return {check["name"]: check["detail"] for check in result["checks"] if check["state"] == "failed"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.close()


@pytest.fixture
def lab(shared: Lab) -> Lab:
    shared.broken = ""
    shared.config = CONFIG
    shared.restarts = 0
    shared.studies.clear()
    shared.deleted.clear()
    shared.archive_log.clear()
    return shared


# --- a sound server


def test_a_sound_server_passes_and_nothing_stays(lab: Lab) -> None:
    for _again in range(2):
        result = run(lab)
        assert failed(result) == {}
        assert result["passed"] is True
        assert result["changed"] is False
        assert result["version"] == "1.12.7"
        assert [check["name"] for check in result["checks"] if check["state"] == "skipped"] == []
        assert lab.studies == {}
        assert len(lab.deleted) == 3
        assert os.listdir(lab.directory / "net") == ["tcp"]
        lab.deleted.clear()


def test_check_mode_stores_nothing(lab: Lab) -> None:
    for _again in range(2):
        result = run(lab, check_mode=True)
        assert failed(result) == {}
        skipped = {check["name"]: check["detail"] for check in result["checks"] if check["state"] == "skipped"}
        assert set(skipped) == {"STOW, QIDO, WADO", "C-STORE"}
        assert all("check mode" in reason for reason in skipped.values())
        assert lab.deleted == []
        written = [line for line in lab.archive_log if not line.startswith(("GET", "HEAD"))]
        assert {line.split("/")[-1] for line in written} <= {"execute-script", "export", "find"}


def test_the_table_is_aligned_and_plain(lab: Lab) -> None:
    result = run(lab)
    columns = {re.match(r"\S+ +\S+ +(?=\S)", line).end() for line in result["table"]}  # type: ignore[union-attr]
    assert columns == {len("skipped") + 2 + len("containers") + 2}
    assert len(result["table"]) == len(result["checks"])
    assert all(line.isascii() and "\n" not in line for line in result["table"])
    assert f"{len(result['checks'])} checks in " in result["summary"]


# --- one thing broken at a time


@pytest.mark.parametrize(
    ("files", "without_file", "found"),
    [
        (0, 0, None),
        (3, 0, "3 orphaned files of 1234567 bytes, which the index does not list, and 0 index entries without a file"),
        (0, 1, "0 orphaned files"),
    ],
)
def test_what_the_index_and_the_storage_do_not_share_is_an_error(lab, tmp_path, files, without_file, found) -> None:
    metrics = tmp_path / "orthanc_reconcile.prom"
    missing = run(lab, reconcile_metrics=str(metrics))
    assert "docker logs lightbox-orthanc-reconcile" in missing["remedies"][0]
    metrics.write_text(
        f"lightbox_orphaned_files {files}\nlightbox_orphaned_bytes 1234567\n"
        f"lightbox_instances_without_file {without_file}\nlightbox_orphaned_since_seconds 1764445200\n"
    )
    result = run(lab, reconcile_metrics=str(metrics))
    assert result["passed"] is (found is None)
    for detail, remedy in zip(failed(result).values(), result["remedies"], strict=True):
        assert found
        assert detail.startswith(found)
        assert detail.endswith("since 2025-11-29 19:40:00 UTC")
        assert "playbooks/reconcile.yml" in remedy


BREAKAGES = [
    ("no container", "orthanc", "no such container"),
    ("container stopped", "orthanc", "exited"),
    ("container unhealthy", "orthanc", "unhealthy"),
    ("container unchecked", "orthanc", "without a health check"),
    ("container published", "publish on loopback only", "orthanc on 0.0.0.0:8042"),
    ("container on host network", "publish on loopback only", "network of the host"),
    ("plain answers", "HTTP redirects to HTTPS", "answers 200"),
    ("plain elsewhere", "HTTP redirects to HTTPS", "elsewhere.test"),
    ("page default", "page", "not the viewer's page"),
    ("page type", "page", "text/plain"),
    ("page cached", "page", "max-age=3600"),
    ("page policy", "security headers", "'unsafe-inline'"),
    ("no Content-Security-Policy", "security headers", "no Content-Security-Policy"),
    ("no X-Content-Type-Options", "security headers", "nosniff"),
    ("no Referrer-Policy", "security headers", "Referrer-Policy"),
    ("config type", "configuration", "text/plain"),
    ("config cached", "configuration", "may be cached"),
    ("config demo", "configuration", "does not name /pacs/dicom-web"),
    ("config stale gzip", "configuration", "older file"),
    ("config stale brotli", "configuration", "precompressed copy"),
    ("bundle plain", "program", "not compressed"),
    ("bundle cache", "program", "again and again"),
    ("bundle vary", "program", "Vary"),
    ("bundle type", "program", "octet-stream"),
    ("worker policy", "program", "stay black"),
    ("css type", "file types", "/app.bundle.css"),
    ("missing is page", "missing file", "answers 200"),
    ("viewer open", "viewer, without login", "GET / answers 200"),
    ("dicomweb open", "DICOMweb, without login", "/studies?limit=1 answers 200"),
    ("archive asks nobody", "without login", "GET /system answers 200"),
    ("archive open", "archive, without login", "GET /pacs/system answers 200"),
    ("archive errors", "archive, without login", "reaches Orthanc"),
    ("tricks open", "path tricks, without login", "//pacs/system answers 200"),
    ("tricks with login", "path tricks, with login", "%2e%2e/pacs/system answers"),
    ("disguises", "method override", "GET /pacs/system?_method=DELETE answers 200"),
    ("other sites", "cross-site requests", "Origin: null answers 200"),
    ("own origin", "cross-site requests", "answers 200"),
    ("any password", "wrong logins", "GET / answers 200"),
    ("identity header", "forged identity headers", "GET / answers 200"),
    ("trusted address", "forged identity headers", "GET / answers 200"),
    ("reverse proxy default login", "default logins", "answers 200"),
    ("login refused", "login", "answers 401"),
    ("no way", "reverse proxy to Orthanc", "studies?limit=1 answers 502"),
    ("page gone", "page", "answers 404"),
    ("archive title", "answers", "OTHER, not LIGHTBOX"),
    ("archive index", "index answers", "503"),
    ("archive plugin", "DICOMweb plugin", "no DICOMweb plugin"),
    ("archive default login", "default logins", "orthanc"),
    ("archive scripts", "no scripts", "200"),
    ("archive export", "no file export", "404"),
    ("STOW", "STOW-RS", "413"),
    ("QIDO", "QIDO-RS", "0 studies"),
    (
        "queries not decoded",
        "QIDO-RS, encoded",
        "0 studies found by PatientName=LIGHTBOX%5EVERIFY&StudyDescription=Synthetic%20",
    ),
    ("JPEG 2000 pixels", "JPEG 2000", "not those that were compressed"),
    ("JPEG 2000 ends it", "none ended by a check", "orthanc has ended and was restarted 1 times during these checks"),
    ("WADO pixels", "WADO-RS frames", "are not the 512 sent"),
    ("metadata", "WADO-RS metadata", "00280100"),
    ("links", "links", "http://localhost/pacs/dicom-web"),
    ("DICOM down", "C-ECHO", "Connection refused"),
    ("any called title", "wrong called AE title", "the association is accepted"),
    ("stranger echoes", "unknown calling AE title", "the association is accepted"),
    ("C-STORE refused", "C-STORE", "0xA700"),
    ("C-STORE pixels", "C-STORE", "other pixels"),
    ("stranger stores", "C-STORE from an unknown AE title", "the image is stored"),
    ("DICOM TLS", "C-ECHO with TLS", "failed in TLS"),
    ("DICOM TLS plain", "C-ECHO with TLS", "without TLS"),
    ("delete", "test studies deleted", "still has it"),
]
# What one fault rightly makes fall short besides.
PROBED = {"wrong logins", "forged identity headers"}
ALSO = {
    "viewer open": PROBED,
    "dicomweb open": PROBED,
    "archive open": PROBED | {"default logins"},
    "archive errors": PROBED | {"default logins"},
    "archive asks nobody": {"default logins"},
    "tricks open": {"path tricks, with login"},
    "any password": {"default logins"},
    "no way": {"STOW-RS", "cross-site requests"},
    "JPEG 2000 ends it": {"JPEG 2000"},
    "stranger echoes": {"C-STORE from an unknown AE title"},
}


ACCEPTED = [
    ("archive scripts", ["ExecuteLuaEnabled"], {"no scripts"}),
    ("archive export", ["RestApiWriteToFileSystemEnabled"], {"no file export"}),
    ("any called title", ["DicomCheckCalledAet"], {"wrong called AE title"}),
    ("stranger echoes", ["DicomAlwaysAllowStore"], {"unknown calling AE title", "C-STORE from an unknown AE title"}),
]


@pytest.mark.parametrize(("broken", "options", "names"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_what_was_accepted_is_reported_as_accepted(lab: Lab, broken: str, options: list[str], names: set[str]) -> None:
    lab.broken = broken
    result = run(lab, accepted_options=options)
    assert result["passed"] is True
    accepted = {check["name"] for check in result["checks"] if f"was accepted ({options[0]})" in check["detail"]}
    assert accepted == names
    # Another accepted option excuses nothing.
    assert names <= set(failed(run(lab, accepted_options=["WebDavEnabled"])))


@pytest.mark.parametrize(("broken", "name", "found"), BREAKAGES, ids=[row[0] for row in BREAKAGES])
def test_what_is_broken_is_found(lab: Lab, broken: str, name: str, found: str) -> None:
    lab.broken = broken
    result = run(lab)
    shortfalls = failed(result)
    assert result["passed"] is False
    assert name in shortfalls, (name, shortfalls)
    assert found in " ".join(check["detail"] for check in result["checks"] if check["name"] == name)
    assert set(shortfalls) - {name} <= ALSO.get(broken, set())
    assert all(check["remedy"] for check in result["checks"] if check["state"] == "failed")
    assert len(result["remedies"]) == len([check for check in result["checks"] if check["state"] == "failed"])
    if broken != "delete":
        assert lab.studies == {}, "what a failing run stored must go as well"


def test_jpeg_2000_is_not_asked_of_an_archive_that_cannot_read_it(lab: Lab) -> None:
    lab.broken = "no GDCM"
    result = run(lab)
    assert failed(result) == {}
    skipped = {check["name"]: check["detail"] for check in result["checks"] if check["state"] == "skipped"}
    assert list(skipped) == ["JPEG 2000"]
    assert "OrthancGdcm" in skipped["JPEG 2000"]


def test_every_check_can_fail(lab: Lab) -> None:
    by_setup = {
        "HTTPS answers",
        "certificate validity",
        "old TLS refused",
        "closed to the outside",
        "orphaned test studies",
    }
    names = {check["name"] for check in run(lab)["checks"]}
    untested = names - {row[1] for row in BREAKAGES} - by_setup
    assert {name for name in untested if not name.endswith("listens on loopback only")} == set()


def test_a_reverse_proxy_that_counts_attempts_is_named(lab: Lab) -> None:
    lab.broken, lab.busy = "busy", 99
    assert "answers 429 because somebody on this server tried many wrong logins" in failed(run(lab))["login"]


def test_hanging_up_is_a_refusal_too(lab: Lab) -> None:
    lab.broken = "reverse proxy hangs up"
    result = run(lab)
    assert failed(result) == {}
    assert any("a closed connection" in check["detail"] for check in result["checks"] if check["group"] == "access")


# --- certificates and protocols


@pytest.mark.parametrize(
    ("variant", "name", "found"),
    [
        ({"days": 5}, "certificate validity", "ends in 5 days"),
        ({"days": -1}, "HTTPS answers", "expired"),
        ({"name": "other.lightbox.test"}, "HTTPS answers", "not trusted"),
        ({"old_tls": True}, "old TLS refused", "TLSv1"),
    ],
    ids=["ends soon", "expired", "another name", "old TLS"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transport(tmp_path: Path, variant: dict[str, t.Any], name: str, found: str) -> None:
    lab = Lab(tmp_path, **variant)
    try:
        shortfalls = failed(run(lab))
        assert set(shortfalls) == {name}
        assert found in shortfalls[name]
    finally:
        lab.close()


@pytest.mark.parametrize(
    ("certified", "warns", "fails"),
    [
        ({"days": 90}, "", ""),
        ({"days": 20}, "in fewer than 21 days", ""),
        ({"days": 13}, "", "fewer than 14"),
        # 45 days: renewed from 15 on; a quarter is 11.25, an eighth 5.6.
        ({"days": 14, "age": 31}, "", ""),
        ({"days": 10, "age": 35}, "in fewer than 11.3 days", ""),
        ({"days": 5, "age": 40}, "", "fewer than 5.63"),
        # Six days: renewed from three on.
        ({"days": 3, "age": 3}, "", ""),
        ({"days": 1, "age": 5}, "in fewer than 1.51 days", ""),
        ({"days": 0, "age": 6}, "", "fewer than 0.755"),
    ],
    ids=str,
)
def test_how_soon_a_certificate_ends(tmp_path: Path, certified: dict[str, Any], warns: str, fails: str) -> None:
    lab = Lab(tmp_path, **certified)
    try:
        result = run(lab)
        assert failed(result).get("certificate validity", "").endswith(fails)
        assert bool(failed(result)) == bool(fails)
        assert len(result["warned"]) == bool(warns)
        assert warns in "".join(result["warned"])
    finally:
        lab.close()


def test_a_placeholder_is_named(tmp_path: Path) -> None:
    lab = Lab(tmp_path, subject="lightbox.pacs placeholder")
    (tmp_path / "other").mkdir()
    try:
        result = run(lab, ca_path=str(certificate(tmp_path / "other")[0]), dicom_tls_port=11112)
        assert "only a placeholder certificate" in failed(result)["HTTPS answers"]
        (remedy,) = [text for text in result["remedies"] if "placeholder" in text]
        assert "journalctl -u lightbox-certificates" in remedy
        # One message, not one for each that uses the certificate.
        assert len(result["remedies"]) == 1
    finally:
        lab.close()


def test_the_check_of_dicom_with_tls_shows_its_certificate(lab: Lab, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "device").mkdir()
    used: list[Any] = []
    create = _verify_images.tls_context

    def record(*arguments: Any) -> ssl.SSLContext:
        used.append(arguments)
        return create(*arguments)

    monkeypatch.setattr(_verify_images, "tls_context", record)
    pair = str(certificate(tmp_path / "device")[1])
    result = run(lab, dicom_client_certificate=pair, dicom_client_key=pair)
    assert failed(result) == {}
    assert used == [(str(lab.ca), pair, pair)]
    (found,) = [one for one in result["checks"] if one["name"] == "C-ECHO with TLS"]
    assert "TLSv1.3 with a client certificate at 127.0.0.1:11112" in found["detail"]


def test_a_client_certificate_that_cannot_be_used_is_named(lab: Lab) -> None:
    result = run(lab, dicom_client_certificate="/none/cert.pem", dicom_client_key="/none/key.pem")
    assert "client_cert /none/cert.pem" in failed(result)["C-ECHO with TLS"]
    assert "verify_dicom_client_certificate" in "".join(result["remedies"])


def test_another_ca_is_not_trusted(lab: Lab, tmp_path: Path) -> None:
    ca = certificate(tmp_path)[0]
    assert "not trusted" in failed(run(lab, ca_path=str(ca)))["HTTPS answers"]
    assert "not trusted" in failed(run(lab, ca_path=""))["HTTPS answers"]
    assert "verify_ca cannot be used" in failed(run(lab, ca_path="/nonexistent.pem"))["HTTPS answers"]


def test_a_dead_reverse_proxy_gives_one_line_not_thirty(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = run(lab, url=f"https://{NAME}:{port}")
    assert set(failed(result)) == {"HTTPS answers", "HTTP redirects to HTTPS"}
    assert all(check["state"] == "skipped" for check in result["checks"] if check["group"] in ("viewer", "access"))
    assert lab.studies == {}


def test_a_dead_archive_gives_one_line(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = run(lab, archive_url=f"http://127.0.0.1:{port}")
    assert set(failed(result)) == {"answers"}
    assert result["version"] == ""


def test_a_wrong_archive_password_is_told_as_that(lab: Lab) -> None:
    assert failed(run(lab, archive_password="wrong-" + "word"))["answers"] == "it refuses the login"


def test_a_server_that_hangs_does_not_hang_the_check(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        result = run(lab, archive_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=1)
    assert "answers" in failed(result)
    assert time.monotonic() - started < 6


# --- ports


@pytest.mark.parametrize("address", ["00000000", "0500A8C0"])
def test_a_port_that_the_network_reaches(lab: Lab, address: str) -> None:
    sound = {(lab.archive_port, "0100007F"), (14242, "0100007F")}
    lab.listen({*sound, (14242, address)})
    try:
        shortfalls = failed(run(lab))
    finally:
        lab.listen(sound)
    assert set(shortfalls) == {"14242 listens on loopback only"}


def test_listening_addresses_are_read(tmp_path: Path) -> None:
    head = "  sl  local_address\n"
    (tmp_path / "tcp").write_text(head + "   0: 0100007F:1F6A 00000000:0000 0A\n   1: 0100007F:1F6A 0100007F:D431 01\n")
    (tmp_path / "tcp6").write_text(
        head
        + f"   0: {'0' * 32}:01BB {'0' * 32}:0000 0A\n"
        + f"   1: {'0' * 24}01000000:1F6A {'0' * 32}:0000 0A\n"
        + f"   2: 0000000000000000FFFF00000100007F:1F6B {'0' * 32}:0000 0A\n"
    )
    found = _verify_host.listeners(str(tmp_path))
    assert found[:3] == [("127.0.0.1", 8042), ("::", 443), ("::1", 8042)]
    assert [_verify_host.is_loopback(address) for address, _port in found] == [True, False, True, True]


def test_what_the_controller_found_is_judged(lab: Lab) -> None:
    name = "closed to the outside"
    reached = run(lab, outside_probe={"address": "192.0.2.1", "reference": True, "reached": [8042]})
    assert failed(reached) == {name: "from the controller 192.0.2.1 answers on port 8042"}
    for probe in (None, {"address": "192.0.2.1", "reference": False, "reached": []}):
        result = run(lab, outside_probe=probe)
        assert [check["state"] for check in result["checks"] if check["name"] == name] == ["skipped"]


def test_the_controller_tells_open_ports_from_closed_ones() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert tcp_port_open.tcp_port_open(port, "127.0.0.1")
    assert not tcp_port_open.tcp_port_open(port, "127.0.0.1")
    assert not tcp_port_open.tcp_port_open(port, "no such name..")
    assert tcp_port_open.TestModule().tests() == {"tcp_port_open": tcp_port_open.tcp_port_open}


# --- what is deleted


def test_only_synthetic_studies_are_ever_deleted(lab: Lab) -> None:
    host = _verify_images.SyntheticStudies(t.cast("Connection", None)).host
    now = int(time.time())
    gone = [f"LIGHTBOX-VERIFY-{host}-{now}-00ff", "LIGHTBOX-VERIFY-0000abcd-1000-00ff", "LIGHTBOX-VERIFY-OLD"]
    stay = [f"LIGHTBOX-VERIFY-0000abcd-{now}-00ff", "PATIENT-1"]
    for patient in gone + stay:
        lab.store(_dicom.synthetic_image(patient).file)
    real = pydicom.dcmread(io.BytesIO(_dicom.synthetic_image("LIGHTBOX-VERIFY-NAMESAKE").file))
    real.StudyInstanceUID = "1.2.840.1"
    lab.studies[real.StudyInstanceUID] = real
    named = pydicom.dcmread(io.BytesIO(_dicom.synthetic_image("LIGHTBOX-VERIFY-NAMED").file))
    named.PatientName = "Somebody^Real"
    lab.studies[named.StudyInstanceUID] = named
    result = run(lab)
    assert failed(result) == {}
    kept = sorted(str(one.PatientID) for one in lab.studies.values())
    assert kept == sorted([*stay, "LIGHTBOX-VERIFY-NAMESAKE", "LIGHTBOX-VERIFY-NAMED"])
    assert [check["detail"] for check in result["checks"] if check["name"] == "orphaned test studies"] == [
        "3 studies of an interrupted run deleted"
    ]


def test_what_is_left_over_and_cannot_be_deleted_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.store(_dicom.synthetic_image("LIGHTBOX-VERIFY-OLD").file)

    def refuse(self: t.Any, identifier: str) -> bool:
        raise _verify.Shortfall("DELETE answers 500")

    monkeypatch.setattr(_verify_images.SyntheticStudies, "delete", refuse)
    assert "orphaned test studies" in failed(run(lab))


def test_an_interrupted_run_deletes_what_it_stored(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: t.Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(_verify_images.Dicomweb, "check_frames", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(lab)
    assert len(lab.deleted) == 1
    assert lab.studies == {}


def test_an_image_to_try_more_with(lab: Lab) -> None:
    path = lab.directory / "image.dcm"
    assert run(lab, image_file=str(path), check_mode=True)["image"] is None
    assert not path.exists()
    assert run(lab)["image"] is None
    told = run(lab, image_file=str(path))["image"]
    assert path.stat().st_mode & 0o777 == 0o600
    image = pydicom.dcmread(path)
    assert told == {"study_uid": image.StudyInstanceUID, "patient_id": image.PatientID}
    # Left in the archive, it goes with the next run.
    lab.store(path.read_bytes())
    assert failed(run(lab)) == {}
    assert lab.studies == {}


def test_two_runs_do_not_delete_each_others_studies(lab: Lab) -> None:
    with _verify_images.lock(1):
        shortfalls = failed(run(lab, timeout=1))
    assert shortfalls == {"no other verification": "another verification runs on this server"}


# --- small parts


def test_a_dicom_tool_that_is_not_installed_is_told(lab: Lab) -> None:
    settings = dict.fromkeys(_verify.Settings.__dataclass_fields__, "")

    def missing(arguments: list[str]) -> tuple[int, str]:
        raise FileNotFoundError

    dimse = _verify_images.Dimse(
        _verify.Settings(**{**settings, "timeout": 1, "run": missing, "temporary": str(lab.directory)}),  # type: ignore[arg-type] # rest unused
        t.cast("Connection", None),
        t.cast("_verify_images.SyntheticStudies", None),
    )
    with pytest.raises(_verify.NotTried, match="dcmtk"):
        dimse.send(_dicom.synthetic_image("LIGHTBOX-VERIFY-TOOL"), "LBXVERIFY")


@pytest.mark.parametrize(
    "url", ["https://", "ftp://name", "https://name/path", "name", "https://name?x=1", "https://name:x"]
)
def test_a_url_that_is_none_is_refused(lab: Lab, url: str) -> None:
    assert "cannot be used" in failed(run(lab, url=url))["HTTPS answers"]


def test_a_secret_in_an_error_is_hidden() -> None:
    checks = _verify.Checks(_verify.secrets_of(("me", "pa55")))
    checks.fail("group", "name", "the server said pa55 and bWU6cGE1NQ==", "try\nagain")
    assert checks.results[0]["detail"] == "the server said ******** and ********"
    assert checks.remedies() == ["group, name - the server said ******** and ********. try again"]


# --- the real archive


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.skipif(
    not (shutil.which("Orthanc") and os.path.exists("/usr/bin/storescu")),
    reason="needs Orthanc, its DICOMweb plugin and DCMTK (packages orthanc, orthanc-dicomweb, dcmtk)",
)
def test_a_real_archive_passes(lab: Lab, tmp_path: Path) -> None:
    """Orthanc behind the small reverse proxy, with DCMTK's own tools; containers and ports stay those of the lab."""
    http_port, dicom_port = free_port(), free_port()
    configuration = {
        "StorageDirectory": str(tmp_path / "db"),
        "IndexDirectory": str(tmp_path / "db"),
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": "LIGHTBOX",
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomModalities": {"verify": {"AET": "LBXVERIFY", "Host": "127.0.0.1", "Port": 104}},
        "AuthenticationEnabled": True,
        "RemoteAccessAllowed": True,
        "RegisteredUsers": {ARCHIVE_USER: ARCHIVE_PASSWORD},
        "HttpCompressionEnabled": False,
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
        "DicomWeb": {"Root": "/pacs/dicom-web/", "EnableWado": True, "WadoRoot": "/pacs/wado"},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(configuration))
    pretended = lab.run

    def real(arguments: list[str]) -> tuple[int, str, str]:
        if arguments[0] == "docker" or "11112" in arguments:
            return pretended(arguments)
        ran = subprocess.run([f"/usr/bin/{arguments[0]}", *arguments[1:]], capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout, ran.stderr

    lab.run = real  # type: ignore[method-assign]
    fake_port, lab.archive_port = lab.archive_port, http_port
    with (tmp_path / "log").open("wb") as log:
        orthanc = subprocess.Popen(["Orthanc", str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", dicom_port), 1):
                break
            time.sleep(0.1)
        login = (ARCHIVE_USER, ARCHIVE_PASSWORD)
        archive = Connection(f"http://127.0.0.1:{http_port}", 5, login=login)
        left = _dicom.synthetic_image("LIGHTBOX-VERIFY-INTERRUPTED")
        assert archive.request("POST", "/instances", body=left.file).status == 200
        result = run(lab, closed_ports=[14242], dicom_port=dicom_port)
        assert failed(result) == {}, (tmp_path / "log").read_text()
        # Debian's Orthanc would end there without what the role's image adds.
        assert [check["name"] for check in result["checks"] if check["state"] == "skipped"] == ["JPEG 2000"]
        assert archive.get("/studies").json() == []
    finally:
        orthanc.terminate()
        orthanc.wait(20)
        lab.archive_port = fake_port
        del lab.run
