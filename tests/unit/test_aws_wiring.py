"""What the wiring hands from one role for AWS to the next."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.lightbox.pacs.plugins.filter.aws_subnets import aws_subnets
from ansible_collections.lightbox.pacs.plugins.filter.hosts_with_value import hosts_with_value

from tests.support.aws_modules import aws_account, recorded_calls, run_module
from tests.support.project import PROJECT, role_file, tasks_in

ZONES = ["eu-central-1a", "eu-central-1b"]


def value(name: str, **answers: Any) -> Any:
    loader = DataLoader()
    variables: dict[str, Any] = role_file("aws_network", "defaults/main.yml")
    for wiring in ("wiring.yml", "wiring_aws.yml"):
        variables |= loader.load_from_file(str(PROJECT / "playbooks/group_vars/all" / wiring), trusted_as_template=True)
    variables |= loader.load_from_file(str(PROJECT / "roles/aws_network/vars/main/main.yml"), trusted_as_template=True)
    templar = Templar(loader, variables=variables | {"aws_environment": "pacs"} | answers)
    return templar.template(trust_as_template("{{ " + name + " }}"))


@pytest.mark.parametrize("built", [True, False])
def test_the_server_gets_what_its_role_accepts(built):
    """Of subnets that are built, and of those that are only planned."""
    subnets = aws_subnets("10.77.0.0/16", "pacs", ZONES)
    network = {
        "vpc_id": "vpc-1",
        "public_subnets": [one for one in subnets if one["public"]],
        "private_subnets": [one for one in subnets if not one["public"]],
    }
    given = value("aws_host_subnets", **({"aws_network": network} if built else {}))
    options = role_file("aws_host", "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    accepted = options["aws_host_subnets"]["options"]
    assert [one["cidr"] for one in given[:2]] == ["10.77.0.0/19", "10.77.32.0/19"]
    assert {key for one in given for key in one} <= set(accepted)


NETWORK = {
    "vpc_id": "vpc-1",
    "cidr": "10.77.0.0/16",
    "public_subnets": [{"id": "subnet-1", "zone": ZONES[0], "cidr": "10.77.0.0/19"}],
    "private_subnets": [{"id": "subnet-2", "zone": ZONES[0], "cidr": "10.77.32.0/19"}],
}
# What roles, facts and the inventory have, none of it a default.
GIVEN: dict[str, Any] = {
    "aws_region": "eu-central-1",
    "aws_network": NETWORK,
    "aws_security_groups": {"archive": "sg-1", "database": "sg-2"},
    "aws_key": {"arn": "the-key"},
    "aws_database_multi_az": True,
    "aws_database_backup_days": 21,
    "orthanc_storage_directory": "/data/pacs/orthanc",
    "pacs_modalities": [{"name": "ct", "aet": "CT", "host": "192.0.2.21", "port": 104}],
    "pacs_dicom_networks": ["10.1.0.0/16"],
    "pacs_name": "pacs.example.org",
    "postgresql_port": 5433,
    "postgresql_provider": "rds",
    "reverse_proxy_dicom_port": 4243,
    "reverse_proxy_dicom_tls_port": 11113,
    "reverse_proxy_http_port": 8080,
    "reverse_proxy_https_port": 8443,
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("aws_security_groups_https_port", 8443),
        ("aws_security_groups_http_port", 8080),
        ("aws_security_groups_dicom_port", 4243),
        ("aws_security_groups_dicom_tls_port", 11113),
        ("aws_security_groups_dicom_networks", ["10.1.0.0/16", "192.0.2.21"]),
        ("aws_security_groups_modalities", GIVEN["pacs_modalities"]),
        ("aws_security_groups_database_port", 5433),
        ("aws_security_groups_database", True),
        ("aws_security_groups_vpc_id", "vpc-1"),
        ("aws_security_groups_vpc_cidr", "10.77.0.0/16"),
        ("aws_security_groups_own_vpc", True),
        ("aws_security_groups_connect", "public"),
        ("aws_database_subnet_ids", ["subnet-2"]),
        ("aws_database_security_group_ids", ["sg-2"]),
        ("aws_database_kms_key_id", "the-key"),
        ("aws_database_port", 5433),
        ("aws_host_security_group_ids", ["sg-1"]),
        ("aws_host_kms_key_id", "the-key"),
        ("aws_host_connect", "public"),
        ("aws_host_data_directory", "/data/pacs"),
        ("aws_host_region", "eu-central-1"),
        ("aws_host_names", ["pacs.example.org"]),
        ("verify_rds_name", "pacs"),
        ("verify_rds_region", "eu-central-1"),
        ("verify_rds_kms_key_id", "alias/pacs"),
        ("verify_rds_multi_az", True),
        ("verify_rds_backup_days", 21),
        ("verify_rds_allowed_sources", ["pacs-archive"]),
    ],
)
def test_what_is_said_once_is_handed_on(name, expected):
    assert value(name, **GIVEN) == expected


@pytest.mark.parametrize(
    ("name", "answers", "expected"),
    [
        ("aws_security_groups_database", {"postgresql_provider": "none"}, False),
        ("aws_security_groups_own_vpc", {"aws_network_vpc_id": "vpc-0abcdef1234567890"}, False),
        ("aws_database_kms_key_id", {"aws_kms_key_id": "mine"}, "mine"),
        ("aws_host_connect", {"aws_connect": "private"}, "private"),
        ("aws_security_groups_connect", {"aws_connect": "session_manager"}, "session_manager"),
        ("verify_rds_name", {"postgresql_provider": "external"}, ""),
        ("verify_rds_name", {"aws_database_enabled": False, "pacs_rds_name": "theirs"}, "theirs"),
        ("verify_rds_kms_key_id", {"aws_kms_key_id": "mine"}, "mine"),
    ],
)
def test_what_is_handed_on_otherwise(name, answers, expected):
    assert value(name, **GIVEN | answers) == expected


def test_everything_has_the_tags_of_the_environment():
    tags = {"owner": "it", "lightbox:environment": "pacs", "lightbox:managed": "true"}
    for role in ("network", "security_groups", "database", "host"):
        assert value(f"aws_{role}_tags", aws_tags={"owner": "it", "lightbox:environment": "other"}) == tags
        assert value(f"aws_{role}_name") == "pacs"
    tasks = tasks_in(PROJECT / "playbooks/tasks/aws_build.yml")
    (key,) = (task["amazon.aws.kms_key"] for task in tasks if "amazon.aws.kms_key" in task)
    assert value("tags", tags=trust_as_template(key["tags"])) == {**value("aws_host_tags"), "Name": "pacs"}


@pytest.mark.parametrize(
    ("connect", "host"),
    [(None, "203.0.113.7"), ("public", "203.0.113.7"), ("private", "10.77.0.10"), ("session_manager", "i-1")],
)
def test_a_later_run_reaches_the_server_as_the_first_did(connect, host):
    facts = next(
        task["ansible.builtin.set_fact"]
        for task in tasks_in(PROJECT / "playbooks/tasks/aws_address.yml")
        if "ansible.builtin.set_fact" in task
    )
    server = {"kind": "instance", "id": "i-1", "state": "running", "user": "admin", "volume_ids": {"/dev/sdf": "vol-1"}}
    server |= {"public_address": "203.0.113.7", "private_address": "10.77.0.10"}
    found = {"__aws_found": {"resources": [server]}} | ({"aws_connect": connect} if connect else {})
    texts = {f"text_{name}": trust_as_template(text) for name, text in facts.items()}
    assert value("text_ansible_host", **found, **texts) == host
    assert value("text_ansible_user", **found, **texts) == "admin"
    known = value("text_aws_host", **found, **texts)
    assert (known["instance_id"], known["volume_id"]) == ("i-1", "vol-1")


def test_what_is_built_in_which_order():
    """Whose account it is comes first; the database, which takes AWS longest, before the server."""
    tasks = tasks_in(PROJECT / "playbooks/tasks/aws_build.yml")
    assert tasks[0]["ansible.builtin.import_tasks"] == "aws_account.yml"
    roles = [
        task["ansible.builtin.import_role"]["name"].rpartition(".")[2]
        for task in tasks
        if "ansible.builtin.import_role" in task and "tasks_from" not in task["ansible.builtin.import_role"]
    ]
    assert roles == ["aws_network", "aws_security_groups", "aws_database", "aws_host"]
    names = [task["name"] for task in tasks]
    # What cannot be is refused before anything is made, also when the database exists.
    for role in ("network", "server", "database"):
        assert names.index(f"Check the values for the {role}") < names.index("Show the plan")
    assert "when" not in tasks[names.index("Check the values for the database")]
    plan = tasks[names.index("Show the plan")]
    assert (plan["ansible.builtin.include_tasks"], plan["when"]) == ("aws_plan.yml", "ansible_check_mode")
    assert names.index("Show the plan") < names.index("Make the key that encrypts disks and database")
    (_show, leave) = tasks_in(PROJECT / "playbooks/tasks/aws_plan.yml")
    assert (leave["ansible.builtin.meta"], leave["when"]) == ("end_host", "__aws_plan.missing != []")


@pytest.mark.parametrize(
    ("wanted", "refused"), [("", False), (None, False), ("123456789012", False), ("210987654321", True)]
)
def test_another_account_is_refused(wanted, refused):
    (_query, task) = tasks_in(PROJECT / "playbooks/tasks/aws_account.yml")
    facts = {"aws_account_id": wanted, "__aws_caller": {"account": "123456789012"}}
    assert value(f"({task['when']})", **facts) is refused


def test_no_subnets_are_planned_in_a_vpc_that_is_given():
    assert value("aws_host_subnets", aws_network_vpc_id="vpc-0abcdef1234567890") == []


class Broken(dict):
    """The variables of a host with an error in the template of one."""

    def __getitem__(self, name: str) -> Any:
        raise ValueError(name)


def test_an_error_in_the_variables_of_a_host_is_no_error_of_another():
    hosts = {"broken": Broken(aws_environment="{{ error"), "one": {"aws_environment": "pacs"}, "none": {}}
    assert hosts_with_value(["none", "broken", "missing", "one"], hosts, "aws_environment", "pacs") == ["one"]


@pytest.mark.parametrize(("answers", "used"), [({}, True), ({"aws_environment": "{{ nothing }}"}, True)])
def test_a_template_with_an_error_does_not_take_a_host_from_aws(answers, used):
    """It is reported as what it is."""
    answers = {name: trust_as_template(text) for name, text in answers.items()}
    assert value("__aws_is_used", **answers) is used
    for playbook in ("aws", "aws_destroy"):
        (play,) = DataLoader().load_from_file(str(PROJECT / f"playbooks/{playbook}.yml"))
        assert play["tasks"][0]["when"] == "not __aws_is_used"


@pytest.mark.parametrize("limited", [["one"], ["one", "two"]])
def test_hosts_with_one_environment_are_found_under_a_limit(limited):
    loader = DataLoader()
    path = PROJECT / "playbooks/group_vars/all/assertions.yml"
    names = {"one": "pacs", "two": "pacs", "three": "pacs-2", "four": None}
    variables = loader.load_from_file(str(path), trusted_as_template=True) | {
        "aws_environment": "pacs",
        "ansible_play_hosts_all": limited,
        "groups": {"all": list(names)},
        "hostvars": {
            host: {"inventory_hostname": host} | ({"aws_environment": name} if name else {})
            for host, name in names.items()
        },
    }
    assert Templar(loader, variables=variables).template(trust_as_template("{{ __aws_namesakes }}")) == ["one", "two"]


def facts_of(tasks: list[dict[str, Any]]) -> set[str]:
    """The names of the facts that tasks set, those in blocks included."""
    found: set[str] = set()
    for task in tasks:
        found |= set(task.get("ansible.builtin.set_fact", {})) | facts_of(task.get("block", []))
    return found


def test_building_sets_what_a_later_run_asks_for():
    """pacs.yml queries AWS for nothing after aws.yml, so that has to leave the same facts."""
    loader = DataLoader()
    paths = [PROJECT / "playbooks/tasks/aws_build.yml", *PROJECT.glob("roles/aws_*/tasks/*.yml")]
    built = set().union(*(facts_of(loader.load_from_file(str(path)) or []) for path in paths))
    asked = set().union(
        *(
            facts_of(loader.load_from_file(str(PROJECT / f"playbooks/tasks/{name}.yml")))
            for name in ("aws_address", "aws_endpoint")
        )
    )
    assert {"ansible_host", "postgresql_host"} <= asked
    assert asked <= built


def queries(name: str) -> list[dict[str, Any]]:
    """The arguments with which a file of tasks asks AWS."""
    tasks = tasks_in(PROJECT / f"playbooks/tasks/{name}.yml")
    assert [task for task in tasks if any(key.startswith("amazon.aws.") for key in task)] == []
    return [task["lightbox.pacs.aws_resource_info"] for task in tasks if "lightbox.pacs.aws_resource_info" in task]


def test_a_later_run_asks_for_the_address_with_one_call():
    (asked,) = queries("aws_address")
    assert asked["kinds"] == ["instance"]
    with aws_account(), recorded_calls() as calls:
        run_module("aws_resource_info", environment="pacs", kinds=asked["kinds"])
    assert calls == ["ec2:DescribeInstances"]
    (asked,) = queries("aws_endpoint")
    assert asked["kinds"] == ["db_instance"]


@pytest.mark.parametrize("playbook", ["pacs", "verify", "migrate_to_postgresql"])
def test_the_endpoint_is_asked_for_where_something_connects_to_the_database(playbook):
    """After the input was checked, and before the role postgresql; not again after aws.yml."""
    (play,) = DataLoader().load_from_file(str(PROJECT / f"playbooks/{playbook}.yml"))
    steps = play["pre_tasks"] + play.get("tasks", [])
    (place,) = (number for number, task in enumerate(steps) if "aws_endpoint.yml" in json.dumps(task))
    assert place == 1
    assert "check_input.yml" in json.dumps(steps[0])
    condition = steps[place]["when"]
    rest = {"verify_enabled": True, "ansible_check_mode": False}
    assert value(condition, __aws_has_database=True, **rest) is True
    assert value(condition, __aws_has_database=True, aws_database={}, **rest) is False
    assert value(condition, __aws_has_database=False, **rest) is False
    if playbook == "verify":
        assert value(condition, __aws_has_database=True, **rest | {"verify_enabled": False}) is False


@pytest.mark.parametrize(
    ("found", "host"),
    [
        ([], ""),
        ([{"endpoint": "", "state": "creating"}], ""),
        ([{"endpoint": "old.rds", "name": "old"}, {"endpoint": "pacs.rds"}], "pacs.rds"),
    ],
)
def test_a_database_without_endpoint_is_refused(found, host):
    tasks = {task["name"]: task for task in tasks_in(PROJECT / "playbooks/tasks/aws_endpoint.yml")}
    refusal = tasks["Refuse a database that cannot be reached"]
    facts = {
        "__aws_found_database": {"resources": [{"name": "pacs"} | one for one in found]},
        "aws_region": "eu-central-1",
        "message": trust_as_template(refusal["ansible.builtin.fail"]["msg"]),
        "fact": trust_as_template(
            tasks["Set how the database is reached"]["ansible.builtin.set_fact"]["postgresql_host"]
        ),
    }
    assert value(f"({refusal['when']})", ansible_check_mode=False, **facts) is not bool(host)
    assert value(f"({refusal['when']})", ansible_check_mode=True, **facts) is False
    assert value("fact", **facts) == (host or "pending.invalid")
    if not host:
        message = value("message", **facts)
        assert message.endswith("Run site.yml, which makes it and waits for it.")
        assert ("is creating and has no endpoint yet" if found else "no database of the environment pacs") in message


@pytest.mark.parametrize(
    ("endpoint", "host"), [("pacs.abc.rds.amazonaws.com", "pacs.abc.rds.amazonaws.com"), ("", "later")]
)
def test_the_archive_uses_the_database_that_was_made(endpoint, host):
    loader = DataLoader()
    tasks = loader.load_from_file(str(PROJECT / "playbooks/tasks/aws_build.yml"), trusted_as_template=True)
    (fact,) = [
        facts["postgresql_host"]
        for task in tasks
        if "postgresql_host" in (facts := task.get("ansible.builtin.set_fact", {}))
    ]
    variables = {"aws_database": {"endpoint": endpoint}, "__aws_pending": "later"}
    assert Templar(loader, variables=variables).template(fact) == host


def test_the_database_is_awaited_only_by_the_task_that_needs_it():
    loader = DataLoader()
    waits = '"wait"'  # as tasks_from
    assert waits not in json.dumps(loader.load_from_file(str(PROJECT / "playbooks/tasks/aws_build.yml")))
    (play,) = loader.load_from_file(str(PROJECT / "playbooks/pacs.yml"))
    (place,) = (number for number, task in enumerate(play["tasks"]) if "aws_database.yml" in json.dumps(task))
    after = play["tasks"][place + 1]
    assert after["ansible.builtin.import_role"] == {"name": "lightbox.pacs.postgresql"}
    assert waits in json.dumps(loader.load_from_file(str(PROJECT / "playbooks/tasks/aws_database.yml")))


def test_who_reaches_the_server_is_checked_on_aws_only():
    assert value("verify_security_groups", aws_environment=None, __aws_is_used=False) == []
    assert value("verify_security_groups_declared", __aws_is_used=False) == []
    assert value("verify_security_groups_fail_on", __aws_is_used=False) == "high"
    groups = [{"kind": "security_group", "name": "pacs-archive"}]
    assert value("verify_security_groups", aws_security_groups_resources=groups) == ["pacs-archive"]
    assert value("verify_security_groups_declared", aws_security_groups_declared=["it"]) == ["it"]
    # After aws.yml, and alone.
    assert value("verify_security_groups_vpc_id", aws_network={"vpc_id": "vpc-1"}) == "vpc-1"
    assert value("verify_security_groups_vpc_id", aws_host={"vpc_id": "vpc-2"}) == "vpc-2"


@pytest.mark.parametrize(
    ("file", "answers", "skipped"),
    [
        ("rds", {"verify_rds_name": "pacs"}, {"verify_rds_name": ""}),
        ("security_groups", {"verify_security_groups": ["pacs-archive"]}, {"verify_security_groups": []}),
    ],
)
def test_a_verification_checks_what_is_on_aws(file, answers, skipped):
    (task,) = [
        task
        for task in tasks_in(PROJECT / "roles/verify/tasks/main.yml")
        if task.get("ansible.builtin.include_tasks") == f"{file}.yml"
    ]
    known = {"verify_enabled": True, "ansible_check_mode": False}
    assert value(f"({task['when']})", **known, **answers) is True
    assert value(f"({task['when']})", **known, **skipped) is False
    assert value(f"({task['when']})", **answers, verify_enabled=True, ansible_check_mode=True) is False
    (check,) = tasks_in(PROJECT / f"roles/verify/tasks/{file}.yml")
    arguments = next(check[key] for key in check if key.startswith("lightbox.pacs."))
    prefix = f"verify_{file}"
    assert arguments["fail_on"] == f"{{{{ {prefix}_fail_on }}}}"


@pytest.mark.parametrize(("unmanaged", "fails"), [("remove", "high"), ("report", "never")])
def test_undeclared_rules_that_may_stay_fail_no_check(unmanaged, fails):
    assert value("verify_security_groups_fail_on", aws_security_groups_unmanaged=unmanaged) == fails


def test_a_key_that_exists_is_used_with_or_without_its_alias():
    loader = DataLoader()
    tasks = loader.load_from_file(str(PROJECT / "playbooks/tasks/aws_build.yml"), trusted_as_template=True)
    (arguments,) = (task["amazon.aws.kms_key"] for task in tasks if "amazon.aws.kms_key" in task)
    found = {"resources": [{"kind": "vpc", "arn": "no"}, {"kind": "kms_key", "name": "alias/pacs", "arn": "the-key"}]}
    assert arguments["alias"] == "{{ aws_environment }}"
    assert arguments["enable_key_rotation"] is True
    for existing, key in ((found, "the-key"), ({"resources": []}, "left out")):
        given = {"__aws_existing": existing, "omit": "left out", "key_id": arguments["key_id"]}
        assert value("key_id", **given) == key


def test_planned_subnets_have_the_zones_that_they_will_have():
    """So that a data volume in another zone is refused before anything is made."""
    region = {"availability_zones": [{"zone_name": zone} for zone in ZONES]}
    planned = value("aws_host_subnets", __aws_network_region=region)
    assert [one["zone"] for one in planned] == ZONES * 2
    assert [one for one in planned if "id" in one] == []
    subnet = {"kind": "subnet", "vpc_id": "vpc-1", "cidr": "10.77.0.0/19", "zone": ZONES[1], "id": "subnet-1"}
    found = {"resources": [{"kind": "vpc", "id": "vpc-1"}, subnet]}
    later = value("aws_host_subnets", __aws_network_region=region, __aws_existing=found)
    assert (later[0]["zone"], later[0]["id"]) == (ZONES[1], "subnet-1")


def test_given_subnets_are_checked_before_anything_is_made():
    given = {"public_subnets": [{"id": "subnet-1", "zone": ZONES[0], "cidr": "10.9.0.0/24"}], "private_subnets": []}
    answers = {"aws_network_vpc_id": "vpc-1", "__aws_network_given": {"network": given}}
    assert value("aws_host_subnets", **answers) == []
    assert value("aws_host_subnets", __aws_network_vpcs={}, **answers) == given["public_subnets"]


@pytest.mark.parametrize(
    ("answers", "is_open"),
    [
        ({"certificates_provider": "local_ca"}, False),
        ({"certificates_provider": "acme"}, True),
        ({"certificates_provider": "acme", "certificates_acme_challenge": "http"}, True),
        ({"certificates_provider": "acme", "certificates_acme_challenge": "route53"}, False),
    ],
)
def test_port_80_is_open_for_acme_over_http_only(answers, is_open):
    assert value("aws_security_groups_http_networks", **answers) == (["0.0.0.0/0", "::/0"] if is_open else [])


def refusals(**answers: Any) -> list[str]:
    """What the inventory's own assertions on tags answer."""
    loader = DataLoader()
    path = PROJECT / "playbooks/group_vars/all/assertions.yml"
    variables = loader.load_from_file(str(path), trusted_as_template=True) | {"__aws_is_used": True} | answers
    templar = Templar(loader, variables=variables)
    about_tags = [one for one in variables["__pacs_assertions"] if "aws_tags is defined" in str(one.get("when"))]
    assert len(about_tags) == 4
    return [
        templar.template(one["fail_msg"])
        for one in about_tags
        if templar.evaluate_conditional(one["when"]) and not templar.evaluate_conditional(one["that"])
    ]


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"cost-center": "radiology", "Straße 7": "", "Name": "theirs", "a_.:/=+-@": "B_.:/=+-@ 1"},
        {"k" * 128: "v" * 256},
        {f"tag{number}": "x" for number in range(45)},
    ],
)
def test_tags_that_aws_takes(tags):
    assert refusals(aws_tags=tags) == []
    assert refusals() == []


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"aws:owner": "me"}, 'aws_tags contains "aws:owner", which AWS refuses as a name'),
        ({"AWS:owner": "me"}, 'contains "AWS:owner"'),
        ({"": "me"}, 'contains "", which'),
        ({"k" * 129: "v"}, "kkk"),
        ({"cost&care": "x"}, 'contains "cost&care"'),
        ({2026: "x", "fine": "y"}, "aws_tags contains 2026, which"),
        ({"cost": 7}, "aws_tags has a value for cost that AWS refuses"),
        ({"cost": True}, "value for cost"),
        ({"cost": None}, "value for cost"),
        ({"cost": ["x"]}, "value for cost"),
        ({"fine": "x", "owner": "Müller, Eva"}, "value for owner that"),
        ({"cost": "x\n"}, "value for cost"),
        ({"cost": "v" * 257}, "value for cost"),
        ({"Cost": "1", "cost": "2"}, "aws_tags has cost more than once in different capitals"),
        ({"name": "mine"}, "aws_tags has name more than once"),
        ({f"tag{number}": "x" for number in range(46)}, "aws_tags has 46 tags"),
    ],
)
def test_tags_that_aws_refuses_are_refused_before_anything_is_made(tags, message):
    (refusal,) = refusals(aws_tags=tags)
    assert message in refusal


