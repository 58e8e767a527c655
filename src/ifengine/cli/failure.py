"""How a command ends: the exit codes of command-line.md and the error that carries one."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script may rely on."""

    DONE = 0
    PROBLEMS = 1  # check, doctor, verify found something; a command could not do its work
    USAGE = 2
    NOT_REACHABLE = 3  # no daemon answers
    REFUSED = 4  # permission, policy, unconfirmed
    SOME_FAILED = 5  # a bulk finished with failures
    STORAGE_FAILED = 75  # serve only
    INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot go on. The text says what happened, the hint what to do next."""

    def __init__(self, text: str, *, code: ExitCode = ExitCode.PROBLEMS, hint: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.hint = hint


def usage(text: str, hint: str = "") -> CommandError:
    """Return the error of a command that was written wrongly."""
    return CommandError(text, code=ExitCode.USAGE, hint=hint)


def refused(text: str, hint: str = "") -> CommandError:
    """Return the error of an act that is not allowed or was not confirmed."""
    return CommandError(text, code=ExitCode.REFUSED, hint=hint)
