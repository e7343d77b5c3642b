"""The connection that the client keeps open: what happens when it breaks, when an answer comes early, and by proxy."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import Connection, OrthancError, SourceError

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
def server(*handlers: Callable[[socket.socket], None]) -> Iterator[str]:
    """Each connection that comes is given to the next handler, and closed afterwards."""
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
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
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
    return Connection(url, more, 5)


def test_one_connection_for_many_requests():
    seen: list = []
    with server(answering(OK, OK, OK, seen=seen)) as url:
        connection = connect(url + "/pacs", url_username="me", url_password="ü:x")
        assert [connection.send("GET", "/a"), connection.send("POST", "/b", b"x"), connection.send("PUT", "/c")] == (
            3 * [b"{}"]
        )
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
        connection.send("GET", "/a")
        assert connection._http is not None
        while connection._alive() is not None:  # until the other side's goodbye is here
            pass
        assert connection.send(method, "/b") == b"{}"
        connection.close()


def test_what_breaks_in_the_middle_is_said_again_but_for_a_post():
    def breaking(accepted):
        with accepted.makefile("rb") as stream:
            read_request(stream)
            accepted.sendall(OK)
            read_request(stream)

    with server(breaking, answering(OK)) as url:
        connection = connect(url)
        connection.send("GET", "/a")
        assert connection.send("PUT", "/b", b"x") == b"{}"
        connection.close()
    with server(breaking) as url:
        connection = connect(url)
        connection.send("GET", "/a")
        with pytest.raises(OrthancError) as caught:
            connection.send("POST", "/b", b"x")
        assert caught.value.status is None
        connection.close()


def test_nothing_is_said_again_on_a_new_connection():
    def breaking(accepted):
        with accepted.makefile("rb") as stream:
            read_request(stream)

    with server(breaking) as url, pytest.raises(OrthancError):
        connect(url).send("GET", "/a")


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
        with pytest.raises(OrthancError, match=status) as caught:
            connection.send("POST", "/instances", body, len(content))
        assert caught.value.status == int(status[:3])
        assert connection.send("GET", "/a") == b"{}"
        connection.close()


class Failing(io.BytesIO):
    def read(self, size=-1):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("stream", "said"), [(Failing, "Input/output error"), (lambda: io.BytesIO(b"short"), "shorter than it was")]
)
def test_a_source_that_fails_leaves_no_half_request_behind(stream, said):
    def listening(accepted):
        with accepted.makefile("rb") as incoming:
            read_request(incoming)

    with server(listening, answering(OK)) as url:
        connection = connect(url)
        with pytest.raises(SourceError, match=said):
            connection.send("POST", "/instances", stream, 100)
        assert connection.send("GET", "/a") == b"{}"
        connection.close()


def test_a_proxy(monkeypatch):
    seen: list = []
    with server(answering(OK, seen=seen)) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        connection = connect("http://archive.example:8042/pacs")
        assert connection.send("GET", "/a") == b"{}"
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
        with pytest.raises(OrthancError, match="403"):
            connect("https://archive.example/pacs").send("GET", "/a")
    assert seen[0][0].startswith("CONNECT archive.example:443 HTTP/1.")


def test_no_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with server(answering(OK)) as url:
        connection = connect(url)
        assert connection.send("GET", "/a") == b"{}"
        connection.close()
