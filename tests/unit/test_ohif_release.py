"""What ohif_release makes, on a small viewer with the layout of the published ones."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils import _ohif
from playwright._impl._driver import compute_driver_executable

PROJECT = Path(__file__).resolve().parents[2]
HASH = "0f6159c501addfe9"
NPM_TIME = 499162500  # what npm writes: 1985-10-26
CONFIG = 'window.config = {\n  "routerBasename": "/"\n};\n'
DEMO_SERVER = "d14fa38qiwhyfd.cloudfront.net"
FIRST_SCRIPT = 'console.time("scriptToView"),window.PUBLIC_URL="/"'
SECOND_SCRIPT = 'function browserImportFunction(n){return import(n)}window.PUBLIC_URL="/"'


STUDY_LIST = """
const studiesLimit = dataSource.getConfig?.()?.queryLimit ?? 101;
const total = table.getFilteredRowModel().rows.length;
show(`${start}-${end} of ${total}`);
show({
    title: 'Study List',
});
"""


def index_html() -> str:
    icons = "".join(f'<link rel="icon" href="/assets/{number}.png">' for number in range(28))
    return (
        '<!doctype html><html lang="en"><head><meta charset="UTF-8">'
        f'<script>{FIRST_SCRIPT}</script><link rel="manifest" href="/manifest.json">{icons}'
        '<script rel="preload" as="script" src="/app-config.js"></script>'
        '<script rel="preload" as="script" type="module" src="/init-service-worker.js"></script>'
        f"<title>OHIF Viewer</title><script>{SECOND_SCRIPT}</script>"
        f'<script defer src="/app.bundle.{HASH}.js"></script><link href="/app.bundle.css" rel="stylesheet"></head>'
        '<body><div id="root"></div></body></html>'
    )


def viewer(workers: int = 7, bundle_hash: str = HASH) -> dict[str, str]:
    padding = "// " + "x" * 2000 + "\n"
    files = {
        "_headers": "",
        "_redirects": "/* /index.html 200",
        "app-config.js": f"window.config = {{wadoRoot: 'https://{DEMO_SERVER}/dicomweb'}};",
        "app.bundle.css": "@font-face{src:url(/a34f9d1faa5f3315.woff2)}" * 5,
        f"app.bundle.{HASH}.js": padding
        + "__webpack_require__.p = \"/\";\nwindow.browserImportFunction('/dicom-microscopy-viewer/x.js');\n"
        + STUDY_LIST,
        "assets/0.png": "png",
        "dicom-microscopy-viewer/x.js": padding,
        "dicom-microscopy-viewer/x.js.map": "{}",
        "google.js": "window.config = {};",
        "index.html": index_html(),
        "init-service-worker.js": "importScripts('https://storage.googleapis.com/workbox.mjs')",
        "manifest.json": json.dumps({"name": "OHIF Viewer", "icons": [{"src": f"/assets/{n}.png"} for n in range(9)]}),
        "oidc-client.min.js": "(__webpack_require__.p = ''),",
        "ort/ort.min.js": padding,
        "silent-refresh.html": '<script src="https://cdnjs.cloudflare.com/es5-shim.js"></script>',
        "sw.js": "importScripts('https://storage.googleapis.com/workbox-sw.js')",
        "0ddf166f7a343eda.wasm": "\0asm" * 500,
    }
    files |= {f"{n}.bundle.{HASH}.js": f'{padding}__webpack_require__.p = "/";\n' for n in range(workers)}
    return {name.replace(HASH, bundle_hash): text.replace(HASH, bundle_hash) for name, text in files.items()}


def pack(path: Path, files: dict[str, str], prefix: str = "package/dist/") -> Path:
    """The same files give the same bytes: gzip's own time of packing would give another checksum a second later."""
    with gzip.GzipFile(path, "wb", mtime=NPM_TIME) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content.encode())
            member.mtime = NPM_TIME
            tar.addfile(member, io.BytesIO(content.encode()))
    return path


@pytest.fixture
def cache(tmp_path):
    return _ohif.Cache(tmp_path / "cache")


@pytest.fixture
def make(tmp_path, cache):
    """Make a release from the small viewer; return its directory."""

    def make(files=None, prefix="package/dist/", **options) -> Path:
        archive = pack(tmp_path / "viewer.tgz", files or viewer(), prefix)
        options = {"version": "3.13.2", "app_config": CONFIG, "archive": str(archive), **options}
        options.setdefault("checksum", "sha256:" + _ohif.file_digest(archive, "sha256"))
        request = _ohif.Request(**options)
        _ohif.ensure_release(cache, request)
        return cache.dist("releases", request.release_id())

    return make


