// The open conversation: asking in it, and what is kept of it on the server. The address remembers which it is.

import { seamWords } from "./log.js";
import { element } from "./markdown.js";
import { Refused, call, events } from "./net.js";

export function idInAddress() {
  return location.hash.match(/^#chat=([0-9a-f]{16})$/)?.[1] || null;
}

export class Talk {
  constructor(page) {
    this.page = page;
    this.chat = null;
    this.asking = null;
    this.known(null);
    addEventListener("hashchange", () => this.open(idInAddress(), false));
  }

  get log() {
    return this.page.log;
  }

  // How far this page knows the conversation as the server keeps it; without an argument: not at all.
  known(summary) {
    this.seen = summary ? summary.turns : null;
    this.updated = summary ? summary.updated : null;
  }

  // ---- asking

  stop() {
    this.asking?.abort();
  }

  async ask(text, keep) {
    if (this.asking) return;
    const asking = (this.asking = new AbortController());
    this.page.busy(true);
    let view = null;
    try {
      const chat = await this.ensure();
      asking.signal.throwIfAborted();
      this.page.sources.clear();
      this.log.cut(keep ?? this.log.turns.length);
      keep = this.log.turns.length;
      this.log.add({ role: "user", text });
      view = this.log.add({ role: "assistant", text: "", about: null });
      view.root.classList.add("gw-growing");
      view.root.setAttribute("aria-busy", "true");
      this.log.toEnd();
      await this.page.files.settled();
      asking.signal.throwIfAborted();
      const question = { prompt: text, keep, seen: this.seen, ...this.page.choices.asked };
      await events(`chats/${chat}/ask`, question, asking.signal, (name, told) => this.hear(view, name, told));
      if (!view.turn.about) throw new TypeError("the stream ended early");
    } catch (error) {
      if (this.asking === asking) await this.failed(view, text, error);
    } finally {
      view?.root.classList.remove("gw-growing");
      view?.root.removeAttribute("aria-busy");
      if (this.asking === asking) {
        this.asking = null;
        this.page.busy(false);
      }
      this.page.chatsChanged();
      this.page.status.speeds();
      this.page.showDrill();
    }
  }

  hear(view, name, told) {
    const turn = view.turn;
    switch (name) {
      case "chat": // it has its title now, or is kept
        this.known(told);
        this.page.chats.refresh();
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
        if (told.action !== "restart") view.foot.replaceChildren(element("p", "gw-seam-line", `⇄ ${seamWords(told)}`));
        break;
      case "turn":
        view.settle(told);
        this.page.sources.offer(view);
        this.log.scroll();
        break;
    }
  }

  async failed(view, text, error) {
    if (error instanceof Refused) {
      // Nothing was asked and nothing was kept: the text goes back to where it was written.
      if (this.chat) await this.reload();
      this.page.giveBack(text);
      this.page.say(error.message, true);
      return;
    }
    if (!view) return this.page.say(error.message, true);
    const about = { ...(view.turn.about || {}), is_cut: true };
    if (error.name !== "AbortError") {
      about.problem = {
        title: "The connection to the server was lost",
        detail: "What was written until then is kept.",
        cure: "retry once the server is back",
      };
    }
    this.known(null); // how much the server kept, it will tell
    view.settle({ ...view.turn, about });
  }

  retry(index) {
    const asked = this.log.turns[index - 1]?.turn;
    if (asked?.role === "user") this.ask(asked.text, index - 1);
  }

  async undo(index) {
    if (this.asking || index < 1) return;
    const text = this.log.turns[index - 1].turn.text;
    try {
      this.known(await call("POST", `chats/${this.chat}/undo`, { keep: index - 1, seen: this.seen }));
    } catch (error) {
      await this.reload();
      return this.page.say(error.message, true);
    }
    this.log.cut(index - 1);
    this.page.write(text);
    this.page.chatsChanged();
  }

  // ---- which conversation

  async ensure() {
    if (!this.chat) {
      this.making ||= call("POST", "chats", {});
      try {
        const made = await this.making;
        this.chat = made.id;
        this.known(made);
      } finally {
        this.making = null;
      }
      this.page.choices.begin(this.chat);
      history.replaceState(null, "", `#chat=${this.chat}`);
    }
    return this.chat;
  }

  new() {
    this.stop();
    this.asking = null; // what comes of it is not shown here any more
    this.page.busy(false);
    this.chat = null;
    this.known(null);
    this.page.choices.begin(null);
    if (location.hash) history.pushState(null, "", location.pathname + location.search);
    this.log.show([]);
    this.page.files.show([]);
    this.page.sources.clear();
    this.page.chats.refresh();
    this.page.closeDrawers();
    this.page.focusMessage();
  }

  async open(id, push = true) {
    if (id === this.chat) return;
    this.stop();
    if (!id) return this.new();
    if (await this.load(id)) {
      if (push) history.pushState(null, "", `#chat=${id}`);
      this.page.closeDrawers();
      this.page.focusMessage();
    }
    this.page.chats.refresh();
  }

  // As it is kept now: another tab may have gone on with it.
  async reload() {
    if (this.chat) await this.load(this.chat);
  }

  async load(id) {
    try {
      const told = await call("GET", `chats/${id}`);
      this.chat = id;
      this.known({ turns: told.turns.length, updated: told.updated });
      this.page.files.show(told.documents); // first: what it says of a file is not said again
      this.log.show(told.turns);
      this.page.sources.clear();
      this.page.sources.offer(this.log.turns.at(-1));
      this.page.choices.open(id, told.choices);
      return true;
    } catch (error) {
      if (error.status === 404) this.gone();
      else {
        this.page.say("The conversation could not be loaded; it is tried again when the server answers.", true);
        this.missed = id;
      }
      return false;
    }
  }

  gone() {
    this.new();
    this.page.say("That conversation is not there any more.");
  }

  // What the list of all says of this one.
  compare(summaries) {
    if (!this.chat || this.asking || this.page.files.work) return;
    const found = summaries.find((summary) => summary.id === this.chat);
    if (!found) this.gone();
    else if (this.updated === null) found.turns === this.log.turns.length && this.known(found);
    else if (found.updated > this.updated && !this.log.isEdited) this.reload();
  }

  serverIsBack() {
    this.page.chats.refresh();
    if (this.missed) this.open(this.missed, false);
    this.missed = null;
  }
}
