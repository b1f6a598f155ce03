"""A tiny language model whose every word is known in advance, as a GGUF file that real engines load.

One llama layer of zeros lets the token embedding pass through unchanged. Each script token has its own direction
in that space, and the output row of its successor points the same way, so the next token is certain at any
temperature. The chat template, run by the engine, looks for a mark such as `[long]` in the last user message and
ends the prompt with the start token of that script.

Text outside the scripts costs one token per UTF-8 byte (there are no merges), so `count_tokens` is exact and a
test can assert equality on usage, budgets and overflow. A script's pieces are recognised in prompts too, so
a model asked to carry on a script from the end of any piece does so.

The file is written here, without numpy or the gguf package: the same bytes on every machine.
"""

from __future__ import annotations

import argparse
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

DEFAULT = "This laptop wrote every word itself, while the cable lay beside it on the floor."
LOOP = " and so the story goes round again,"
UTF8 = "é中😀"
JSON = '{"city": "Paris", "sure": true}'
THOUGHT = "The reader wants something short."
AFTER_THOUGHT = "Short it is."

ROLES = ("system", "user", "assistant", "tool")
END = "<|end|>"
_MARKS = ("long", "utf8", "json", "think", "empty")
_BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
_LOGIT = 4.0

# llama.cpp's token types
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6

TEMPLATE = (
    "{%- set ns = namespace(go='default') -%}"
    "{%- for m in messages -%}"
    "{%- if m.role == 'user' -%}{%- set ns.go = 'default' -%}"
    + "".join(f"{{%- if '[{m}]' in m.content -%}}{{%- set ns.go = '{m}' -%}}{{%- endif -%}}" for m in _MARKS)
    + "{%- endif -%}"
    "{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|go_' + ns.go + '|>' }}{%- endif -%}"
)


def _cut(text: str, taken: set[str]) -> list[str]:
    """`text` in words, each with its leading space; a piece already taken takes the next word along.

    Every piece has one successor, so no piece may occur twice.
    """
    pieces: list[str] = []
    held = ""
    for word in re.findall(r"\s*\S+", text):
        held += word
        if held not in taken:
            taken.add(held)
            pieces.append(held)
            held = ""
    if held:
        raise ValueError(f"the end of the script repeats an earlier piece: {held!r}")
    return pieces


@dataclass(frozen=True, slots=True)
class _Scripts:
    """Which token follows which, and the texts of the pieces in the order of their ids."""

    pieces_of: Mapping[str, tuple[str, ...]]
    next_of: Mapping[str, str]

    @property
    def pieces(self) -> tuple[str, ...]:
        return tuple(piece for pieces in self.pieces_of.values() for piece in pieces)


def _scripts() -> _Scripts:
    taken: set[str] = set()
    plain = {
        "default": _cut(DEFAULT, taken),
        "long": _cut(LOOP, taken),
        "json": _cut(JSON, taken),
        "think": ["<think>", *_cut(THOUGHT, taken), "</think>", *_cut(AFTER_THOUGHT, taken)],
    }
    chains = {name: [f"<|go_{name}|>", *pieces, END] for name, pieces in plain.items()}
    chains["long"][-1] = plain["long"][0]
    chains["utf8"] = ["<|go_utf8|>", *(_BYTES[value] for value in UTF8.encode()), END]
    chains["empty"] = ["<|go_empty|>", END]
    next_of: dict[str, str] = {}
    for chain in chains.values():
        for token, successor in pairwise(chain):
            if next_of.setdefault(token, successor) != successor:
                raise ValueError(f"two scripts go on differently after {token!r}")
    return _Scripts({name: tuple(pieces) for name, pieces in plain.items()}, next_of)


def script(name: str) -> tuple[str, ...]:
    """The tokens of `default`, `long` (one round), `json` or `think`, as they are streamed; the end is one more."""
    return _scripts().pieces_of[name]


def count_tokens(messages: Sequence[Mapping[str, str]], *, carried_on: str = "") -> int:
    """Tokens of a chat prompt: one to begin with, two around each message, one to start the answer."""
    texts = [message["content"] for message in messages]
    return 1 + sum(_length(text) + 2 for text in texts) + 1 + _length(carried_on)


def _length(text: str) -> int:
    """One token per piece or control string, one per UTF-8 byte between them; the longest piece is found first."""
    known = [*_scripts().pieces, *_special()]
    pattern = "|".join(re.escape(token) for token in sorted(known, key=len, reverse=True))
    found = re.findall(pattern, text)
    # A space is a token of its own, any other character outside a piece one per byte.
    return len(found) + len(re.sub(pattern, "", text).encode())


def _special() -> list[str]:
    starts = [f"<|go_{name}|>" for name in ("default", *_MARKS)]
    return [*(f"<|{role}|>" for role in ROLES), END, *starts]


