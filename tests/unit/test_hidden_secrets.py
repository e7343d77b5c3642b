"""No module shows a secret in a log or its result, whatever its characters. All files in plugins/modules are tried."""

from __future__ import annotations

import base64
import contextlib
import importlib
import io
import json
import secrets
from typing import Any
from unittest import mock

import pytest
from ansible.module_utils import basic
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module

from tests.support.project import PROJECT
from tests.support.secrets import ODD, encode, find_secrets

# validate_input runs on the controller only: it has no code on a server.
MODULES = sorted(path.stem for path in (PROJECT / "plugins/modules").glob("*.py") if "main()" in path.read_text())


class Values:
    """Values for an argument spec: odd text wherever text is allowed."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.secret: list[str] = []

    def text(self, is_secret: bool) -> str:
        text = f"{secrets.token_hex(4)}{ODD}\n\t{secrets.token_hex(4)}\r\n"
        self.all.append(text)
        if is_secret:
            self.secret.append(text)
        return text

    def value(self, spec: dict[str, Any], is_secret: bool = False) -> Any:
        is_secret = is_secret or bool(spec.get("no_log"))
        if "choices" in spec:
            return [spec["choices"][0]] if spec["type"] == "list" else spec["choices"][0]
        kind = spec.get("type", "str")
        if kind == "list":
            element = {**spec, "type": spec.get("elements", "str"), "elements": "str"}
            if "options" in spec:
                return [self.mapping(spec["options"], spec.get("mutually_exclusive"), name) for name in spec["options"]]
            return [self.value(element, is_secret), self.value(element, is_secret)]
        if kind == "dict":
            if "options" in spec:
                return self.mapping(spec["options"], spec.get("mutually_exclusive"))
            return {"one": self.text(is_secret), "more": [self.text(is_secret)]}
        return {"int": 1, "float": 1.5, "bool": True}.get(kind) or self.text(is_secret)

    def mapping(self, options: dict[str, Any], exclusive: list | None, first: str | None = None) -> dict[str, Any]:
        """A value for each option that does not exclude `first` or one before it."""
        chosen: list[str] = []
        required = [name for name, spec in options.items() if spec.get("required")]
        for name in dict.fromkeys([*required, *([first] if first else []), *options]):
            if not any(name in group and set(group) & set(chosen) - {name} for group in exclusive or []):
                chosen.append(name)
        return {name: self.value(options[name]) for name in chosen}


def has_secret(spec: dict[str, Any]) -> bool:
    return bool(spec.get("no_log")) or any(map(has_secret, spec.get("options", {}).values()))


def find_spec(name: str) -> dict[str, Any]:
    """What the module hands to AnsibleModule."""
    with (
        mock.patch.object(AnsibleModule, "__init__", autospec=True, side_effect=SystemExit) as made,
        contextlib.suppress(SystemExit),
    ):
        main(name)()
    return dict(made.call_args.kwargs)


def main(name: str) -> Any:
    return importlib.import_module(f"ansible_collections.lightbox.pacs.plugins.modules.{name}").main


def call(name: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What the module returns when it ends as soon as its options are read, and what it logs."""
    logged: list[str] = []
    ends = {}
    for kind in (Module, AnsibleModule):

        def begin(self, *args, original=kind.__init__, kind=kind, **kwargs):
            original(self, *args, **kwargs)
            if self.__class__ is kind:  # not where Module calls AnsibleModule
                self.exit_json(msg=f"{self.params!r} {json.dumps(self.params)}" if self.no_log_values else "")

        ends[kind] = begin
    # Where Python can write to the journal itself, each option is a field of its own there, besides the message that
    # syslog would get.
    sender = mock.Mock(send=lambda *args, **kwargs: logged.extend([*map(str, args), *map(str, kwargs.values())]))
    printed = io.StringIO()
    with contextlib.ExitStack() as stack:
        for kind, begin in ends.items():
            stack.enter_context(mock.patch.object(kind, "__init__", begin))
        stack.enter_context(
            patch_module_args(arguments | {"_ansible_no_log": False, "_ansible_remote_tmp": "/nowhere"})
        )
        stack.enter_context(mock.patch.object(basic, "has_journal", True))
        stack.enter_context(mock.patch.object(basic, "journal", sender, create=True))
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.enter_context(contextlib.suppress(SystemExit))
        main(name)()
    return json.loads(printed.getvalue().strip().splitlines()[-1]), "\n".join(logged)


@pytest.mark.parametrize("name", MODULES)
def test_no_secret_leaves_a_module(name):
    spec = find_spec(name)
    options = spec["argument_spec"]
    hidden = {option for option, one in options.items() if has_secret(one)}
    tried = set()
    for first in options:
        values = Values()
        arguments = values.mapping(options, spec.get("mutually_exclusive"), first)
        result, logged = call(name, arguments)
        if result.get("failed"):  # what it needs besides is another option's turn
            assert not logged
        else:
            assert "Invoked with values for" in logged
            tried |= set(arguments)
        for text in values.all:
            assert [form for form in encode(text) if form in logged] == []
        for text in values.secret:
            assert [form for form in encode(text) if form in json.dumps(result, ensure_ascii=False)] == []
            assert [form for form in encode(text) if form in str(result)] == []
    assert hidden <= tried


@pytest.mark.parametrize("form", sorted(encode(ODD)))
def test_an_odd_secret_is_recognised_in_every_form(form):
    assert find_secrets(f"before {form} after", {"odd": ODD}) != []


def test_any_part_of_a_key_is_recognised():
    body = base64.b64encode(secrets.token_bytes(138)).decode()
    key = f"-----BEGIN PRIVATE KEY-----\n{body[:64]}\n{body[64:128]}\n{body[128:]}\n-----END PRIVATE KEY-----\n"
    for start in range(0, len(body) - 40, 3):
        part = body[start : start + 40]
        for shown in (part, f"{part[:20]}\n      {part[20:]}", f"{part[:15]}\\n{part[15:]}"):
            assert find_secrets(f"text {shown} text", {"key": key}) == ["key"], start
    assert find_secrets(f"text {base64.b64encode(key.encode()).decode()}", {"key": key}) == ["key"]


def test_other_text_is_none():
    assert find_secrets(ODD[:20], {"odd": ODD}) == []
