// The conversation on the screen: turns, the answer while it grows, and what stands under it.

import { Formulas } from "./formulas.js";
import { copyButton, element, fill } from "./markdown.js";
import { counted, inWords, money, nameOf, seconds } from "./words.js";

const MARK = 0xe000; // first of the characters that stand for a seam
export class Log {
  constructor(actions) {
    this.actions = { ...actions, formulas: new Formulas(), isSaid: (note, index) => this.isSaid(note, index) };
    this.root = document.getElementById("gw-log");
    this.scroller = document.getElementById("gw-scroll");
    this.down = document.getElementById("gw-down");
    this.turns = [];
    this.follows = true;
    this.top = 0;
    this.scroller.addEventListener("scroll", () => {
      const top = this.scroller.scrollTop;
      const left = this.scroller.scrollHeight - top - this.scroller.clientHeight;
      // Only moving up is a wish to stay; text that grew since the last scroll is not.
      if (left < 60) this.follows = true;
      else if (top < this.top - 2) this.follows = false;
      this.top = top;
      this.down.hidden = this.follows;
    });
    this.down.addEventListener("click", () => this.toEnd());
    const watch = new ResizeObserver(() => this.scroll());
    watch.observe(this.scroller);
    watch.observe(this.root);
  }

  show(turns) {
    this.root.replaceChildren();
    this.turns = [];
    turns.forEach((turn) => this.add(turn));
    this.toEnd();
  }

  add(turn) {
    const view = new TurnView(turn, this.turns.length, this.actions);
    this.turns.push(view);
    this.root.append(view.root);
    document.getElementById("gw-empty").hidden = true;
    this.relabel();
    this.scroll();
    return view;
  }

  cut(keep) {
    while (this.turns.length > keep) this.turns.pop().root.remove();
    document.getElementById("gw-empty").hidden = this.turns.length > 0;
    this.relabel();
  }

  // Notes on a file come with every answer from it: once is enough, here or beside the file's name.
  isSaid(note, index) {
    const plain = (text) => text.replace(/ \(passage \d+\)/, "");
    const isSame = (other) => plain(other) === plain(note);
    return (
      this.turns.slice(0, index).some((view) => view.turn.about?.notes?.some(isSame)) ||
      [...document.querySelectorAll("[data-note]")].some((shown) => isSame(shown.dataset.note))
    );
  }

  get isEdited() {
    return this.root.querySelector(".gw-edit") !== null;
  }

  relabel() {
    this.turns.forEach((view, n) => view.root.classList.toggle("gw-last", n >= this.turns.length - 2));
  }

  scroll() {
    if (this.follows) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  toEnd() {
    this.follows = true;
    this.scroll();
    this.down.hidden = true;
    document.getElementById("gw-empty").hidden = this.turns.length > 0;
  }
}

class TurnView {
  constructor(turn, index, actions) {
    this.turn = turn;
    this.index = index;
    this.actions = actions;
    const isUser = turn.role === "user";
    this.root = element("article", `gw-turn ${isUser ? "gw-user" : "gw-answer"}`);
    this.root.setAttribute("aria-label", isUser ? "You" : "Answer");
    this.text = element("div", "gw-text");
    this.foot = element("div", "gw-foot");
    this.tools = element("div", "gw-tools");
    this.root.append(element("h2", "gw-unseen", isUser ? "You" : "Answer"), this.text, this.foot, this.tools);
    if (isUser) this.text.textContent = turn.text;
    else this.paint();
    this.paintTools();
    if (!isUser && turn.about) this.paintFoot();
  }

  // The answer's text, with its seams; offsets count code points.
  paint() {
    const seams = this.turn.about?.seams || [];
    const marks = {};
    let text = this.turn.text.replace(/[\ue000-\ue0ff]/g, "\ufffd");
    if (seams.length) {
      const chars = [...text];
      seams.slice(0, 200).map((seam, n) => [seam, String.fromCharCode(MARK + n)]).reverse().forEach(([seam, mark]) => {
        chars.splice(seam.at, 0, mark);
        const space = /\s/.test(chars[seam.at + 1] || "") ? "after" : /\s/.test(chars[seam.at - 1] || "") ? "before" : "";
        marks[mark] = () => seamMark(seam, space);
      });
      text = chars.join("");
    }
    const sources = new Set((this.turn.about?.sources || []).map((source) => source.n));
    // While it grows, formulas stay as they are written.
    const formula = this.turn.about ? this.actions.formulas.of : null;
    fill(this.text, text, marks, (whole, numbers) => this.citation(whole, numbers, sources), formula);
  }

