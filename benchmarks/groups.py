"""Which cases there are. ``core`` is what ``make bench`` runs; the other groups are asked for."""

from benchmarks.measuring import Case

SLOW_US = 5000


def _paths() -> list[Case]:
    return [
        Case(f"{lanes} lane{'s' * (lanes > 1)}, {delay} ms receiver", deliver=True, lanes=lanes,
             delay_ms=delay)
        for delay in (0, 1, 5)
        for lanes in (1, 4, 16)
    ]  # fmt: skip


def _receive() -> list[Case]:
    return [
        Case("receive, 1 connection", 1, target="2,500/s"),
        Case("receive, 16 connections", 16, target="12,000/s"),
        Case("receive, 64 connections", 64, target="20,000/s"),
        Case("receive, 16 connections, window 16", 16, 16, target="40,000/s"),
    ]


CORE = (
    *_receive(),
    Case("full path, 1 lane, 0 ms receiver", deliver=True, target="7,000/s"),
    Case("full path, 16 lanes, 0 ms receiver", deliver=True, lanes=16),
    Case("full path, 1 lane, 1 ms receiver", deliver=True, delay_ms=1),
    Case("full path, 16 lanes, 1 ms receiver", deliver=True, lanes=16, delay_ms=1,
         target="6,000/s"),
)  # fmt: skip

CONNECTIONS = tuple(
    Case(f"full path, {count} connection{'s' * (count > 1)}", count, deliver=True)
    for count in (1, 16, 64)
)

FAN_OUT = tuple(
    Case(f"{count} destination{'s' * (count > 1)}", deliver=True, destinations=count)
    for count in (1, 3, 10)
)

SIZES = (
    Case("receive, 1 KB", message="1 KB"),
    Case("receive, 3.4 KB", message="3.4 KB"),
    Case("receive, a 5 MB document, 4 connections", 4, message="5 MB"),
    Case("full path, 1 KB", deliver=True, message="1 KB"),
    Case("full path, 3.4 KB", deliver=True, message="3.4 KB"),
    Case("full path, a 5 MB document, 4 connections", 4, deliver=True, message="5 MB"),
)

DISK = (
    Case("receive, 1 connection", 1, slow_sync_us=SLOW_US, memory_too=False),
    Case("receive, 16 connections", 16, slow_sync_us=SLOW_US, memory_too=False),
    Case("receive, 64 connections", 64, slow_sync_us=SLOW_US, memory_too=False),
    Case("full path, 1 lane", deliver=True, slow_sync_us=SLOW_US, memory_too=False),
    Case("full path, 16 lanes", deliver=True, lanes=16, slow_sync_us=SLOW_US, memory_too=False),
)

INTERPRETED = (
    Case("receive, 16 connections", interpreted=True, memory_too=False),
    Case("receive, 64 connections", 64, interpreted=True, memory_too=False),
    Case("full path, 1 lane", deliver=True, interpreted=True, memory_too=False),
    Case("full path, 16 lanes, 1 ms receiver", deliver=True, lanes=16, delay_ms=1,
         interpreted=True, memory_too=False),
)  # fmt: skip

# name -> what stands above its table, and its cases
GROUPS: dict[str, tuple[str, tuple[Case, ...]]] = {
    "core": ("Receiving, and the full path", CORE),
    "lanes": ("Lanes and receivers", tuple(_paths())),
    "connections": ("Connections on the full path", CONNECTIONS),
    "destinations": ("Destinations: delivered/s is at each of them", FAN_OUT),
    "sizes": ("Sizes", SIZES),
    "disk": ("A disk whose sync takes 5 ms longer", DISK),
    "interpreted": ("Without native code", INTERPRETED),
}
# groups that are not tables of cases: see their modules
OTHER_GROUPS = ("backlog", "foreign", "steps")
EVERY_GROUP = (*GROUPS, *OTHER_GROUPS)
