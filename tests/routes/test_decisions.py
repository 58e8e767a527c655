"""What is decided about a message shows nothing of it."""

from ifengine.routes.decisions import Decision, MessageContext, PlannedDelivery
from ifengine.routes.planning import Planned
from ifengine.store.base import Fate
from ifengine.transforms.base import Reason

CANARY = "CANARY"


def test_no_decision_and_no_part_of_one_shows_content_when_it_is_written_out() -> None:
    delivery = PlannedDelivery(
        "lab", Fate.QUEUED, CANARY.encode(), f"{CANARY}.hl7", Reason("rule", CANARY), keys=(CANARY,)
    )
    planned = Planned(
        inbox_id=1,
        received_us=2,
        content=CANARY.encode(),
        plan=(delivery,),
        keys=(CANARY.encode(),),
    )
    shown = [delivery, planned, Decision((delivery,)), MessageContext("1", 2)]
    assert CANARY not in repr(shown)
    assert "lab" in repr(shown[2])
    assert all(CANARY not in f"{one}" for one in shown)
