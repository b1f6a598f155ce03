"""What Gradio builds: the frame of the page, its controls, and the places that the page's script fills.

Everything that a model, a document or a user wrote is put on the page by the script, as text: no markup of theirs
ever reaches the browser as markup.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from gateway_core import DRILL_FAULTS

from .drill import TIERS
from .story import WORDS


def _icon(path: str) -> str:
    """Drawn here: signs of a font may be missing."""
    return (
        '<svg viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" stroke-width="1.8" '
        f'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{path}</svg>'
    )


_MENU = _icon('<path d="M4 7h16M4 12h16M4 17h16"/>')
_PLUS = _icon('<path d="M12 5v14M5 12h14"/>')
_LIGHT = _icon('<circle cx="12" cy="12" r="8"/><path d="M12 4a8 8 0 0 1 0 16z" fill="currentColor"/>')
_PANEL = _icon('<path d="M4 6h16v12H4zM15 6v12"/>')
_CLIP = _icon(
    '<path d="M20 11.5l-8 8a5 5 0 0 1-7-7l8.5-8.5a3.3 3.3 0 0 1 4.7 4.7l-8.4 8.4a1.6 1.6 0 0 1-2.3-2.3l7.5-7.5"/>'
)

_HEADER = f"""
<header id="gw-header">
  <button type="button" class="gw-icon" id="gw-open-left" aria-label="Conversations" aria-expanded="false"
    aria-controls="gw-left">{_MENU}</button>
  <h1>AI Gateway</h1>
  <div id="gw-lights" role="status" aria-label="Tiers"></div>
  <span class="gw-gap"></span>
  <button type="button" class="gw-icon" id="gw-theme" aria-label="Dark colours" aria-pressed="false">{_LIGHT}</button>
  <button type="button" class="gw-icon" id="gw-help" aria-label="Keyboard shortcuts" aria-haspopup="dialog">?</button>
  <button type="button" class="gw-icon" id="gw-open-right" aria-label="Tiers and sources" aria-expanded="false"
    aria-controls="gw-right">{_PANEL}</button>
</header>
<div id="gw-banner" role="alert" hidden></div>
"""

_LEFT = f"""
<nav aria-label="Conversations">
  <button type="button" class="gw-button gw-main gw-wide" id="gw-new">{_PLUS}New chat</button>
  <input type="search" id="gw-search" placeholder="Search conversations" aria-label="Search conversations">
  <ul id="gw-chats"></ul>
  <p id="gw-no-chats" class="gw-quiet" hidden></p>
  <button type="button" class="gw-link gw-danger" id="gw-erase" aria-haspopup="dialog">Erase everything …</button>
</nav>
"""

_LOG = """
<div id="gw-drill-note" role="status" hidden></div>
<div id="gw-scroll" tabindex="0" aria-label="Conversation" role="region">
  <div id="gw-empty">
    <h2>Ask anything.</h2>
    <p>Copilot answers, else the cloud, else this laptop. You always see who did, and why.</p>
    <p class="gw-quiet">Drop files anywhere to ask about them. They are read on this laptop.</p>
    <ul id="gw-examples" aria-label="Examples">
      <li><button type="button" class="gw-button">Explain what a circuit breaker in software does</button></li>
      <li><button type="button" class="gw-button">Write a regular expression for ISO dates</button></li>
      <li><button type="button" class="gw-button">Sum up the file I dropped, and cite the places</button></li>
    </ul>
  </div>
  <div id="gw-log" role="log" aria-live="polite" aria-label="Messages"></div>
</div>
<p id="gw-told" class="gw-unseen" role="status"></p>
<button type="button" id="gw-down" class="gw-button" hidden>↓ Latest</button>
<ul id="gw-documents" aria-label="Documents of this chat"></ul>
<p id="gw-chosen" hidden><span id="gw-chosen-words" role="status"></span>
  <button type="button" class="gw-link" id="gw-unchoose">Back to normal</button></p>
"""

_ATTACH = f"""
<button type="button" class="gw-icon" id="gw-attach" aria-label="Attach files">{_CLIP}</button>
<input type="file" id="gw-files" multiple hidden aria-label="Files" tabindex="-1">
"""

_TABS = """
<div role="tablist" aria-label="Side panel" id="gw-tabs">
  <button type="button" role="tab" id="gw-tab-tiers" aria-selected="true" aria-controls="gw-tiers-pane">Tiers</button>
  <button type="button" role="tab" id="gw-tab-sources" aria-selected="false" aria-controls="gw-sources"
    tabindex="-1">Sources <span id="gw-sources-count"></span></button>
</div>
"""

_STATUS = """
<section aria-labelledby="gw-status-title" id="gw-status">
  <h2 id="gw-status-title">Who answers</h2>
  <div id="gw-network"></div>
  <ul id="gw-tiers"></ul>
  <button type="button" class="gw-button" id="gw-reset">Try every tier again</button>
</section>
"""

_MODEL = """
<p id="gw-barred" class="gw-quiet" role="status"></p>
<label class="gw-field" for="gw-model">Model for the next question
  <select id="gw-model"><option value="">as the tier is set</option></select>
</label>
"""

_SPEEDS = """
<section aria-labelledby="gw-speeds-title" id="gw-speeds" hidden>
  <h2 id="gw-speeds-title">First word, last hour</h2>
  <div id="gw-plots"></div>
</section>
"""

_SOURCES = """
<section role="tabpanel" aria-labelledby="gw-tab-sources" id="gw-sources" tabindex="0">
  <h2 id="gw-sources-title" hidden>Sources for <span id="gw-sources-asked"></span></h2>
  <p id="gw-sources-none" class="gw-quiet">Ask about files that you dropped: the places that the answer stands on are
    shown here.</p>
  <ol id="gw-cards"></ol>
