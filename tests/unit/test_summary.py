"""The end of `make test`: seconds of each phase, the slowest tests, and what took much longer than planned."""

from __future__ import annotations

import subprocess
import textwrap

import pytest

from tests import summary
from tests.support.project import PROJECT

XML = '<testsuite><testcase classname="tests.unit.test_{name}" name="test_it[{name}]" time="{seconds}"/></testsuite>'


def write_phase(directory, name: str, seconds: int, test_seconds: float | None = None, code: int = 0) -> None:
    (directory / f"{name}.result").write_text(f"{seconds} {code}\n")
    if test_seconds is not None:
        (directory / f"{name}.xml").write_text(XML.format(name=name, seconds=test_seconds))


def test_every_phase_has_a_budget():
    makefile = subprocess.run(
        ["make", "--no-print-directory", "--eval", "print-phases: ; @echo $(PHASES)", "print-phases"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    phases = {"venv", "images", *makefile.stdout.split()}
    scenarios = {file.parent.name for file in PROJECT.glob("molecule/*/molecule.yml")}
    assert scenarios < phases
    assert set(summary.read_budgets((PROJECT / "CONTRIBUTING.md").read_text())) == phases


def test_phases_are_listed_with_the_slowest_tests(tmp_path):
    for number in range(12):
        write_phase(tmp_path, f"phase{number}", 100, number + 0.5)
    text = summary.format_summary(summary.read_phases(tmp_path, {}), summary.read_tests(tmp_path), color=False)
    assert text.count("    100\n") == 12
    slowest = text.split("Slowest tests")[1].splitlines()[1:]
    assert len(slowest) == 10
    assert slowest[0].split() == ["11.5", "phase11:", "test_phase11::test_it[phase11]"]


def test_a_phase_that_failed_is_named_and_half_a_report_is_no_obstacle(tmp_path):
    write_phase(tmp_path, "unit", 7, code=2)
    write_phase(tmp_path, "lint", 8)
    (tmp_path / "unit.xml").write_text("<testsuite><testca")
    text = summary.format_summary(summary.read_phases(tmp_path, {}), summary.read_tests(tmp_path), color=False)
    assert "unit      7  failed\n" in text
    assert text.count("failed") == 1


@pytest.mark.parametrize(("seconds", "is_marked"), [(100, False), (150, False), (151, True)])
def test_a_phase_that_takes_half_as_long_again_is_marked_in_yellow(tmp_path, seconds, is_marked):
    budgets = summary.read_budgets("| `database` | PostgreSQL | 100 s |\n")
    write_phase(tmp_path, "database", seconds)
    text = summary.format_summary(summary.read_phases(tmp_path, budgets), [], color=True)
    assert ("\033[33m" in text) is is_marked
    assert ("budget of 100 s" in text) is is_marked
    assert "\033[" not in summary.format_summary(summary.read_phases(tmp_path, budgets), [], color=False)


@pytest.fixture
def run_phase(tmp_path):
    """tests/phase in a project of its own: a function of the shell command to run, and where the reports are."""
    (tmp_path / "tests").mkdir()
    script = tmp_path / "tests/phase"
    script.write_bytes((PROJECT / "tests/phase").read_bytes())
    script.chmod(0o755)

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([script, "one", "sh", "-c", command], capture_output=True, text=True, check=False)

    return run, tmp_path / "artifacts/test"


def test_a_phase_that_passes_shows_only_its_test_runners_last_line(run_phase):
    run, reports = run_phase
    done = run("echo much; echo '==== 3 passed in 1.20s ===='")
    assert done.returncode == 0
    assert "much" not in done.stdout
    assert "==== 3 passed in 1.20s ====" in done.stdout
    assert (reports / "one.log").read_text().startswith("much\n")
    seconds, code = (reports / "one.result").read_text().split()
    assert int(seconds) < 60
    assert code == "0"


def test_a_phase_that_fails_shows_its_output_and_keeps_its_exit_code(run_phase):
    run, reports = run_phase
    done = run("echo out; echo err >&2; exit 3")
    assert done.returncode == 3
    assert "out\nerr\n" in done.stdout
    assert "one: failed after" in done.stdout
    assert (reports / "one.result").read_text().endswith(" 3\n")


MUCH = """
printf '\\033[2m│\\033[0m TASK [first]\\n'
for i in $(seq 600); do printf '\\033[32m│ \\033[0mok: %s %5000d\\n' "$i" 1; done
"""
FAILURES = {
    "a test": "printf '  │ %s\\n' '=== FAILURES' ' ===' 'E  wrong' 'FAILED a.py::test_b' '=== 1 failed in 0.1s ==='",
    "a task": "printf '│ fatal: [full]: FAILED! =>\\n│     msg: wrong\\n'",
    "idempotence": "printf 'CRITICAL Idempotence test failed because of\\n*  [full] => wrong\\n'",
    "else": "",
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_a_failed_phase_shows_can_be_read(run_phase, failure):
    """Ansible with -vvv writes lines of thousands of characters, and what runs after a failure writes more of them."""
    run, reports = run_phase
    done = run(f"{MUCH}\n{FAILURES[failure]}\n{MUCH}\necho wrong at the end; exit 1")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) < 210
    assert len(lines) < 65
    assert "wrong at the end" in lines
    if failure != "else":
        assert any(line.endswith("wrong") for line in lines)
    assert lines[-1].endswith("see above and artifacts/test/one.log")
    assert (reports / "one.log").stat().st_size > 2 * 600 * 5000


def test_a_phase_has_a_make_of_its_own_and_reports_its_tests(run_phase, tmp_path):
    (tmp_path / "test_sample.py").write_text(
        textwrap.dedent(
            """
            import os
            def test_environment():
                assert not {"MAKEFLAGS", "MAKELEVEL"} & set(os.environ)
            """
        )
    )
    run, reports = run_phase
    done = run(f"cd '{tmp_path}' && python -m pytest -q -p no:cacheprovider test_sample.py")
    assert done.returncode == 0, done.stdout
    ((_seconds, name),) = summary.read_tests(reports)
    assert name == "one: test_sample::test_environment"
