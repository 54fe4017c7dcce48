"""What can keep scripts/setup from its end is said in one sentence with a cure. Everything that it calls is a stub: no network, no Java."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "env", "dirname", "mkdir", "cat", "cksum", "sed", "grep", "tail", "sleep", "readlink", "chmod", "cp", "rm")
# Does what setup asks of a Python; FAILS names the question at which it fails, with what it says then.
PYTHON = """#!/usr/bin/env bash
case "$*" in
  "-m venv "*) step=venv; [ "$FAILS" = venv ] || { mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; } ;;
  "-m pip --version") step=version ;;
  "-m pip install "*) step=pip ;;
  -) step=delta; cat >/dev/null ;;
  -V) echo "Python 3.11.9" ;;
  *) [ "$FAILS" != python ] || exit 1 ;;
esac
if [ "$step" = "$FAILS" ]; then echo "$SAYS"; exit 1; fi
"""


class Machine:
    """A checkout with scripts/setup, a PATH of stubs, and a Java 17."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.path, self.java = folder / "checkout", folder / "bin", folder / "jdk"
        for name in ("scripts/setup", "pyproject.toml", "conf/constraints.txt"):
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.checkout / name)
        self.path.mkdir()
        for tool in TOOLS:
            (self.path / tool).symlink_to(str(shutil.which(tool)))
        self.stub("id", "#!/usr/bin/env bash\n[ $1 = -u ] && echo 1000 || echo ann\n")
        for name in ("python3.11", "python3.12", "python3"):
            self.stub(name, PYTHON)
        (self.java / "bin").mkdir(parents=True)
        (self.java / "bin" / "java").write_text("")
        (self.java / "bin" / "java").chmod(0o755)
        (self.java / "release").write_text('JAVA_VERSION="17.0.15"\n')

    def stub(self, name: str, script: str) -> None:
        (self.path / name).unlink(missing_ok=True)
        (self.path / name).write_text(script)
        (self.path / name).chmod(0o755)

    def without_java(self) -> None:
        """Also those below /usr/lib/jvm are none: without sed no Java tells its version."""
        shutil.rmtree(self.java)
        self.stub("sed", "#!/usr/bin/env bash\ncat >/dev/null </dev/null\n")

    def setup(self, fails: str = "nowhere", says: str = "") -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        environment = {"PATH": str(self.path), "JAVA_HOME": str(self.java), "HOME": str(self.path.parent), "FAILS": fails, "SAYS": says}
        answer = subprocess.run(["scripts/setup"], cwd=self.checkout, env=environment, capture_output=True, text=True, check=False)
        return answer.returncode, answer.stdout, answer.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_sets_up_once_and_remembers_java(machine: Machine):
    status, said, wrong = machine.setup()
    assert (status, wrong) == (0, "")
    steps = ["virtual environment, Python 3.11.9", "packages, as pinned in conf/constraints.txt", "Delta's jars, once, through Spark"]
    assert [step for step in steps if step not in said] == []
    assert (machine.checkout / ".venv" / "recspark-env").read_text() == f"export JAVA_HOME={machine.java}\n"
    assert machine.setup(fails="pip") == (0, "", "")


def test_what_was_set_up_is_set_up_again_when_the_pins_change(machine: Machine):
    machine.setup()
    with (machine.checkout / "conf" / "constraints.txt").open("a") as pins:
        pins.write("more==1\n")
    assert machine.setup(fails="pip", says="no such version")[0] == 1


def test_no_java(machine: Machine):
    machine.without_java()
    assert machine.setup()[::2] == (
        1,
        "setup: no Java 17 or 21 found: install one (Debian: sudo apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17), "
        "or set JAVA_HOME to it.\n",
    )


def test_an_old_java_is_none(machine: Machine):
    (machine.java / "release").write_text('JAVA_VERSION="11.0.2"\n')
    version = "#!/usr/bin/env bash\nfor last; do :; done\ncase $last in */jdk/release) echo 11 ;; esac\n"
    machine.stub("sed", version)  # no other Java tells its version
    status, _, wrong = machine.setup()
    assert (status, wrong.partition(":")[2].partition(":")[0]) == (1, " no Java 17 or 21 found")


def test_no_java_for_root_who_is_offline(machine: Machine):
    machine.without_java()
    machine.stub("id", "#!/usr/bin/env bash\necho 0\n")
    machine.stub("apt-get", "#!/usr/bin/env bash\necho 'Could not resolve deb.debian.org'; exit 100\n")
    assert machine.setup()[::2] == (
        1,
        "setup: apt-get could not install Java: install a Java 17 or 21 and set JAVA_HOME; see .venv/setup.log.\n",
    )


def test_no_write_access(machine: Machine):
    # A file where the folder must go refuses everybody, root too.
    (machine.checkout / ".venv").write_text("")
    assert machine.setup()[::2] == (
        1,
        f"setup: cannot write to {machine.checkout}/.venv: give ann write access to this folder, or work in a copy of it.\n",
    )


def test_an_unsupported_python(machine: Machine):
    assert machine.setup(fails="python")[::2] == (
        1,
        "setup: no Python 3.11 or 3.12 with venv found on the PATH: install one (Debian: apt-get install python3.11-venv; elsewhere: "
        "pyenv install 3.11 && pyenv local 3.11).\n",
    )


def test_a_virtual_environment_that_cannot_be_made(machine: Machine):
    status, _, wrong = machine.setup(fails="venv", says="ensurepip is not available")
    assert (status, wrong) == (
        1,
        f"setup: {machine.path}/python3.11 could not make a virtual environment in .venv: rm -r .venv and try again; see .venv/setup.log.\n",
    )


def test_offline_before_the_packages(machine: Machine):
    says = "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError'"
    assert machine.setup(fails="pip", says=says)[::2] == (
        1,
        "setup: no package index can be reached: connect this machine, or name a mirror (export PIP_INDEX_URL=...), and run scripts/setup "
        "again.\n",
    )


def test_packages_that_do_not_install(machine: Machine):
    assert machine.setup(fails="pip", says="ERROR: no space left")[::2] == (
        1,
        "== virtual environment, Python 3.11.9\n== packages, as pinned in conf/constraints.txt\nERROR: no space left\n"
        "setup: pip could not install the packages: the reason stands above and in .venv/setup.log.\n",
    )


def test_offline_before_deltas_jars(machine: Machine):
    assert machine.setup(fails="delta", says="java.net.UnknownHostException: repo1.maven.org")[::2] == (
        1,
        "setup: Maven Central cannot be reached for Delta's jars: connect this machine, or set a proxy "
        "(JAVA_TOOL_OPTIONS=-Dhttps.proxyHost=...), and run scripts/setup again.\n",
    )


def test_a_set_up_that_failed_goes_on_where_it_was(machine: Machine):
    assert machine.setup(fails="delta", says="UnknownHostException")[0] == 1
    status, said, _ = machine.setup()
    assert (status, "virtual environment" in said, "Delta's jars" in said) == (0, False, True)
