"""The modules orthanc_peer and orthanc_dicomweb_server against a scripted archive."""

from __future__ import annotations

import json

import pytest

from tests.support.orthanc_server import ANYTHING, archive, call, error, four_cases, run_module

# Which module, its list, its path, the prefix of its options.
KINDS = {
    "orthanc_peer": ("peers", "/peers", "peer"),
    "orthanc_dicomweb_server": ("servers", "/dicom-web/servers", "server"),
}
# As an archive shows one.
NORTH = {
    "HttpHeaders": ["X-Token"],
    "Password": None,
    "Pkcs11": False,
    "Timeout": 0,
    "Url": "https://north/pacs/",
    "Username": "south",
}
PLAIN = {"HttpHeaders": [], "Pkcs11": False, "Timeout": 0, "Url": "http://east/"}
SECRETS = {"password": "Correct7Horse", "http_headers": {"X-Token": "Battery8Staple"}}


class Kind:
    def __init__(self, module: str) -> None:
        self.module = module
        self.plural, self.path, self.prefix = KINDS[module]
        self.last: dict = {}

    def listing(self, answer):
        return call("GET", f"{self.path}?expand", answer)

    def put(self, name="north"):
        return call("PUT", f"{self.path}/{name}", body=self.keep)

    def keep(self, body: bytes) -> bool:
        self.last = json.loads(body)
        return True

    def entry(self, **more):
        return {"name": "north", f"{self.prefix}_url": "https://north/pacs", "username": "south", **SECRETS, **more}

    def run(self, *calls, check=False, **arguments):
        with archive(*calls) as played:
            done = run_module(self.module, {"url": played.url, **arguments}, check)
        # Neither what was sent nor what failed is shown anywhere.
        for secret in ("Correct7Horse", "Battery8Staple"):
            assert secret not in json.dumps(done)
        return done

    def written(self, **more) -> dict:
        """What the archive shows after a PUT of the entry."""
        self.run(self.listing({}), self.put(), self.listing({"north": NORTH}), **self.entry(**more))
        hidden = {"Password": None, "HttpHeaders": list(self.last["HttpHeaders"])}
        return {"Pkcs11": False, "Timeout": 0, **self.last, **hidden}


@pytest.fixture(params=KINDS)
def kind(request):
    return Kind(request.param)


def test_add_without_secrets(kind):
    results = four_cases(
        kind.module,
        {"name": "east", f"{kind.prefix}_url": "http://east"},
        kind.listing({}),
        kind.listing({"east": PLAIN}),
        call("PUT", f"{kind.path}/east", body={"Url": "http://east/", "HttpHeaders": {}}),
        kind.listing({"east": PLAIN}),
    )
    assert results[1][kind.plural] == [
        {
            "name": "east",
            f"{kind.prefix}_url": "http://east/",
            "pkcs11": False,
            f"{kind.prefix}_timeout": 0,
            "http_headers": [],
            "properties": {},
        }
    ]


def test_add_with_secrets_and_know_them_again(kind):
    shown = kind.written()
    assert kind.last["Password"] == "Correct7Horse"
    assert kind.last["HttpHeaders"] == {"X-Token": "Battery8Staple"}
    mark = kind.last["LightboxFingerprint"]
    assert "Correct7Horse" not in mark
    for check in (False, True):
        again = kind.run(kind.listing({"north": shown}), check=check, **kind.entry())
        assert again["changed"] is False
        assert "LightboxFingerprint" not in json.dumps(again)


def test_another_secret_is_written(kind):
    shown = kind.written()
    for more in ({"password": "Another9Word"}, {"http_headers": {"X-Token": "Another9Word"}}):
        entry = kind.entry(**more)
        checked = kind.run(kind.listing({"north": shown}), check=True, **entry)
        done = kind.run(kind.listing({"north": shown}), kind.put(), kind.listing({"north": shown}), **entry)
        assert checked["changed"] is done["changed"] is True
        assert done["diff"]["after"]["north"]["secrets"] == "as given"
        assert "Another9Word" not in json.dumps(done)
        assert "Another9Word" in json.dumps(kind.last)