def texts(dist: Path) -> dict[str, str]:
    return {p.relative_to(dist).as_posix(): p.read_text(errors="replace") for p in dist.rglob("*") if p.is_file()}


# The configuration


def test_the_shipped_configuration_is_never_part_of_a_release(make):
    dist = make()
    assert (dist / "app-config.js").read_text() == CONFIG
    assert [name for name, text in texts(dist).items() if DEMO_SERVER in text] == []


@pytest.mark.parametrize("stale", ["app-config.js.gz", "app-config.js.br"])
def test_nothing_compressed_shadows_the_configuration(make, stale):
    long = CONFIG + "// " + "x" * 5000
    dist = make({**viewer(), stale: "old"}, app_config=long)
    assert sorted(path.name for path in dist.glob("app-config.js*")) == ["app-config.js"]


def test_configuration_title_logo_and_tree_all_name_the_release(tmp_path, make):
    logo = tmp_path / "Mark.SVG"
    logo.write_text("<svg/>")
    names = [
        make().parent.name,
        make(app_config=CONFIG + "\n").parent.name,
        make(title="Other").parent.name,
        make(base_path="/ohif/").parent.name,
        make(ai_enabled=True).parent.name,
        make({**viewer(), "assets/0.png": "other"}).parent.name,
        make(logo=str(logo)).parent.name,
    ]
    logo.write_text("<svg></svg>")
    names.append(make(logo=str(logo)).parent.name)
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"3\.13\.2-[0-9a-f]{12}", name) for name in names)


def test_another_configuration_does_not_compress_again(make, monkeypatch):
    make()
    compressed: list[str] = []
    original = _ohif.compress

    def compress(dist, names, quality):
        compressed.extend(names)
        original(dist, names, quality)

    monkeypatch.setattr(_ohif, "compress", compress)
    make(app_config=CONFIG + "// other\n")
    assert set(compressed) == {"index.html", "manifest.json"}


def test_title_is_escaped_and_the_logo_stands_beside(tmp_path, make):
    logo = tmp_path / "mark.PNG"
    logo.write_bytes(b"\x89PNG")
    dist = make(title='</title>"<script>alert(1)</script>', logo=str(logo))
    assert "<script>alert" not in (dist / "index.html").read_text()
    assert json.loads((dist / "manifest.json").read_text())["name"].startswith("</title>")
    assert (dist / "logo.png").read_bytes() == b"\x89PNG"


# Times


def test_no_file_keeps_the_time_of_the_package(make):
    dist = make()
    assert [p.name for p in dist.rglob("*") if p.is_file() and p.stat().st_mtime < time.time() - 3600] == []


def test_equal_sizes_in_two_releases_never_have_equal_times(make):
    """nginx answers 304 when size and time are what the browser has."""
    other_hash = "".join(reversed(HASH))
    first, second, third = make(), make(viewer(bundle_hash=other_hash)), make(app_config=CONFIG.replace("/", "_"))
    for name in ("index.html", "index.html.gz", "app.bundle.css", "manifest.json"):
        assert (first / name).stat().st_mtime != (second / name).stat().st_mtime
    assert (first / "index.html").stat().st_size == (second / "index.html").stat().st_size
    assert (first / "index.html").read_text() != (second / "index.html").read_text()
    assert (first / "app-config.js").stat().st_size == (third / "app-config.js").stat().st_size
    assert (first / "app-config.js").stat().st_mtime != (third / "app-config.js").stat().st_mtime


def test_times_are_whole_seconds_so_that_copying_keeps_them(make):
    assert [p for p in make().rglob("*") if p.is_file() and p.stat().st_mtime_ns % 10**9] == []


# index.html


