"""``keys status``: which keys there are; never a key."""

from ifengine.admin.request import Caller, Params
from ifengine.admin.runtime import Runtime
from ifengine.clock import MICROSECONDS, rfc3339


async def status(runtime: Runtime, params: Params, caller: Caller) -> dict[str, object]:
    """Answer ``keys.status``."""
    found = runtime.ring.status()
    now_us = runtime.clock.now_us()
    return {
        "kek_id": found.kek_id,
        "kek": found.kek_where,
        "keys": [
            {
                "key_id": key.key_id,
                "purpose": key.purpose,
                "kek_id": key.kek_id,
                "created_at": rfc3339(key.created_us),
                "age_seconds": max(now_us - key.created_us, 0) // MICROSECONDS,
                "seals": key.seals,
                "current": key.current,
            }
            for key in found.keys
        ],
    }
