"""The lab itself: its servers know each other, making it again changes nothing, and it is made in other ways, too."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator

import pytest
import yaml

from tests.support.lab import INVENTORY, PROJECT, lab_hosts, run_playbook, server, write_role_playbook

ROOT = () if os.geteuid() == 0 else ("sudo",)
USER = "lightbox-tester"
TESTER = {"ansible_host": "172.28.77.70", "pacs_name": "tester.lightbox.test"}
SSH = ("ssh", "-F", PROJECT / ".lab/ssh_config", TESTER["ansible_host"])
CGROUP2 = pathlib.Path("/sys/fs/cgroup/unified")
only_with_both = pytest.mark.skipif(
    not CGROUP2.is_dir(), reason="has cgroup v1 or v2, not both: then all other tests run on that one"
)

# An engine of its own that sees cgroup v2, with a network of its own, so that it is in nobody's way.
ENGINE = """
mount --make-rprivate /
mount -t cgroup2 none "$1/cgroup"
umount --recursive --lazy /sys/fs/cgroup
mount --bind "$1/cgroup" /sys/fs/cgroup
for other in /run/docker /run/containerd; do [ ! -d $other ] || mount -t tmpfs none $other; done
ip link set lo up
exec dockerd --config-file "$1/daemon.json" --host "unix://$1/docker.sock" --group "$2" --bridge none \\
  --data-root "$1/data" --exec-root "$1/run" --pidfile "$1/pid"