def test_inline_scripts_become_files_in_the_same_order(make):
    dist = make()
    text = (dist / "index.html").read_text()
    names = [f"inline.{hashlib.sha256(s.encode()).hexdigest()[:16]}.js" for s in (FIRST_SCRIPT, SECOND_SCRIPT)]
    assert [(dist / name).read_text() for name in names] == [FIRST_SCRIPT, SECOND_SCRIPT]
    assert re.findall(r'<script[^>]*src="/([^"]*)"', text) == [
        names[0], "app-config.js", "init-service-worker.js", names[1], f"app.bundle.{HASH}.js"
    ]  # fmt: skip
    assert re.findall(r"<script[^>]*>[^<]+</script>", text) == []
    for name in names:  # neither deferred nor a module: it runs where it stands
        assert f'<script src="/{name}"></script>' in text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<script>console", '<script type="module">console'),
        ('<div id="root">', '<div id="root" onload="x()">'),
        (f"app.bundle.{HASH}.js", "app.bundle.ffffffffffffffff.js"),
        (f"app.bundle.{HASH}.js", "main.js"),
        ("/app-config.js", "/viewer/app-config.js"),
        ('<link rel="manifest" href="/manifest.json">', ""),
        ("<title>OHIF Viewer</title>", ""),
    ],
)
def test_an_unknown_index_is_refused(make, cache, old, new):
    files = viewer()
    files["index.html"] = files["index.html"].replace(old, new)
    with pytest.raises(_ohif.OhifError) as error:
        make(files)
    assert error.value.reason == "layout"
    assert list(cache.root.glob("releases/*")) == []


def test_the_manifest_is_fetched_with_credentials(make):
    assert (
        '<link rel="manifest" href="/manifest.json" crossorigin="use-credentials">'
        in (make() / "index.html").read_text()
    )


def test_files_that_load_code_from_elsewhere_are_gone(make):
    dist = make()
    gone = ("sw.js", "silent-refresh.html", "google.js", "oidc-client.min.js", "_headers", "_redirects", "serve.json")
    assert [name for name in gone if (dist / name).exists()] == []
    assert list(dist.rglob("*.map")) == []
    hosts = ("storage.googleapis.com", "cdnjs.cloudflare.com", DEMO_SERVER)
    assert [name for name, text in texts(dist).items() if any(host in text for host in hosts)] == []
    worker = (dist / "init-service-worker.js").read_text()
    assert "unregister" in worker
    assert "importScripts" not in worker


def test_every_name_with_a_suffix_is_a_file_so_that_a_missing_chunk_can_be_404(make):
    """A server that answers 404 for names with these suffixes must not hide a page of the application."""
    dist = make()
    served = re.compile(r"\.(js|css|wasm|map|woff2|png|svg|ico|json)$")
    references = re.findall(r'(?:src|href)="/([^"]+)"', (dist / "index.html").read_text())
    assert [name for name in references if not served.search(name)] == []


@pytest.mark.parametrize("enabled", [True, False])
def test_ai_files_are_a_choice(make, enabled):
    assert (make(ai_enabled=enabled) / "ort").exists() is enabled


# Base path


@pytest.mark.parametrize(
    ("workers", "bundle_hash"), [(7, HASH), (6, "096daabbdde29bd851ab")], ids=["3.13", "3.11 and 3.12"]
)
def test_base_path_is_everywhere(make, workers, bundle_hash):
    dist = make(viewer(workers, bundle_hash), base_path="/ohif/")
    application = f"app.bundle.{bundle_hash}.js"
    found = texts(dist)
    assert sum('__webpack_require__.p = "/ohif/"' in text for text in found.values()) == workers + 1
    assert "browserImportFunction('/ohif/dicom-microscopy-viewer/x.js')" in found[application]
    assert re.findall(r'(?:src|href|content)="/(?!ohif/)', found["index.html"]) == []
    assert len(re.findall(r'(?:src|href|content)="/ohif/', found["index.html"])) == 33 + 2
    inline = [text for name, text in found.items() if re.fullmatch(r"inline\.[0-9a-f]{16}\.js", name)]
    assert len(inline) == 2
    assert all('window.PUBLIC_URL="/ohif/"' in text for text in inline)
    assert found["app.bundle.css"].count("url(a34f9d1faa5f3315.woff2)") == 5
    assert {icon["src"][:7] for icon in json.loads(found["manifest.json"])["icons"]} == {"assets/"}
    assert gzip.decompress((dist / f"{application}.gz").read_bytes()).decode() == found[application]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (f"0.bundle.{HASH}.js", '__webpack_require__.p = "/"', '__webpack_require__.p = "auto"'),
        (f"0.bundle.{HASH}.js", "__webpack", '__webpack_require__.p = "/";\n__webpack'),
        (f"app.bundle.{HASH}.js", "browserImportFunction('/", "browserImportFunction(x + '/"),
        ("index.html", '<link rel="icon" href="/assets/3.png">', ""),
        ("index.html", FIRST_SCRIPT, "console.log(1)"),
        ("app.bundle.css", "url(/", "url(./"),
        ("manifest.json", '"/assets/3.png"', '"assets/3.png"'),
    ],
)
def test_a_layout_that_is_not_known_is_refused_under_a_base_path(make, cache, name, old, new):
    files = viewer()
    assert old in files[name]
    files[name] = files[name].replace(old, new, 1)
    with pytest.raises(_ohif.OhifError, match=r"unknown layout|times") as error:
        make(files, base_path="/ohif/")
    assert error.value.reason == "layout"
    assert list(cache.root.glob("*/*")) == []


