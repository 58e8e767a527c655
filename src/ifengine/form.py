"""Whether the modules that every message passes run as native code or are interpreted (ADR 0034)."""

from ifengine import clock

FORM = "interpreted" if (clock.__file__ or ".py").endswith((".py", ".pyc")) else "compiled"
"""``compiled`` or ``interpreted``; both do the same."""
