# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn a build of the OHIF viewer into files that a static web server may deploy.

Private to this collection. Runs on the controller. Everything is made in a cache directory:

    downloads/<algorithm>-<digest>.tgz   what was fetched, named after its checksum
    trees/<key>/dist                     unpacked, rewritten for one base path, compressed (expensive, shared)
    releases/<id>/dist                   a tree (hard links) plus what the configuration decides (cheap)

An entry appears by one rename after everything in it was written, and carries a manifest of its files and sizes,
so neither a kill nor a damaged cache can pass for a finished one.
"""

from __future__ import annotations

import base64
import binascii
import concurrent.futures
import contextlib
import errno
import fcntl
import gzip
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
import typing as t
from pathlib import Path, PurePosixPath

# Raised when the same input is prepared differently than before: it is part of every key.
PREPARATION = 3

KEEP_UNCOMPRESSED = "app-config.js"
COMPRESSED_SUFFIXES = frozenset(
    (".css", ".html", ".ico", ".js", ".json", ".jsonc", ".svg", ".wasm", ".webmanifest", ".xml")
)
COMPRESSED_MINIMUM = 512  # bytes; below, the response headers outweigh what compression saves

# Left out: the shipped configuration (it points at a public demonstration server), files for other hosting services,
# the service worker (nothing registers it, it loads code from another host), the pages of browser-side OpenID Connect
# (they load code from another host; the reverse proxy does the login), a page with inline styles, source maps.
DROPPED = frozenset(
    (
        "_headers",
        "_redirects",
        "app-config.js",
        "customizations/index.html",
        "es6-shim.min.js",
        "google.js",
        "oidc-client.min.js",
        "polyfill.min.js",
        "serve.json",
        "silent-refresh.html",
        "sw.js",
    )
)
AI_DIRECTORY = "ort/"  # ONNX runtime, 136 MB, asked for by the AI segmentation tool only

INIT_SERVICE_WORKER = """\
// Earlier releases could leave a service worker behind that keeps serving their files.
if ('serviceWorker' in navigator) {
  navigator.serviceWorker.getRegistrations().then(registrations => {
    for (const registration of registrations) {
      registration.unregister();
    }
  });
}
"""

PUBLIC_PATH = re.compile(rb'__webpack_require__\.p ?= ?"/"')
MICROSCOPY_IMPORT = re.compile(rb"(browserImportFunction\((['\"]))/(?=dicom-microscopy-viewer/)")
PUBLIC_URL = re.compile(r"""(window\.PUBLIC_URL\s*=\s*(["']))/(?=\2)""")
INDEX_REFERENCE = re.compile(r'(\s(?:href|src|content)=")/(?!/)')
CSS_REFERENCE = re.compile(rb"url\(/(?!/)")
MANIFEST_REFERENCE = re.compile(rb'"/(?=assets/)')
INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
ANY_SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.DOTALL)
MANIFEST_LINK = re.compile(r'<link rel="manifest" href="([^"]*)"\s*/?>')
TITLE = re.compile(r"<title>[^<]*</title>")

# The study list of 3.13 asks for as many studies as its data source's `queryLimit` says, and is silent about those that
# it does not get.
STUDY_LIST_LIMIT = b"?.queryLimit"
STUDY_LIST_COUNT = b"`${start}-${end} of ${total}`"
STUDY_LIST_COUNT_WITH_LIMIT = (
    b"`${start}-${end} of ${((limit) => limit ? `newest ${limit - 1}, search for others` : total)"
    b"((window.config?.dataSources ?? []).map(source => source.configuration?.queryLimit)"
    b".find(limit => limit && limit === table.getCoreRowModel().rows.length))}`"
)
# It also filters again what the archive found, by the texts that it shows: a search for DOE^J would find Doe, J and
# show nothing.
STUDY_LIST_TITLE = b"title: 'Study List',"
STUDY_LIST_TITLE_WITHOUT_FILTER = b"title: 'Study List', manualFiltering: true,"


class Layout(t.NamedTuple):
    """How often the base path stands in a build that was made for ``/``."""

    hash_digits: int  # in the names of bundles
    public_path: int  # files with one assignment of the bundler's public path each
    microscopy: int  # imports of the microscopy viewer in the application bundle
    public_url: int  # assignments in index.html
    references: int  # href, src and content attributes in index.html
    css: int  # fonts in app.bundle.css
    manifest: int  # icons in manifest.json


# Counted in the published packages 3.13.2, and 3.12.10 and 3.11.1.
LAYOUTS: t.Final = {
    "3.13": Layout(hash_digits=16, public_path=8, microscopy=1, public_url=2, references=33, css=5, manifest=9),
    "3.11": Layout(hash_digits=20, public_path=7, microscopy=1, public_url=2, references=33, css=5, manifest=9),
}


class OhifError(Exception):
    """Why no release could be made. ``reason`` is one of archive, build, checksum, fetch, input, layout, tool."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Digest(t.NamedTuple):
    algorithm: str
    hexadecimal: str

    @property
    def text(self) -> str:
        return f"{self.algorithm}-{self.hexadecimal}"


def parse_digest(text: str) -> Digest:
    """Read ``sha512-<base64>`` (as npm writes it), ``sha256:<hex>``, ``sha512:<hex>`` or bare hexadecimal digits."""
    text = text.strip()
    match = re.fullmatch(r"(sha256|sha512)-([A-Za-z0-9+/]+={0,2})", text)
    if match:
        with contextlib.suppress(binascii.Error):
            raw = base64.b64decode(match[2], validate=True)
            if len(raw) == hashlib.new(match[1]).digest_size:
                return Digest(match[1], raw.hex())
    match = re.fullmatch(r"(?:(sha256|sha512):)?([0-9a-fA-F]{64}|[0-9a-fA-F]{128})", text)
    if match:
        algorithm = "sha256" if len(match[2]) == 64 else "sha512"
        if match[1] in (None, algorithm):
            return Digest(algorithm, match[2].lower())
    raise OhifError(
        "input", f"'{text}' is not a checksum: expected sha512-<base64>, sha256:<hexadecimal> or sha512:<hexadecimal>."
    )


def file_digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_digest(path: Path, expected: Digest, name: str) -> None:
    found = file_digest(path, expected.algorithm)
    if found != expected.hexadecimal:
        shown = Digest(expected.algorithm, found)
        npm = f"{shown.algorithm}-{base64.b64encode(bytes.fromhex(found)).decode()}"
        raise OhifError("checksum", f"{name} has the checksum {npm} ({shown.text}), expected was {expected.text}.")


def key_of(inputs: t.Mapping[str, t.Any]) -> str:
    return hashlib.sha256(json.dumps({**inputs, "preparation": PREPARATION}, sort_keys=True).encode()).hexdigest()


class Cache:
    """A directory of finished entries. Use inside ``with cache.locked():`` when something may be made."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def locked(self) -> t.Iterator[None]:
        """One maker at a time: hosts (forks) and runs share the cache. The lock dies with its process."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.remove_scratch()
            try:
                yield
            finally:
                self.remove_scratch()

    def remove_scratch(self) -> None:
        for scratch in self.root.glob(".tmp-*"):
            shutil.rmtree(scratch, ignore_errors=True)

    def entry(self, kind: str, name: str) -> Path:
        return self.root / kind / name

    def dist(self, kind: str, name: str) -> Path:
        return self.entry(kind, name) / "dist"

    def is_complete(self, kind: str, name: str) -> bool:
        """Whether the entry is there with exactly the files and sizes that its manifest names."""
        try:
            manifest = json.loads((self.entry(kind, name) / "manifest.json").read_text())
            return bool(manifest["files"]) and manifest["files"] == sizes_of(self.dist(kind, name))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def make(self, kind: str, name: str, build: t.Callable[[Path], None]) -> None:
        """Let ``build`` fill an empty directory, then make it the entry in one step."""
        temporary = self.scratch()
        dist = temporary / "dist"
        dist.mkdir()
        build(dist)
        for path in [dist, *dist.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        (temporary / "manifest.json").write_text(json.dumps({"files": sizes_of(dist)}, sort_keys=True))
        temporary.chmod(0o755)
        os.sync()
        final = self.entry(kind, name)
        final.parent.mkdir(exist_ok=True)
        if final.exists():
            final.rename(self.scratch() / "damaged")
        temporary.rename(final)

    def scratch(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=".tmp-", dir=self.root))

    def next_time(self) -> int:
        """Seconds since the epoch, never twice the same.

        A web server derives ETag and Last-Modified from time and size. npm gives every file the same time in 1985, so
        two releases whose index.html have equal sizes would look unchanged to a browser.
        """
        clock = self.root / ".clock"
        try:
            last = int(clock.read_text())
        except (OSError, ValueError):
            last = 0
        now = max(int(time.time()), last + 1)
        clock.write_text(str(now))
        return now


def sizes_of(directory: Path) -> dict[str, int]:
    return {
        path.relative_to(directory).as_posix(): path.stat().st_size
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def run(command: t.Sequence[str], cwd: Path, reason: str, environment: t.Mapping[str, str] | None = None) -> str:
    """Run a command of the controller; its last lines of output are in the error."""
    try:
        result = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise OhifError("tool", f"Cannot run {command[0]}: {error.strerror}.") from error
    if result.returncode != 0:
        tail = "\n".join(result.stdout.strip().splitlines()[-15:])
        raise OhifError(reason, f"'{' '.join(command)}' ended with {result.returncode}:\n{tail}")
    return result.stdout


def downloaded(cache: Cache, digest: Digest) -> Path:
    return cache.root / "downloads" / f"{digest.text}.tgz"


def fetch_npm(cache: Cache, package: str, expected: Digest) -> Path:
    """Fetch a package with the npm client, from where that is configured to; keep it when its checksum is right."""
    target = downloaded(cache, expected)
    if target.is_file() and file_digest(target, expected.algorithm) == expected.hexadecimal:
        return target
    temporary = cache.scratch()
    run(
        ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(temporary), package],
        temporary,
        "fetch",
    )
    tarballs = list(temporary.glob("*.tgz"))
    if len(tarballs) != 1:
        raise OhifError("fetch", f"'npm pack {package}' left {len(tarballs)} files, expected one.")
    check_digest(tarballs[0], expected, package)
    target.parent.mkdir(exist_ok=True)
    tarballs[0].rename(target)
    shutil.rmtree(temporary, ignore_errors=True)
    return target


def default_build_commands(source: Path) -> list[list[str]]:
    """The documented commands: pnpm from 3.13 on, yarn before. The lock file tells which."""
    for lock, client in (("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn")):
        if (source / lock).is_file():
            return [[client, "install", "--frozen-lockfile"], [client, "run", "build"]]
    raise OhifError("build", "The source has neither pnpm-lock.yaml nor yarn.lock: give the build commands.")


def build_git(cache: Cache, repository: str, commit: str, commands: t.Sequence[t.Sequence[str]]) -> Path:
    """Build the viewer from a pinned commit, for the base path ``/``; return the directory of the result."""
    source = cache.scratch() / "source"
    source.mkdir()
    for arguments in (
        ["init", "--quiet"],
        ["fetch", "--quiet", "--depth", "1", repository, commit],
        ["checkout", "--quiet", "--detach", "FETCH_HEAD"],
    ):
        run(["git", *arguments], source, "fetch")
    head = run(["git", "rev-parse", "HEAD"], source, "fetch").strip()
    if head != commit:
        raise OhifError("checksum", f"{repository} answered with commit {head}, expected was {commit}.")
    environment = {
        "PUBLIC_URL": "/",
        "APP_CONFIG": "config/default.js",
        "NODE_OPTIONS": "--max-old-space-size=8192",
        "CI": "true",
    }
    for command in commands or default_build_commands(source):
        run(command, source, "build", environment)
    dist = source / "platform" / "app" / "dist"
    if not (dist / "index.html").is_file():
        raise OhifError("build", "The build left no platform/app/dist/index.html.")
    return dist


def is_dropped(name: str, with_ai: bool) -> bool:
    # Compressed copies are made here, from what the files are then.
    return name in DROPPED or name.endswith((".map", ".gz", ".br")) or (name.startswith(AI_DIRECTORY) and not with_ai)


def unpack(archive: Path, target: Path, with_ai: bool) -> None:
    """Write the viewer's files of a tar.gz; the viewer is where index.html and app-config.js stand side by side."""
    try:
        with tarfile.open(archive, "r:*") as tar:
            members = [(PurePosixPath(member.name), member) for member in tar]
            names = {str(path) for path, member in members}
            roots = sorted(
                (
                    path.parent
                    for path, member in members
                    if path.name == "index.html" and str(path.parent / KEEP_UNCOMPRESSED) in names
                ),
                key=lambda path: len(path.parts),
            )
            if not roots:
                raise OhifError("layout", f"{archive.name} holds no index.html with an app-config.js beside it.")
            for path, member in members:
                if member.isdir() or not path.is_relative_to(roots[0]):
                    continue
                name = path.relative_to(roots[0])
                if not member.isreg() or path.is_absolute() or ".." in path.parts:
                    raise OhifError(
                        "archive", f"{archive.name} holds '{member.name}', which is not a plain file inside it."
                    )
                if is_dropped(str(name), with_ai):
                    continue
                content = tar.extractfile(member)
                destination = target / name
                destination.parent.mkdir(parents=True, exist_ok=True)
                with destination.open("wb") as stream:
                    shutil.copyfileobj(t.cast("t.IO[bytes]", content), stream, 1 << 20)
    except (tarfile.TarError, EOFError, OSError, binascii.Error) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        raise OhifError("archive", f"{archive.name} cannot be read as a tar archive: {error}.") from error


def copy_build(source: Path, target: Path, with_ai: bool) -> None:
    for path in source.rglob("*"):
        name = path.relative_to(source)
        if path.is_file() and not path.is_symlink() and not is_dropped(name.as_posix(), with_ai):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)