"""


def run(*command: str | os.PathLike[str], check: bool = True, **environment: str) -> str:
    """What a command printed, and what it complained of."""
    done = subprocess.run(
        [*map(str, command)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0 or not check, f"{shlex.join(map(str, command))}\n{done.stdout[-3000:]}"
    return done.stdout


def changes(output: str) -> set[str]:
    return set(re.findall(r"changed=(\d+)", output.rsplit("PLAY RECAP", 1)[1]))


def write_inventory(directory: pathlib.Path, **more: str) -> None:
    """One server of the lab, called tester."""
    inventory = {"pacs": {"hosts": {"tester": TESTER | more}}, "lab": {"children": {"pacs": None}}}
    directory.mkdir(exist_ok=True)
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
    if not (directory / "group_vars").exists():
        (directory / "group_vars").symlink_to(PROJECT / "inventories/lab/group_vars")


@pytest.mark.parametrize("name", lab_hosts())
def test_servers_know_each_other_by_name(name):
    host = server(name)
    for other, values in lab_hosts().items():
        if other != name:
            for known in (other, values["pacs_name"]):
                assert host.check_output(f"getent hosts {known}").split()[0] == values["ansible_host"]


def test_images_are_not_built_again():
    environment = PROJECT / ".cache/images.env"
    before = environment.read_text()
    build = subprocess.run([PROJECT / "molecule/shared/images/build"], capture_output=True, text=True, check=False)
    assert (build.returncode, build.stdout, build.stderr) == (0, "", "")
    assert environment.read_text() == before


def test_servers_are_not_made_again():
    started = {name: server(name).check_output("stat --format %Y /proc/1") for name in lab_hosts()}
    made = run_playbook("molecule/shared/create.yml", "-i", INVENTORY)
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-1000:]
    assert changes(made.stdout) == {"0"}
    assert {name: server(name).check_output("stat --format %Y /proc/1") for name in lab_hosts()} == started


@pytest.fixture(scope="module")
def tools() -> None:
    """What only the tests below need is there."""
    run(PROJECT / "tests/setup", "registry")


def lab_images() -> set[str]:
    """The images of servers and what they are made from, by name."""
    names = ("--filter=reference=lightbox/base", "--filter=reference=lightbox/server")
    return set(run("docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}", *names).split())


def image_id(name: str) -> str:
    return run("docker", "image", "inspect", "--format", "{{.Id}}", name).strip()


@pytest.fixture
def registry(tools: None, tmp_path: pathlib.Path) -> Iterator[str]:
    """The address of an empty image registry on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": address},
    }
    (tmp_path / "registry.yml").write_text(yaml.safe_dump(settings))
    with (
        open(tmp_path / "registry.log", "wb") as log,
        subprocess.Popen(
            [PROJECT / ".cache/registry/usr/bin/docker-registry", "serve", tmp_path / "registry.yml"],
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            for _attempt in range(100):
                try:
                    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{address}/v2/"):
                        break
                except OSError:
                    time.sleep(0.1)
            else:
                pytest.fail((tmp_path / "registry.log").read_text())
            yield address
        finally:
            process.terminate()


@pytest.fixture
def pushed(registry: str) -> Iterator[tuple[str, str]]:
    """The lab's own base image in the registry, so that Docker has cached what is built on it: its name and its ID."""
    base = min(image for image in lab_images() if image.startswith("lightbox/base:"))
    name = f"{registry}/debian:trixie-slim"
    run("docker", "tag", base, name)
    try:
        run("docker", "push", "--quiet", name)
        run("docker", "image", "rm", name)
        yield name, image_id(base)
    finally:
        run("docker", "image", "rm", name, check=False)


def test_base_image_comes_from_a_registry(pushed):
    name, pushed_id = pushed
    made = "lightbox/base:of-the-test"
    try:
        run(PROJECT / "molecule/shared/images/base/make", made, LIGHTBOX_BASE_IMAGE=name)
        assert image_id(made) == pushed_id
    finally:
        run("docker", "image", "rm", made, check=False)


@pytest.mark.long
def test_lab_is_made_from_a_registry(pushed, tmp_path):
    """In a clone of its own, as the images of this one must stay."""
    name, pushed_id = pushed
    clone, bin_directory = tmp_path / "clone", tmp_path / "bin"
    for directory in (clone, bin_directory):
        directory.mkdir()
    run(PROJECT / "tests/sanity/export", "clone", clone)
    (bin_directory / "debootstrap").symlink_to("/bin/false")  # it is not to be asked for anything

    before, made = lab_images(), set()
    try:
        environment = {"LIGHTBOX_BASE_IMAGE": name, "PATH": f"{bin_directory}:{os.environ['PATH']}"}
        build = run(clone / "molecule/shared/images/build", **environment)
        made = lab_images() - before
        assert f"Fetching {name}" in build
        assert image_id(name) == pushed_id
        files = dict(line.split("=", 1) for line in (clone / ".cache/images.env").read_text().splitlines())
        assert files["LIGHTBOX_SERVER_IMAGE"] in made
        assert pathlib.Path(files["LIGHTBOX_ORTHANC_ARCHIVE"]).parent == clone / ".cache"
        layers = [
            set(run("docker", "image", "inspect", "--format", '{{join .RootFS.Layers " "}}', image).split())
            for image in (pushed_id, files["LIGHTBOX_SERVER_IMAGE"])
        ]
        assert layers[0] < layers[1]
        assert run(clone / "molecule/shared/images/build", **environment) == ""
    finally:
        if made:
            run("docker", "image", "rm", *made, check=False)


def forget_user() -> None:
    """Remove the user and all that was made for them, also what an interrupted run has left."""
    run(*ROOT, "docker", "rm", "--force", "--volumes", "lightbox-tester", check=False)
    for disk in ("docker", "containerd"):
        run(*ROOT, "docker", "volume", "rm", "--force", f"lightbox-tester-{disk}", check=False)
    run(*ROOT, "setfacl", "--remove", f"user:{USER}", "/var/run/docker.sock", check=False)
    run(*ROOT, "rm", "-f", f"/etc/sudoers.d/{USER}")
    run(*ROOT, "userdel", "--force", "--remove", USER, check=False)  # whatever connection ssh still keeps open


@pytest.fixture
def home(tools: None, tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The home of a user who may use sudo and nothing else, with a clone in it whose inventory has one server.

    The clone has the image of the archive, but no virtual environment.
    """
    clone = tmp_path / "clone"
    clone.mkdir()
    run(PROJECT / "tests/sanity/export", "clone", clone)
    write_inventory(clone / "inventories/lab")
    write_role_playbook(clone / "playbooks/small.yml", "certificates")  # soon over, with work on both machines
    (clone / ".cache").mkdir()
    for made in (PROJECT / ".cache").glob("orthanc-debian13-*.tar.gz"):  # made once is enough
        shutil.copy(made, clone / ".cache")

    forget_user()
    run(*ROOT, "useradd", "--create-home", "--shell", "/bin/bash", USER)
    directory = pathlib.Path(f"~{USER}").expanduser()
    try:
        run(*ROOT, "sh", "-euc", f"umask 0226; echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER}")
        run(*ROOT, "cp", "--recursive", "--no-dereference", "--preserve=mode", clone, directory)
        run(*ROOT, "chown", "--recursive", f"{USER}:", directory)
        yield directory
    finally:
        forget_user()


def as_user(home: pathlib.Path, *command: str | os.PathLike[str], check: bool = True) -> str:
    """Run a command in the user's clone, with nothing of this environment but the Python that runs the tests."""
    become = ["sudo", "--user", USER]
    if subprocess.run([*become, "test", "-x", os.path.realpath(sys.executable)], check=False).returncode != 0:
        # A Python in a home that is closed to others: the user may read all, and still write nothing of theirs.
        may = "+dac_read_search"
        become = [*ROOT, "setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
        become += [f"--inh-caps={may}", f"--ambient-caps={may}"]
    path = f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    environment = [f"HOME={home}", f"USER={USER}", f"PATH={path}", "LANG=C.UTF-8"]
    return run(*become, "env", "--ignore-environment", f"--chdir={home / 'clone'}", *environment, *command, check=check)


def test_a_user_with_sudo_may_use_docker(home):
    """test_lab_is_made_through_sudo makes servers as this user, too."""
    assert "permission denied" in as_user(home, "docker", "info", check=False).lower()
    assert f"Letting {USER} use Docker" in as_user(home, "tests/setup", "packages", "engine")
    assert as_user(home, "tests/setup", "packages", "engine") == ""
    assert as_user(home, "docker", "ps", "--quiet", "--filter", "name=^lightbox-tester$") == ""


@pytest.mark.long
def test_lab_is_made_through_sudo(home):
    """All that a user without rights needs: packages, engine, images, a server, a run on it, and the way back."""
    playbook = ("ansible-playbook", "-i", "inventories/lab")
    ssh = ("ssh", "-F", ".lab/ssh_config", TESTER["ansible_host"])
    assert "permission denied" in as_user(home, "docker", "info", check=False).lower()
    assert f"Letting {USER} use Docker" in as_user(home, "tests/setup", "packages", "engine", "images")
    assert as_user(home, "tests/setup", "packages", "engine", "images") == ""

    assert "failed=0" in as_user(home, *playbook, "molecule/shared/create.yml")
    # On a busy machine a server has booted, and systemd has given up on sshd, before it gets its keys.
    give_up = "rm /etc/ssh/ssh_host_*; for _ in 1 2 3 4 5 6; do systemctl restart ssh; done; systemctl is-failed ssh"
    assert as_user(home, "docker", "exec", "lightbox-tester", "sh", "-c", give_up).endswith("failed\n")
    assert "failed=0" in as_user(home, *playbook, "molecule/shared/create.yml")
    assert changes(as_user(home, *playbook, "molecule/shared/create.yml")) == {"0"}
    assert changes(as_user(home, *playbook, "playbooks/small.yml")) != {"0"}
    assert changes(as_user(home, *playbook, "playbooks/small.yml")) == {"0"}
    assert as_user(home, "stat", "--format", "%U %a", "inventories/lab/.secrets/ca/ca.key") == f"{USER} 600\n"

    # On the server, where no engine is: the same user's way to one on Debian 13 with systemd.
    as_user(home, "sh", "-euc", f"tar -c tests/setup | {shlex.join(ssh)} tar -x")
    started = as_user(home, *ssh, "tests/setup", "engine")
    for said in ("Installing packages for the lab's engine", "Letting admin use Docker"):
        assert said in started
    assert as_user(home, *ssh, "tests/setup", "engine") == ""
    assert as_user(home, *ssh, "docker", "ps", "--quiet") == ""

    assert "failed=0" in as_user(home, *playbook, "molecule/shared/destroy.yml")
    assert run(*ROOT, "docker", "ps", "--all", "--quiet", "--filter", "name=^lightbox-tester$") == ""
    assert run(*ROOT, "docker", "volume", "ls", "--quiet", "--filter", "name=^lightbox-tester-") == ""
    assert run(*ROOT, "find", home, "!", "-user", USER) == ""


@pytest.fixture
def tester(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The inventory of one more server, which is removed in the end."""
    inventory = tmp_path / "inventory"
    write_inventory(inventory, lab_cgroups=str(CGROUP2))
    yield inventory
    run("ansible-playbook", PROJECT / "molecule/shared/destroy.yml", "-i", inventory)


@only_with_both
def test_server_boots_on_cgroup_v2(tester):
    run("ansible-playbook", PROJECT / "molecule/shared/create.yml", "-i", tester)
    for command, answer in (
        ("systemctl is-system-running --wait", "running"),
        ("findmnt --noheadings --output FSTYPE /sys/fs/cgroup", "cgroup2"),
    ):
        assert run(*SSH, command).strip() == answer


@pytest.mark.long
@only_with_both
def test_archive_runs_on_cgroup_v2(tester):
    """The server's systemd, its engine and the archive in it; limits need controllers that are all with v1 here."""
    without = json.dumps({f"{role}_enabled": False for role in ("certificates", "ohif", "reverse_proxy")})
    archive = ("ansible-playbook", PROJECT / "playbooks/pacs.yml", "-i", tester, "--extra-vars", without)
    run("ansible-playbook", PROJECT / "molecule/shared/create.yml", "-i", tester)
    assert "failed=0" in run(*archive)
    assert changes(run(*archive)) == {"0"}
    for command, answer in (
        ("systemctl is-system-running", "running"),
        ("sudo docker info --format '{{.CgroupDriver}} {{.CgroupVersion}}' 2>/dev/null", "systemd 2"),
        ("sudo docker inspect --format '{{.State.Health.Status}}' lightbox-orthanc", "healthy"),
    ):
        assert run(*SSH, command).strip() == answer


@pytest.fixture
def engine2() -> Iterator[dict[str, str]]:
    """An engine that sees cgroup v2 only: its process, and how to reach it."""
    place = pathlib.Path(tempfile.mkdtemp())  # the names of sockets must be short
    (place / "cgroup").mkdir()
    (place / "daemon.json").write_text("{}")
    host = {"DOCKER_HOST": f"unix://{place}/docker.sock"}
    unshare = ("unshare", "--mount", "--net", "bash", "-euc", ENGINE, "engine", place, str(os.getgid()))
    with (
        open(place / "log", "wb") as log,
        subprocess.Popen([*ROOT, *map(str, unshare)], stdout=log, stderr=log) as process,
    ):
        try:
            for _attempt in range(300):
                if process.poll() is not None or "ID:" in run("docker", "info", check=False, **host):
                    break
                time.sleep(0.1)
            assert process.poll() is None, (place / "log").read_text()[-3000:]
            yield host | {"pid": (place / "pid").read_text()}
        finally:
            if (place / "pid").exists():
                run(*ROOT, "kill", (place / "pid").read_text())
    run(*ROOT, "rm", "-rf", "--one-file-system", place)


@pytest.mark.long
@only_with_both
def test_lab_is_made_on_an_engine_with_cgroup_v2(engine2, tmp_path):
    write_inventory(tmp_path / "inventory")
    pid = engine2.pop("pid")
    assert run("docker", "info", "--format", "{{.CgroupVersion}}", **engine2).splitlines()[0] == "2"
    images = dict(line.split("=", 1) for line in (PROJECT / ".cache/images.env").read_text().splitlines())
    server_image = tmp_path / "server.tar"
    run("docker", "save", "--output", server_image, images["LIGHTBOX_SERVER_IMAGE"])
    run("docker", "load", "--quiet", "--input", server_image, **engine2)
    server_image.unlink()

    def there(*command: str | os.PathLike[str]) -> str:
        """Run a command where the engine's networks are."""
        kept = ("PATH", "HOME", "LANG", "ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATH", "MOLECULE_PROJECT_DIRECTORY")
        environment = {name: os.environ[name] for name in kept if name in os.environ} | engine2
        me = ("sudo", "--user", f"#{os.getuid()}") if ROOT else ()
        variables = [f"{name}={value}" for name, value in environment.items()]
        return run(*ROOT, "nsenter", f"--net=/proc/{pid}/ns/net", *me, "env", *variables, *command)

    shared, inventory = PROJECT / "molecule/shared", ("-i", tmp_path / "inventory")
    assert "failed=0" in there("ansible-playbook", shared / "create.yml", *inventory)
    try:
        assert there(*SSH, "findmnt --noheadings --output FSTYPE /sys/fs/cgroup").strip() == "cgroup2"
        assert there(*SSH, "systemctl is-system-running --wait").strip() == "running"
        assert changes(there("ansible-playbook", shared / "create.yml", *inventory)) == {"0"}
    finally:
        there("ansible-playbook", shared / "destroy.yml", *inventory)
    assert run("docker", "ps", "--all", "--quiet", **engine2) == ""
