"""Asking the running engine: where its socket is, and one call."""

from typing import Any

from ifengine.admin.client import call
from ifengine.cli.failure import usage
from ifengine.cli.options import Place
from ifengine.cli.site import admin_socket


def ask(place: Place, verb: str, *, offline: bool = False, **params: Any) -> Any:
    """Run one verb of the engine of this site and return its answer.

    ``offline`` asks the store itself instead; an engine may not be running on it then.

    Raises:
        CallError: as the engine answered, with the exit code of command-line.md; nobody answers
            is one of them.
    """
    if offline:
        from ifengine.cli.offline import answer_offline

        return answer_offline(place, verb, params)
    return call(admin_socket(place), verb, **params)


def given_reason(phi: bool, reason: str | None) -> str | None:
    """Return the reason for a look at values; both or neither must be given."""
    text = (reason or "").strip()
    if phi and not text:
        raise usage(
            "--phi shows patient data and needs --reason TEXT",
            "the reason is kept in the audit, for example --reason 'ticket 4411'",
        )
    if reason is not None and not phi:
        raise usage("--reason goes with --phi here", "without --phi values are masked")
    return text or None
