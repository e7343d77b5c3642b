"""A CA for certificates of DICOM devices, made by the library cryptography."""

from __future__ import annotations

import datetime
import pathlib
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM
NOW = datetime.datetime.now(datetime.UTC)


def name_of(*common_names: str, organization: str = "") -> x509.Name:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*names, *(x509.NameAttribute(NameOID.COMMON_NAME, one) for one in common_names)])


class DeviceCa:
    """A CA in a directory: `<name>.pem` is its certificate, `<name>.crl` its list of revoked ones."""

    def __init__(self, directory: pathlib.Path, name: str = "devices") -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = name_of(name)
        self.path = directory / f"{name}.pem"
        self.crl = directory / f"{name}.crl"
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        made = (
            self._build(self.subject, self.key, 30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.path.write_bytes(made.public_bytes(PEM))
        self.revoke()

    @classmethod
    def load(cls, directory: pathlib.Path, certificate: pathlib.Path, key: pathlib.Path) -> DeviceCa:
        """A CA that is there, to issue what it would not. Its files stay as they are."""
        made = cls.__new__(cls)
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        made.directory, made.path, made.key = directory, certificate, private
        made.subject = x509.load_pem_x509_certificate(certificate.read_bytes()).subject
        return made

    def _build(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=60))
            .not_valid_after(NOW + datetime.timedelta(days=days, hours=1))
        )

    def issue(
        self,
        *common_names: str,
        days: int = 20,
        organization: str = "",
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        names: tuple[str, ...] = (),
    ) -> Device:
        """A device's pair, by default for a client. names: DNS names, of a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._build(name_of(*common_names, organization=organization), key, days)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), False)
        made = builder.sign(self.key, hashes.SHA256())
        stem = self.directory / f"{made.serial_number:x}"
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        stem.with_suffix(".pem").write_bytes(made.public_bytes(PEM))
        stem.with_suffix(".key").write_bytes(private)
        return Device(made, stem.with_suffix(".pem"), stem.with_suffix(".key"))

    def revoke(self, *devices: Device, days: int = 7) -> None:
        """Replace the list of revoked certificates."""
        begin = NOW - datetime.timedelta(days=14)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.subject)
        builder = builder.last_update(begin).next_update(NOW + datetime.timedelta(days=days))
        for device in devices:
            revoked = x509.RevokedCertificateBuilder().serial_number(device.certificate.serial_number)
            builder = builder.add_revoked_certificate(revoked.revocation_date(begin).build())
        self.crl.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(PEM))


class Device:
    """A certificate with its key, as files too."""

    def __init__(self, certificate: x509.Certificate, pem: pathlib.Path, key: pathlib.Path) -> None:
        self.certificate, self.pem, self.key = certificate, pem, key

    @classmethod
    def load(cls, pem: pathlib.Path, key: pathlib.Path) -> Device:
        return cls(x509.load_pem_x509_certificate(pem.read_bytes()), pem, key)

    def context(self, server_ca: pathlib.Path) -> ssl.SSLContext:
        """What the device uses as a client of a server whose CA this is."""
        context = ssl.create_default_context(cafile=str(server_ca))
        context.load_cert_chain(self.pem, self.key)
        return context
