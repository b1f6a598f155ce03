"""Exit codes, as `ai-gateway --help` lists them."""

ANSWERED = 0
FAULT = 1
USAGE = 2
NOT_ANSWERED = 3
STOPPED = 130
