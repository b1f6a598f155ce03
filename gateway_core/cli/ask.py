"""`ai-gateway ask`: one question, one answer on standard output, everything else on standard error."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from ..blocking import BlockingGateway
from ..errors import AllTiersFailed, AnswerInterrupted, PromptRefused
from ..replies import problem_of, reply_of
from ..types import Answer, Delta, Done, Event, Meta, SegmentStarted
from .exits import ANSWERED, NOT_ANSWERED, STOPPED, USAGE
from .reading import STANDARD_INPUT, Loading, documents_from, prompt_from
from .telling import as_json, byline, in_options, is_notable, nobody_answered, reason_words, source_lines
from .terminal import Terminal


def run(options: Namespace, gateway: BlockingGateway, terminal: Terminal) -> int:
    is_streamed = options.stream if options.stream is not None else terminal.out_is_terminal and not options.json
    showing = Showing(terminal, is_streamed=is_streamed, is_text=not options.json)
    try:
        answer = showing.of(_events(options, gateway, terminal, is_streamed))
    except (PromptRefused, AllTiersFailed, AnswerInterrupted, KeyboardInterrupt) as error:
        if options.json:
            terminal.write_exactly(as_json(showing.problem(error)))
        else:
            showing.failed(error)
        return exit_code(error)
    if options.json:
        terminal.write_exactly(as_json(reply_of(answer, details=True)))
    else:
        showing.finished(answer)
    return NOT_ANSWERED if has_found_nothing(answer) else ANSWERED


def _events(options: Namespace, gateway: BlockingGateway, terminal: Terminal, is_streamed: bool) -> Iterator[Event]:
    prompt = prompt_from(options.prompt, terminal.stdin, is_taken=STANDARD_INPUT in options.documents)
    documents = documents_from(options.documents, terminal.stdin, terminal.tell)
    yield from gateway.stream(
        prompt,
        documents=documents or None,
        system=options.system,
        tier=options.tier,
        model=options.model,
        local_only=options.local_only or None,
        max_tokens=options.max_tokens,
        deadline_s=options.deadline,
        on_interrupt=options.on_interrupt,
        max_context_chars=options.max_context_chars,
        progress=Loading(terminal),
        whole=not is_streamed,
    )


def exit_code(error: BaseException) -> int:
    match error:
        case PromptRefused():
            return USAGE
        case KeyboardInterrupt():
            return STOPPED
        case _:
            return NOT_ANSWERED


def has_found_nothing(answer: Answer) -> bool:
    """No model answered, and there was nothing to quote instead."""
    return answer.mode == "extractive" and not answer.sources


class Showing:
    """Shows one answer: as it grows, or once it is whole. `is_text`: as text, not as JSON."""

    def __init__(self, terminal: Terminal, *, is_streamed: bool, is_text: bool) -> None:
        self._terminal = terminal
        self._is_streamed = is_streamed
        self._is_text = is_text
        self._parts: list[str] = []
        self._backend = ""
        self._state = ""

    def of(self, events: Iterator[Event]) -> Answer:
        """Follow the events to the end. Whatever is raised, what was shown stays shown."""
        for event in events:
            match event:
                case Meta():
                    self._backend, self._state = event.backend, event.state
                case Delta():
                    self._parts.append(event.text)
                    if self._is_streamed:
                        self._terminal.write(event.text)
                case SegmentStarted():
                    self._taken_over(event)
                case Done():
                    return event.answer
        raise AssertionError("a stream ends in Done or raises")

    def finished(self, answer: Answer) -> None:
        terminal = self._terminal
        if not self._is_streamed:
            terminal.write(answer.text)
        terminal.end_line()
        if sources := source_lines(answer):
            terminal.tell(*sources)
        if terminal.err_is_terminal or is_notable(answer):
            terminal.tell(byline(answer))

    def failed(self, error: BaseException) -> None:
        """Say why there is no whole answer, under what came of it."""
        terminal = self._terminal
        if not self._is_streamed:
            terminal.write(self._kept(error))
        terminal.end_line()
        match error:
            case AllTiersFailed():
                if error.partial is not None:
                    terminal.tell(f"— not whole: {error.partial.backend} broke off, and no other tier answered whole")
                terminal.tell(*nobody_answered(error))
            case AnswerInterrupted():
                terminal.tell(f"— not whole: {error}" + (f"; {in_options(error.cure)}" if error.cure else ""))
            case PromptRefused():
                terminal.tell(f"ai-gateway: {error}" + (f"; {in_options(error.cure)}" if error.cure else ""))
            case _ if self._parts:
                terminal.tell("— stopped; the answer is not whole")

    def problem(self, error: BaseException) -> dict[str, Any]:
        problem = problem_of(error)
        problem["cure"] = in_options(problem["cure"])
        if isinstance(error, KeyboardInterrupt):
            partial = {"response": "".join(self._parts), "backend": self._backend or None, "state": self._state or None}
            problem["partial"] = partial
        return problem

    def _kept(self, error: BaseException) -> str:
        """What came before the end; of several texts that broke off, the longest."""
        if isinstance(error, (AllTiersFailed, AnswerInterrupted)) and error.partial is not None:
            return error.partial.text
        return "".join(self._parts) if isinstance(error, KeyboardInterrupt) else ""

    def _taken_over(self, event: SegmentStarted) -> None:
        before, self._backend = self._backend, event.backend
        broke_off = f"{before} broke off: {reason_words(event.reason)}"
        if event.action == "restart":
            self._parts.clear()
            if self._is_streamed:
                self._terminal.end_line()
                self._terminal.void(f"— the text above is void ({broke_off}); {event.backend} answers anew:")
        elif self._is_streamed:
            self._terminal.tell_inline(f"⟦{broke_off}; {event.backend} goes on⟧")
