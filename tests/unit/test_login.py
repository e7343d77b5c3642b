"""The limits on failed logins: the reverse proxy's login.js, run by Playwright's node, which plays nginx's part."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

import pytest
from playwright._impl._driver import compute_driver_executable

from tests.support.project import PROJECT

PROGRAM = PROJECT / "roles/reverse_proxy/files/njs/login.js"
START = 1_800_000_000
OWNER = {"login": "admin:right password"}
ELSEWHERE = {"from": "203.0.113.9"}
WRONG = {"login": "admin:wrong #"}


def run(question: dict[str, Any]) -> list[Any]:
    node = compute_driver_executable()[0]
    command = [str(node), str(PROJECT / "tests/support/login.mjs"), str(PROGRAM)]
    done = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def play(*requests: dict[str, Any]) -> tuple[list[str], int]:
    """The status of each request, each repetition included, and how many passwords the login server checked."""
    (found,) = run({"scenarios": [requests]})
    return [answer.split()[0] for answer in found["answers"]], found["checked"]


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def test_a_guesser_does_not_learn_the_right_password_while_its_owner_works():
    answers, _checked = play(
        OWNER, WRONG | ELSEWHERE | {"times": 12}, OWNER | ELSEWHERE | {"times": 3}, OWNER | {"times": 3}
    )
    assert answers == ["200"] + ["401"] * 10 + ["429"] * 5 + ["200"] * 3


def test_refused_guesses_are_not_checked_and_the_wait_is_said():
    (found,) = run({"scenarios": [[WRONG | {"times": 500, "at": START + 60}, OWNER | {"at": START + 599}]]})
    assert found["checked"] == 10
    assert found["answers"][10] == "429 540"
    assert found["answers"][-1] == "429 1"


def test_the_limit_ends_when_it_says_so():
    answers, _checked = play(WRONG | {"times": 11}, OWNER, OWNER | {"at": START + 600})
    assert answers[-2:] == ["429", "200"]


def test_a_browser_that_has_logged_in_goes_on_where_the_guesser_is():
    answers, _checked = play(OWNER | {"browser": "own"}, WRONG | {"times": 40}, OWNER, OWNER | {"browser": "own"})
    assert answers[-2:] == ["429", "200"]
    assert answers[1:-2] == ["401"] * 10 + ["429"] * 30


@pytest.mark.parametrize(
    ("change", "login"),
    [({"admin": "new password 1"}, "admin:new password 1"), ({"bob": "new password 2"}, "admin:right password")],
    ids=["of this name: no longer", "of another name: still"],
)
def test_the_cookie_is_for_one_password(change, login):
    answers, _checked = play(
        OWNER | {"browser": "own"}, {"change": change}, WRONG | {"times": 11}, {"login": login, "browser": "own"}
    )
    assert answers[-1] == ("429" if "admin" in change else "200")


def test_a_cookie_is_for_one_name_and_cannot_be_made_up():
    answers, _checked = play(
        {"login": "bob:bob's password", "browser": "bob"},
        WRONG | {"times": 11, "browser": "bob"},
        OWNER | {"browser": "bob"},
        OWNER | ELSEWHERE | {"browser": "own"},
        {"forge": "forged", "from": "own"},
        OWNER | {"browser": "forged"},
    )
    assert answers == ["200"] + ["401"] * 10 + ["429", "429", "200", "429"]


def test_people_who_share_a_browser_keep_their_own_cookies():
    bob = {"login": "bob:bob's password", "browser": "ward"}
    others: list[dict[str, Any]] = [WRONG | {"times": 11}, {"login": "bob:wrong #", "times": 11}]
    answers, _checked = play(bob, OWNER | {"browser": "ward"}, *others, bob, OWNER | {"browser": "ward"})
    assert answers[-2:] == ["200", "200"]


def test_a_stolen_cookie_gives_few_guesses_more():
    answers, _checked = play(
        OWNER | {"browser": "own"},
        {"steal": "own", "by": "thief"},
        WRONG | ELSEWHERE | {"times": 40, "browser": "thief"},
        OWNER | ELSEWHERE | {"browser": "thief"},
    )
    assert answers.count("401") == 20
    assert answers[-1] == "429"


def test_own_logins_in_between_do_not_help():
    bob = {"login": "bob:bob's password"}
    steps: list[dict[str, Any]] = [bob, WRONG] * 15
    steps = [step | {"login": step["login"].replace("#", str(number))} for number, step in enumerate(steps)]
    answers, _checked = play(*steps)
    assert answers[1::2] == ["401"] * 10 + ["429"] * 5
    assert set(answers[::2]) == {"200"}


def test_one_password_for_many_names_is_limited_by_address():
    answers, _checked = play({"login": "user#:Spring2026!!", "times": 40})
    assert answers == ["401"] * 30 + ["429"] * 10


def guess_from(addresses: range, times: int) -> list[dict[str, Any]]:
    return [
        {"login": f"admin:wrong {number} #", "from": f"198.51.{number // 250}.{number % 250}", "times": times}
        for number in addresses
    ]


def test_of_a_name_that_many_addresses_guess_each_new_address_gets_fewer_attempts():
    """Among them its owner, where they have never been."""
    answers, _checked = play(*guess_from(range(10), 10), *guess_from(range(10, 12), 5), OWNER | ELSEWHERE)
    assert answers == ["401"] * 100 + (["401"] * 3 + ["429"] * 2) * 2 + ["200"]


def test_a_name_has_a_limit_over_all_addresses_and_its_owner_goes_on():
    known = [OWNER, OWNER | {"browser": "phone", "from": "192.0.2.1"}]
    guessed = guess_from(range(10), 10) + guess_from(range(10, 320), 3)
    answers, checked = play(
        *known, *guessed, OWNER, OWNER | ELSEWHERE, OWNER | ELSEWHERE | {"browser": "phone"},
        {"login": "bob:bob's password"} | ELSEWHERE, WRONG | {"times": 11}, OWNER | ELSEWHERE | {"at": START + 3600},
    )  # fmt: skip
    assert answers[2:1002] == ["401"] * 1000
    assert answers[1002:1032] == ["429"] * 30
    assert answers[1032:] == ["200", "429", "200", "200"] + ["401"] * 10 + ["429", "200"]
    assert checked == 1012


def test_a_network_of_ipv6_prefixes_counts_as_one_address_with_four_times_the_limit():
    inside = WRONG | {"from": "2001:db8:1:1::#", "times": 12}
    assert play(inside)[0] == ["401"] * 10 + ["429"] * 2
    many = WRONG | {"from": "2001:db8:1:#::1", "times": 60}
    assert play(many, OWNER | {"from": "2001:db8:2::1"})[0] == ["401"] * 40 + ["429"] * 20 + ["200"]


@pytest.mark.parametrize("login", ["admin:old password", "admin:" + "x" * 5000])
def test_the_same_wrong_password_is_one_guess(login):
    """A script with an old password locks nobody out, and costs one check."""
    answers, checked = play({"login": login, "times": 200}, OWNER)
    assert answers == ["401"] * 200 + ["200"]
    assert checked == 2


FORMS = ["Basic {}", "basic {}", "BASIC   {}", "Basic {} ", "bAsIc {}="]


def test_other_forms_of_the_header_are_the_same_guess():
    code = base64.b64encode(b"admin:wrong").decode().rstrip("=")
    answers, checked = play(*[{"authorization": form.format(code)} for form in FORMS])
    assert answers == ["401"] * len(FORMS)
    assert checked == 1


MALFORMED = [
    "Bearer {}", "Basic", "Basic  ", "Basic !{}", "Digest {}", "Basic " + base64.b64encode(b"no colon").decode() + "{}",
    "\tBasic {}", "Basic a,{}",
]  # fmt: skip


@pytest.mark.parametrize("header", MALFORMED, ids=str)
def test_what_is_no_login_gets_401_and_counts(header):
    headers = [header.format(number) if "{}" in header else header + "?" * number for number in range(40)]
    answers, checked = play(*[{"authorization": one} for one in headers])
    assert answers == ["401"] * 30 + ["429"] * 10
    assert checked == 1


@pytest.mark.parametrize("name", ["a\x00b", "admin\n", "é", "a b", "-a", "n" * 65, "", "a" * 10_000, "\x7f", "../x"])
def test_impossible_names_get_401_and_are_not_checked(name):
    answers, checked = play(
        *[{"authorization": basic(f"{name}:right password {number}")} for number in range(31)], OWNER | ELSEWHERE
    )
    assert answers == ["401"] * 30 + ["429", "200"]
    assert checked == 2


@pytest.mark.parametrize("name", ["__proto__", "constructor", "n" * 64, "a@b.example", "user:admin"])
def test_odd_names_are_names(name):
    answers, _checked = play({"login": f"{name}:wrong #", "times": 40}, OWNER | ELSEWHERE)
    assert answers[:10] == ["401"] * 10
    assert answers[-2:] == ["429", "200"]


def test_no_header_is_not_counted():
    answers, checked = play({"times": 100}, OWNER)
    assert answers == ["401"] * 100 + ["200"]
    assert checked == 2


def test_parallel_guesses_count_before_they_are_checked():
    """Each waits for its answer: none has been found wrong yet."""
    answers, checked = play(WRONG | {"times": 100, "parallel": True})
    assert answers == ["waits"] * 10 + ["429"] * 90
    assert checked == 10


def test_the_first_requests_of_a_page_count_as_one():
    answers, checked = play(OWNER | {"times": 100, "parallel": True}, OWNER)
    assert answers == ["waits"] * 100 + ["200"]
    assert checked == 1


def test_the_same_password_at_several_workers_counts_as_one():
    answers, checked = play({"login": "admin:old password"}, {"login": "admin:old password", "times": 30, "race": True})
    assert answers == ["401"] * 31
    assert checked == 1


def test_right_passwords_do_not_count():
    steps = [{"login": "bob:bob's password", "from": f"10.0.0.{number}"} for number in range(200)]
    answers, _checked = play(*steps, *[OWNER] * 200)
    assert set(answers) == {"200"}


def test_what_nobody_may_do_is_refused_after_the_login():
    denied = OWNER | {"denied": "400"}
    assert play(denied, OWNER, denied)[0] == ["403", "200", "403"]
    assert play({"login": "admin:wrong", "denied": "400"})[0] == ["401"]


def test_a_new_password_counts_at_once():
    answers, _checked = play(OWNER, {"change": {"admin": "new password 1"}}, OWNER, {"login": "admin:new password 1"})
    assert answers == ["200", "401", "200"]


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("192.0.2.7", ["192.0.2.7"]),
        ("::ffff:192.0.2.7", ["192.0.2.7"]),
        ("2001:db8:1:2:3:4:5:6", ["2001:db8:1:2::/64", "2001:db8:1::/48"]),
        ("2001:db8::1", ["2001:db8:0:0::/64", "2001:db8:0::/48"]),
        ("2001:DB8:0001::", ["2001:db8:1:0::/64", "2001:db8:1::/48"]),
        ("::1", ["0:0:0:0::/64", "0:0:0::/48"]),
        ("::", ["0:0:0:0::/64", "0:0:0::/48"]),
        ("64:ff9b::192.0.2.7", ["64:ff9b:0:0::/64", "64:ff9b:0::/48"]),
        ("fe80::a:b:c:d", ["fe80:0:0:0::/64", "fe80:0:0::/48"]),
    ],
)
def test_networks(address, networks):
    assert run({"addresses": [address]}) == [networks]
