"""Every setting, read once, at the top. Below this file only small frozen values travel.

The environment wins over a `.env` file in the working directory. An empty variable means unset. A cloned folder
must not be able to redirect prompts or keys: a URL from `.env` that leads off this laptop is used only together
with a key from the same file, and never with one from elsewhere.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from .discretion import Discreet
from .errors import SettingsInvalid
from .types import OnInterrupt

PROVIDER_KEYS = {
    "openai": "openai_api_key",
    "azure": "azure_openai_api_key",
    "anthropic": "anthropic_api_key",
    "gemini": "gemini_api_key",
    "groq": "groq_api_key",
    "mistral": "mistral_api_key",
    "deepseek": "deepseek_api_key",
    "xai": "xai_api_key",
    "openrouter": "openrouter_api_key",
    "together": "together_api_key",
    "cerebras": "cerebras_api_key",
    "fireworks": "fireworks_api_key",
    "moonshot": "moonshot_api_key",
    "custom": "cloud_api_key",
}
PROVIDERS_FILE = "providers.toml"  # in the state folder: the user's own table of clouds
CloudProvider = Literal[
    "openai",
    "azure",
    "anthropic",
    "gemini",
    "groq",
    "mistral",
    "deepseek",
    "xai",
    "openrouter",
    "together",
    "cerebras",
    "fireworks",
    "moonshot",
    "custom",
]  # fmt: skip

_COPILOT_TOKENS = ("copilot_github_token", "github_copilot_token", "gh_copilot_token")
# Whose key goes to the address that a name in the `.env` leads to. The cloud's depends on its provider.
_KEYS_OF: Mapping[str, tuple[str, ...]] = {
    "gh_host": _COPILOT_TOKENS,
    "copilot_api_base": _COPILOT_TOKENS,
    "copilot_github_api": _COPILOT_TOKENS,
    "copilot_github_web": _COPILOT_TOKENS,
    "openai_base_url": ("openai_api_key", "cloud_api_key"),
    "ollama_base_url": ("local_api_key",),
    "local_base_url": ("local_api_key",),
    "ai_gateway_url": ("ai_gateway_token",),
    "http_proxy": (),
    "https_proxy": (),
    "all_proxy": (),
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was set and is not used: where it stands, why not, and what to do. Names only, never values."""

    where: str
    told: str
    cure: str

    def __str__(self) -> str:
        return f"{self.where}: {self.told}; {self.cure}"


# What the reading of settings that is under way has left out.
_leaving_out: ContextVar[list[LeftOut] | None] = ContextVar("leaving_out", default=None)


def _left_out(told: str, cure: str, where: str = ".env") -> None:
    found = _leaving_out.get()
    if found is not None:
        found.append(LeftOut(where, told, cure))


def _tell_lines(record: logging.LogRecord) -> bool:
    """python-dotenv logs the number of a line it cannot read: once for each of its readers, without the file."""
    if _leaving_out.get() is None:
        return True  # another program's file
    line = record.args[0] if isinstance(record.args, tuple) and record.args else "?"
    _left_out(f"line {line} cannot be read and was left out", "write it as NAME=value")
    return False


logging.getLogger("dotenv.main").addFilter(_tell_lines)

_METADATA = frozenset(
    {"169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "metadata.google.internal"}
)
_NO_PROVIDER = "must not be an address where clouds hand out credentials"


def default_state_dir() -> Path:
    """Where this user's programs keep state, by the custom of the platform."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return Path(base) / "ai-gateway" if base else Path.home() / "AppData" / "Local" / "ai-gateway"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "ai-gateway"
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "ai-gateway"


def is_loopback(url: str) -> bool:
    """True when the URL's host is this laptop."""
    host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _origin(entry: str) -> str:
    """An origin exactly as browsers write it; raises `ValueError` for what is none."""
    if entry == "*" or "*" in entry:
        raise ValueError("must name each origin; * would let every web page use your accounts")
    if entry.lower() == "null":
        raise ValueError("must not hold null: every sandboxed page has that origin")
    shape = "must hold origins such as https://app.example, without a path"
    parts = urlsplit(entry)
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"{shape}; a port is a number up to 65535") from None
    host = (parts.hostname or "").lower()
    rest = (parts.path, parts.query, parts.fragment)
    if parts.scheme not in ("http", "https") or not host or any(rest) or "@" in parts.netloc:
        raise ValueError(shape)
    if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host) or entry[-1] in "?#:":
        raise ValueError(f"{shape}; a name in other letters is written as its xn-- form")
    shown = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in (None, default) else "")


