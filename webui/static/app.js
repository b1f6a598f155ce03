// The page: one conversation at a time, kept on the server; the address remembers which.

import { Files, showSources } from "./files.js";
import { Keys } from "./keys.js";
import { Log } from "./log.js";
import { copy, element } from "./markdown.js";
import { call, events } from "./net.js";
import { ChatList } from "./side.js";
import { StatusPanel } from "./status.js";

const PHONE = matchMedia("(max-width: 900px)");
const $ = (id) => document.getElementById(id);

class Page {
  constructor() {
    this.chat = null;
    this.asking = null;
    this.choices = { tier: "", local_only: false, system: "", temperature: "" };
    this.log = new Log({
      grown: () => this.log.scroll(),
      retry: (index) => this.retry(index),
      undo: (index) => this.undo(index),
      edit: (index, text) => this.ask(text, index),
      openSource: (view, n) => {
        if (PHONE.matches) this.drawer("right", true);
        showSources(view, n);
      },
    });
    this.files = new Files(this);
    this.chats = new ChatList(this);
    this.keys = new Keys(this);
    this.status = new StatusPanel(this);
    this.name();
    this.theme(document.documentElement.classList.contains("gw-dark"));
    $("gw-theme").addEventListener("click", () => this.toggleTheme());
    for (const side of ["left", "right"]) {
      $(`gw-open-${side}`).addEventListener("click", () => this.drawer(side));
    }
    $("gw-middle").addEventListener("click", () => PHONE.matches && this.closeDrawers());
    addEventListener("hashchange", () => this.open(idInAddress(), false));
    this.busy(false);
    this.chats.refresh();
    this.status.speeds();
    this.showDrill();
    if (idInAddress()) this.open(idInAddress(), false);
  }

  // ---- what Gradio's controls call

  send(text) {
    if (this.asking) return text;
    if (!text.trim()) return text;
    this.ask(text, null);
    return "";
  }

  stop() {
    this.asking?.abort();
    return [];
  }

  choose(name, value) {
    this.choices[name] = value;
  }

  async drill(tier, fault) {
    try {
      this.showDrill(await call("POST", "drill", { tier, fault }));
      this.focusMessage();
    } catch (error) {
      this.say(error.message, true);
    }
  }

  // ---- asking

  async ask(text, keep) {
    if (this.asking) return;
    const asking = (this.asking = new AbortController());
    this.busy(true);
    let view = null;
    try {
      const chat = await this.ensureChat();
      this.log.cut(keep ?? this.log.turns.length);
      keep = this.log.turns.length;
      this.log.add({ role: "user", text });
      view = this.log.add({ role: "assistant", text: "", about: null });
      view.root.classList.add("gw-growing");
      view.root.setAttribute("aria-busy", "true");
      this.log.toEnd();
      await this.files.settled();
      asking.signal.throwIfAborted();
      await events(`chats/${chat}/ask`, this.question(text, keep), asking.signal, (name, told) => this.hear(view, name, told));
      if (!view.turn.about) throw new TypeError("the stream ended early");
    } catch (error) {
      if (view) await this.unfinished(view, error);
      else this.say(error.message, true);
    } finally {
      view?.root.classList.remove("gw-growing");
      view?.root.removeAttribute("aria-busy");
      if (this.asking === asking) {
        this.asking = null;
        this.busy(false);
      }
      this.chats.refresh();
      this.status.speeds();
      this.showDrill();
    }
  }

  question(prompt, keep) {
    const { tier, local_only, system, temperature } = this.choices;
    return {
      prompt,
      keep,
      tier: tier || null,
      model: $("gw-model").value || null,
      local_only,
      system: system || null,
      temperature: temperature === "" ? null : Number(temperature),
    };
  }

  hear(view, name, told) {
    const turn = view.turn;
    switch (name) {
      case "chat": // it has its title now
        this.chats.refresh();
        break;
      case "delta":
        turn.text += told.text;
        view.grow();
        break;
      case "seam":
        if (told.action === "restart") turn.text = "";
        else (view.seams ||= []).push(told);
        view.turn = { ...turn, text: turn.text };
        view.text._blocks = [];
        if (told.action !== "restart") view.foot.replaceChildren(element("p", "gw-seam-line", `⇄ ${told.from} broke off; ${told.to} goes on`));
        break;
      case "turn":
        view.settle(told);
        this.log.scroll();
        break;
    }
  }

  async unfinished(view, error) {
    const about = { ...(view.turn.about || {}), is_cut: true };
    if (error.name !== "AbortError") {
      const isLost = error instanceof TypeError;
      about.is_cut = isLost;
      about.problem = isLost
        ? { title: "The connection to the server was lost", detail: "What was written until then is kept.", cure: "retry once the server is back" }
        : { title: "The question was not asked", detail: error.message, cure: "" };
    }
    view.settle({ ...view.turn, about });
  }

  retry(index) {
    const asked = this.log.turns[index - 1]?.turn;
    if (asked?.role === "user") this.ask(asked.text, index - 1);
  }

  async undo(index) {
    if (this.asking || index < 1) return;
    const text = this.log.turns[index - 1].turn.text;
    await call("POST", `chats/${this.chat}/undo`, { keep: index - 1 });
    this.log.cut(index - 1);
    this.write(text);
    this.chats.refresh();
  }

  // ---- conversations

