"""Guessing passwords at the reverse proxy, from loopback addresses of the server that no other test uses.

The limits themselves are in tests/unit/test_login.py; here nginx, its workers and its memory are real.
"""

from __future__ import annotations

import base64
import json
import secrets
import shlex

import pytest

from tests.support.lab import address, lab_hosts, secret

testinfra_hosts = [address("full")]
NAME = lab_hosts()["full"]["pacs_name"]
# Takes requests [source address, login, cookie, path] in groups and sends those of a group at once.
# Prints [status, Retry-After, cookie] of each.
PROGRAM = """
import base64, concurrent.futures, http.client, json, socket, ssl, sys, time
context = ssl.create_default_context(cafile="/etc/lightbox/certificates/ca.pem")
def send(request):
    source, login, cookie, path = request
    headers = {"X-Forwarded-For": f"192.0.2.{time.monotonic_ns() % 250}"}
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    if cookie:
        headers["Cookie"] = cookie
    connection = http.client.HTTPSConnection(NAME, timeout=30, context=context)
    plain = socket.create_connection(("127.0.0.1", 443), 30, (source, 0))
    connection.sock = context.wrap_socket(plain, server_hostname=NAME)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return [answer.status, answer.getheader("Retry-After"), (answer.getheader("Set-Cookie") or "").split(";")[0]]
if time.time() % 600 > 585:
    time.sleep(16)  # a new period of the limits would begin
with concurrent.futures.ThreadPoolExecutor(40) as pool:
    print(json.dumps([list(pool.map(send, group)) for group in json.loads(sys.argv[1])]))
"""


def guess(host, *groups: list[list[str | None]]) -> list[list[list]]:
    program = PROGRAM.replace("NAME", repr(NAME))
    return json.loads(host.check_output(f"python3 -c {shlex.quote(program)} {shlex.quote(json.dumps(groups))}"))


def place() -> str:
    """An address that nobody has used, so that the tests can run again at once."""
    return f"127.{secrets.randbelow(255) + 1}.{secrets.randbelow(256)}.{secrets.randbelow(253) + 2}"


def wrong(source: str, number: int, cookie: str | None = None, name: str = "admin") -> list[list[str | None]]:
    return [[source, f"{name}:{secrets.token_hex(8)}", cookie, "/pacs/system"] for _unused in range(number)]


@pytest.fixture
def right() -> str:
    return f"admin:{secret('web_password')}"


def test_a_guesser_does_not_learn_the_right_password_and_its_owner_goes_on(host, web, right):
    """The answer to the right login is remembered, since its owner is at work."""
    url, guesser = f"https://{lab_hosts()['full']['ansible_host']}/pacs/system", place()
    assert web.get(url, timeout=30).status_code == 200
    at_once, then = guess(host, wrong(guesser, 40), [[guesser, right, None, path] for path in ("/pacs/system", "/")])
    assert sorted(status for status, _wait, _cookie in at_once) == [401] * 10 + [429] * 30
    assert [status for status, _wait, _cookie in then] == [429, 429]
    assert all(1 <= int(wait) <= 600 for status, wait, _cookie in at_once + then if status == 429)
    assert all(wait is None for status, wait, _cookie in at_once if status == 401)
    assert web.get(url, timeout=30).status_code == 200
    assert guess(host, [[place(), right, None, "/pacs/system"]])[0][0][0] == 200


def test_the_owner_at_the_same_address_goes_on_by_the_cookie(host, right):
    here = place()
    ((status, _wait, cookie),) = guess(host, [[here, right, None, "/"]])[0]
    assert status == 200
    assert cookie.startswith("__Host-lightbox-")
    both = [[here, right, None, "/pacs/system"], [here, right, cookie, "/pacs/system"]]
    guesses, answers = guess(host, wrong(here, 12), both)
    assert [status for status, _wait, _cookie in guesses].count(429) == 2
    assert [status for status, _wait, _cookie in answers] == [429, 200]
    other = cookie[:-1] + ("0" if cookie[-1] != "0" else "1")
    assert guess(host, [[here, right, other, "/pacs/system"]])[0][0][0] == 429


def test_an_old_password_again_and_again_locks_nobody_out(host, right):
    here = place()
    old = [[here, f"admin:{secrets.token_hex(8)}", None, "/pacs/system"]] * 40
    repeated, after = guess(host, old, [[here, right, None, "/pacs/system"]])
    assert {status for status, _wait, _cookie in repeated} == {401}
    assert after[0][0] == 200


def test_many_names_from_one_address_are_limited(host, right):
    here = place()
    names = [request for number in range(40) for request in wrong(here, 1, name=f"user{number}")]
    tried, after = guess(host, names, [[here, right, None, "/pacs/system"]])
    assert sorted(status for status, _wait, _cookie in tried) == [401] * 30 + [429] * 10
    assert after[0][0] == 429


def test_no_login_is_401_and_counts_for_nothing(host, right):
    here = place()
    paths = ["/", "/pacs", "/pacs/tools/reset", "//x", "/pacs/x?_method=PUT", "/_lightbox/login", "/none.js"] * 10
    logged_in = [[here, right, None, path] for path in ("/", "/pacs/tools/reset", "//x")]
    refused, after = guess(host, [[here, None, None, path] for path in paths], logged_in)
    assert {(status, wait) for status, wait, _cookie in refused} == {(401, None)}
    assert [(status, wait) for status, wait, _cookie in after] == [(200, None), (403, None), (400, None)]


def test_what_nginx_remembers_holds_no_password(host, web, right):
    assert web.get(f"https://{lab_hosts()['full']['ansible_host']}/", timeout=30).status_code == 200
    login = base64.b64encode(right.encode()).decode()
    places = "/run/lightbox-reverse-proxy /var/log/lightbox/reverse_proxy"
    with host.sudo():
        assert host.check_output("find /run/lightbox-reverse-proxy/logins -type f") != ""
        found = host.run(f"grep -rlF -e {login} -e {secret('web_password')} {places}")
    assert (found.rc, found.stdout) == (1, "")
