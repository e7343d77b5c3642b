"""The secrets of a molecule scenario, and where they must not show."""

from __future__ import annotations

import base64

from tests.support.lab import INVENTORY


def secrets_in_every_form() -> dict[str, str]:
    """Every secret that the scenario's runs made, in the forms in which it could show: name → text."""
    directory = INVENTORY / ".secrets"
    found = {}
    for path in directory.rglob("*"):
        if (
            not path.is_file()
            or (path.suffix == ".pem" and "PRIVATE" not in path.read_text())
            or path.name == ".gitignore"
        ):
            continue
        text = path.read_text().strip()
        if "PRIVATE KEY" in text:
            found[str(path.relative_to(directory))] = text.splitlines()[1]
        else:
            found[path.name] = text
            for user in ("admin", "reverse_proxy"):
                found[f"{path.name} of {user} as base64"] = base64.b64encode(f"{user}:{text}".encode()).decode()
    return found


def find_secrets(text: str) -> list[str]:
    """Names of the secrets that a text shows, in whatever form."""
    flat = text.replace("\\n", "\n")
    return [name for name, secret in secrets_in_every_form().items() if secret in text or secret in flat]
