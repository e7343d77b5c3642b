# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ordered search for studies: njs in nginx, in front of an archive that behaves as Orthanc on its databases."""

from __future__ import annotations

import getpass
import http.client
import http.server
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.nginx import MODULES, needs_nginx, running_nginx
from tests.support.project import PROJECT

pytestmark = needs_nginx

SCRIPTS = PROJECT / "roles/reverse_proxy/files/njs"
OWN = [{"0020000D": {"vr": "UI", "Value": ["own"]}}]  # what the archive's own search answers
DATES = ("StudyDate", "StudyTime")
COMPUTED = {"ModalitiesInStudy": "CT", "NumberOfStudyRelatedSeries": "1", "NumberOfStudyRelatedInstances": "2"}


def value_of(key: str) -> Callable[[dict[str, str]], str]:
    return lambda study: study.get(key, "")


@dataclass
class Archive:
    """Studies in the order of their hashes, and what differs between databases and configurations."""

    studies: list[dict[str, str]]
    orders: bool = True
    nulls_first: bool = False  # PostgreSQL, where there are several keys
    cut: int = 0  # LimitFindResults
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def matches(self, study: dict[str, str], query: dict[str, str]) -> bool:
        for key, wanted in query.items():
            value = study.get(key)
            if wanted in ("", "*"):
                continue
            if value is None:
                return False
            if key == "StudyDate" and "-" in wanted:
                low, high = wanted.split("-")
                if (low and value < low) or (high and value > high):
                    return False
            elif wanted.startswith("*") and wanted.endswith("*"):
                if wanted[1:-1].upper() not in value.upper():
                    return False
            elif value.upper() not in wanted.upper().split("\\"):
                return False
        return True

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        self.asked.append((path, body))
        if path == "/system":
            return 200, {"Capabilities": {"HasExtendedFind": self.orders}}
        found = [study for study in self.studies if self.matches(study, body["Query"])]
        if path == "/tools/count-resources":
            return 200, {"Count": len(found)}
        if body.get("OrderBy") and not self.orders:
            return 500, {"Details": "The database backend doesn't support ordering"}
        keys = [one["Key"] for one in body.get("OrderBy", [])]
        for key in reversed(keys):
            missing_first = self.nulls_first and key != keys[-1]
            found.sort(key=value_of(key), reverse=True)
            found = [s for s in found if (s.get(key) is None) == missing_first] + [
                s for s in found if (s.get(key) is None) != missing_first
            ]
        found = found[body.get("Since", 0) :]
        if body.get("Limit"):
            found = found[: min(body["Limit"], self.cut or body["Limit"])]
        return 200, [
            {"ID": s["StudyInstanceUID"], "MainDicomTags": s, "PatientMainDicomTags": {}, "RequestedTags": COMPUTED}
            for s in found
        ]


class Handler(http.server.BaseHTTPRequestHandler):
    archive: Archive
    protocol_version = "HTTP/1.1"

    def reply(self, status: int, content: Any) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        if self.path == "/system":
            self.reply(*self.archive.answer("/system", None))
        else:
            self.archive.asked.append((self.path, None))
            self.reply(200, OWN)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(*self.archive.answer(self.path, body))

    def log_message(self, *_arguments: object) -> None:
        pass


