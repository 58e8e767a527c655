"""``make demo``: a hospital sends, the engine delivers, is killed, and loses nothing.

ONCE=1 ends by itself with the balance, exit 0 when it holds. Otherwise traffic goes on until Ctrl-C,
and the balance is drawn then.
"""

import os
import signal
import sys
import time
from typing import Any

from demo import balance
from demo.hospital import NEW_WARD, Sender
from demo.receivers import Receiver
from demo.serving import DemoError, copy_site

ONCE_RATE = 120.0
LASTING_RATE = 15.0
QUIET_SECONDS = 30.0
SHOWN_METRICS = (
    "ifengine_messages_received_total", "ifengine_acks_sent_total", "ifengine_messages_settled_total",
    "ifengine_dead_letters{", "ifengine_duplicates_total{",
)  # fmt: skip


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


def show(text: str, most: int = 12) -> None:
    """Print what a command printed, indented, cut where it is long."""
    lines = text.rstrip().splitlines()
    for line in lines[:most]:
        say(f"    {line[:150]}")
    if len(lines) > most:
        say(f"    ... {len(lines) - most} more lines")


class Demonstration:
    """The story, one method a chapter."""

    def __init__(self, rate: float) -> None:
        self.lab, self.pharmacy = Receiver("lab"), Receiver("pharmacy")
        self.site, port = copy_site({"lis-adt": self.lab.port, "pharmacy-adt": self.pharmacy.port})
        self.sender = Sender(port, rate)
        self.lab.strangers = self.sender.hospital.strangers
        self.replayed_ids: set[str] = set()
        self.replayed = {"asked": 0, "done": 0}

    def begin(self) -> None:
        """Make the keys, check the site, serve."""
        say(f"a hospital in {self.site.folder}")
        say("$ ifengine keys init")
        show(self.site.run("keys", "init"))
        say("$ ifengine check")
        show(self.site.run("check"))
        say("$ ifengine serve")
        took = self.site.start()
        show(self.site.log.read_text())
        say(
            f"ready after {took:.1f} s; lab listens on {self.lab.port}, pharmacy on {self.pharmacy.port}"
        )
        self.sender.start()

    def account(self) -> None:
        """Print one line of how things stand."""
        sender = self.sender
        say(
            f"  sent {len(sender.sent):>6,}  acknowledged {len(sender.accepted):>6,}  "
            f"at the lab {len(set(self.lab.delivered)):>6,}  at the pharmacy "
            f"{len(set(self.pharmacy.delivered)):>6,}  refused by the lab {len(set(self.lab.refused)):>3}"
        )

    def watch(self, seconds: float) -> None:
        """Let traffic flow."""
        time.sleep(seconds)

    def crash(self) -> None:
        """Kill the serving process under load and start it again."""
        before = len(self.sender.accepted)
        pid = self.site.kill()
        say(f"$ kill -9 {pid}        # under load, {before:,} messages acknowledged so far")
        took = self.site.start()
        say(
            f"$ ifengine serve       # ready again after {took:.1f} s; the sender sends on by itself"
        )

    def look(self) -> None:
        """Show what a person sees of the dead letters."""
        say("$ ifengine dlq list")
        show(self.site.run("dlq", "list"))
        say("$ ifengine messages list --state dead_letter --limit 3")
        show(self.site.run("messages", "list", "--state", "dead_letter", "--limit", "3"))

    def repair(self) -> None:
        """Enter the missing ward in the table, restart in order, replay what waited for it."""
        hospital = self.sender.hospital
        hospital.admits_to_new_ward = False  # nobody is brought there while the table is changed
        time.sleep(0.5)
        table = self.site.folder / "channels" / "tables" / "ward.csv"
        table.write_text(table.read_text().rstrip("\n") + f"\n{NEW_WARD},E9\n")
        say(
            f"# the ward {NEW_WARD} is entered in channels/tables/ward.csv; serve is stopped in order"
        )
        code = self.site.stop()
        if code != 0:
            raise DemoError(f"serve stopped with {code}")
        took = self.site.start()
        say(f"$ ifengine serve       # stopped with exit 0, ready again after {took:.1f} s")
        waiting = self.letters("new ward")
        self.replay(waiting, "reprocess", "the ward is in the table now")
        hospital.wards.append(NEW_WARD)  # from now on a ward like the others
        strangers = self.letters("stranger")[:1]
        if not strangers:
            raise DemoError("the lab refused nobody: there is nothing to replay")
        self.lab.strangers.difference_update(
            self.sender.sent[control].patient for _, control in strangers
        )
        say("# the lab registers one of the patients it had refused")
        self.replay(strangers, "stored", "the lab registered the patient")
        say("$ ifengine audit verify")
        show(self.site.run("audit", "verify"))

    def letters(self, reason: str) -> list[tuple[str, str]]:
        """Return (message id, control id) of the dead letters with one cause."""
        found = []
        for record in self.site.json(
            "messages", "list", "--state", "dead_letter", "--limit", "100000"
        ):
            told = self.sender.sent.get(record["control_id"])
            if told is not None and told.reason == reason:
                found.append((record["id"], record["control_id"]))
        return sorted(found, key=lambda one: int(one[0]))

    def replay(self, letters: list[tuple[str, str]], how: str, reason: str) -> None:
        """Replay dead letters from the command line and wait until they are delivered."""
        if not letters:
            raise DemoError("there is no such dead letter")
        ids = [one for one, _ in letters]
        shown = ids[0] + (f" … {len(ids) - 1} more" if len(ids) > 1 else "")
        say(f'$ ifengine dlq replay {shown} --as {how} --yes --reason "{reason}"')
        show(self.site.run("dlq", "replay", *ids, "--as", how, "--yes", "--reason", reason))
        controls = {control for _, control in letters}
        self.replayed_ids |= controls
        self.replayed["asked"] += len(ids)
        deadline = time.monotonic() + QUIET_SECONDS
        while not controls <= set(self.lab.delivered):
            if time.monotonic() > deadline:
                raise DemoError("what was replayed did not arrive at the lab")
            time.sleep(0.05)

    def replays_in_the_books(self) -> int:
        """Return how many of the replayed messages the engine now calls sent at the lab."""
        done = 0
        for record in self.records():
            one = balance.destination(record, "lab")
            if record["control_id"] in self.replayed_ids and one is not None:
                done += one["state"] == "sent"
        return done

    def records(self) -> list[dict[str, Any]]:
        """Return everything the engine lists."""
        found: list[dict[str, Any]] = self.site.json("messages", "list", "--limit", "10000000")
        return found

    def wait_until_quiet(self) -> None:
        """Wait until the engine has nothing under way."""
        deadline = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < deadline:
            states = {record["state"] for record in self.records()}
            if not states & {"received", "queued", "retrying", "in_doubt"}:
                return
            time.sleep(0.3)

    def end(self) -> bool:
        """Stop sending, draw the balance, stop serving; return whether all is right."""
        self.sender.stop()
        self.wait_until_quiet()
        self.account()
        say("$ ifengine metrics     # some of them")
        text = self.site.run("metrics")
        lines = [line for line in text.splitlines() if line.startswith(SHOWN_METRICS)]
        show("\n".join(line for line in lines if not line.endswith(" 0.0")), 24)
        self.replayed["done"] = self.replays_in_the_books()
        drawn = balance.draw(
            self.sender, (self.lab, self.pharmacy), self.records(), self.replayed,
            frozenset(self.replayed_ids),
        )  # fmt: skip
        repeats = len(self.lab.repeats()) + len(self.pharmacy.repeats())
        say(
            f"{self.sender.second_sends} messages were sent twice on purpose, "
            f"{self.sender.repeats} again after a lost connection; delivered twice, and marked so: "
            f"{repeats}"
        )
        drawn.print()
        code = self.site.stop()
        say(f"serve stopped with exit {code}")
        return drawn.holds() and code == 0

    def close(self) -> None:
        """Leave nothing running."""
        self.site.close()
        self.lab.close()
        self.pharmacy.close()


def story(demonstration: Demonstration, once: bool) -> None:
    """Tell it."""
    demonstration.begin()
    for _ in range(2):
        demonstration.watch(1.5)
        demonstration.account()
    demonstration.crash()
    demonstration.watch(4.0 if once else 30.0)
    demonstration.account()
    demonstration.look()
    demonstration.repair()
    demonstration.watch(2.0)
    demonstration.account()
    while not once:
        demonstration.watch(5.0)
        demonstration.account()


def main() -> int:
    """Run the demonstration; exit 0 when the balance holds."""
    once = os.environ.get("ONCE", "") not in ("", "0")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    demonstration = Demonstration(ONCE_RATE if once else LASTING_RATE)
    try:
        try:
            story(demonstration, once)
        except KeyboardInterrupt:
            if not demonstration.sender.is_alive():
                return 130
            say("\nstopping")
        return 0 if demonstration.end() else 1
    except DemoError as error:
        say(f"the demonstration failed: {error}")
        return 1
    finally:
        demonstration.close()


if __name__ == "__main__":
    sys.exit(main())
