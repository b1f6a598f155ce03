"""Who may use the simulated Copilot, and which models it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CHAT, RESPONSES = "/chat/completions", "/responses"


@dataclass(frozen=True, slots=True)
class Account:
    """The seat behind a token.

    `host` is the base path of the only API host that serves it; `exchange_host` the one for its exchanged tokens,
    where the two disagree.
    """

    login: str = "octocat"
    plan: str = "individual"
    host: str = ""
    exchange_host: str | None = None
    credits: float = 1180.4
    entitlement: int = 1500
    revoked: bool = False
    has_copilot: bool = True

    @property
    def host_after_exchange(self) -> str:
        return self.host if self.exchange_host is None else self.exchange_host


@dataclass(frozen=True, slots=True)
class Model:
    """A row of /models. `endpoints` is what the model serves, whether it is advertised or not."""

    id: str
    vendor: str
    endpoints: tuple[str, ...]
    window: int = 264_000
    prompt: int = 200_000
    output: int = 64_000
    default: bool = False
    enabled: bool = True
    kind: str = "chat"

    def row(self, advertise: bool) -> dict[str, Any]:
        limits = {"max_context_window_tokens": self.window, "max_prompt_tokens": self.prompt}
        chat = self.kind == "chat"
        return {
            "id": self.id,
            "object": "model",
            "name": self.id.replace("-", " ").title(),
            "vendor": self.vendor,
            "version": self.id,
            "preview": False,
            "model_picker_enabled": chat,
            "is_chat_default": self.default,
            "is_chat_fallback": self.default,
            "policy": {"state": "enabled" if self.enabled else "disabled", "terms": ""},
            "billing": {"is_premium": True, "multiplier": 1},
            **({"supported_endpoints": list(self.endpoints)} if advertise and chat else {}),
            "capabilities": {
                "object": "model_capabilities",
                "type": self.kind,
                "family": self.id,
                "tokenizer": "o200k_base",
                "limits": {**limits, "max_output_tokens": self.output} if chat else {"max_inputs": 512},
                "supports": {"streaming": True, "tool_calls": True, "structured_outputs": True} if chat else {},
            },
        }


MODELS = (
    Model("gpt-6-luna", "OpenAI", (RESPONSES, "ws:/responses"), 400_000, 272_000, 128_000, default=True),
    Model("gpt-6-sol", "OpenAI", (RESPONSES, "ws:/responses"), 400_000, 272_000, 128_000),
    Model("mai-code-1.1-flash", "Microsoft", (RESPONSES,)),
    Model("gemini-3.8-flash", "Google", (CHAT,)),
    Model("grok-4.7", "xAI", (CHAT,)),
    Model("kimi-k3", "Moonshot AI", (CHAT,)),
    Model("claude-sonnet-5.5", "Anthropic", ("/v1/messages", CHAT), prompt=128_000, output=32_000),
    Model("claude-haiku-5.5", "Anthropic", ("/v1/messages", CHAT), prompt=128_000, output=32_000, enabled=False),
    Model("text-embedding-3-small", "Azure OpenAI", ("/embeddings",), kind="embeddings"),
)
