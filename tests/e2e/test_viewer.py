# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person at the viewer: list, images of every kind, documents, upload. Pixels are counted, not believed."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import browser as viewer
from tests.samples.load import DicomWeb
from tests.samples.pdf import BANNER
from tests.samples.studies import SAMPLES, Sample, scratch, to_bytes

pytestmark = pytest.mark.usefixtures("samples")


def position(page: Page) -> int:
    """Number of the image that the viewport says it shows."""
    text = page.locator('[data-cy="viewport-overlay-bottom-right"]').first.inner_text()
    found = re.search(r"\((\d+)/\d+\)", text)
    assert found, f"no image number in {text!r}"
    return int(found[1])


def go_to(page: Page, number: int) -> viewer.Drawn:
    """Turn the wheel until image ``number`` is shown, which is not the one that is shown now."""
    before = viewer.canvas(page)
    page.locator("canvas.cornerstone-canvas").first.hover()
    for attempt in range(400):
        here = position(page)
        if here == number:
            return viewer.wait_drawn(page, unlike=before)
        page.mouse.wheel(0, 100 if here < number else -100)
        page.wait_for_timeout(30 if attempt < 200 else 200)
    raise AssertionError(f"image {number} was not reached")


def check(drawn: viewer.Drawn) -> None:
    """A bright body on a dark ground: neither empty nor inverted."""
    assert drawn.is_image
    assert drawn.rim < 16, "the ground around the body is bright: inverted?"
    assert drawn.middle > drawn.rim + 20, "nothing in the middle"


def test_study_list(page: Page, site: viewer.Site, artifacts: Path) -> None:
    page.goto(site.url + "/")
    for sample in SAMPLES.values():
        row = page.locator("tbody tr", has=page.get_by_text(sample.study_description, exact=True))
        expect(row).to_be_visible()
        expect(row).to_contain_text(sample.patient_name.replace("^", ", "))
        expect(row).to_contain_text(sample.modality)
        expect(row).to_contain_text(str(sample.count))
    page.screenshot(path=artifacts / "study-list.png")


def test_ct_from_the_list_and_scroll(page: Page, watch: viewer.Watch, site: viewer.Site, artifacts: Path) -> None:
    sample = SAMPLES["ct"]
    page.goto(site.url + "/")
    page.locator("tbody tr", has=page.get_by_text(sample.study_description, exact=True)).dblclick()
    first = viewer.wait_drawn(page)
    assert sample.study_uid in page.url
    check(first)
    assert position(page) == 1

    page.locator("canvas.cornerstone-canvas").hover()
    page.mouse.wheel(0, 100)
    viewer.wait_for("the next image after a turn of the wheel", lambda: position(page) == 2, page, 20)
    second = viewer.wait_drawn(page, unlike=first)

    page.keyboard.press("ArrowDown")
    viewer.wait_for("the next image after a key", lambda: position(page) == 3, page, 20)
    third = viewer.wait_drawn(page, unlike=second)
    assert third.checksum != first.checksum

    heart = go_to(page, 62)
    check(heart)
    viewer.wait_for(
        "all images loaded ahead",
        lambda: sum("/frames/" in url and sample.study_uid in url for url in set(watch.requests)) >= sample.count,
        page,
    )
    page.screenshot(path=artifacts / "ct.png")


