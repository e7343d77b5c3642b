#!/usr/bin/python
# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Gather facts that decide whether a role can run on a server
version_added: 0.1.0
author: The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Gathers in one call what the roles of this collection check before they change anything.
  - Returns only what the options ask for, and always RV(memory_mb) and RV(ipv6). What does not exist is missing in the
    result.
extends_documentation_fragment: [lightbox.pacs.attributes.info_module]
options:
  packages:
    description: Names of Debian packages.
    type: list
    elements: str
    default: []
  services:
    description: Names of systemd units, with their suffix.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports.
    type: list
    elements: int
    default: []
  paths:
    description: Paths of files and directories.
    type: list
    elements: str
    default: []
  globs:
    description: Patterns of paths.
    type: list
    elements: str
    default: []
  lines:
    description: A line to search for in each of these text files, by the path of the file.
    type: dict
    default: {}
  uids:
    description: Numbers of users.
    type: list
    elements: int
    default: []
  routes:
    description: Whether to read the IPv4 routes of all tables.
    type: bool
    default: false
  images:
    description: Names of Docker images.
    type: list
    elements: str
    default: []
  containers:
    description: Names of Docker containers.
    type: list
    elements: str
    default: []
  network_label:
    description: Label of Docker networks, as C(NAME) or C(NAME=VALUE).
    type: str
notes:
  - Needs Python 3.10 on the server. Calls C(dpkg-query), C(systemctl), C(ip) and C(docker) where they are installed.
  - Without root, names of programs that listen and everything about Docker may be missing.
"""

EXAMPLES = r"""
- name: Gather facts about the server
  lightbox.pacs.host_info:
    ports: [80, 443]
    paths: [/srv/images]
  register: server

- name: Refuse a server that is too small or in use
  ansible.builtin.assert:
    that:
      - server.paths['/srv/images'].free_bytes > 100 * 1000 ** 3
      - server.listeners | rejectattr('process', 'eq', 'nginx') | length == 0
"""

RETURN = r"""
packages:
  description: Version of each installed package, by its name.
  returned: success
  type: dict
  sample: {nginx: 1.26.3-3+deb13u1}
services:
  description: State of each unit, by its name. A unit that does not exist is neither active nor enabled.
  returned: success
  type: dict
  sample: {nginx.service: {active: true, enabled: true}}
listeners:
  description: Programs that listen on the ports, on any address. One entry for each port and program.
  returned: success
  type: list
  elements: dict
  contains:
    port:
      description: TCP port.
      type: int
      sample: 443
    process:
      description: Name of the program, or V(unknown).
      type: str
      sample: nginx
paths:
  description: State of each path, by the path. The values are dictionaries with the keys below.
  returned: success
  type: dict
  contains:
    kind:
      description: What the path leads to, V(file), V(directory) or V(other). Null where it leads to nothing.
      type: str
    target:
      description: Content of a symbolic link, else null.
      type: str
    free_bytes:
      description: Bytes that users may still write on the file system of the path or of its nearest parent.
      type: int
