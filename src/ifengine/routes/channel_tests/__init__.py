"""Runs the `tests:` of channel files: no network, no disk, a virtual clock."""
