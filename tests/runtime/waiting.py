"""A training process that does nothing but be there."""

import os
import threading
from pathlib import Path


def wait_for_ever(pid_file: str) -> None:
    """Say who this is, then wait."""
    aside = Path(f"{pid_file}-{os.environ['RANK']}.part")
    aside.write_text(str(os.getpid()))
    aside.rename(aside.with_suffix(""))
    threading.Event().wait()