def refusal(name: str, existing: list[dict[str, Any]], **answers: Any) -> str:
    """The message with which a task of aws_build.yml refuses what exists; empty where it does not."""
    tasks = tasks_in(PROJECT / "playbooks/tasks/aws_build.yml")
    (number,) = (number for number, task in enumerate(tasks) if task["name"] == name)
    # Before anything is made, and before the roles query what they need.
    earlier = [task for task in tasks[:number] if set(task) - {"name", "when", "register", "ansible.builtin.fail"}]
    assert [task["name"] for task in earlier] == ["Check the account", "Find what exists"]
    task = tasks[number]
    known = {
        "__aws_existing": {"resources": existing},
        "aws_region": "eu-central-1",
        "postgresql_provider": "rds",
        "aws_host_data_volume_id": "",
        "aws_host_name": "pacs",
        "message": trust_as_template(task["ansible.builtin.fail"]["msg"]),
    } | answers
    return value("message", **known) if value(f"({task['when']})", **known) else ""


KEY: dict[str, Any] = {
    "kind": "kms_key",
    "id": "1234",
    "arn": "arn:aws:kms:eu-central-1:123456789012:key/1234",
    "state": "Enabled",
    "tags": {"lightbox:environment": "pacs"},
}
THEIRS = KEY["arn"].replace("1234", "9876")
VOLUME = {"kind": "volume", "name": "pacs-data", "id": "vol-1", "encrypted": True, "kms_key_id": KEY["arn"]}
DATABASE = VOLUME | {"kind": "db_instance", "name": "pacs", "id": "pacs", "state": "available"}


