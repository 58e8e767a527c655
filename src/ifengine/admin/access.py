"""Who is behind a connection on the Unix socket, and what that user may do (security.md 5)."""

import os
import pwd
import re
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from ifengine.admin.request import Caller, Role

_CREDENTIALS = struct.Struct("3i")
_NO_LOGIN = 2**32 - 1
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


class Peer(NamedTuple):
    """The process at the other end, as the kernel names it."""

    pid: int
    uid: int
    gid: int


def peer_of(connection: socket.socket) -> Peer:
    """Return the peer of a connected Unix socket (SO_PEERCRED)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(raw))


def caller_of(peer: Peer, *, own_uid: int | None = None) -> Caller:
    """Return the user and the roles.

    The daemon's own user and root are operator and reader of content; nobody else is anything.
    The person behind sudo is named too, where the kernel keeps a login uid.
    """
    own = os.getuid() if own_uid is None else own_uid
    allowed = peer.uid in (own, 0)
    roles = frozenset({Role.OPERATOR, Role.PHI_READER}) if allowed else frozenset()
    actor = user_name(peer.uid)
    login = _login_uid(peer.pid)
    if login is not None and login != peer.uid:
        actor = f"{actor}({user_name(login)})"
    return Caller(actor, roles)


def user_name(uid: int) -> str:
    """Return the name of a uid, ``uid:1234`` where the system knows none that is plain."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid:{uid}"
    return name if _NAME.fullmatch(name) else f"uid:{uid}"


def _login_uid(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/loginuid").read_text("ascii")
        found = int(text)
    except (OSError, ValueError):
        return None
    return None if found == _NO_LOGIN else found
