"""A real standalone cluster on one machine: started, used through spark-submit, compared with local mode, stopped."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _environment(**variables: str) -> dict[str, str]:
    """This process's variables, but for the quiet logging of local sessions: whether a daemon is up is read from its log."""
    return {**{name: value for name, value in os.environ.items() if name != "SPARK_CONF_DIR"}, "SPARK_LOCAL_IP": "127.0.0.1", **variables}


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


@contextmanager
def standalone_cluster(folder: Path, n_workers: int = 2, memory: str = "1g") -> Iterator[str]:
    """A master and `n_workers` workers of one core each, as processes of this machine; yields the master's URL."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = _environment(PYSPARK_PYTHON=sys.executable, SPARK_WORKER_DIR=str(folder / "work"), SPARK_DAEMON_MEMORY="256m")
    port = _free_port()
    url = f"spark://127.0.0.1:{port}"
    master = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
    worker = ["org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0", "--cores", "1", "--memory", memory, url]
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


def submit(master: str, package: Path, script: str, arguments: Sequence[str], *, log: Path, memory: str = "1g") -> None:
    """spark-submit a script of the wheel (`recspark/runtime/cli.py`, `jobs/NAME.py`), with the wheel and not the checkout on every path.

    Raises:
        RecsparkError: it failed; the message is what it said last.
    """
    with tempfile.TemporaryDirectory() as place:
        shutil.unpack_archive(package, place, "zip")
        environment = _environment(PYSPARK_PYTHON=sys.executable, PYSPARK_DRIVER_PYTHON=sys.executable, PYTHONPATH=place)
        command = [
            str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
            *("--master", master, "--driver-memory", "1g", "--executor-memory", memory, "--executor-cores", "1"),
            *("--py-files", str(package.absolute()), "--conf", "spark.ui.enabled=false", "--conf", "spark.driver.host=127.0.0.1"),
            *(str(Path(place) / script), *arguments),
        ]
        with log.open("wb") as file:
            status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=place, check=False).returncode
    if status:
        last = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace")).splitlines() if line.strip()][-3:]
        raise RecsparkError(f"spark-submit of {script} ended with status {status}: {' / '.join(last)}; the whole log is {log}")


# A world of this machine's size does not want a real cluster's 400 partitions.
SMALL = ("spark.spark.sql.shuffle.partitions=4", "spark.spark.databricks.delta.snapshotPartitions=1", "torch.n_processes=2")


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
        submit(master, package, "recspark/runtime/cli.py", arguments("cluster"), log=folder / "cluster.log")
        say(f"cluster: the whole river in {time.monotonic() - started:.0f} s")
    started = time.monotonic()
    with (folder / "local.log").open("wb") as file:
        subprocess.run(
            [sys.executable, "-m", "recspark.runtime.cli", *arguments("local")], check=True, stdout=file, stderr=subprocess.STDOUT
        )
    say(f"local: the whole river in {time.monotonic() - started:.0f} s")
    spark = start_session({key: str(value) for key, value in load_layers(str(config), "local", [])["spark"].items()})
    return compare_warehouses(Store(spark, str(warehouses["cluster"])), Store(spark, str(warehouses["local"])))


def main(
    config: Annotated[Path | None, typer.Argument(help="Your YAML. Default: the MovieLens demo.")] = None,
    folder: Annotated[Path | None, typer.Argument(help="Where both warehouses go. Default: a new temporary folder.")] = None,
    package: Annotated[Path, typer.Option(help="The wheel, as scripts/package made it.")] = Path("dist/recspark.zip"),
) -> None:
    """Run the whole river on a standalone cluster of this machine and in local mode; compare every column of every row."""
    place = folder or Path(tempfile.mkdtemp(prefix="recspark-cluster-"))
    place.mkdir(parents=True, exist_ok=True)
    data: list[str] = []
    if config is None:
        config = conf_folder() / "movielens.yaml"
        write_movielens(place / "data")
        data = [f"events.path={place / 'data' / 'events.csv'}", f"items.path={place / 'data' / 'items.csv'}"]
    differences = run_both(config, package, place, data)
    for table, difference in differences.items():
        print(f"{table}: {difference}")
    print(
        f"{len(differences)} tables differ; both warehouses are in {place}"
        if differences
        else "every column of every row of every table is equal"
    )
    raise typer.Exit(1 if differences else 0)


if __name__ == "__main__":
    typer.run(main)
