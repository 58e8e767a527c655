"""The messages of a simulation, made from a seed: admissions, merges, orders and results."""

import random
from collections.abc import Callable
from functools import partial

from simulation.peers import Sent


def _head(control: str, kind: str, event: str, patient: str) -> str:
    return (
        f"MSH|^~\\&|HIS|RIVER|IE|RIVER|20260105101500||{kind}^{event}|{control}|P|2.5.1\r"
        f"EVN|{event}|20260105101500\r"
        f"PID|1||{patient}^^^RIVER^MR||Sample^Sam||19800215|M\r"
    )


class Feed:
    """Makes the messages of one connection; its patients and orders are no other's."""

    def __init__(self, connection: int, choose: random.Random, *, merges: float) -> None:
        self._prefix, self._choose, self._merges = connection, choose, merges
        self._number = 0
        self._patients = [f"{connection}{n:02d}" for n in range(5)]
        self._retired: dict[str, str] = {}
        self._ordered: list[str] = []  # orders whose result may come
        self._orders = 0
        self._early: list[str] = []  # orders that come after their result
        self.pending: list[Callable[[], Sent]] = []  # what has to follow the last message
        self._visits: list[tuple[str, str, str]] = []  # patient, visit, appointment
        self._finals: list[tuple[str, str]] = []  # patient, report

    def next(self) -> Sent:
        """Return the next message."""
        if self.pending:
            return self.pending.pop(0)()
        if self._choose.random() < 0.25:
            return self._choose.choice([self._visit, self._part, self._news])()
        roll = self._choose.random()
        live = [p for p in self._patients if p not in self._retired]
        if roll < self._merges and len(live) > 2:
            return self._merge(*self._choose.sample(live, 2))
        if roll < 0.55:
            return self._adt(self._choose.choice(self._patients))
        if roll < 0.75 or not self._ordered:
            return self._order()
        return self._result()

    def _made(self, kind: str, keys: set[str], waits_for: str, content: str) -> Sent:
        control = self._control()
        every = {*keys, *(self._survivor(key) for key in keys)}
        number = self._number
        self._number += 1
        return Sent(control, number, kind, frozenset(every), waits_for, content.encode())

    def _control(self) -> str:
        return f"M{self._prefix}-{self._number:05d}"

    def _survivor(self, patient: str) -> str:
        while patient in self._retired:
            patient = self._retired[patient]
        return patient

    def _adt(self, patient: str) -> Sent:
        content = _head(self._control(), "ADT", "A08", patient) + f"ZZZ|{self._number}\r"
        return self._made("adt", {patient}, "", content)

    def _merge(self, keep: str, prior: str) -> Sent:
        content = _head(self._control(), "ADT", "A40", keep) + f"MRG|{prior}^^^RIVER^MR\r"
        self._retired[prior] = keep
        return self._made("merge", {keep, prior}, "", content)

    def _order(self) -> Sent:
        patient = self._choose.choice(self._patients)
        if self._early and self._choose.random() < 0.5:
            order = self._early.pop(0)
        else:
            self._orders += 1
            order = f"P{self._prefix}{self._orders:04d}"
            if self._choose.random() < 0.4:
                self._ordered.append(order)
                self._early.append(order)
                return self._result_of(order)
        self._ordered.append(order)
        content = _head(self._control(), "ORM", "O01", patient) + f"ORC|NW|{order}\r"
        return self._made("order", {patient}, order, content)

    def _result(self) -> Sent:
        return self._result_of(self._choose.choice(self._ordered))

    def _result_of(self, order: str) -> Sent:
        # one patient an order, whatever he is called now
        patient = self._patients[int(order[-2:]) % len(self._patients)]
        content = _head(self._control(), "ORU", "R01", patient)
        return self._made("result", {patient}, order, content + f"OBR|1|{order}||K\r")

    # --- what hangs on what was remembered --------------------------------------------------------

    def _visit(self) -> Sent:
        """Return a visit, the same once more, or what comes of it when it is out of the house."""
        if self._visits and self._choose.random() < 0.6:
            patient, visit, appointment = self._choose.choice(self._visits)
            if self._choose.random() < 0.5:
                return self._appointment("again", patient, visit, appointment, "I")
            return self._appointment("followed", patient, visit, f"F{self._number}", "O")
        patient = self._choose.choice(self._patients)
        made = (patient, f"V{self._prefix}{self._number}", f"A{self._prefix}{self._number}")
        self._visits.append(made)
        return self._appointment("visit", *made, "I")

    def _appointment(
        self, kind: str, patient: str, visit: str, appointment: str, place: str
    ) -> Sent:
        content = _head(self._control(), "SIU", "S12", patient)
        content += f"PV1|1|{place}{17 * '|'}{visit}\rSCH|{appointment}\r"
        return self._made(kind, {patient}, "", content)

    def _part(self) -> Sent:
        """Return the first half of a report; the other one follows."""
        patient, report = self._choose.choice(self._patients), f"R{self._prefix}{self._number}"
        value = f"half-{self._prefix}-{self._number}"
        self.pending.append(partial(self._report, "whole", patient, report, "F", value))
        return self._report("part", patient, report, "P", value)

    def _report(self, kind: str, patient: str, report: str, status: str, value: str) -> Sent:
        content = _head(self._control(), "ORU", "R30", patient)
        content += f"OBR|1||{report}|K{21 * '|'}{status}\r"
        own = value if kind == "part" else f"rest of {value}"
        return self._made(kind, {patient}, value, content + f"OBX|1|ST|K||{own}||||||F\r")

    def _news(self) -> Sent:
        """Return something final, or something preliminary that comes too late."""
        if self._finals and self._choose.random() < 0.5:
            kind, status, at = "stale", "P", "20260105090000"
            patient, report = self._choose.choice(self._finals)
        else:
            kind, status, at = "final", "F", "20260105100000"
            patient, report = self._choose.choice(self._patients), f"N{self._prefix}{self._number}"
            self._finals.append((patient, report))
        content = _head(self._control(), "ORU", "R31", patient)
        content += f"OBR|1||{report}|K{18 * '|'}{at}|||{status}\r"
        return self._made(kind, {patient}, "", content + "OBX|1|ST|K||1||||||F\r")
