// The open conversation, and answers that are being written, in it and in others. The address remembers which is open.

import { seamWords } from "./log.js";
import { element } from "./markdown.js";
import { Refused, Unreachable, call, events } from "./net.js";
import { Waiting } from "./waiting.js";

const MOST_AT_A_TIME = 3; // answers: a browser opens six connections to a host, and the page needs some

export function idInAddress() {
  return location.hash.match(/^#chat=([0-9a-f]{16})$/)?.[1] || null;
}

// A question and the answer that grows, whether its conversation is shown or not.
class Run {
  constructor(text, keep, before) {
    this.text = text;
    this.keep = keep;
    this.before = before; // the turns that were shown, to be shown again if nothing comes of it
    this.chat = null; // until it has one
    this.answer = { role: "assistant", text: "", about: null };
    this.view = null; // of the answer, while it is shown
    this.seam = null; // what is told of a takeover until the answer is whole
    this.isHeard = false; // the server has the question
    this.isForgotten = false; // nobody wants to hear of it any more
    this.waiting = new Waiting();
    this.stopping = new AbortController();
  }

  get signal() {
    return this.stopping.signal;
  }

  // What `work` gives, unless it is stopped before.
  orStopped(work) {
    const stopped = new Promise((_, reject) => {
      this.signal.addEventListener("abort", () => reject(this.signal.reason));
    });
    this.signal.throwIfAborted();
    return Promise.race([work, stopped]);
  }

  show(view) {
    this.view = view;
    this.waiting.into(view);
    if (!view) return;
    view.root.classList.add("gw-growing");
    view.root.setAttribute("aria-busy", "true");
    if (this.seam) view.foot.replaceChildren(element("p", "gw-seam-line", this.seam));
  }

  end() {
    this.waiting.end();
    this.view?.root.classList.remove("gw-growing");
    this.view?.root.removeAttribute("aria-busy");
  }
}

export class Talk {
  constructor(page) {
    this.page = page;
    this.chat = null;
    this.place = 0; // changes with what is shown
    this.begun = null; // the run whose conversation is still being made
    this.running = new Map(); // by conversation
    this.wish = null; // the conversation that was asked for last
    this.unsent = new Map(); // questions that came back while another conversation was shown
    this.known(null);
    addEventListener("hashchange", () => this.open(idInAddress(), false));
  }

  get log() {
    return this.page.log;
  }

  // The run whose answer is shown while it grows.
  get asking() {
    return this.begun || this.running.get(this.chat) || null;
  }

  isShown(run) {
    return run === this.begun || (run.chat !== null && run.chat === this.chat);
  }

  // How far this page knows the conversation as the server keeps it; without an argument: not at all.
  known(summary) {
    this.seen = summary ? summary.turns : null;
    this.updated = summary ? summary.updated : null;
  }

  // ---- asking

  stop(chat = this.chat) {
    const run = chat === this.chat ? this.asking : this.running.get(chat);
    run?.stopping.abort();
  }

  // Stop every answer and say nothing of it: what they belong to is gone.
  forget(chat = null) {
    for (const run of [this.begun, ...this.running.values()]) {
      if (!run || (chat && run.chat !== chat)) continue;
      run.isForgotten = true;
      run.stopping.abort();
    }
    if (chat) this.unsent.delete(chat);
    else this.unsent.clear();
  }

  stopAll() {
    for (const run of [this.begun, ...this.running.values()]) run?.stopping.abort();
  }

  // Whether a question can be asked here just now.
  get mayAsk() {
    if (this.asking) return false;
    if (this.running.size < MOST_AT_A_TIME) return true;
    this.page.say(`${MOST_AT_A_TIME} other answers are being written; wait for one of them, or stop it.`, true);
    return false;
  }

  async ask(text, keep) {
    if (!this.mayAsk) return;
    const before = this.log.turns.map((view) => view.turn);
    const run = (this.begun = new Run(text, keep ?? before.length, before));
    const choices = this.page.choices.asked;
    this.page.busy(true);
    this.page.offer(null);
    try {
      const made = await run.orStopped(this.ensure());
      run.chat = made.id;
      this.running.set(run.chat, run);
      if (this.begun === run) this.begun = null;
      const seen = this.isShown(run) ? this.seen : made.turns;
      if (this.isShown(run)) {
        this.page.sources.clear();
        this.log.cut(run.keep);
        this.attach(run);
      }
      await run.orStopped(this.page.files.settled());
      const question = { prompt: text, keep: run.keep, seen, page: this.page.id, ...choices };
      await events(`chats/${run.chat}/ask`, question, run.signal, (name, told) => this.hear(run, name, told));
      if (!run.answer.about) throw new Unreachable();
    } catch (error) {
      if (this.running.get(run.chat) === run) this.running.delete(run.chat);
      if (!run.isForgotten) await this.failed(run, error);
    } finally {
      run.end();
      if (this.running.get(run.chat) === run) this.running.delete(run.chat);
      if (this.begun === run) this.begun = null;
      this.page.busy(Boolean(this.asking));
      this.page.chatsChanged();
      this.page.status.speeds();
      this.page.showDrill();
    }
  }

  // Show a run in its conversation: again, if another one was shown meanwhile.
  attach(run) {
    this.log.add({ role: "user", text: run.text });
    run.show(this.log.add(run.answer));
    this.log.toEnd();
  }

  hear(run, name, told) {
    const view = this.isShown(run) ? run.view : null;
    switch (name) {
      case "chat": // it has its title now, or is kept
        if (this.isShown(run)) this.known(told);
        if (!run.isHeard) this.accepted(run);
        break;
      case "asking":
      case "thinking":
      case "passed":
        run.waiting.hear(name, told);
        break;
      case "delta":
        run.waiting.end();
        run.answer.text += told.text;
        view?.grow();
        break;
      case "seam":
        if (told.action === "restart") {
          run.answer.text = "";
          if (view) view.text._blocks = [];
        } else {
          run.seam = `⇄ ${seamWords(told)}`;
          view?.foot.replaceChildren(element("p", "gw-seam-line", run.seam));
        }
        break;
      case "turn":
        run.waiting.end();
        run.answer = told;
        view?.settle(told);
        if (view) {
          this.page.sources.offer(view);
          this.log.scroll();
        }
        break;
    }
  }

  // The server has the question.
  accepted(run) {
    run.isHeard = true;
    this.page.sent(run.text);
    this.page.chatsChanged();
    const later = run.before.length - run.keep - 2;
    if (later > 0 && this.isShown(run)) {
      const words = `${later} later ${later === 1 ? "turn was" : "turns were"} dropped.`;
      this.page.offer(words, "Undo", () => this.restore());
    }
  }

  async failed(run, error) {
    const isShown = this.isShown(run);
    const isStop = error.name === "AbortError";
    if (error instanceof Refused || !run.isHeard) {
      // Nothing was asked and nothing is kept: all is as it was, and the text goes back to where it was written.
      if (isShown && error instanceof Refused && this.chat) await this.reload();
      else if (isShown) {
        this.log.show(run.before);
        this.known(null);
      }
      const isThere = run.before[run.keep]?.text === run.text; // a question that was asked again
      if (!isThere && !isShown && run.chat) this.unsent.set(run.chat, run.text);
      else if (!isThere) this.page.giveBack(run.text);
      if (error instanceof Unreachable) this.page.say(`${error.message.slice(0, -1)}; your question is still here.`, true);
      else if (!isStop) this.page.say(error.message, true);
      return;
    }
    const about = { ...(run.answer.about || {}), is_cut: true };
    if (!isStop) {
      about.problem = {
        title: "The connection to the server was lost",
        detail: "What was written until then is kept.",
        cure: "retry once the server is back",
      };
    }
    if (!isShown) return; // the server kept what there was, and will show it
    this.known(null); // how much the server kept, it will tell
    run.view.settle({ ...run.answer, about });
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
      if (error instanceof Refused) await this.reload();
      return this.page.say(error.message, true);
    }
    this.page.offer(null);
    this.log.cut(index - 1);
    this.page.write(text);
    this.page.chatsChanged();
  }

  // Bring back the turns that asking an early question again has dropped.
  async restore(words = "The later turns are back.") {
    const chat = this.chat;
    this.page.offer(null);
    this.page.focusMessage();
    const run = this.asking;
    if (run) {
      run.isForgotten = true;
      run.stopping.abort();
    }
    try {
      await call("POST", `chats/${chat}/restore`, { seen: this.log.turns.length });
      const other = words.includes("later") ? "The new answer is back." : undefined;
      if (chat === this.chat) this.page.offer(words, "Undo", () => this.restore(other));
    } catch (error) {
      this.page.say(error.message, true);
    }
    if (chat === this.chat) await this.reload();
    this.page.chatsChanged();
  }

  // ---- which conversation

  // The one that is shown, made if there is none yet.
  async ensure() {
    if (this.chat) return { id: this.chat, turns: this.seen };
    const place = this.place;
    this.making ||= call("POST", "chats", {});
    const making = this.making;
    let made;
    try {
      made = await making;
    } finally {
      if (this.making === making) this.making = null;
    }
    if (place !== this.place || this.chat) return made; // another one is shown by now
    this.chat = made.id;
    this.known(made);
    this.page.choices.begin(this.chat);
    history.replaceState(null, "", `#chat=${this.chat}`);
    return made;
  }

  // What is written goes on, and is there when its conversation is shown again.
  leave() {
    this.place += 1;
    this.begun = this.making = null;
    this.running.get(this.chat)?.show(null);
    this.page.offer(null);
    this.page.sources.clear();
  }

  new() {
    this.wish = null;
    this.leave();
    this.chat = null;
    this.known(null);
    this.page.busy(false);
    this.page.choices.begin(null);
    if (location.hash) history.pushState(null, "", location.pathname + location.search);
    this.log.show([]);
    this.page.files.show([]);
    this.page.chats.refresh();
    this.page.closeDrawers();
    this.page.focusMessage();
  }

  async open(id, push = true) {
    if (id === this.chat) return;
    if (!id) return this.new();
    const wish = (this.wish = {}); // the last one counts
    if (await this.load(id, () => wish === this.wish)) {
      if (push) history.pushState(null, "", `#chat=${id}`);
      this.page.closeDrawers();
      this.page.focusMessage();
    }
    this.page.chats.refresh();
  }

  // As it is kept now: another tab may have gone on with it.
  async reload() {
    const chat = this.chat;
    if (chat) await this.load(chat, () => chat === this.chat);
  }

  async load(id, isWanted) {
    const run = this.running.get(id);
    try {
      const told = await call("GET", `chats/${id}`);
      if (!isWanted()) return false;
      if (run !== this.running.get(id)) return this.load(id, isWanted); // it ended, or began, meanwhile
      if (id !== this.chat) this.leave();
      this.chat = id;
      this.known({ turns: told.turns.length, updated: told.updated });
      this.page.files.show(told.documents); // first: what it says of a file is not said again
      this.log.show(run ? told.turns.slice(0, run.keep) : told.turns);
      if (run) this.attach(run);
      this.page.busy(Boolean(this.asking));
      this.page.sources.clear();
      this.page.sources.offer(this.log.turns.at(-1));
      this.page.choices.open(id, told.choices);
      if (this.unsent.has(id)) this.page.giveBack(this.unsent.get(id));
      this.unsent.delete(id);
      return true;
    } catch (error) {
      if (!isWanted()) return false;
      if (error.status === 404) this.gone(id);
      else {
        this.page.say("The conversation could not be loaded; it is tried again when the server answers.", true);
        this.missed = id;
      }
      return false;
    }
  }

  gone(id) {
    this.forget(id);
    this.new();
    this.page.say("That conversation is not there any more.");
  }

  // What the list of all says of this one.
  compare(summaries) {
    if (!this.chat || this.asking || this.page.files.work) return;
    const found = summaries.find((summary) => summary.id === this.chat);
    if (!found) this.gone(this.chat);
    else if (this.updated === null) found.turns === this.log.turns.length && this.known(found);
    else if (found.updated > this.updated && !this.log.isEdited) this.reload();
  }

  serverIsBack() {
    this.page.chats.refresh();
    if (this.missed) this.open(this.missed, false);
    this.missed = null;
  }
}