def test_what_somebody_else_wrote_is_written_again(kind):
    """A PUT replaces the whole object, so another one's takes the mark away."""
    shown = kind.written()
    del shown["LightboxFingerprint"]
    assert kind.run(kind.listing({"north": shown}), check=True, **kind.entry())["changed"] is True
    for broken in ("", "x", "00", "00.00"):
        shown["LightboxFingerprint"] = broken
        assert kind.run(kind.listing({"north": shown}), check=True, **kind.entry())["changed"] is True


def test_always_and_on_create(kind):
    on_create = kind.entry(update_password="on_create")
    assert kind.run(kind.listing({"north": NORTH}), **on_create)["changed"] is False
    kind.run(kind.listing({}), kind.put(), kind.listing({"north": NORTH}), **on_create)
    assert "LightboxFingerprint" not in kind.last
    for _unused in range(2):
        done = kind.run(
            kind.listing({"north": NORTH}),
            kind.put(),
            kind.listing({"north": NORTH}),
            **kind.entry(update_password="always"),
        )
        assert done["changed"] is True
        assert "LightboxFingerprint" not in kind.last
    # With something else to change, the secrets must go along.
    timeout = {f"{kind.prefix}_timeout": 9}
    kind.run(
        kind.listing({"north": NORTH}),
        kind.put(),
        kind.listing({"north": {**NORTH, "Timeout": 9}}),
        **on_create,
        **timeout,
    )
    assert (kind.last["Password"], kind.last["Timeout"]) == ("Correct7Horse", 9)


def test_a_change_does_not_lose_what_the_archive_does_not_show(kind):
    timeout = {"name": "north", f"{kind.prefix}_timeout": 9}
    for check in (True, False):
        failed = kind.run(kind.listing({"north": NORTH}), check=check, **timeout)
        assert "cannot be changed without password and http_headers" in failed["msg"]
    failed = kind.run(kind.listing({"north": {**NORTH, "CertificateFile": "/c.pem", "HttpHeaders": []}}), **timeout)
    assert "without password and certificate_key_file" in failed["msg"]
    done = kind.run(
        kind.listing({"north": NORTH}),
        kind.put(),
        kind.listing({"north": {**PLAIN, "Url": NORTH["Url"], "Timeout": 9}}),
        username="",
        http_headers={},
        **timeout,
    )
    assert done["changed"] is True
    assert {"Username", "Password"} & set(kind.last) == set()


def test_change_keeps_what_is_not_given(kind):
    was = {**PLAIN, "Timeout": 7, "ForSomePlugin": "1"}
    now = {**was, "Url": "http://west/"}
    results = four_cases(
        kind.module,
        {"name": "east", f"{kind.prefix}_url": "http://west/"},
        kind.listing({"east": was}),
        kind.listing({"east": now}),
        call("PUT", f"{kind.path}/east", body={**now, "HttpHeaders": {}}),
        kind.listing({"east": now}),
    )
    assert results[0]["diff"]["before"]["east"]["properties"] == {"ForSomePlugin": "1"}


def test_properties_are_compared_as_the_archive_keeps_them(kind):
    four_cases(
        kind.module,
        {"name": "east", "properties": {"A": True, "B": 5, "C": "x"}},
        kind.listing({"east": {**PLAIN, "Old": "1"}}),
        kind.listing({"east": {**PLAIN, "A": "1", "B": "5", "C": "x"}}),
        call("PUT", f"{kind.path}/east", body={**PLAIN, "HttpHeaders": {}, "A": "1", "B": "5", "C": "x"}),
        kind.listing({"east": {**PLAIN, "A": "1", "B": "5", "C": "x"}}),
    )


def test_list_unlisted_and_exclusive(kind):
    entries = [{"name": "east", f"{kind.prefix}_url": "http://east/"}]
    both = kind.listing({"east": PLAIN, "west": PLAIN})
    kept = kind.run(both, **{kind.plural: entries})
    assert kept["changed"] is False
    assert [one["name"] for one in kept["unlisted"]] == ["west"]
    results = four_cases(
        kind.module,
        {kind.plural: entries, "exclusive": True},
        both,
        kind.listing({"east": PLAIN}),
        call("DELETE", f"{kind.path}/west"),
        kind.listing({"east": PLAIN}),
    )
    assert list(results[0]["diff"]["before"]) == ["west"]


