// Who would answer, live: the server says when something changed; seconds are counted down here.

import { element } from "./markdown.js";
import { call } from "./net.js";
import { nameOf, seconds } from "./log.js";

const NETWORK = {
  online: ["gw-good", "Online"],
  offline: ["gw-bad", "Offline: only this laptop answers"],
  portal: ["gw-bad", "A login page is in the way: open any page in the browser and sign in"],
};
const UNKNOWN = ["gw-quiet", "Unknown: the server does not answer"];
const SLOW_MS = 4000;

export class StatusPanel {
  constructor(page) {
    this.page = page;
    this.status = null;
    this.heard = 0;
    this.isAway = false; // the server does not answer: nothing is known of anybody
    this.tiers = document.getElementById("gw-tiers");
    document.getElementById("gw-reset").addEventListener("click", () => this.reset());
    setInterval(() => this.count(), 1000);
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
    if (tier.why_not && !tier.available && tier.mode !== "extractive") item.append(element("p", "gw-reason", tier.why_not.replaceAll("_", " ")));
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

  async speeds() {
    const found = await call("GET", "speeds").catch(() => ({}));
    const plots = Object.entries(found).map(([backend, points]) => plot(backend, points));
    document.getElementById("gw-speeds").hidden = !plots.length;
    document.getElementById("gw-plots").replaceChildren(...plots);
  }
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

function plot(backend, points) {
  const row = element("div", "gw-plot");
  const top = Math.max(SLOW_MS / 4, ...points.map((point) => point.ms));
  const bars = element("div", "gw-bars");
  const last = points[points.length - 1];
  bars.setAttribute("role", "img");
  bars.setAttribute("aria-label", `${nameOf(backend)}: ${points.length} answers, the last one after ${seconds(last.ms)}`);
  for (const point of points.slice(-40)) {
    const bar = element("span", point.ms > SLOW_MS ? "gw-slow" : "");
    bar.style.height = `${Math.max(6, (100 * point.ms) / top)}%`;
    bar.title = `${new Date(point.at * 1000).toLocaleTimeString()}: ${seconds(point.ms)}`;
    bars.append(bar);
  }
  row.append(element("span", "", nameOf(backend)), bars, element("span", "gw-quiet", seconds(last.ms)));
  return row;
}