  // While the answer grows: no more often than it can be drawn.
  grow() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      this.paint();
      this.actions.grown();
    });
  }

  citation(whole, numbers, sources) {
    if (!numbers.some((n) => sources.has(n))) return document.createTextNode(whole);
    const group = element("span", "gw-cites");
    for (const n of numbers) {
      if (!sources.has(n)) {
        group.append(`[${n}]`);
        continue;
      }
      const button = element("button", "gw-cite", `[${n}]`);
      button.type = "button";
      button.setAttribute("aria-label", `Source ${n}`);
      button.addEventListener("click", () => this.actions.openSource(this, n));
      group.append(button);
    }
    return group;
  }

  settle(turn) {
    this.turn = turn;
    this.text._blocks = []; // sources are known only now
    this.paint();
    this.paintFoot();
    this.paintTools();
  }

  paintTools() {
    this.tools.replaceChildren(copyButton(() => this.turn.text, "Copy"));
    const add = (label, kind, act) => {
      const button = element("button", `gw-tool ${kind}`, label);
      button.type = "button";
      button.addEventListener("click", act);
      this.tools.append(button);
    };
    if (this.turn.role === "user") {
      add("Edit", "", () => this.edit());
    } else {
      add("Retry", "", () => this.actions.retry(this.index));
      add("Undo", "gw-only-last", () => this.actions.undo(this.index));
    }
  }

  edit() {
    if (this.root.querySelector("textarea")) return;
    const box = element("textarea", "gw-edit");
    box.value = this.turn.text;
    box.setAttribute("aria-label", "Edit your question");
    box.rows = Math.min(10, this.turn.text.split("\n").length + 1);
    const row = element("div", "gw-row");
    const ask = element("button", "gw-button gw-main", "Ask again");
    const leave = element("button", "gw-button", "Cancel");
    const close = () => {
      box.remove();
      row.remove();
      this.text.hidden = this.tools.hidden = false;
      document.querySelector("#gw-message textarea, #gw-message input")?.focus();
    };
    ask.addEventListener("click", () => {
      close();
      this.actions.edit(this.index, box.value);
    });
    leave.addEventListener("click", close);
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        ask.click();
      }
      event.stopPropagation();
    });
    row.append(ask, leave);
    this.text.hidden = this.tools.hidden = true;
    this.root.append(box, row);
    box.focus();
  }

  paintFoot() {
    const about = this.turn.about || {};
    const lines = [];
    if (about.problem) lines.push(problem(about.problem));
    if (about.backend) lines.push(badge(about));
    for (const seam of about.seams || []) lines.push(line("gw-seam-line", `⇄ ${seamWords(seam)}`));
    if (about.why && about.why !== about.problem?.detail) lines.push(line("gw-why", about.why));
    if (about.is_cut) lines.push(line("gw-cut", "Stopped before the end."));
    if (about.finish_reason === "length") lines.push(line("gw-cut", "Cut off at the length limit."));
    if (about.finish_reason === "content_filter") lines.push(line("gw-cut", "Cut off by the provider's filter."));
    if (about.not_kept) lines.push(line("gw-cut", about.not_kept));
    if (about.drill) lines.push(line("gw-drilled", `Drill: ${about.drill}`));
    lines.push(...grounding(about, this.turn.text));
    for (const note of about.notes || []) if (!this.actions.isSaid(note, this.index)) lines.push(line("gw-note", note));
    if (about.sources?.length) {
      const cited = about.sources.filter((source) => source.cited).length;
      const button = element("button", "gw-button gw-small", `Sources: ${about.sources.length}, cited ${cited}`);
      button.type = "button";
      button.addEventListener("click", () => this.actions.openSource(this, about.sources.find((s) => s.cited)?.n));
      lines.push(button);
    }
    this.foot.replaceChildren(...lines);
  }
}