def prepare(dist: Path, base_path: str) -> None:
    """Rewrite the files in place: base path, scripts of index.html, manifest link, service worker."""
    if base_path != "/":
        rewrite_base_path(dist, base_path)
    index = dist / "index.html"
    text = externalise_scripts(dist, index.read_text(), base_path)
    text, count = MANIFEST_LINK.subn(r'<link rel="manifest" href="\1" crossorigin="use-credentials">', text)
    if count != 1:
        raise OhifError("layout", f"index.html has {count} manifest links of the known form, expected 1.")
    index.write_text(text)
    if (dist / "init-service-worker.js").is_file():
        (dist / "init-service-worker.js").write_text(INIT_SERVICE_WORKER)
    check_references(dist, text, base_path)
    complete_study_list(dist)


def complete_study_list(dist: Path) -> None:
    """Let the study list say that there are more studies than it shows, and show all that a search found.

    Versions before 3.13 have another study list, which asks for page after page and says `>100`: it stays as it is.
    """
    for path in sorted(dist.glob("app.bundle.*.js")):
        content = path.read_bytes()
        if STUDY_LIST_LIMIT not in content:
            continue
        for old, new in (
            (STUDY_LIST_COUNT, STUDY_LIST_COUNT_WITH_LIMIT),
            (STUDY_LIST_TITLE, STUDY_LIST_TITLE_WITHOUT_FILTER),
        ):
            if content.count(old) != 1:
                raise OhifError(
                    "layout",
                    f"{path.name} has {content.count(old)} times {old.decode()} in its study list, expected 1.",
                )
            content = content.replace(old, new)
        path.write_bytes(content)


