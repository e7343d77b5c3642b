"""What the wiring hands from one role for AWS to the next."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.lightbox.pacs.plugins.filter.aws_subnets import aws_subnets

from tests.support.project import PROJECT, role_file

ZONES = ["eu-central-1a", "eu-central-1b"]


def subnets_of_the_server(**answers: Any) -> list[dict[str, Any]]:
    loader = DataLoader()
    variables: dict[str, Any] = {}
    for name in ("wiring.yml", "wiring_aws.yml"):
        variables |= loader.load_from_file(str(PROJECT / "playbooks/group_vars/all" / name), trusted_as_template=True)
    network = role_file("aws_network", "defaults/main.yml")
    templar = Templar(loader, variables=variables | network | {"aws_environment": "pacs"} | answers)
    return templar.template(trust_as_template("{{ aws_host_subnets }}"))


@pytest.mark.parametrize("built", [True, False])
def test_the_server_gets_what_its_role_accepts(built):
    """Of subnets that are built, and of those that are only planned."""
    subnets = aws_subnets("10.77.0.0/16", "pacs", ZONES)
    network = {
        "vpc_id": "vpc-1",
        "public_subnets": [one for one in subnets if one["public"]],
        "private_subnets": [one for one in subnets if not one["public"]],
    }
    given = subnets_of_the_server(**({"aws_network": network} if built else {}))
    options = role_file("aws_host", "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    accepted = options["aws_host_subnets"]["options"]
    assert given[0]["cidr"] == "10.77.0.0/19"
    assert {key for one in given for key in one} <= set(accepted)