@pytest.mark.parametrize("key", ["j2k", "jls", "rle", "mr"])
def test_image(page: Page, site: viewer.Site, artifacts: Path, key: str) -> None:
    sample = SAMPLES[key]
    page.goto(site.viewer(sample.study_uid))
    first = viewer.wait_drawn(page)
    check(first)
    middle = go_to(page, sample.count // 2)
    check(middle)
    page.screenshot(path=artifacts / f"{key}.png")


def choose_layout(page: Page, name: str) -> list[viewer.Drawn]:
    """Choose a layout with three planes of the volume; return what they show."""
    page.locator('[data-cy="Layout"], [data-cy="layout-button"]').first.click()
    page.get_by_text(name, exact=True).click()
    viewer.wait_for(
        "three planes", lambda: page.locator("canvas.cornerstone-canvas").count() == 3 and viewer.canvas(page, 2), page
    )
    return [viewer.wait_drawn(page, number, timeout=120) for number in range(3)]


def test_mpr(page: Page, site: viewer.Site, artifacts: Path) -> None:
    page.goto(site.viewer(SAMPLES["ct"].study_uid))
    viewer.wait_drawn(page)
    planes = choose_layout(page, "MPR")
    assert len({plane.checksum for plane in planes}) == 3
    page.screenshot(path=artifacts / "mpr.png")


def test_picture_for_the_readme(page: Page, site: viewer.Site, artifacts: Path) -> None:
    page.goto(site.viewer(SAMPLES["ct"].study_uid))
    viewer.wait_drawn(page)
    choose_layout(page, "Axial Primary")
    page.mouse.move(1260, 600)
    page.wait_for_timeout(500)
    picture = page.screenshot(path=artifacts / "viewer.png")
    assert len(picture) > 50_000


def test_pdf(page: Page, site: viewer.Site, artifacts: Path) -> None:
    page.goto(site.viewer(SAMPLES["pdf"].study_uid))
    expect(page.locator("object[type='application/pdf'], iframe, embed").first).to_be_visible()
    paper = page.context.new_page()  # decodes the screenshots
    page.bring_to_front()

    def opened() -> bool:
        picture = page.screenshot(path=artifacts / "pdf.png")
        return (
            viewer.count_colour(paper, picture, BANNER) > 5000
            and viewer.count_colour(paper, picture, (255, 255, 255)) > 100_000
        )

    viewer.wait_for("the page with its blue banner", opened, page, 30)


@pytest.fixture
def new_study(archive: DicomWeb) -> Iterator[Sample]:
    """A study that nobody has seen before; whatever of it reaches the archive is deleted afterwards."""
    sample = scratch(uuid.uuid4().hex)
    yield sample
    rest = archive.url.removesuffix("/dicom-web")
    found = archive.session.post(f"{rest}/tools/lookup", data=sample.study_uid, timeout=30)
    assert found.status_code == 200
    for entry in found.json():
        if entry["Type"] == "Study":
            assert archive.session.delete(f"{rest}/studies/{entry['ID']}", timeout=30).status_code == 200
    assert not archive.known(sample)


def test_a_study_without_modality_name_or_date_is_listed_and_opens(
    page: Page, site: viewer.Site, archive: DicomWeb, new_study: Sample
) -> None:
    """The viewer's program ended at it: the list was empty for everybody."""
    image = new_study.instance(0)
    for tag in ("Modality", "PatientName", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        delattr(image, tag)
    assert archive.store({str(image.SOPInstanceUID): to_bytes(image)}) == []
    page.goto(f"{site.url}/?description={new_study.study_description.replace(' ', '%20')}")
    expect(page.locator("tbody").get_by_text(new_study.study_description, exact=True)).to_be_visible()
    expect(page.get_by_label("Rows per page")).to_have_text("1-1 of 1")
    page.goto(site.viewer(new_study.study_uid))
    check(viewer.wait_drawn(page))


def test_a_name_is_found_as_the_list_shows_it(page: Page, site: viewer.Site) -> None:
    page.goto(site.url + "/")
    expect(page.locator("tbody").get_by_text("Sample, Head").first).to_be_visible()
    page.locator("input").first.fill("sample, phan")
    expect(page.locator("tbody").get_by_text("Sample, Head")).to_have_count(0)
    expect(page.locator("tbody").get_by_text("Sample, Phantom").first).to_be_visible()


def test_upload(
    page: Page, site: viewer.Site, artifacts: Path, new_study: Sample, archive: DicomWeb, tmp_path: Path
) -> None:
    files = []
    for index, dataset in enumerate(new_study.instances()):
        files.append(tmp_path / f"{index}.dcm")
        files[-1].write_bytes(to_bytes(dataset))
    assert not archive.known(new_study)

    page.goto(site.url + "/")
    page.get_by_text("Upload", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    with page.expect_response(lambda answer: answer.request.method == "POST") as stored:
        dialog.locator("input[type=file]:not([webkitdirectory])").set_input_files(files)
    assert stored.value.status == 200
    assert stored.value.url == f"{site.dicomweb}/studies"
    viewer.wait_for("every instance in the archive", lambda: len(archive.known(new_study)) == new_study.count, page, 30)
    page.screenshot(path=artifacts / "upload.png")

    page.goto(site.viewer(new_study.study_uid))
    check(viewer.wait_drawn(page))
