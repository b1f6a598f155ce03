// The settings of the next questions. A conversation keeps its own; a new one takes those that are shown. Until they
// are kept there, and over a reload, this tab remembers them.

import { nameOf } from "./words.js";
import { call } from "./net.js";

const KEY = "gateway.choices";
const NONE = { tier: "", model: "", local_only: false, system: "", temperature: "" };
const WARMTH = { 0: "precise", 0.7: "balanced", 1.2: "inventive" };
const PAUSE_MS = 300; // while somebody types

export class Choices {
  constructor(page) {
    this.page = page;
    this.shown = new WeakSet();
    const kept = JSON.parse(sessionStorage.getItem(KEY) || "{}");
    this.owner = kept.owner || null; // the conversation for which this tab remembers them
    this.now = { ...NONE, ...kept.now };
    this.select = document.getElementById("gw-model");
    this.select.addEventListener("change", () => this.choose("model", this.select.value));
    document.getElementById("gw-unchoose").addEventListener("click", () => {
      this.take(NONE);
      this.page.focusMessage();
    });
    // Gradio makes the controls of a drawer when it is opened.
    new MutationObserver(() => this.show()).observe(document.getElementById("gw-right"), { childList: true, subtree: true });
    this.show();
    this.tell();
  }

  // As the server wants them.
  get asked() {
    const { tier, model, local_only, system, temperature } = this.now;
    return {
      tier: tier || null,
      model: model || null,
      local_only,
      system: system || null,
      temperature: temperature === "" ? null : Number(temperature),
    };
  }

  choose(name, value) {
    if (this.now[name] === value) return;
    this.now[name] = value;
    this.keep();
  }

  take(values) {
    this.now = { ...NONE, ...values };
    this.shown = new WeakSet();
    this.show();
    this.keep();
  }

  // Those of a conversation that was opened; what this tab remembers of it is newer.
  open(chat, told) {
    if (this.owner === chat) return;
    this.owner = chat;
    if (!told) return this.remember(); // it never had any: those shown stay
    const words = Object.entries(told).map(([name, value]) => [name, value === null ? "" : name === "temperature" ? String(value) : value]);
    this.now = { ...NONE, ...Object.fromEntries(words) };
    this.shown = new WeakSet();
    this.show();
    this.remember();
  }

  // A new conversation; it has an id only once something is in it.
  begin(chat) {
    this.owner = chat;
    this.remember();
  }

  keep() {
    this.remember();
    clearTimeout(this.keeping);
    const chat = this.page.talk.chat;
    if (chat) this.keeping = setTimeout(() => call("PUT", `chats/${chat}/choices`, this.asked).catch(() => {}), PAUSE_MS);
  }

  remember() {
    sessionStorage.setItem(KEY, JSON.stringify({ owner: this.owner, now: this.now }));
    this.tell();
  }

  forget() {
    this.owner = null;
    this.take(NONE);
    sessionStorage.removeItem(KEY);
  }

  // Put the values into the controls that do not show them yet.
  show() {
    const fresh = (path, set) => {
      const control = document.querySelector(path);
      if (!control || this.shown.has(control)) return;
      this.shown.add(control);
      set(control);
    };
    const radio = (value) => (group) => {
      const wanted = [...group.querySelectorAll("input")].find((input) => input.value === value);
      if (wanted && !wanted.checked) wanted.click();
    };
    fresh("#gw-tier", radio(this.now.tier));
    fresh("#gw-temperature", radio(this.now.temperature));
    fresh("#gw-local input", (box) => box.checked !== this.now.local_only && box.click());
    fresh("#gw-system textarea", (box) => {
      if (box.value === this.now.system) return;
      box.value = this.now.system;
      box.dispatchEvent(new Event("input", { bubbles: true }));
    });
    this.models();
  }

  // `names`: what the tiers offer now; the chosen one stays, even while nobody offers it.
  models(names = this.names || []) {
    this.names = names;
    const chosen = this.now.model;
    const wanted = JSON.stringify([names, chosen]);
    if (this.select.dataset.names === wanted) return;
    this.select.dataset.names = wanted;
    const options = names.map((name) => new Option(name, name));
    if (chosen && !names.includes(chosen)) options.push(new Option(`${chosen} (not offered now)`, chosen));
    this.select.replaceChildren(new Option("as the tier is set", ""), ...options);
    this.select.value = chosen;
  }

  // One line above the place to write, so that nobody asks with settings that a drawer hides.
  tell() {
    const { tier, model, local_only, system, temperature } = this.now;
    const words = [
      local_only && "stays on this laptop",
      tier && `only ${nameOf(tier)}`,
      model,
      system.trim() && "standing instructions",
      temperature !== "" && (WARMTH[temperature] || `temperature ${temperature}`),
    ].filter(Boolean);
    document.getElementById("gw-chosen").hidden = !words.length;
    document.getElementById("gw-chosen-words").textContent = `Set: ${words.join(" · ")}`;
  }
}
