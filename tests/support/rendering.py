"""A role's variables and templates as Ansible's own templar renders them, without a server."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

from ansible._internal._templating._jinja_bits import AnsibleEnvironment, _TemplateCompileContext
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.lightbox.pacs.plugins.plugin_utils._validation import validate

from tests.support.project import PROJECT


def compile_each_template_once() -> None:
    """Keep compiled templates between templars: Ansible compiles each at each use, most of these tests' time."""
    compile_template = AnsibleEnvironment.compile
    compiled: dict[tuple, Any] = {}

    def compile_once(self: AnsibleEnvironment, source: Any, *arguments: Any, **options: Any) -> Any:
        if not isinstance(source, str) or options:
            return compile_template(self, source, *arguments, **options)
        context = _TemplateCompileContext.current(optional=True)
        syntax = (self.block_start_string, self.variable_start_string, self.comment_start_string)
        spaces = (self.trim_blocks, self.lstrip_blocks, self.keep_trailing_newline)
        key = (str(source), arguments, syntax, spaces, context and context.escape_backslashes)
        if key not in compiled:
            compiled[key] = compile_template(self, source, *arguments)
        return compiled[key]

    AnsibleEnvironment.compile = compile_once


compile_each_template_once()


@functools.cache
def load_variables(directory: pathlib.Path) -> dict[str, Any]:
    """A role's defaults with its internal variables over them, as Ansible reads them; not to be changed."""
    loader = DataLoader()
    variables: dict[str, Any] = {}
    for path in [directory / "defaults/main.yml", *sorted(directory.glob("vars/main/*.yml"))]:
        variables |= loader.load_from_file(str(path), trusted_as_template=True) or {}
    return variables


class Role:
    """The defaults and internal variables of one role, with answers of an inventory over them."""

    def __init__(self, name: str, **answers: Any) -> None:
        self.path = PROJECT / "roles" / name
        self.name = name
        self.loader = DataLoader()
        self.loader.set_basedir(str(self.path))
        self.answers = answers

    def templar(self, **answers: Any) -> Templar:
        plumbing = {
            "ansible_managed": "Ansible managed",
            "role_path": str(self.path),
            "ansible_search_path": [str(self.path), str(self.path / "templates"), str(self.path / "files")],
        }
        return Templar(self.loader, variables=load_variables(self.path) | plumbing | self.answers | answers)

    def value(self, expression: str, **answers: Any) -> Any:
        return self.templar(**answers).template(trust_as_template("{{ " + expression + " }}"))

    def render(self, template: str, **answers: Any) -> str:
        text = (self.path / "templates" / f"{template}.j2").read_text()
        templar = self.templar(**answers).copy_with_new_env(searchpath=[str(self.path / "templates")])
        return templar.template(trust_as_template(text), escape_backslashes=False)

    def errors(self, **answers: Any) -> list[str]:
        """What the role's preflight reports: errors in types, or else assertions that do not hold."""
        templar = self.templar(**answers)
        return validate(templar, templar.available_variables, [self.name])