@pytest.mark.parametrize(
    ("tags", "refused"),
    [
        ({"lightbox:environment": "pacs"}, False),
        ({"lightbox:environment": "pacs-2"}, True),
        ({"Name": "pacs"}, True),
        ({}, True),
    ],
)
def test_a_key_of_somebody_else_is_not_used(tags, refused):
    name = "Refuse a key that may be somebody else's"
    message = refusal(name, [KEY | {"tags": tags}])
    assert bool(message) is refused
    assert not refused or "--key-id 1234 --tags TagKey=lightbox:environment,TagValue=pacs. Otherwise" in message
    assert refusal(name, [KEY | {"tags": tags}], aws_kms_key_id=THEIRS) == ""
    assert refusal(name, []) == ""


@pytest.mark.parametrize(
    ("existing", "answers", "message"),
    [
        ([], {"aws_kms_key_id": THEIRS}, ""),
        ([KEY, VOLUME, DATABASE], {}, ""),
        ([VOLUME, DATABASE], {"aws_kms_key_id": KEY["arn"]}, ""),
        ([VOLUME, DATABASE], {"aws_kms_key_id": "1234"}, ""),
        (
            [KEY, VOLUME, DATABASE],
            {"aws_kms_key_id": THEIRS},
            f"aws_kms_key_id is '{THEIRS}', and vol-1 and pacs are encrypted with {KEY['arn']}, which AWS cannot "
            "change. Set aws_kms_key_id to that ARN, or remove it;",
        ),
        # The environment has no key of its own, because the inventory named one.
        (
            [VOLUME],
            {},
            f"aws_kms_key_id is '', and vol-1 is encrypted with {KEY['arn']}, which AWS cannot change. Set "
            "aws_kms_key_id to that ARN; ",
        ),
        ([KEY, DATABASE | {"kms_key_id": THEIRS}], {}, f"and pacs is encrypted with {THEIRS}"),
        ([KEY, VOLUME | {"kms_key_id": THEIRS}], {"aws_host_data_volume_id": "vol-1"}, ""),
        ([KEY, VOLUME | {"name": "pacs", "kms_key_id": THEIRS}], {}, ""),  # a root volume goes with its server
        ([KEY, DATABASE | {"kms_key_id": THEIRS, "state": "deleting"}], {}, ""),
        ([KEY, DATABASE | {"kms_key_id": THEIRS}], {"aws_database_enabled": False}, ""),
        ([KEY, DATABASE | {"kms_key_id": THEIRS, "name": "pacs-old"}], {}, ""),
        ([KEY, VOLUME | {"kms_key_id": "", "encrypted": False}], {}, ""),  # the role refuses that
    ],
    ids=str,
)
def test_another_key_is_refused_before_anything_is_made(existing, answers, message):
    found = refusal("Refuse another key than that with which something is encrypted", existing, **answers)
    assert (message in found) if message else found == ""


