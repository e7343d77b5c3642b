"""AE titles, DNS names and hosts: one rule each, for roles and modules."""

from __future__ import annotations

import pytest
from ansible_collections.lightbox.pacs.plugins.module_utils._names import is_ae_title, is_dns_name, is_host, is_http_url
from ansible_collections.lightbox.pacs.plugins.test import ae_title, dns_name


@pytest.mark.parametrize("value", ["A", "CT_1", "A" * 16, "with space", "[x]", 123, "~!"])
def test_ae_titles(value):
    assert is_ae_title(value)


@pytest.mark.parametrize("value", ["", "A" * 17, " A", "A ", "A\\B", "A\n", "Ä", "A\tB", "\x7f"])
def test_no_ae_titles(value):
    assert not is_ae_title(value)


@pytest.mark.parametrize("value", ["a", "pacs.example.org", "x-1.y", "1.example", "a" * 63 + ".org", "3com"])
def test_dns_names(value):
    assert is_dns_name(value)
    assert is_host(value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "1..2",
            "-a",
            "a-",
            "a_b",
            "*.example.org",
            "300.1.1.1",
            "1",
            "a.1",
            "pacs.example.org\n",
        ),
        *("a" * 64, ".".join(["a" * 60] * 5), "https://a", "a:104", "a b", "::::::", "[::1]", "é.example"),
    ],
)
def test_no_dns_names(value):
    assert not is_dns_name(value)


def test_what_a_dns_name_may_also_have():
    assert is_dns_name("*.example.org", wildcard=True)
    assert not is_dns_name("*", wildcard=True)
    assert not is_dns_name("a.*.example.org", wildcard=True)
    assert is_dns_name("ct_scanner_1", underscore=True)


@pytest.mark.parametrize(
    ("value", "valid"),
    [("10.1.2.3", True), ("::1", True), ("ct_1", True), ("300.1.1.1", False), ("[::1]", False), ("::::::", False)],
)
def test_hosts(value, valid):
    assert is_host(value) is valid


def test_templates_find_them_by_their_file():
    assert ae_title.TestModule().tests() == {"ae_title": is_ae_title}
    assert dns_name.TestModule().tests() == {"dns_name": is_dns_name}


@pytest.mark.parametrize(
    "url", ["https://a.example.org", "http://192.0.2.7:8042/", "https://[::1]:443/x/y", "http://ct_1/"]
)
def test_urls(url):
    assert is_http_url(url)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://a",
            "a.example.org",
            "https://",
            "https://300.1.1.1/",
            "https://a..b/",
            "https://::::/",
            "https://a:99999/",
        ),
        *(
            "https://a:0/",
            "https://a:/",
            "https://u:p@a/",
            "https://a/?q",
            "https://a/#f",
            "https://a b/",
            "https://a/\n",
        ),
        *("https://[::1", "https://1..2/", "https://a:x/", "https:///x"),
    ],
)
def test_no_urls(url):
    assert not is_http_url(url)
