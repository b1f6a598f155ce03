// What the page calls things: tiers, reasons, times and money.

import { element } from "./markdown.js";

const NAMES = { copilot: "Copilot", cloud: "Cloud", local: "This laptop" };
let reasons = null;

export const nameOf = (backend) => NAMES[backend] || backend || "nobody";

export function seconds(ms) {
  if (ms === null || ms === undefined) return "";
  return ms < 950 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
}

// Of a reason as the core names it: `upstream_5xx`. The server's table came with the page.
export function inWords(reason) {
  reasons ||= JSON.parse(document.getElementById("gw-words").dataset.words);
  return reasons[reason] || reason.replaceAll("_", " ");
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export function money(amount, currency = "USD") {
  const digits = amount > 0 && amount < 0.01 ? Math.min(8, 1 - Math.floor(Math.log10(amount))) : 2;
  return amount.toLocaleString("en", { style: "currency", currency, minimumFractionDigits: 2, maximumFractionDigits: digits });
}

export const counted = (number) => number.toLocaleString("en", { maximumSignificantDigits: Math.max(3, Math.trunc(Math.abs(number)).toString().length) });

// The words of a search in a text, marked.
export function marked(parent, text, query) {
  const words = query.split(/\s+/).filter(Boolean).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const parts = words.length ? text.split(new RegExp(`(${words.join("|")})`, "giu")) : [text];
  parent.append(...parts.map((part, n) => (n % 2 ? element("mark", "", part) : part)));
  return parent;
}
