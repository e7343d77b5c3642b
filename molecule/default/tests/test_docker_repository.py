"""Docker's own repository, played by one in a directory of the server: its key is taken or refused, apt reads it."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.lab import INVENTORY, address, recap, run_playbook, server

testinfra_hosts = [address("bare")]
REPOSITORY = "/srv/lightbox-repository"
KEYRING = "/etc/apt/keyrings/docker.asc"
SOURCE = "/etc/apt/sources.list.d/docker.sources"
PLAY = """---
- name: Use the repository
  hosts: bare
  become: true
  tasks:
    - name: Use the repository
      ansible.builtin.include_role:
        name: lightbox.pacs.docker_engine
        tasks_from: repository
"""
# A repository without packages, signed by a key that is made for it. Prints the key's fingerprint.
MAKE = f"""
export GNUPGHOME=$(mktemp -d) DEBIAN_FRONTEND=noninteractive
apt-get install -q -y --no-install-recommends gpg gpg-agent >&2
gpg --batch --quiet --passphrase '' --quick-generate-key 'Test <test@example.org>' ed25519 sign never
cd {REPOSITORY}/debian
gpg --armor --export >gpg
mkdir -p dists/trixie/stable/binary-amd64 && cd dists/trixie
: >stable/binary-amd64/Packages
cat >Release <<END
Origin: Test
Suite: trixie
Codename: trixie
Architectures: amd64
Components: stable
Date: $(date -Ru)
SHA256:
 $(sha256sum </dev/null | cut -d' ' -f1) 0 stable/binary-amd64/Packages
END
gpg --batch --yes --passphrase '' --clearsign --output InRelease Release
gpg --with-colons --fingerprint --list-keys | sed -n 's/^fpr:*\\([0-9A-F]*\\):$/\\1/p'
gpgconf --kill all
rm -r "$GNUPGHOME"
"""


def packages(host) -> set[str]:
    return set(host.check_output("dpkg-query --show --showformat '${Package}\\n'").split())


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What runs the role's tasks for a fingerprint, the right key's fingerprint, and what a check said before."""
    play = tmp_path_factory.mktemp("repository") / "play.yml"
    play.write_text(PLAY)

    def run(fingerprint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        values = {
            "docker_engine_repository_url": f"file://{REPOSITORY}",
            "docker_engine_repository_key_fingerprint": fingerprint,
        }
        return run_playbook(play, "-i", INVENTORY, "-e", json.dumps(values), *arguments)

    host = server("bare")
    with host.sudo():
        before = packages(host)
        try:
            # The tools that check the key are not there yet. playbooks/pacs.yml reads the package lists before a check.
            host.check_output("apt-get update -q")
            host.check_output(f"mkdir -p {REPOSITORY}/debian && echo none >{REPOSITORY}/debian/gpg")
            fresh = run("0" * 40, "--check", "--diff")
            assert not {"gpg", "python3-debian"} & packages(host)
            yield run, host.check_output(f"set -e; {MAKE}"), fresh
        finally:
            added = " ".join(sorted(packages(host) - before))
            host.check_output(
                f"rm -rf {REPOSITORY} {KEYRING} {KEYRING}.unchecked {SOURCE} /var/lib/apt/lists/*lightbox-repository*;"
                f"[ -z '{added}' ] || DEBIAN_FRONTEND=noninteractive apt-get purge -q -y {added}"
            )


def test_a_check_of_a_fresh_server_ends_well_and_changes_nothing(repository, host):
    _run, _fingerprint, fresh = repository
    assert fresh.returncode == 0, fresh.stdout[-3000:]
    assert recap(fresh.stdout)["changed"] > 0


def test_another_key_is_refused_and_never_shown_to_apt(repository, host):
    run, fingerprint, _fresh = repository
    wrong = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
    refused = run(wrong)
    assert refused.returncode != 0
    told = " ".join(refused.stdout.split())
    assert fingerprint in told
    assert wrong in told
    with host.sudo():
        assert not host.file(KEYRING).exists
        assert not host.file(SOURCE).exists


def test_the_right_key_is_taken_and_apt_reads_the_repository(repository, host):
    run, fingerprint, _fresh = repository
    assert len(fingerprint) == 40
    taken = run(fingerprint)
    assert taken.returncode == 0, taken.stdout[-3000:]
    with host.sudo():
        key, source = host.file(KEYRING), host.file(SOURCE)
        assert (key.user, key.mode) == ("root", 0o644)
        assert key.content_string == host.file(f"{REPOSITORY}/debian/gpg").content_string
        fields = dict(line.split(": ", 1) for line in source.content_string.splitlines() if ": " in line)
        assert fields["URIs"] == f"file://{REPOSITORY}/debian"
        assert fields["Suites"] == "trixie"
        assert fields["Components"] == "stable"
        assert fields["Architectures"] == "amd64"
        assert fields["Signed-By"] == KEYRING
        assert "InRelease" in host.check_output("ls /var/lib/apt/lists | grep lightbox-repository")
    again = run(fingerprint)
    assert recap(again.stdout)["changed"] == 0, again.stdout[-3000:]


def test_a_changed_key_is_noticed(repository, host):
    run, fingerprint, _fresh = repository
    with host.sudo():
        # The repository has another key from now on: what was checked once is not trusted for ever.
        other = host.check_output(f"set -e; {MAKE}")
    refused = run(fingerprint)
    assert refused.returncode != 0
    told = " ".join(refused.stdout.split())
    assert fingerprint in told
    assert other in told
