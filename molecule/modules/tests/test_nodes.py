"""What an archive knows by name, and how it answers those who write it: the traps of its REST API, each seen here."""

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils._orthanc import OrthancError

from tests.support.archives import BOTH, NEW, OLD, SECRET
from tests.support.lab import address

testinfra_hosts = [address("modules")]

MODULES = {"orthanc_modality": "modalities", "orthanc_peer": "peers", "orthanc_dicomweb_server": "servers"}
PATHS = {
    "orthanc_modality": "/modalities",
    "orthanc_peer": "/peers",
    "orthanc_dicomweb_server": "/dicom-web/servers",
}


def entry(module: str, name: str = "trial") -> dict:
    if module == "orthanc_modality":
        return {"name": name, "aet": "TRIAL", "host": "192.0.2.9", "port": 11112, "allow": ["echo", "find"]}
    url = {"orthanc_peer": "peer_url", "orthanc_dicomweb_server": "server_url"}[module]
    return {
        "name": name,
        url: "http://192.0.2.9/there",
        "username": "me",
        "password": SECRET,
        "http_headers": {"X-Key": SECRET},
    }


def change(module: str) -> dict:
    return {"host": "192.0.2.10"} if module == "orthanc_modality" else {"pkcs11": True}


@pytest.fixture(params=BOTH, ids=str)
def archive(request):
    yield request.param
    for path in PATHS.values():
        for name in request.param.rest.get(path):
            if name.startswith("trial"):
                request.param.rest.delete(f"{path}/{name}")


@pytest.fixture(params=MODULES)
def module(request):
    return request.param


def restart(host, archive) -> None:
    unit = "docker restart lightbox-orthanc" if archive is NEW else "systemctl restart archive-1.10"
    with host.sudo():
        host.check_output(unit)
    end = time.monotonic() + 30
    while not archive.run("orthanc_info", gather_subset=["health"])["health"]["ready"]:
        assert time.monotonic() < end, f"{archive} does not come back"
        time.sleep(0.2)


def test_life_of_one(archive, module):
    given = entry(module)
    for arguments in (given, {**given, **change(module)}, {"name": "trial", "state": "absent"}):
        checked = archive.run(module, check=True, persistent=True, **arguments)
        done = archive.run(module, persistent=True, **arguments)
        again = archive.run(module, persistent=True, **arguments)
        checked_again = archive.run(module, check=True, persistent=True, **arguments)
        results = (checked, done, again, checked_again)
        assert [result["changed"] for result in results] == [True, True, False, False], done.get("msg", results)
        assert [result["requests"] for result in results] == [1, 3, 1, 1]
        assert checked["diff"] == done["diff"]
        assert SECRET not in json.dumps(results)


def test_a_list_and_the_whole_truth(archive, module):
    plural = MODULES[module]
    before = archive.rest.get(PATHS[module])
    both = [entry(module, "trial1"), entry(module, "trial2")]
    added = archive.run(module, persistent=True, **{plural: both})
    assert (added["changed"], added["requests"]) == (True, 4)
    assert sorted(one["name"] for one in added["unlisted"]) == sorted(before)
    kept = archive.run(module, **{plural: both[:1]})
    assert (kept["changed"], kept["requests"]) == (False, 1)
    assert "trial2" in [one["name"] for one in kept["unlisted"]]
    # In check mode, since others' nodes are here too.
    alone = archive.run(module, check=True, persistent=True, **{plural: both}, exclusive=True)
    assert alone["changed"] is bool(before)
    assert [one["name"] for one in alone[plural]] == ["trial1", "trial2"]
    assert sorted(alone["diff"]["before"]) == sorted(before)


def test_exclusive_removes(archive):
    """Of servers, which nobody else has here."""
    both = [entry("orthanc_dicomweb_server", "trial1"), entry("orthanc_dicomweb_server", "trial2")]
    archive.run("orthanc_dicomweb_server", servers=both, persistent=True)
    done = archive.run("orthanc_dicomweb_server", servers=both[1:], exclusive=True, persistent=True)
    assert (done["changed"], done["requests"]) == (True, 3)
    assert archive.rest.get("/dicom-web/servers") == ["trial2"]


def test_restart(archive, host):
    """One keeps what it was told, as the role sets it up; the other forgets. Neither says so; the module warns."""
    (warning,) = archive.run("orthanc_modality", check=True, **entry("orthanc_modality"))["warnings"]
    assert "forgets" in warning
    for module in MODULES:
        archive.run(module, persistent=archive is NEW, **entry(module))
    restart(host, archive)
    for module, path in PATHS.items():
        assert ("trial" in archive.rest.get(path)) is (archive is NEW)
        again = archive.run(module, check=True, persistent=True, **entry(module))
        assert again["changed"] is (archive is OLD), "a password that was kept is known again"
    assert ("configured" in archive.rest.get("/modalities")) is (archive is OLD)