CONF = """
load_module "{js}";
user {user};
pid {directory}/pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    {drafts}
    js_import lightbox_study_list from {directory}/study_list.js;
    js_var $lightbox_study_list;
    js_var $lightbox_study_list_seconds;
    server {{
        listen 127.0.0.1:{port};
        location / {{ js_content lightbox_study_list.search; add_header X-List $lightbox_study_list; }}
        location @lightbox_study_search {{ proxy_pass http://127.0.0.1:{archive}; }}
        location /_lightbox/archive/ {{
            internal;
            subrequest_output_buffer_size 16m;
            proxy_buffering off;
            rewrite ^/_lightbox/archive(/.*)$ $1 break;
            proxy_pass http://127.0.0.1:{archive};
        }}
    }}
}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[int]:
    """The port of an nginx whose archive is `Handler.archive`."""
    directory: Path = tmp_path_factory.mktemp("list")
    threaded = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=threaded.serve_forever, daemon=True).start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    drafts = [f"{what}_temp_path {directory}/{what};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    shutil.copy(SCRIPTS / "study_list.js", directory)  # the role's own place may have a space in its path
    (js,) = (module for module in MODULES if "http_js" in str(module))
    (directory / "conf").write_text(
        CONF.format(
            js=js, user=getpass.getuser(), directory=directory, drafts=" ".join(drafts), port=port,
            archive=threaded.server_address[1],
        )
    )  # fmt: skip
    try:
        with running_nginx(directory / "conf", port):
            yield port
            assert "exception" not in (directory / "error.log").read_text()
    finally:
        threaded.shutdown()


def get(port: int, query: str, accept: str = "application/dicom+json") -> tuple[list[dict[str, Any]], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", f"/pacs/dicom-web/studies?{query}", headers={"Accept": accept})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content[:200]
    return json.loads(content), answer.headers.get("X-List", "")


def uids(found: list[dict[str, Any]]) -> list[str]:
    return [study["0020000D"]["Value"][0] for study in found]


def study(number: int, **more: str | None) -> dict[str, str]:
    """Dates are spread over three years; 40 of each 1,000 lack one, 40 have another text, 40 one that is to come."""
    values: dict[str, str | None] = {
        "StudyInstanceUID": f"1.2.{number}",
        "StudyDate": (date.today() - timedelta(days=number * 7919 % 1100)).strftime("%Y%m%d"),
        "StudyTime": f"{number % 24:02d}0000",
        "PatientName": f"Name^{number}",
    }
    if number % 25 == 1:
        values["StudyDate"] = None if number % 2 else ""
    if number % 25 == 2:
        values["StudyDate"] = "yesterday"
    if number % 25 == 3:
        values["StudyDate"] = ("5", "99999999", "20991231")[number % 3]
    values |= more
    return {key: value for key, value in values.items() if value is not None}


def newest_first(studies: list[dict[str, str]]) -> list[str]:
    tomorrow = (date.today() + timedelta(days=1)).strftime("%Y%m%d")
    dated = [one for one in studies if "0" <= one.get("StudyDate", "") <= tomorrow]
    dated.sort(key=lambda one: [one.get(key, "") for key in (*DATES, "StudyInstanceUID")], reverse=True)
    return [one["StudyInstanceUID"] for one in dated]


KINDS = {
    "SQLite": {},
    "PostgreSQL": {"nulls_first": True},
    "with LimitFindResults": {"cut": 300},
    "Debian's PostgreSQL": {"orders": False},
}


@pytest.mark.parametrize("count", [0, 1, 50, 1000, 1001, 3000])
@pytest.mark.parametrize("kind", KINDS)
def test_pages_are_newest_first_and_complete(server, kind, count):
    studies = [study(number) for number in range(count)]
    Handler.archive = Archive(studies, **KINDS[kind])  # type: ignore[arg-type]
    dated = newest_first(studies)
    listed: list[str] = []
    while True:
        page = uids(get(server, f"limit=700&offset={len(listed)}&includefield=00081030%2C00080060")[0])
        listed += page
        if not page:
            break
    assert listed[: len(dated)] == dated
    assert len(listed) == len(set(listed)) == count, "those without a date come last, each once"


@pytest.mark.parametrize("kind", KINDS)
def test_the_middle_and_ranges_of_dates(server, kind):
    studies = [study(number) for number in range(3000)]
    Handler.archive = Archive(studies, **KINDS[kind])  # type: ignore[arg-type]
    dated = newest_first(studies)
    assert uids(get(server, "limit=101&offset=1500")[0]) == dated[1500:1601]
    first, last = ((date.today() - timedelta(days=back)).strftime("%Y%m%d") for back in (900, 20))
    inside = newest_first([one for one in studies if first <= one.get("StudyDate", "") <= last])
    assert len(inside) > 2000
    for dates, expected in ((f"{first}-{last}", inside),):
        assert uids(get(server, f"StudyDate={dates}&limit=101&offset=0")[0]) == expected[:101]
        assert uids(get(server, f"StudyDate={dates}&limit=101&offset=1000")[0]) == expected[1000:1101]


@pytest.mark.parametrize(
    ("count", "query", "shown", "says"),
    [
        (1000, "", 1000, "all"),
        (1001, "", 1000, "more"),
        (1500, "includefield=00081030", 1000, "more"),
        (1500, "limit=1001", 1001, "all"),
    ],
)
def test_a_limit_that_nobody_set_is_reported(server, count, query, shown, says):
    Handler.archive = Archive([study(number) for number in range(count)])
    found, said = get(server, query)
    assert (len(found), said) == (shown, says)


def test_studies_that_an_answer_leaves_out_are_reported(server):
    """Debian's PostgreSQL plugin cannot order: above 5,000 matches, studies without a date that can be are left out."""
    studies = [study(number) for number in range(5100)]
    Handler.archive = Archive(studies, orders=False)
    dated = newest_first(studies)
    assert len(dated) == 4488
    for query, shown, says in (
        ("limit=1000&offset=0", dated[:1000], "all"),
        ("limit=488&offset=4000", dated[4000:], "all"),
        ("limit=1000&offset=4000", dated[4000:], "undated"),
        ("limit=10&offset=4488", [], "undated"),
        ("limit=10&offset=5100", [], "all"),
        ("limit=10&StudyDate=19000101-19000102", [], "all"),
    ):
        found, said = get(server, query)
        assert (uids(found), said) == (shown, says), query


