"""A role's variables and templates as Ansible's own templar sees them, without a server."""

from __future__ import annotations

from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.unit.conftest import PROJECT


class Role:
    """The defaults and internal variables of one role, with answers of an inventory over them."""

    def __init__(self, name: str, **answers: Any) -> None:
        self.path = PROJECT / "roles" / name
        self.name = name
        self.loader = DataLoader()
        self.loader.set_basedir(str(self.path))
        self.answers = answers

    def templar(self, **answers: Any) -> Templar:
        variables: dict[str, Any] = {}
        for part in ("defaults", "vars"):
            variables |= self.loader.load_from_file(str(self.path / part / "main.yml"), trusted_as_template=True) or {}
        plumbing = {
            "ansible_managed": "Ansible managed",
            "role_path": str(self.path),
            "ansible_search_path": [str(self.path), str(self.path / "templates"), str(self.path / "files")],
        }
        return Templar(self.loader, variables=variables | plumbing | self.answers | answers)

    def value(self, expression: str, **answers: Any) -> Any:
        return self.templar(**answers).template(trust_as_template("{{ " + expression + " }}"))

    def render(self, template: str, **answers: Any) -> str:
        text = (self.path / "templates" / f"{template}.j2").read_text()
        return self.templar(**answers).template(trust_as_template(text), escape_backslashes=False)

    def findings(self, **answers: Any) -> list[str]:
        return self.value(f"__{self.name}_findings", **answers)
