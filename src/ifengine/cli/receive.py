"""``ifengine receive``: be a receiver of MLLP for trying channels."""

import asyncio
import json
import signal
from pathlib import Path

import click

from ifengine.cli.failure import CommandError, ExitCode, usage
from ifengine.cli.mllp_receiver import (
    ANSWERS,
    HANG_UP,
    NO_ANSWER,
    PrivateFolder,
    Receiver,
    Reply,
    Taken,
)
from ifengine.cli.options import Place, seconds_of, site_options
from ifengine.cli.output import output_option, plural, print_json, print_line, printable
from ifengine.clock import SystemClock, as_datetime, rfc3339

MOST_SCRIPT_BYTES = 256 * 1024


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), required=True,
              help="Where to listen; 0 takes a free one and prints it.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--answer", default="AA", show_default=True,
              metavar="AA|AE|AR|CA|CE|CR|timeout|close|FILE.yaml",
              help="What to answer; a file lists answers in turn, the last one goes on.")  # fmt: skip
@click.option("--save", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Keep each message as a numbered file that only you can read.")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many messages.")
@output_option("text", "json", "jsonl")
@site_options
def receive(
    port: int,
    host: str,
    answer: str,
    save: Path | None,
    count: int | None,
    place: Place,
    output: str,
) -> int:
    """Be a receiver of MLLP for trying channels. Prints one line a message, nothing of a patient.

    A script is a list: `- AE`, or `- {answer: AA, delay: 2s, text: accepted late}`.
    """
    replies = _replies(answer)
    taken: list[Taken] = []

    def told(message: Taken) -> None:
        taken.append(message)
        if output == "text":
            print_line(_line(message))
        elif output == "jsonl":
            click.echo(json.dumps(_as_json(message)))

    folder = None if save is None else PrivateFolder(save)

    async def listen() -> bool:
        loop = asyncio.get_running_loop()
        receiver = Receiver(replies, clock=SystemClock(), told=told, folder=folder, most=count)
        interrupted = False

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            receiver.stop()

        loop.add_signal_handler(signal.SIGTERM, receiver.stop)
        loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            await receiver.start(host, port)
        except OSError as error:
            raise CommandError(
                f"{host}:{port}: cannot listen ({error.strerror or 'no such address'})",
                hint="--port 0 takes a free one",
            ) from None
        said = answer if len(replies) == 1 else plural(len(replies), "answer") + " in turn"
        click.echo(f"listening on {host}:{receiver.port}, answering {said}", err=True)
        await receiver.run()
        return interrupted

    interrupted = asyncio.run(listen())
    if output == "json":
        print_json({"received": len(taken), "messages": [_as_json(message) for message in taken]})
    return ExitCode.INTERRUPTED if interrupted else ExitCode.DONE


def _line(message: Taken) -> str:
    at = as_datetime(message.at_us).strftime("%H:%M:%S")
    name = f"{message.type or '(no type)'} {message.control_id or '(no id)'}"
    return printable(f"{at} {name} from {message.peer}, {message.size} bytes → {message.answer}")


def _as_json(message: Taken) -> dict[str, object]:
    return {
        "received_at": rfc3339(message.at_us),
        "type": message.type,
        "control_id": message.control_id,
        "peer": message.peer,
        "bytes": message.size,
        "answer": message.answer,
    }


def _replies(answer: str) -> list[Reply]:
    word = _known(answer)
    if word is not None:
        return [Reply(word)]
    path = Path(answer)
    if path.suffix not in (".yaml", ".yml"):
        raise usage("--answer: not an answer", "one of " + " ".join(ANSWERS) + ", or a .yaml file")
    return read_script(path)


def _known(word: str) -> str | None:
    for answer in ANSWERS:
        if word.upper() == answer.upper():
            return answer
    return None


def read_script(path: Path) -> list[Reply]:
    """Read a list of answers.

    Raises:
        CommandError: it cannot be read or is not such a list; names the line.
    """
    from ifengine.routes.config.yaml_nodes import compose
    from ifengine.transforms.source import Items, Problems

    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_SCRIPT_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise usage(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise usage(f"{path}: is not UTF-8 text") from None
    if len(data) > MOST_SCRIPT_BYTES:
        raise usage(f"{path}: larger than {MOST_SCRIPT_BYTES // 1024} KiB")
    problems = Problems()
    node = compose(text, str(path), problems)
    if not problems.ok:
        first = problems.found[0]
        raise usage(f"{path}:{first.position.line}: {first.message}", first.hint)
    if not isinstance(node, Items) or not node.items:
        raise usage(f"{path}: must be a list of answers", "- AE, then - AA")
    return [_reply(item, path) for item in node]


def _reply(node: object, path: Path) -> Reply:
    from ifengine.transforms.source import Entries, Text

    if isinstance(node, Text):
        return Reply(_answer_of(node, path))
    if not isinstance(node, Entries):
        raise usage(f"{path}: an answer is a word or {{answer, delay, text}}")
    answer, delay, text = "", 0.0, ""
    for key, value in node:
        if not isinstance(value, Text):
            raise usage(f"{path}:{key.position.line}: {key.value} takes one text")
        match key.value:
            case "answer":
                answer = _answer_of(value, path)
            case "delay":
                delay = seconds_of(value.value)
            case "text":
                text = value.value
            case _:
                raise usage(
                    f"{path}:{key.position.line}: {key.value} is not known here",
                    "answer, delay, text",
                )
    if not answer:
        raise usage(f"{path}:{node.position.line}: answer is missing")
    if text and answer in (NO_ANSWER, HANG_UP):
        raise usage(f"{path}:{node.position.line}: {answer} has no text")
    return Reply(answer, delay, text)


def _answer_of(node: object, path: Path) -> str:
    from ifengine.transforms.source import Text

    assert isinstance(node, Text)  # noqa: S101 - for the type checker
    word = _known(node.value)
    if word is None:
        raise usage(f"{path}:{node.position.line}: not an answer", "one of " + " ".join(ANSWERS))
    return word