QUERIES = [
    ("PatientName=*doe%5Ej*", {"PatientName": "*doe^j*"}),
    ("00100010=a+b%26c%2Bd", {"PatientName": "a b&c+d"}),
    ("PatientID=%22%7D", {"PatientID": '"}'}),
    ("ModalitiesInStudy=CT%2CMR", {"ModalitiesInStudy": "CT\\MR"}),
    ("StudyInstanceUID=1.2,3%5C4\\5", {"StudyInstanceUID": "1.2\\3\\4\\5"}),
    ("0020000d=1.2&StudyDate=20200101-", {"StudyInstanceUID": "1.2", "StudyDate": "20200101-"}),
    ("PatientName=*Sample,%20Phantom*", {"PatientName": "*Sample^Phantom*"}),
    ("PatientName=doe%2C+john+q*", {"PatientName": "doe^john?q*"}),
    ("PatientName=Doe,John", {"PatientName": "Doe^John"}),
    ("PatientName=*Doe%2C%20*", {"PatientName": "*Doe^*"}),
    ("PatientName=*a%20b,%20c*", {"PatientName": "*a b^c*"}),
    ("ReferringPhysicianName=House%20,%20Gregory%20,%20MD", {"ReferringPhysicianName": "House^Gregory^MD"}),
    ("PatientName=Doe,%20Inc%5EJohn", {"PatientName": "Doe, Inc^John"}),
    ("PatientName=A%5CB", {"PatientName": "A\\B"}),
    ("StudyDescription=CT%20Thorax%2C%20nativ", {"StudyDescription": "CT Thorax, nativ"}),
    ("StudyDescription=a%5Cb,c", {"StudyDescription": "a\\b,c"}),
    ("PatientID=1,2&AccessionNumber=3,4", {"PatientID": "1,2", "AccessionNumber": "3,4"}),
    ("00080061=CT,MR", {"ModalitiesInStudy": "CT\\MR"}),
    ("&Patient%4Eame=M%C3%BCller", {"PatientName": "Müller"}),
]


@pytest.mark.parametrize(("query", "expected"), QUERIES)
def test_criteria_reach_the_archive_as_they_were_meant(server, query, expected):
    Handler.archive = Archive([study(1)])
    get(server, f"limit=10&{query}")
    assert Handler.archive.asked[0] == ("/tools/count-resources", {"Level": "Study", "Query": expected})


