// The page: what Gradio's controls and the keys do, what the user is told, and the parts that do the rest.

import { Choices } from "./choices.js";
import { Eraser } from "./erase.js";
import { Files } from "./files.js";
import { Keys } from "./keys.js";
import { Log } from "./log.js";
import { copy, element } from "./markdown.js";
import { call } from "./net.js";
import { ChatList } from "./side.js";
import { Sources } from "./sources.js";
import { StatusPanel } from "./status.js";
import { Tabs } from "./tabs.js";
import { Talk, idInAddress } from "./talk.js";

const DRAFT = "gateway.draft";
const LONGEST_DRAFT = 500_000; // characters: a tab's memory holds some millions
const PHONE = matchMedia("(max-width: 900px)");
const $ = (id) => document.getElementById(id);

class Page {
  constructor() {
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
    // Before what was tapped acts: a citation opens one.
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
    if (this.talk.asking || !text.trim()) return text;
    this.talk.ask(text, null);
    sessionStorage.removeItem(DRAFT);
    return "";
  }

  stop() {
    this.talk.stop();
    return [];
  }

  choose(name, value) {
    this.choices.choose(name, value);
  }

  async drill(tier, fault) {
    try {
      this.showDrill(await call("POST", "drill", { tier, fault }));
      this.closeDrawers(); // on a phone one covers the place to ask
      this.focusMessage();
    } catch (error) {
      this.say(error.message, true);
    }
  }

  // ---- conversations

  erased(all) {
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
    if (!is) this.say("The server does not answer. This page goes on trying.", true, true);
    else if (returned) {
      this.say("The server is back.");
      this.talk.serverIsBack();
    }
  }

  statusChanged() {
    if (!this.talk.asking) this.showDrill();
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

  // What was not sent yet outlives a reload of this tab.
  draft() {
    const kept = sessionStorage.getItem(DRAFT);
    if (kept) this.write(kept);
    this.input.addEventListener("input", () => {
      if (this.input.value.length <= LONGEST_DRAFT) sessionStorage.setItem(DRAFT, this.input.value);
    });
  }

  giveBack(text) {
    if (!this.input.value) this.write(text);
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
