"""What the role ohif tells the viewer, and what it refuses, as Ansible's own templar sees it."""

from __future__ import annotations

import json
import shutil
import subprocess
import typing as t

import pytest

from tests.support.project import PROJECT
from tests.support.rendering import Role

ROLE = PROJECT / "roles/ohif"
SHA256 = "0" * 64
COMMIT = "0" * 40


OHIF = Role("ohif", __ohif_rsync="/usr/bin/rsync")


def value(name: str, **overrides: t.Any) -> t.Any:
    return OHIF.value(name, **overrides)


def app_config(**overrides: t.Any) -> str:
    return OHIF.render("app-config.js", **overrides)


def configuration(**overrides: t.Any) -> dict[str, t.Any]:
    """What window.config is set to, read as JSON from the rendered file."""
    text = app_config(**overrides).split("window.config = ", 1)[1]
    return json.JSONDecoder().raw_decode(text)[0]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "mark.svg"
    path.write_text("<svg/>")
    return str(path)


# app-config.js


def test_defaults_are_the_proved_configuration():
    found = configuration()
    assert found["routerBasename"] == "/"
    assert found["showErrorDetails"] == "production"
    assert found["investigationalUseDialog"] == {"option": "never"}
    assert [source["namespace"] for source in found["dataSources"]] == [
        "@ohif/extension-default.dataSourcesModule.dicomweb"
    ]
    source = found["dataSources"][0]
    assert source["sourceName"] == found["defaultDataSourceName"]
    roots = {name: source["configuration"][name] for name in ("qidoRoot", "wadoRoot", "wadoUriRoot")}
    assert roots == {"qidoRoot": "/pacs/dicom-web", "wadoRoot": "/pacs/dicom-web", "wadoUriRoot": "/pacs/wado"}
    assert source["configuration"]["dicomUploadEnabled"] is True


def test_the_tour_over_the_images_is_off_unless_asked_for():
    assert configuration()["customizationService"] == {"ohif.tours": {"$set": []}}
    assert configuration(ohif_tour_enabled=True)["customizationService"] == {}


def test_a_users_customization_keeps_the_tour_off():
    found = configuration(ohif_configuration={"customizationService": {"x.y": {"$set": 1}}})
    assert found["customizationService"] == {"ohif.tours": {"$set": []}, "x.y": {"$set": 1}}


def test_values_reach_the_viewer():
    found = configuration(
        ohif_base_path="/ohif/",
        ohif_dicomweb_root="https://pacs.example.org/dicom-web",
        ohif_study_list_enabled=False,
        ohif_upload_enabled=False,
        ohif_modes_hidden=["@ohif/mode-tmtv", "@ohif/mode-microscopy"],
        ohif_configuration={"maxNumRequests": {"prefetch": 5}, "showPatientInfo": "disabled"},
    )
    assert found["routerBasename"] == "/ohif/"
    assert found["showStudyList"] is False
    assert found["dataSources"][0]["configuration"]["dicomUploadEnabled"] is False
    assert found["dataSources"][0]["configuration"]["qidoRoot"] == "https://pacs.example.org/dicom-web"
    assert found["modesConfiguration"]["@ohif/mode-tmtv"] == {"hide": {"$set": True}}
    assert found["maxNumRequests"] == {"interaction": 100, "thumbnail": 5, "prefetch": 5}
    assert found["showPatientInfo"] == "disabled"


ODD = ['"); alert(1); ("', "</script>", "{{ 1 + 1 }}", "日本 ☢", "\u2028", "a\\b", "'"]


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("name", ["ohif_data_source_title", "ohif_logo_text"])
def test_odd_texts_stay_texts(name, text):
    rendered = app_config(**{name: text})
    assert json.dumps(text) in rendered
    assert rendered.isascii()


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
@pytest.mark.parametrize("logo", [True, False])
@pytest.mark.parametrize("text", ODD)
def test_node_reads_what_was_meant(tmp_path, picture, logo, text):
    overrides = {"ohif_logo_text": text, "ohif_base_path": "/ohif/", "ohif_title": "x"}
    (tmp_path / "app-config.js").write_text(app_config(**overrides, **({"ohif_logo": picture} if logo else {})))
    program = (
        "global.window = {}; require(process.argv[1]);"
        "const made = window.config.whiteLabeling.createLogoComponentFn({createElement: (...all) => all});"
        "console.log(JSON.stringify([window.config.routerBasename, made]))"
    )
    result = subprocess.run(
        ["node", "-e", program, str(tmp_path / "app-config.js")], check=True, capture_output=True, text=True
    )
    base_path, (tag, properties, *children) = json.loads(result.stdout)
    assert base_path == "/ohif/"
    if logo:
        assert (tag, properties["src"], properties["alt"], children) == ("img", "/ohif/logo.svg", text, [])
    else:
        assert (tag, children) == ("span", [text])


def test_rendering_twice_gives_the_same():
    assert app_config() == app_config()


# Refusals


def test_defaults_have_no_errors():
    assert OHIF.errors() == []


GOOD: list[dict[str, t.Any]] = [
    {"ohif_version": "3.12.10"},
    {"ohif_version": "3.14.0", "ohif_npm_sha512": "sha512-" + "A" * 86 + "=="},
    {"ohif_version": "3.14.0-beta.1", "ohif_npm_sha512": "f" * 128},
    {"ohif_source": "git", "ohif_git_commit": COMMIT, "ohif_version": "main"},
    {"ohif_base_path": "/a/b.c/"},
    {"ohif_dicomweb_root": "https://pacs.example.org:8443/dicom-web"},
    {"ohif_title": "Klinik für 'Kinder' <7> \"x\" 日本"},
]