def rewrite_base_path(dist: Path, base_path: str) -> None:
    """Move a build made for ``/`` to ``/<somewhere>/``; refuse it untouched unless every count is a known layout's."""
    prefix = base_path.encode()
    changed: dict[Path, bytes] = {}
    counts = dict.fromkeys(Layout._fields, 0)
    for path in dist.glob("app.bundle.*.js"):
        counts["hash_digits"] = len(path.name.split(".")[2])

    for path in sorted(dist.glob("*.js")):
        content = path.read_bytes()
        content, public_paths = PUBLIC_PATH.subn(b'__webpack_require__.p = "' + prefix + b'"', content)
        if public_paths > 1:
            raise OhifError("layout", f"{path.name} sets the public path {public_paths} times, expected at most once.")
        counts["public_path"] += public_paths
        content, imports = MICROSCOPY_IMPORT.subn(rb"\g<1>" + prefix, content)
        counts["microscopy"] += imports
        if public_paths or imports:
            changed[path] = content

    text = (dist / "index.html").read_text()
    text, counts["public_url"] = PUBLIC_URL.subn(rf"\g<1>{base_path}", text)
    text, counts["references"] = INDEX_REFERENCE.subn(rf"\g<1>{base_path}", text)
    changed[dist / "index.html"] = text.encode()

    # Relative to the file itself, which stands at the base path.
    for path in sorted(dist.glob("*.css")):
        content, fonts = CSS_REFERENCE.subn(b"url(", path.read_bytes())
        counts["css"] += fonts
        if fonts:
            changed[path] = content
    manifest = dist / "manifest.json"
    if manifest.is_file():
        changed[manifest], counts["manifest"] = MANIFEST_REFERENCE.subn(b'"', manifest.read_bytes())

    if Layout(**counts) not in LAYOUTS.values():
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        known = "; ".join(
            f"{name}: " + ", ".join(f"{key} {value}" for key, value in layout._asdict().items())
            for name, layout in LAYOUTS.items()
        )
        raise OhifError("layout", f"This build of the viewer has an unknown layout ({found}). Known are {known}.")
    for path, content in changed.items():
        path.write_bytes(content)