def _hands_out_credentials(host: str) -> bool:
    """True where clouds tell the keys of their machines to whoever asks, in any spelling of the address."""
    name = host.lower().rstrip(".")
    try:
        address = ip_address(name)
    except ValueError:
        try:
            address = ip_address(socket.inet_aton(name))  # "0xa9fea9fe": the system reads it as an address, too
        except (OSError, UnicodeError):
            return name in _METADATA
    return str(getattr(address, "ipv4_mapped", None) or address) in _METADATA


def _is_host(host: str) -> bool:
    """Whether a name or an address can be one. A space or a bracket in it is a slip."""
    return re.fullmatch(r"[\w.:%-]+", host) is not None


def _alike(left: str, right: str) -> int:
    """How many letters they have in common from the start."""
    return next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def _are_one_slip_apart(name: str, other: str, *, may_replace: bool) -> bool:
    """Two letters changed places, one is missing or too much, or (`may_replace`) another one."""
    start = _alike(name, other)
    end = _alike(name[start:][::-1], other[start:][::-1])
    left, right = name[start : len(name) - end], other[start : len(other) - end]
    if len(left) == len(right) == 2:
        return left == right[::-1]
    return {len(left), len(right)} == {0, 1} or (may_replace and len(left) == len(right) == 1)


def _tell_slips(names: Iterable[str], keys: Iterable[str], where: str, is_set: Callable[[str], object]) -> None:
    """Names that are nearly one of `keys`, which is not set. The environment of a laptop holds many other names."""
    known = [key for key in keys if not is_set(key)]
    for name in sorted(set(names) - set(Settings.model_fields)):
        near = [key for key in known if _are_one_slip_apart(name, key, may_replace=where == ".env")]
        if near:
            _left_out(f"{name.upper()} is no setting", f"write {near[0].upper()}, if that is what it means", where)


class _DotEnv(DotEnvSettingsSource):
    """The `.env` file, minus what would lead prompts or keys from elsewhere off this laptop.

    An address that leads off it is believed only when every key that could be sent there stands in the same file.
    """

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        self._tell_oddities(found)
        provider = self.current_state.get("cloud_provider") or found.get("cloud_provider") or "openai"
        cloud_keys = (PROVIDER_KEYS.get(str(provider), "cloud_api_key"), "cloud_api_key")
        for name, keys in {**_KEYS_OF, "cloud_base_url": cloud_keys}.items():
            url = found.get(name)
            if url and not _is_wrong(name, url) and not is_loopback(str(url)) and not self._brings(keys, found):
                has_other = any(self.current_state.get(key) for key in keys)
                beside = ", where its key is" if has_other else ", or put its key beside it" if keys else ""
                self._drop(found, name, "leads off this laptop", beside)
        name = "ai_gateway_cors_origins"
        origins = str(found.get(name) or "http://localhost")
        is_away = not _is_wrong(name, origins) and not all(map(is_loopback, origins.split(",")))
        if is_away and not self._brings(("ai_gateway_token",), found):
            self._drop(found, name, "lets in pages of other hosts", ", or put AI_GATEWAY_TOKEN beside it")
        name = "ai_gateway_store"
        store = str(found.get(name) or "")
        if store.startswith(("redis:", "rediss:")) and not _is_wrong(name, store) and not is_loopback(store):
            self._drop(found, name, "leads off this laptop")  # it could keep every tier unasked
        folder = found.get("ai_gateway_state_dir")
        if folder and (Path(folder) / PROVIDERS_FILE).exists():  # a table of addresses that came with the folder
            self._drop(found, "ai_gateway_state_dir", f"leads to a folder with a {PROVIDERS_FILE}")
        return found

    def _drop(self, found: dict[str, Any], name: str, why: str, or_else: str = "") -> None:
        del found[name]
        if not self.current_state.get(name):  # the environment wins anyway
            _left_out(f"{name.upper()} {why} and was not used", f"export it in the environment{or_else}")

    def _tell_oddities(self, found: Mapping[str, Any]) -> None:
        if Path(".env").is_dir():
            _left_out("it is a folder and was not read", "make it a file with lines such as NAME=value")
        here, there = [name.lower() for name in self.env_vars], [name.lower() for name in os.environ]

        def is_set(key: str) -> object:
            return found.get(key) or self.current_state.get(key)

        _tell_slips(here, Settings.model_fields, ".env", is_set)
        keys = {*PROVIDER_KEYS.values(), *_COPILOT_TOKENS, "local_api_key", "ai_gateway_token"}
        _tell_slips(there, sorted(keys), "environment", is_set)

    def _brings(self, keys: tuple[str, ...], found: Mapping[str, Any]) -> bool:
        given = {key: self.current_state[key] for key in keys if self.current_state.get(key)}
        return any(found.get(key) for key in keys) and all(found.get(key) == value for key, value in given.items())


