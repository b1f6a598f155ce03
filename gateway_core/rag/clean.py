"""Documents travel as data: what could be taken for the frame around them is made harmless, and tricks are named.

`clean` never makes a text longer, so a budget counted on the original holds for the cleaned text.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import chain

# Zero-width and bidirectional controls, Unicode tags, variation selectors of the supplement, other format characters.
_HIDDEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e"
    "\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_INVISIBLE = re.compile(f"[{_HIDDEN}\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SUSPICIOUSLY_HIDDEN = re.compile(
    "[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\U000e0000-\U000e007f]|[\ufe00-\ufe0e\U000e0100-\U000e01ef]{2}"
)
_CONTROL_TOKEN = re.compile(
    r"<[|｜][^<>\n]{1,60}?[|｜]?>|<\w{1,60}[|｜]>"
    r"|</?(?:s|bos|eos|pad|unk|mask|sop|eop|think|thinking|tool_[a-z]{1,20}|function_call|system|assistant|user|human"
    r"|(?:start|end)_[a-z_]{1,40}|eot_id|im_start|im_end|endoftext|unused\d{1,4}|fim_[a-z]{1,10}|[A-Z_]{1,24}_TOKEN)>"
    r"|\[/?(?:INST|SYS|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_[A-Z]{1,20}|IMG(?:_[A-Z]{1,5})?|MIDDLE|PREFIX|SUFFIX|CLS|SEP|PAD"
    r"|UNK|MASK|BOS|EOS|gMASK|sMASK)\]"
    r"|\[\|[\w ]{1,40}\|\]|<</?SYS>>",
    re.IGNORECASE,
)
_OPENER = re.compile(r"<(?=[|｜])")  # whatever stands between: no token of this kind can begin
_FENCE = re.compile(r"<<(?=\s*(?:/\s*)?(?:doc|end))|(?<=\w)>>(?=\s*$)", re.IGNORECASE | re.MULTILINE)
_CITATION = re.compile(r"[\[【［]\s*(\^?\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*)\s*[\]】］]")
_LINE_CITATION = re.compile(r"^([ \t]*)[\[【［]\s*(\^?\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*)\s*[\]】］]", re.MULTILINE)
_SOFTER = str.maketrans("<>[]", "‹›()")

_MODEL = r"(?:ai|llm|assistant|language model|chatbot|chatgpt|model|agent|copilot)s?"
_SECRET = r"(?:system prompt|initial prompt|your (?:instructions|prompt|rules)|api[ _-]?key|password|token|secret)s?"
_ORDERS = (
    r"\b(?:ignor|disregard|forget|overrid|bypass|skip)\w*\W+(?:\w+\W+){0,4}"
    r"(?:instruction|prompt|rule|guideline|direction|context|command|polic|restriction|everything|anything)",
    r"\b(?:new|updated|real|actual|hidden|secret|additional|following)\W+(?:\w+\W+)?"
    r"(?:instruction|system prompt|task)s?\b\W*(?::|for (?:you|the (?:ai|assistant|model)))",
    r"\byou (?:are|must|should|will|shall) (?:now|instead|henceforth)\b",
    r"\bfrom now on\b.{0,40}\b(?:you|answer|respond|reply)",
    r"\b(?:act|pretend|behave|respond|roleplay) (?:as|like) (?:if )?(?:you|an?|the) ",
    r"\b(?:do not|don't|never) (?:\w+ )?(?:tell|mention|reveal|inform|disclose|warn)\b.{0,40}"
    r"\b(?:user|anyone|human|reader)",
    rf"\b(?:reveal|print|repeat|output|show|leak|send|tell me|write out)\b.{{0,40}}\b{_SECRET}",
    rf"\b(?:note|message|attention|important|instructions?|memo)\b.{{0,15}}\b(?:to|for) (?:the |any |all )?{_MODEL}\b",
    rf"\b(?:dear|hey|hello|attention)\W+{_MODEL}\b",
    rf"\b(?:as|if you are|when) (?:an? )?{_MODEL}\b.{{0,40}}\b(?:must|should|have to|need to|please)",
    rf"\b{_MODEL} (?:must|should|shall|will|has to|is (?:required|instructed)) ",
    r"\b(?:jailbreak|developer mode|dan mode|god mode|do anything now|prompt injection)\b",
    r"\b(?:instead|only|always|just) (?:answer|respond|reply|say|output|write|print)\b.{0,20}(?:with|:|\"|“|that)",
    r"\b(?:answer|respond|reply) (?:only|always|exclusively|instead)\b",
    r"ignorier\w{0,20} (?:\w+ ){0,3}(?:anweisung|vorgab|regel)",
    r"ignore[zr]? (?:\w+ ){0,3}(?:instructions|consignes)|ignor[ae]\w{0,20} (?:\w+ ){0,3}(?:instruc|istruzion)",
    r"忽略.{0,8}(?:指令|指示|提示|说明)|игнорир\w{1,20} .{0,30}инструкц",
)
_ROLES = (
    r"^[^\w\n]*(?:system|assistant|developer|human|user|tool)\s*(?:(?:\(\w+\)|prompt|message)\s*)?:",
    r"^#{1,6}\s*(?:system|assistant|instruction|developer|response|human|user)s?\b",
    r"\"role\"\s*:\s*\"(?:system|assistant|developer)\"",
    r"^[^\w\n]*(?:begin|end|start) (?:of )?(?:system|prompt|instruction|document|context)",
)
_CONCEALED = (
    r"<!--(?s:(?!.{0,11}-->).{12})|display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0\b",
    r"\bcolor\s*:\s*(?:white|#f{3}(?:f{3})?\b)|\bhidden=",
)
_ACTIVE = r"<script\b|\bjavascript:|\bdata:text/html"

# Links and tags can be padded at will. So each is taken in whole first and looked into afterwards: one pattern for both
# would either read the padding again from every place where a link begins, or stop at some length and miss the rest.
_LINK = re.compile(r"\]\(\s*<?(?:https?:)?//([^)\s]*)", re.IGNORECASE)
_TAG = re.compile(r"<(?:a|img|iframe|form|object)\b[^>]*", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"(?:href|src|action|data)\s*=\s*[\"']?(?:https?:)?//([^>\s]*)", re.IGNORECASE)
# In an address: a place to fill in (`{x}`, `<x>`, `[x]`, `%s`, SECRET), a value left open, or what is taken named.
_FILLED_IN = re.compile(
    r"[{<\[][^\s)>\]}]|\$\w|%s|=(?=[\s)\"'>])"
    r"|(?-i:=[A-Z_]*(?:SECRET|DATA|CONVERSATION|CHAT|HISTORY|TOKEN|KEY|PASSWORD|CONTEXT|PROMPT|ANSWER|BASE64|INSERT))"
    r"|[?&](?:data|secret|conversation|chat|history|prompt|context|exfil|leak)=",
    re.IGNORECASE,
)

# An order to send, what is taken, where to: close together on one line.
_SEND = re.compile(
    r"\b(?:send|post|upload|forward|exfiltrat\w*|e-?mail|append)\b|(?<=\s)(?:-d|--data\S{0,20}|-F|-T)(?=\s)",
    re.IGNORECASE,
)
_TAKEN = re.compile(
    r"\b(?:conversations?|chats?|history|messages?|answers?|documents?|context|prompts?|secrets?|passwords?|credentials|"
    r"(?:api )?keys?|tokens?|data|contents?|everything|(?:user|reader)(?:'s|s)? \S{1,40}|it)\b",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"https?://|(?<=[^\s@])@[^\s@]{1,255}?\.\w", re.IGNORECASE)
_FROM_ORDER, _TO_ADDRESS, _FROM_CURL = 20, 80, 80  # characters
# Looked for first because it is quick: a text without any of these cannot match the patterns of its kind.
_ORDER_WORDS = (
    "ignor", "disregard", "forget", "overrid", "bypass", "skip", "instruction", "system prompt", "task", "you are now",
    "you must", "you should", "you will", "you shall", "from now on", "act as", "act like", "pretend", "behave",
    "respond", "roleplay", "not tell", "don't", "never", "reveal", "prompt", "api", "password", "token", "secret",
    "assistant", "llm", "chatbot", "chatgpt", "copilot", " ai", "ai ", "model", "agent", "jailbreak", " mode",
    "do anything",
    "instead", "only", "always", "just ", "忽略", "игнорир",
)  # fmt: skip
_ROLE_WORDS = ("system", "assistant", "developer", "human", "user", "tool", "instruction", "response", "prompt",
               "document", "context")  # fmt: skip
_CONCEALING_WORDS = ("<!--", "display", "visibility", "font-size", "opacity", "color", "hidden=")
_WAY_OUT_WORDS = ("](", "<script", "script:", "data:text", "<a", "<img", "<iframe", "<form", "<object", "http", "@")


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE | re.MULTILINE)


_ORDER, _ROLE, _HIDING, _ACTS = map(_any_of, (_ORDERS, _ROLES, _CONCEALED, (_ACTIVE,)))
_MADE_TO_STEER = (
    ("orders to the model", _ORDER_WORDS, _ORDER.search),
    ("a role marker", _ROLE_WORDS, _ROLE.search),
    ("hidden text", _CONCEALING_WORDS, _HIDING.search),
    ("a link made to carry data away", _WAY_OUT_WORDS, lambda text: _ACTS.search(text) or _leads(text) or _sends(text)),
)


def clean(text: str, nonce: str = "", *, is_code: bool = False) -> str:
    """The text as a model may read it: nothing invisible, no model control token, no fence, no `[3]` of its own."""
    if not text.isprintable():  # line ends are not printable, so this only spares one-liners
        text = _INVISIBLE.sub("", text)
    for frame in (_CONTROL_TOKEN, _OPENER, _FENCE):
        text = frame.sub(lambda found: found.group().translate(_SOFTER), text)
    if nonce:
        text = text.replace(nonce, nonce[::-1] if nonce != nonce[::-1] else "-" * len(nonce))
    if is_code:  # an index like row[0] must stay what it is
        return _LINE_CITATION.sub(r"\1(\2)", text)
    return _CITATION.sub(r"(\1)", text)


def suspicions(text: str) -> tuple[str, ...]:
    """What in a text looks made to steer the model rather than to inform: names of kinds, empty for honest text."""
    found = ["invisible characters"] if _SUSPICIOUSLY_HIDDEN.search(text) else []
    text = _INVISIBLE.sub("", text)
    if _CONTROL_TOKEN.search(text):
        found.append("model control tokens")
    lowered = text.lower()
    for kind, telling, looks_so in _MADE_TO_STEER:
        if any(word in lowered for word in telling) and looks_so(text):
            found.append(kind)
    return tuple(found)


def _leads(text: str) -> bool:
    """Whether the address of a link or a tag has room for what the reader did not mean to tell."""
    links = (found.span(1) for found in _LINK.finditer(text))
    tags = (found.span(1) for tag in _TAG.finditer(text) for found in _ATTRIBUTE.finditer(text, *tag.span()))
    # One character more: a value is left open by what follows the address.
    return any(_FILLED_IN.search(text, start, end + 1) for start, end in chain(links, tags))


def _sends(text: str) -> bool:
    """Whether somebody is told to send what was said to an address."""
    orders = [
        found.end()
        for found in _SEND.finditer(text)
        if found[0][0] != "-" or "curl" in text[max(0, found.start() - _FROM_CURL) : found.start()].lower()
    ]
    addresses = [found.start() for found in _ADDRESS.finditer(text)] if orders else []
    for taken in _TAKEN.finditer(text) if addresses else ():
        before, behind = bisect_right(orders, taken.start()), bisect_left(addresses, taken.end())
        if not before or behind == len(addresses):
            continue
        start, end = orders[before - 1], addresses[behind]
        is_near = taken.start() - start <= _FROM_ORDER and end - taken.end() <= _TO_ADDRESS
        if is_near and "\n" not in text[start:end]:
            return True
    return False
