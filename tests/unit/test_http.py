"""The HTTP client: kept connections that break, early answers, incomplete ones, proxies, TLS."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils._http import Connection, HttpError, SourceError

from tests.support.pki import make_pki, server_context

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def read_request(stream) -> tuple[str, dict[str, str], bytes]:
    """The first line, the headers and the body; ("", …) where the other side has closed."""
    first = stream.readline().decode().strip()
    headers = {}
    while line := stream.readline().decode().strip():
        name, _colon, value = line.partition(": ")
        headers[name.lower()] = value
    return first, headers, stream.read(int(headers.get("content-length", 0)))


@contextlib.contextmanager
def server(*handlers: Callable[[socket.socket], None], origin: str = "http://127.0.0.1") -> Iterator[str]:
    """Give each connection that comes to the next handler, and close it afterwards; yield the URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    wrong: list[BaseException] = []

    def serve():
        try:
            for handle in handlers:
                accepted, _address = listening.accept()
                with accepted:
                    handle(accepted)
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"{origin}:{listening.getsockname()[1]}"
    thread.join(5)
    listening.close()
    assert not thread.is_alive(), "not as many connections came as were expected"
    assert not wrong, wrong


def answering(*answers: bytes, seen: list | None = None) -> Callable[[socket.socket], None]:
    """Answer as many requests on one connection."""

    def handle(accepted):
        with accepted.makefile("rb") as stream:
            for answer in answers:
                request = read_request(stream)
                if seen is not None:
                    seen.append(request)
                accepted.sendall(answer)

    return handle


def connect(url: str, **more) -> Connection:
    return Connection(url, 5, **more)


def test_one_connection_for_many_requests():
    seen: list = []
    with server(answering(OK, OK, OK, seen=seen)) as url:
        connection = connect(url + "/pacs", login=("me", "ü:x"))
        answers = [connection.get("/a"), connection.request("POST", "/b", b"x"), connection.request("PUT", "/c")]
        assert [answer.body for answer in answers] == 3 * [b"{}"]
        assert connection.requests == 3
        connection.close()
    assert [first for first, _headers, _body in seen] == [
        "GET /pacs/a HTTP/1.1",
        "POST /pacs/b HTTP/1.1",
        "PUT /pacs/c HTTP/1.1",
    ]
    assert [headers.get("content-length") for _first, headers, _body in seen] == [None, "1", "0"]
    assert {headers["authorization"] for _first, headers, _body in seen} == {"Basic bWU6w7w6eA=="}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_connection_that_the_archive_closed_is_opened_anew(method):
    """Orthanc closes one that was not used for a second (KeepAliveTimeout)."""
    with server(answering(OK), answering(OK)) as url:
        connection = connect(url)
        connection.get("/a")
        assert connection._http is not None
        while connection._reuse() is not None:  # until the other side has closed
            pass
        assert connection.request(method, "/b").body == b"{}"
        connection.close()


def test_what_breaks_in_the_middle_is_sent_again_but_for_a_post():
    def breaking(accepted):
        with accepted.makefile("rb") as stream:
            read_request(stream)
            accepted.sendall(OK)
            read_request(stream)

    with server(breaking, answering(OK)) as url:
        connection = connect(url)
        connection.get("/a")
        assert connection.request("PUT", "/b", b"x").body == b"{}"
        connection.close()
    with server(breaking) as url:
        connection = connect(url)
        connection.get("/a")
        with pytest.raises(HttpError) as caught:
            connection.request("POST", "/b", b"x")
        assert caught.value.is_closed
        connection.close()


def test_nothing_is_sent_again_on_a_new_connection():
    def breaking(accepted):
        with accepted.makefile("rb") as stream:
            read_request(stream)

    with server(breaking) as url, pytest.raises(HttpError):
        connect(url).get("/a")


@pytest.mark.parametrize("status", ["413 Request Entity Too Large", "507 Insufficient Storage"])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_before_all_was_sent(status, streamed):
    """What stands in front of the archive refuses a large body without reading it, and closes."""

    def refusing(accepted):
        accepted.recv(1000)
        accepted.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        accepted.shutdown(socket.SHUT_WR)
        accepted.settimeout(0.5)
        with contextlib.suppress(OSError):
            accepted.recv(1)

    content = bytes(50_000_000)
    with server(refusing, answering(OK)) as url:
        connection = connect(url)
        body = (lambda: io.BytesIO(content)) if streamed else content
        answer = connection.request("POST", "/instances", body, length=len(content))
        assert f"{answer.status} {answer.reason}" == status
        assert connection.get("/a").body == b"{}"
        connection.close()


class Failing(io.BytesIO):
    def read(self, size=-1):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("stream", "message"),
    [(Failing, "Input/output error"), (lambda: io.BytesIO(b"short"), "is shorter than a moment ago")],
)
def test_a_source_that_fails_leaves_no_half_request_behind(stream, message):
    def listening(accepted):
        with accepted.makefile("rb") as incoming:
            read_request(incoming)

    with server(listening, answering(OK)) as url:
        connection = connect(url)
        with pytest.raises(SourceError, match=message):
            connection.request("POST", "/instances", stream, length=100)
        assert connection.get("/a").body == b"{}"
        connection.close()


def test_a_proxy(monkeypatch):
    seen: list = []
    with server(answering(OK, seen=seen)) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        connection = connect("http://archive.example:8042/pacs")
        assert connection.get("/a").body == b"{}"
        connection.close()
    assert seen[0][0] == "GET http://archive.example:8042/pacs/a HTTP/1.1"


