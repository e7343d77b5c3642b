"""The filter orthanc_schema_errors: what another image would do to the index."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lightbox.pacs.plugins.filter.orthanc_schema_errors import orthanc_schema_errors

from tests.support.project import role_file

REVISIONS = role_file("orthanc", "vars/main/schema.yml")["__orthanc_revisions"]
IMAGE = "example/orthanc:2"


def errors(index: dict[str, Any], confirmed: str = "", **writes: Any) -> list[str]:
    reported = {"orthanc": "1.13.0", "plugin": "", "sqlite": []} | writes
    return orthanc_schema_errors(reported, index=index, image=IMAGE, confirmed=confirmed, revisions=REVISIONS)


@pytest.mark.parametrize(
    ("revision", "plugin", "message"),
    [
        ("1", "5.0", ""),
        ("1", "6.2", "from revision 1 to revision 2"),
        ("2", "7.0", "from revision 2 to revision 3"),
        ("3", "7.1", ""),
        ("3", "7.2", "from revision 3 to revision 4"),
        ("3", "7.10.1", "from revision 3 to revision 4"),
        ("4", "8.0", "from revision 4 to revision 5"),
        ("5", "9.0", "from revision 5 to revision 6"),
        ("6", "10.3", "from revision 6 to revision 10"),
        ("1", "10.3", "from revision 1 to revision 10"),
        ("10", "10.0", ""),
        ("10", "9.0", "is older than the index: it writes revision 6 of the tables, which have revision 10"),
        ("10", "5.0", "is older than the index: it writes revision 1 of the tables, which have revision 10"),
        ("10", "11.0", "from revision 10 to one that this collection does not know"),
        ("10", "mainline", "from revision 10 to one that this collection does not know"),
        (None, "10.3", ""),
        (None, "mainline", ""),
    ],
)
def test_revisions_of_the_tables_in_postgresql_are_compared(revision, plugin, message):
    found = errors({"revision": revision}, plugin=plugin)
    assert len(found) == bool(message), found
    assert all(message in error and "docs/database.md" in error for error in found), found


@pytest.mark.parametrize(
    ("columns", "written", "message"),
    [
        (["a.b"], ["a.b"], ""),
        (["a.b"], ["a.b", "a.c", "a.d"], "would upgrade the index irreversibly: it adds a.c, a.d"),
        (["a.b", "a.c"], ["a.b"], "is older than the index: it does not write a.c, which the index has"),
        (["a.b", "a.c"], ["a.b", "a.d"], "is older than the index: it does not write a.c"),
        ([], ["a.b"], ""),
    ],
)
def test_columns_of_the_tables_in_sqlite_are_compared(columns, written, message):
    found = errors({"sqlite": columns}, sqlite=written)
    assert len(found) == bool(message), found
    assert all(message in error and "docs/database.md" in error for error in found), found


@pytest.mark.parametrize(
    ("index", "writes"), [({"revision": "1"}, {"plugin": "10.3"}), ({"sqlite": ["a.b"]}, {"sqlite": ["a.b", "a.c"]})]
)
def test_an_upgrade_needs_the_name_of_exactly_this_image(index, writes):
    (error,) = errors(index, confirmed="example/orthanc:1", **writes)
    assert error.endswith(f"set orthanc_upgrade_confirmed to {IMAGE}")
    assert errors(index, confirmed=IMAGE, **writes) == []


@pytest.mark.parametrize("index", [{"revision": "10"}, {"sqlite": ["a.b"]}])
def test_no_confirmation_allows_an_older_image(index):
    (error,) = errors(index, confirmed=IMAGE, plugin="5.0")
    assert "Set orthanc_image (or orthanc_flavor) to the image that ran before" in error


def test_an_image_without_the_plugin_is_refused():
    (error,) = errors({"revision": "10"}, confirmed=IMAGE, plugin="")
    assert "has no PostgreSQL plugin" in error
    assert "Set orthanc_image to an image with this plugin" in error


def test_a_revision_that_is_not_a_number_is_refused():
    (error,) = errors({"revision": "new"}, confirmed=IMAGE, plugin="10.3")
    assert "revision 'new', which is not a number" in error


def test_the_image_is_named_with_its_versions():
    (error,) = errors({"revision": "10"}, plugin="5.0")
    assert error.startswith(f"The image {IMAGE} (Orthanc 1.13.0, PostgreSQL plugin 5.0) ")
    (error,) = errors({"sqlite": ["a.b"]}, plugin="5.0")
    assert error.startswith(f"The image {IMAGE} (Orthanc 1.13.0) ")
