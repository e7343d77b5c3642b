"""Requests that nobody may send, and bodies that would end the archive: the answer, and whether the archive got it."""

from __future__ import annotations

import base64
import collections
import contextlib
import http.client
import io
import json
import ssl
import struct
import subprocess
import time
import zipfile
from typing import NamedTuple

import pytest

from tests.samples.noise import instance, new_uid
from tests.support.lab import INVENTORY, address, lab_hosts, secret

FULL = lab_hosts()["full"]
testinfra_hosts = [address("full")]
PACS = f"https://{FULL['ansible_host']}/pacs"
AUDIT = "/var/log/lightbox/reverse_proxy/audit.log"
LOGIN = "Basic " + base64.b64encode(f"admin:{secret('web_password')}".encode()).decode()
CONTEXT = ssl.create_default_context(cafile=str(INVENTORY / ".secrets/ca/ca.pem"))


class Case(NamedTuple):
    """A request; STUDY is a study that must outlive it."""

    line: str
    status: int
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    body: bytes = b""

    @property
    def reaches_archive(self) -> bool:
        return self.status not in (403, 405, 413)


STUDY = "/pacs/studies/STUDY"
CASES = [
    # A method in the query: as it is, and in encodings that Orthanc decodes before it splits the query, or not at all.
    *(
        Case(f"GET {STUDY}?{query}", 403)
        for query in (
            "_method=DELETE",
            "_METHOD=delete",
            "a&_method=DELETE",
            "a;_method=DELETE",
            "a=%26_method=DELETE",
            "a=%26%5Fmethod%3Ddelete",
            "a=%26_%6d%65thod=DELETE%26b",
            "%5f%6d%65%74%68%6f%64%3d%44%45%4c%45%54%45",
            "%00&_method=DELETE",
            "a=%0a%26_method=DELETE",
            "a=%2526_method=DELETE",
            "a=%25252526%25255Fmethod%25253DDELETE",
        )
    ),
    # Harmless in every reading: these ask for the study.
    *(
        Case(f"GET {STUDY}?{query}", 200)
        for query in (
            "method=DELETE",
            "a=_method=DELETE",
            "_method",
            "_method%20=DELETE",
            "a=%2%36_method=DELETE",
            "a=%25%32%36_method=DELETE",
        )
    ),
    Case(f"GET {STUDY}", 403, {"X-HTTP-Method-Override": "DELETE"}),
    Case(f"POST {STUDY}/labels/x", 403, {"x-http-method-override": "PUT"}),
    Case(f"GET {STUDY}", 200, {"X_HTTP_METHOD_OVERRIDE": "DELETE"}),
    Case(f"GET {STUDY}", 200, {"X-HTTP-Method": "DELETE", "Connection": "X-HTTP-Method-Override"}),
    # Methods that the archive has no route for, or takes for WebDAV.
    *(
        Case(f"{method} {STUDY}", 405 if method == "TRACE" else 403)
        for method in ("HEAD", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "PROPPATCH", "MKCOL", "LOCK", "COPY", "GETX")
    ),
    # A GET with a body is a PUT in disguise.
    Case(f"GET {STUDY}", 403, {"Content-Length": "2"}, b"{}"),
    Case(f"GET {STUDY}", 403, {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n"),
    Case(f"GET {STUDY}", 200, {"Content-Length": "0"}),
    # Routes.
    Case("DELETE /pacs/changes", 403),
    Case("DELETE /pacs/exports?x", 403),
    Case("POST /pacs/tools/reconstruct", 403),
    Case("POST /pacs/tools/invalidate-tags", 403),
    Case(f"POST {STUDY}/reconstruct", 403),
    Case("POST /pacs/tools/nothing-known", 403),
    Case("PUT /pacs/tools/log-level", 403, {"Content-Length": "7"}, b"verbose"),
    Case("DELETE /pacs/modalities/verify", 403),
    Case("DELETE /pacs/dicom-web/studies/1.2.3", 403),
    Case("GET /pacs/webdav", 403),
    Case("POST /_lightbox/upload", 403, {"Content-Length": "2"}, b"{}"),
    Case(f"PUT {STUDY}/labels/kept", 200),
    Case(f"DELETE {STUDY}/labels/kept", 200),
    Case("POST /pacs/tools/find", 200, {"Content-Length": "32"}, b'{"Level": "Study", "Query" : {}}'),
    # Bodies that are announced and never sent. Smaller ones than these would be waited for.
    *(
        Case(f"POST /pacs/{path}", 413, {"Content-Length": length})
        for path, length in (
            ("tools/find", "65537"),
            ("modalities/verify/echo", "7516192768"),
            ("tools/bulk-delete", "1048577"),
            ("modalities/verify/store", "7516192768"),
            ("instances", "7516192768"),
            ("tools/create-dicom", "7516192768"),
            ("dicom-web/studies", "7516192768"),
            ("dicom-web/studies/1.2.3", "9223372036854775807"),
        )
    ),
]


def send(line: str, headers: dict[str, str], body: bytes = b"") -> http.client.HTTPSConnection:
    """Send a request as it is written; return the connection, which waits for what was announced and not sent."""
    method, target = line.split(" ")
    connection = http.client.HTTPSConnection(FULL["ansible_host"], timeout=10, context=CONTEXT)
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in {"Authorization": LOGIN, **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.sock.sendall(body)
    return connection


@pytest.fixture(scope="module")
def study(web):
    answer = web.post(f"{PACS}/instances", data=instance(new_uid(), new_uid(), 1, side=16)[1], timeout=30)
    identifier = answer.json()["ParentStudy"]
    yield identifier
    assert web.delete(f"{PACS}/studies/{identifier}", timeout=30).status_code == 200


@pytest.fixture
def restarts(host):
    """Fails where the archive ended during a test."""

    def state() -> str:
        with host.sudo():
            return host.check_output("docker inspect -f '{{.RestartCount}} {{.State.StartedAt}}' lightbox-orthanc")

    before = state()
    yield
    assert state() == before


def audited(host) -> collections.Counter:
    """How often the audit log has each method and path, with the status and whether the archive was asked."""
    with host.sudo():
        lines = [json.loads(line) for line in host.check_output(f"cat {AUDIT}").splitlines()]
    return collections.Counter(
        (line["method"], line["path"], line["status"], line["archive_seconds"] not in ("", "-")) for line in lines
    )


def test_what_is_refused_never_reaches_the_archive_and_is_logged_as_what_it_was(host, web, study, restarts):
    time.sleep(1.1)  # the audit log is written once a second
    before = audited(host)
    wrong, expected = [], collections.Counter()
    for case in CASES:
        line = case.line.replace("STUDY", study)
        with contextlib.closing(send(line, case.headers, case.body)) as connection:
            status = connection.getresponse().status
        if status != case.status:
            wrong.append((case, status))
        method, target = line.split(" ")
        expected[method, target.split("?")[0], case.status, case.reaches_archive] += 1
        assert web.get(f"{PACS}/studies/{study}/labels", timeout=30).status_code == 200, case
        expected["GET", f"/pacs/studies/{study}/labels", 200, True] += 1
    assert wrong == []
    assert web.get(f"{PACS}/studies/{study}/labels", timeout=30).json() == []
    expected["GET", f"/pacs/studies/{study}/labels", 200, True] += 1
    time.sleep(1.1)
    assert audited(host) - before == expected


@pytest.mark.parametrize(("announced", "status"), [([], "200"), (["-H", "Content-Length: 2"], "403")])
def test_a_get_with_a_body_over_http2(web, study, announced, status):
    """HTTP/2 needs no header that announces a body. What Orthanc gets of it: tests/unit/test_reverse_proxy.py."""
    place = f"{PACS}/studies/{study}"
    command = ["curl", "-s", "--http2", "--cacert", INVENTORY / ".secrets/ca/ca.pem", "-H", f"Authorization: {LOGIN}"]
    answer = subprocess.run(
        [*command, *announced, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "-X", "GET", "-T", "-", place],
        input="{}", text=True, capture_output=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    assert answer == f"2 {status}"
    assert web.get(place, timeout=30).status_code == 200


# Runs on the server: what the archive answers to a GET with a method in its query, and with the reverse proxy's header.
ASK = r"""
import re, socket
conf = open("/etc/nginx/nginx.conf").read()
sent = re.findall(r'proxy_set_header (X-HTTP-Method-Override) "(.*)";', conf)
login = re.findall(r'"(.*)"', open("/etc/nginx/lightbox/archive-login.conf").read())[0]
for header in [[], [f"{name}: {value}" for name, value in sent]]:
    for query in ("_method=PUT", "a=%26_method=PUT", "a=%26%5Fmethod%3Dput"):
        lines = [f"GET /changes?limit=1&{query} HTTP/1.1", "Host: x", "Connection: close", f"Authorization: {login}"]
        with socket.create_connection(("127.0.0.1", 8042), 10) as archive:
            archive.sendall("\r\n".join([*lines, *header, "", ""]).encode())
            print(archive.recv(4096).split()[1].decode())
"""


def test_the_archive_decodes_queries_and_takes_no_method_from_them_with_the_reverse_proxys_header(host):
    """Why the cases above matter, and what holds where a query is not refused."""
    with host.sudo():
        assert host.check_output("python3 -c %s", ASK).split() == ["405"] * 3 + ["200"] * 3


def test_bodies_that_are_announced_and_not_sent_do_not_end_the_archive(host, web, study, restarts):
    """The second of the large ones is refused; many smaller ones are more than the archive has memory for."""
    with contextlib.ExitStack() as stack:

        def announce(size: int) -> http.client.HTTPSConnection:
            return stack.enter_context(contextlib.closing(send("POST /pacs/instances", {"Content-Length": str(size)})))

        announce(200_000_000)
        time.sleep(1)  # until it has passed the login
        refused = announce(200_000_000).getresponse()
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert b"Another large upload" in refused.read()
        refused = announce(7_516_192_768).getresponse()
        assert (refused.status, refused.read()) == (
            413,
            b"The largest upload in one request is 204.0 MB on this server.\n",
        )
        announced = [announce(99_999_999) for _unused in range(30)]
        assert announced[-1].getresponse().status == 500
        assert web.get(f"{PACS}/studies/{study}", timeout=30).status_code == 200
        small = web.post(f"{PACS}/instances", data=instance(new_uid(), new_uid(), 1, side=16)[1], timeout=30)
        assert small.status_code == 200
    assert web.delete(f"{PACS}/studies/{small.json()['ParentStudy']}", timeout=30).status_code == 200


def zip_that_claims(size: int) -> bytes:
    """A zip file of some hundred bytes whose only member says that it unpacks to this many."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.dcm", bytes(1000))
    content = bytearray(file.getvalue())
    content[22:26] = struct.pack("<I", size)
    start = content.rindex(b"PK\x01\x02")
    content[start + 24 : start + 28] = struct.pack("<I", size)
    return bytes(content)


def test_a_zip_file_that_unpacks_to_more_than_the_memory_does_not_end_the_archive(web, restarts):
    answer = web.post(f"{PACS}/instances", data=zip_that_claims(0xFFF00000), timeout=60)
    assert answer.status_code >= 400
    assert web.get(f"{PACS}/system", timeout=30).status_code == 200
