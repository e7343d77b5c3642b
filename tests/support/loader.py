"""Tells Ansible, once and before any test imports it, where this collection is: else its own filters are not found."""

from __future__ import annotations

import functools
import pathlib

from ansible.plugins.loader import init_plugin_loader


@functools.cache
def ready() -> None:
    init_plugin_loader([str(pathlib.Path(__file__).resolve().parents[2] / ".collections")])