NOT_UNDERSTOOD = [
    "fuzzymatching=true&limit=1",
    "includefield=all&limit=1",
    "includefield=00280010&limit=1",
    "PatientName=a",
    "limit=x",
    "limit=-1",
    "limit=5001",
    "PatientName=%&limit=1",
    "PatientName=%ff&limit=1",
    "PatientName=%00&limit=1",
    "PatientName=a&00100010=b&limit=1",
    "limit=1&limit=2",
    "nonsense=1&limit=1",
    "00081110.00081155=1.2&limit=1",
    "__proto__=1&limit=1",
    "constructor=1&limit=1",
]


@pytest.mark.parametrize("query", NOT_UNDERSTOOD)
def test_what_is_not_understood_goes_to_the_archive_unchanged(server, query):
    Handler.archive = Archive([study(1)])
    assert get(server, query) == (OWN, "")
    assert Handler.archive.asked == [(f"/pacs/dicom-web/studies?{query}", None)]


def test_another_format_goes_to_the_archive(server):
    Handler.archive = Archive([study(1)])
    assert get(server, "limit=1", "application/dicom+xml")[0] == OWN
    assert uids(get(server, "limit=1", "*/*")[0]) == ["1.2.1"]


SHAPES = [
    (
        {"PatientName": "A^B=C=D=E=F"},
        "00100010",
        {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "C", "Phonetic": "D"}]},
    ),
    ({"PatientName": "\\Second^Name"}, "00100010", {"vr": "PN", "Value": [{"Alphabetic": "Second^Name"}]}),
    ({"PatientName": "=="}, "00100010", {"vr": "PN"}),
    ({"PatientName": None}, "00100010", None),
    ({"StudyDescription": "a\\b"}, "00081030", {"vr": "LO", "Value": ["a", "b"]}),
    ({"StudyDescription": '"\r\n\x07</script>'}, "00081030", {"vr": "LO", "Value": ['"\r\n\x07</script>']}),
    ({"StudyDate": "yesterday"}, "00080020", {"vr": "DA", "Value": ["yesterday"]}),
    ({"AccessionNumber": ""}, "00080050", {"vr": "SH"}),
    ({}, "00201208", {"vr": "IS", "Value": [2]}),
    ({}, "00081190", {"vr": "UR", "Value": ["https://127.0.0.1:PORT/pacs/dicom-web/studies/1.2.5"]}),
]


@pytest.mark.parametrize(("values", "tag", "expected"), SHAPES)
def test_attributes_are_shaped_for_viewers(server, values, tag, expected):
    Handler.archive = Archive([study(5, **values)])
    (found,), _said = get(server, "limit=1&includefield=00081030")
    assert found.get(tag) == json.loads(json.dumps(expected).replace("PORT", str(server)))


@pytest.mark.parametrize("modalities", ["", " ", "\\\\", None])
def test_a_study_without_modality_does_not_end_the_list(server, modalities, monkeypatch):
    archive = Archive([study(5)])

    def answer(path: str, body: Any) -> tuple[int, Any]:
        status, content = Archive.answer(archive, path, body)
        if path == "/tools/find":
            content[0]["RequestedTags"] = {} if modalities is None else {"ModalitiesInStudy": modalities}
        return status, content

    monkeypatch.setattr(archive, "answer", answer)
    Handler.archive = archive
    (found,), _said = get(server, "limit=1")
    assert "00080061" not in found, "the viewer's program fails where it has no Value"


def test_only_the_index_is_asked(server):
    """Of a tag that is not in the index, Orthanc would read a file of each study and log a warning for each."""
    Handler.archive = Archive([study(number) for number in range(1500)])
    get(server, "limit=1001&includefield=00081030%2C00080060%2C00080090%2C00100030")
    for path, body in Handler.archive.asked:
        if path == "/tools/find":
            assert set(body["RequestedTags"]) == {
                "ModalitiesInStudy",
                "NumberOfStudyRelatedSeries",
                "NumberOfStudyRelatedInstances",
            }
    assert {urlsplit(path).path for path, _body in Handler.archive.asked} == {
        "/system",
        "/tools/count-resources",
        "/tools/find",
    }
