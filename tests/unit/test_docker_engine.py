"""What the role docker_engine configures, and what its preflight refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rendering import Role


def facts(distribution: str, version: str) -> dict[str, str]:
    return {"distribution": distribution, "distribution_major_version": version}


ROLE = Role("docker_engine", ansible_facts=facts("Debian", "13"))


def found(*names: str) -> dict[str, Any]:
    return {"packages": dict.fromkeys(names, "1.0")}


GOOD: list[dict[str, Any]] = [
    {},
    {"docker_engine_source": "docker"},
    {"docker_engine_source": "docker", "ansible_facts": facts("Debian", "12")},
    {"ansible_facts": facts("Ubuntu", "24")},
    {"__docker_engine_host": found("docker.io")},
    {"docker_engine_source": "docker", "__docker_engine_host": found("docker-ce")},
    {"__docker_engine_host": {"paths": {"/snap/docker": {"kind": None}}}},
    {"docker_engine_configuration": {"hosts": ["unix:///var/run/docker.sock"]}},
]


@pytest.mark.parametrize("answers", GOOD, ids=str)
def test_good_values_have_no_errors(answers):
    assert ROLE.errors(**answers) == []


BAD: list[tuple[dict[str, Any], str]] = [
    ({"ansible_facts": facts("Debian", "12")}, "Set docker_engine_source to docker"),
    ({"ansible_facts": facts("Rocky", "9")}, "Use a server with Debian 13 or Ubuntu 24.04"),
    ({"__docker_engine_host": found("docker-ce")}, "Set docker_engine_source to docker"),
    (
        {"docker_engine_source": "docker", "__docker_engine_host": found("docker.io")},
        "Set docker_engine_source to distribution",
    ),
    ({"__docker_engine_host": found("podman-docker")}, "apt-get remove podman-docker"),
    ({"__docker_engine_host": {"paths": {"/snap/docker": {"kind": "directory"}}}}, "snap remove docker"),
    (
        {"docker_engine_repository_key_fingerprint": "9DC8 5822"},
        "docker_engine_repository_key_fingerprint is '9DC8 5822'",
    ),
    ({"docker_engine_repository_url": "http://mirror.example.org"}, "docker_engine_repository_url is"),
    (
        {"docker_engine_repository_url": "http://me:Numbat@mirror.example.org"},
        "It contains a login",
    ),
    (
        {"docker_engine_configuration": {"hosts": ["tcp://0.0.0.0:2375"]}},
        "docker_engine_configuration.hosts opens a TCP socket",
    ),
]


@pytest.mark.parametrize(("answers", "message"), BAD, ids=lambda value: str(value)[:60])
def test_bad_values_are_refused_with_the_remedy(answers, message):
    found = ROLE.errors(**answers)
    assert len(found) == 1
    assert message in found[0]
    assert "Numbat" not in found[0]


@pytest.mark.parametrize(
    ("settings", "hidden"),
    [
        ({}, False),
        ({"registry-mirrors": ["https://mirror.example.org:5000"], "labels": ["a=b@c"]}, False),
        ({"proxies": {"https-proxy": "http://me:secret@proxy.example.org:3128"}}, True),
        ({"proxies": {"https-proxy": 'http://me:a"b\\c/d@127.0.0.1:3128'}}, True),
        ({"proxies": {"https-proxy": "me:secret@proxy.example.org:3128"}}, True),
        ({"labels": ["a:b"], "registry-mirrors": ["c@d"]}, False),
        ({"log-driver": "splunk", "log-opts": {"splunk-token": "1234"}}, True),
    ],
)
def test_secrets_in_daemon_json_are_hidden(settings, hidden):
    assert ROLE.value("__docker_engine_daemon_is_secret", docker_engine_configuration=settings) is hidden


def test_logs_are_limited_and_containers_outlive_the_engine():
    assert ROLE.value(
        "__docker_engine_daemon", docker_engine_configuration={"log-opts": {"max-size": "1m"}, "debug": True}
    ) == {
        "debug": True,
        "live-restore": True,
        "log-driver": "json-file",
        "log-opts": {"max-file": "5", "max-size": "1m"},
    }


def test_a_version_is_that_of_the_engine():
    assert ROLE.value("__docker_engine_wanted", docker_engine_version="26.1.5")[0] == "docker.io=26.1.5"


@pytest.mark.parametrize(
    ("state", "running"),
    [
        ({"active": True, "enabled": True}, True),
        ({"active": True, "enabled": False}, False),
        ({"active": False, "enabled": True}, False),
    ],
)
def test_an_engine_runs_that_also_starts_at_boot(state, running):
    host = {"services": {"docker.service": state}}
    assert ROLE.value("__docker_engine_is_running", __docker_engine_host=host) is running
    assert ROLE.value("__docker_engine_is_running") is False