def build(path: Path, *, context_length: int = 1024, name: str = "scripted") -> Path:
    """Write the model to `path` and return it."""
    scripts = _scripts()
    tokens: list[tuple[str, int]] = [("<unk>", _UNKNOWN), ("<s>", _CONTROL), ("</s>", _CONTROL)]
    tokens += [(byte, _BYTE) for byte in _BYTES]
    tokens += [(special, _CONTROL) for special in _special()]
    tokens += [("\u2581", _NORMAL)]
    tokens += [(piece, _USER_DEFINED) for piece in scripts.pieces]
    ids = {text: number for number, (text, _) in enumerate(tokens)}

    # Direction 0 belongs to every token without a script: whatever it is, the answer ends after it.
    states = {token: number for number, token in enumerate(scripts.next_of, start=1)}
    width = -(-(len(states) + 1) // 32) * 32
    embedding = _Matrix(len(tokens), width)
    output = _Matrix(len(tokens), width)
    for text, number in ids.items():
        embedding.put(number, states.get(text, 0), 1.0)
    for text, state in states.items():
        output.put(ids[scripts.next_of[text]], state, _LOGIT)
    output.put(ids[END], 0, _LOGIT)

    file = _File()
    file.text("general.architecture", "llama")
    file.text("general.name", name)
    file.number("general.file_type", 1)
    for key, value in {
        "context_length": context_length,
        "embedding_length": width,
        "block_count": 1,
        "feed_forward_length": 32,
        "attention.head_count": 2,
        "attention.head_count_kv": 1,
        "rope.dimension_count": width // 2,
        "vocab_size": len(tokens),
    }.items():
        file.number(f"llama.{key}", value)
    file.real("llama.attention.layer_norm_rms_epsilon", 1e-6)
    file.text("tokenizer.ggml.model", "llama")
    file.text("tokenizer.ggml.pre", "default")
    file.array("tokenizer.ggml.tokens", 8, [_string(text) for text, _ in tokens])
    file.array(
        "tokenizer.ggml.scores", 6, [struct.pack("<f", -1000.0 if kind == _USER_DEFINED else 0.0) for _, kind in tokens]
    )
    file.array("tokenizer.ggml.token_type", 5, [struct.pack("<i", kind) for _, kind in tokens])
    file.number("tokenizer.ggml.unknown_token_id", 0)
    file.number("tokenizer.ggml.bos_token_id", 1)
    file.number("tokenizer.ggml.eos_token_id", ids[END])
    file.flag("tokenizer.ggml.add_bos_token", True)
    file.flag("tokenizer.ggml.add_eos_token", False)
    file.flag("tokenizer.ggml.add_space_prefix", False)
    file.text("tokenizer.chat_template", TEMPLATE)

    file.matrix("token_embd.weight", embedding)
    file.matrix("output.weight", output)
    file.ones("output_norm.weight", width)
    file.ones("blk.0.attn_norm.weight", width)
    file.ones("blk.0.ffn_norm.weight", width)
    half = width // 2
    for part, rows, columns in (
        ("attn_q", width, width),
        ("attn_k", half, width),
        ("attn_v", half, width),
        ("attn_output", width, width),
        ("ffn_gate", 32, width),
        ("ffn_up", 32, width),
        ("ffn_down", width, 32),
    ):
        file.matrix(f"blk.0.{part}.weight", _Matrix(rows, columns))
    path.write_bytes(file.bytes())
    return path


class _Matrix:
    """Half-precision numbers, zero unless put."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.data = bytearray(2 * rows * columns)

    def put(self, row: int, column: int, value: float) -> None:
        struct.pack_into("<e", self.data, 2 * (row * self.columns + column), value)


class _File:
    """The GGUF container, version 3: header, key-value pairs, tensor directory, tensors on 32-byte boundaries."""

    def __init__(self) -> None:
        self._pairs: list[bytes] = []
        self._tensors: list[tuple[str, tuple[int, ...], int, bytes]] = []

    def _pair(self, key: str, kind: int, value: bytes) -> None:
        self._pairs.append(_string(key) + struct.pack("<I", kind) + value)

    def number(self, key: str, value: int) -> None:
        self._pair(key, 4, struct.pack("<I", value))

    def real(self, key: str, value: float) -> None:
        self._pair(key, 6, struct.pack("<f", value))

    def flag(self, key: str, value: bool) -> None:
        self._pair(key, 7, struct.pack("<?", value))

    def text(self, key: str, value: str) -> None:
        self._pair(key, 8, _string(value))

    def array(self, key: str, kind: int, items: Sequence[bytes]) -> None:
        self._pair(key, 9, struct.pack("<IQ", kind, len(items)) + b"".join(items))

    def matrix(self, name: str, matrix: _Matrix) -> None:
        # Dimensions are written fastest first.
        self._tensors.append((name, (matrix.columns, matrix.rows), 1, bytes(matrix.data)))

    def ones(self, name: str, length: int) -> None:
        self._tensors.append((name, (length,), 0, struct.pack(f"<{length}f", *[1.0] * length)))

    def bytes(self) -> bytes:
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self._tensors), len(self._pairs)) + b"".join(self._pairs)
        body = b""
        for name, shape, kind, data in self._tensors:
            head += _string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            head += struct.pack("<IQ", kind, len(body))
            body += data + _padding(data)
        return head + _padding(head) + body


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _padding(data: bytes) -> bytes:
    return b"\0" * (-len(data) % 32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the scripted model.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--context-length", type=int, default=1024)
    arguments = parser.parse_args()
    build(arguments.path, context_length=arguments.context_length)
