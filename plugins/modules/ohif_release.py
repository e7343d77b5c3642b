#!/usr/bin/python

# Copyright (c) 2026, the lightbox.pacs maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ohif_release
short_description: Prepare a release of the OHIF viewer on the controller
version_added: 0.1.0
author:
  - The lightbox.pacs maintainers (@lightbox-pacs)
description:
  - Takes a build of the OHIF viewer, checks it against a checksum, and makes from it a directory that a web server
    may serve as it is, with your configuration in place of the shipped one, precompressed, for one base path.
  - Inline scripts become files named after their content, the link to the manifest sends credentials, files
    that load code from other hosts are left out, and every file gets a modification time that tells releases apart.
  - Everything is made in a cache directory. An entry appears there only when it is complete, so the module can be
    interrupted anywhere.
  - Meant to run on the controller (C(delegate_to=localhost)), never on the server.
extends_documentation_fragment:
  - lightbox.pacs.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: A release is named after all that is in it. Another configuration is another release.
options:
  archive:
    description:
      - A C(tar.gz) of a build for the base path V(/), in which C(index.html) and C(app-config.js) stand side by
        side.
    type: path
  npm_package:
    description: A package with its version, fetched by C(npm pack) as the npm client of the controller is configured.
    type: str
  git_repository:
    description:
      - A repository to build from. Needs Git, Node.js and the package manager of that commit on the controller.
    type: str
  git_commit:
    description: The full hash of the commit to build.
    type: str
  git_build_commands:
    description:
      - The commands that build the viewer in C(platform/app/dist), each a list of a program and its arguments.
      - When empty, C(pnpm install --frozen-lockfile) and C(pnpm run build), or the same with C(yarn), whichever
        lock file the commit has.
    type: list
    elements: list
    default: []
  checksum:
    description:
      - What O(archive) or O(npm_package) must have, as C(sha512-<base64>), C(sha512:<hexadecimal>) or
        C(sha256:<hexadecimal>).
      - Required with both.
    type: str
  version:
    description: How the name of the release begins.
    type: str
    required: true
  base_path:
    description: The path under which browsers see the viewer. Begins and ends with V(/).
    type: str
    default: /
  title:
    description: The title of the page.
    type: str
    default: OHIF Viewer
  app_config:
    description: The whole content of C(app-config.js).
    type: str
    required: true
  logo:
    description: A picture, put beside C(index.html) as C(logo) with its own suffix.
    type: path
  ai_enabled:
    description: Whether the files of the AI segmentation tool (136 MB) are part of the release.
    type: bool
    default: false
  brotli_quality:
    description:
      - How hard Brotli tries, V(0) for no Brotli files.
      - For the 59 MB of version 3.13.2, V(9) takes 5 seconds of one core for 9.4 MB, V(10) 60 seconds for 8.6 MB,
        V(11) 98 seconds for 8.4 MB.
    type: int
    choices: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    default: 9
  cache_directory:
    description: Where everything is made and kept. May be removed at any time.
    type: path
    required: true
seealso:
  - name: OHIF deployment
    description: How the viewer's makers describe its deployment.
    link: https://docs.ohif.org/deployment/
"""

EXAMPLES = r"""
- name: Prepare the viewer
  lightbox.pacs.ohif_release:
    npm_package: "@ohif/app@3.13.2"
    checksum: sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA==
    version: 3.13.2
    app_config: "{{ lookup('ansible.builtin.template', 'app-config.js.j2') }}"
    cache_directory: ~/.cache/lightbox.pacs/ohif
  delegate_to: localhost
  become: false
"""

RETURN = r"""
release:
  description: The release that is in the cache, or would be.
  returned: success
  type: dict
  contains:
    id:
      description: The name of the release. It changes with anything that is in it.
      type: str
      sample: 3.13.2-0f6159c501ad
    path:
      description: The directory to copy to the server.
      type: str
      sample: /home/me/.cache/lightbox.pacs/ohif/releases/3.13.2-0f6159c501ad/dist
reason:
  description:
    - What kind of failure it was, one of V(archive), V(build), V(checksum), V(fetch), V(input), V(layout),
      V(system) and V(tool).
  returned: failure
  type: str
  sample: checksum
"""

import re
from pathlib import Path

from ansible_collections.lightbox.pacs.plugins.module_utils._module import Module
from ansible_collections.lightbox.pacs.plugins.module_utils._ohif import (
    Cache,
    OhifError,
    Request,
    check_digest,
    check_tools,
    ensure_release,
)


def check(request: Request) -> None:
    """Refuse what would make a release that no viewer works with."""
    if not re.fullmatch(r"/(?:[0-9A-Za-z_~-][0-9A-Za-z._~-]*/)*", request.base_path):
        raise OhifError(
            "input", f"The base path '{request.base_path}' does not begin and end with '/', or is not a plain path."
        )
    if not re.search(r"^window\.config = ", request.app_config, re.MULTILINE):
        raise OhifError("input", "The configuration does not set window.config.")
    if request.git_repository:
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", request.git_commit or ""):
            raise OhifError("input", f"'{request.git_commit}' is not the full hash of a commit.")
    else:
        _digest = request.digest
    for path in (request.archive, request.logo):
        if path and not Path(path).is_file():
            raise OhifError("input", f"There is no file {path} on the controller.")


def predict(cache: Cache, request: Request) -> bool:
    """Whether something would be made; refuse what can be known to fail without making anything."""
    if cache.is_complete("releases", request.release_id()):
        return False
    if not cache.is_complete("trees", request.tree_key()):
        check_tools(cache, request)
        if request.archive:
            check_digest(Path(request.archive), request.digest, request.archive)
    return True


def main() -> None:
    module = Module(
        argument_spec={
            "archive": {"type": "path"},
            "npm_package": {"type": "str"},
            "git_repository": {"type": "str"},
            "git_commit": {"type": "str"},
            "git_build_commands": {"type": "list", "elements": "list", "default": []},
            "checksum": {"type": "str"},
            "version": {"type": "str", "required": True},
            "base_path": {"type": "str", "default": "/"},
            "title": {"type": "str", "default": "OHIF Viewer"},
            "app_config": {"type": "str", "required": True},
            "logo": {"type": "path"},
            "ai_enabled": {"type": "bool", "default": False},
            "brotli_quality": {"type": "int", "default": 9, "choices": list(range(12))},
            "cache_directory": {"type": "path", "required": True},
        },
        mutually_exclusive=[("archive", "npm_package", "git_repository")],
        required_one_of=[("archive", "npm_package", "git_repository")],
        required_by={"archive": "checksum", "npm_package": "checksum", "git_repository": "git_commit"},
        supports_check_mode=True,
    )
    parameters = dict(module.params)
    cache = Cache(Path(parameters.pop("cache_directory")))
    parameters["git_build_commands"] = tuple(tuple(map(str, command)) for command in parameters["git_build_commands"])
    request = Request(**parameters)
    try:
        check(request)
        release = {"id": request.release_id(), "path": str(cache.dist("releases", request.release_id()))}
        changed = predict(cache, request) if module.check_mode else ensure_release(cache, request)
    except OhifError as error:
        module.fail_json(msg=str(error), reason=error.reason)
    except OSError as error:
        module.fail_json(msg=f"Cannot prepare the viewer in {cache.root}: {error}", reason="system")
    module.exit_json(changed=changed, release=release)


if __name__ == "__main__":
    main()
