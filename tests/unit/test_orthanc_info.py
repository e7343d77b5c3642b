"""The modules orthanc_info and orthanc_job_info against a scripted archive."""

from __future__ import annotations

import socket

import pytest

from tests.support.orthanc_server import archive, call, error, run_module

SYSTEM = {
    "ApiVersion": 27,
    "Version": "1.12.7",
    "Name": "lightbox",
    "DicomAet": "LIGHTBOX",
    "DatabaseBackendPlugin": None,
    "DatabaseServerIdentifier": "lightbox",
    "IsHttpServerSecure": True,
    "HasLabels": True,
    "Capabilities": {"HasExtendedFind": True},
}
STATISTICS = {
    "CountPatients": 1,
    "CountStudies": 2,
    "CountSeries": 3,
    "CountInstances": 4,
    "TotalDiskSize": "5000000000",
    "TotalDiskSizeMB": 4768,
    "TotalUncompressedSize": "6",
    "TotalUncompressedSizeMB": 0,
}
LAST = call("GET", "/changes?last", {"Changes": [], "Done": True, "Last": 12})
UNAVAILABLE = error(503, "The database is currently not available")


def run(*calls, check=False, module="orthanc_info", **arguments):
    with archive(*calls) as played:
        return run_module(module, {"url": played.url, **arguments}, check)


@pytest.mark.parametrize("check", [False, True])
def test_default(check):
    done = run(
        LAST,
        call("GET", "/system", SYSTEM),
        call("GET", "/plugins", ["explorer.js", "gdcm", "dicom-web"]),
        call("GET", "/plugins/gdcm", {"ID": "gdcm", "Version": "1.8", "Description": "Decoder. "}),
        call("GET", "/plugins/dicom-web", {"ID": "dicom-web", "Version": "1.20"}),
        call("GET", "/statistics", STATISTICS),
        check=check,
    )
    assert done["changed"] is False
    assert done["health"] == {"alive": True, "ready": True, "details": "", "last_change": 12}
    assert (done["system"]["version"], done["system"]["api_version"]) == ("1.12.7", 27)
    assert done["system"]["is_http_server_secure"] is True
    assert done["system"]["capabilities"] == {"has_extended_find": True}
    assert done["plugins"] == [
        {"id": "dicom-web", "version": "1.20", "description": ""},
        {"id": "gdcm", "version": "1.8", "description": "Decoder."},
    ]
    assert done["statistics"] == {
        "patients": 1,
        "studies": 2,
        "series": 3,
        "instances": 4,
        "disk_bytes": 5000000000,
        "uncompressed_bytes": 6,
    }
    assert done["modalities"] is done["peers"] is done["dicomweb_servers"] is None


def test_old_archives_have_no_capabilities():
    old = {key: value for key, value in SYSTEM.items() if key != "Capabilities"}
    assert run(call("GET", "/system", old), gather_subset=["system"])["system"]["capabilities"] == {}


def test_each_subset_is_one_request():
    peer = {"Url": "http://p/", "HttpHeaders": [], "Pkcs11": False, "Timeout": 0, "LightboxFingerprint": "x"}
    modality = {"AET": "CT", "Host": "ct", "Port": 104, "AllowEcho": True}
    for subset, path, answer in (
        ("modalities", "/modalities?expand", {"CT": modality}),
        ("peers", "/peers?expand", {"p": peer}),
        ("dicomweb_servers", "/other/servers?expand", {"s": peer}),
    ):
        done = run(call("GET", path, answer), gather_subset=[subset], dicomweb_root="/other/")
        assert done[subset][0]["name"] in "CTps"
        assert "LightboxFingerprint" not in str(done)
    assert done["dicomweb_servers"][0]["server_url"] == "http://p/"


