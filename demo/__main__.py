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
from demo.departments import UNKNOWN_PROCEDURE, Hub, Lab, Merges, OrderEntry
from demo.hospital import NEW_WARD, Hospital
from demo.night import Night, Research
from demo.receivers import Receiver
from demo.sending import Sender, Stream, Told
from demo.serving import DemoError, copy_site

ONCE_RATES = {"epic-adt": 80.0, "hub-in": 20.0, "lab-oru": 15.0, "cpoe-orm": 8.0}
LASTING_SHARE = 0.15  # of these, when it goes on until Ctrl-C
QUIET_SECONDS = 30.0
RECEIVERS = {
    ("adt-fanout", "lab"): "lis-adt",
    ("adt-fanout", "pharmacy"): "pharmacy-adt",
    ("identity-and-waiting", "registry"): "registry-adt",
    ("identity-and-waiting", "ehr"): "ehr-hub",
    ("lab-results", "ehr"): "ehr-oru",
    ("radiology-orders", "ris"): "ris-orm",
    ("regional-batch", "north"): "north-lis",
    ("regional-batch", "south"): "south-lis",
}
SHOWN_METRICS = (
    "ifengine_messages_received_total", "ifengine_acks_sent_total", "ifengine_dead_letters{",
    "ifengine_duplicates_total{",
)  # fmt: skip


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


def chapter(text: str) -> None:
    """Print a heading."""
    say(f"\n== {text}")


def show(text: str, most: int = 12) -> None:
    """Print what a command printed, indented, cut where it is long."""
    lines = text.rstrip().splitlines()
    for line in lines[:most]:
        say(f"    {line[:150]}")
    if len(lines) > most:
        say(f"    ... {len(lines) - most} more lines")


def unknown_procedure(content: bytes) -> bool:
    """Return whether the radiology system refuses this order."""
    return f"|{UNKNOWN_PROCEDURE}^".encode() in content


def takes_all(_content: bytes) -> bool:
    """Return that nothing is refused."""
    return False


