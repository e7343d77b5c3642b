"""Run modules for AWS in this process, against moto or botocore's Stubber."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

import botocore.client
import moto
from ansible.module_utils.testing import patch_module_args

REGION = "eu-central-1"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "example",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextlib.contextmanager
def aws_account() -> Iterator[None]:
    """An empty account of moto, and nothing of this machine's own settings for AWS."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with mock.patch.dict(os.environ, others | ENVIRONMENT, clear=True), moto.mock_aws():
        yield


@contextlib.contextmanager
def recorded_calls() -> Iterator[list[str]]:
    """The operations that are called, as service:Action."""
    calls: list[str] = []
    original = botocore.client.BaseClient._make_api_call

    def make(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        calls.append(f"{client.meta.service_model.service_name}:{operation}")
        return original(client, operation, arguments)

    with mock.patch.object(botocore.client.BaseClient, "_make_api_call", make):
        yield calls


@contextlib.contextmanager
def failing(operation: str, code: str, times: int | None = None) -> Iterator[None]:
    """Let an operation fail, the given number of times or always."""
    original = botocore.client.BaseClient._make_api_call
    left = [times]

    def make(client: Any, called: str, arguments: dict[str, Any]) -> Any:
        if called == operation and left[0] != 0:
            left[0] = None if left[0] is None else left[0] - 1
            raise botocore.exceptions.ClientError({"Error": {"Code": code, "Message": f"{code} (test)"}}, called)
        return original(client, called, arguments)

    with mock.patch.object(botocore.client.BaseClient, "_make_api_call", make):
        yield


def run_module(name: str, /, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run a module of this collection and return its result, failed or not."""
    printed = io.StringIO()
    main = importlib.import_module(f"ansible_collections.lightbox.pacs.plugins.modules.{name}").main
    given = arguments | {"_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/nowhere"}
    with (
        patch_module_args(given),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
        mock.patch("time.sleep"),  # between attempts
    ):
        main()
    return json.loads(printed.getvalue().strip().splitlines()[-1])
