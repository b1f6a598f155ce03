// Who would answer, live: the server says when something changed; seconds are counted down here.

import { element } from "./markdown.js";
import { call } from "./net.js";
import { capital, counted, inWords, money, nameOf, seconds } from "./words.js";

const NETWORK = {
  online: ["gw-good", "Online"],
  offline: ["gw-bad", "Offline: only this laptop answers"],
  portal: ["gw-bad", "A login page is in the way: open any page in the browser and sign in"],
};
const UNKNOWN = ["gw-quiet", "Unknown: the server does not answer"];
const SLOW_MS = 4000;
const HOUR_S = 3600;
const SPEEDS_MS = 15_000;
const SPEEDS_SOON_MS = 500;

export class StatusPanel {
  constructor(page) {
    this.page = page;
    this.status = null;
    this.heard = 0;
    this.isAway = false; // the server does not answer: nothing is known of anybody
    this.tiers = document.getElementById("gw-tiers");
    document.getElementById("gw-reset").addEventListener("click", () => this.reset());
    setInterval(() => this.count(), 1000);
    addEventListener("visibilitychange", () => document.hidden || this.speeds());
  }

  async reset() {
    if (await this.page.told(call("POST", "../admin/reset"))) this.page.say("Every tier is tried again.");
  }

  away(is) {
    if (this.isAway === is) return;
    this.isAway = is;
    if (this.status) this.draw();
  }

  show(status) {
    this.status = status;
    this.heard = status.heard;
    this.draw();
    this.page.statusChanged();
    this.speedsSoon();
  }

  draw() {
    const { status } = this;
    const [kind, words] = this.isAway ? UNKNOWN : NETWORK[status.connectivity] || ["gw-quiet", status.connectivity];
    document.getElementById("gw-network").replaceChildren(element("p", kind, words));
    const rungs = status.tiers.filter((tier, n) => !this.isHidden(tier, n));
    const isMissing = (tier) => tier.backend === "local" && tier.mode !== "extractive" && !tier.available && tier.circuit.state === "closed";
    const missing = rungs.filter(isMissing);
    const own = missing.length > 1 ? rungs.filter((tier) => !isMissing(tier)) : rungs;
    const isOpen = this.tiers.querySelector("details")?.open;
    this.tiers.replaceChildren(...own.map((tier) => this.tier(tier)));
    if (missing.length > 1) this.tiers.append(ways(missing, isOpen));
    this.lights(rungs);
    this.models(rungs);
    this.count();
  }

  // A rung that was never set up stands back when another of the same tier is there.
  isHidden(tier, n) {
    const others = this.status.tiers.filter((other, m) => other.backend === tier.backend && m !== n);
    return (!tier.available || tier.mode === "extractive") && others.some((other) => other.available && other.mode !== "extractive");
  }

  light(tier) {
    if (this.isAway) return ["gw-off", "unknown"];
    if (tier.mode === "extractive") return ["gw-half", "quotes your files"];
    if (tier.available) return ["gw-on", "ready"];
    const isCutOff = this.status.connectivity !== "online" && tier.backend !== "local";
    if (tier.circuit.state !== "closed" && !isCutOff) return ["gw-wait", tier.circuit.state === "half_open" ? "on trial" : "left alone"];
    return ["gw-off", "not asked"];
  }

  tier(tier) {
    const item = element("li", "gw-tier");
    const [kind, words] = this.light(tier);
    const head = element("div", "gw-tier-head");
    const mode = tier.mode !== tier.backend && tier.mode !== "extractive" ? ` · ${tier.mode.replaceAll("_", " ")}` : "";
    head.append(
      element("span", `gw-light ${kind}`),
      element("strong", "", nameOf(tier.backend)),
      element("span", "gw-quiet", mode),
      element("span", `gw-state ${kind}`, words),
    );
    item.append(head);
    if (tier.model) item.append(element("div", "gw-model", tier.model));
    if (this.isAway) return item;
    if (tier.why_not && !tier.available && tier.mode !== "extractive") item.append(element("p", "gw-reason", whyNot(tier)));
    if (tier.circuit.reopens_in != null) {
      const left = element("p", "gw-countdown");
      left.dataset.left = tier.circuit.reopens_in;
      item.append(left);
    }
    if (tier.cure && !tier.available && tier.mode !== "extractive") item.append(element("p", "gw-cure", tier.cure));
    const facts = tier.details || {};
    if (facts.credits_left != null) {
      const reset = facts.resets_on ? `, new ones on ${facts.resets_on}` : "";
      item.append(element("p", "gw-quiet", `Credits: ${facts.credits_left} of ${facts.credits_total ?? "?"} left${reset}`));
    }
    item.append(...spent(tier.budget));
    for (const note of tier.notes || []) if (note !== tier.why_not) item.append(element("p", "gw-quiet", note));
    return item;
  }

  lights(rungs) {
    const best = new Map();
    const worth = (tier) => (tier ? (tier.mode === "extractive" ? 1 : tier.available ? 2 : 0) : -1);
    for (const tier of rungs) if (worth(tier) > worth(best.get(tier.backend))) best.set(tier.backend, tier);
    const made = [...best.values()].map((tier) => {
      const [kind, words] = this.light(tier);
      const chip = element("span", "gw-chip");
      chip.title = `${nameOf(tier.backend)}: ${words}`;
      chip.append(element("span", `gw-light ${kind}`), element("span", "gw-name", nameOf(tier.backend)), element("span", "gw-words", words));
      return chip;
    });
    const network = this.status.connectivity;
    if (network !== "online" && !this.isAway) made.unshift(element("span", "gw-chip gw-bad", network === "portal" ? "login page" : network));
    document.getElementById("gw-lights").replaceChildren(...made);
  }