def test_remove(kind):
    four_cases(
        kind.module,
        {"name": "north", "state": "absent"},
        kind.listing({"north": NORTH}),
        kind.listing({}),
        call("DELETE", f"{kind.path}/north"),
        kind.listing({}),
    )


@pytest.mark.parametrize("status", [400, 404])
def test_what_somebody_else_removed_meanwhile_is_gone(kind, status):
    if kind.plural == "peers" and status == 400:
        return  # of a peer it means what it says
    done = kind.run(
        kind.listing({"north": NORTH}),
        call("DELETE", f"{kind.path}/north", error(status, "Unknown DICOMweb server"), status=status),
        kind.listing({}),
        name="north",
        state="absent",
    )
    assert done["changed"] is True


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"_url": "north"}, "_url is 'north'"),
        ({"_url": "https://me:Correct7Horse@north"}, "_url is 'https://…@north'; set it to"),
        ({"_url": "https://north/?x"}, "set it to an http or https address"),
        ({"password": "x", "username": ""}, "password needs username"),
        ({"certificate_key_file": "/k"}, "need certificate_file"),
        ({"properties": {"Url": "x"}}, "properties contains Url"),
        ({"properties": {"LightboxFingerprint": "x"}}, "properties contains Lightbox"),
        ({"properties": {"A": []}}, "not A"),
        ({"_timeout": -1}, "_timeout is below 0"),
        ({"name": "a/b"}, "the name 'a/b' may contain"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_asked(kind, wrong, said):
    wrong = {(kind.prefix + key if key.startswith("_") else key): value for key, value in wrong.items()}
    for arguments in (kind.entry(**wrong), {kind.plural: [kind.entry(**wrong)]}):
        failed = kind.run(**arguments)
        assert failed["failed"] is True
        assert said in failed["msg"]


def test_a_new_one_needs_an_address(kind):
    assert f"set {kind.prefix}_url." in kind.run(kind.listing({}), name="north")["msg"]


def test_a_change_that_a_restart_may_undo_comes_with_a_warning(kind):
    options = {"orthanc_peer": "OrthancPeersInDatabase", "orthanc_dicomweb_server": "DicomWeb.ServersInDatabase"}
    arguments = {"name": "east", f"{kind.prefix}_url": "http://east"}
    (warning,) = kind.run(kind.listing({}), check=True, **arguments)["warnings"]
    assert options[kind.module] in warning
    assert kind.run(kind.listing({}), check=True, persistent=True, **arguments)["warnings"] == []


def test_booleans_of_servers_are_texts():
    kind = Kind("orthanc_dicomweb_server")
    now = {**PLAIN, "HasDelete": "1", "ChunkedTransfers": "0", "HasWadoRsUniversalTransferSyntax": "0", "Other": "x"}
    results = four_cases(
        kind.module,
        {"name": "east", "has_delete": True, "chunked_transfers": False},
        kind.listing({"east": {**now, "HasDelete": "0", "ChunkedTransfers": "1"}}),
        kind.listing({"east": now}),
        call("PUT", "/dicom-web/servers/east", body={**now, "HttpHeaders": {}}),
        kind.listing({"east": now}),
    )
    shown = results[2]["servers"][0]
    assert (shown["has_delete"], shown["chunked_transfers"], shown["universal_transfer_syntax"]) == (True, False, False)
    assert shown["properties"] == {"Other": "x"}
    # As written by hand into a configuration, or by an archive that keeps Booleans.
    again = kind.run(kind.listing({"east": {**now, "HasDelete": True}}), name="east", has_delete=True)
    assert again["changed"] is False


def test_no_dicomweb_plugin_or_another_root():
    kind = Kind("orthanc_dicomweb_server")
    missing = call("GET", "/dicom-web/servers?expand", error(404, "Unknown resource"), status=404)
    assert "Load Orthanc's DICOMweb plugin, or set dicomweb_root" in kind.run(missing, servers=[])["msg"]
    other = call("GET", "/dw/api/servers?expand", {})
    assert kind.run(other, servers=[], dicomweb_root="dw/api/")["changed"] is False


def test_a_refusal_of_the_archive_is_told(kind):
    put = call("PUT", f"{kind.path}/north", error(400, "Bad file format"), status=400, body=ANYTHING)
    assert "answers 400 Bad Request (Bad file format)" in kind.run(kind.listing({}), put, **kind.entry())["msg"]
