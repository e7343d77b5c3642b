"""Certificates for servers of the tests: made by openssl, valid for two days."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def make_pki(directory: Path, names: tuple[str, ...] = ("localhost", "client", "expired")) -> Path:
    """A CA (ca.pem), another that signed nothing (other.pem), and pairs of the CA's for each name and localhost."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for ca in ("ca", "other"):
        subject = ("-x509", "-days", "2", "-subj", f"/CN={ca}", "-keyout", f"{ca}.key", "-out", f"{ca}.pem")
        openssl("req", *key, *subject, "-addext", "basicConstraints=critical,CA:TRUE")
    for name in names:
        openssl("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (directory / f"{name}.ext").write_text(f"subjectAltName=DNS:{name},DNS:localhost\n")
        # A certificate that is over the moment it is made.
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "-1" if name == "expired" else "2")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    return directory


def server_context(pki: Path, name: str = "localhost", client: bool = False) -> ssl.SSLContext:
    """What a server with this pair speaks; client: it asks for a certificate of the CA's."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    if client:
        made.load_verify_locations(pki / "ca.pem")
        made.verify_mode = ssl.CERT_REQUIRED
    return made
