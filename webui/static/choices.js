// The settings of the next questions. A conversation keeps its own; a new one takes those that are shown. Until they
// are kept there, and over a reload, this tab remembers them.

import { nameOf } from "./words.js";
import { call } from "./net.js";

const KEY = "gateway.choices";
const NONE = { tier: "", model: "", local_only: false, system: "", temperature: "" };
const WARMTH = { 0: "precise", 0.7: "balanced", 1.2: "inventive" };
const PAUSE_MS = 300; // while somebody types
const HOLDS = 8;
const HOLD_MS = 100;
const CLOUDS = new Set(["copilot", "cloud"]);

// What goes together; else what stays on this laptop wins. A model without a tier would be asked of whoever comes first.
function agreeing(now) {
  const tier = now.local_only && CLOUDS.has(now.tier) ? "" : now.tier;
  return { ...now, tier, model: tier ? now.model : "" };
}

export class Choices {
  constructor(page) {
    this.page = page;
    this.round = 0;
    this.shown = new WeakSet();
    const kept = JSON.parse(sessionStorage.getItem(KEY) || "{}");
    this.owner = kept.owner || null; // the conversation for which this tab remembers them
    this.now = agreeing({ ...NONE, ...kept.now });
    this.select = document.getElementById("gw-model");
    this.offered = [];
    this.select.addEventListener("change", () => this.chooseModel(this.select.value));
    document.getElementById("gw-unchoose").addEventListener("click", () => {
      this.take(NONE);
      this.page.focusMessage();
    });
    const right = document.getElementById("gw-right");
    const byHand = () => this.isSetting || (this.round += 1);
    for (const kind of ["pointerdown", "keydown", "focusin", "input"]) right.addEventListener(kind, byHand, true);
    // Gradio makes the controls of a drawer when it is opened.
    new MutationObserver(() => this.show()).observe(right, { childList: true, subtree: true });
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
    if (name === "tier" && !this.isOffered(value, this.now.model)) this.now.model = ""; // it was another one's
    this.keep();
    this.models();
    this.bar();
  }

  // A model is asked of the tier that offers it, and of nobody else: one on this laptop never leaves it.
  chooseModel(value) {
    const at = value.indexOf("/");
    this.take({ ...this.now, ...(value ? { tier: value.slice(0, at), model: value.slice(at + 1) } : { model: "" }) });
  }

  isOffered(tier, model) {
    return this.offered.some((group) => group.tier === tier && group.names.includes(model));
  }

  take(values) {
    this.now = agreeing({ ...NONE, ...values });
    this.anew();
    this.show();
    this.keep();
  }

  // Those of a conversation that was opened; what this tab remembers of it is newer.
  open(chat, told) {
    if (this.owner === chat) return;
    this.owner = chat;
    if (!told) return this.remember(); // it never had any: those shown stay
    const words = Object.entries(told).map(([name, value]) => [name, value === null ? "" : name === "temperature" ? String(value) : value]);
    this.now = agreeing({ ...NONE, ...Object.fromEntries(words) });
    this.anew();
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
    const fresh = (path, put) => {
      const set = (control) => {
        this.isSetting = true;
        put(control);
        this.isSetting = false;
      };
      const control = document.querySelector(path);
      if (!control || this.shown.has(control)) return;
      this.shown.add(control);
      set(control);
      this.hold(() => set(control), HOLDS);
    };
    const radio = (value) => (group) => {
      const wanted = [...group.querySelectorAll("input")].find((input) => input.value === value);
      if (wanted && !wanted.checked) wanted.click();
    };
    this.bar(true);
    fresh("#gw-tier", radio(this.now.tier));
    fresh("#gw-temperature", radio(this.now.temperature));
    fresh("#gw-local input", (box) => box.checked !== this.now.local_only && box.click());
    fresh("#gw-system textarea", (box) => {
      if (box.value === this.now.system) return;
      box.value = this.now.system;
      box.dispatchEvent(new Event("input", { bubbles: true }));
    });
    this.models();
    this.bar();
  }

  // Gradio may yet put its own first value into a control that it has just made; until somebody touches one.
  hold(set, times, round = this.round) {
    if (!times) return;
    setTimeout(() => {
      if (round !== this.round) return;
      this.bar(true);
      set();
      this.bar();
      this.hold(set, times - 1, round);
    }, HOLD_MS);
  }

  // Other values are shown from now on.
  anew() {
    this.round += 1;
    this.shown = new WeakSet();
  }

  // `offered`: the models of each tier, as `{ tier, names }`; the chosen one stays, even while nobody offers it.
  models(offered = this.offered) {
    this.offered = offered;
    const { tier, model, local_only } = this.now;
    const wanted = JSON.stringify([offered, tier, model, local_only]);
    if (this.select.dataset.names === wanted) return;
    this.select.dataset.names = wanted;
    const groups = offered.map((group) => {
      const made = document.createElement("optgroup");
      made.label = nameOf(group.tier);
      made.disabled = local_only && group.tier !== "local";
      made.append(...group.names.map((name) => new Option(name, `${group.tier}/${name}`)));
      return made;
    });
    if (model && !this.isOffered(tier, model)) groups.push(new Option(`${model} (not offered now)`, `${tier}/${model}`));
    this.select.replaceChildren(new Option("as the tier is set", ""), ...groups);
    this.select.value = model ? `${tier}/${model}` : "";
  }

  // Why one of the two cannot be chosen while the other is: together they would leave nobody to ask.
  get why() {
    const { tier, local_only } = this.now;
    if (local_only) return "Staying local: Copilot and cloud are not asked.";
    return CLOUDS.has(tier) ? `Only ${nameOf(tier)} is asked: to stay local, choose “first that can” or “local” first.` : "";
  }

  // `isFree`: for the moment in which they are set, none is barred.
  bar(isFree = false) {
    const { tier, local_only } = this.now;
    const isBarred = (input) => !isFree && local_only && CLOUDS.has(input.value);
    for (const input of document.querySelectorAll("#gw-tier input")) input.disabled = isBarred(input);
    const box = document.querySelector("#gw-local input");
    if (box) box.disabled = !isFree && CLOUDS.has(tier);
    const words = document.getElementById("gw-barred");
    if (words.textContent !== this.why) words.textContent = this.why;
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
