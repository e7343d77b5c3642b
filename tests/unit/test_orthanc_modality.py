"""The module orthanc_modality against a scripted archive."""

from __future__ import annotations

import json

import pytest

from tests.support.orthanc_server import ANYTHING, archive, call, error, four_cases, run_module

# As 1.12.7 reports one that was put with {AET, Host, Port, AllowFind…: false}.
CT = {
    "AET": "CT_ONE",
    "AllowEcho": True,
    "AllowEventReport": False,
    "AllowFind": False,
    "AllowFindWorklist": False,
    "AllowGet": False,
    "AllowMove": False,
    "AllowNAction": False,
    "AllowStore": True,
    "AllowTranscoding": True,
    "Host": "192.0.2.10",
    "LocalAet": "",
    "Manufacturer": "Generic",
    "Port": 104,
    "RetrieveMethod": "SystemDefault",
    "Timeout": 0,
    "UseDicomTls": False,
}
NEW = {"name": "CT1", "aet": "CT_ONE", "host": "192.0.2.10", "port": 104}
SENT = {
    "AET": "CT_ONE",
    "Host": "192.0.2.10",
    "Port": 104,
    "AllowEcho": True,
    "AllowStore": True,
    "AllowFind": False,
    "AllowFindWorklist": False,
    "AllowGet": False,
    "AllowMove": False,
    "AllowNAction": False,
    "AllowEventReport": False,
}
PATH = "/modalities?expand"
OLD = {key: CT[key] for key in CT if key != "RetrieveMethod"}
"""As 1.10.1 reports it."""


def listing(answer):
    return call("GET", PATH, answer)


def run(*calls, check=False, **arguments):
    with archive(*calls) as played:
        return run_module("orthanc_modality", {"url": played.url, **arguments}, check)


def test_add():
    results = four_cases(
        "orthanc_modality",
        NEW,
        listing({}),
        listing({"CT1": CT}),
        call("PUT", "/modalities/CT1", body=SENT),
        listing({"CT1": CT}),
    )
    assert results[1]["diff"]["before"] == {}
    assert results[1]["diff"]["after"]["CT1"]["allow"] == ["echo", "store"]
    assert results[1]["modalities"] == results[2]["modalities"]
    assert results[2]["diff"] == {"before": {}, "after": {}}


def test_change_keeps_what_is_not_given():
    results = four_cases(
        "orthanc_modality",
        {"name": "CT1", "port": 11112, "allow": ["find", "store", "storage_commitment"]},
        listing({"CT1": {**CT, "UseDicomTls": True}}),
        listing(
            {
                "CT1": {
                    **CT,
                    "UseDicomTls": True,
                    "Port": 11112,
                    "AllowEcho": False,
                    "AllowFind": True,
                    "AllowNAction": True,
                    "AllowEventReport": True,
                }
            }
        ),
        call(
            "PUT",
            "/modalities/CT1",
            body={
                **CT,
                "UseDicomTls": True,
                "Port": 11112,
                "AllowEcho": False,
                "AllowFind": True,
                "AllowNAction": True,
                "AllowEventReport": True,
            },
        ),
        listing(
            {
                "CT1": {
                    **CT,
                    "UseDicomTls": True,
                    "Port": 11112,
                    "AllowEcho": False,
                    "AllowFind": True,
                    "AllowNAction": True,
                    "AllowEventReport": True,
                }
            }
        ),
    )
    assert results[0]["diff"]["before"]["CT1"]["port"] == 104
    assert results[0]["diff"]["after"]["CT1"]["allow"] == ["store", "find", "storage_commitment"]
    assert results[0]["diff"]["after"]["CT1"]["tls"] is True


def test_remove():
    results = four_cases(
        "orthanc_modality",
        {"name": "CT1", "state": "absent"},
        listing({"CT1": CT, "MR": CT}),
        listing({"MR": CT}),
        call("DELETE", "/modalities/CT1"),
        listing({"MR": CT}),
    )
    assert results[0]["diff"]["after"] == {}
    assert [modality["name"] for modality in results[0]["modalities"]] == ["MR"]


def test_list_writes_only_what_differs_and_tells_of_the_rest():
    results = four_cases(
        "orthanc_modality",
        {"modalities": [{"name": "MR", "host": "192.0.2.11"}, {"name": "CT1", "port": 104}]},
        listing({"CT1": CT, "MR": CT, "US": CT}),
        listing({"CT1": CT, "MR": {**CT, "Host": "192.0.2.11"}, "US": CT}),
        call("PUT", "/modalities/MR", body={**CT, "Host": "192.0.2.11"}),
        listing({"CT1": CT, "MR": {**CT, "Host": "192.0.2.11"}, "US": CT}),
    )
    for result in results:
        assert [modality["name"] for modality in result["unlisted"]] == ["US"]
        assert len(result["modalities"]) == 3


def test_exclusive_removes_the_rest():
    results = four_cases(
        "orthanc_modality",
        {"modalities": [NEW], "exclusive": True},
        listing({"CT1": CT, "MR": CT, "US": CT}),
        listing({"CT1": CT}),
        call("DELETE", "/modalities/MR"),
        call("DELETE", "/modalities/US", error(404, "Inexistent item"), status=404),
        listing({"CT1": CT}),
    )
    assert sorted(results[0]["diff"]["before"]) == ["MR", "US"]
    assert results[0]["unlisted"] == []


def test_empty_list_that_is_the_whole_truth():
    assert run(listing({}), modalities=[], exclusive=True)["changed"] is False
    assert run(listing({"CT1": CT}), modalities=[])["unlisted"][0]["name"] == "CT1"