def test_at_the_root_nothing_is_rewritten(make):
    name = f"app.bundle.{HASH}.js"
    files = viewer()
    files[name] = files[name].replace(STUDY_LIST, "")
    assert (make(files) / name).read_text() == files[name]


# Compression


def test_compressed_files_hold_the_same_and_are_smaller(make):
    brotli = pytest.importorskip("brotli")
    dist = make()
    packed = [path for path in dist.rglob("*") if path.suffix in (".gz", ".br")]
    assert f"app.bundle.{HASH}.js.br" in {path.name for path in packed}
    for path in packed:
        plain = path.with_suffix("").read_bytes()
        unpack = gzip.decompress if path.suffix == ".gz" else brotli.decompress
        assert unpack(path.read_bytes()) == plain
        assert path.stat().st_size < len(plain)
        assert path.stat().st_mtime == path.with_suffix("").stat().st_mtime


def test_quality_zero_needs_no_brotli(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setattr(_ohif.shutil, "which", lambda name: None)
    assert list(make(brotli_quality=0).rglob("*.br")) == []
    with pytest.raises(_ohif.OhifError, match="brotli") as error:
        make(brotli_quality=9)
    assert error.value.reason == "tool"


# Archives


@pytest.mark.parametrize("prefix", ["package/dist/", "dist/", "", "./", "ohif-3.13.2/build/"])
def test_the_viewer_is_found_in_the_archive(make, prefix):
    assert (make(prefix=prefix) / f"app.bundle.{HASH}.js").is_file()


@pytest.mark.parametrize("kind", ["link", "outside", "no viewer", "no archive", "cut"])
def test_bad_archives_are_refused(tmp_path, cache, kind):
    archive = tmp_path / "bad.tgz"
    pack(archive, viewer() if kind != "no viewer" else {"index.html": ""})
    if kind == "no archive":
        archive.write_bytes(b"not an archive")
    elif kind == "cut":
        archive.write_bytes(archive.read_bytes()[:-400])
    elif kind in ("link", "outside"):
        with tarfile.open(archive, "w:gz") as tar:
            for name in ("dist/index.html", "dist/app-config.js"):
                tar.addfile(tarfile.TarInfo(name))
            extra = tarfile.TarInfo("dist/../../evil.js" if kind == "outside" else "dist/evil.js")
            if kind == "link":
                extra.type, extra.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(extra)
    digest = "sha256:" + _ohif.file_digest(archive, "sha256")
    request = _ohif.Request(version="1", app_config=CONFIG, archive=str(archive), checksum=digest)
    with pytest.raises(_ohif.OhifError) as error:
        _ohif.ensure_release(cache, request)
    assert error.value.reason in ("archive", "layout")
    assert not cache.is_complete("releases", request.release_id())
    assert not list(tmp_path.rglob("evil.js"))


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_wrong_checksum_is_refused_and_both_are_named(make, cache, algorithm):
    wrong = hashlib.new(algorithm, b"").hexdigest()
    with pytest.raises(_ohif.OhifError, match=wrong) as error:
        make(checksum=f"{algorithm}:{wrong}")
    assert error.value.reason == "checksum"
    assert list(cache.root.glob("*/*")) == []


def test_checksums_are_read_in_every_usual_form():
    digest = hashlib.sha512(b"x")
    npm = "sha512-" + base64.b64encode(digest.digest()).decode()
    assert {_ohif.parse_digest(text) for text in (npm, f"sha512:{digest.hexdigest()}", digest.hexdigest().upper())} == {
        _ohif.Digest("sha512", digest.hexdigest())
    }


@pytest.mark.parametrize("text", ["", "sha512-AAAA", "sha256:" + "0" * 128, "md5:" + "0" * 32, "0" * 63, "g" * 64])
def test_what_is_no_checksum_is_refused(text):
    with pytest.raises(_ohif.OhifError, match="is not a checksum"):
        _ohif.parse_digest(text)


# npm and git


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm that packs the small viewer, and notes each call."""
    pack(tmp_path / "npm.tgz", viewer())
    client = tmp_path / "bin" / "npm"
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncp {tmp_path}/npm.tgz "$5"/ohif-app-3.13.2.tgz\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent}:{os.environ['PATH']}")
    return tmp_path


def test_npm_is_asked_once_for_exactly_the_package(npm, cache):
    digest = "sha512:" + _ohif.file_digest(npm / "npm.tgz", "sha512")
    common: dict[str, t.Any] = {"version": "3.13.2", "npm_package": "@ohif/app@3.13.2", "checksum": digest}
    for base_path in ("/", "/ohif/"):
        assert _ohif.ensure_release(cache, _ohif.Request(app_config=CONFIG, base_path=base_path, **common))
    calls = (npm / "calls").read_text().splitlines()
    assert len(calls) == 1
    assert calls[0].split()[0] == "pack"
    assert calls[0].split()[-1] == "@ohif/app@3.13.2"


def test_an_npm_package_with_another_checksum_is_not_kept(npm, cache):
    request = _ohif.Request(version="3.13.2", app_config=CONFIG, npm_package="@ohif/app@3.13.2", checksum="0" * 128)
    with pytest.raises(_ohif.OhifError) as error:
        _ohif.ensure_release(cache, request)
    assert error.value.reason == "checksum"
    assert list(cache.root.glob("downloads/*")) == []


def test_npm_missing_is_said_before_anything_is_made(cache, monkeypatch):
    monkeypatch.setattr(_ohif.shutil, "which", lambda name: None if name == "npm" else "/usr/bin/" + name)
    request = _ohif.Request(version="3.13.2", app_config=CONFIG, npm_package="@ohif/app@3.13.2", checksum="0" * 128)
    with pytest.raises(_ohif.OhifError, match="npm") as error:
        _ohif.ensure_release(cache, request)
    assert error.value.reason == "tool"


@pytest.mark.parametrize("lock", ["pnpm-lock.yaml", "yarn.lock", None])
def test_a_commit_is_built_by_the_client_of_its_lock_file(tmp_path, cache, monkeypatch, lock):
    source = tmp_path / "source"
    source.mkdir()
    for name, content in viewer().items():
        path = source / "prebuilt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    if lock:
        (source / lock).write_text("")
    git = ["git", "-C", str(source), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    for client in ("pnpm", "yarn"):
        program = tmp_path / "bin" / client
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f'#!/bin/sh\necho {client} "$@" "$PUBLIC_URL" >> {tmp_path}/calls\n'
            'if [ "$1" = run ]; then mkdir -p platform/app && cp -r prebuilt platform/app/dist; fi\n'
        )
        program.chmod(0o755)
    (tmp_path / "bin" / "node").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    request = _ohif.Request(version="x", app_config=CONFIG, git_repository=str(source), git_commit=commit)
    if lock is None:
        with pytest.raises(_ohif.OhifError, match="build commands"):
            _ohif.ensure_release(cache, request)
        return
    assert _ohif.ensure_release(cache, request)
    client = lock[:4].rstrip(".")
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"{client} install --frozen-lockfile /",
        f"{client} run build /",
    ]
    assert (cache.dist("releases", request.release_id()) / "app-config.js").read_text() == CONFIG


# The cache


def test_a_second_call_makes_nothing(make, monkeypatch):
    make()
    monkeypatch.setattr(_ohif.Cache, "make", lambda *arguments: pytest.fail("made again"))
    make()


@pytest.mark.parametrize("kind", ["trees", "releases"])
@pytest.mark.parametrize("damage", ["cut", "gone", "manifest", "extra"])
def test_a_damaged_entry_is_made_again(make, cache, kind, damage):
    dist = make()
    before = _ohif.sizes_of(dist)
    entry = next((cache.root / kind).iterdir())
    victim = entry / "dist" / f"app.bundle.{HASH}.js"
    if damage == "manifest":
        (entry / "manifest.json").write_text("")
    elif damage == "extra":
        (entry / "dist" / "app-config.js.gz").write_text("old")
    else:
        victim.unlink()
        if damage == "cut":
            victim.write_text("")
    if kind == "trees":
        (cache.root / "releases").rename(cache.root / ".tmp-away")
    assert _ohif.sizes_of(make()) == before


def test_a_kill_anywhere_leaves_nothing_that_passes_for_done(tmp_path, cache):
    """SIGKILL at many moments of the work; whatever is there then is either complete or made again."""
    archive = pack(tmp_path / "viewer.tgz", viewer())
    request: dict[str, t.Any] = {
        "version": "1",
        "app_config": CONFIG,
        "archive": str(archive),
        "checksum": _ohif.file_digest(archive, "sha256"),
    }
    program = (
        "import sys, json; from pathlib import Path\n"
        "from ansible_collections.lightbox.pacs.plugins.module_utils import _ohif\n"
        "print('go', flush=True)\n"
        "_ohif.ensure_release(_ohif.Cache(Path(sys.argv[1])), _ohif.Request(**json.loads(sys.argv[2])))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / ".collections")}
    release = _ohif.Request(**request).release_id()
    reference = _ohif.Cache(tmp_path / "reference")
    _ohif.ensure_release(reference, _ohif.Request(**request))
    wanted = _ohif.sizes_of(reference.dist("releases", release))
    unfinished = 0
    for delay in (0, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1):
        one = _ohif.Cache(tmp_path / f"killed-{delay}")
        command = [sys.executable, "-c", program, str(one.root), json.dumps(request)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        if one.entry("releases", release).exists():
            assert _ohif.sizes_of(one.dist("releases", release)) == wanted
        else:
            unfinished += 1
        _ohif.ensure_release(one, _ohif.Request(**request))
        assert _ohif.sizes_of(one.dist("releases", release)) == wanted
        assert list(one.root.glob(".tmp-*")) == []
    assert unfinished > 0


def test_modes_do_not_depend_on_the_umask(make):
    old = os.umask(0o077)
    try:
        dist = make()
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in dist.rglob("*") if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in [dist, *dist.rglob("*")] if path.is_dir()} == {0o755}


# The published packages, when this machine has fetched them


def real_trees():
    root = os.environ.get("OHIF_PACKAGES", "")
    return sorted(Path(root).glob("ohif-app-*.tgz")) if root else []


@pytest.mark.skipif(
    not real_trees(), reason="OHIF_PACKAGES names no directory with packages from 'npm pack @ohif/app@…'"
)
@pytest.mark.parametrize("archive", real_trees(), ids=lambda path: path.name)
@pytest.mark.parametrize("base_path", ["/", "/ohif/"])
def test_published_packages(cache, archive, base_path):
    request = _ohif.Request(
        version="x",
        app_config=CONFIG,
        archive=str(archive),
        base_path=base_path,
        checksum=_ohif.file_digest(archive, "sha512"),
        brotli_quality=1,
    )
    assert _ohif.ensure_release(cache, request)


# The study list


def study_list_says(dist: Path, rows: int, limit: int | None) -> str:
    """What the release's own expression says, run by Playwright's node."""
    text = next(dist.glob("app.bundle.*.js")).read_text()
    expression = re.findall(r"show\((`.*`)\);", text)[0]
    source = {"configuration": {} if limit is None else {"queryLimit": limit}}
    program = f"""
        const window = {{config: {{dataSources: [{{}}, {json.dumps(source)}]}}}};
        const table = {{getCoreRowModel: () => ({{rows: Array({rows})}})}};
        const start = 1, end = 50, total = {rows};
        console.log({expression});
    """
    node = compute_driver_executable()[0]
    return subprocess.run([node, "--eval", program], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("rows", "limit", "said"),
    [
        (1001, 1001, "1-50 of newest 1000, search for others"),
        (1000, 1001, "1-50 of 1000"),
        (51, 1001, "1-50 of 51"),
        (101, None, "1-50 of 101"),
        (51, 51, "1-50 of newest 50, search for others"),
    ],
)
def test_the_study_list_says_that_there_are_more(make, rows, limit, said):
    assert study_list_says(make(), rows, limit) == said


def test_the_study_list_does_not_filter_again(make):
    text = next(make().glob("app.bundle.*.js")).read_text()
    assert re.search(r"title: 'Study List',\s+manualFiltering: true,", text)


@pytest.mark.parametrize("part", ["`${start}-${end} of ${total}`", "title: 'Study List',"])
def test_an_unknown_study_list_is_refused(make, part):
    files = viewer()
    name = f"app.bundle.{HASH}.js"
    for text in (files[name].replace(part, ""), files[name] + part):
        with pytest.raises(_ohif.OhifError, match="in its study list, expected 1") as error:
            make({**files, name: text})
        assert error.value.reason == "layout"


def test_an_older_study_list_stays(make):
    files = viewer()
    name = f"app.bundle.{HASH}.js"
    files[name] = files[name].replace(
        STUDY_LIST, "const STUDIES_LIMIT = 101;\n_getQueryFilterValues(query, queryLimit);\n"
    )
    assert (make(files) / name).read_text() == files[name]
