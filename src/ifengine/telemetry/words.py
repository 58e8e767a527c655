"""The closed lists of words that events are told with."""

from enum import StrEnum


class StopReason(StrEnum):
    """Why an engine stops in order."""

    SIGTERM = "sigterm"
    SIGINT = "sigint"
    STORAGE_FAILED = "storage_failed"
    UNFORESEEN = "unforeseen"
    OTHER = "other"  # by the program that it runs in


class StorageFault(StrEnum):
    """What the storage did."""

    DISK_FULL = "disk_full"
    DAMAGED_PAGE = "damaged_page"
    FAILED = "failed"


class Refusal(StrEnum):
    """Why a sender was turned away before a byte of it was read."""

    NOT_ALLOWED = "not_allowed"
    LIMIT = "limit"
    ADDRESS_LIMIT = "address_limit"
    TLS = "tls"
    SYSTEM = "system"  # the operating system gave no connection: too many open files


class Drop(StrEnum):
    """Why a connection of a sender was closed by the engine."""

    FRAME_TIMEOUT = "frame_timeout"  # a message that was begun did not go on
    WRITE_TIMEOUT = "write_timeout"  # its answers were not read
    MEMORY = "memory"  # unfinished messages held too much


class PauseReason(StrEnum):
    """What holds the intake."""

    DISK = "disk"
    BACKLOG = "backlog"
