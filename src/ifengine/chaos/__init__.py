"""A proxy between two MLLP peers that misbehaves as told, for trying what the peers make of it."""