  async ensureChat() {
    if (!this.chat) {
      this.making ||= call("POST", "chats", {});
      this.chat = (await this.making).id;
      this.making = null;
      history.replaceState(null, "", `#chat=${this.chat}`);
    }
    return this.chat;
  }

  newChat() {
    this.stop();
    this.chat = null;
    history.pushState(null, "", location.pathname + location.search);
    this.log.show([]);
    this.files.show([]);
    $("gw-sources").hidden = true;
    this.chats.refresh();
    this.closeDrawers();
    this.focusMessage();
  }

  async open(id, push = true) {
    if (id === this.chat) return;
    this.stop();
    if (!id) return this.newChat();
    try {
      const told = await call("GET", `chats/${id}`);
      this.chat = id;
      if (push) history.pushState(null, "", `#chat=${id}`);
      $("gw-sources").hidden = true;
      this.log.show(told.turns);
      this.files.show(told.documents);
      this.closeDrawers();
      this.focusMessage();
    } catch (error) {
      if (error.status === 404) {
        this.newChat();
        this.say("That conversation is not there any more.");
      } else {
        this.say("The conversation could not be loaded; it is tried again when the server answers.", true);
        this.missed = id;
      }
    }
    this.chats.refresh();
  }

  chatsChanged() {
    this.chats.refresh();
  }

  // ---- what the user is told

  connected(is) {
    if (this.isConnected === is) return;
    const returned = is && this.isConnected === false;
    this.isConnected = is;
    if (!is) this.say("The server does not answer. This page goes on trying.", true, true);
    else if (returned) {
      this.say("The server is back.");
      this.chats.refresh();
      if (this.missed) this.open(this.missed, false);
      this.missed = null;
    }
  }

  statusChanged() {
    if (!this.asking) this.showDrill();
  }

  say(text, isBad = false, stays = false) {
    const banner = $("gw-banner");
    banner.className = isBad ? "gw-bad" : "";
    banner.textContent = text;
    banner.hidden = false;
    clearTimeout(this.saying);
    if (!stays) this.saying = setTimeout(() => (banner.hidden = true), 6000);
  }

  async showDrill(told) {
    const { waiting } = told || (await call("GET", "drill").catch(() => ({ waiting: null })));
    const note = $("gw-drill-note");
    note.hidden = !waiting;
    document.body.classList.toggle("gw-drilling", Boolean(waiting));
    if (!waiting) return;
    const end = element("button", "gw-button gw-small", "End the drill");
    end.addEventListener("click", async () => {
      await call("DELETE", "drill");
      this.showDrill();
    });
    note.replaceChildren(element("strong", "", "Drill"), ` The next question meets this: ${waiting}. `, end);
  }

  busy(is) {
    document.body.classList.toggle("gw-asking", is);
  }

  // ---- small things

  get input() {
    return document.querySelector("#gw-message textarea, #gw-message input");
  }

  name() {
    this.input?.setAttribute("aria-label", "Message");
  }

  write(text) {
    this.input.value = text;
    this.input.dispatchEvent(new Event("input", { bubbles: true }));
    this.focusMessage();
  }

  focusMessage() {
    if (!PHONE.matches) this.input?.focus();
  }

  focusSearch() {
    if (PHONE.matches) this.drawer("left", true);
    $("gw-search").focus();
  }

  get last() {
    return this.log.turns.findLast((view) => view.turn.role === "assistant");
  }

  retryLast() {
    if (this.last) this.retry(this.last.index);
  }

  editLast() {
    this.log.turns.findLast((view) => view.turn.role === "user")?.edit();
  }

  undoLast() {
    if (this.last) this.undo(this.last.index);
  }

  async copyLast() {
    if (!this.last) return;
    await copy(this.last.turn.text);
    this.say("The answer is in the clipboard.");
  }

  sourcesOfLast() {
    if (!this.last?.turn.about?.sources?.length) return;
    if (PHONE.matches) this.drawer("right", true);
    showSources(this.last, this.last.turn.about.sources.find((source) => source.cited)?.n);
  }

  toggleLocal() {
    document.querySelector("#gw-local input")?.click();
  }

  toggleTheme() {
    const dark = !document.body.classList.contains("dark");
    localStorage.setItem("gateway.theme", dark ? "dark" : "light");
    this.theme(dark);
  }

  theme(dark) {
    document.documentElement.classList.toggle("gw-dark", dark);
    document.body.classList.toggle("dark", dark);
    $("gw-theme").setAttribute("aria-pressed", String(dark));
  }

  escape() {
    if (this.asking) this.stop();
    else this.closeDrawers();
  }

  drawer(side, open = !document.body.classList.contains(`gw-show-${side}`)) {
    if (open) this.closeDrawers();
    document.body.classList.toggle(`gw-show-${side}`, open);
    $(`gw-open-${side}`).setAttribute("aria-expanded", String(open));
  }

  closeDrawers() {
    this.drawer("left", false);
    this.drawer("right", false);
  }
}

function idInAddress() {
  return location.hash.match(/^#chat=([0-9a-f]{16})$/)?.[1] || null;
}

// Gradio draws the page after this script has loaded.
function begin() {
  if (!$("gw-log") || !$("gw-cards") || !$("gw-keys") || !document.querySelector("#gw-message textarea, #gw-message input")) return false;
  window.gateway = new Page();
  return true;
}
if (!begin()) {
  const waiting = new MutationObserver(() => begin() && waiting.disconnect());
  waiting.observe(document.documentElement, { childList: true, subtree: true });
}
