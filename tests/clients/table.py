"""What each client did, as the table of docs/clients.md tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gateway_core.testing.simulators import DEFAULT_ANSWER, tokens_of

from .running import Child, Told
from .world import World

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
WHOLE = DEFAULT_ANSWER
SHOWN_BEFORE_THE_CUT = "".join(tokens_of(WHOLE)[:40])
CUT = "the answer broke off"
EXPLANATION = "no tier could answer"
HEAD = (
    "| Client | Version | Speaks | Whole | Streamed | Failover | Cut seen as error | All tiers down |",
    "|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Client:
    name: str
    speaks: str
    environment: str
    script: str


OPENAI, MESSAGES, OLLAMA = "chat completions", "messages", "Ollama"
CLIENTS = [
    Client("openai", OPENAI, "client-openai", "openai_sync.py"),
    Client("openai, async", OPENAI, "client-openai", "openai_async.py"),
    Client("openai, responses", "responses", "client-openai", "openai_responses.py"),
    Client("openai for JavaScript", OPENAI, "client-javascript", "openai.mjs"),
    Client("ai (Vercel) for JavaScript", OPENAI, "client-javascript", "ai.mjs"),
    Client("langchain-openai", OPENAI, "client-langchain", "langchain_openai_chat.py"),
    Client("langchain-anthropic", MESSAGES, "client-langchain", "langchain_anthropic_chat.py"),
    Client("langchain-ollama", OLLAMA, "client-langchain", "langchain_ollama_chat.py"),
    Client("llama-index-llms-openai-like", OPENAI, "client-llama-index", "llama_index_like.py"),
    Client("litellm", OPENAI, "client-litellm", "litellm_sdk.py"),
    Client("pydantic-ai", OPENAI, "client-pydantic-ai", "pydantic_ai_agent.py"),
    Client("llm", OPENAI, "client-llm", "llm_command.py"),
    Client("anthropic", MESSAGES, "client-anthropic", "anthropic_sync.py"),
    Client("ollama", OLLAMA, "client-ollama", "ollama_sync.py"),
]


See = Callable[[str], Told]


@dataclass
class Row:
    """One client's cells: `yes`, or what was seen instead."""

    client: Client
    version: str = ""
    cells: list[str] = field(default_factory=list)
    seen: list[Told] = field(default_factory=list)

    def __str__(self) -> str:
        return f"| {' | '.join([self.client.name, self.version, self.client.speaks, *self.cells])} |"


def measured(client: Client, child: Child, world: World) -> Row:
    """The client's row, from real requests."""
    row = Row(client, child.version)

    def see(act: str) -> Told:
        row.seen.append(told := child.do(act))
        return told

    world.meet()
    row.cells.append(_whole(see("whole")))
    row.cells.append(_streamed(see("stream")))
    row.cells.append(_failover(see, world))
    row.cells.append(_cut(see, world))
    row.cells.append(_down(see, world))
    return row


def _whole(told: Told) -> str:
    return "yes" if told.result == WHOLE else _instead(told)


def _streamed(told: Told) -> str:
    if told.result != WHOLE:
        return _instead(told)
    return "yes" if len(told.pieces) > 1 else "no: in one piece"


def _failover(see: See, world: World) -> str:
    for act, judged in (("whole", _whole), ("stream", _streamed)):
        world.meet(copilot="status_500")
        if (verdict := judged(see(act))) != "yes":
            return f"{act}: {verdict}"
        if not world.answered_by_the_cloud:
            return f"{act}: not the cloud's answer"
    return "yes"


def _cut(see: See, world: World) -> str:
    world.meet(copilot="cut_after:40")
    told = see("stream")
    if told.error is None:
        return "no: taken for an answer"
    if told.shown != SHOWN_BEFORE_THE_CUT:
        return "an error, but " + ("parts are lost" if SHOWN_BEFORE_THE_CUT.startswith(told.shown) else "other text")
    if world.requests != 1:
        return f"an error, after {world.requests} requests"
    return "yes" if CUT in told.message else "yes, in other words than ours"


def _down(see: See, world: World) -> str:
    verdicts = []
    for act in ("whole", "stream"):
        world.meet("status_500", "status_500", "status_500")
        told = see(act)
        if told.error is None:
            return f"no: {act} looks answered"
        explained = "explained" if EXPLANATION in told.message else "not explained"
        verdicts.append(f"{explained}, {world.requests} request{'s' if world.requests != 1 else ''}")
    return verdicts[0] if verdicts[0] == verdicts[1] else f"{verdicts[0]}; streamed: {verdicts[1]}"


def _instead(told: Told) -> str:
    return f"no: {told.error}" if told.error else "no: other text"


def table(rows: Iterable[str]) -> str:
    return "\n".join([*HEAD, *rows])


def rows_of(page: str) -> dict[str, str]:
    """The rows of the table on the page, by client."""
    found = page.partition(HEAD[0])[2].partition("\n\n")[0].splitlines()
    return {row.split("|")[1].strip(): row for row in found if row.startswith("| ")}
