"""The lab servers of a molecule scenario, and playbook runs on them, whole or killed on the way."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence

import requests
import testinfra
import yaml

from tests.support.project import PROJECT

SCENARIO = pathlib.Path(os.environ.get("MOLECULE_SCENARIO_DIRECTORY", PROJECT / "molecule/default"))
INVENTORY = SCENARIO / "inventory"
os.environ.setdefault("MOLECULE_PROJECT_DIRECTORY", str(PROJECT))
os.environ.setdefault("ANSIBLE_CONFIG", str(PROJECT / "ansible.cfg"))
os.environ.setdefault("ANSIBLE_COLLECTIONS_PATH", str(PROJECT / ".collections"))
# Molecule hands the tests what a scenario sets for its own runs; theirs print what a user sees.
for _name in ("ANSIBLE_DIFF_ALWAYS", "ANSIBLE_LOG_PATH", "ANSIBLE_VERBOSITY"):
    os.environ.pop(_name, None)


def lab_hosts() -> dict[str, dict]:
    """The scenario's servers with their variables from its inventory."""
    groups = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    return {**groups["pacs"]["hosts"], **groups["lab"].get("hosts", {})}


def pacs_host() -> str:
    """The one server of the scenario that the playbooks configure."""
    (name,) = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["pacs"]["hosts"]
    return name


def address(name: str) -> str:
    """The address by which testinfra reaches a server of the scenario."""
    host = lab_hosts()[name]
    return f"ssh://{host.get('ansible_host') or host['lab_address']}?ssh_config={PROJECT}/.lab/ssh_config"


def server(name: str):
    return testinfra.get_host(address(name))


def secret(name: str) -> str:
    """A secret that a run made for this scenario."""
    return (INVENTORY / ".secrets" / name).read_text().strip()


def web_session() -> requests.Session:
    """A session of the user `admin` through the reverse proxy, which trusts the scenario's CA alone."""
    session = requests.Session()
    session.trust_env = False  # a CA bundle named in the environment would win over the one below
    session.auth = ("admin", secret("web_password"))
    session.verify = str(INVENTORY / ".secrets/ca/ca.pem")
    return session


def wait_until_ready(web: requests.Session, archive: str, seconds: float = 120) -> float:
    """Wait until the archive at a URL reaches its index; return for how many seconds."""
    start = time.monotonic()
    while True:
        with contextlib.suppress(requests.RequestException):
            if web.get(f"{archive}/changes?last", timeout=10).status_code == 200:
                return time.monotonic() - start
        assert time.monotonic() - start < seconds, "the archive did not come back"
        time.sleep(0.3)


def run_playbook(
    *arguments: str | os.PathLike[str], timeout: float = 900, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook from the project's root; the caller checks its exit code."""
    return subprocess.run(
        ["ansible-playbook", *map(str, arguments)],
        cwd=PROJECT,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "false"} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def write_role_playbook(path: pathlib.Path, *roles: str) -> pathlib.Path:
    """A playbook that runs only some roles, with the inputs that the collection's playbooks give them."""
    play = {
        "name": "Run a few roles",
        "hosts": "pacs",
        "become": True,
        "gather_subset": ["!all", "!min", "architecture", "distribution"],
        "roles": [f"lightbox.pacs.{role}" for role in roles],
    }
    path.write_text(yaml.safe_dump([play]))
    with contextlib.suppress(FileExistsError):
        (path.parent / "group_vars").symlink_to(PROJECT / "playbooks/group_vars")
    return path


def run_roles(roles: Sequence[str], *arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run some roles on the scenario's server: half the time of a playbook whose other roles have nothing to do."""
    directory = PROJECT / ".cache/playbooks"
    directory.mkdir(parents=True, exist_ok=True)
    playbook = write_role_playbook(directory / f"{SCENARIO.name}-{'-'.join(roles)}.yml", *roles)
    return run_playbook(playbook, "-i", INVENTORY, *arguments)


def recap(output: str) -> dict[str, int]:
    """The counts at the end of a run on one host."""
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", output.rsplit("PLAY RECAP", 1)[1])}


class KillablePlaybook:
    """A playbook that runs in the background and can be killed with all its children, as when a controller is lost."""

    def __init__(self, log: pathlib.Path, *arguments: str | os.PathLike[str], **environment: str) -> None:
        self.log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                ["ansible-playbook", *map(str, arguments)],
                cwd=PROJECT,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"ANSIBLE_FORCE_COLOR": "false", "PYTHONUNBUFFERED": "1"} | environment,
            )

    def wait_for(self, text: str, seconds: float = 600) -> None:
        """Wait until the run prints a text."""
        until = time.monotonic() + seconds
        while text.encode() not in self.log.read_bytes():
            assert self.process.poll() is None, f"the run ended before {text}: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < until, f"the run did not print {text}: {self.log.read_text()[-2000:]}"
            time.sleep(0.03)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def killable_playbook(log: pathlib.Path, *arguments: str | os.PathLike[str]) -> Iterator[KillablePlaybook]:
    """Run a playbook in the background and kill it at the end of the block."""
    run = KillablePlaybook(log, *arguments)
    try:
        yield run
    finally:
        run.kill()