def _is_wrong(name: str, value: object) -> bool:
    """Whether it makes no sense wherever it stands: then it is not left out, but stops the program as any wrong one."""
    check: Callable[[str], object] = {
        "ollama_base_url": Settings._is_ollama_address,
        "ai_gateway_cors_origins": Settings._are_origins,
        "ai_gateway_store": Settings._is_a_store,
    }.get(name) or (Settings._is_web_address if name.endswith(("_url", "_base", "_api", "_web")) else str)
    try:
        check(str(value))
    except ValueError:
        return True
    return False


class Settings(BaseSettings):
    """Field names are the environment variables in lower case. Durations are seconds, fractions allowed."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    # Copilot
    copilot_github_token: SecretStr | None = Field(None, description="GitHub token with Copilot access; first choice.")
    github_copilot_token: SecretStr | None = Field(None, description="GitHub token with Copilot access; second choice.")
    gh_copilot_token: SecretStr | None = Field(None, description="GitHub token with Copilot access; third choice.")
    gh_token: SecretStr | None = Field(None, description="GitHub token, tried last (often a repository token).")
    github_token: SecretStr | None = Field(None, description="GitHub token, tried last (often a repository token).")
    gh_host: str = Field("github.com", description="GitHub host, for data residency (`sub.ghe.com`).")
    copilot_model: str | None = Field(
        None, description="Copilot model; unset: the account's default. A retired one is replaced, visibly."
    )
    copilot_auth: Literal["direct", "exchange", "auto"] = Field(
        "direct", description="How the GitHub token is used: as the bearer itself, or exchanged as editor plug-ins do."
    )
    copilot_api_base: str | None = Field(None, description="Copilot API host; unset: asked of GitHub.")
    copilot_github_api: str = Field("https://api.github.com", description="GitHub REST API.")
    copilot_github_web: str = Field("https://github.com", description="GitHub website, for the login.")
    copilot_client_id: str | None = Field(None, description="OAuth app for `ai-gateway login`.")
    copilot_integration_id: str | None = Field(None, description="`Copilot-Integration-Id` header, if one is needed.")
    copilot_use_gh: bool = Field(True, description="Ask `gh auth token` when no token is set.")
    copilot_editor_login: bool = Field(True, description="Read the login that editors keep (read-only).")
    copilot_max_rpm: int = Field(20, ge=0, description="Courtesy limit: Copilot requests a minute; 0: none.")
    copilot_max_in_flight: int = Field(2, ge=0, description="Courtesy limit: Copilot requests at a time; 0: none.")
    copilot_daily_tokens: int | None = Field(
        None, ge=1, description="Tokens that Copilot may read and write in a day; unset: no limit."
    )

    # Cloud
    cloud_provider: CloudProvider = Field("openai", description="Which cloud is the second tier.")
    cloud_model: str | None = Field(None, description="Cloud model; unset: the provider's current small one.")
    cloud_base_url: str | None = Field(
        None, description="Base URL for `custom` (and `azure`), or instead of the table's."
    )
    cloud_api_key: SecretStr | None = Field(None, description="Key for `custom`, or instead of the provider's own.")
    cloud_daily_tokens: int | None = Field(
        None, ge=1, description="Tokens that the cloud may read and write in a day; unset: no limit."
    )
    cloud_daily_cost: float | None = Field(
        None, gt=0, le=1_000_000, description="US dollars that the cloud may cost in a day; unset: no limit."
    )
    openai_api_key: SecretStr | None = Field(None, description="OpenAI key.")
    openai_base_url: str | None = Field(None, description="OpenAI base URL, ending in /v1.")
    azure_openai_api_key: SecretStr | None = Field(None, description="Azure OpenAI key.")
    anthropic_api_key: SecretStr | None = Field(None, description="Anthropic key.")
    gemini_api_key: SecretStr | None = Field(None, description="Gemini key.")
    groq_api_key: SecretStr | None = Field(None, description="Groq key.")
    mistral_api_key: SecretStr | None = Field(None, description="Mistral key.")
    deepseek_api_key: SecretStr | None = Field(None, description="DeepSeek key.")
    xai_api_key: SecretStr | None = Field(None, description="xAI key.")
    openrouter_api_key: SecretStr | None = Field(None, description="OpenRouter key.")
    together_api_key: SecretStr | None = Field(None, description="Together key.")
    cerebras_api_key: SecretStr | None = Field(None, description="Cerebras key.")
    fireworks_api_key: SecretStr | None = Field(None, description="Fireworks key.")
    moonshot_api_key: SecretStr | None = Field(None, description="Moonshot key.")

    # Local
    local_model: str | None = Field(None, description="Local model; unset: the best of those installed.")
    ollama_base_url: str = Field("http://127.0.0.1:11434", description="Where Ollama listens.")
    local_base_url: str | None = Field(
        None, description="Another OpenAI-compatible local server (LM Studio, llama-server, ...), ending in /v1."
    )
    local_api_key: SecretStr | None = Field(None, description="Key for `LOCAL_BASE_URL`, if it wants one.")
    local_network: bool = Field(False, description="Under `LOCAL_ONLY`, allow a local server elsewhere on the network.")

    # Behaviour
    failure_threshold: int = Field(3, ge=1, le=1000, description="Failures in a row before a tier is left alone.")
    recovery_timeout: float = Field(300.0, gt=0, le=86400, description="Before a tier left alone is tried again.")
    connect_timeout: float = Field(2.0, gt=0, le=600, description="To reach a tier, name look-up and TLS included.")
    first_token_timeout: float = Field(15.0, gt=0, le=3600, description="For the first event of a cloud answer.")
    stall_timeout: float = Field(20.0, gt=0, le=3600, description="Longest silence within an answer.")
    local_first_token_timeout: float = Field(180.0, gt=0, le=3600, description="For the first event of a local answer.")
    thinking_timeout: float = Field(90.0, gt=0, le=3600, description="How long a model may think before visible text.")
    request_deadline: float = Field(300.0, gt=0, le=86400, description="For the whole request, all tiers together.")
    on_interrupt: OnInterrupt = Field(
        OnInterrupt.CONTINUE,
        description="When a streamed answer breaks off: the next tier goes on, starts anew, or stop.",
    )
    local_only: bool = Field(False, description="Never ask a tier outside this laptop.")
    max_context_chars: int = Field(
        4000, ge=200, le=2_000_000, description="Characters of documents sent with a question."
    )
    rag_embeddings: Literal["off", "cloud", "local"] = Field(
        "off", description="Who helps to order passages by embeddings: nobody, the cloud, or Ollama on this laptop."
    )
    rag_embedding_model: str | None = Field(
        None, description="Embedding model; unset: the cloud's small one, or the one that Ollama has installed."
    )
    rag_embedding_timeout: float | None = Field(
        None, gt=0, le=60, description="For the embeddings of one question; unset: 0.8 in a cloud, 2 on this laptop."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("WARNING", description="How much is logged.")

    # The gateway itself
    ai_gateway_host: str = Field("127.0.0.1", description="Address to listen on; off loopback a token is needed.")
    ai_gateway_port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0: any free one.")
    ai_gateway_token: SecretStr | None = Field(None, description="Token every caller must send, when set.")
    ai_gateway_allowed_hosts: str = Field("", description="Further `Host` names to accept, with commas between.")
    ai_gateway_cors_origins: str = Field(
        "",
        description="Origins whose pages may ask, such as `https://app.example`, with commas between; unset: none.",
    )
    ai_gateway_max_rpm: int = Field(
        0, ge=0, le=100_000, description="Requests that each caller may send within any minute; 0: no limit."
    )
    ai_gateway_max_in_flight: int = Field(
        0, ge=0, le=100_000, description="Requests that the server answers at a time; 0: no limit."
    )
    ai_gateway_state_dir: Path = Field(
        default_factory=default_state_dir, description="Folder for everything we write; unset: the platform's custom."
    )
    ai_gateway_store: str = Field(
        "sqlite",
        description="Where circuits live: in a file that all processes of this user share (`sqlite`), in this process "
        "(`memory`), or in a Redis or Valkey server for several machines (`redis://[user:password@]host:port/db`, "
        "`rediss://` over TLS, `unix://path`).",
        repr=False,  # the address may hold a password
    )
    ai_gateway_journal: int = Field(
        200,
        ge=0,
        le=10_000,
        description="How many of the last requests `ai-gateway explain` knows of; 0: none is kept.",
    )
    ai_gateway_otel: bool = Field(
        False, description="Export traces by OpenTelemetry, to where `OTEL_EXPORTER_OTLP_ENDPOINT` says."
    )
    ai_gateway_url: str | None = Field(None, description="A running gateway that notebook and command line use.")
    ai_gateway_stream: Literal["auto", "text", "0"] = Field(
        "auto", description="How a notebook shows a growing answer."
    )
    ai_gateway_footer: bool = Field(True, description="Show who answered, and why, under an answer in a notebook.")

    _left_out: tuple[LeftOut, ...] = PrivateAttr(())
    _is_told: bool = PrivateAttr(False)

    @field_validator(
        "copilot_api_base", "copilot_github_api", "copilot_github_web", "cloud_base_url", "openai_base_url",
        "local_base_url", "ai_gateway_url",
    )  # fmt: skip
    @classmethod
    def _is_web_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        shape = "must be an address such as https://host/v1"
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            raise ValueError(shape) from None
        if parts.scheme not in ("http", "https") or not parts.hostname or not _is_host(parts.hostname):
            raise ValueError(shape)
        if parts.username or parts.password:
            raise ValueError("must not hold a user name or password; use the key's own variable")
        if _hands_out_credentials(parts.hostname):
            raise ValueError(_NO_PROVIDER)
        return url.rstrip("/")

    @field_validator("ollama_base_url")
    @classmethod
    def _is_ollama_address(cls, url: str) -> str:
        """`OLLAMA_HOST` spellings are understood too: `0.0.0.0`, `host`, `:port`, a full URL."""
        scheme, separator, rest = url.partition("://")
        if not separator:
            scheme, rest = "http", url
        shape = "must be an address such as http://127.0.0.1:11434"
        try:
            parts = urlsplit(f"{scheme}://{rest}")
        except ValueError:
            raise ValueError(shape) from None
        if scheme not in ("http", "https"):
            raise ValueError(shape)
        if parts.username or parts.password:
            raise ValueError("must not hold a user name or password")
        host = parts.hostname or "127.0.0.1"
        if not _is_host(host):
            raise ValueError(shape)
        if _hands_out_credentials(host):
            raise ValueError(_NO_PROVIDER)
        if host in ("0.0.0.0", "::", "localhost"):
            host = "127.0.0.1"
        if ":" in host:
            host = f"[{host}]"
        try:
            port = parts.port
        except ValueError:
            raise ValueError("has a port that is not a number from 1 to 65535") from None
        if port is None:
            port = 11434 if not separator else {"http": 80, "https": 443}[scheme]
        return f"{scheme}://{host}:{port}{parts.path.rstrip('/')}"

    @field_validator("ai_gateway_store")
    @classmethod
    def _is_a_store(cls, told: str) -> str:
        try:
            parts = urlsplit(told)
            if told in ("sqlite", "memory") or (parts.scheme == "unix" and parts.path):
                return told
            if parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0:
                return told
        except ValueError:
            pass  # the port is none, or a bracket is left open
        raise ValueError("must be sqlite, memory, or an address such as redis://127.0.0.1:6379/0")

    @field_validator("ai_gateway_cors_origins")
    @classmethod
    def _are_origins(cls, told: str) -> str:
        return ",".join(dict.fromkeys(_origin(entry.strip()) for entry in told.split(",") if entry.strip()))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            _DotEnv(
                settings_cls,
                env_file=getattr(dotenv_settings, "env_file", cls.model_config.get("env_file")),
                env_file_encoding="utf-8",
            ),
        )

    @classmethod
    def load(cls, **overrides: Any) -> Settings:
        """Read environment and `.env`; raise `SettingsInvalid` with one line a person can act on."""
        try:
            return cls(**{name: value for name, value in overrides.items() if value is not None})
        except ValidationError as exc:
            told = "; ".join(_told(error) for error in exc.errors(include_input=False, include_context=False))
        except UnicodeDecodeError:
            told = ".env is not a UTF-8 text file; save it as UTF-8 or remove it"
        except OSError as exc:
            told = f".env cannot be read ({exc.strerror or type(exc).__name__}); let this user read it, or remove it"
        raise SettingsInvalid(told)  # out here: the foreign error holds what it could not read

    if not TYPE_CHECKING:  # type checkers know the fields

        def __init__(self, **values: Any) -> None:
            token = _leaving_out.set(found := [])
            try:
                with Discreet():  # pydantic's frames hold every variable in plain text
                    super().__init__(**values)
            finally:
                _leaving_out.reset(token)
            self._left_out = tuple(dict.fromkeys(found))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("settings hold keys and cannot be pickled")

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What was set and is not used, such as an address in `.env` that leads off this laptop."""
        return self._left_out

    @property
    def state_trouble(self) -> str:
        """Why nothing can be kept in the state folder, and what to do; empty when nothing stands in the way."""
        folder = self.ai_gateway_state_dir
        there = next((path for path in (folder, *folder.parents) if os.path.exists(path)), folder)
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            return ""
        why = f"{there} cannot be written to" if there.is_dir() else f"{there} is a file, not a folder"
        return f"{why}; set AI_GATEWAY_STATE_DIR to a folder of your own"

    def left_out_untold(self) -> tuple[LeftOut, ...]:
        """The same for whoever asks first, so that a user hears it once."""
        untold, self._is_told = () if self._is_told else self._left_out, True
        return untold

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        return tuple(h.strip().lower() for h in self.ai_gateway_allowed_hosts.split(",") if h.strip())

    @property
    def cors_origins(self) -> tuple[str, ...]:
        return tuple(self.ai_gateway_cors_origins.split(",")) if self.ai_gateway_cors_origins else ()

    def cloud_key(self) -> SecretStr | None:
        """The key of the chosen cloud: its own variable, else `CLOUD_API_KEY`."""
        own: SecretStr | None = getattr(self, PROVIDER_KEYS[self.cloud_provider])
        return own or self.cloud_api_key


_KINDS_OF_NUMBER = {"int_parsing": "must be a whole number", "float_parsing": "must be a number"}


def _told(error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0]).upper() if error["loc"] else "settings"
    message = _KINDS_OF_NUMBER.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should be", "must be", 1)
    field = Settings.model_fields.get(name.lower())
    allowed = get_args(field.annotation) if field and getattr(field.annotation, "__origin__", None) is Literal else ()
    if allowed:
        message = "must be one of " + ", ".join(map(str, allowed))
    return f"{name}: {message[:1].lower()}{message[1:]}"
