"""HL7 tables that the engine decides by. Each enum names its table."""

from enum import IntEnum, StrEnum


class AckCode(StrEnum):
    """Table 0008, MSA-1. A: application, C: accept (commit). A accepted, E error, R rejected."""

    AA = "AA"
    AE = "AE"
    AR = "AR"
    CA = "CA"
    CE = "CE"
    CR = "CR"


class ProcessingId(StrEnum):
    """Table 0103, MSH-11.1."""

    DEBUGGING = "D"
    PRODUCTION = "P"
    TRAINING = "T"


class AckCondition(StrEnum):
    """Table 0155, MSH-15 and MSH-16: when an acknowledgment is wanted, judged by the outcome."""

    ALWAYS = "AL"
    NEVER = "NE"
    ON_ERROR = "ER"
    ON_SUCCESS = "SU"


class Severity(StrEnum):
    """Table 0516, ERR-4."""

    ERROR = "E"
    WARNING = "W"
    INFORMATION = "I"
    FATAL = "F"


class Hl7ErrorCode(IntEnum):
    """Table 0357, ERR-3 (ERR-1.4 until 2.4)."""

    ACCEPTED = 0
    SEGMENT_SEQUENCE = 100
    REQUIRED_FIELD_MISSING = 101
    DATA_TYPE = 102
    TABLE_VALUE_NOT_FOUND = 103
    UNSUPPORTED_MESSAGE_TYPE = 200
    UNSUPPORTED_EVENT_CODE = 201
    UNSUPPORTED_PROCESSING_ID = 202
    UNSUPPORTED_VERSION_ID = 203
    UNKNOWN_KEY = 204
    DUPLICATE_KEY = 205
    RECORD_LOCKED = 206
    INTERNAL_ERROR = 207

    @property
    def text(self) -> str:
        """The table's own wording, ERR-3.2."""
        return _TEXTS[self]


_TEXTS = {
    Hl7ErrorCode.ACCEPTED: "Message accepted",
    Hl7ErrorCode.SEGMENT_SEQUENCE: "Segment sequence error",
    Hl7ErrorCode.REQUIRED_FIELD_MISSING: "Required field missing",
    Hl7ErrorCode.DATA_TYPE: "Data type error",
    Hl7ErrorCode.TABLE_VALUE_NOT_FOUND: "Table value not found",
    Hl7ErrorCode.UNSUPPORTED_MESSAGE_TYPE: "Unsupported message type",
    Hl7ErrorCode.UNSUPPORTED_EVENT_CODE: "Unsupported event code",
    Hl7ErrorCode.UNSUPPORTED_PROCESSING_ID: "Unsupported processing id",
    Hl7ErrorCode.UNSUPPORTED_VERSION_ID: "Unsupported version id",
    Hl7ErrorCode.UNKNOWN_KEY: "Unknown key identifier",
    Hl7ErrorCode.DUPLICATE_KEY: "Duplicate key identifier",
    Hl7ErrorCode.RECORD_LOCKED: "Application record locked",
    Hl7ErrorCode.INTERNAL_ERROR: "Application internal error",
}
