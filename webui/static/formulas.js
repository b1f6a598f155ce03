// Formulas: what was written, until the server has told how it is drawn. MathML as elements of a short list, never parsed.

import { element } from "./markdown.js";
import { call } from "./net.js";

const MATHML = "http://www.w3.org/1998/Math/MathML";
const ELEMENTS = new Set(
  ("math mfrac mi mn mo mover mpadded mphantom mroot mrow mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr " +
    "munder munderover").split(" "),
);
const ATTRIBUTES = new Set(
  ("accent columnalign columnspacing depth display displaystyle fence form height linethickness lspace mathvariant maxsize " +
    "minsize movablelimits rspace scriptlevel stretchy width").split(" "),
);
const LONGEST = 2000; // as the server has it: longer ones stay as they are written
const AT_ONCE = 100;

export class Formulas {
  constructor() {
    this.known = new Map(); // a tree, or null: it cannot be drawn
    this.wanted = new Map(); // the places that wait for it
  }

  // The formula, or `shown` (its source) until it can be drawn; it then takes the place of `shown`.
  of = (source, isAlone, shown) => {
    if (source.length > LONGEST) return shown;
    const key = JSON.stringify([source, isAlone]);
    const tree = this.known.get(key);
    if (tree) return drawn(tree, isAlone);
    if (tree === undefined) {
      if (!this.wanted.size) setTimeout(() => this.ask());
      this.wanted.set(key, [...(this.wanted.get(key) || []), shown]);
    }
    return shown;
  };

  async ask() {
    const wanted = [...this.wanted];
    this.wanted.clear();
    for (let at = 0; at < wanted.length; at += AT_ONCE) {
      const part = wanted.slice(at, at + AT_ONCE);
      const trees = await call("POST", "math", { formulas: part.map(([key]) => JSON.parse(key)) }).catch(() => null);
      if (!trees) return; // the source stays, and is asked for again when it is shown again
      part.forEach(([key, places], n) => {
        this.known.set(key, trees[n]);
        const isAlone = JSON.parse(key)[1];
        if (trees[n]) for (const shown of places) shown.replaceWith(drawn(trees[n], isAlone));
      });
    }
  }
}

function drawn(tree, isAlone) {
  const frame = element("span", "gw-drawn");
  frame.append(made(tree));
  if (isAlone) {
    // It may be wider than the page.
    frame.tabIndex = 0;
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", "Formula");
  }
  return frame;
}

function made([name, attributes, inner]) {
  const node = document.createElementNS(MATHML, ELEMENTS.has(name) ? name : "mtext");
  for (const [key, value] of Object.entries(attributes)) if (ATTRIBUTES.has(key)) node.setAttribute(key, value);
  if (typeof inner === "string") node.textContent = inner;
  else node.append(...inner.map(made));
  return node;
}