function line(kind, text) {
  return element("p", kind, text);
}

function badge(about) {
  const row = element("p", "gw-badge");
  row.append(element("span", `gw-dot gw-${about.backend}`), element("strong", "", nameOf(about.backend)));
  const usage = about.usage || {};
  const tokens = usage.output_tokens ?? null;
  const used = tokens !== null && `${usage.input_tokens != null ? counted(usage.input_tokens) : "?"} + ${counted(tokens)} tokens`;
  const facts = [
    about.mode === "extractive" ? "quotes, no AI model" : about.model,
    about.first_token_ms != null && `first word ${seconds(about.first_token_ms)}`,
    about.total_ms != null && `${seconds(about.total_ms)} in all`,
    used,
    usage.credits != null && `${counted(usage.credits)} credits`,
    usage.cost != null && money(usage.cost),
  ];
  for (const fact of facts) {
    if (!fact) continue;
    row.append(element("span", "", fact));
    if (fact === used) row.lastChild.title = "Tokens of the question with all that went with it + tokens of the answer";
  }
  return row;
}

export function seamWords(seam) {
  const why = seam.reason ? ` (${inWords(seam.reason)})` : "";
  return `${nameOf(seam.from)} broke off${why}; ${nameOf(seam.to)} went on from the mark.`;
}

function seamMark(seam, space) {
  const mark = element("span", "gw-seam");
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", `${nameOf(seam.to)} goes on here`);
  mark.title = seamWords(seam);
  mark.dataset.space = space;
  mark.dataset.to = nameOf(seam.to);
  return mark;
}

function problem(told) {
  const box = element("div", "gw-problem");
  box.append(element("strong", "", told.title), element("p", "", told.detail));
  if (told.cure) box.append(element("p", "gw-cure", `What helps: ${told.cure}`));
  return box;
}

// What was found about the citations: troubles first; a tick only for what there is and what holds.
function grounding(about, text) {
  const found = about.grounding;
  if (!found) return [];
  const row = element("p", "gw-grounding");
  const chip = (kind, sign, words) => row.append(element("span", kind, `${sign} ${words}`));
  const bad = (words) => chip("gw-bad", "!", words);
  const whole = found.unsupported.filter((finding) => finding.kind === "sentence");
  const sentences = whole.length;
  if (!found.citations.length) bad("cites no source");
  else if (sentences) bad(sentences === 1 ? "1 sentence not in what it cites" : `${sentences} sentences not in what they cite`);
  for (const n of found.invalid_citations) bad(`there is no source ${n}`);
  if (found.citations.length) {
    if (!found.quotes_ok) bad("a quote is not in its source");
    if (!found.numbers_ok) bad("a number is not in its source");
    if (!found.names_ok) bad("a name is not in its source");
    const said = text.replace(/\[[\d,; ]+\]/g, "");
    const held = [
      found.quotes_ok && /["“”„«»]/.test(said) && "quotes",
      found.numbers_ok && /\d/.test(said) && "numbers",
      found.names_ok && /[\p{L}\d,;] \p{Lu}\p{L}/u.test(said) && "names",
    ].filter(Boolean);
    // A sentence that stands nowhere may hold any of them.
    if (held.length && !sentences) chip("gw-good", "✓", `${held.join(", ").replace(/, (?=[^,]*$)/, " and ")} stand in the sources`);
  }
  const isWithin = (finding) => whole.some((one) => one !== finding && one.start <= finding.start && finding.end <= one.end);
  const lines = found.unsupported.filter((finding) => !isWithin(finding)).slice(0, 5).map((finding) => {
    const where = finding.suggested ? `: source ${finding.suggested} may hold it` : "";
    return line("gw-note", `Not in what it cites: “${finding.text.replace(/\s*[[【][\d,; ]+[\]】]/g, "")}”${where}`);
  });
  if (row.childElementCount) lines.unshift(row);
  return lines;
}
