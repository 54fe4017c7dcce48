"""A real standalone cluster on one machine: started, used through spark-submit, compared with local mode, stopped."""

from __future__ import annotations

import os
import re
import shutil
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file
from pathlib import Path
from typing import Annotated

import pyspark
import typer

from recspark.errors import MachineError, RecsparkError
from recspark.runtime.compare import compare_warehouses
from recspark.runtime.config import conf_folder, load_layers
from recspark.runtime.demo import write_movielens
from recspark.runtime.session import start_session
from recspark.runtime.store import Store

PATIENCE = 60  # seconds that a daemon may take to say that it is up
MEMORY = "2g"  # of a worker, of its one executor and of the driver
# A world of this machine's size does not want a real cluster's 400 partitions.
SMALL = ("spark.spark.sql.shuffle.partitions=4", "spark.spark.databricks.delta.snapshotPartitions=1")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _environment(**variables: str) -> dict[str, str]:
    """This process's variables, but for what would lead to the checkout, and for the quiet logging of local sessions: whether a
    daemon is up is read from its log."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SPARK_CONF_DIR")}
    return {**kept, "SPARK_LOCAL_IP": "127.0.0.1", **variables}


def _spawn(arguments: Sequence[str], log: Path, environment: dict[str, str], until: str) -> subprocess.Popen[bytes]:
    """Start a Spark daemon and wait until its log says that it is up."""
    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    with log.open("wb") as file:
        process = subprocess.Popen([str(spark_class), *arguments], stdout=file, stderr=subprocess.STDOUT, env=environment)
    deadline = time.monotonic() + PATIENCE
    while until not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise MachineError(f"{arguments[0].split('.')[-1]} of the standalone cluster did not come up; its log is {log}")
        time.sleep(0.2)
    return process


def bare_python(folder: Path) -> Path:
    """An interpreter below `folder` with this one's packages but without this checkout: what the wheel lacks is missed there."""
    venv.create(folder, symlinks=True)
    own = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    packages = [Path(place) for place in site.getsitepackages()]
    # The folders in a .pth are not searched for further .pth files, through which an editable recspark would come in.
    (own / "__packages.pth").write_text("\n".join(map(str, packages)))
    for file in (file for place in packages for file in place.glob("*.pth") if not file.name.startswith("__editable__")):
        shutil.copy(file, own)
    return folder / "bin" / "python"


@contextmanager
def standalone_cluster(folder: Path, n_workers: int = 2) -> Iterator[str]:
    """A master and `n_workers` workers of one core each, as processes of this machine; yields the master's URL."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = _environment(SPARK_WORKER_DIR=str(folder / "work"), SPARK_DAEMON_MEMORY="256m")
    port = _free_port()
    url = f"spark://127.0.0.1:{port}"
    master = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
    worker = ["org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0", "--cores", "1", "--memory", MEMORY, url]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes.append(_spawn(master, folder / "master.log", environment, "I have been elected leader"))
        for number in range(n_workers):
            processes.append(_spawn(worker, folder / f"worker-{number}.log", environment, "Successfully registered with master"))
        yield url
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def submit(master: str, package: Path, script: str, arguments: Sequence[str], *, python: Path, log: Path) -> str:
    """spark-submit a script of the wheel (`recspark/runtime/cli.py`, `jobs/NAME.py`) with `--py-files package`; returns what it said.

    Raises:
        RecsparkError: it failed; the message is what it said last.
    """
    with tempfile.TemporaryDirectory() as place:
        with zipfile.ZipFile(package) as archive:
            archive.extract(script, place)
        environment = _environment(PYSPARK_PYTHON=str(python), PYSPARK_DRIVER_PYTHON=str(python))
        command = [
            str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
            *("--master", master, "--driver-memory", MEMORY, "--executor-memory", MEMORY, "--executor-cores", "1"),
            *("--py-files", str(package.absolute()), "--conf", "spark.ui.enabled=false", "--conf", "spark.driver.host=127.0.0.1"),
            *(str(Path(place) / script), *arguments),
        ]
        with log.open("wb") as file:
            status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    said = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    if status:
        last = [line for line in said.splitlines() if line.strip()][-3:]
        raise RecsparkError(f"spark-submit of {script} ended with status {status}: {' / '.join(last)}; the whole log is {log}")
    return said


def run_both(
    config: Path, package: Path, folder: Path, assignments: Sequence[str] = (), say: Callable[[str], None] = print
) -> dict[str, str]:
    """The whole river on the cluster and in local mode, into two warehouses below `folder`; returns what differs, by table."""
    warehouses = {"cluster": folder / "cluster", "local": folder / "local"}

    def arguments(where: str) -> list[str]:
        settings = [f"warehouse={warehouses[where]}", *SMALL, *assignments]
        return ["run", "--config", str(config.absolute()), "--env", where, *(word for setting in settings for word in ("--set", setting))]

    with standalone_cluster(folder / "daemons") as master:
        say(f"cluster: one master and two workers at {master}")
        started = time.monotonic()
        python = bare_python(folder / "python")
        submit(master, package, "recspark/runtime/cli.py", arguments("cluster"), python=python, log=folder / "cluster.log")
        say(f"cluster: the whole river in {time.monotonic() - started:.0f} s")
    started = time.monotonic()
    command = [sys.executable, "-m", "recspark.runtime.cli", *arguments("local")]
    with (folder / "local.log").open("wb") as file:
        if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode:
            raise RecsparkError(f"the river failed in local mode; its log is {folder / 'local.log'}")
    say(f"local: the whole river in {time.monotonic() - started:.0f} s")
    spark = start_session({key: str(value) for key, value in load_layers(str(config), "local", [])["spark"].items()})
    return compare_warehouses(Store(spark, str(warehouses["cluster"])), Store(spark, str(warehouses["local"])))


def main(
    config: Annotated[Path | None, typer.Argument(help="Your YAML. Default: the MovieLens demo.")] = None,
    folder: Annotated[Path | None, typer.Argument(help="Where both warehouses go. Default: a new temporary folder.")] = None,
    package: Annotated[Path, typer.Option(help="The wheel, as scripts/package made it.")] = Path("dist/recspark.zip"),
    n_processes: Annotated[int, typer.Option(help="Training processes; two workers of one core bear 1 or 2.")] = 2,
) -> None:
    """Run the whole river on a standalone cluster of this machine and in local mode; compare every column of every row."""
    place = folder.absolute() if folder else Path(tempfile.mkdtemp(prefix="recspark-cluster-"))
    place.mkdir(parents=True, exist_ok=True)
    assignments = [f"torch.n_processes={n_processes}"]
    with ExitStack() as stack:
        if config is None:
            config = stack.enter_context(as_file(conf_folder() / "movielens.yaml"))
            write_movielens(place / "data")
            assignments += [f"events.path={place / 'data' / 'events.csv'}", f"items.path={place / 'data' / 'items.csv'}"]
        differences = run_both(config, package, place, assignments)
    for table, difference in differences.items():
        print(f"{table}: {difference}")
    print(f"{len(differences)} tables differ" if differences else "every column of every row of every table is equal")
    print(f"both warehouses are in {place}")
    raise typer.Exit(1 if differences else 0)


if __name__ == "__main__":
    try:
        typer.run(main)
    except RecsparkError as failed:
        sys.exit(f"error: {failed}")
