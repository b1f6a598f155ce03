// While nothing of an answer comes: who is asked, for how long, and who was before. The seconds are for the eyes;
// readers of other kinds hear only of what is new, and not of answers that begin at once.

import { nameOf } from "./words.js";
import { element } from "./markdown.js";

const QUIET_MS = 2000; // an answer that begins sooner is not announced

export class Waiting {
  constructor() {
    this.line = element("p", "gw-waiting");
    this.line.setAttribute("aria-live", "off"); // it stands inside a live region
    this.passed = [];
    this.who = null;
  }

  hear(name, told) {
    if (name === "passed") {
      this.passed.push(told.why); // who is next, or that nobody is, comes at once
      clearTimeout(this.announcing);
      return;
    }
    const isNew = this.who?.backend !== told.backend;
    this.who = { backend: told.backend, thinks: name === "thinking" };
    if (isNew) this.since = Date.now();
    this.begin();
  }

  begin() {
    this.isOver = false;
    clearInterval(this.ticking);
    this.ticking = setInterval(() => this.show(), 1000);
    this.show();
    clearTimeout(this.announcing);
    this.announcing = setTimeout(() => this.announce(), this.passed.length || this.who.thinks ? 0 : QUIET_MS);
  }

  // The first word is there, or the end.
  end() {
    this.isOver = true;
    clearInterval(this.ticking);
    clearTimeout(this.announcing);
    this.line.remove();
    this.passed = [];
    this.who = null;
  }

  // Into the answer that is shown; `null`: another conversation is.
  into(view) {
    this.view = view;
    if (view && this.who && !this.isOver) this.show();
  }

  get words() {
    return `${nameOf(this.who.backend)}${this.who.thinks ? " is thinking" : ""}…`;
  }

  show() {
    const seconds = Math.floor((Date.now() - this.since) / 1000);
    const before = this.passed.length ? ` (${this.passed.join("; ")})` : "";
    this.line.textContent = `${this.words}${seconds ? ` ${seconds} s` : ""}${before}`;
    if (this.view && this.line.parentNode !== this.view.root) this.view.text.after(this.line);
  }

  announce() {
    if (!this.view || this.isOver) return;
    const last = this.passed.at(-1);
    document.getElementById("gw-told").textContent = `${last ? `${last}. ` : ""}${this.words}`;
  }
}