@pytest.mark.parametrize(
    ("existing", "answers", "refused"),
    [
        ([DATABASE], {}, False),
        ([DATABASE], {"postgresql_provider": "none"}, True),
        ([DATABASE | {"state": "deleting"}], {"postgresql_provider": "none"}, False),
        ([], {"postgresql_provider": "none"}, False),
        ([DATABASE], {"aws_database_enabled": False}, False),  # another one, or the same by its endpoint
        ([DATABASE], {"postgresql_provider": "external"}, False),
    ],
)
def test_a_database_that_may_have_the_index_is_not_left(existing, answers, refused):
    message = refusal("Refuse to leave a database that may have the index", existing, **answers)
    assert bool(message) is refused
    assert not refused or "postgresql_provider is none, and there is the database pacs, which may have" in message


@pytest.mark.parametrize(
    ("provider", "enabled", "refused"),
    [
        ("rds", True, False),
        ("rds", False, False),
        ("none", True, True),
        ("external", "yes", True),
        ("none", False, False),
    ],
)
def test_a_database_that_nothing_would_use_is_refused(provider, enabled, refused):
    loader = DataLoader()
    path = PROJECT / "playbooks/group_vars/all/assertions.yml"
    variables = loader.load_from_file(str(path), trusted_as_template=True) | {
        "__aws_is_used": True,
        "aws_database_enabled": enabled,
        "postgresql_provider": provider,
    }
    templar = Templar(loader, variables=variables)
    (one,) = [one for one in variables["__pacs_assertions"] if "nothing uses" in one["fail_msg"]]
    holds = not templar.evaluate_conditional(one["when"]) or templar.evaluate_conditional(one["that"])
    assert holds is not refused
    assert templar.template(one["fail_msg"]).startswith("aws_database_enabled is true, and postgresql_provider is")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "in the region eu-central-1. Run site.yml, which builds it; or"),
        ([{"id": "i-1", "state": "terminated"}], "in the region eu-central-1. Run site.yml, which builds it; or"),
        (
            [{"id": "i-1", "state": "stopped"}],
            "in the region eu-central-1: i-1 is stopped. Run site.yml, which starts it;",
        ),
        ([{"id": "i-1", "state": "running"}], ""),
    ],
)
def test_a_server_that_does_not_run_is_reported(found, message):
    (task,) = [
        task
        for task in tasks_in(PROJECT / "playbooks/tasks/aws_address.yml")
        if task["name"] == "Refuse an environment without a server"
    ]
    facts = {
        "__aws_found": {"resources": [{"kind": "instance"} | one for one in found]},
        "aws_region": "eu-central-1",
        "message": trust_as_template(task["ansible.builtin.fail"]["msg"]),
        "__aws_stopped": trust_as_template(task["vars"]["__aws_stopped"]),
    }
    assert value(f"({task['when']})", **facts) is bool(message)
    assert message in value("message", **facts)


@pytest.mark.parametrize(
    ("state", "refused"),
    [("Enabled", False), ("Creating", False), ("Disabled", True), ("PendingDeletion", True), (None, False)],
)
def test_a_key_that_somebody_disabled_is_not_enabled_again(state, refused):
    (task,) = [
        one
        for one in tasks_in(PROJECT / "playbooks/tasks/aws_build.yml")
        if one["name"] == "Refuse a key that is disabled or about to be deleted"
    ]
    key = [{"kind": "kms_key", "id": "1234", "state": state}] if state else []
    assert value(f"({task['when']})", __aws_existing={"resources": key}) is refused
    assert state is None or state in value(
        "message", __aws_existing={"resources": key}, message=trust_as_template(task["ansible.builtin.fail"]["msg"])
    )
