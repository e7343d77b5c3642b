"""The client of the REST API against a scripted server."""

from __future__ import annotations

import contextlib
import io
import socket

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import (
    Orthanc,
    OrthancError,
    build_path,
    parse_version,
)

from tests.support.orthanc_server import archive, call, error


@contextlib.contextmanager
def client(*calls, **params):
    with archive(*calls, login=("me", "Correct7Horse") if "url_username" in params else None) as played:
        orthanc = Orthanc({"url": played.url + "/", "timeout": 5, **params})
        yield orthanc
        assert orthanc.requests == len(played.seen)


def test_each_verb():
    with client(
        call("GET", "/a?expand=1", [1]),
        call("GET", "/gone", error(404, "Unknown resource"), status=404),
        call("POST", "/b", {"ID": "x"}, body={"Level": "Study"}),
        call("PUT", "/c", body="verbose"),
        call("PUT", "/d"),
        call("POST", "/e", "ready", body=["x"]),
        call("DELETE", "/f"),
        call("DELETE", "/f", error(404, "Unknown resource"), status=404),
        call("POST", "/instances", {"Status": "Success"}, body=b"\0\1"),
        call("POST", "/instances", {"Status": "Success"}, body=b"\2\3"),
        url_username="me",
        url_password="Correct7Horse",
    ) as orthanc:
        assert orthanc.get("/a", {"expand": 1}) == [1]
        assert orthanc.find("/gone") is None
        assert orthanc.post("/b", {"Level": "Study"}) == {"ID": "x"}
        assert orthanc.put("/c", "verbose") is None
        assert orthanc.put("/d") is None
        assert orthanc.post("/e", ["x"]) == "ready"
        assert orthanc.delete("/f") is True
        assert orthanc.delete("/f") is False
        assert orthanc.post("/instances", b"\0\1") == {"Status": "Success"}
        streamed = orthanc.request("POST", "/instances", lambda: io.BytesIO(b"\2\3"), length=2)
        assert streamed.json()["Status"] == "Success"


@pytest.mark.parametrize(
    ("answer", "status", "headers", "message"),
    [
        (error(400, "Bad request", "no Host"), 400, {}, r"GET http://.*/x answers 400 Bad Request \(Bad request: no H"),
        ("", 401, {"WWW-Authenticate": 'Basic realm="x"'}, "answers 401 .*Set url_username and url_password"),
        ("<html>", 502, {}, "answers 502 Bad Gateway"),
        (error(503, "The database cannot be accessed"), 503, {}, "Its database may be out of reach"),
        ("", 302, {"Location": "https://other/"}, "a redirect to https://other/. Set url"),
        ("<!doctype html>", 200, {}, "answers '<!doctype html>', which is not JSON"),
        ("", 200, {}, "which is not JSON"),
    ],
)
def test_a_refusal_is_one_clear_sentence(answer, status, headers, message):
    with (
        client(call("GET", "/x", answer, status=status, headers=headers)) as orthanc,
        pytest.raises(OrthancError, match=message) as raised,
    ):
        orthanc.get("/x")
    assert raised.value.path == "/x"
    assert raised.value.status == (status if status != 200 else None)


def test_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OrthancError, match="no answer within 1 seconds"):
            Orthanc({"url": f"http://127.0.0.1:{port}", "timeout": 1}).get("/system")
    with pytest.raises(OrthancError, match=r"cannot be reached \(Connection refused\)"):
        Orthanc({"url": f"http://127.0.0.1:{port}"}).get("/system")


def test_http_is_taken_for_https():
    with archive() as played, pytest.raises(OrthancError, match="Should url begin with http://"):
        Orthanc({"url": played.url.replace("http:", "https:"), "timeout": 5}).get("/system")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"url": "127.0.0.1:8042"}, "which is not a valid address"),
        ({"url": "http://me:Correct7Horse@host"}, "contains a user name"),
        ({"url": "http://host/?x"}, "which is not a valid address"),
        ({"url": "http://host", "url_username": "me"}, "without url_password"),
        ({"url": "https://host", "client_key": "/key"}, "without client_cert"),
    ],
)
def test_wrong_parameters_are_refused(params, message):
    with pytest.raises(OrthancError, match=message) as raised:
        Orthanc(params)
    assert "Correct7Horse" not in str(raised.value)


def test_version_is_asked_once():
    with client(call("GET", "/system", {"Version": "1.10.1", "ApiVersion": 16})) as orthanc:
        assert orthanc.api_version == 16
        orthanc.require((1, 10, 1), "Labels")
        with pytest.raises(
            OrthancError, match=r"Labels need Orthanc 1\.12\.0 or newer, and http://.* is Orthanc 1\.10"
        ):
            orthanc.require((1, 12, 0), "Labels")


def test_versions_are_compared_as_numbers():
    assert parse_version("1.9.7") < parse_version("1.10.1") < parse_version("1.12.7+dfsg") < parse_version("mainline")


def test_something_else_answers():
    with (
        client(call("GET", "/system", {"status": "ok"})) as orthanc,
        pytest.raises(OrthancError, match="as Orthanc does"),
    ):
        orthanc.require((1, 0, 0), "x")


def test_a_job_is_waited_for():
    with client(
        call("GET", "/jobs/1", {"State": "Pending"}),
        call("GET", "/jobs/1", {"State": "Running"}),
        call("GET", "/jobs/1", {"State": "Success", "Type": "Archive"}),
    ) as orthanc:
        assert orthanc.wait_for_job("1", 5, interval=0.01)["Type"] == "Archive"


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"State": "Failure", "ErrorDescription": "Timeout", "ErrorDetails": "to CT"}, "failed: Timeout to CT"),
        ({"State": "Paused"}, "was paused"),
        ({"State": "Running", "Progress": 40}, "within 0 seconds: it is at 40 %"),
    ],
)
def test_a_job_that_does_not_succeed(job, message):
    with (
        client(call("GET", "/jobs/1", {"Type": "DicomModalityStore", **job})) as orthanc,
        pytest.raises(OrthancError, match=message),
    ):
        orthanc.wait_for_job("1", 0)


def test_a_part_of_a_path_is_quoted_whole():
    assert build_path("modalities", "CT 1/2") == "/modalities/CT%201%2F2"
