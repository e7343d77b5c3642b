"""Nodes of other makers call the archive through the reverse proxy: what they may, and what the logs keep of it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import io
import json
import re
import secrets
import ssl
import time

import pydicom
import pytest
import requests
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pynetdicom import build_context, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import
    PatientRootQueryRetrieveInformationModelFind,
    SecondaryCaptureImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from tests.support.dicom_nodes import (
    ADDRESS,
    ARCHIVE,
    CA,
    DESCRIPTION,
    PATIENT_ID,
    PATIENT_NAME,
    PLAIN,
    REFERRING,
    SIDE,
    TLS,
    Received,
    associated,
    dcmtk,
    dcmtk_listener,
    image,
    new_uid,
    pynetdicom_listener,
    read,
    write,
)
from tests.support.lab import address
from tests.support.secrets import scenario_secrets

testinfra_hosts = [address("full")]
SLICES = 500
READER = ("-aet", "READER", "-aec", ARCHIVE)
SCANNER = ("-aet", "SCANNER", "-aec", ARCHIVE)
AT = (ADDRESS, str(PLAIN))


def stored(web: requests.Session, study: str) -> dict[str, bytes]:
    """What the archive has of a study: SOP Instance UID → file."""
    query = {"Level": "Instance", "Query": {"StudyInstanceUID": study}, "Expand": True}
    found = web.post(f"https://{ADDRESS}/pacs/tools/find", json=query, timeout=30).json()
    return {
        one["MainDicomTags"]["SOPInstanceUID"]: web.get(
            f"https://{ADDRESS}/pacs/instances/{one['ID']}/file", timeout=30
        ).content
        for one in found
    }


def count(study: str, title: str = "READER") -> int:
    """Number of images of a study, by C-FIND."""
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study
    query.NumberOfStudyRelatedInstances = ""
    with associated(title, [build_context(StudyRootQueryRetrieveInformationModelFind)]) as association:
        answers = [
            found
            for _status, found in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
            if found
        ]
    return int(answers[0].NumberOfStudyRelatedInstances) if answers else 0


# -- The images that all tests send and look for


def encode(directory, name: str, bits: int, study: str, series: str):
    """One image in a transfer syntax, by dcmtk's encoders or, where it has none, by pydicom's."""
    data = image(study, series, bits=bits)
    source, target = directory / f"{name}.plain", directory / f"{name}.dcm"
    how = SYNTAXES[name][1]
    if how[0] == "pydicom":
        options = {"j2k_cr": [4]} if how[1] == uid.JPEG2000 else {}
        data.compress(how[1], generate_instance_uid=False, **options)
        return write(data, target)
    write(data, source)
    run = dcmtk(how[0], *how[1:], source, target)
    assert run.returncode == 0, run.stderr
    return target


SYNTAXES: dict[str, tuple[uid.UID, tuple, int]] = {
    "implicit little endian": (uid.ImplicitVRLittleEndian, ("dcmconv", "+ti"), 16),
    "explicit little endian": (uid.ExplicitVRLittleEndian, ("dcmconv", "+te"), 16),
    "explicit big endian": (uid.ExplicitVRBigEndian, ("dcmconv", "+tb"), 16),
    "deflated": (uid.DeflatedExplicitVRLittleEndian, ("dcmconv", "+td"), 16),
    "RLE": (uid.RLELossless, ("dcmcrle", "+un"), 16),
    "JPEG baseline": (uid.JPEGBaseline8Bit, ("dcmcjpeg", "+eb", "+un"), 8),
    "JPEG extended": (uid.JPEGExtended12Bit, ("dcmcjpeg", "+ee", "+un"), 12),
    "JPEG lossless": (uid.JPEGLossless, ("dcmcjpeg", "+el", "+un"), 16),
    "JPEG lossless SV1": (uid.JPEGLosslessSV1, ("dcmcjpeg", "+e1", "+un"), 16),
    "JPEG-LS": (uid.JPEGLSLossless, ("dcmcjpls", "+el", "+un"), 16),
    "JPEG-LS near lossless": (uid.JPEGLSNearLossless, ("dcmcjpls", "+en", "+un"), 16),
    "JPEG 2000 lossless": (uid.JPEG2000Lossless, ("pydicom", uid.JPEG2000Lossless), 16),
    "JPEG 2000": (uid.JPEG2000, ("pydicom", uid.JPEG2000), 16),
}
# What the archive takes besides has no encoder here: JPEG's retired processes, JPEG 2000 part 2, MPEG-2, H.264,
# HEVC. The archive must keep such frames as they come and needs not read them, so they are bytes of chance.
UNREAD = [
    uid.UID(f"1.2.840.10008.1.2.4.{number}") for number in (*range(52, 57), *range(58, 67), 92, 93, *range(100, 109))
]
# These it lists and does not take: it drops the association at an image by JPIP, and never agrees on MIME or XML.
JPIP = [uid.UID("1.2.840.10008.1.2.4.94"), uid.UID("1.2.840.10008.1.2.4.95")]
NEVER_AGREED = [uid.UID("1.2.840.10008.1.2.6.1"), uid.UID("1.2.840.10008.1.2.6.2")]
# Where a file could go in several transfer syntaxes, the sender offers one.
OFFERED = {"implicit little endian": "-xi", "explicit big endian": "-xb", "deflated": "-xd"}


def with_frames(data: Dataset, syntax: uid.UID) -> Dataset:
    """The image with two frames of chance in place of its pixels, one of them of odd length."""
    data.file_meta.TransferSyntaxUID = syntax
    data.NumberOfFrames = 2
    data.PixelData = encapsulate([secrets.token_bytes(1000), secrets.token_bytes(333)])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    return data


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """One study with an image in each transfer syntax, sent by dcmtk: its UID, name → file, what the senders said."""
    directory = tmp_path_factory.mktemp("zoo")
    study, series = new_uid(), new_uid()
    files = {name: encode(directory, name, bits, study, series) for name, (_uid, _how, bits) in SYNTAXES.items()}
    sent = [dcmtk("storescu", option, *SCANNER, *AT, files[name]) for name, option in OFFERED.items()]
    others = [file for name, file in files.items() if name not in OFFERED]
    sent.append(dcmtk("dcmsend", *SCANNER, "--decompress-never", *AT, *others))
    return study, files, sent


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of 500 slices, sent by dcmtk in one association: its UID, and the seconds that it took."""
    directory = tmp_path_factory.mktemp("slices")
    name, series = new_uid(), new_uid()
    for number in range(1, SLICES + 1):
        write(image(name, series, number), directory / f"{number}.dcm")
    begin = time.monotonic()
    sent = dcmtk("dcmsend", "-v", *SCANNER, "+sd", *AT, directory, seconds=120)
    seconds = time.monotonic() - begin
    assert sent.returncode == 0, sent.stderr[-1000:]
    print(f"{SLICES} slices in {seconds:.1f} s")
    return name


