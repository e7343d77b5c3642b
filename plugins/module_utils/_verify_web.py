# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Check the reverse proxy: TLS, access, how the viewer is served."""

from __future__ import annotations

import json
import re
import secrets
import socket
import ssl
import time
import typing as t
import warnings

from ansible_collections.lightbox.pacs.plugins.module_utils._http import Answer, Connection, HttpError, basic_auth
from ansible_collections.lightbox.pacs.plugins.module_utils._tls import tls_context
from ansible_collections.lightbox.pacs.plugins.module_utils._verify import Checks, NotTried, Settings, expect

Headers = dict[str, str]

HTTPS = "HTTPS answers"
# In the certificate's name, as roles/certificates/files/certificates.py makes it.
PLACEHOLDER = b"lightbox.pacs placeholder"
LOGIN = "login"
INDEX = "page"
REFUSALS = frozenset({400, 401, 403, 404, 405, 421, 429})
JAVASCRIPT = frozenset({"application/javascript", "text/javascript"})
DEFAULT_LOGINS = (
    ("orthanc", "orthanc"),
    ("admin", "admin"),
    ("admin", "orthanc"),
    ("demo", "demo"),
    ("orthanc", ""),
)
IDENTITY_HEADERS = (
    "X-Remote-User",
    "Remote-User",
    "X-Forwarded-User",
    "X-Auth-Request-User",
    "X-WEBAUTH-USER",
    "X-Forwarded-For",
    "X-Real-IP",
)
BUNDLE = re.compile(r"""["']([^"']*?\bapp\.bundle\.[0-9a-f]{8,}\.js)["']""")
STYLESHEET = re.compile(r"""<link\b[^>]*\bhref=["']([^"']+\.css)["']""")