def test_a_database_that_is_away_is_a_value():
    done = run(
        call("GET", "/changes?last", UNAVAILABLE, status=503),
        call("GET", "/system", SYSTEM),
        call("GET", "/statistics", UNAVAILABLE, status=503),
        gather_subset=["health", "system", "statistics"],
    )
    assert (done["health"]["alive"], done["health"]["ready"], done["health"]["last_change"]) == (True, False, None)
    assert "The database is currently not available" in done["health"]["details"]
    assert done["system"]["version"] == "1.12.7"
    assert done["statistics"] is None
    done = run(call("GET", "/statistics", UNAVAILABLE, status=503), gather_subset=["statistics"])
    assert done["statistics"] is None


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_reverse_proxy_that_does_not_reach_its_archive(status):
    done = run(call("GET", "/changes?last", "<html>", status=status))
    assert (done["health"]["alive"], done["health"]["ready"], done["system"]) == (False, False, None)


def test_an_archive_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    done = run_module("orthanc_info", {"url": url})
    assert (done["health"]["alive"], done["health"]["ready"]) == (False, False)
    assert "Connection refused" in done["health"]["details"]
    assert done["system"] is done["plugins"] is done["statistics"] is None
    failed = run_module("orthanc_info", {"url": url, "gather_subset": ["system"]})
    assert "Connection refused" in failed["msg"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_login_is_a_failure(status):
    assert f"answers {status}" in run(call("GET", "/changes?last", "", status=status))["msg"]


JOB = {
    "ID": "a",
    "Type": "DicomModalityStore",
    "State": "Running",
    "Progress": 40,
    "Priority": 0,
    "CreationTime": "20261121T032459.123456",
    "Timestamp": "20261121T032501.000000",
    "EstimatedTimeOfArrival": "20261121T032601.5",
    "EffectiveRuntime": 1.25,
    "ErrorCode": 0,
    "ErrorDescription": "Success",
    "ErrorDetails": "",
    "Content": {"RemoteAet": "CT"},
}
FAILED = {
    **JOB,
    "ID": "b",
    "State": "Failure",
    "CreationTime": "20261121T032400",
    "CompletionTime": "20261121T032402.000000",
    "ErrorCode": 9,
    "ErrorDescription": "Error in the network protocol",
    "ErrorDetails": "refused",
}


@pytest.mark.parametrize("check", [False, True])
def test_jobs(check):
    done = run(call("GET", "/jobs?expand", [JOB, FAILED]), module="orthanc_job_info", check=check)
    assert done["changed"] is False
    assert done["jobs"] == [
        {
            "id": "b",
            "type": "DicomModalityStore",
            "state": "failure",
            "progress": 40,
            "priority": 0,
            "created": "2026-11-21T03:24:00Z",
            "completed": "2026-11-21T03:24:02Z",
            "estimated_completion": "2026-11-21T03:26:01Z",
            "runtime_seconds": 1.25,
            "error_code": 9,
            "error": "Error in the network protocol: refused",
            "content": {"RemoteAet": "CT"},
        },
        done["jobs"][1],
    ]
    assert (done["jobs"][1]["completed"], done["jobs"][1]["error"]) == (None, "")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"states": ["running", "pending"]}, ["a"]),
        ({"types": ["Archive"]}, []),
        ({"types": ["DicomModalityStore"], "states": ["failure"]}, ["b"]),
        ({"states": []}, []),
    ],
)
def test_jobs_that_are_wanted(arguments, found):
    done = run(call("GET", "/jobs?expand", [JOB, FAILED]), module="orthanc_job_info", **arguments)
    assert [job["id"] for job in done["jobs"]] == found


def test_one_job():
    assert run(call("GET", "/jobs/a", JOB), module="orthanc_job_info", job="a")["jobs"][0]["progress"] == 40
    gone = call("GET", "/jobs/x%2Fy", error(404, "Unknown resource"), status=404)
    assert run(gone, module="orthanc_job_info", job="x/y")["jobs"] == []


def test_jobs_of_an_archive_that_is_not_there():
    assert "answers 502" in run(call("GET", "/jobs?expand", "", status=502), module="orthanc_job_info")["msg"]