globs:
  description: Sorted paths that match each pattern, by the pattern.
  returned: success
  type: dict
  sample: {/etc/nginx/conf.d/*.conf: [/etc/nginx/conf.d/intranet.conf]}
lines:
  description: Whether each file has its line, by the path of the file.
  returned: success
  type: dict
  sample: {/etc/nginx/nginx.conf: true}
users:
  description: Name of the user with each number, by the number as a string.
  returned: success
  type: dict
  sample: {'33': www-data}
routes:
  description: IPv4 routes, one entry for each router of a route.
  returned: success
  type: list
  elements: dict
  contains:
    network:
      description: Network in CIDR notation, V(0.0.0.0/0) for the default route.
      type: str
      sample: 172.17.0.0/16
    device:
      description: Name of the interface.
      type: str
      sample: docker0
    source:
      description: Address of the server on this interface, null where the route has none.
      type: str
      sample: 172.17.0.1
    gateway:
      description: Address of the router, null for a network to which the server is connected.
      type: str
images:
  description: ID of each image, by its name.
  returned: success
  type: dict
  sample: {'orthancteam/orthanc:26.8.1': 'sha256:6c1b1d2f'}
containers:
  description: Containers, running or not, by their name. The values are dictionaries with the keys below.
  returned: success
  type: dict
  contains:
    image:
      description: ID of the image.
      type: str
    ports:
      description: Ports of the server that the container publishes.
      type: list
      elements: int
networks:
  description: Name of the interface of each Docker network with O(network_label), by the name of the network.
  returned: success
  type: dict
  sample: {lightbox-orthanc-172-30-255-248-29: br-92e733713ba8}
memory_mb:
  description: Memory of the server in MiB.
  returned: success
  type: int
ipv6:
  description: Whether the kernel has IPv6.
  returned: success
  type: bool
"""

import glob
import json
import os
import pwd
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module

LISTEN = "0A"  # as in /proc/net/tcp


def read(path: str) -> str:
    """Return the text of a file, or nothing: files below /proc may vanish at any moment."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def output(module: AnsibleModule, program: str, *arguments: str) -> str:
    """Return what a program prints, also when it fails because one of the things asked for does not exist."""
    path = module.get_bin_path(program)
    return module.run_command([path, *arguments])[1] if path else ""


def installed_packages(module: AnsibleModule, names: list[str]) -> dict[str, str]:
    line = "${db:Status-Status} ${Package} ${Version}\n"
    text = output(module, "dpkg-query", "--show", "--showformat", line, *names) if names else ""
    found = [line.split(" ") for line in text.splitlines()]
    return {name: version for status, name, version in found if status == "installed"}


def unit_states(module: AnsibleModule, names: list[str]) -> dict[str, dict[str, bool]]:
    text = output(module, "systemctl", "show", "--property=ActiveState,UnitFileState", *names) if names else ""
    states = [block.split("\n") for block in text.strip().split("\n\n") if block]  # in the order of the names
    return {
        name: {"active": "ActiveState=active" in state, "enabled": "UnitFileState=enabled" in state}
        for name, state in zip(names, states, strict=False)
    }


def port_listeners(ports: list[int]) -> list[dict[str, t.Any]]:
    sockets = {}
    for line in (read("/proc/net/tcp") + read("/proc/net/tcp6")).splitlines():
        fields = line.split()
        if fields[3] == LISTEN and int(fields[1].split(":")[1], 16) in ports:
            sockets[f"socket:[{fields[9]}]"] = int(fields[1].split(":")[1], 16)
    names: dict[str, set[str]] = {socket: set() for socket in sockets}
    for link in glob.iglob("/proc/[0-9]*/fd/*") if sockets else ():
        try:
            names[os.readlink(link)].add(read(f"/proc/{link.split('/')[2]}/comm").strip())
        except (OSError, KeyError):  # gone by now, another user's, or none of the sockets
            continue
    found = {(port, name) for socket, port in sockets.items() for name in names[socket] or {"unknown"}}
    return [{"port": port, "process": name} for port, name in sorted(found)]


def path_state(path: str) -> dict[str, t.Any]:
    parent = os.path.abspath(path)
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    space = os.statvfs(parent)
    kind = "file" if os.path.isfile(path) else "directory" if os.path.isdir(path) else "other"
    return {
        "kind": kind if os.path.exists(path) else None,
        "target": os.readlink(path) if os.path.islink(path) else None,
        "free_bytes": space.f_bavail * space.f_frsize,
    }


def user_names(uids: list[int]) -> dict[str, str]:
    found = {}
    for uid in uids:
        try:
            found[str(uid)] = pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            continue
    return found


def ipv4_routes(module: AnsibleModule) -> list[dict[str, t.Any]]:
    text = output(module, "ip", "-json", "-4", "route", "show", "table", "all", "type", "unicast")
    # A route over several routers has them below `nexthops`, a router with an IPv6 address is below `via`.
    return [
        {
            "network": "0.0.0.0/0" if route["dst"] == "default" else route["dst"],
            "device": hop["dev"],
            "source": route.get("prefsrc"),
            "gateway": hop.get("gateway") or hop.get("via", {}).get("host"),
        }
        for route in json.loads(text or "[]")
        for hop in route.get("nexthops", [route])
    ]


def inspect(module: AnsibleModule, kind: str, names: list[str], template: str) -> dict[str, t.Any]:
    """Return only these values of Docker's objects: the environment of a container may have passwords."""
    texts = {name: output(module, "docker", kind, "inspect", "--format", template, name).strip() for name in names}
    return {name: json.loads(text) for name, text in texts.items() if text}


def containers(module: AnsibleModule, names: list[str]) -> dict[str, dict[str, t.Any]]:
    template = '{"image": {{json .Image}}, "ports": {{json .HostConfig.PortBindings}}}'
    found = inspect(module, "container", names, template)
    for container in found.values():
        bindings = [binding for bindings in (container["ports"] or {}).values() for binding in bindings or []]
        container["ports"] = sorted({int(binding["HostPort"]) for binding in bindings if binding["HostPort"].isdigit()})
    return found


def networks(module: AnsibleModule, label: str | None) -> dict[str, str]:
    template = "{{.ID}} {{.Name}}"
    arguments = ("network", "ls", "--filter", f"label={label}", "--format", template)
    text = output(module, "docker", *arguments) if label else ""
    return {name: f"br-{identifier}" for identifier, name in (line.split(" ", 1) for line in text.splitlines())}


def main() -> None:
    strings: dict[str, t.Any] = {"type": "list", "elements": "str", "default": []}
    numbers: dict[str, t.Any] = {"type": "list", "elements": "int", "default": []}
    module = Module(
        argument_spec={
            "packages": strings,
            "services": strings,
            "ports": numbers,
            "paths": strings,
            "globs": strings,
            "lines": {"type": "dict", "default": {}},
            "uids": numbers,
            "routes": {"type": "bool", "default": False},
            "images": strings,
            "containers": strings,
            "network_label": {"type": "str"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    module.exit_json(
        changed=False,
        packages=installed_packages(module, asked["packages"]),
        services=unit_states(module, asked["services"]),
        listeners=port_listeners(asked["ports"]),
        paths={path: path_state(path) for path in asked["paths"]},
        globs={pattern: sorted(glob.glob(pattern)) for pattern in asked["globs"]},
        lines={path: line in read(path).splitlines() for path, line in asked["lines"].items()},
        users=user_names(asked["uids"]),
        routes=ipv4_routes(module) if asked["routes"] else [],
        images=inspect(module, "image", asked["images"], "{{json .Id}}"),
        containers=containers(module, asked["containers"]),
        networks=networks(module, asked["network_label"]),
        memory_mb=int(read("/proc/meminfo").split("MemTotal:")[1].split()[0]) // 1024,
        ipv6=os.path.exists("/proc/net/if_inet6"),
    )


if __name__ == "__main__":
    main()
