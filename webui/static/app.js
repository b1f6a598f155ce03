// The page: what Gradio's controls and the keys do, what the user is told, and the parts that do the rest.

import { Choices } from "./choices.js";
import { Eraser } from "./erase.js";
import { Files } from "./files.js";
import { Keys } from "./keys.js";
import { Log } from "./log.js";
import { copy, element } from "./markdown.js";
import { AWAY, call } from "./net.js";
import { ChatList } from "./side.js";
import { Sources } from "./sources.js";
import { StatusPanel } from "./status.js";
import { Tabs } from "./tabs.js";
import { Talk, idInAddress } from "./talk.js";

const DRAFT = "gateway.draft";
const ID = "gateway.page";
const LONGEST_DRAFT = 500_000; // characters: a tab's memory holds some millions
const PHONE = matchMedia("(max-width: 900px)");
const $ = (id) => document.getElementById(id);

class Page {
  constructor() {
    this.id = ownId();
    this.log = new Log({
      grown: () => this.log.scroll(),
      retry: (index) => this.talk.retry(index),
      undo: (index) => this.talk.undo(index),
      edit: (index, text) => this.talk.ask(text, index),
      openSource: (view, n) => {
        if (PHONE.matches) this.drawer("right", true);
        this.sources.show(view, n);
      },
    });
    this.sources = new Sources(this);
    this.talk = new Talk(this);
    this.choices = new Choices(this);
    this.files = new Files(this);
    this.chats = new ChatList(this);
    this.keys = new Keys(this);
    this.eraser = new Eraser(this);
    this.status = new StatusPanel(this);
    this.tabs = new Tabs({
      status: (status) => this.status.show(status),
      connected: (is) => this.connected(is),
      chats: () => {
        this.chats.refresh();
        this.status.speedsSoon();
      },
      erased: (all) => this.erased(all),
    });
    this.input.setAttribute("aria-label", "Message");
    this.draft();
    this.theme(document.documentElement.classList.contains("gw-dark"));
    $("gw-theme").addEventListener("click", () => this.toggleTheme());
    for (const side of ["left", "right"]) {
      $(`gw-open-${side}`).addEventListener("click", () => this.drawer(side));
    }
    $("gw-lights").addEventListener("click", () => PHONE.matches && this.drawer("right"));
    for (const example of document.querySelectorAll("#gw-examples button")) {
      example.addEventListener("click", () => this.write(example.textContent));
    }
    // Before whatever is under the finger acts: it may open a drawer.
    $("gw-middle").addEventListener("click", () => PHONE.matches && this.closeDrawers(), true);
    addEventListener("visibilitychange", () => document.hidden || this.chats.refresh());
    this.busy(false);
    this.chats.refresh();
    this.status.speeds();
    this.showDrill();
    if (idInAddress()) this.talk.open(idInAddress(), false);
  }

  // ---- what Gradio's controls call

  send(text) {
    if (!text.trim() || !this.talk.mayAsk) return text;
    this.talk.ask(text, null);
    return "";
  }

  // The server has it.
  sent(text) {
    if (sessionStorage.getItem(DRAFT) === text) sessionStorage.removeItem(DRAFT);
    $("gw-drill-note").hidden = true; // a drill is over with the question that meets it
    document.body.classList.remove("gw-drilling");
  }

  stop() {
    this.talk.stop();
    return [];
  }

  choose(name, value) {
    this.choices.choose(name, value);
  }

  async drill(tier, fault) {
    const told = await this.told(call("POST", "drill", { tier, fault, page: this.id }));
    if (!told) return;
    this.showDrill(told);
    this.closeDrawers(); // on a phone one covers the place to ask
    this.focusMessage();
  }

  // ---- conversations

  erased(all) {
    this.talk.forget();
    this.talk.new();
    if (all) {
      this.choices.forget();
      this.write("");
    }
    this.say(all ? "Everything was erased." : "Every conversation was erased.");
  }

  chatsChanged() {
    this.chats.refresh();
    this.tabs.tell("chats");
  }

  // ---- what the user is told

  connected(is) {
    if (this.isConnected === is) return;
    const returned = is && this.isConnected === false;
    this.isConnected = is;
    this.status.away(!is);
    this.lasts(is ? "" : `${AWAY} This page goes on trying.`);
    if (returned) {
      this.say("The server is back.");
      this.talk.serverIsBack();
    }
  }

  statusChanged() {
    if (!this.talk.asking) this.showDrill();
  }

  // A line that passes; it never takes the place of one that lasts.
  say(text, isBad = false) {
    if (text === AWAY && this.isConnected === false) return; // the line that lasts says so
    clearTimeout(this.saying);
    this.line("passes", text, isBad);
    this.saying = setTimeout(() => this.line("passes", ""), 6000);
  }