# -- C-ECHO


@pytest.mark.parametrize("title", ["SCANNER", "READER", "reader"])
def test_known_titles_are_answered(title):
    assert dcmtk("echoscu", "-aet", title, "-aec", ARCHIVE, *AT).returncode == 0
    with associated(title, [build_context(Verification)]) as association:
        assert association.send_c_echo().Status == 0x0000


def test_echo_over_tls():
    secured = dcmtk("echoscu", *SCANNER, "+tla", "+cf", CA, ADDRESS, str(TLS))
    assert secured.returncode == 0, secured.stderr
    tls = (ssl.create_default_context(cafile=str(CA)), ADDRESS)
    with associated("SCANNER", [build_context(Verification)], port=TLS, tls_args=tls) as association:
        assert association.send_c_echo().Status == 0x0000


def test_tls_is_refused_to_who_does_not_know_the_ca_and_plain_dicom_to_the_tls_port():
    assert dcmtk("echoscu", *SCANNER, "+tla", ADDRESS, str(TLS)).returncode != 0
    assert dcmtk("echoscu", *SCANNER, "-to", "5", "-ta", "5", ADDRESS, str(TLS)).returncode != 0


# -- C-STORE


def test_every_transfer_syntax_is_taken(zoo):
    _study, _files, sent = zoo
    assert [one.returncode for one in sent] == [0] * 4, [one.stderr for one in sent]


def test_what_was_sent_is_kept_as_it_was(zoo, web):
    study, files, _sent = zoo
    kept = stored(web, study)
    for name, file in files.items():
        before = read(file)
        after = pydicom.dcmread(io.BytesIO(kept[before.SOPInstanceUID]))
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID == SYNTAXES[name][0], name
        assert after == before, name


def test_no_transfer_syntax_of_the_archive_is_left_out(web):
    takes = set(web.get(f"https://{ADDRESS}/pacs/tools/accepted-transfer-syntaxes", timeout=30).json())
    assert takes == {one for one, _how, _bits in SYNTAXES.values()} | {*UNREAD, *JPIP, *NEVER_AGREED}


