# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_utils is private to the collection: its interface may change without notice.

"""Checks of the server itself: its containers, its storage, and who can reach the archive's ports."""

from __future__ import annotations

import ipaddress
import json
import os
import sys
import time
import typing as t

from ansible_collections.lightbox.pacs.plugins.module_utils._verify import Checks, NotTried, Settings, Shortfall, expect

PROC_NET = "/proc/net"
LISTEN = "0A"


def check_containers(settings: Settings, checks: Checks) -> dict[str, t.Any]:
    """Running, healthy, nothing published but on loopback. Return the containers as they are."""
    if not settings.containers:
        return {}
    state = inspect(settings)
    for name in settings.containers:
        checks.run(
            "containers",
            name,
            f"Look at 'docker logs --tail 50 {name}', then run the playbook again: it starts what is missing.",
            lambda name=name: container_is_healthy(settings, name, state),  # type: ignore[misc]
        )
    checks.run(
        "containers",
        "publish on loopback only",
        "Publish the container's ports on 127.0.0.1: a port published on all addresses bypasses the host's firewall.",
        lambda: published_on_loopback(state),
    )
    return state


def check_restarts(settings: Settings, checks: Checks, before: dict[str, t.Any]) -> None:
    """Compare with what ``check_containers`` returned: no check may end a container."""
    if settings.containers:
        checks.run(
            "containers",
            "none ended by a check",
            "A check above failed at that moment. See what 'docker logs' of the container says last before its start.",
            lambda: none_restarted(before, inspect(settings)),
        )


def none_restarted(before: dict[str, t.Any], after: dict[str, t.Any]) -> str:
    expect("" not in after, str(after.get("")))
    running = {name: one for name, one in before.items() if name and one["State"].get("Running")}
    ended = []
    for name, one in running.items():
        now = after.get(name, {"State": {}})
        if not now["State"].get("Running"):
            ended.append(f"{name} has ended with exit code {now['State'].get('ExitCode', 'unknown')}")
        elif now["State"].get("StartedAt") != one["State"].get("StartedAt"):
            times = now.get("RestartCount", 0) - one.get("RestartCount", 0)
            ended.append(f"{name} has ended and was restarted {times} times during these checks")
    expect(not ended, ", ".join(ended))
    return f"{len(running)} ran all the time"


def inspect(settings: Settings) -> dict[str, t.Any]:
    """What Docker knows of the containers that exist, by name; ``{"": text}`` when Docker cannot be asked."""
    try:
        _code, output = settings.run(["docker", "inspect", "--type", "container", *settings.containers])
        # An unknown container makes the exit code 1, and the others are still printed.
        listed, _unused = json.JSONDecoder().raw_decode(output[output.index("[") :])
    except (OSError, ValueError) as error:
        return {"": f"docker cannot be asked ({error})"}
    return {container["Name"].lstrip("/"): container for container in listed}


def container_is_healthy(settings: Settings, name: str, containers: dict[str, t.Any]) -> str:
    expect(
        "" not in containers, str(containers.get("")), "Install Docker Engine on the server: run the whole playbook."
    )
    expect(name in containers, "there is no such container")
    deadline = time.monotonic() + settings.timeout
    while True:
        state = containers[name]["State"]
        health = state.get("Health", {}).get("Status", "none")
        if health != "starting" or time.monotonic() > deadline:
            break
        time.sleep(0.3)
        containers = inspect(settings)
        expect(name in containers, "it went away while it was starting")
    expect(bool(state.get("Running")) and not state.get("Restarting"), f"it is {state.get('Status', 'not running')}")
    expect(health != "none", "it runs without a health check", "Give the container a health check and create it again.")
    expect(health == "healthy", f"its health is '{health}'")
    return f"running and healthy, restarted {containers[name].get('RestartCount', 0)} times"