@pytest.mark.parametrize(
    ("persistent", "warned"), [(None, True), (True, False), (False, False)], ids=["unknown", "persistent", "volatile"]
)
def test_a_change_that_a_restart_may_undo_comes_with_a_warning(persistent, warned):
    done = run(listing({}), check=True, persistent=persistent, **NEW)
    text = "".join(done["warnings"])
    assert ("DicomModalitiesInDatabase" in text) is warned
    assert run(listing({"CT1": CT}), persistent=persistent, **NEW)["warnings"] == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"aet": "SEVENTEEN_LETTERS"}, "aet is 'SEVENTEEN_LETTERS', which is not an AE title"),
        ({"aet": ""}, "not an AE title"),
        ({"aet": "A\\B"}, "not an AE title"),
        ({"aet": " CT"}, "not an AE title"),
        ({"aet": "CÄT"}, "not an AE title"),
        ({"local_aet": "A\\B"}, "local_aet is"),
        ({"host": ""}, "host is ''"),
        ({"host": "a b"}, "host is 'a b'"),
        ({"port": 0}, "port is 0"),
        ({"port": 65535}, "port is 65535; set it to 1 to 65534"),
        ({"dicom_timeout": -1}, "dicom_timeout is -1"),
        ({"name": "CT 1"}, "the name 'CT 1' may contain letters"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_asked(wrong, said):
    for arguments in ({**NEW, **wrong}, {"modalities": [{**NEW, **wrong}]}):
        failed = run(**arguments)
        assert failed["failed"] is True
        assert said in failed["msg"]


def test_all_findings_are_told_at_once():
    failed = run(modalities=[{**NEW, "aet": "", "port": 0}, {**NEW, "host": "a b"}])
    for said in ("CT1 is listed twice", "not an AE title", "port is 0", "host is 'a b'"):
        assert said in failed["msg"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "one of the following is required: name, modalities"),
        ({"name": "CT1", "modalities": []}, "mutually exclusive"),
        ({"aet": "CT", "modalities": []}, "mutually exclusive"),
        ({"name": "CT1", "exclusive": True}, "Set modalities with it"),
        ({"modalities": [], "state": "absent"}, "state: absent needs name"),
        ({"name": "CT1", "allow": ["all"]}, "value of allow must be one or more of"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, said):
    assert said in run(**arguments)["msg"]


def test_a_new_one_needs_to_be_described():
    assert run(listing({}), name="CT1", port=104)["msg"] == (
        "The modality CT1 is not registered in Orthanc. To register it, set aet and host."
    )


def test_what_an_old_archive_passes_over_is_no_success():
    arguments = {**NEW, "retrieve_method": "C-GET"}
    failed = run(
        listing({"CT1": OLD}),
        call("PUT", "/modalities/CT1", body={**OLD, "RetrieveMethod": "C-GET"}),
        listing({"CT1": OLD}),
        **arguments,
    )
    assert "without retrieve_method. Remove that, or update Orthanc" in failed["msg"]


def test_what_is_not_there_after_it_was_taken_is_no_success():
    put = call("PUT", "/modalities/CT1", body=ANYTHING)
    assert "does not have it" in run(listing({}), put, listing({}), **NEW)["msg"]
    failed = run(
        listing({"CT1": CT}),
        call("DELETE", "/modalities/CT1"),
        listing({"CT1": CT}),
        name="CT1",
        state="absent",
    )
    assert "still has it" in failed["msg"]


def test_a_refusal_of_the_archive_is_told():
    failed = run(
        listing({}),
        call("PUT", "/modalities/CT1", error(400, "Bad file format"), status=400, body=ANYTHING),
        **NEW,
    )
    assert "answers 400 Bad Request (Bad file format)" in failed["msg"]


def test_an_archive_that_is_too_old_to_describe_its_modalities():
    assert "is it Orthanc 1.10 or newer" in run(listing(["CT1"]), **NEW)["msg"]


SECRET, OLD_SECRET = "LBX4R7Q'\" 9ZK2", "LBXOLDTITLE99"


@pytest.mark.parametrize("current", [{}, {"CT1": {**CT, "AET": OLD_SECRET}}], ids=["new", "changed"])
@pytest.mark.parametrize("listed", [True, False], ids=["in a list", "alone"])
def test_a_secret_title_is_written_and_never_shown(current, listed):
    given = {"name": "CT1", "secret_aet": SECRET, "host": "192.0.2.10", "port": 104}
    body = {**SENT, "AET": SECRET} if not current else {**CT, "AET": SECRET}
    results = four_cases(
        "orthanc_modality",
        {"modalities": [given]} if listed else given,
        listing(current),
        listing({"CT1": {**CT, "AET": SECRET}}),
        call("PUT", "/modalities/CT1", body=body),
        listing({"CT1": {**CT, "AET": SECRET}}),
    )
    for result in results:
        for printed in (str(result), json.dumps(result)):
            assert "9ZK2" not in printed
            assert OLD_SECRET not in printed
    assert results[0]["diff"]["before"] != results[0]["diff"]["after"]


def test_a_secret_title_is_not_in_an_error():
    done = run(name="CT1", secret_aet="LBX\\7Q9ZK2")
    assert "is not an AE title" in done["msg"]
    assert "7Q9ZK2" not in json.dumps(done)


def test_a_title_is_open_or_secret():
    assert "set one of them" in run(name="CT1", aet="CT_ONE", secret_aet="LBX7Q9ZK2")["msg"]