def test_frames_that_the_archive_cannot_read_are_kept_as_they_were(web):
    study, series = new_uid(), new_uid()
    sent: dict[str, tuple[uid.UID, bytes]] = {}
    contexts = [build_context(SecondaryCaptureImageStorage, syntax) for syntax in [*UNREAD, *NEVER_AGREED]]
    with associated("SCANNER", contexts) as association:
        assert [one.transfer_syntax[0] for one in association.accepted_contexts] == UNREAD
        for number, syntax in enumerate(UNREAD):
            data = with_frames(image(study, series, number), syntax)
            assert association.send_c_store(data).get("Status") == 0x0000, syntax.name
            sent[data.SOPInstanceUID] = syntax, data.PixelData
    files = {one: pydicom.dcmread(io.BytesIO(file)) for one, file in stored(web, study).items()}
    assert {one: (file.file_meta.TransferSyntaxUID, file.PixelData) for one, file in files.items()} == sent


@pytest.mark.parametrize("syntax", JPIP, ids=["JPIP", "JPIP deflated"])
def test_an_image_that_the_archive_cannot_keep_is_not_acknowledged(web, syntax):
    data = image(new_uid(), new_uid())
    data.file_meta.TransferSyntaxUID = syntax
    del data.PixelData
    data.PixelDataProviderURL = "https://jpip.lightbox.test/1"
    with associated("SCANNER", [build_context(SecondaryCaptureImageStorage, syntax)]) as association:
        assert association.send_c_store(data).get("Status") != 0x0000
    assert stored(web, data.StudyInstanceUID) == {}


def test_a_study_of_500_slices_in_one_association(study):
    assert count(study) == SLICES


def test_eight_senders_at_once(host, tmp_path):
    """Each a process of dcmtk with its own association; the reverse proxy's log tells that all were there together."""
    study = new_uid()
    for sender in range(8):
        series = new_uid()
        (tmp_path / str(sender)).mkdir()
        for number in range(1, 51):
            write(image(study, series, number), tmp_path / str(sender) / f"{number}.dcm")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda one: dcmtk("dcmsend", *SCANNER, "+sd", *AT, tmp_path / str(one)), range(8)))
    assert [one.returncode for one in sent] == [0] * 8, sent
    assert count(study) == 8 * 50
    with host.sudo():
        log = host.check_output("sleep 1; tail -n 100 /var/log/lightbox/reverse_proxy/dicom.log")
    large = [line for line in map(json.loads, log.splitlines()) if line["bytes_in"] > 50 * SIDE * SIDE * 2][-8:]
    ends = [datetime.datetime.fromisoformat(line["time"]).timestamp() for line in large]
    begins = [end - line["seconds"] for end, line in zip(ends, large, strict=True)]
    assert max(begins) <= min(ends) + 1, large  # the log's times are whole seconds


def test_eight_associations_are_open_at_once():
    with contextlib.ExitStack() as stack:
        open_ = [stack.enter_context(associated("SCANNER", [build_context(Verification)])) for _unused in range(8)]
        assert [one.is_established for one in open_] == [True] * 8
        assert [one.send_c_echo().Status for one in open_] == [0x0000] * 8


def test_store_over_tls(web):
    study = new_uid()
    data = image(study, new_uid())
    tls = (ssl.create_default_context(cafile=str(CA)), ADDRESS)
    context = build_context(SecondaryCaptureImageStorage, uid.ExplicitVRLittleEndian)
    with associated("SCANNER", [context], port=TLS, tls_args=tls) as association:
        assert association.send_c_store(data).Status == 0x0000
    assert pydicom.dcmread(io.BytesIO(stored(web, study)[data.SOPInstanceUID])) == data


# -- C-FIND, C-MOVE, C-GET


def test_find_by_name_with_dcmtk(study, zoo):
    found = dcmtk("findscu", "-S", *READER, *AT, "-k", "QueryRetrieveLevel=STUDY", "-k", f"PatientName={PATIENT_NAME}",
                  "-k", "StudyInstanceUID")  # fmt: skip
    assert found.returncode == 0, found.stderr
    said = found.stdout + found.stderr
    assert study in said
    assert zoo[0] in said


def test_find_with_pynetdicom_on_every_level(study):
    model = PatientRootQueryRetrieveInformationModelFind
    with associated("READER", [build_context(model)]) as association:
        for level, keys, wanted in (
            ("PATIENT", {"PatientName": PATIENT_NAME, "PatientID": ""}, 1),
            ("STUDY", {"PatientID": PATIENT_ID, "StudyInstanceUID": study}, 1),
            ("SERIES", {"PatientID": PATIENT_ID, "StudyInstanceUID": study, "SeriesInstanceUID": ""}, 1),
        ):
            query = Dataset()
            query.QueryRetrieveLevel = level
            for key, value in keys.items():
                setattr(query, key, value)
            answers = [found for _status, found in association.send_c_find(query, model) if found]
            assert len(answers) == wanted, level