def published_on_loopback(containers: dict[str, t.Any]) -> str:
    expect("" not in containers, str(containers.get("")))
    bound = []
    for name, container in containers.items():
        expect(
            container.get("HostConfig", {}).get("NetworkMode") != "host",
            f"{name} uses the network of the host",
            "Give the container a network of its own.",
        )
        for bindings in (container.get("NetworkSettings", {}).get("Ports") or {}).values():
            bound += [(name, binding["HostIp"], binding["HostPort"]) for binding in bindings or []]
    open_ones = [f"{name} on {address or '*'}:{port}" for name, address, port in bound if not is_loopback(address)]
    expect(not open_ones, "published to the network are " + ", ".join(open_ones))
    return ", ".join(f"{address}:{port}" for name, address, port in bound) or "nothing is published"


def check_storage(settings: Settings, checks: Checks) -> None:
    """Whether Orthanc's storage directory and its index list the same images."""
    if settings.reconcile_metrics:
        checks.run(
            "storage",
            "matches the index",
            "Run playbooks/reconcile.yml with --check, which lists each, then without it.",
            lambda: storage_matches_index(settings.reconcile_metrics),
        )


def storage_matches_index(path: str) -> str:
    """Judges the metrics that the container lightbox-orthanc-reconcile writes."""
    try:
        with open(path, encoding="ascii") as lines:
            metrics = {name: float(value) for name, value in map(str.split, lines)}
    except FileNotFoundError:
        raise Shortfall(f"{path} does not exist", "Check 'docker logs lightbox-orthanc-reconcile'.") from None
    files, without_file = metrics["lightbox_orphaned_files"], metrics["lightbox_instances_without_file"]
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(metrics["lightbox_orphaned_since_seconds"]))
    expect(
        not files and not without_file,
        f"{files:.0f} orphaned files of {metrics['lightbox_orphaned_bytes']:.0f} bytes, which the index does not list, "
        f"and {without_file:.0f} index entries without a file, since {since}",
    )
    return "no orphaned files, no index entries without a file"


def is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address or "0.0.0.0")  # noqa: S104
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def listeners(directory: str = "") -> list[tuple[str, int]]:
    """Address and port of every listening TCP socket, as the kernel tells in ``/proc/net/tcp`` and ``tcp6``.

    An address there is a sequence of 32-bit words, each printed as a number of the machine's byte order.
    """
    found = []
    for name in ("tcp", "tcp6"):
        path = os.path.join(directory or PROC_NET, name)
        if name == "tcp6" and not os.path.exists(path):
            continue  # a kernel without IPv6
        with open(path, encoding="ascii") as lines:
            for line in list(lines)[1:]:
                columns = line.split()
                if columns[3] != LISTEN:
                    continue
                address, port = columns[1].split(":")
                words = [int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8)]
                found.append((str(ipaddress.ip_address(b"".join(words))), int(port, 16)))
    return found


def check_ports(settings: Settings, checks: Checks) -> None:
    """Who can reach the archive past the reverse proxy."""
    for port in settings.closed_ports:
        checks.run(
            "ports",
            f"{port} listens on loopback only",
            f"Bind port {port} to 127.0.0.1, so that only the reverse proxy reaches the archive.",
            lambda port=port: listens_on_loopback(port),  # type: ignore[misc]
        )
    if settings.closed_ports:
        checks.run(
            "ports",
            "closed to the outside",
            "Bind the ports to 127.0.0.1 and close them in the firewall.",
            lambda: closed_outside(settings),
        )


def listens_on_loopback(port: int) -> str:
    addresses = sorted({address for address, listening in listeners() if listening == port})
    expect(all(is_loopback(address) for address in addresses), "it listens on " + ", ".join(addresses))
    return "on " + ", ".join(addresses) if addresses else "nothing listens there"


def closed_outside(settings: Settings) -> str:
    """Judges what the controller found: ``address`` it tried, ``reached`` the ports that answered, ``reference``
    whether a port that is meant to be open did (otherwise closed ports say nothing)."""
    probe = settings.outside_probe
    if not probe:
        raise NotTried("not probed, the controller has no way to the server but its own loopback")
    reached = [str(port) for port in probe.get("reached") or []]
    if reached:
        raise Shortfall(f"from the controller {probe['address']} answers on port {', '.join(reached)}")
    if not probe.get("reference"):
        raise NotTried(f"the controller does not reach {probe['address']} at all")
    return f"probed from the controller at {probe['address']}"
