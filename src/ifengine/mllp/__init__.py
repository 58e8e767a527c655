"""MLLP: framing, listener, client, TLS. Knows no HL7."""