def test_move_with_dcmtk_to_a_listener_of_pynetdicom(zoo):
    study, files, _sent = zoo
    with pynetdicom_listener("reader") as received:
        moved = dcmtk("movescu", "-v", "-S", *READER, "-aem", "READER", *AT,
                      "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")  # fmt: skip
        assert moved.returncode == 0, moved.stderr
        images = received.wait(len(files))
    assert set(images) == {str(read(file).SOPInstanceUID) for file in files.values()}


def test_move_with_pynetdicom_to_a_listener_of_dcmtk(study, tmp_path):
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study
    model = StudyRootQueryRetrieveInformationModelMove
    with dcmtk_listener("scanner", tmp_path), associated("READER", [build_context(model)]) as association:
        statuses = [status.Status for status, _found in association.send_c_move(query, "SCANNER", model)]
    assert statuses[-1] == 0x0000
    assert len(list(tmp_path.iterdir())) == SLICES


def test_get_with_dcmtk(study, tmp_path):
    got = dcmtk("getscu", "-S", *READER, "-od", tmp_path, *AT, "-k", "QueryRetrieveLevel=STUDY",
                "-k", f"StudyInstanceUID={study}")  # fmt: skip
    assert got.returncode == 0, got.stderr
    assert len(list(tmp_path.iterdir())) == SLICES