@pytest.mark.parametrize("overrides", GOOD, ids=str)
def test_good_values_have_no_errors(overrides):
    assert OHIF.errors(**overrides) == []


BAD: list[tuple[str, dict[str, t.Any]]] = [
    ("ohif_version", {"ohif_version": "latest"}),
    ("ohif_version", {"ohif_version": "3.13.2; rm -rf /"}),
    ("ohif_version", {"ohif_version": "../x", "ohif_source": "git", "ohif_git_commit": COMMIT}),
    ("ohif_npm_sha512", {"ohif_version": "3.99.0"}),
    ("ohif_npm_sha512", {"ohif_npm_sha512": "sha512-abc"}),
    ("ohif_npm_sha512", {"ohif_npm_sha512": "sha256:" + SHA256}),
    ("ohif_archive", {"ohif_source": "archive", "ohif_archive_sha256": SHA256}),
    ("ohif_archive", {"ohif_source": "archive", "ohif_archive_sha256": SHA256, "ohif_archive": "/nowhere/x.tgz"}),
    ("ohif_archive_sha256", {"ohif_source": "archive", "ohif_archive": __file__}),
    ("ohif_archive_sha256", {"ohif_source": "archive", "ohif_archive": __file__, "ohif_archive_sha256": "abc"}),
    ("ohif_git_commit", {"ohif_source": "git"}),
    ("ohif_git_commit", {"ohif_source": "git", "ohif_git_commit": "master"}),
    ("ohif_git_build_commands", {"ohif_git_build_commands": [[]]}),
    ("ohif_base_path", {"ohif_base_path": "ohif"}),
    ("ohif_base_path", {"ohif_base_path": "/ohif"}),
    ("ohif_base_path", {"ohif_base_path": "ohif/"}),
    ("ohif_base_path", {"ohif_base_path": "/../"}),
    ("ohif_base_path", {"ohif_base_path": '/"x/'}),
    ("ohif_base_path", {"ohif_base_path": "/ohif/\n"}),
    ("ohif_directory", {"ohif_directory": "/"}),
    ("ohif_directory", {"ohif_directory": "/opt"}),
    ("ohif_directory", {"ohif_directory": "/opt/../etc"}),
    ("ohif_directory", {"ohif_directory": "/opt/ohif/"}),
    ("ohif_keep_releases", {"ohif_keep_releases": 1}),
    ("ohif_cache_directory", {"ohif_cache_directory": "cache"}),
    ("ohif_title", {"ohif_title": ""}),
    ("ohif_title", {"ohif_title": "one\ntwo"}),
    ("ohif_title", {"ohif_title": "bell\x07"}),
    ("ohif_title", {"ohif_title": "x" * 201}),
    ("ohif_logo_text", {"ohif_logo_text": "one\ntwo"}),
    ("ohif_logo", {"ohif_logo": "/nowhere/x.svg"}),
    ("ohif_logo", {"ohif_logo": __file__}),
    ("ohif_dicomweb_root", {"ohif_dicomweb_root": "pacs/dicom-web"}),
    ("ohif_dicomweb_root", {"ohif_dicomweb_root": "/pacs/dicom-web/"}),
    ("ohif_dicomweb_root", {"ohif_dicomweb_root": "http://pacs.example.org/dicom-web"}),
    ("ohif_dicomweb_root", {"ohif_dicomweb_root": "/pacs/../dicom-web"}),
    ("ohif_dicomweb_root", {"ohif_dicomweb_root": "/ohif/dicom-web", "ohif_base_path": "/ohif/"}),
    ("ohif_wado_root", {"ohif_wado_root": ""}),
    ("ohif_configuration", {"ohif_configuration": {"defaultDataSourceName": "other"}}),
    (
        "ohif_configuration",
        {"ohif_configuration": {"extra": "https://d14fa38qiwhyfd.cloudfront.net/dicomweb"}},
    ),
]


@pytest.mark.parametrize(("name", "overrides"), BAD, ids=str)
def test_bad_values_are_refused_by_name_with_a_remedy(name, overrides):
    found = OHIF.errors(**overrides)
    assert len(found) == 1
    assert name in found[0]
    assert "Set " in found[0]


def test_all_errors_are_told_at_once():
    overrides = {"ohif_base_path": "ohif", "ohif_title": "", "ohif_keep_releases": 0, "ohif_version": "latest"}
    found = OHIF.errors(**overrides)
    assert {name for name in overrides if any(error.startswith(name) for error in found)} == set(overrides)


def test_rsync_missing_on_the_controller_is_a_finding():
    found = OHIF.errors(__ohif_rsync="")
    assert len(found) == 1
    assert "rsync" in found[0]


@pytest.mark.parametrize("source", ["npm", "archive", "git"])
def test_every_failure_has_a_remedy(source):
    module = (PROJECT / "plugins/modules/ohif_release.py").read_text()
    reasons = {"archive", "build", "checksum", "fetch", "input", "layout", "system", "tool"}
    assert all(f"V({reason})" in module for reason in reasons)
    remedies = value("__ohif_remedies", ohif_source=source)
    assert set(remedies) == reasons
    assert {"npm": "ohif_npm_sha512", "archive": "ohif_archive_sha256", "git": "ohif_git_commit"}[source] in remedies[
        "checksum"
    ]