class ReverseProxy:
    """The checks, which share one connection and what the page refers to."""

    def __init__(self, settings: Settings, checks: Checks, client: Connection) -> None:
        self.settings = settings
        self.checks = checks
        self.client = client
        self.index = ""
        self.bundle = ""

    def run_all(self) -> None:
        self.check_transport()
        # The login first: later, failed attempts may have used up what the reverse proxy allows.
        self.checks.run(
            "access",
            LOGIN,
            "Check user and password (verify_web_user, verify_web_password) against the reverse proxy's.",
            self.check_login,
            HTTPS,
        )
        self.checks.run(
            "access",
            "reverse proxy to Orthanc",
            "See the reverse proxy's error log: it must reach Orthanc and log in to it.",
            self.check_upstream,
            LOGIN,
        )
        self.check_viewer()
        self.check_access()

    # --- TLS

    def check_transport(self) -> None:
        status = "See 'systemctl status nginx' and 'journalctl -u nginx'."
        renew = (
            "Run the playbook: it renews the certificate. With your own pair, provide a newer one. With ACME, see "
            "'journalctl -u lightbox-certificates'."
        )
        self.checks.run("web", HTTPS, status, self.check_trust)
        self.checks.run("web", "certificate validity", renew, self.check_expiry, HTTPS)
        self.checks.run(
            "web",
            "old TLS refused",
            "Allow TLSv1.2 and TLSv1.3 only (ssl_protocols).",
            self.check_old_tls,
            HTTPS,
        )
        if self.settings.http_port:
            self.checks.run(
                "web",
                "HTTP redirects to HTTPS",
                "Answer everything on the plain HTTP port with a redirect to the same address under https.",
                self.check_redirect,
            )

    def read_certificate(self) -> tuple[dict[str, t.Any], str]:
        """Return the server's certificate, verified, and the protocol."""
        with self.client.dial() as stream:
            if not isinstance(stream, ssl.SSLSocket):
                raise ValueError(f"'{self.settings.url}' is not https")
            return dict(stream.getpeercert() or {}), stream.version() or ""

    def check_trust(self) -> str:
        try:
            certificate, protocol = self.read_certificate()
        except ssl.SSLCertVerificationError as error:
            expect(
                not self.is_placeholder(),
                "the server has only a placeholder certificate, because its CA has not issued one for "
                f"{self.client.host} yet",
                "See 'journalctl -u lightbox-certificates' on the server for the reason, and run the playbook again.",
            )
            expect(
                False,
                f"the certificate for {self.client.host} is not trusted ({error.verify_message})",
                "Serve a certificate for this name with its whole chain, and name the CA that signed it (verify_ca).",
            )
            raise
        issuer = {key: value for names in certificate.get("issuer", ()) for key, value in names}
        return f"{protocol}, {self.client.host} certified by {issuer.get('commonName', 'a CA without a name')}"

    def is_placeholder(self) -> bool:
        """Return whether the server has the placeholder of the role certificates."""
        # The peer is not authenticated here and nothing is sent: only its certificate is read.
        context = tls_context(validate_certs=False)
        with (
            socket.create_connection((self.client.address, self.client.port), self.settings.timeout) as plain,
            context.wrap_socket(plain, server_hostname=self.client.host) as stream,
        ):
            return PLACEHOLDER in (stream.getpeercert(binary_form=True) or b"")

    def check_expiry(self) -> str:
        certificate, _unused = self.read_certificate()
        begins, ends = (ssl.cert_time_to_seconds(certificate[name]) for name in ("notBefore", "notAfter"))
        days = (ends - time.time()) / 86400
        lifetime = (ends - begins) / 86400
        fail_days = min(self.settings.certificate_days, lifetime / 8)
        warn_days = min(self.settings.certificate_warn_days, lifetime / 4)
        expect(days >= fail_days, f"it ends in {int(days)} days, fewer than {fail_days:.3g}")
        date = time.strftime("%Y-%m-%d", time.gmtime(ends))
        if days < warn_days:
            self.checks.warnings.append(
                f"The certificate for {self.client.host} ends on {date}, in fewer than {warn_days:.3g} days. Renew it."
            )
        return f"{int(days)} days left, until {date}"

    def check_old_tls(self) -> str:
        accepted = []
        for version in ("TLSv1", "TLSv1_1"):
            if self.is_accepted(version):
                accepted.append(version.replace("_", "."))
        expect(not accepted, "the server accepts " + " and ".join(accepted))
        return "TLSv1 and TLSv1.1"

    def is_accepted(self, version: str) -> bool:
        """Return whether the server completes a handshake of only this version.

        The peer is not authenticated here and nothing is sent: the question is only whether it would talk.
        """
        context = tls_context(validate_certs=False)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.set_ciphers("ALL:@SECLEVEL=0")
                context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
        except (AttributeError, ValueError, ssl.SSLError) as error:
            raise NotTried(f"this machine cannot speak {version} itself") from error
        with socket.create_connection((self.client.address, self.client.port), self.settings.timeout) as plain:
            try:
                with context.wrap_socket(plain, server_hostname=self.client.host):
                    return True
            except ssl.SSLError as error:
                if (error.reason or "") in ("NO_PROTOCOLS_AVAILABLE", "NO_CIPHERS_AVAILABLE"):
                    raise NotTried(f"this machine cannot speak {version} itself") from error
                return False
            except ConnectionError:
                return False

    def check_redirect(self) -> str:
        path = "/pacs/system?verify=1"
        client = Connection(
            f"http://{_bracket(self.client.host)}:{self.settings.http_port}",
            self.settings.timeout,
            address=self.settings.connect_address,
            use_proxy=False,
        )
        try:
            answer = client.get(path)
        finally:
            client.close()
        target = answer.headers.get("location", "")
        expect(answer.status in (301, 302, 307, 308), f"port {self.settings.http_port} answers {answer.status}")
        expect(target == self.settings.url.rstrip("/") + path, f"it redirects to '{target}'")
        return f"{answer.status} to {self.settings.url}"

    # --- who is let in

    def list_protected_routes(self) -> dict[str, list[tuple[str, str]]]:
        """Return method and path of routes, by kind."""
        viewer, archive, dicomweb = self.settings.viewer_path, self.settings.archive_path, self.settings.dicomweb_root
        nowhere = secrets.token_hex(6)
        return {
            "viewer": [
                ("GET", viewer),
                ("GET", f"{viewer}index.html"),
                ("GET", f"{viewer}app-config.js"),
                ("GET", self.bundle or f"{viewer}app.bundle.0123456789abcdef.js"),
                ("GET", f"{viewer}viewer?StudyInstanceUIDs=1.2.3"),
                ("GET", f"/{nowhere}"),
                ("POST", viewer),
            ],
            "DICOMweb": [
                ("GET", f"{dicomweb}/studies?limit=1"),
                ("POST", f"{dicomweb}/studies"),
                ("GET", f"{dicomweb}/studies/1.2.3/metadata"),
                ("GET", f"{dicomweb}/studies/1.2.3/series/1.2.3/instances/1.2.3/frames/1"),
                ("GET", f"{dicomweb}/servers"),
                ("GET", f"{self.settings.wado_path}?requestType=WADO&studyUID=1.2.3&seriesUID=1.2.3&objectUID=1.2.3"),
            ],
            "archive": [
                ("GET", archive),
                ("GET", f"{archive}studies"),
                ("GET", f"{archive}system"),
                ("GET", f"{archive}app/explorer.html"),
                ("POST", f"{archive}tools/find"),
                ("POST", f"{archive}tools/execute-script"),
                ("POST", f"{archive}instances"),
                ("DELETE", f"{archive}studies/{nowhere}"),
                ("GET", f"{archive}{nowhere}"),
            ],
            "path tricks": [
                ("GET", path)
                for path in (
                    f"{viewer}assets/..{archive}system",
                    f"/{archive}system",
                    f"{archive}/system",
                    f"{archive}../{archive.strip('/')}/system",
                    f"/%2e%2e{archive}system",
                    f"{archive}%2e%2e{archive}system",
                    f"{viewer}assets/..%2f..{archive}system",
                    f"/{archive.strip('/')}%2fsystem",
                    f"{archive}./system",
                    f"{archive}system#",
                    f"{viewer}#{archive}system",
                    f"{dicomweb}/..;/../system",
                    f"{viewer}app-config.js/../app-config.js",
                    f"{viewer}..%5c..%5capp-config.js",
                )
            ],
        }

    def list_probes(self) -> list[tuple[str, str]]:
        """Return one route of each kind, enough to see whether a login is accepted."""
        return [
            ("GET", self.settings.viewer_path),
            ("GET", f"{self.settings.dicomweb_root}/studies?limit=1"),
            ("GET", f"{self.settings.archive_path}system"),
        ]

    def check_access(self) -> None:
        deny = "Deny by default: the location must require a login (auth_basic at the level of the server)."
        for kind, routes in self.list_protected_routes().items():
            self.checks.run(
                "access",
                f"{kind}, without login",
                deny,
                lambda routes=routes: self.check_refusal(routes, [{}]),  # type: ignore[misc]
                HTTPS,
            )
        self.checks.run("access", "path tricks, with login", deny, self.check_path_tricks, LOGIN)
        self.checks.run(
            "access",
            "method override",
            "Refuse '_method=' in queries, and X-HTTP-Method-Override: Orthanc would do PUT or DELETE.",
            self.check_disguised_methods,
            LOGIN,
        )
        self.checks.run(
            "access",
            "cross-site requests",
            "Refuse what is not GET, HEAD or OPTIONS and comes from another site, by Sec-Fetch-Site and Origin.",
            self.check_other_sites,
            LOGIN,
        )
        self.checks.run(
            "access",
            "wrong logins",
            "Let nginx check every request against the password file.",
            self.check_wrong_logins,
            HTTPS,
        )
        self.checks.run(
            "access",
            "forged identity headers",
            "Overwrite identity headers of the client in the reverse proxy; never decide by them.",
            lambda: self.check_refusal(
                self.list_probes(), [dict.fromkeys(IDENTITY_HEADERS, self.settings.username), _build_local_headers()]
            ),
            HTTPS,
        )
        self.checks.run(
            "access",
            "default logins",
            "Remove the default user, or give it a password of its own.",
            lambda: self.check_refusal(self.list_probes()[-1:], [basic_auth(*login) for login in DEFAULT_LOGINS]),
            HTTPS,
        )

    def check_wrong_logins(self) -> str:
        """Try wrong logins, the same in every run: a reverse proxy that counts failures counts these once."""
        user, password, wrong = self.settings.username, self.settings.password, "wrong-in-every-run"
        first = self.check_refusal(self.list_probes(), [basic_auth(user, wrong)])
        others = [basic_auth(wrong, password), {"Authorization": "Basic !!"}, {"Authorization": f"Bearer {wrong}"}]
        return f"{first}, {self.check_refusal(self.list_probes()[1:2], others)}"

    def check_refusal(self, routes: list[tuple[str, str]], header_sets: list[Headers]) -> str:
        """Check that each route refuses each set of headers, by its status or by closing the connection."""
        leaks: list[str] = []
        statuses: set[str] = set()
        for method, path in routes:
            for headers in header_sets:
                try:
                    answer = self.client.request(method, path, headers=headers, login=False)
                except HttpError as error:
                    if not error.is_closed:
                        raise
                    statuses.add("a closed connection")
                    continue
                statuses.add(str(answer.status))
                reason = self.describe_leak(answer)
                if reason:
                    leaks.append(f"{method} {path} {reason}")
        expect(not leaks, "; ".join(dict.fromkeys(leaks)))
        return f"{len(routes) * len(header_sets)} requests refused with {', '.join(sorted(statuses))}"

    def describe_leak(self, answer: Answer) -> str:
        """Return why an answer is not a refusal; empty when it is one.

        An error that Orthanc itself wrote came past the login.
        """
        if answer.status not in REFUSALS:
            return f"answers {answer.status}"
        if b"OrthancStatus" in answer.body:
            return f"reaches Orthanc (its {answer.status})"
        if b"app-config.js" in answer.body or b"window.config" in answer.body:
            return f"gives the viewer with its {answer.status}"
        return ""

    def check_path_tricks(self) -> str:
        archive, dicomweb = self.settings.archive_path, self.settings.dicomweb_root
        paths = [
            f"{dicomweb}/studies/../../system",
            f"{archive}%2e%2e{archive}system",
            f"/{archive}system",
            f"{archive}tools%2ffind",
            f"{archive}system#verify",
            f"{dicomweb}/studies?limit=1#verify",
        ]
        accepted = []
        for path in paths:
            try:
                answer = self.client.get(path)
            except HttpError as error:
                if not error.is_closed:
                    raise
                continue
            if answer.status not in REFUSALS or b"OrthancStatus" in answer.body:
                accepted.append(f"GET {path} answers {answer.status}")
        expect(
            not accepted,
            "; ".join(accepted),
            "Refuse request targets with '..', '//', '%2e', '%2f' or '#': Orthanc would get another path.",
        )
        return f"{len(paths)} requests refused"

    def check_disguised_methods(self) -> str:
        """Try a route that supports only GET, so that an accepted request changes nothing."""
        path = f"{self.settings.archive_path}system"
        tries: list[tuple[str, Headers]] = [
            (f"{path}?_method=DELETE", {}),
            (f"{path}?verify=1%26_method=put", {}),
            (path, {"X-HTTP-Method-Override": "DELETE"}),
        ]
        accepted = []
        for target, headers in tries:
            status = self.client.get(target, headers).status
            if status != 403:
                accepted.append(f"GET {target}{' with ' + ', '.join(headers) if headers else ''} answers {status}")
        expect(not accepted, "; ".join(accepted))
        return f"{len(tries)} requests refused"

    def check_other_sites(self) -> str:
        """Send a search that finds nothing as a browser does for a page of another site, and for one of ours."""
        path = f"{self.settings.archive_path}tools/find"
        body = json.dumps({"Level": "Study", "Query": {"PatientID": secrets.token_hex(6)}}).encode()
        own, other = self.settings.url.rstrip("/"), "https://other.invalid"
        tries: list[Headers] = [
            {"Sec-Fetch-Site": "cross-site", "Origin": other},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": other},
            {"Origin": "null"},
            {"Origin": f"{own}.other.invalid"},
        ]
        accepted = []
        for headers in tries:
            status = self.client.request("POST", path, body, headers=headers).status
            if status != 403:
                shown = ", ".join(f"{name}: {value}" for name, value in headers.items())
                accepted.append(f"POST {path} with {shown} answers {status}")
        expect(not accepted, "; ".join(accepted))
        answer = self.client.request("POST", path, body, headers={"Sec-Fetch-Site": "same-origin", "Origin": own})
        expect(answer.status == 200, f"POST {path} of our own pages answers {answer.status}")
        return f"{len(tries)} requests refused, our own accepted"

    def check_login(self) -> str:
        refused = []
        for method, path in self.list_probes():
            answer = self.client.request(method, path)
            if answer.status in REFUSALS - {404, 405}:
                reason = " because somebody on this server tried many wrong logins" if answer.status == 429 else ""
                refused.append(f"{method} {path} answers {answer.status}{reason}")
        expect(not refused, "; ".join(refused))
        return f"user {self.settings.username} may use viewer, DICOMweb and Orthanc"

    def check_upstream(self) -> str:
        answered = {path: self.client.request(method, path).status for method, path in self.list_probes()[1:]}
        wrong = [f"GET {path} answers {status}" for path, status in answered.items() if status != 200]
        expect(not wrong, "; ".join(wrong))
        return "DICOMweb and REST API answer through the reverse proxy"

    # --- the viewer

    def check_viewer(self) -> None:
        redeploy = "Deploy the viewer again: run the playbook."
        for name, remedy, check in (
            (INDEX, redeploy, self.check_page),
            ("security headers", "Set them in the reverse proxy for every location.", self.check_security_headers),
            (
                "configuration",
                f"{redeploy} Keep no app-config.js.gz or .br beside app-config.js.",
                self.check_configuration,
            ),
            (
                "program",
                "Precompress the bundles; cache hashed names for ever and nothing else.",
                self.check_bundle,
            ),
            ("file types", "Include nginx's mime.types.", self.check_media_types),
            (
                "missing file",
                "Answer a missing script with 404, not with the page (try_files $uri =404).",
                self.check_missing_file,
            ),
        ):
            self.checks.run("viewer", name, remedy, check, LOGIN if name == INDEX else INDEX)

    def check_page(self) -> str:
        for path in (f"{self.settings.viewer_path}viewer?StudyInstanceUIDs=1.2.3", self.settings.viewer_path):
            answer = self.client.get(path)
            expect(answer.status == 200, f"GET {path} answers {answer.status}")
            expect(answer.media_type == "text/html", f"GET {path} has the type '{answer.media_type}'")
            self.index = answer.text()
            expect("app-config.js" in self.index, f"GET {path} is not the viewer's page")
            expect(
                _is_revalidated(answer),
                f"GET {path} may be cached, Cache-Control is '{answer.headers.get('cache-control', '')}'",
            )
        found = BUNDLE.search(self.index)
        expect(found is not None, "the page names no app.bundle.<hash>.js")
        self.bundle = self.resolve(found.group(1) if found else "")
        return f"names {self.bundle}"

    def resolve(self, reference: str) -> str:
        return reference if reference.startswith("/") else self.settings.viewer_path + reference

    def check_security_headers(self) -> str:
        answer = self.client.get(self.settings.viewer_path)
        policy = _parse_policy(answer.headers.get("content-security-policy", ""))
        scripts = policy.get("script-src", policy.get("default-src", ""))
        wrong = []
        if not policy.get("default-src"):
            wrong.append("no Content-Security-Policy with default-src")
        if "'unsafe-eval'" in scripts or "'unsafe-inline'" in scripts or "*" in scripts.split():
            wrong.append(f"the policy allows scripts from {scripts}")
        if "frame-ancestors" not in policy and not answer.headers.get("x-frame-options"):
            wrong.append("any site may frame the viewer (no frame-ancestors)")
        if answer.headers.get("x-content-type-options", "").lower() != "nosniff":
            wrong.append("no X-Content-Type-Options nosniff")
        if not answer.headers.get("referrer-policy"):
            wrong.append("no Referrer-Policy")
        expect(not wrong, "; ".join(wrong))
        return "Content-Security-Policy, nosniff, Referrer-Policy"

    def check_configuration(self) -> str:
        path = f"{self.settings.viewer_path}app-config.js"
        plain = self.client.get(path, {"Accept-Encoding": "identity"})
        expect(plain.status == 200, f"GET {path} answers {plain.status}")
        expect(plain.media_type in JAVASCRIPT, f"its type is '{plain.media_type}'")
        expect(_is_revalidated(plain), f"it may be cached, Cache-Control is '{plain.headers.get('cache-control', '')}'")
        expect(self.settings.dicomweb_root in plain.text(), f"it does not name {self.settings.dicomweb_root}")
        for encoding in ("gzip", "br"):
            packed = self.client.get(path, {"Accept-Encoding": encoding})
            expect(packed.encoding in ("identity", "gzip"), f"as {packed.encoding} it comes from a precompressed copy")
            expect(packed.decompress() == plain.body, f"as {encoding} it is another, older file")
        return f"names {self.settings.dicomweb_root}, the same in every encoding"

    def check_bundle(self) -> str:
        answers = {encoding: self.client.get(self.bundle, {"Accept-Encoding": encoding}) for encoding in ("gzip", "br")}
        for answer in answers.values():
            expect(answer.status == 200, f"GET {self.bundle} answers {answer.status}")
            expect(answer.media_type in JAVASCRIPT, f"its type is '{answer.media_type}'")
            cache = answer.headers.get("cache-control", "")
            expect(
                "immutable" in cache and "max-age=" in cache,
                f"it is fetched again and again, Cache-Control is '{cache}'",
            )
        packed = {encoding: len(answer.body) for encoding, answer in answers.items() if answer.encoding == encoding}
        expect("gzip" in packed, "it is not compressed for a browser that takes gzip")
        expect(
            "accept-encoding" in answers["gzip"].headers.get("vary", "").lower(), "Vary does not name Accept-Encoding"
        )
        plain = answers["gzip"].decompress()
        expect(plain.lstrip()[:1] != b"<", "it is a page, not a script")
        policy = _parse_policy(answers["gzip"].headers.get("content-security-policy", ""))
        scripts = policy.get("script-src", policy.get("default-src", "'unsafe-eval'"))
        expect(
            "'unsafe-eval'" in scripts,
            "its policy forbids the decoders of JPEG 2000 and JPEG-LS, such images stay black",
            "Allow 'unsafe-eval' in script-src of the bundles' own answers (they are the workers), not of the page.",
        )
        sizes = ", ".join(f"{encoding} {size / 1e6:.1f} MB" for encoding, size in packed.items())
        return f"{len(plain) / 1e6:.1f} MB served as {sizes}"

    def check_media_types(self) -> str:
        wanted: dict[str, tuple[str, ...]] = {
            f"{self.settings.viewer_path}manifest.json": ("application/json", "application/manifest+json")
        }
        wanted.update({self.resolve(found): ("text/css",) for found in STYLESHEET.findall(self.index)})
        wrong = []
        for path, types in wanted.items():
            answer = self.client.request("HEAD", path)
            if answer.status != 200 or answer.media_type not in types:
                wrong.append(f"{path} answers {answer.status} with the type '{answer.media_type}'")
            elif answer.headers.get("x-content-type-options", "").lower() != "nosniff":
                wrong.append(f"{path} comes without nosniff")
        expect(not wrong, "; ".join(wrong))
        return f"{len(wanted)} files of the page"

    def check_missing_file(self) -> str:
        for name in ("0000.bundle.0123456789abcdef.js", "0000.css", "0123456789abcdef.wasm"):
            answer = self.client.get(self.settings.viewer_path + name)
            expect(answer.status == 404, f"GET {self.settings.viewer_path}{name} answers {answer.status}")
            expect(b"app-config.js" not in answer.body, "the 404 carries the viewer's page")
        return "404"


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _build_local_headers() -> Headers:
    return {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"}


def _is_revalidated(answer: Answer) -> bool:
    return bool(
        {"no-cache", "no-store"} & {item.strip() for item in answer.headers.get("cache-control", "").lower().split(",")}
    )


def _parse_policy(policy: str) -> dict[str, str]:
    """Parse a Content-Security-Policy into {directive: sources}."""
    found: dict[str, str] = {}
    for directive in policy.split(";"):
        name, _unused, sources = directive.strip().partition(" ")
        if name:
            found[name.lower()] = sources.strip()
    return found


def check_reverse_proxy(settings: Settings, checks: Checks) -> None:
    """Run all checks of the reverse proxy."""
    try:
        client = settings.connect_to_proxy()
    except HttpError as error:
        reason = f"verify_url or verify_ca cannot be used ({error})"
        checks.fail("web", HTTPS, reason, "Correct verify_url and verify_ca.")
        return
    try:
        ReverseProxy(settings, checks, client).run_all()
    finally:
        client.close()