</section>
"""

_HELP = f"""
<div id="gw-words" hidden data-words="{escape(json.dumps(WORDS))}"></div>
<dialog id="gw-keys" aria-labelledby="gw-keys-title">
  <h2 id="gw-keys-title">Keyboard shortcuts</h2>
  <dl id="gw-keys-list"></dl>
  <label><input type="checkbox" id="gw-keys-on" checked> Shortcuts are on</label>
  <form method="dialog"><button class="gw-button">Close</button></form>
</dialog>
<dialog id="gw-erasing" aria-labelledby="gw-erasing-title">
  <h2 id="gw-erasing-title">Erase everything from this laptop?</h2>
  <p>This goes, for good, and answers that are being written stop:</p>
  <ul id="gw-goes"></ul>
  <p>This stays:</p>
  <ul id="gw-stays"></ul>
  <form method="dialog" class="gw-row">
    <button class="gw-button" autofocus>Cancel</button>
    <button type="button" class="gw-button" id="gw-erase-chats">Only the conversations</button>
    <button type="button" class="gw-button gw-danger" id="gw-erase-all">Erase everything</button>
  </form>
</dialog>
<dialog id="gw-deleting" aria-labelledby="gw-deleting-title">
  <h2 id="gw-deleting-title">Delete this conversation?</h2>
  <p id="gw-deleting-words"></p>
  <form method="dialog" class="gw-row">
    <button class="gw-button" autofocus>Cancel</button>
    <button type="button" class="gw-button gw-danger" id="gw-delete">Delete</button>
  </form>
</dialog>
<div id="gw-drop" hidden><p>Drop files to ask about them</p></div>
"""


def theme() -> gr.themes.Base:
    """System fonts only, and colours that keep their contrast in both lights."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Consolas", "monospace"]
    return gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=mono)


def build_blocks() -> gr.Blocks:
    static = partial(gr.HTML, js_on_load=None, apply_default_css=False)
    blocks = gr.Blocks(title="AI Gateway", analytics_enabled=False, fill_width=True)
    with blocks:
        static(_HEADER, elem_id="gw-top")
        with gr.Row(elem_id="gw-body", equal_height=True):
            with gr.Column(elem_id="gw-left", min_width=0):
                static(_LEFT)
            with gr.Column(elem_id="gw-middle", min_width=0):
                static(_LOG, elem_id="gw-talk")
                with gr.Row(elem_id="gw-ask"):
                    static(_ATTACH, elem_id="gw-attaching")
                    message = gr.Textbox(
                        label="Message", placeholder="Message", lines=1, max_lines=8, elem_id="gw-message", scale=1,
                    )  # fmt: skip
                    send = gr.Button("Send", variant="primary", elem_id="gw-send", min_width=72, scale=0)
                    stop = gr.Button("Stop", variant="stop", elem_id="gw-stop", min_width=72, scale=0)
            with gr.Column(elem_id="gw-right", min_width=0):
                static(_TABS)
                with gr.Column(elem_id="gw-tiers-pane", min_width=0):
                    static(_STATUS)
                    _next_question(static)
                    _drawers()
                    static(_SPEEDS)
                static(_SOURCES, elem_id="gw-sources-pane")
        static(_HELP)
        for sending in (message.submit, send.click):
            _runs(sending, "(text) => window.gateway.send(text)", message, message)
        _runs(stop.click, "() => window.gateway.stop()")
    return blocks


def _next_question(static: partial[gr.HTML]) -> None:
    with gr.Column(elem_id="gw-next"):
        tier = gr.Radio(
            [("first that can", ""), *((name, name) for name in TIERS)], value="", label="Tier for the next question",
            elem_id="gw-tier",
        )  # fmt: skip
        local = gr.Checkbox(label="Stay local: nothing leaves this laptop", elem_id="gw-local")
        static(_MODEL)
    _chooses(tier, "tier")
    _chooses(local, "local_only")


def _drawers() -> None:
    with gr.Accordion("Settings", open=False, elem_id="gw-settings"):
        system = gr.Textbox(label="Standing instructions (system prompt)", lines=3, elem_id="gw-system")
        warmth = gr.Radio(
            [("as set", ""), ("precise", "0"), ("balanced", "0.7"), ("inventive", "1.2")], value="",
            label="Temperature", elem_id="gw-temperature",
        )  # fmt: skip
        _chooses(system, "system")
        _chooses(warmth, "temperature")
    with gr.Accordion("Drill: break something", open=False, elem_id="gw-drill"):
        gr.Markdown("Choose a fault and ask. Only the next question of this page meets it; no real circuit is touched.")
        tier = gr.Radio(list(TIERS), value=TIERS[0], label="Tier", elem_id="gw-drill-tier")
        fault = gr.Radio(
            [("down", "down"), ("slow", "slow"), ("cut in mid-answer", "cut"), ("rate limited", "rate_limited"),
             ("offline", "offline")], value="cut", label="Fault", elem_id="gw-drill-fault",
        )  # fmt: skip
        begin = gr.Button("Break it for the next question", elem_id="gw-drill-begin")
        _runs(begin.click, "(tier, fault) => { window.gateway.drill(tier, fault); }", [tier, fault])
    assert set(DRILL_FAULTS) == {value for _, value in fault.choices}


def _chooses(control: gr.Radio | gr.Checkbox | gr.Textbox, name: str) -> None:
    _runs(control.change, f"(value) => {{ window.gateway.choose('{name}', value); }}", control)


def _runs(event: Callable[..., Any], js: str, inputs: Any = None, outputs: Any = None) -> None:
    """Gradio's events only reach the page's script; nothing of them goes to the server."""
    event(fn=None, js=js, inputs=inputs, outputs=outputs, queue=False, api_visibility="private")
