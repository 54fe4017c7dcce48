"""scripts/bench: what recspark reaches, beside what others do."""

import typer

from tests.bench.quality import quality

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.command()(quality)


@app.callback()
def bench() -> None:
    """Benches on this machine; each says what it compares."""


if __name__ == "__main__":
    app()