def test_the_archive_takes_titles_that_no_node_takes(archive):
    archive.rest.put("/modalities/trial", {"AET": "SEVENTEEN_LETTERS", "Host": "x", "Port": 104, "Nonsense": True})
    assert archive.rest.get("/modalities/trial/configuration")["AET"] == "SEVENTEEN_LETTERS"
    for aet in ("SEVENTEEN_LETTERS", "A\\B", ""):
        failed = archive.run("orthanc_modality", name="trial", aet=aet, host="x", port=104)
        assert "not an AE title" in failed["msg"]
        assert failed["requests"] == 0


def test_what_the_archive_refuses_is_told_as_it_says_it(archive):
    with pytest.raises(OrthancError, match="400"):
        archive.rest.put("/modalities/trial", {"AET": "X", "Port": 104})
    with pytest.raises(OrthancError, match="400"):
        archive.rest.put("/modalities/trial", {"AET": "X", "Host": "x", "Port": 65535})
    with pytest.raises(OrthancError, match="400"):
        archive.rest.put("/modalities/tri.al", {"AET": "X", "Host": "x", "Port": 104})


def test_what_is_not_there_cannot_be_deleted(archive):
    assert archive.rest.delete("/modalities/trial") is False
    assert archive.rest.delete("/peers/trial") is False
    with pytest.raises(OrthancError) as refused:
        archive.rest.delete("/dicom-web/servers/trial")
    assert refused.value.status == 400
    for module in MODULES:
        assert archive.run(module, name="trial", state="absent")["changed"] is False


def test_an_older_archive_says_yes_to_what_it_does_not_know(archive):
    done = archive.run("orthanc_modality", persistent=True, retrieve_method="C-GET", **entry("orthanc_modality"))
    if archive is NEW:
        assert done["changed"] is True
        assert done["modalities"][-1]["retrieve_method"] == "C-GET"
    else:
        assert "without retrieve_method" in done["msg"]
        assert "update Orthanc" in done["msg"]


def test_every_other_option_is_kept_by_both(archive):
    options = {
        "manufacturer": "GE",
        "allow": ["store", "find_worklist", "get", "move", "storage_commitment"],
        "transcoding": False,
        "tls": True,
        "local_aet": "SOMEBODY",
        "dicom_timeout": 7,
    }
    archive.run("orthanc_modality", persistent=True, **{**entry("orthanc_modality"), **options})
    (shown,) = [one for one in archive.run("orthanc_modality", modalities=[])["modalities"] if one["name"] == "trial"]
    for option, value in options.items():
        assert shown[option] == value


@pytest.mark.parametrize("module", ["orthanc_peer", "orthanc_dicomweb_server"])
def test_passwords(archive, module):
    path = f"{PATHS[module]}?expand"
    archive.run(module, persistent=True, **entry(module))
    shown = archive.rest.get(path)["trial"]
    assert (shown["Password"], shown["HttpHeaders"]) == (None, ["X-Key"])
    assert SECRET not in json.dumps(shown)
    other = {**entry(module), "password": "Another7Horse8Battery"}
    assert archive.run(module, persistent=True, **other)["changed"] is True
    assert archive.run(module, persistent=True, **other)["changed"] is False
    # Somebody writes it by hand; nothing that the archive shows differs.
    archive.rest.put(
        f"{PATHS[module]}/trial",
        {"Url": shown["Url"], "Username": "me", "Password": "x", "HttpHeaders": {"X-Key": "y"}},
    )
    assert archive.run(module, check=True, persistent=True, update_password="on_create", **other)["changed"] is False
    assert archive.run(module, persistent=True, **other)["changed"] is True
    failed = archive.run(module, name="trial", pkcs11=True)
    assert "cannot be changed without password and http_headers" in failed["msg"]


def test_booleans_of_a_server_are_texts(archive):
    given = {**entry("orthanc_dicomweb_server"), "has_delete": True, "chunked_transfers": False}
    archive.run("orthanc_dicomweb_server", persistent=True, **given)
    shown = archive.rest.get("/dicom-web/servers?expand")["trial"]
    assert (shown["HasDelete"], shown["ChunkedTransfers"]) == ("1", "0")
    assert archive.run("orthanc_dicomweb_server", **given)["changed"] is False


@pytest.mark.parametrize(("here", "there"), [(NEW, OLD), (OLD, NEW)], ids=["new-old", "old-new"])
def test_what_was_written_works(here, there):
    """The login, which nobody shows, is the one given: the other archive lets this one in."""
    login = {"username": "admin", "password": there.login["url_password"]}
    try:
        here.run("orthanc_peer", name="trial", peer_url=there.url, persistent=True, **login)
        assert here.rest.get("/peers/trial/system")["Version"] == there.version
        url = f"{there.url}/dicom-web"
        here.run("orthanc_dicomweb_server", name="trial", server_url=url, persistent=True, **login)
        assert isinstance(
            here.rest.post("/dicom-web/servers/trial/qido", {"Uri": "/studies", "Arguments": {"limit": "1"}}), list
        )
    finally:
        here.rest.delete("/peers/trial")
        here.rest.delete("/dicom-web/servers/trial")


def test_dicomweb_elsewhere(archive):
    failed = archive.run("orthanc_dicomweb_server", servers=[], dicomweb_root="/elsewhere")
    assert "Load Orthanc's DICOMweb plugin, or set dicomweb_root" in failed["msg"]
