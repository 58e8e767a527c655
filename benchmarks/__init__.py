"""Measures the engine against its own no-disk run and the disk's fdatasync rate."""
