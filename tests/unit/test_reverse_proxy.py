"""The reverse proxy's templates, rendered by Ansible's templar and read by nginx, and what its preflight refuses."""

from __future__ import annotations

import base64
import contextlib
import getpass
import http.client
import http.server
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from tests.support.nginx import MIME_TYPES, MODULES, NGINX, OPENSSL, needs_nginx, running_nginx
from tests.support.project import PROJECT
from tests.support.rendering import Role

ROLE = PROJECT / "roles/reverse_proxy"
ADMIN = {"name": "admin", "password": "not a secret"}
ANSWERS: dict[str, Any] = {
    "ansible_facts": {"distribution_release": "trixie"},
    "reverse_proxy_server_names": ["pacs.example.org"],
    "reverse_proxy_users": [ADMIN],
    "reverse_proxy_archive_password": "not a secret either",
    "__reverse_proxy_hashes": {"stdout": "admin:$2y$10$hash", "stdout_lines": ["admin:$2y$10$hash"]},
}


REVERSE_PROXY = Role("reverse_proxy", **ANSWERS)


def render(name: str, answers: dict[str, Any] | None = None) -> str:
    return REVERSE_PROXY.render(name, **(answers or {}))


def errors(answers: dict[str, Any]) -> list[str]:
    return REVERSE_PROXY.errors(**answers)


def blocks(conf: str, start: str) -> list[str]:
    """The text of each block that begins with `start`, nested blocks included."""
    found = []
    for match in re.finditer(re.escape(start), conf):
        depth = 0
        for position in range(conf.index("{", match.start()), len(conf)):
            depth += {"{": 1, "}": -1}.get(conf[position], 0)
            if depth == 0:
                found.append(conf[match.start() : position + 1])
                break
    return found


def before_locations(block: str) -> str:
    """What a block says for itself, without the locations in it."""
    return re.split(r"\n +location ", block, maxsplit=1)[0]


ODD: list[dict[str, Any]] = [
    {},
    {"ansible_facts": {"distribution_release": "noble"}},
    {"reverse_proxy_server_names": ["pacs.example.org", "*.clinic.example", "192.0.2.7", "2001:db8::7"]},
    {"reverse_proxy_server_names": [f"{'a' * 60}.{'b' * 60}.{'c' * 60}.example.org"]},
    {"reverse_proxy_ipv6_enabled": False, "reverse_proxy_hsts_enabled": True, "reverse_proxy_viewer_previous_root": ""},
    {"reverse_proxy_dicom_networks": ["10.0.0.0/8", "2001:db8::/32"]},
    {"reverse_proxy_dicom_tls_networks": ["172.16.0.0/12", "fc00::/16", "2001:db8::1"]},
    {"reverse_proxy_dicom_tls_networks": ["0.0.0.0/0"], "reverse_proxy_dicom_open_to_world": True},
    {"reverse_proxy_dicom_networks": ["10.1.2.3"], "reverse_proxy_dicom_tls_networks": ["10.0.0.0/8"]},
    {"reverse_proxy_frame_ancestors": ["https://ris.example.org", "'self'", "https://*.example.org:8443"]},
    {
        "reverse_proxy_archive_path": "/a/b-c/",
        "reverse_proxy_dicomweb_root": "/dicom-web",
        "reverse_proxy_wado_root": "/a/b-c/wado",
    },
    {
        "reverse_proxy_workers": 64,
        "reverse_proxy_archive_connections": 1,
        "reverse_proxy_https_port": 8443,
        "reverse_proxy_max_upload": "500m",
        "reverse_proxy_upload_mb": 1600,
    },
    {
        "reverse_proxy_upload_mb": 1,
        "reverse_proxy_max_upload": "1048576",
        "reverse_proxy_additional_requests": [
            {"methods": ["POST", "DELETE"], "path": "ocr/{id}/start", "body": "upload"},
            {"methods": ["PUT"], "path": "notes", "body": "small"},
        ],
    },
    {"reverse_proxy_users": [{"name": "n" * 64, "password": "é" * 36}, {"name": "a@b.example", "password": ":" * 12}]},
]


@pytest.mark.parametrize("answers", ODD, ids=str)
def test_odd_but_good_values_have_no_errors(answers):
    assert errors(answers) == []


def parts_of(template: str) -> list[str]:
    """The files below templates/ that a template includes or imports from."""
    return re.findall(r"{% (?:include|from) '([^']+)'", (ROLE / "templates" / template).read_text())


def test_every_part_is_used():
    used: set[str] = set()
    to_read = ["nginx.conf.j2"]
    while to_read:
        new = set(parts_of(to_read.pop())) - used
        used |= new
        to_read += new
    assert used == {f"nginx/{file.name}" for file in (ROLE / "templates/nginx").iterdir()}


def test_every_part_begins_with_what_it_is_for():
    files = list((ROLE / "templates/nginx").iterdir())
    assert [file.name for file in files if not re.match(r" *# |{# ", file.read_text())] == []


@pytest.mark.parametrize("answers", ODD, ids=str)
def test_nginx_conf_is_a_table_of_contents(answers):
    """Each part renders by itself, and of nginx.conf without its parts only the blocks around them are left."""
    rest = render("nginx.conf", answers)
    parts = parts_of("nginx.conf.j2")
    if "stream {" not in rest:
        parts.remove("nginx/dicom.conf.j2")
    for part in parts:
        text = render(part.removesuffix(".j2"), answers)
        assert rest.count(text) == 1, part
        rest = rest.replace(text, "")
    lines = {line.strip() for line in rest.splitlines() if not line.startswith("#")}
    assert lines <= {"", "http {", "server {", "stream {", "}"}


def without_shared_memory(directory: pathlib.Path, conf: str) -> str:
    """nginx.conf for Debian 12's njs 0.7.9, which the role refuses: all but the counting, see test_login.py."""
    program = directory / "login.js"
    nothing = "{add: () => true, get: () => 'x', has: () => true, incr: () => 1, set: () => true}"
    names = re.findall(r"js_shared_dict_zone zone=(\w+):", conf)
    shared = ", ".join(f"{name}: {nothing}" for name in names)
    text = program.read_text().replace("ngx.shared.", "shared.")
    program.write_text(text.replace("\nconst ", f"\nconst shared = {{{shared}}};\nconst ", 1))
    conf, zones = re.subn(r"\n +js_shared_dict_zone [^;]+;", "", conf)
    assert zones == 4
    return conf