def test_a_proxy_for_tls_is_asked_for_a_tunnel(monkeypatch):
    seen: list = []

    def refusing(accepted):
        with accepted.makefile("rb") as stream:
            seen.append(read_request(stream))
            accepted.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with server(refusing) as url:
        monkeypatch.setenv("https_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(HttpError, match="403"):
            connect("https://archive.example/pacs").get("/a")
    assert seen[0][0].startswith("CONNECT archive.example:443 HTTP/1.")


def test_no_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with server(answering(OK)) as url:
        connection = connect(url)
        assert connection.get("/a").body == b"{}"
        connection.close()


def answer_of(body: bytes, *headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("answer", "is_complete"),
    [
        (answer_of(b"12345", "Content-Length: 5"), True),
        (answer_of(b"5\r\n12345\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), True),
        (answer_of(b"1234", "Content-Length: 5"), False),
        (answer_of(b"5\r\n12345\r\n", "Transfer-Encoding: chunked"), False),
        (answer_of(b"12345"), False),  # nobody knows where it ends
    ],
)
def test_a_body_in_blocks_is_complete_or_an_error(answer, is_complete):
    blocks: list[bytes] = []
    with server(answering(answer)) as url:
        connection = connect(url)
        if is_complete:
            assert connection.request("GET", "/file", into=blocks.append).body == b""
            assert b"".join(blocks) == b"12345"
        else:
            with pytest.raises(HttpError, match="does not answer as a web server does"):
                connection.request("GET", "/file", into=blocks.append)
        connection.close()


def test_a_body_in_blocks_that_cannot_be_written_leaves_no_half_answer_behind():
    def refuse(_block):
        raise KeyError("disk full")

    with server(answering(OK), answering(OK)) as url:
        connection = connect(url)
        with pytest.raises(KeyError):
            connection.request("GET", "/file", into=refuse)
        assert connection.get("/a").body == b"{}"
        connection.close()


def test_another_address_than_the_name():
    seen: list = []
    with server(answering(OK, OK, seen=seen)) as url:
        port = url.rsplit(":", 1)[1]
        connection = connect(f"http://pacs.example.org:{port}", address="127.0.0.1", login=("me", "x"))
        connection.get("/pacs/../a", {"X-One": "1"})
        connection.get("/b", login=False)
        connection.close()
    assert [first for first, _headers, _body in seen] == ["GET /pacs/../a HTTP/1.1", "GET /b HTTP/1.1"]
    assert {headers["host"] for _first, headers, _body in seen} == {f"pacs.example.org:{port}"}
    assert [headers.get("authorization") for _first, headers, _body in seen] == ["Basic bWU6eA==", None]
    assert [headers.get("x-one") for _first, headers, _body in seen] == ["1", None]


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return make_pki(tmp_path_factory.mktemp("pki"))


def tls_server(context: ssl.SSLContext) -> contextlib.AbstractContextManager[str]:
    def serve(accepted):
        with contextlib.suppress(OSError), context.wrap_socket(accepted, server_side=True) as stream:
            answering(OK, OK)(stream)

    return server(serve, origin="https://localhost")


@pytest.mark.parametrize("ca", ["ca.pem", "localhost.pem"])
def test_tls_by_a_ca_or_by_the_certificate_itself(pki, ca):
    with tls_server(server_context(pki)) as url:
        connection = connect(url, ca_path=str(pki / ca))
        assert [connection.get("/a").body, connection.get("/b").body] == [b"{}", b"{}"]
        connection.close()


def test_tls_with_a_client_certificate(pki):
    files = {"client_cert": str(pki / "client.pem"), "client_key": str(pki / "client.key")}
    with tls_server(server_context(pki, client=True)) as url:
        connection = connect(url, ca_path=str(pki / "ca.pem"), **files)
        assert connection.get("/a").body == b"{}"
        connection.close()


@pytest.mark.parametrize(
    ("host", "name", "ca", "message"),
    [
        ("localhost", "localhost", "other.pem", r"does not verify \(.*\). Set ca_path to the CA that signed it\."),
        ("localhost", "expired", "ca.pem", r"does not verify \(certificate has expired\). Renew it on the server\."),
        ("elsewhere", "localhost", "ca.pem", r"Hostname mismatch.*'elsewhere'\). Use a name that it contains\."),
        ("127.0.0.1", "localhost", "ca.pem", r"IP address mismatch.*'127.0.0.1'\). Use an address that it contains\."),
    ],
)
def test_a_certificate_that_does_not_verify(pki, host, name, ca, message):
    with tls_server(server_context(pki, name)) as url, pytest.raises(HttpError, match=message):
        connect(url.replace("localhost", host), address="127.0.0.1", ca_path=str(pki / ca)).get("/a")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ca_path": "absent.pem"}, r"^ca_path .*absent.pem cannot be used \(No such file or directory\)\.$"),
        ({"ca_path": "ca.key"}, r"^ca_path .*ca.key cannot be used \("),
        ({"client_cert": "ca.key"}, r"^client_cert .*ca.key cannot be used \("),
        (
            {"client_cert": "client.pem", "client_key": "other.key"},
            r"^client_cert .* with client_key .*other.key cannot",
        ),
    ],
)
def test_files_that_cannot_be_used(pki, files, message):
    with pytest.raises(HttpError, match=message):
        connect("https://localhost", **{option: str(pki / file) for option, file in files.items()})