  // Until it is taken back, with an empty text.
  lasts(text) {
    this.line("lasts", text, true);
  }

  // What can be done about that which has just happened, or what must not be missed: until it is dismissed or the next
  // thing happens; `null` takes it back.
  offer(text, label, act) {
    if (!text) return this.line("offers", "");
    const more = [];
    if (label) {
      const button = element("button", "gw-button gw-small", label);
      button.type = "button";
      button.addEventListener("click", act);
      more.push(button);
    }
    const closer = element("button", "gw-tool", "✕");
    closer.type = "button";
    closer.setAttribute("aria-label", "Dismiss");
    closer.addEventListener("click", () => this.line("offers", ""));
    this.line("offers", text, !label, ...more, closer);
  }

  line(kind, text, isBad = false, ...more) {
    const banner = $("gw-banner");
    banner.querySelector(`[data-kind=${kind}]`)?.remove();
    if (text) {
      const line = element("p", isBad ? "gw-bad" : "", text);
      line.dataset.kind = kind;
      line.append(...more);
      banner.append(line);
    }
    banner.hidden = !banner.firstChild;
    banner.className = banner.querySelector(".gw-bad") ? "gw-bad" : "";
    // What stays must not hide what is below it.
    const stays = banner.querySelector("[data-kind=lasts], [data-kind=offers]");
    document.documentElement.style.setProperty("--gw-banner", stays ? `${banner.offsetHeight + 12}px` : "0px");
  }

  // What the server tells, or `null` after saying why it does not.
  async told(work) {
    try {
      return (await work) ?? true;
    } catch (error) {
      this.say(error.message, true);
      return null;
    }
  }

  async showDrill(told) {
    const { waiting } = told || (await call("GET", `drill?page=${this.id}`).catch(() => ({ waiting: null })));
    const note = $("gw-drill-note");
    note.hidden = !waiting;
    document.body.classList.toggle("gw-drilling", Boolean(waiting));
    if (!waiting) return;
    const end = element("button", "gw-button gw-small", "End the drill");
    end.addEventListener("click", async () => {
      if (await this.told(call("DELETE", `drill?page=${this.id}`))) this.showDrill();
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

  // What was not sent yet outlives a reload of this tab.
  draft() {
    const kept = sessionStorage.getItem(DRAFT);
    if (kept) this.write(kept);
    this.input.addEventListener("input", () => {
      if (this.input.value.length <= LONGEST_DRAFT) sessionStorage.setItem(DRAFT, this.input.value);
    });
  }

  // Whatever was written since stays too.
  giveBack(text) {
    const since = this.input.value;
    this.write(since && since !== text ? `${text}\n${since}` : text);
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
    if (this.last) this.talk.retry(this.last.index);
  }

  editLast() {
    this.log.turns.findLast((view) => view.turn.role === "user")?.edit();
  }

  undoLast() {
    if (this.last) this.talk.undo(this.last.index);
  }

  async copyLast() {
    if (!this.last) return;
    await copy(this.last.turn.text);
    this.say("The answer is in the clipboard.");
  }

  sourcesOfLast() {
    if (!this.last?.turn.about?.sources?.length) return;
    if (PHONE.matches) this.drawer("right", true);
    this.sources.show(this.last, this.last.turn.about.sources.find((source) => source.cited)?.n);
  }

  toggleLocal() {
    const box = document.querySelector("#gw-local input");
    if (box?.disabled) this.say(this.choices.why);
    else {
      this.choices.round += 1; // by hand
      box?.click();
    }
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
    if (this.talk.asking) this.stop();
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

// A word of this tab alone: put away only while the page is not there, for a copy of a tab copies what it remembers.
function ownId() {
  const id = sessionStorage.getItem(ID) || [...crypto.getRandomValues(new Uint8Array(8))].map((n) => n.toString(16).padStart(2, "0")).join("");
  sessionStorage.removeItem(ID);
  addEventListener("pagehide", () => sessionStorage.setItem(ID, id));
  addEventListener("pageshow", () => sessionStorage.removeItem(ID));
  return id;
}

// Gradio draws the page after this script has loaded.
function begin() {
  if (!$("gw-log") || !$("gw-cards") || !$("gw-erasing") || !document.querySelector("#gw-message textarea, #gw-message input")) return false;
  window.gateway = new Page();
  return true;
}
if (!begin()) {
  const waiting = new MutationObserver(() => begin() && waiting.disconnect());
  waiting.observe(document.documentElement, { childList: true, subtree: true });
}
