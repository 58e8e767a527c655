"""HL7 version 2 as data: bytes in, bytes out, no I/O."""
