"""GitHub Copilot, OpenAI and Ollama on loopback ports, with every fault: watch a failover without an account.

    with CopilotSimulator() as copilot:
        copilot.script("status_500", "cut_after:40", then="ok")
        ...
        assert [call.outcome for call in copilot.paid_calls] == ["error", "cut", "answered"]

From a terminal: `python -m gateway_core.testing.simulators`.
"""

from .answers import DEFAULT_ANSWER, tokens_of
from .calls import Call
from .copilot import CopilotSimulator
from .ollama import OllamaSimulator
from .openai import OpenAISimulator
from .simulator import Simulator

__all__ = [
    "DEFAULT_ANSWER",
    "Call",
    "CopilotSimulator",
    "OllamaSimulator",
    "OpenAISimulator",
    "Simulator",
    "tokens_of",
]
