"""The module host_info, against what this machine has."""

from __future__ import annotations

import json
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import sys
from typing import Any

import pytest

from tests.support.project import PROJECT

RUNNER = """
import json, runpy, sys
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.load(sys.stdin)):
    runpy.run_path(sys.argv[1], run_name="__main__")
"""
needs_docker = pytest.mark.skipif(
    not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0,
    reason="needs a Docker Engine on this machine",
)
needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-query"), reason="needs Debian or Ubuntu")
needs_ip = pytest.mark.skipif(not shutil.which("ip"), reason="needs iproute2 on this machine")


def gather(check: bool = False, **questions: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(PROJECT / "plugins/modules/host_info.py")],
        input=json.dumps(questions | {"_ansible_check_mode": check}),
        env={**os.environ, "PYTHONPATH": str(PROJECT / ".collections")},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def test_without_questions_only_memory_and_ipv6_are_returned():
    found = gather()
    assert found["changed"] is False
    assert found["memory_mb"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024**2
    assert found["ipv6"] is pathlib.Path("/proc/net/if_inet6").exists()
    rest = {name: value for name, value in found.items() if name not in ("changed", "memory_mb", "ipv6", "invocation")}
    assert set(rest) > {"packages", "services", "listeners", "paths", "routes", "images", "containers", "networks"}
    assert not any(rest.values())


def test_check_mode_returns_the_same():
    questions: dict[str, Any] = {"packages": ["dpkg"], "uids": [0], "globs": ["/proc/sys/kernel/*name"]}
    assert gather(check=True, **questions) == gather(**questions)


@needs_dpkg
def test_packages_that_are_installed():
    version = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Version}", "dpkg"], capture_output=True, text=True, check=True
    ).stdout
    assert gather(packages=["dpkg", "no-such-package"])["packages"] == {"dpkg": version}


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"]
)
def test_listeners_and_their_programs(family, address):
    with socket.socket(family) as listening, socket.socket(family) as bound:
        for one in (listening, bound):
            try:
                one.bind((address, 0))
            except OSError:
                pytest.skip(f"{address} is not an address of this machine")
        listening.listen()
        ports = [one.getsockname()[1] for one in (listening, bound)]
        found = gather(ports=ports)["listeners"]
    program = pathlib.Path("/proc/self/comm").read_text().strip()
    assert found == [{"port": ports[0], "process": program}]


def test_paths_links_and_free_space(tmp_path):
    (tmp_path / "file").write_text("one\n")
    (tmp_path / "link").symlink_to("missing/target")
    (tmp_path / "current").symlink_to(".")
    names = ["file", "link", "current", "missing/deeper"]
    found = gather(paths=[*(str(tmp_path / name) for name in names), "/dev/null"])["paths"]
    kinds = {path.removeprefix(f"{tmp_path}/"): (state["kind"], state["target"]) for path, state in found.items()}
    assert kinds == {
        "file": ("file", None),
        "link": (None, "missing/target"),
        "current": ("directory", "."),
        "missing/deeper": (None, None),
        "/dev/null": ("other", None),
    }
    free = shutil.disk_usage(tmp_path).free
    for name in names:
        assert found[str(tmp_path / name)]["free_bytes"] == pytest.approx(free, abs=100 * 1000**2)


def test_globs_and_lines(tmp_path):
    for name in ("b.conf", "a.conf", ".hidden.conf", "c.txt"):
        (tmp_path / name).write_text("# ours\nx # theirs\n")
    pattern, conf, missing = f"{tmp_path}/*.conf", str(tmp_path / "a.conf"), str(tmp_path / "missing")
    found = gather(globs=[pattern, missing], lines={conf: "# ours", missing: "# ours"})
    assert found["globs"] == {pattern: [conf, str(tmp_path / "b.conf")], missing: []}
    assert found["lines"] == {conf: True, missing: False}
    assert gather(lines={conf: "# theirs"})["lines"] == {conf: False}


def test_users_by_number():
    free = next(uid for uid in range(60000, 1, -1) if uid not in {user.pw_uid for user in pwd.getpwall()})
    assert gather(uids=[0, free, -1, 2**40])["users"] == {"0": "root"}


@needs_ip
def test_routes():
    found = gather(routes=True)["routes"]
    # Another way to the default route.
    fields = [line.split() for line in pathlib.Path("/proc/net/route").read_text().splitlines()[1:]]
    for device, _network, gateway, *_rest in (route for route in fields if route[1] == route[7] == "00000000"):
        address = socket.inet_ntoa(int(gateway, 16).to_bytes(4, sys.byteorder))
        assert ("0.0.0.0/0", device, address) in {(one["network"], one["device"], one["gateway"]) for one in found}
    connected = [one for one in found if one["source"] and not one["gateway"]]
    assert connected
    for one in connected:
        with socket.socket() as server:
            server.bind((one["source"], 0))  # it is an address of this machine


@needs_docker
@needs_ip
def test_images_containers_and_networks():
    images = docker("image", "ls", "--quiet", "--no-trunc").splitlines()
    if not images:
        pytest.skip("this machine has no image")
    name, label, subnet = f"host-info-{os.getpid()}", "lightbox.test=host-info", "198.51.100.8/29"
    network = docker("network", "create", "--label", label, "--subnet", subnet, name)
    try:
        publish = ["--publish=127.0.0.1:18042:8042", "--publish=127.0.0.1:18043:8042", "--env=PASSWORD=hush7hush7"]
        docker("create", "--name", name, "--network", name, "--expose=1", *publish, images[0], "true")
        found = gather(
            images=[images[0], "no.such.example.org/image:1"],
            containers=[name, "no-such-container"],
            network_label=label,
            routes=True,
        )
    finally:
        subprocess.run(["docker", "rm", name], capture_output=True, check=False)
        docker("network", "rm", name)
    assert found["images"] == {images[0]: images[0]}
    assert found["containers"] == {name: {"image": images[0], "ports": [18042, 18043]}}
    assert found["networks"] == {name: f"br-{network[:12]}"}
    route = {"network": subnet, "device": f"br-{network[:12]}", "source": "198.51.100.9", "gateway": None}
    assert route in found["routes"]
    assert "hush7hush7" not in json.dumps(found)


@pytest.mark.skipif(not pathlib.Path("/run/systemd/system").exists(), reason="needs systemd")
def test_services():
    found = gather(services=["no-such.service", "systemd-journald.service"])["services"]
    assert found["no-such.service"] == {"active": False, "enabled": False}
    assert found["systemd-journald.service"] == {"active": True, "enabled": False}  # static


def test_programs_that_are_not_installed_answer_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = gather(packages=["dpkg"], services=["ssh.service"], images=["a:1"], containers=["a"], network_label="a")
    assert not any(found[name] for name in ("packages", "services", "images", "containers", "networks"))
