"""The secrets of a molecule scenario, the forms that a log may give them, and what the logs of a server hold."""

from __future__ import annotations

import base64
import functools
import html
import json
import re
import shlex
import urllib.parse
from collections.abc import Mapping

import yaml

from tests.support.lab import INVENTORY
from tests.support.project import PROJECT

# A password with what logs escape or encode.
ODD_FILE = PROJECT / "molecule/default/inventory/odd_password.txt"
ODD = ODD_FILE.read_text().rstrip("\n")
# A part of a key that is long enough to be recognised. Of any 40 characters in a row at least one whole part is shown.
KEY_PART = 20
# What every key and certificate on a curve of NIST has in common: the identifier of the algorithm, in Base64.
ALGORITHM = "GByqGSM49AgEGCCqGSM49AwEH"


def is_kept(byte: int, also: str) -> bool:
    return chr(byte) in also or (0x20 < byte < 0x7F and chr(byte) not in '"\\')


def encode(text: str) -> set[str]:
    """Every form in which a program may print a text."""
    data = text.encode()
    found = {
        text,
        text.strip(),
        html.escape(text),
        html.escape(text, quote=False),
        text.encode("unicode_escape").decode(),
    }
    # Python's repr() escapes the single quote only where the text has both quotes.
    escaped = repr(text + "'\"")[1:-4], repr(data + b"'\"")[2:-4]
    found |= {*escaped, *(form.replace("\\'", "'") for form in escaped), ascii(text)[1:-1]}
    for ascii_only in (True, False):
        once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        found |= {
            once,
            once.replace("/", "\\/"),
            json.dumps(once, ensure_ascii=ascii_only)[1:-1],
            repr(once)[1:-1],
            repr(once.encode())[2:-1],
        }
        found.add(yaml.safe_dump(text, default_style='"', allow_unicode=not ascii_only, width=10**6).strip()[1:-1])
    found.add(text.replace("'", "''"))  # YAML and SQL
    for safe in ("", "/", "/:@"):
        quoted = urllib.parse.quote(text, safe=safe)
        found |= {quoted, quoted.replace("%20", "+"), quoted.lower(), urllib.parse.quote(quoted, safe=safe)}
    found |= {
        shlex.quote(text)[1:-1] if shlex.quote(text) != text else text,
        re.sub(r"([^\w@%+=:,./-])", r"\\\1", text),
    }
    found |= {text.replace("'", "'\\''"), re.sub(r'(["\\$`])', r"\\\1", text)}
    found |= {data.hex(), data.hex().upper(), data.hex(" "), data.hex(":")}
    for template in ("#{:03o}", "\\{:03o}", "\\x{:02x}", "\\x{:02X}"):  # sudo, journald and syslog, nginx
        for kept in ("", " ", ' "\\'):
            found.add("".join(chr(byte) if is_kept(byte, kept) else template.format(byte) for byte in data))
    # Base64 of a longer text, such as user:password, has one of three alignments; the characters at its ends depend
    # on the neighbours.
    for encoder in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            inner = encoder(b"\0" * shift + data).decode().rstrip("=")
            found.add(inner[(0, 2, 3)[shift] : len(inner) - (1 if (len(data) + shift) % 3 else 0)])
    return {form for form in found if len(form) >= 6}


def is_private_key(text: str) -> bool:
    return "PRIVATE KEY" in text


def split(text: str) -> list[str]:
    """The parts of a secret that must not show by themselves: a key's characters, the lines of other texts."""
    if is_private_key(text):
        body = "".join(line for line in text.split() if re.fullmatch(r"[A-Za-z0-9+/=]+", line))
        parts = [body[start : start + KEY_PART] for start in range(0, len(body) - KEY_PART + 1, KEY_PART)]
        return [part for part in parts if part not in ALGORITHM]
    return [text, *(line.strip() for line in text.splitlines() if len(line.strip()) >= 8)]


@functools.cache
def public_text() -> str:
    """What certificates show of their keys."""
    files = [path.read_text() for path in (INVENTORY / ".secrets").rglob("*.pem")]
    return "".join("".join(text.split()) for text in files if not is_private_key(text))


def forms_of(secrets: Mapping[str, str]) -> dict[str, set[str]]:
    """The forms of each secret, by its name."""
    found = {}
    for name, text in secrets.items():
        parts = [part for part in split(text) if part not in public_text()]
        found[name] = set().union(*(encode(part) for part in parts))
    return found


def scenario_secrets() -> dict[str, str]:
    """Every secret that the scenario's runs made or its inventory sets: name → text."""
    directory = INVENTORY / ".secrets"
    found = {}
    for path in directory.rglob("*"):
        if not path.is_file() or path.name == ".gitignore":
            continue
        text = path.read_text().strip()
        if path.suffix == ".pem" and not is_private_key(text):
            continue
        found[str(path.relative_to(directory))] = text
        if path.name == "verify_aet":
            title = "LBX" + text[:13]
            found |= {"AE title of the checks": title.upper(), "AE title of the checks, in lower case": title.lower()}
    if (INVENTORY / ODD_FILE.name).is_file():
        found[ODD_FILE.name] = ODD
    return found


def server_secrets(host) -> dict[str, str]:
    """Secrets that exist on the server alone: the hashes of passwords."""
    with host.sudo():
        lines = host.check_output("cat /etc/nginx/lightbox/htpasswd").splitlines()
    return {f"hash of {name}'s password": hashed for name, hashed in (line.split(":", 1) for line in lines)}


# What keeps a record of what ran on a server: the journal with all fields (command lines among them), the files in
# /var/log, the logs and the descriptions of containers, and what Ansible may leave behind.
RECORDS = {
    "journal": "journalctl --output=export",
    "/var/log": "find /var/log -type f -not -path '/var/log/journal/*' -exec zcat -f -- {} +",
    "logs of containers": "find /var/lib/docker/containers -name '*.log*' -exec zcat -f -- {} +",
    "containers": "docker ps --all --quiet | xargs --no-run-if-empty docker inspect",
    "temporary files": "find /tmp /var/tmp /root /home /run/user -xdev -type f -size -10M -exec cat -- {} +",
}


def server_records(host) -> dict[str, str]:
    """What a server keeps of past runs: place → text."""
    with host.sudo():
        return {place: host.run(command).stdout_bytes.decode(errors="replace") for place, command in RECORDS.items()}


def find_secrets(text: str, more: Mapping[str, str] | None = None) -> list[str]:
    """Names of the secrets that a text shows, in whatever form; `more` are secrets besides the scenario's."""
    # A long line may be wrapped, and a text with line breaks be indented.
    joined = re.sub(r"(\s|\\r|\\n|\\012|#012)+", "", text)
    found = []
    for name, forms in forms_of({**scenario_secrets(), **(more or {})}).items():
        if any(form in text or re.sub(r"\s+", "", form) in joined for form in forms):
            found.append(name)
    return found
