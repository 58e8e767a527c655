"""What ``validate`` finds: places and rules, never a value."""

from typing import Final, NamedTuple

from ifengine.hl7.ack import AckError, ErrorLocation, Hl7ErrorCode

MOST_FINDINGS: Final = 50
_MOST_SAID = 5


class Finding(NamedTuple):
    """One broken rule. ``rule`` goes on after the place: "PID-7: is not a date (DT)"."""

    code: Hl7ErrorCode
    location: ErrorLocation
    rule: str

    @property
    def place(self) -> str:
        """``PID-7``, ``OBX[2]-5[3].1``; empty where it cannot be named."""
        name, sequence, field, repetition, component, subcomponent = self.location
        text = f"{name}[{sequence}]" if sequence > 1 else name
        if field:
            text += f"-{field}" + (f"[{repetition}]" if repetition > 1 else "")
        if component:
            text += f".{component}" + (f".{subcomponent}" if subcomponent else "")
        return text

    @property
    def text(self) -> str:
        """Place and rule."""
        return f"{self.place}: {self.rule}" if self.place else self.rule

    def for_sender(self) -> AckError:
        """Return it as ERR has it."""
        return AckError(self.code, self.location if self.location.segment else None, self.text)


def summary(findings: list[Finding]) -> str:
    """Return what is told of them: the first few, and how many there are."""
    said = "; ".join(finding.text for finding in findings[:_MOST_SAID])
    more = len(findings) - _MOST_SAID
    if more <= 0:
        return said
    least = "at least " if len(findings) >= MOST_FINDINGS else ""
    return f"{said}; and {least}{more} more"
