"""The error tree. A message names the thing, the value, the rule and the cure. Imports nothing."""


class RecsparkError(Exception):
    """Raised when something is wrong that the reader of the message can mend; base of all below."""

    exit_code = 1


class ConfigError(RecsparkError):
    """Raised when a configuration does not fit: unknown keys, wrong types, settings that exclude each other."""


class UsageError(ConfigError):
    """Raised when a command was written wrongly: what typer cannot see for itself, as in --set without a `=`."""

    exit_code = 2


class SourceError(RecsparkError):
    """Raised when a source cannot be read as configured: no such path, a missing or mistyped column."""


class ContractError(RecsparkError):
    """Raised when a frame does not fit the table it is meant for."""


class LineageError(RecsparkError):
    """Raised when the job graph is wrong: two writers, a read without a writer, a cycle."""


class SplitError(RecsparkError):
    """Raised when the events cannot be split as asked: no times, no order, no events before the cut."""


class LimitError(RecsparkError):
    """Raised when a step would exceed a configured limit; names the figure and the setting to change."""


class StoreError(RecsparkError):
    """Raised when the warehouse cannot be read or written."""


class ConcurrentRunError(StoreError):
    """Raised when another run committed first: this run's work is discarded."""


class AccountingError(RecsparkError):
    """Raised when rows in are not rows out plus rows accounted for."""


class HandoverError(RecsparkError):
    """Raised when rows planned for training or scoring are not the rows that were read."""


class TrainingError(RecsparkError):
    """Raised when training cannot go on: a process died, the loss is not finite, a checkpoint does not fit."""


class MachineError(RecsparkError):
    """Raised when the machine lacks something: Java, a package, write access."""


class GateError(RecsparkError):
    """Raised when a publishing gate failed; the live recommendations are untouched."""

    exit_code = 3