  models(rungs) {
    const groups = new Map();
    for (const { backend, available, model, models } of rungs) {
      if (!available) continue;
      const names = groups.get(backend) || groups.set(backend, new Set()).get(backend);
      for (const name of [model, ...models]) if (name) names.add(name);
    }
    const offered = [...groups].map(([tier, names]) => ({ tier, names: [...names] }));
    this.page.choices.models(offered.filter(({ names }) => names.length));
  }

  count() {
    for (const left of document.querySelectorAll(".gw-countdown")) {
      const rest = Math.max(0, Number(left.dataset.left) - (Date.now() - this.heard) / 1000);
      const minutes = Math.floor(rest / 60);
      const words = rest >= 86400 ? `${Math.round(rest / 86400)} days` : rest >= 3600 ? `${(rest / 3600).toFixed(1)} h`
        : minutes ? `${minutes} min ${Math.floor(rest % 60)} s` : `${Math.ceil(rest)} s`;
      left.textContent = rest ? `Tried again in ${words}` : "Tried again with the next question";
    }
  }

  // Nobody tells this page of questions that were asked elsewhere; a look is a few hundred bytes.
  async speeds() {
    clearTimeout(this.looking);
    this.looking = setTimeout(() => !document.hidden && this.speeds(), SPEEDS_MS);
    if (this.page.isConnected === false) return; // the status comes first when it is back
    const found = await call("GET", "speeds").catch(() => null);
    if (!found) return;
    const all = Object.values(found).flat();
    const plots = Object.entries(found).map(([backend, points]) => plot(backend, points, Date.now()));
    document.getElementById("gw-speeds").hidden = !all.length;
    if (all.length) document.getElementById("gw-plots").replaceChildren(...plots, axis());
  }

  // Answers come with changes of the status, and in bursts.
  speedsSoon() {
    clearTimeout(this.looking);
    this.looking = setTimeout(() => !document.hidden && this.speeds(), SPEEDS_SOON_MS);
  }
}

function whyNot(tier) {
  const isLeftAlone = tier.circuit.reason && tier.why_not.startsWith("left alone after");
  return isLeftAlone ? capital(inWords(tier.circuit.reason)) : capital(tier.why_not.replace(/\b[a-z]+(?:_[a-z0-9]+)+\b/g, inWords));
}

// What is spent of the daily budgets that are set.
function spent(budget) {
  if (!budget) return [];
  const told = [];
  if (budget.cost_limit != null) told.push([`${money(budget.cost, budget.currency)} of ${money(budget.cost_limit, budget.currency)}`, budget.cost / budget.cost_limit]);
  if (budget.tokens_limit != null) told.push([`${counted(budget.tokens)} of ${counted(budget.tokens_limit)} tokens`, budget.tokens / budget.tokens_limit]);
  return told.map(([words, part]) => {
    const row = element("p", "gw-spent");
    const bar = element("span", part >= 0.9 ? "gw-meter gw-nearly" : "gw-meter");
    bar.style.setProperty("--part", `${Math.min(100, 100 * part)}%`);
    row.append(element("span", "", `Today: ${words}`), bar);
    return row;
  });
}

// What would give this laptop a model of its own, folded: nobody needs all of them.
function ways(missing, isOpen) {
  const item = element("li", "gw-tier");
  const fold = element("details");
  fold.open = Boolean(isOpen);
  fold.append(element("summary", "", `Get a local model: ${missing.length} ways`));
  for (const tier of missing) {
    fold.append(element("p", "gw-reason", `${tier.mode.replaceAll("_", " ")}: ${tier.why_not}`));
    if (tier.cure) fold.append(element("p", "gw-cure", tier.cure));
  }
  item.append(fold);
  return item;
}

// One tier's answers of the last hour, each where its time is, as high as its first word was late.
function plot(backend, points, heard) {
  const row = element("div", "gw-plot");
  const field = element("div", "gw-bars");
  const soonest = Math.min(...points.map((point) => point.ms));
  const latest = Math.max(...points.map((point) => point.ms));
  const last = points[points.length - 1];
  const answers = points.length === 1 ? "1 answer" : `${points.length} answers`;
  field.setAttribute("role", "img");
  field.setAttribute(
    "aria-label",
    `${nameOf(backend)}: ${answers} in the last hour, first word after ${seconds(soonest)} to ${seconds(latest)}, of the last one after ${seconds(last.ms)}`,
  );
  for (const point of points) {
    const bar = element("span", point.ms > SLOW_MS ? "gw-slow" : "");
    bar.style.left = `${100 * (1 - Math.min(1, point.ago / HOUR_S))}%`;
    bar.style.height = `${Math.max(8, (100 * point.ms) / Math.max(1, latest))}%`;
    bar.title = `${new Date(heard - point.ago * 1000).toLocaleTimeString()}: ${seconds(point.ms)}`;
    field.append(bar);
  }
  const values = element("div", "gw-values");
  values.append(element("span", "", `max ${seconds(latest)}`), element("span", "", `last ${seconds(last.ms)}`));
  row.append(element("span", "", nameOf(backend)), field, values);
  return row;
}

function axis() {
  const row = element("div", "gw-plot gw-axis");
  const times = element("div", "gw-times");
  times.append(element("span", "", "−60 min"), element("span", "", "−30"), element("span", "", "now"));
  row.append(element("span"), times);
  row.setAttribute("aria-hidden", "true");
  return row;
}