def externalise_scripts(dist: Path, text: str, base_path: str) -> str:
    """Give every inline script a file named after its content, so that the content security policy needs no exception.

    A classic script without async or defer runs where it stands, inline or not: the order stays.
    """

    def externalise(match: re.Match[str]) -> str:
        content = match[1].encode()
        name = f"inline.{hashlib.sha256(content).hexdigest()[:16]}.js"
        (dist / name).write_bytes(content)
        return f'<script src="{base_path}{name}"></script>'

    text = INLINE_SCRIPT.sub(externalise, text)
    for attributes, content in ANY_SCRIPT.findall(text):
        if content.strip() or "src=" not in attributes:
            raise OhifError("layout", f"index.html has a script that cannot be moved to a file: <script{attributes}>.")
    if re.search(r"<[^>]+\son[a-z]+\s*=", text):
        raise OhifError("layout", "index.html has an inline event handler.")
    return text


def check_references(dist: Path, text: str, base_path: str) -> None:
    """Every script and style sheet of index.html exists, and the configuration is loaded exactly once."""
    references = re.findall(r'<script\b[^>]*?\ssrc="([^"]*)"', text)
    if references.count(f"{base_path}{KEEP_UNCOMPRESSED}") != 1:
        raise OhifError(
            "layout",
            f"index.html does not load {base_path}{KEEP_UNCOMPRESSED} exactly once; was it built for another path?",
        )
    for tag in re.findall(r"<link\b[^>]*>", text):
        if 'rel="stylesheet"' in tag or 'rel="manifest"' in tag:
            references += re.findall(r'\shref="([^"]*)"', tag)
    for reference in references:
        name = reference.removeprefix(base_path)
        if name == KEEP_UNCOMPRESSED:
            continue
        if not reference.startswith(base_path) or not (dist / name).is_file():
            raise OhifError("layout", f"index.html refers to '{reference}', which is not in the build.")
    if not any(
        re.fullmatch(r"app\.bundle\.[0-9a-f]{8,20}\.js", reference.removeprefix(base_path)) for reference in references
    ):
        raise OhifError("layout", "index.html does not load app.bundle.<hash>.js.")


