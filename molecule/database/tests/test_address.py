"""Another address of the archive's container, on a server that runs: the images stay, the former network goes."""

from __future__ import annotations

import json

import pytest

from tests.support.database_server import (
    ARCHIVE,
    ROLES,
    container,
    find,
    instance,
    new_uid,
    on_server,
    remove,
    session,
    upload,
    wait_until_ready,
)
from tests.support.lab import address, run_roles

testinfra_hosts = [address("database")]
OTHER = "172.30.254.250"
NETWORKS = "docker network ls --filter label=com.docker.compose.project=lightbox-orthanc --format '{{.Name}}'"


def play(**answers: object):
    return run_roles(ROLES, "-e", json.dumps(answers))


def address_of(host) -> str:
    (network,) = container(host)["NetworkSettings"]["Networks"].values()
    return network["IPAddress"]


@pytest.fixture
def study():
    web = session()
    wait_until_ready(web)
    made = new_uid()
    assert upload(web, instance(made, new_uid(), 1)[1])
    yield made
    play()
    wait_until_ready(web)
    remove(web, made)


def test_another_address_keeps_the_images_and_leaves_no_network(host, study):
    assert address_of(host) != OTHER
    known = find(session(), study)
    # What interrupted runs leave, too.
    on_server(
        host,
        "docker create --name lightbox-orthanc-migrating $(docker inspect --format '{{.Image}}' lightbox-orthanc) "
        "&& install -d /opt/lightbox/orthanc/migrating && touch /var/tmp/lightbox-orthanc-image",
    )
    run = play(orthanc_container_address=OTHER)
    assert run.returncode == 0, run.stdout[-3000:]
    assert address_of(host) == OTHER
    assert container(host)["State"]["Health"]["Status"] == "healthy"
    assert on_server(host, NETWORKS).split() == ["lightbox-orthanc-172-30-254-248-29"]
    on_server(host, f"python3 -c 'import socket; socket.create_connection((\"{OTHER}\", 8042), 5)'")
    web = session()
    wait_until_ready(web)
    assert find(web, study) == known
    for one in known.values():
        assert web.post(f"{ARCHIVE}/instances/{one}/attachments/dicom/verify-md5", timeout=30).status_code == 200
    assert on_server(host, "docker ps -a --filter name=lightbox-orthanc-migrating --quiet") == ""
    assert (
        on_server(host, "ls -d /opt/lightbox/orthanc/migrating /var/tmp/lightbox-orthanc-image 2>/dev/null || true")
        == ""
    )


def test_an_address_that_the_server_reaches_already_is_refused(host):
    run = play(orthanc_container_address="172.17.0.2")
    assert run.returncode == 2
    assert "overlaps 172.17.0.0/16 (docker0)" in " ".join(run.stdout.split())
    assert address_of(host) != "172.17.0.2"
