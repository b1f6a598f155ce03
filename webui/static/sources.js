// The right side's two tabs: who answers, and what an answer stands on.

import { element } from "./markdown.js";

const $ = (id) => document.getElementById(id);

export class Sources {
  constructor(page) {
    this.page = page;
    this.tabs = [$("gw-tab-tiers"), $("gw-tab-sources")];
    $("gw-tiers-pane").setAttribute("role", "tabpanel");
    $("gw-tiers-pane").setAttribute("aria-labelledby", "gw-tab-tiers");
    this.tabs.forEach((tab, n) => {
      tab.addEventListener("click", () => this.turn(n));
      tab.addEventListener("keydown", (event) => {
        if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
        this.turn(1 - n);
        this.tabs[1 - n].focus();
      });
    });
    this.clear();
  }

  // To a tab: 0 or 1.
  turn(to) {
    document.body.classList.toggle("gw-on-sources", to === 1);
    this.tabs.forEach((tab, n) => {
      tab.setAttribute("aria-selected", String(n === to));
      tab.tabIndex = n === to ? 0 : -1;
    });
  }

  clear() {
    this.offer(null);
    this.turn(0);
  }

  // The sources of an answer, without turning to them. Source texts hold marks as ranges of code points.
  offer(view) {
    const sources = view?.turn.about?.sources || [];
    if (view && !sources.length) return;
    const asked = view && this.page.log.turns[view.index - 1]?.turn.text;
    $("gw-sources-none").hidden = sources.length > 0;
    $("gw-sources-title").hidden = !sources.length;
    $("gw-sources-asked").textContent = asked || "";
    $("gw-sources-asked").title = asked || "";
    $("gw-sources-count").textContent = sources.length || "";
    $("gw-cards").replaceChildren(...sources.map(card));
  }

  // And turn to one of them.
  show(view, n) {
    this.offer(view);
    this.turn(1);
    const cards = $("gw-cards");
    const target = cards.querySelector(`[data-n="${n}"]`) || cards.firstElementChild;
    for (const shown of cards.children) shown.classList.toggle("gw-opened", shown === target);
    target?.scrollIntoView({ block: "nearest" });
    target?.focus({ preventScroll: true });
  }
}

function card(source) {
  const item = element("li", source.cited ? "gw-card gw-cited" : "gw-card");
  item.dataset.n = source.n;
  item.tabIndex = -1;
  const head = element("div", "gw-card-head");
  head.append(element("strong", "", `[${source.n}] ${source.document}`));
  if (source.place) head.append(element("span", "gw-quiet", source.place));
  if (!source.cited) head.append(element("span", "gw-quiet", "not cited"));
  const text = element("p", "gw-passage");
  const chars = [...source.text];
  let at = 0;
  for (const [start, end] of source.marks || []) {
    text.append(chars.slice(at, start).join(""), element("mark", "", chars.slice(start, end).join("")));
    at = end;
  }
  text.append(chars.slice(at).join(""));
  item.append(head, text);
  return item;
}