def brotli_compressor(quality: int) -> t.Callable[[bytes], bytes]:
    """Python's brotli when this interpreter has it, else the brotli program."""
    try:
        import brotli  # type: ignore[import-not-found,import-untyped,unused-ignore]

        return lambda content: t.cast("bytes", brotli.compress(content, quality=quality, lgwin=24))
    except ImportError:
        program = shutil.which("brotli")
        if program is None:
            raise OhifError(
                "tool", "Neither the brotli module of Python nor the brotli program is installed."
            ) from None
        command = [program, "--stdout", f"--quality={quality}", "--lgwin=24", "-"]
        return lambda content: subprocess.run(command, input=content, stdout=subprocess.PIPE, check=True).stdout


def compress(dist: Path, names: t.Iterable[str], brotli_quality: int) -> None:
    """Write .gz and .br beside each file that gains by it, not beside the configuration: a copy would shadow it."""
    brotli = brotli_compressor(brotli_quality) if brotli_quality else None

    def compress_one(path: Path) -> None:
        content = path.read_bytes()
        packed = {".gz": gzip.compress(content, 9, mtime=0)}
        if brotli:
            packed[".br"] = brotli(content)
        for suffix, result in packed.items():
            if len(result) < len(content):
                path.with_name(path.name + suffix).write_bytes(result)

    paths = [
        dist / name
        for name in names
        if PurePosixPath(name).suffix in COMPRESSED_SUFFIXES
        and name != KEEP_UNCOMPRESSED
        and (dist / name).stat().st_size >= COMPRESSED_MINIMUM
    ]
    paths.sort(key=lambda path: path.stat().st_size, reverse=True)
    # Both compressors release the interpreter lock; the largest file first, since it decides how long all take.
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for _done in pool.map(compress_one, paths):
            pass


