"""What changed between two configurations, in words."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.support import Receiver, Site
from ifengine.routes.config.compare import changes, needs_restart
from ifengine.routes.config.loading import Loaded, load_site

STEPS = (
    "order_by: patient\nsteps:\n  - upper: PID-5\n  - lookup: {table: sex, from: PID-8, missing: U}"
)


class Folder(Site):
    """A site with a table."""

    table = "from,to\n1,F\n2,M\n"

    def load(self) -> Loaded:
        self.write()
        tables = self.folder / "channels" / "tables"
        tables.mkdir(exist_ok=True)
        (tables / "sex.csv").write_text(self.table)
        loaded = load_site(self.folder, environ={})
        assert loaded.site is not None, loaded.problems
        return loaded


@pytest.fixture
def site(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "site", {"lab": Receiver()}, head=STEPS)


def test_the_same_files_differ_in_nothing(site: Folder) -> None:
    assert changes(site.load(), site.load()) == ()


def test_how_a_file_is_written_is_no_change_of_a_channel(site: Folder) -> None:
    before = site.load()
    site.head = "# a comment\n" + STEPS.replace("upper: PID-5", "upper:   'PID-5'")
    assert changes(before, site.load()) == ()


def test_parts_of_channels_rows_of_tables_and_places_are_named(site: Folder) -> None:
    before = site.load()
    site.head = STEPS.replace("PID-5", "PID-6") + "\n  - trim: PID-7"
    site.options["lab"] = "lanes: 2"
    site.table = "from,to\n1,W\n3,X\n"
    site.receivers["ward"] = Receiver()
    site.port += 1
    assert changes(before, site.load()) == (
        "adt: 2 changes in steps, 1 change in to lab, 1 change in to ward",
        "table sex: 1 row new, 1 row changed, 1 row gone",
        "connection in: another address",
        "connection to-ward: a new sender",
        "ifengine.yaml: changed",
    )


def test_channels_come_and_go(site: Folder) -> None:
    before = site.load()
    site.channels["more"] = (
        "ifengine: 1\nchannel: more\nfrom: in\nenabled: no\nto: {lab: {connection: to-lab}}\n"
    )
    after = site.load()
    assert changes(before, after) == ("more: a new channel",)
    assert changes(after, before) == ("more: the channel goes",)


def test_who_is_one_patient_is_a_change_of_its_own(site: Folder) -> None:
    loaded = site.load()
    assert loaded.site is not None
    other = replace(loaded, site=replace(loaded.site, identity=None, facts={"order": 60.0}))
    assert changes(loaded, other) == (
        "identity: who is one patient is defined differently",
        "facts: what is shared, or for how long, is different",
    )


def test_what_the_running_process_has_open_needs_a_restart(site: Folder) -> None:
    loaded = site.load()
    assert loaded.site is not None
    assert needs_restart(loaded.site, loaded.site) == ()
    for name, key in (("store_path", "store.path"), ("kek", "keys.kek"), ("site", "site")):
        other = replace(loaded.site, **{name: "elsewhere"})
        assert needs_restart(loaded.site, other) == (key,)
    moved = replace(loaded.site, metrics_host="::1", metrics_port=1)
    assert needs_restart(loaded.site, moved) == ("listen.metrics",)