def test_get_with_pynetdicom():
    study = new_uid()
    data = image(study, new_uid())
    model = StudyRootQueryRetrieveInformationModelGet
    received: list[Dataset] = []

    def store(event) -> int:
        received.append(event.dataset)
        return 0x0000

    with associated(
        "SCANNER", [build_context(SecondaryCaptureImageStorage, uid.ExplicitVRLittleEndian)]
    ) as association:
        assert association.send_c_store(data).Status == 0x0000
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study
    with associated(
        "READER",
        [build_context(model), build_context(SecondaryCaptureImageStorage, uid.ExplicitVRLittleEndian)],
        ext_neg=[build_role(SecondaryCaptureImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    ) as association:
        statuses = [status.Status for status, _found in association.send_c_get(query, model)]
    assert statuses[-1] == 0x0000
    assert [one.PixelData for one in received] == [data.PixelData]


# -- What is refused


@pytest.fixture(scope="module")
def one_image() -> Dataset:
    """An image in the archive, alone in its study."""
    data = image(new_uid(), new_uid())
    context = build_context(SecondaryCaptureImageStorage, uid.ExplicitVRLittleEndian)
    with associated("SCANNER", [context]) as association:
        assert association.send_c_store(data).Status == 0x0000
    return data


def request(title: str, model, wanted: Dataset) -> tuple[list[int | None], int]:
    """Ask for an image with all that its transfer needs: the statuses (None: no answer), and how much came.

    What came: matches of a search, images of a fetch.
    """
    query = Dataset()
    query.QueryRetrieveLevel, query.PatientID, query.StudyInstanceUID = "STUDY", PATIENT_ID, wanted.StudyInstanceUID
    got = Received()
    with (
        pynetdicom_listener("scanner") as moved,
        associated(
            title,
            [build_context(model), build_context(SecondaryCaptureImageStorage, uid.ExplicitVRLittleEndian)],
            ext_neg=[build_role(SecondaryCaptureImageStorage, scp_role=True)],
            evt_handlers=[(evt.EVT_C_STORE, got.store)],
        ) as association,
    ):
        assert association.is_established
        assert len(association.accepted_contexts) == 2
        if model == StudyRootQueryRetrieveInformationModelMove:
            answers = list(association.send_c_move(query, "SCANNER", model))
        elif model == StudyRootQueryRetrieveInformationModelGet:
            answers = list(association.send_c_get(query, model))
        else:
            answers = list(association.send_c_find(query, model))
    found = [one for _status, one in answers if one]
    return [status.get("Status") for status, _one in answers], len(found) + len(got.images) + len(moved.images)


def archive_log(host) -> str:
    with host.sudo():
        return host.check_output("docker logs lightbox-orthanc 2>&1")


@pytest.mark.parametrize("title", ["ORTHANC", "ANY-SCP"])
def test_a_wrong_called_title_is_refused(title):
    refused = dcmtk("echoscu", "-aet", "SCANNER", "-aec", title, *AT)
    assert refused.returncode != 0
    assert re.search("Called AE Title Not Recogni[sz]ed", refused.stderr, re.IGNORECASE)
    with associated("SCANNER", [build_context(Verification)], called=title) as association:
        # No more: pynetdicom calls it aborted when the connection closes before it has read why.
        assert not association.is_established


@pytest.mark.parametrize("title", ["NOBODY", "SCANNER1", "ANY-SCU", "STORESCU", ARCHIVE])
def test_an_unknown_calling_title_is_refused(title):
    refused = dcmtk("echoscu", "-aet", title, "-aec", ARCHIVE, *AT)
    assert refused.returncode != 0
    assert re.search("Calling AE Title Not Recogni[sz]ed", refused.stderr, re.IGNORECASE)


@pytest.mark.parametrize(
    "model",
    [
        StudyRootQueryRetrieveInformationModelFind,
        PatientRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelMove,
        StudyRootQueryRetrieveInformationModelGet,
    ],
    ids=str,
)
def test_who_may_only_store_can_neither_search_nor_fetch(host, one_image, model):
    """The same request from who may ask gets the image, so that the refusal is not for another reason."""
    word = model.name.split()[-1].capitalize()
    refusal = f"The DICOM command {word} is not allowed for this modality"
    statuses, received = request("READER", model, one_image)
    assert (statuses[-1], received) == (0x0000, 1)
    before = archive_log(host).count(refusal)
    statuses, received = request("SCANNER", model, one_image)
    assert (statuses, received) == ([None], 0), "the association ends without an answer"
    assert archive_log(host).count(refusal) == before + 1


@pytest.mark.parametrize("where", ["127.0.0.1", ADDRESS])
def test_addresses_that_no_modality_has_are_refused(host, where):
    """From the server itself: the server is in the same network as the modalities, and none of them."""
    with host.sudo():
        before = int(host.check_output("wc -l </var/log/lightbox/reverse_proxy/dicom.log"))
    refused = host.run(f"echoscu -aet READER -aec {ARCHIVE} {where} {PLAIN}")
    assert refused.rc != 0
    with host.sudo():
        log = host.check_output(f"sleep 1; tail -n +{before + 1} /var/log/lightbox/reverse_proxy/dicom.log")
        lines = log.splitlines()
    assert [(line["address"], line["status"]) for line in map(json.loads, lines)] == [(where, 403)]


def test_the_reverse_proxy_lets_in_exactly_the_addresses_of_the_modalities(host):
    with host.sudo():
        allowed = re.findall(r"(?:listen ([0-9]+)|allow ([^;]+);)", host.file("/etc/nginx/nginx.conf").content_string)
    doors: dict[str, list[str]] = {}
    for port, who in allowed:
        if port:
            last = port
        else:
            doors.setdefault(last, []).append(who)
    assert doors == {str(PLAIN): ["172.28.77.1"], str(TLS): ["172.28.77.1", "127.0.0.1/32"]}


def test_the_checks_after_every_run_show_their_certificate(host):
    with host.sudo():
        log = host.check_output("cat /var/log/lightbox/reverse_proxy/dicom.log")
    lines = [
        line for line in map(json.loads, log.splitlines()) if (line["address"], line["port"]) == ("127.0.0.1", TLS)
    ]
    found = [line for line in lines if line["calling_aet"]]  # the others only see whether the port is open
    assert {(line["device"], line["certificate"], line["status"]) for line in found} == {("verify", "SUCCESS", 200)}
    assert {line["calling_aet"] for line in found} == {"********"}
    assert all(820 <= line["certificate_days"] <= 825 for line in found)
    assert scenario_secrets()["AE title of the checks"] not in log.upper()


# -- What stays in the logs, after all of the above


def test_no_patient_is_in_the_logs(host, web, study):
    web.get(f"https://{ADDRESS}/pacs/dicom-web/studies?PatientName={PATIENT_NAME}&limit=5", timeout=30)
    web.get(f"https://{ADDRESS}/pacs/dicom-web/studies/{study}/metadata", timeout=60)
    family = REFERRING.split("^", maxsplit=1)[0]
    words = [*PATIENT_NAME.split("^"), PATIENT_ID, family, DESCRIPTION.split()[0], "QZ-ACC"]
    with host.sudo():
        logs = host.check_output(
            "sleep 2; docker logs lightbox-orthanc 2>&1; cat /var/log/lightbox/reverse_proxy/*.log; "
            "journalctl --no-pager"
        )
    assert len(logs.splitlines()) > 100
    assert study in logs, "the audit log tells which study was looked at"
    assert [word for word in words if word.lower() in logs.lower()] == []