def set_time(directory: Path, names: t.Iterable[str], seconds: int) -> None:
    for name in names:
        os.utime(directory / name, (seconds, seconds))


def set_title(dist: Path, title: str) -> None:
    index = dist / "index.html"
    text, count = TITLE.subn(lambda match: f"<title>{html.escape(title)}</title>", index.read_text())
    if count != 1:
        raise OhifError("layout", f"index.html has {count} titles, expected 1.")
    replace(index, text.encode())
    manifest = dist / "manifest.json"
    if manifest.is_file():
        data = json.loads(manifest.read_text())
        data["name"] = data["short_name"] = data["description"] = title
        replace(manifest, json.dumps(data, indent=2).encode() + b"\n")


def replace(path: Path, content: bytes) -> None:
    """Write a new file: the old one may be a hard link into the shared tree. Drop its compressed copies."""
    for stale in (path, path.with_name(path.name + ".gz"), path.with_name(path.name + ".br")):
        stale.unlink(missing_ok=True)
    path.write_bytes(content)


def link_tree(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        destination = target / path.relative_to(source)
        if path.is_dir():
            destination.mkdir(exist_ok=True)
            continue
        try:
            os.link(path, destination)
        except OSError:
            shutil.copy2(path, destination)


class Request(t.NamedTuple):
    """What release is wanted. Exactly one of archive, npm_package and git_repository is given."""

    version: str
    app_config: str
    archive: str | None = None
    npm_package: str | None = None
    git_repository: str | None = None
    git_commit: str | None = None
    git_build_commands: tuple[tuple[str, ...], ...] = ()
    checksum: str | None = None
    base_path: str = "/"
    title: str = "OHIF Viewer"
    logo: str | None = None
    ai_enabled: bool = False
    brotli_quality: int = 9

    @property
    def digest(self) -> Digest:
        return parse_digest(self.checksum or "")

    @property
    def logo_name(self) -> str:
        return "logo" + Path(self.logo).suffix.lower() if self.logo else ""

    def tree_key(self) -> str:
        if self.git_repository:
            source = f"git-{self.git_commit}-{json.dumps(self.git_build_commands)}"
        else:
            source = self.digest.text
        inputs = {"source": source, "base_path": self.base_path, "ai": self.ai_enabled, "brotli": self.brotli_quality}
        return key_of(inputs)[:16]

    def release_id(self) -> str:
        """Named after everything that is in it: a release on a server never changes."""
        logo = file_digest(Path(self.logo), "sha256") if self.logo else ""
        inputs = {
            "tree": self.tree_key(),
            "app_config": self.app_config,
            "title": self.title,
            "logo": logo,
            "logo_name": self.logo_name,
        }
        return f"{re.sub('[^0-9A-Za-z.]+', '-', self.version)}-{key_of(inputs)[:12]}"


def check_tools(cache: Cache, request: Request) -> None:
    """Refuse when a program that making the tree needs is not on this machine."""
    if request.git_repository:
        needed = {"git", *(command[0] for command in request.git_build_commands or (("node",),))}
    elif request.npm_package and not downloaded(cache, request.digest).is_file():
        needed = {"npm"}
    else:
        needed = set()
    missing = sorted(program for program in needed if shutil.which(program) is None)
    if missing:
        raise OhifError("tool", f"There is no program {', '.join(missing)} on the controller.")
    if request.brotli_quality:
        brotli_compressor(request.brotli_quality)


def make_tree(cache: Cache, request: Request) -> None:
    def build(dist: Path) -> None:
        check_tools(cache, request)
        if request.git_repository:
            copy_build(
                build_git(cache, request.git_repository, request.git_commit or "", request.git_build_commands),
                dist,
                request.ai_enabled,
            )
        else:
            if request.npm_package:
                archive = fetch_npm(cache, request.npm_package, request.digest)
            else:
                archive = Path(request.archive or "")
                check_digest(archive, request.digest, str(archive))
            unpack(archive, dist, request.ai_enabled)
        prepare(dist, request.base_path)
        compress(dist, sizes_of(dist), request.brotli_quality)
        set_time(dist, sizes_of(dist), cache.next_time())

    cache.make("trees", request.tree_key(), build)


def make_release(cache: Cache, request: Request) -> None:
    tree = cache.dist("trees", request.tree_key())

    def build(dist: Path) -> None:
        link_tree(tree, dist)
        set_title(dist, request.title)
        (dist / KEEP_UNCOMPRESSED).write_text(request.app_config)
        if request.logo:
            shutil.copyfile(request.logo, dist / request.logo_name)
        compress(
            dist,
            [name for name in ("index.html", "manifest.json", request.logo_name) if name and (dist / name).is_file()],
            request.brotli_quality,
        )
        present = sizes_of(dist)
        own = [name for name in present if not (tree / name).is_file() or not (tree / name).samefile(dist / name)]
        set_time(dist, own, cache.next_time())

    cache.make("releases", request.release_id(), build)


def ensure_release(cache: Cache, request: Request) -> bool:
    """Make what is missing; return whether anything was made."""
    if cache.is_complete("releases", request.release_id()):
        return False
    with cache.locked():
        if cache.is_complete("releases", request.release_id()):
            return False
        if not cache.is_complete("trees", request.tree_key()):
            make_tree(cache, request)
        make_release(cache, request)
    return True
