from __future__ import annotations

import pathlib

import pytest

from tests.support import loader
from tests.support.project import PROJECT

loader.ready()


@pytest.fixture
def project() -> pathlib.Path:
    return PROJECT
