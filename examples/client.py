#!/usr/bin/env python3
"""Ask AI Gateway from Python (3.9 or newer), with nothing but the standard library.

    python3 client.py                        a short tour
    python3 client.py query "Why is the sky blue?"
    python3 client.py stream "Why is the sky blue?"
    python3 client.py rag FILE "What does it say about refunds?"
    python3 client.py health

AI_GATEWAY_URL says where the gateway is (http://127.0.0.1:8000), AI_GATEWAY_TOKEN is its token, if it wants one.
The answer goes to standard output; who gave it, and what went wrong, to standard error.
Exit code: 0 answered, 2 wrong usage, 3 no answer or one that was cut.
"""

import base64
import json
import os
import sys
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

USAGE = "usage: client [query PROMPT | stream PROMPT | rag FILE QUESTION | health]"
URL = (os.environ.get("AI_GATEWAY_URL") or "http://127.0.0.1:8000").rstrip("/")
TOKEN = os.environ.get("AI_GATEWAY_TOKEN", "").strip()
DEADLINE = 240  # seconds the gateway may take, all tiers together: a cold local model needs minutes
PATIENCE = DEADLINE + 15  # seconds we wait: the gateway answers or explains itself by its deadline
SILENCE = 30  # seconds: a stream that is alive says something every 10


class WrongUsage(Exception):
    """The message says what is wrong with the call."""


class NoAnswer(Exception):
    """There is no answer, or half of one. The message says why, and what to do."""


def query(prompt):
    tell(ask("/ai/query", {"prompt": prompt}))


def rag(document, question):
    tell(ask("/ai/query/rag", {"prompt": question, "documents": [document]}))


def tell(reply):
    say(reply["response"] + "\n")
    for source in reply["details"]["sources"]:
        if source["cited"]:
            say(f"[{source['n']}] {source['document']}, characters {source['start']} to {source['end']}\n")
    note(answered_by(reply))


def health():
    for name, value in ask("/health").items():
        say(f"{name}: {value if isinstance(value, str) else json.dumps(value)}\n")


def stream(prompt):
    """Show the answer as it grows. Only `done` makes it whole: a stream that just ends was cut."""
    writer = ""
    with send("/ai/query", {"prompt": prompt, "stream": True}, "text/event-stream", SILENCE) as reply:
        for name, event in events(reply):
            if name == "meta":
                writer = event["backend"]
            elif name == "delta":
                say(event["text"])
            elif name == "segment":
                broke_off = f"\n[{writer} broke off ({event['reason']}): "
                writer = event["backend"]
                if event["action"] == "restart":  # what was shown is void, and standard output has to say so
                    say(f"{broke_off}discard the text above, {writer} starts anew]\n")
                else:
                    note(f"{broke_off}{writer} goes on]")
            elif name == "error":
                raise NoAnswer("\n" + explained(event))
            elif name == "done":
                say("\n")
                note(answered_by(event))
                return
    raise NoAnswer(
        "\nThe answer was cut: the stream ended without its end mark.\nCure: ask again; the text above is not whole"
    )


def events(reply):
    """Server-sent events as (name, value). An empty line ends an event; a line that begins with ":" is a comment."""
    name, data = "", ""
    try:
        for raw in reply:
            line = raw.decode().rstrip("\r\n")
            field, _, value = line.partition(":")
            if field == "event":
                name = value.strip()
            elif field == "data":
                data += value
            elif not line and data:
                yield name, json.loads(data)
                name, data = "", ""
    except (OSError, HTTPException):
        return  # the connection is gone: whoever reads us misses the end mark


def ask(path, body=None):
    """The reply as a value."""
    with send(path, body, "application/json", PATIENCE) as reply:
        return read(reply)


def read(reply):
    try:
        return json.load(reply)
    except (OSError, HTTPException, ValueError):
        raise NoAnswer(nobody()) from None


def send(path, body, media_type, patience):
    """The open reply, or `NoAnswer`."""
    headers = {"Content-Type": "application/json"}
    if TOKEN:
        headers["Authorization"] = f"Bearer {TOKEN}"
    data = body and json.dumps({**body, "details": True, "deadline_s": DEADLINE}).encode()
    try:
        is_here = urlsplit(URL).hostname in ("127.0.0.1", "localhost", "::1")  # no proxy leads to this machine
        opener = build_opener(ProxyHandler({})) if is_here else build_opener()
        reply = opener.open(Request(URL + path, data, headers), timeout=patience)
        if reply.headers.get_content_type() == media_type:
            return reply
    except HTTPError as refused:
        if refused.headers.get_content_type() == "application/problem+json":
            raise NoAnswer(explained(read(refused))) from None
    except (OSError, HTTPException, ValueError):
        raise NoAnswer(nobody()) from None
    raise NoAnswer(f"What answers at {URL} is not AI Gateway. Set AI_GATEWAY_URL to where it runs.")


def nobody():
    return f'No answer from {URL}. Is the gateway running? Start it with "ai-gateway serve", or set AI_GATEWAY_URL.'


def explained(problem):
    """An application/problem+json in words: what happened, at which tier, and what helps."""
    lines = [f"{problem['title']} ({problem['code']})", problem["detail"]]
    lines += [f"  {a['backend']} {a['outcome']}: {a['reason'] or '-'}" for a in problem["attempts"]]
    lines += [f"Cure: {problem['cure']}"] if problem["cure"] else []
    return "\n".join(lines)


def answered_by(reply):
    writers = ", then ".join(segment["backend"] for segment in reply["details"]["segments"])
    finish = reply["details"]["finish_reason"]  # "length" and "content_filter" are answers cut short
    return f"[answered by {writers}; finish: {finish}; Copilot's circuit: {reply['state']}]"


def say(text):
    print(text, end="", flush=True)


def note(text):
    print(text, file=sys.stderr, flush=True)


def document_of(file):
    """Any file: the gateway reads text, PDF, Word, HTML and others by their name and bytes."""
    try:
        with open(file, "rb") as opened:
            content = base64.b64encode(opened.read()).decode()
    except OSError:
        raise WrongUsage(f"Cannot read {file}") from None
    return {"name": os.path.basename(file), "content_base64": content}


def tour():
    policy = {"name": "policy.txt", "text": "Customers may return items within 30 days. Later there are no refunds."}
    say("== health ==\n")
    health()
    say("\n== query ==\n")
    query("Why is the sky blue? Answer in one sentence.")
    say("\n== rag ==\n")
    rag(policy, "How long may customers return items?")
    say("\n== stream ==\n")
    stream("Tell me about lighthouses in two sentences.")


def run(arguments):
    if not URL.startswith(("http://", "https://")):
        raise WrongUsage("AI_GATEWAY_URL has to begin with http:// or https://")
    if not arguments:
        tour()
    elif arguments == ["health"]:
        health()
    elif arguments[0] == "query" and len(arguments) == 2:
        query(arguments[1])
    elif arguments[0] == "stream" and len(arguments) == 2:
        stream(arguments[1])
    elif arguments[0] == "rag" and len(arguments) == 3:
        rag(document_of(arguments[1]), arguments[2])
    else:
        raise WrongUsage(USAGE)


def main():
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stderr.reconfigure(encoding="utf-8")
    try:
        run(sys.argv[1:])
    except WrongUsage as wrong:
        note(wrong)
        return 2
    except NoAnswer as why:
        note(why)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