class Demonstration:
    """The story, one method a chapter."""

    def __init__(self, share: float) -> None:
        self.receivers = {
            place: Receiver(connection, unknown_procedure if place[1] == "ris" else takes_all)
            for place, connection in RECEIVERS.items()
        }
        self.site, ports = copy_site(
            list(ONCE_RATES),
            {RECEIVERS[place]: receiver.port for place, receiver in self.receivers.items()},
        )
        merges, self.hospital = Merges(), Hospital()
        streams: dict[str, Stream] = {
            "epic-adt": self.hospital, "hub-in": Hub(merges), "lab-oru": Lab(merges),
            "cpoe-orm": OrderEntry(),
        }  # fmt: skip
        self.senders = {
            name: Sender(ports[name], rate * share, streams[name])
            for name, rate in ONCE_RATES.items()
        }
        self.lab = self.receivers["adt-fanout", "lab"]
        self.lab.strangers = self.hospital.strangers
        self.night = Night()
        self.research = Research(self.site.folder / "var" / "research")
        self.decided: dict[str, str] = {}  # control id -> what a person made of it

    def told(self) -> dict[str, Told]:
        """Return everything sent over connections so far."""
        return {
            control: one
            for sender in self.senders.values()
            for control, one in list(sender.sent.items())
        }

    def begin(self) -> None:
        """Make the keys, check the site, serve."""
        chapter(f"A hospital in {self.site.folder}")
        for words in (("keys", "init"), ("check",), ("test",)):
            say(f"$ ifengine {' '.join(words)}")
            show(self.site.run(*words))
        say("$ ifengine serve")
        took = self.site.start()
        show(self.site.log.read_text())
        say(f"ready after {took:.1f} s; eight receivers wait, four senders begin")
        self.night.write(self.site.folder / "var" / "hub" / "in")
        say(f"the region's file of the night, {len(self.night.sent)} results, lies in var/hub/in")
        for sender in self.senders.values():
            sender.start()

    def account(self) -> None:
        """Print one line of how things stand."""
        sent = sum(len(sender.sent) for sender in self.senders.values())
        answered = sum(len(sender.answers) for sender in self.senders.values())
        there = ", ".join(
            f"{RECEIVERS[place]} {len(set(receiver.delivered)):,}"
            for place, receiver in self.receivers.items()
        )
        say(f"  sent {sent:>6,}  answered {answered:>6,}  \n    received: {there}")

    def watch(self, seconds: float) -> None:
        """Let traffic flow."""
        time.sleep(seconds)

    def crash(self) -> None:
        """Kill the serving process under load and start it again."""
        chapter("Killed under load")
        answered = sum(len(sender.answers) for sender in self.senders.values())
        pid = self.site.kill()
        say(f"$ kill -9 {pid}        # {answered:,} messages answered so far")
        took = self.site.start()
        say(f"$ ifengine serve       # ready again after {took:.1f} s; the senders send on")

    def look(self) -> None:
        """Show what a person sees of what was not delivered."""
        chapter("What waits for a person")
        say("$ ifengine dlq list")
        show(self.site.run("dlq", "list"))
        say("$ ifengine messages list --state rejected --limit 2   # their senders were told")
        show(self.site.run("messages", "list", "--state", "rejected", "--limit", "2"))
        say("$ ifengine messages list --state dropped --limit 3")
        show(self.site.run("messages", "list", "--state", "dropped", "--limit", "3"))

    def expire(self) -> None:
        """One of the results whose order never comes is not waited for any more."""
        chapter("Results that wait for their order")
        say("$ ifengine parked list")
        show(self.site.run("parked", "list"), 6)
        never = self.waiting("no order", "parked")[:1]
        if not never:
            raise DemoError("no result waits for its order")
        number, control = never[0]
        reason = "the ward did not order it"
        say(f'$ ifengine parked expire {number} --reason "{reason}"')
        show(self.site.run("parked", "expire", number, "--reason", reason))
        self.decided[control] = "dead_letter"

    def repair(self) -> None:
        """Enter the missing ward in the table, reload, replay what waited for it."""
        chapter("Corrected while it runs, and replayed")
        self.hospital.admits_to_new_ward = False  # nobody is brought there while it is changed
        time.sleep(0.5)
        table = self.site.folder / "channels" / "tables" / "ward.csv"
        table.write_text(table.read_text().rstrip("\n") + f"\n{NEW_WARD},E9\n")
        say(f"# the ward {NEW_WARD} is entered in channels/tables/ward.csv")
        say("$ ifengine reload")
        show(self.site.run("reload"))
        letters = self.waiting("new ward", "dead_letter")
        self.replay(letters, "reprocess", "the ward is in the table now")
        self.hospital.wards.append(NEW_WARD)  # from now on a ward like the others
        strangers = self.waiting("stranger", "dead_letter")[:1]
        if not strangers:
            raise DemoError("the lab refused nobody: there is nothing to replay")
        told = self.told()
        self.lab.strangers.difference_update(told[control].patient for _, control in strangers)
        say("# the lab registers one of the patients it had refused")
        self.replay(strangers, "stored", "the lab registered the patient")
        say("$ ifengine audit verify")
        show(self.site.run("audit", "verify"))

    def waiting(self, reason: str, state: str) -> list[tuple[str, str]]:
        """Return (message id, control id) of the messages in a state with one cause."""
        found, told = [], self.told()
        for record in self.site.json("messages", "list", "--state", state, "--limit", "100000"):
            one = told.get(record["control_id"])
            if one is not None and one.reason == reason:
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
        self.decided.update(dict.fromkeys(controls, "sent"))
        deadline = time.monotonic() + QUIET_SECONDS
        while not controls <= set(self.lab.delivered):
            if time.monotonic() > deadline:
                raise DemoError("what was replayed did not arrive at the lab")
            time.sleep(0.05)

    def wait_for_the_night(self) -> None:
        """Wait until the region's files are taken."""
        chapter("The file of the night")
        hub = self.site.folder / "var" / "hub"
        deadline = time.monotonic() + QUIET_SECONDS
        while not ((hub / "done" / "night.hl7").exists() and (hub / "bad" / "cut.hl7").exists()):
            if time.monotonic() > deadline:
                raise DemoError("the files of the night were not taken")
            time.sleep(0.1)
        say("taken: var/hub/done/night.hl7; without its end: var/hub/bad/cut.hl7")

    def records(self) -> list[dict[str, Any]]:
        """Return everything the engine lists."""
        found: list[dict[str, Any]] = self.site.json("messages", "list", "--limit", "10000000")
        return found

    def wait_until_quiet(self) -> None:
        """Wait until the engine has nothing under way."""
        deadline = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < deadline:
            states = {record["state"] for record in self.records()}
            if not states & set(balance.UNSETTLED):
                return
            time.sleep(0.3)

    def end(self) -> bool:
        """Stop sending, draw the balance, stop serving; return whether all is right."""
        chapter("The balance")
        # the hub last: the laboratory may wait for one of its merges
        for name in ("lab-oru", "cpoe-orm", "epic-adt", "hub-in"):
            self.senders[name].stop()
        self.wait_until_quiet()
        say("$ ifengine metrics     # some of them")
        text = self.site.run("metrics")
        lines = [line for line in text.splitlines() if line.startswith(SHOWN_METRICS)]
        show("\n".join(line for line in lines if not line.endswith(" 0.0")), 10)
        records = self.records()
        self.research.read(records)
        drawn = balance.draw(
            (*self.senders.values(), self.night),
            {**self.receivers, ("regional-batch", "research"): self.research},
            records, self.decided, self.night.cut_files,
        )  # fmt: skip
        second = sum(sender.second_sends for sender in self.senders.values())
        repeats = sum(sender.repeats for sender in self.senders.values())
        twice = sum(len(receiver.repeats()) for receiver in self.receivers.values())
        say(
            f"{second} messages were sent twice on purpose, {repeats} again after a lost connection;"
            f" delivered twice, and marked so: {twice}"
        )
        drawn.print()
        telling = self.research.telling
        say(
            f"{len(telling)} copies for research tell who somebody is" if telling
            else f"{len(self.research.delivered)} copies for research: no name, number or day in them"
        )  # fmt: skip
        code = self.site.stop()
        say(f"serve stopped with exit {code}")
        return drawn.holds() and not telling and code == 0

    def close(self) -> None:
        """Leave nothing running."""
        self.site.close()
        for receiver in self.receivers.values():
            receiver.close()


def story(demonstration: Demonstration, once: bool) -> None:
    """Tell it."""
    demonstration.begin()
    for _ in range(2):
        demonstration.watch(2.0)
        demonstration.account()
    demonstration.crash()
    demonstration.watch(5.0 if once else 40.0)
    demonstration.account()
    demonstration.look()
    demonstration.expire()
    demonstration.repair()
    demonstration.wait_for_the_night()
    demonstration.watch(2.0)
    demonstration.account()
    while not once:
        demonstration.watch(5.0)
        demonstration.account()


def main() -> int:
    """Run the demonstration; exit 0 when the balance holds."""
    once = os.environ.get("ONCE", "") not in ("", "0")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    demonstration = Demonstration(1.0 if once else LASTING_SHARE)
    try:
        try:
            story(demonstration, once)
        except KeyboardInterrupt:
            if not all(sender.is_alive() for sender in demonstration.senders.values()):
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