def write_conf(directory: pathlib.Path, answers: dict[str, Any]) -> pathlib.Path:
    """nginx.conf with everything it refers to, in one directory."""
    assert NGINX
    assert OPENSSL
    version = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=True).stderr
    minor = int(re.findall(r"nginx/1\.(\d+)", version)[0])
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(directory / "key.pem")]
    subprocess.run(
        [OPENSSL, "req", "-x509", *key, "-subj", "/CN=x", "-out", directory / "cert.pem"],
        capture_output=True,
        check=True,
    )
    (directory / "modules").mkdir()
    (directory / "modules/all.conf").write_text("".join(f'load_module "{module}";\n' for module in MODULES))
    assert MIME_TYPES
    (directory / "mime.types").symlink_to(MIME_TYPES)  # the role's own place has no space in its path
    (directory / "login.conf").write_text('proxy_set_header Authorization "Basic eDp5";\n')
    (directory / "htpasswd").write_text("admin:{PLAIN}not a secret\n")
    for program in (ROLE / "files/njs").glob("*.js"):
        shutil.copy(program, directory)
    (directory / "login.json").write_text('{"digest": "x"}')
    (directory / "dicom.json").write_text('{"client_certificates": "off", "seconds": 10}')
    places = {
        "ansible_facts": {"distribution_release": "trixie" if minor >= 26 else "noble"},
        "reverse_proxy_http_port": 18080,
        "reverse_proxy_https_port": 18443,
        "reverse_proxy_tls_certificate": str(directory / "cert.pem"),
        "reverse_proxy_tls_key": str(directory / "key.pem"),
        "reverse_proxy_log_directory": str(directory),
        "reverse_proxy_ipv6_enabled": False,
        "__reverse_proxy_archive_credentials": str(directory / "login.conf"),
        "__reverse_proxy_htpasswd": str(directory / "htpasswd"),
        "__reverse_proxy_dicom_settings": str(directory / "dicom.json"),
        "__reverse_proxy_login_keys": str(directory / "login.json"),
        "__reverse_proxy_njs_directory": str(directory),
        "__reverse_proxy_runtime_directory": str(directory),
        "__reverse_proxy_pid_file": str(directory / "pid"),
        "__reverse_proxy_modules_directory": str(directory / "modules"),
        "__reverse_proxy_mime_types": str(directory / "mime.types"),
    }
    conf = directory / "nginx.conf"
    drafts = [f"{what}_temp_path {directory}/{what};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    http = "\nhttp {\n"  # an nginx that is not installed has no directories of its own
    text = render("nginx.conf", places | answers)
    assert text.count(http) == 1
    if minor < 24:
        text = without_shared_memory(directory, text)
    conf.write_text(text.replace(http, http + "\n".join(drafts) + "\n"))
    return conf


@needs_nginx
@pytest.mark.parametrize("answers", ODD, ids=str)
def test_nginx_accepts(answers, tmp_path: pathlib.Path):
    assert NGINX
    here = {name: value for name, value in answers.items() if name not in ("ansible_facts", "reverse_proxy_https_port")}
    conf = write_conf(tmp_path, here)
    result = subprocess.run([NGINX, "-t", "-c", conf], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "[warn]" not in result.stderr.replace('the "user" directive makes sense only if', "")


@contextlib.contextmanager
def started(directory: pathlib.Path, answers: dict[str, Any]) -> Iterator[int]:
    """The port of an nginx."""
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        plain, port = (free.getsockname()[1] for free in (one, other))
    user = {
        "__reverse_proxy_user": getpass.getuser(),
        "reverse_proxy_http_port": plain,
        "reverse_proxy_https_port": port,
    }
    conf = write_conf(directory, user | {"reverse_proxy_workers": 1} | answers)
    with running_nginx(conf, port):
        yield port


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[int]:
    """The port of an nginx that has no archive: what a user may send, it answers with 502."""
    with started(tmp_path_factory.mktemp("running"), {}) as port:
        yield port


class Archive(http.server.BaseHTTPRequestHandler):
    """Keeps each request with its body, which it reads by either way of giving a length."""

    protocol_version = "HTTP/1.1"
    got: ClassVar[list[tuple[str, bytes]]] = []

    def answer(self) -> None:
        try:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        except ConnectionError:
            self.close_connection = True
            return
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body += b"in chunks"
        self.got.append((f"{self.command} {self.path}", body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def with_archive(tmp_path_factory) -> Iterator[int]:
    """The port of an nginx in front of `Archive`, as with an orthanc_memory_mb of 1024."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{server.server_address[1]}"
    answers = {"reverse_proxy_archive_address": address, "reverse_proxy_upload_mb": 102}
    with started(tmp_path_factory.mktemp("with_archive"), answers) as port:
        yield port
    server.shutdown()


def status_of(port: int, method: str, target: str, headers: dict[str, str] | None = None) -> int:
    """What nginx answers to the target as it stands."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    lines = [f"{method} {target} HTTP/1.1", "Connection: close"]
    lines += [] if "Host" in (headers or {}) else [f"Host: pacs.example.org:{port}"]
    lines += [] if "Content-Length" in (headers or {}) else ["Content-Length: 0"]
    lines += [f"{name}: {value.replace('PORT', str(port))}" for name, value in (headers or {}).items()]
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="pacs.example.org") as tls,
    ):
        tls.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return int(tls.recv(4096).split()[1])


LOGIN = {"Authorization": "Basic " + base64.b64encode(b"admin:not a secret").decode()}


@needs_nginx
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("pacs.example.org", 200),
        ("PACS.example.org:PORT", 200),
        ("pacs.example.org:443", 200),
        ("pacs.example.org:x@evil.example", 400),
        ("pacs.example.org:443@evil.example", 400),
        ("pacs.example.org:", 400),
        ("pacs.example.org:443;proto=http", 400),
        ("pacs.example.org:443,evil.example", 400),
        ('pacs.example.org:"', 400),
    ],
)
def test_the_host_header_is_a_name_and_a_port(with_archive, host, status):
    assert status_of(with_archive, "GET", "/pacs/system", LOGIN | {"Host": host}) == status


@needs_nginx
@pytest.mark.parametrize(
    ("version", "length"), [("--http1.1", []), ("--http2", []), ("--http2", ["-H", "Content-Length: 8"])]
)
@pytest.mark.parametrize(
    ("method", "target", "arrives"),
    [
        ("GET", "/pacs/system", ""),
        ("GET", "/pacs/app/explorer.html", ""),
        ("GET", "/pacs/ui/app/x", ""),
        ("GET", "/pacs/dicom-web/studies", "/pacs/dicom-web/studies?limit=1000"),
        ("GET", "/pacs/dicom-web/studies?PatientID=x", ""),
        ("GET", "/pacs/dicom-web/series?PatientID=a%5Cb", "/pacs/dicom-web/series?PatientID=a,b"),
        ("GET", "/pacs/wado?x", ""),
        ("POST", "/pacs/tools/find", ""),
        ("PUT", "/pacs/studies/x/labels/y", ""),
        ("POST", "/pacs/tools/create-archive", ""),
        ("POST", "/pacs/instances", ""),
        ("POST", "/pacs/dicom-web/studies/", ""),
    ],
)
def test_the_archive_gets_no_body_of_a_get(with_archive, version, length, method, target, arrives):
    """HTTP/2 needs neither Content-Length nor Transfer-Encoding; nginx then has no header by which it could refuse."""
    Archive.got = []
    url = f"https://pacs.example.org:{with_archive}{target}"
    resolve = f"pacs.example.org:{with_archive}:127.0.0.1"
    command = ["curl", "-sk", version, "--resolve", resolve, "-u", "admin:not a secret", "-o", "/dev/null", *length]
    sent = subprocess.run(
        [*command, "-w", "%{http_code} %{http_version}", "-X", method, "-T", "-", url],
        input=b'{"a": 1}', capture_output=True, timeout=10, check=False,
    )  # fmt: skip
    status, spoken = sent.stdout.decode().split()
    assert spoken == version.removeprefix("--http")
    path = (arrives or target).removeprefix("" if "dicom-web" in target or "wado" in target else "/pacs")
    if method != "GET":
        assert status == "200"
        ((line, body),) = Archive.got
        assert line == f"{method} {path}"
        assert body in (b'{"a": 1}', b"in chunks")
    elif length or version == "--http1.1":
        assert (status, Archive.got) == ("403", [])
    else:
        assert status == "200"
        assert Archive.got[-1] == (f"GET {path}", b"")
        assert {body for line, body in Archive.got if line.startswith("GET ")} == {b""}


@needs_nginx
def test_a_second_large_upload_waits_and_smaller_ones_do_not(with_archive):
    """The largest has 102 MB here, and more than half of that is large."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.ExitStack() as stack:

        def announce(size: str) -> http.client.HTTPSConnection:
            """Announce an upload of which nothing follows."""
            connection = http.client.HTTPSConnection("pacs.example.org", with_archive)
            stack.enter_context(contextlib.closing(connection))
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", with_archive), 0.5))
            connection.sock = context.wrap_socket(plain, server_hostname=connection.host)
            connection.putrequest("POST", "/pacs/instances")
            length = {"Transfer-Encoding": "chunked"} if size == "chunked" else {"Content-Length": size}
            for name, value in (LOGIN | length).items():
                connection.putheader(name, value)
            connection.endheaders()
            return connection

        def is_waited_for(size: str) -> bool:
            try:
                answer = announce(size).getresponse()
            except TimeoutError:
                return True
            assert (answer.status, answer.headers["Retry-After"]) in ((503, "5"), (200, None))
            return answer.status == 200

        assert is_waited_for("60000000")
        found = {
            size: is_waited_for(size)
            for size in ("10000000", "40000000", "0053477375", "53477376", "60000000", "0100000000", "chunked")
        }
    assert [size for size, waited in found.items() if not waited] == ["53477376", "60000000", "0100000000"]


OWN = "https://pacs.example.org:PORT"
OTHER_SITES: list[tuple[str, dict[str, str], int]] = [
    ("POST", {}, 502),
    ("POST", {"Origin": OWN}, 502),
    ("POST", {"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, 502),
    ("DELETE", {"Sec-Fetch-Site": "none"}, 502),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Origin": "https://other.example"}, 502),
    ("POST", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("POST", {"Sec-Fetch-Site": "same-site"}, 403),
    ("POST", {"Origin": OWN, "Sec-Fetch-Site": "cross-site"}, 403),
    ("POST", {"Origin": "https://other.example", "Sec-Fetch-Site": "same-origin"}, 403),
    ("DELETE", {"Origin": "null"}, 403),
    ("POST", {"Origin": "https://pacs.example.org"}, 403),
    ("POST", {"Origin": "http://pacs.example.org:PORT"}, 403),
    ("POST", {"Origin": f"{OWN}0"}, 403),
    ("POST", {"Origin": f"https://other.example {OWN}"}, 403),
    ("PROPFIND", {"Sec-Fetch-Site": "cross-site"}, 403),
]


@needs_nginx
@pytest.mark.parametrize(("method", "headers", "status"), OTHER_SITES, ids=str)
def test_other_sites_change_nothing(running, method, headers, status):
    target = "/pacs/studies/x" if method == "DELETE" else "/pacs/tools/find"
    assert status_of(running, method, target, headers | LOGIN) == status
    assert status_of(running, method, target, headers) == 401


@needs_nginx
@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/pacs/system", {}, 502),
        ("PUT", "/pacs/tools/unknown-sop-class-accepted#x", {}, 400),
        ("GET", "/pacs/webdav#", {}, 400),
        ("GET", "/pacs/system?x#y", {}, 400),
        ("GET", "/pacs/studies/x?_method=DELETE", {}, 403),
        ("GET", "/pacs/studies/x?a=b&%5FMETHOD=DELETE", {}, 403),
        ("GET", "/pacs/studies/x", {"X-HTTP-Method-Override": "DELETE"}, 403),
        ("POST", "/pacs/tools/dicom-echo", {}, 403),
        ("GET", "/pacs//system", {}, 400),
        ("GET", "/pacs/%73ystem", {"X-HTTP-Method-Override": "0"}, 400),
        ("GET", "/pacs", {}, 301),
        ("GET", "/pacs/app", {}, 301),
        ("GET", "/pacs/ui?x", {}, 301),
        ("GET", "/pacs/dicom-web", {}, 301),
        ("GET", "/pacs/wado?requestType=WADO", {}, 502),
        ("GET", "/pacs/wado/", {}, 502),
        ("GET", "/nothing.js", {}, 404),
        ("GET", "/_lightbox/login", {}, 404),
        ("POST", "/_lightbox/login", {}, 404),
        ("GET", "/_lightbox/login/x.js", {}, 404),
        ("POST", "/_lightbox/archive/tools/find", {}, 404),
        ("POST", "/", {"Content-Length": "65537"}, 413),
        ("PUT", "/pacs/app/x", {"Content-Length": "99999999999"}, 403),
        ("POST", "/pacs/instances", {"Content-Length": "99999999999"}, 413),
        ("POST", "/pacs/dicom-web/studies", {"Content-Length": "99999999999"}, 413),
        ("POST", "/_lightbox/login", {"Content-Length": "99999999999"}, 404),
        ("PROPFIND", "/pacs/webdav", {}, 403),
        ("OPTIONS", "/pacs/system", {}, 403),
        ("GET", "/.well-known/acme-challenge/x", {}, 400),
    ],
    ids=str,
)
def test_without_a_login_every_answer_is_401(running, method, target, headers, status):
    """No answer shows which routes there are, or what is refused on them."""
    assert status_of(running, method, target, headers | LOGIN) == status
    assert status_of(running, method, target, headers) == 401
    assert status_of(running, method, target, headers | {"Authorization": "Basic YWRtaW46eA=="}) == 401


@needs_nginx
@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("basic YWRtaW46bm90IGEgc2VjcmV0", 502),
        ("BASIC    YWRtaW46bm90IGEgc2VjcmV0==", 502),
        ("Basic YWRtaW46bm90IGEgc2VjcmV0,", 401),
        ("Bearer YWRtaW46bm90IGEgc2VjcmV0", 401),
        ("YWRtaW46bm90IGEgc2VjcmV0", 401),
        ("Basic YWRtaW46bm90IGEgc2VjcmV0\r\nAuthorization: Basic YWRtaW46eA==", None),
        ("Basic YWRtaW46eA==\r\nAuthorization: Basic YWRtaW46bm90IGEgc2VjcmV0", None),
    ],
)
def test_forms_of_a_login(running, authorization, status):
    """Where the header comes twice, nginx refuses the request (since 1.23), or looks at the first for all purposes."""
    found = status_of(running, "GET", "/pacs/system", {"Authorization": authorization})
    assert found == status if status else found in (400, 401, 502 if "bm90" in authorization.splitlines()[0] else 401)


def test_every_location_is_behind_the_login():
    """Nothing answers before the access phase but what comes after a login or a limit."""
    server = re.sub(r"\n *#.*", "", blocks(render("nginx.conf"), "server {")[-1])
    before = {block.split("{")[0].split()[-1] for block in blocks(server, "location ") if "return " in block}
    assert before == {"/_lightbox/login", "@refused", "@slash", "@busy", "@upload_limit"}
    assert "return " not in before_locations(server)


def test_everything_is_behind_the_login():
    conf = render("nginx.conf")
    server = blocks(conf, "server {")[-1]
    assert "auth_request /_lightbox/login;" in before_locations(server)
    off = [block for block in blocks(server, "location ") if "auth_request off" in block]
    # Nobody reaches a location with a name but by another location, which asked for the login.
    assert [block.split("{")[0].strip() for block in off] == [
        "location = /_lightbox/login",
        "location @upload_limit",
        "location @upload",
        "location @lightbox_study_search",
        "location /_lightbox/archive/",
    ]
    assert "internal;" in off[0]
    assert "internal;" in off[-1]
    assert "client_max_body_size 0;" in off[0]


def test_names_decide_who_is_served():
    named = render("nginx.conf")
    assert "ssl_reject_handshake on;" in named
    addressed = render("nginx.conf", {"reverse_proxy_server_names": ["pacs.example.org", "192.0.2.7", "2001:db8::7"]})
    assert "ssl_reject_handshake" not in addressed
    assert "server_name pacs.example.org 192.0.2.7 [2001:db8::7];" in addressed
    assert all("return 421;" in block for block in blocks(addressed, "server {") if 'server_name "";' in block)


@pytest.mark.parametrize(("release", "directive"), [("noble", False), ("trixie", True)])
def test_http2_by_version(release, directive):
    conf = render("nginx.conf", {"ansible_facts": {"distribution_release": release}})
    assert ("http2 on;" in conf) is directive
    assert ("ssl http2" in conf) is not directive


def test_a_redirect_to_the_default_port_names_no_port():
    """Also where the command line gives the number as text."""
    for port in (443, "443"):
        assert "return 301 https://$host$request_uri;" in render("nginx.conf", {"reverse_proxy_https_port": port})
    assert "https://$host:8443$request_uri" in render("nginx.conf", {"reverse_proxy_https_port": "8443"})


def test_headers_are_complete_wherever_one_is_added():
    conf = render("nginx.conf", {"reverse_proxy_hsts_enabled": True})
    wanted = {
        "Content-Security-Policy",
        "X-Content-Type-Options",
        "Referrer-Policy",
        "Cross-Origin-Resource-Policy",
        "Permissions-Policy",
        "Strict-Transport-Security",
        "Cache-Control",
    }
    server = blocks(conf, "server {")[-1]
    for block in [server, *blocks(server, "location ")]:
        added = set(re.findall(r"add_header ([A-Za-z-]+)", before_locations(block)))
        assert not added or wanted <= added, block
    assert "Strict-Transport-Security" not in render("nginx.conf")


def test_what_may_be_kept_for_ever_is_said_of_good_answers_only():
    lines = [line.strip() for line in render("nginx.conf").splitlines() if "immutable" in line]
    assert lines
    assert not [line for line in lines if "always" in line or "public" in line]


def test_only_the_bundles_may_evaluate():
    conf = render("nginx.conf")
    policies = set(re.findall(r'Content-Security-Policy "([^"]+)"', conf))
    assert len(policies) == 5
    evaluating = {policy for policy in policies if "'unsafe-eval'" in policy}
    assert len(evaluating) == 2  # the viewer's bundles, and the archive's own pages
    for block in blocks(conf, "location / {"):
        assert "'unsafe-inline' 'unsafe-eval'" not in block
    bundles = {policy for policy in evaluating if "frame-ancestors" not in policy}
    assert len(bundles) == 1
    assert all("frame-ancestors 'none'" in policy for policy in policies - bundles)


def test_dicom_is_closed_unless_networks_are_named():
    assert "stream {" not in render("nginx.conf")
    plain = render("nginx.conf", {"reverse_proxy_dicom_networks": ["10.0.0.0/8"]})
    stream = blocks(plain, "stream {")[0]
    assert re.search(r"allow 10\.0\.0\.0/8;\s+deny all;", stream)
    assert "11112" not in stream
    tls = blocks(render("nginx.conf", {"reverse_proxy_dicom_tls_networks": ["10.0.0.0/8"]}), "stream {")[0]
    assert "listen 11112 ssl" in tls
    assert "listen 4242" not in tls
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in tls


def test_no_query_strings_in_the_audit_log():
    conf = render("nginx.conf")
    log = conf[conf.index("log_format audit") : conf.index("access_log")]
    assert not re.search(r"\$(request_uri|request|args|query_string|http_referer)\b", log)


def test_no_secret_is_rendered():
    for name in ("nginx.conf", "lightbox.conf", "lightbox-reverse-proxy"):
        assert "not a secret" not in render(name)


def map_rules(conf: str, variable: str) -> list[str]:
    """The regular expressions of a map, as nginx reads them from between quotes."""
    block = next(block for block in blocks(conf, "map ") if f"${variable} {{" in block)
    found = re.findall(r'"~(\*?)([^"]+)" 1;', block)
    return [("(?i)" if any_case else "") + rule.replace("\\\\", "\\") for any_case, rule in found]


@pytest.mark.parametrize(
    ("uri", "refused"),
    [
        ("/pacs/../x", True),
        ("/pacs//x", True),
        ("/pacs/%2e%2e/x", True),
        ("/pacs/./x", True),
        ("/pacs\\x", True),
        ("/%70acs/", True),
        ("http://x/", True),
        ("/pacs/tools/unknown-sop-class-accepted#x", True),
        ("/pacs/webdav#", True),
        ("/pacs/studies?x#y", True),
        ("/pacs/dicom-web/studies?x=%2A/../", False),
        ("/pacs/dicom-web/studies/1.2.3/series", False),
        ("/", False),
    ],
)
def test_path_tricks(uri, refused):
    assert any(re.search(rule, uri) for rule in map_rules(render("nginx.conf"), "lightbox_trick")) is refused


def map_value(conf: str, variable: str, key: str) -> str:
    """What a map gives, as nginx evaluates it: the first expression that matches ("" matches none), or the default."""
    block = next(block for block in blocks(conf, "map ") if f"${variable} {{" in block)
    if not key:
        return re.findall(r'(?:""|default) (\S+);', block)[-1]
    for any_case, rule, value in re.findall(r'^ +"~(\*?)([^"]+)" (\S+);$', block, re.MULTILINE):
        if re.search(("(?i)" if any_case else "") + rule.replace("\\\\", "\\").replace("(?<", "(?P<"), key):
            return value
    return re.findall(r"default (\S+);", block)[0]


# Requests that change something, of the modules, the archive's pages, Orthanc Explorer 2 and the tests, and their body.
ALLOWED = {
    "POST /pacs/instances": "upload",
    "POST /pacs/instances/": "upload",
    "POST /pacs/instances?x=y": "upload",
    "POST /pacs/tools/create-dicom": "upload",
    "PUT /pacs/studies/x/attachments/4001": "upload",
    "POST /pacs/dicom-web/studies": "upload",
    "POST /pacs/dicom-web/studies/1.2.3/": "upload",
    "POST /pacs/tools/find": "small",
    "POST /pacs/tools/count-resources": "small",
    "POST /pacs/tools/lookup": "small",
    "POST /pacs/tools/bulk-content": "list",
    "POST /pacs/tools/bulk-delete": "list",
    "POST /pacs/tools/bulk-modify": "list",
    "POST /pacs/tools/bulk-anonymize": "list",
    "POST /pacs/tools/create-archive": "list",
    "POST /pacs/tools/create-media-extended": "list",
    "DELETE /pacs/studies/x": "small",
    "DELETE /pacs/instances/x/attachments/4001": "small",
    "POST /pacs/series/x/modify": "list",
    "POST /pacs/instances/x/anonymize": "list",
    "POST /pacs/studies/x/merge": "list",
    "POST /pacs/studies/x/archive": "list",
    "PUT /pacs/studies/x/labels/y": "small",
    "DELETE /pacs/studies/x/metadata/4000": "small",
    "PUT /pacs/patients/x/protected": "small",
    "POST /pacs/instances/x/attachments/dicom/verify-md5": "small",
    "POST /pacs/jobs/x/cancel": "small",
    "DELETE /pacs/jobs/x/archive": "small",
    "POST /pacs/modalities/x/echo": "small",
    "POST /pacs/modalities/x/query": "small",
    "POST /pacs/modalities/x/find-worklist": "small",
    "POST /pacs/modalities/x/store": "list",
    "POST /pacs/queries/x/answers/0/retrieve": "small",
    "POST /pacs/queries/x/answers/0/query-series": "small",
    "DELETE /pacs/queries/x": "small",
    "POST /pacs/peers/x/store": "list",
    "POST /pacs/dicom-web/servers/x/stow": "list",
    "POST /pacs/worklists/create": "small",
    "PUT /pacs/worklists/x": "small",
}
REFUSED = [
    *(f"{method} /pacs/{path}" for method in ("GET", "POST", "PUT") for path in ("tools/reset", "tools/shutdown/?x")),
    "POST /pacs/tools/execute-script",
    "POST /pacs/tools/dicom-echo",
    "POST /pacs/tools/reconstruct",
    "POST /pacs/tools/invalidate-tags",
    "POST /pacs/tools/unlisted",
    "PUT /pacs/tools/log-level-http",
    "PUT /pacs/tools/metrics",
    "POST /pacs/studies/x/reconstruct",
    "POST /pacs/instances/x/attachments/dicom/compress",
    "POST /pacs/instances/x/export",
    "POST /pacs/modalities/x/store-straight",
    "DELETE /pacs/changes",
    "DELETE /pacs/exports",
    "DELETE /pacs/exports/?x",
    "PUT /pacs/modalities/x",
    "DELETE /pacs/peers/x/",
    "PUT /pacs/dicom-web/servers/x",
    "DELETE /pacs/dicom-web/servers/x",
    "DELETE /pacs/dicom-web/studies/1.2.3",
    "POST /pacs/dicom-web/instances",
    "POST /pacs/wado",
    "POST /pacs/wado?x",
    "POST /pacs/",
    "POST /pacs/instances/x",
    "POST /pacs/instancesx",
    "POST /pacs/x/instances",
    "PUT /pacs/instances",
    "POST /pacs/pacs/instances",
    "GET /pacs/pacs/dicom-web/studies",
    *(f"{method} /pacs/instances" for method in ("HEAD", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "LOCK", "GETX")),
    "PROPFIND /pacs/webdav/by-dates",
    "GET /pacs/webdav",
    "GET /pacs/dicom-webdav/../webdav/x?_method=PUT",
    "GET /_lightbox/upload",
    "POST /_lightbox/list?x",
]
HARMLESS = [
    "GET /pacs/changes?since=0",
    "GET /pacs/tools/log-level",
    "GET /pacs/modalities?expand",
    "GET /pacs/tools/create-archive?resources=x,y",
    "GET /pacs/dicom-web/studies?StudyDescription=method%20of%20choice",
    "GET /pacs/dicom-web/studies?StudyDescription=_method%3DDELETE",
    "GET /pacs/dicom-web/studies?StudyDescription=a_method=DELETE",
    "GET /pacs/studies/x?method=DELETE",
    "GET /pacs/studies/x?&_methodology=DELETE",
    "GET /pacs/studies/x?_method",
    "GET /",
    "POST /",
    "HEAD /viewer?StudyInstanceUIDs=1.2.3",
    "POST /pacsx/tools/reset",
]


@pytest.fixture(scope="module")
def conf() -> str:
    return render("nginx.conf")


@pytest.mark.parametrize(
    ("request_line", "refused", "body"),
    [
        *((line, False, body) for line, body in ALLOWED.items()),
        *((line, True, "") for line in REFUSED),
        *((line, False, "") for line in HARMLESS),
    ],
)
def test_routes(conf, request_line, refused, body):
    assert map_value(conf, "lightbox_refused", f"0 {request_line}") == str(int(refused))
    assert map_value(conf, "lightbox_body", request_line).strip('"') == body


@pytest.mark.parametrize(
    "query", ["_method=DELETE", "_METHOD=put", "a=b&_method=x", "a=%26_method=DELETE", "a;_method=x", "a=b%3f_method=x"]
)
@pytest.mark.parametrize("encoded", ["", "_", "&=", "_method", "&;?_=", "&;?_=METHODmethod"])
@pytest.mark.parametrize("again", range(3))
@pytest.mark.parametrize("digits", ["02x", "02X"])
def test_a_method_in_a_query_is_refused_in_every_encoding(conf, query, encoded, again, digits):
    query = "".join(f"%{ord(sign):{digits}}" if sign in encoded else sign for sign in query)
    for _unused in range(again):
        query = query.replace("%", "%25")
    assert map_value(conf, "lightbox_refused", f"0 GET /pacs/studies/x?{query}") == "1"


@pytest.mark.parametrize(
    ("length", "encoding", "refused"), [("", "", 0), ("0", "", 0), ("000", "", 0), ("1", "", 1), ("", "chunked", 1)]
)
def test_a_get_has_no_body(conf, length, encoding, refused):
    body = map_value(conf, "lightbox_has_body", length + encoding)
    assert map_value(conf, "lightbox_refused", f"{body} GET /pacs/dicom-web/studies") == str(refused)
    assert map_value(conf, "lightbox_refused", f"{body} GET /viewer") == "0"
    assert map_value(conf, "lightbox_refused", f"{body} POST /pacs/tools/find") == "0"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/pacs/instances?x=%26", "/instances?x=%26"),
        ("/pacs/dicom-web/studies/1.2?y", "$request_uri"),
        ("/pacs/dicom-webs", "/dicom-webs"),
    ],
)
def test_the_path_of_a_request_with_a_body(conf, uri, path):
    found = map_value(conf, "lightbox_archive_uri", uri)
    rest = re.search(r"^/pacs/(.*)$", uri)
    assert rest
    assert found.replace("$lightbox_route_of_archive", rest[1]) == path


@pytest.mark.parametrize(
    ("answers", "limit", "at_once"),
    [
        ({}, 204 << 20, 1),
        ({"reverse_proxy_upload_mb": 819, "reverse_proxy_max_upload": "200m"}, 200 << 20, 4),
        ({"reverse_proxy_upload_mb": 4096, "reverse_proxy_max_upload": "4G"}, 4 << 30, 1),
        ({"reverse_proxy_upload_mb": 51}, 51 << 20, 1),
    ],
)
def test_uploads_fit_into_memory(answers, limit, at_once):
    assert errors(answers) == []
    conf = render("nginx.conf", answers)
    assert set(re.findall(r"client_max_body_size (\d{3,});", conf)) == {str(limit)}
    assert f"limit_conn lightbox_large_uploads {at_once};" in conf
    assert map_value(conf, "lightbox_large_bytes", "") == str(limit // 2)


def test_further_requests_never_open_what_is_refused():
    more = [{"methods": ["POST"], "path": path} for path in ("ocr/{id}/start", "tools/reset", "webdav/x")]
    conf = render("nginx.conf", {"reverse_proxy_additional_requests": more})
    for path, refused in (("ocr/1/start", "0"), ("ocr/1/2/start", "1"), ("tools/reset", "1"), ("webdav/x", "1")):
        assert map_value(conf, "lightbox_refused", f"0 POST /pacs/{path}") == refused


SITES = {
    "/etc/nginx/sites-enabled/*": ["/etc/nginx/sites-enabled/default"],
    "/etc/nginx/conf.d/*.conf": ["/etc/nginx/conf.d/intranet.conf"],
}


def test_what_the_server_has_is_told_in_the_errors():
    listeners = [{"port": 80, "process": "nginx"}, {"port": 443, "process": "apache2"}, {"port": 443, "process": "x"}]
    found = errors({"__reverse_proxy_host": {"listeners": listeners, "globs": SITES}})
    assert len(found) == 2
    assert "in use on this server: 443 by apache2, 443 by x." in found[0]
    assert "other sites: intranet.conf." in found[1]


@pytest.mark.parametrize(
    "host",
    [
        {"listeners": [{"port": 443, "process": "nginx"}], "ipv6": True},
        {"globs": {name: files[:1] for name, files in SITES.items() if "sites" in name}},
        {"globs": SITES, "lines": {"/etc/nginx/nginx.conf": True}},
    ],
    ids=["nginx listens", "the distribution's site", "its own configuration"],
)
def test_servers_that_the_reverse_proxy_can_use(host):
    assert errors({"__reverse_proxy_host": host}) == []


BAD: list[tuple[str, dict[str, Any]]] = [
    ("reverse_proxy_enabled", {"ansible_facts": {"distribution_release": "focal"}}),
    ("Debian 13 or Ubuntu 24.04", {"ansible_facts": {"distribution_release": "bookworm"}}),
    ("reverse_proxy_server_names", {"reverse_proxy_server_names": []}),
    ("reverse_proxy_server_names", {"reverse_proxy_server_names": ["https://pacs.example.org"]}),
    ("reverse_proxy_server_names", {"reverse_proxy_server_names": ["pacs.example.org:443"]}),
    ("reverse_proxy_server_names", {"reverse_proxy_server_names": ["300.1.1.1"]}),
    ("reverse_proxy_server_names", {"reverse_proxy_server_names": ["pacs.example.org;", "x y"]}),
    ("reverse_proxy_server_names", {"reverse_proxy_server_names": ["pacs.example.org", "PACS.example.org"]}),
    ("reverse_proxy_https_port", {"reverse_proxy_https_port": 70000}),
    ("reverse_proxy_http_port", {"reverse_proxy_http_port": 443}),
    ("reverse_proxy_dicom_port", {"reverse_proxy_dicom_port": 443, "reverse_proxy_dicom_networks": ["10.0.0.1"]}),
    (
        "reverse_proxy_archive_dicom_address",
        {"reverse_proxy_dicom_port": 14242, "reverse_proxy_dicom_networks": ["10.0.0.1"]},
    ),
    ("reverse_proxy_https_port", {"__reverse_proxy_host": {"listeners": [{"port": 443, "process": "apache2"}]}}),
    ("reverse_proxy_replace_sites", {"__reverse_proxy_host": {"globs": SITES}}),
    ("reverse_proxy_ipv6_enabled", {"__reverse_proxy_host": {"ipv6": False}}),
    ("reverse_proxy_tls_key", {"reverse_proxy_tls_key": "key.pem"}),
    ("reverse_proxy_viewer_root", {"reverse_proxy_viewer_root": "/"}),
    ("reverse_proxy_log_directory", {"reverse_proxy_log_directory": "/var/log/../x"}),
    ("reverse_proxy_acme_directory", {"reverse_proxy_acme_directory": "/x;y"}),
    ("reverse_proxy_archive_path", {"reverse_proxy_archive_path": "/"}),
    ("reverse_proxy_dicomweb_root", {"reverse_proxy_dicomweb_root": "/pacs/dicom-web/"}),
    ("reverse_proxy_wado_root", {"reverse_proxy_wado_root": "/pacs/dicom-web"}),
    ("reverse_proxy_archive_address", {"reverse_proxy_archive_address": "127.0.0.1"}),
    ("reverse_proxy_dicom_networks", {"reverse_proxy_dicom_networks": ["10.0.0.0/33"]}),
    ("reverse_proxy_dicom_networks", {"reverse_proxy_dicom_networks": ["hospital"]}),
    ("reverse_proxy_dicom_open_to_world", {"reverse_proxy_dicom_networks": ["0.0.0.0/0"]}),
    ("reverse_proxy_dicom_open_to_world", {"reverse_proxy_dicom_networks": ["::/0"]}),
    ("reverse_proxy_dicom_open_to_world", {"reverse_proxy_dicom_networks": ["0.0.0.0/1", "128.0.0.0/1"]}),
    ("reverse_proxy_dicom_networks", {"reverse_proxy_dicom_networks": ["2000::/3"]}),
    ("reverse_proxy_dicom_tls_networks", {"reverse_proxy_dicom_tls_networks": ["0.0.0.0/0"]}),
    ("reverse_proxy_dicom_tls_networks", {"reverse_proxy_dicom_tls_networks": ["2000::/15"]}),
    ("reverse_proxy_dicom_networks", {"reverse_proxy_dicom_networks": ["10.0.0.0/8\n"]}),
    ("reverse_proxy_dicom_networks", {"reverse_proxy_dicom_networks": ["1:2:3"]}),
    ("reverse_proxy_dicom_networks", {"reverse_proxy_dicom_networks": ["10.01.0.0/16"]}),
    ("reverse_proxy_dicom_networks", {"reverse_proxy_dicom_networks": ["10.1.2.3/16"]}),
    ("reverse_proxy_dicom_networks", {"reverse_proxy_dicom_networks": ["10.1.0.0/255.255.0.0"]}),
    ("reverse_proxy_dicom_tls_networks", {"reverse_proxy_dicom_tls_networks": ["fe80::1%eth0"]}),
    ("reverse_proxy_server_names", {"reverse_proxy_server_names": ["pacs.example.org\n"]}),
    ("reverse_proxy_server_names", {"reverse_proxy_server_names": ["192.0.2.7\n"]}),
    ("reverse_proxy_tls_key", {"reverse_proxy_tls_key": "/x/key.pem\n"}),
    ("reverse_proxy_archive_path", {"reverse_proxy_archive_path": "/pacs/\n"}),
    ("reverse_proxy_wado_root", {"reverse_proxy_wado_root": "/pacs/wado\n"}),
    ("reverse_proxy_archive_address", {"reverse_proxy_archive_address": "127.0.0.1:8042\n"}),
    ("reverse_proxy_max_upload", {"reverse_proxy_max_upload": "8g\n"}),
    ("reverse_proxy_frame_ancestors", {"reverse_proxy_frame_ancestors": ["https://x.example\n"]}),
    ("reverse_proxy_users", {"reverse_proxy_users": [{"name": "a\n", "password": "x" * 12}]}),
    ("reverse_proxy_max_upload", {"reverse_proxy_max_upload": "8 GB"}),
    ("reverse_proxy_max_upload", {"reverse_proxy_max_upload": "205m"}),
    ("reverse_proxy_max_upload", {"reverse_proxy_max_upload": str((204 << 20) + 1)}),
    ("reverse_proxy_upload_mb", {"reverse_proxy_upload_mb": 0}),
    ("reverse_proxy_additional_requests", {"reverse_proxy_additional_requests": [{"methods": ["PUT"], "path": "/x"}]}),
    ("reverse_proxy_additional_requests", {"reverse_proxy_additional_requests": [{"methods": ["PUT"], "path": "x.*"}]}),
    ("reverse_proxy_additional_requests", {"reverse_proxy_additional_requests": [{"methods": ["PUT"], "path": "x\n"}]}),
    ("reverse_proxy_frame_ancestors", {"reverse_proxy_frame_ancestors": ["https://x.example; script-src *"]}),
    ("reverse_proxy_frame_ancestors", {"reverse_proxy_frame_ancestors": ["https://x.example/path"]}),
    ("reverse_proxy_workers", {"reverse_proxy_workers": 0}),
    ("reverse_proxy_archive_connections", {"reverse_proxy_archive_connections": -1}),
    ("reverse_proxy_audit_log_days", {"reverse_proxy_audit_log_days": 0}),
    ("reverse_proxy_users", {"reverse_proxy_users": [{"name": "a:b", "password": "x" * 12}]}),
    (
        "reverse_proxy_users",
        {"reverse_proxy_users": [{"name": "a", "password": "x" * 12}, {"name": "a", "password": "y" * 12}]},
    ),
    ("reverse_proxy_users", {"reverse_proxy_users": [{"name": "a", "password": ""}]}),
    ("reverse_proxy_users", {"reverse_proxy_users": [{"name": "a", "password": "hiddenhidde"}]}),
    ("for jane. Set it to 12 characters", {"reverse_proxy_users": [ADMIN, {"name": "jane", "password": "hidden"}]}),
    ("reverse_proxy_users", {"reverse_proxy_users": [{"name": "a", "password": "é" * 11}]}),
    ("reverse_proxy_users", {"reverse_proxy_users": [{"name": "a", "password": 12345678901}]}),
    ("reverse_proxy_users", {"reverse_proxy_users": [{"name": "a", "password": "hidden\nhidden"}]}),
    ("reverse_proxy_users", {"reverse_proxy_users": [{"name": "a", "password": "hidden" * 12 + "x"}]}),
    ("reverse_proxy_users", {"reverse_proxy_users": [{"name": "a", "password": "é" * 37}]}),
    ("reverse_proxy_archive_user", {"reverse_proxy_archive_user": "a:b"}),
    ("reverse_proxy_archive_password", {"reverse_proxy_archive_password": "hidden\nhidden"}),
]


@pytest.mark.parametrize(("variable", "answers"), BAD, ids=str)
def test_bad_values_are_refused(variable, answers):
    found = errors(answers)
    assert len(found) >= 1
    assert any(variable in error and re.search(r"\b[Ss]et\b", error) for error in found), found
    assert "hidden" not in " ".join(found)


def test_errors_come_together():
    assert (
        len(errors({"reverse_proxy_workers": 0, "reverse_proxy_max_upload": "lots", "reverse_proxy_server_names": []}))
        == 3
    )


def hash_logins(tmp_path: pathlib.Path, logins: str) -> str:
    present = tmp_path / "htpasswd"
    result = subprocess.run(
        ["perl", ROLE / "files/htpasswd.pl", present], input=logins, capture_output=True, text=True, check=True
    )
    present.write_text(result.stdout)
    return result.stdout


@pytest.mark.skipif(not shutil.which("perl"), reason="needs perl on this machine")
def test_hashes_stay_while_passwords_do(tmp_path):
    first = hash_logins(tmp_path, "admin:s3cret:with colon\ngrey:pässwort\n")
    assert re.fullmatch(r"(admin|grey):\$2y\$10\$.{53}\n(admin|grey):\$2y\$10\$.{53}\n", first)
    assert hash_logins(tmp_path, "admin:s3cret:with colon\ngrey:pässwort\n") == first
    changed = hash_logins(tmp_path, "admin:another\ngrey:pässwort\n").splitlines()
    assert changed[0] != first.splitlines()[0]
    assert changed[1] == first.splitlines()[1]
    assert hash_logins(tmp_path, "") == ""
