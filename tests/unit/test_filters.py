"""The filters that calculate with addresses."""

from __future__ import annotations

import pytest
from ansible_collections.lightbox.pacs.plugins.filter.canonical_address import canonical_address
from ansible_collections.lightbox.pacs.plugins.filter.overlapping_routes import overlapping_routes


@pytest.mark.parametrize(
    ("address", "canonical"),
    [
        ("2001:0DB8:0:0:0:0:0:7", "2001:db8::7"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ("192.0.2.7", "192.0.2.7"),
    ],
)
def test_addresses_in_their_canonical_form(address, canonical):
    assert canonical_address(address) == canonical


def route(network: str, device: str = "eth1", gateway: str | None = None) -> dict[str, str | None]:
    return {"network": network, "device": device, "gateway": gateway}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (route("172.30.0.0/16"), True),
        (route("172.30.0.0/15"), False),
        (route("172.30.255.0/24", gateway="192.0.2.1"), True),
        (route("172.30.254.0/23", gateway="192.0.2.1"), False),
        (route("172.30.255.255"), True),
        (route("172.30.255.247"), False),
        (route("172.31.0.0/16"), False),
        (route("172.30.255.248/29", "br-0"), False),
        (route("172.30.255.248/29", "eth1"), True),
        (route("172.30.255.0/24", "br-0"), True),
        (route("172.30.255.0/24", "br-1"), False),
    ],
)
def test_routes_that_overlap_a_network(found, expected):
    assert bool(overlapping_routes([found], "172.30.255.248/29", devices=["br-1"])) is expected


def test_a_network_that_is_not_valid_overlaps_nothing():
    assert overlapping_routes([route("172.30.0.0/16")], "a.example.org.0/29") == []


def test_routes_are_named_once_with_their_interface():
    routes = [route("172.30.0.0/16"), route("172.30.255.248/29"), route("172.30.0.0/16")]
    assert overlapping_routes(routes, "172.30.255.248/29") == ["172.30.0.0/16 (eth1)", "172.30.255.248/29 (eth1)"]
