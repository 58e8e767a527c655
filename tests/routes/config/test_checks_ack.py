"""`ack:` where a sender waits: what is read, and what is no mistake. Mistakes: test_problems.py."""

from ifengine.routes.config.models import AckConfig
from routes.config.small_site import CHANNEL


def with_ack(ack: str, more: str = "", to: str = "{connection: out}") -> dict[str, str]:
    text = CHANNEL.replace("to:\n", f"ack: {ack}\n{more}to:\n")
    return {"channels/one.yaml": text.replace("{connection: out}", to)}


def loaded_ack(load, ack: str, **more: str) -> AckConfig | None:
    found = load(with_ack(ack, **more))
    assert [p for p in found.problems if p.code.startswith("E")] == []
    assert found.site is not None
    (channel,) = found.site.channels
    return channel.ack


def test_what_is_left_out_refuses_with_ar(load) -> None:
    ack = loaded_ack(load, "{when: delivered, from: lab, timeout: 40s}")
    assert ack == AckConfig(source="lab", timeout_seconds=40.0, on_timeout="AR", not_sent="")


def test_every_choice_can_be_written(load) -> None:
    ack = loaded_ack(
        load,
        "{when: delivered, from: lab, timeout: 1m, else: none, not_sent: AA, answer: whole}",
        to="{connection: out, accept: PID-8 = F}",
    )
    assert ack == AckConfig(
        source="lab", timeout_seconds=60.0, on_timeout="none", not_sent="AA", whole=True
    )


def test_stored_is_what_happens_without_it(load) -> None:
    assert loaded_ack(load, "{when: stored}") is None


def test_steps_may_refuse_before_the_answer_and_where_the_answer_comes_from(load) -> None:
    step = "[{when: PID-8 = F, reject: {code: AR, text: no}}]"
    ack = loaded_ack(
        load,
        "{when: delivered, from: lab, timeout: 40s}",
        more=f"steps: {step}\n",
        to=f"{{connection: out, steps: {step}}}",
    )
    assert ack is not None


def test_a_destination_without_a_connection_has_no_timeout_to_compare(load) -> None:
    ack = loaded_ack(
        load,
        "{when: delivered, from: lab, timeout: 2s}",
        to="{files: {dir: out, name: '${msg.id}'}}",
    )
    assert ack is not None


def test_an_unreadable_when_is_one_mistake(load) -> None:
    found = load(with_ack("{when: delivred, from: lab, timeout: 40s}"))
    assert [p.code for p in found.problems if p.code.startswith("E")] == ["E103"]
