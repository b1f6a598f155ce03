// Markdown as elements. Text only ever becomes text nodes, so nothing in an answer can act; pictures become links.
//
// `fill(parent, text, marks)` renders again what changed since the last call and leaves the rest of `parent` alone.
// `marks` turns characters of Unicode's private area into elements (seams): {"\ue000": () => element}.
// `formula(source, isAlone, shown)` makes the element of a formula; without it `shown` stays, which is its source.

import { pieces } from "./highlight.js";

const SAFE_LINK = /^(https?:|mailto:)/i;
const LIST = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const FENCE = /^\s{0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const RULE = /^\s{0,3}([-*_])(\s*\1){2,}\s*$/;
const UNDERLINE = /^\s{0,3}(={2,}|-{2,})\s*$/; // makes a heading of the text above it
const INDENTED = /^( {4}|\t)/;
const TASK = /^\[([ xX])\]\s+(.*)$/;
const TABLE_LINE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const FORMULA = /^\s*(\$\$|\\\[)(.*)$/; // one that stands alone begins with its line
// Formulas come before what is escaped, and what never closes is not sought for long.
const INLINE = new RegExp(
  [
    /(?<ticks>`+)(?<code>[^`](?:[\s\S]*?[^`])?)\k<ticks>(?!`)/,
    /\$\$(?<alone>(?:[^$\\]|\\[\s\S]){1,4000}?)\$\$/,
    /\\\[(?!\d+\\\])(?<alone2>(?:[^\\]|\\[^[\]]){1,4000}?)\\\]/,
    /\\\((?<formula>(?:[^\\]|\\[^()]){1,4000}?)\\\)/,
    /(?<![\w$])\$(?=[^\s$])(?<formula2>(?:[^$\\`]|\\[^`]){1,1000}?)(?<=\S)\$(?![\d$])/,
    /\\(?<escaped>[!-'*-/:-@\\^-`{-~])/,
    /!\[(?<alt>[^\]\n]{0,1000})\]\(\s*<?(?<picture>(?:[^()\s<>]|\([^()\s]*\))*)>?[^)\n]*\)/,
    /\[(?<label>[^\]\n]{1,1000})\]\(\s*<?(?<address>(?:[^()\s<>]|\([^()\s]*\))*)>?(?:\s+["'][^\n]*?["'])?\s*\)/,
    /[[【](?<cited>\d{1,3}(?:\s*[,;]\s*\d{1,3})*)[\]】]/,
    /\*\*\*(?=\S)(?<both>[\s\S]*?\S)\*\*\*/,
    /\*\*(?=\S)(?<strong>[\s\S]*?\S)\*\*/,
    /(?<![\w*])\*(?=[^\s*])(?<emphasis>(?:[^*]|\*\*[^*]+\*\*)*?(?:[^\s*]|\*\*))\*(?![\w*])/,
    /(?<!\w)_(?=[^\s_])(?<emphasis2>[^_]*?[^\s_])_(?!\w)/,
    /~~(?=\S)(?<struck>[\s\S]*?\S)~~/,
    /(?<br><[bB][rR]\s*\/?>)/,
    /(?<bare>https?:\/\/(?:[^\s<>"'`()[\]]|\([^\s<>()]*\))+(?<![.,;:!?*_~]))/,
  ].map((part) => part.source).join("|"),
  "g",
);
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", "#39": "'", nbsp: "\u00a0" };

export function fill(parent, text, marks = {}, cite = null, formula = null) {
  const blocks = split(text);
  const old = parent._blocks || [];
  let same = 0;
  while (same < old.length && same < blocks.length && old[same].source === blocks[same].source) same += 1;
  while (parent.childNodes.length > same) parent.lastChild.remove();
  for (const block of blocks.slice(same)) parent.append(render(block, { marks, cite, formula }));
  parent._blocks = blocks;
}

function split(text) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  const blocks = [];
  let at = 0;
  let level = 2; // the turn's own heading
  const take = (kind, end, more = {}) => {
    blocks.push({ kind, source: kind + "\n" + lines.slice(at, end).join("\n"), lines: lines.slice(at, end), ...more });
    at = end;
  };
  // No level is left out, whatever the answer does: readers jump from one to the next.
  const heading = (depth, end, said) => {
    level = Math.min(6, depth + 2, level + 1);
    take(`heading${level}`, end, { level, said });
  };
  while (at < lines.length) {
    const line = lines[at];
    const fence = line.match(FENCE);
    const item = line.match(LIST);
    const alone = formulaAt(lines, at);
    let end = at + 1;
    if (!line.trim()) {
      at += 1;
    } else if (fence) {
      const close = new RegExp("^\\s{0,3}" + fence[1][0] + "{" + fence[1].length + ",}\\s*$");
      while (end < lines.length && !close.test(lines[end])) end += 1;
      take("code", Math.min(end + 1, lines.length), { language: fence[2].trim().split(/\s/)[0], closed: end < lines.length });
    } else if (/^\s{0,3}#{1,6}\s/.test(line)) {
      const said = line.replace(/^\s*#{1,6}\s+/, "").replace(/\s+#+\s*$/, "");
      heading(line.match(/#+/)[0].length, end, said);
    } else if (RULE.test(line)) {
      take("rule", end);
    } else if (alone) {
      take("formula", alone.end, alone);
    } else if (/^\s{0,3}>/.test(line)) {
      while (end < lines.length && /^\s{0,3}>/.test(lines[end])) end += 1;
      take("quote", end);
    } else if (line.includes("|") && TABLE_LINE.test(lines[end] || "") && (lines[end] || "").includes("-")) {
      end += 1;
      while (end < lines.length && lines[end].includes("|") && lines[end].trim()) end += 1;
      take("table", end);
    } else if (item) {
      while (end < lines.length && goesOn(lines, end, item)) end += 1;
      take("list", end);
    } else if (INDENTED.test(line)) {
      while (end < lines.length && (INDENTED.test(lines[end]) || (!lines[end].trim() && INDENTED.test(lines[end + 1] || "")))) end += 1;
      take("indented", end);
    } else {
      while (end < lines.length && !UNDERLINE.test(lines[end]) && !begins(lines[end])) end += 1;
      const under = (lines[end] || "").match(UNDERLINE);
      if (under) heading(under[1][0] === "=" ? 1 : 2, end + 1, lines.slice(at, end).map((part) => part.trim()).join(" "));
      else take("text", end);
    }
  }
  return blocks;
}

// `first`: the list's first item. One of the other kind beside it begins another list.
function goesOn(lines, at, first) {
  const isOurs = (item) => item[1].length > first[1].length + 1 || isNumbered(item) === isNumbered(first);
  const item = lines[at].match(LIST);
  if (RULE.test(lines[at])) return false;
  if (item) return isOurs(item);
  if (lines[at].trim()) return /^\s{2,}/.test(lines[at]) || !begins(lines[at]);
  const next = lines[at + 1] || "";
  const nextItem = next.match(LIST);
  return nextItem ? isOurs(nextItem) : /^\s{2,}\S/.test(next);
}

const isNumbered = (item) => /\d/.test(item[2]);

function begins(line) {
  return !line.trim() || FENCE.test(line) || LIST.test(line) || RULE.test(line) || FORMULA.test(line) || /^\s{0,3}(#{1,6}\s|>)/.test(line);
}

// A formula with lines of its own. One that has not ended yet is one already, so that nothing in it is taken for a list.
function formulaAt(lines, at) {
  const begun = lines[at].match(FORMULA);
  if (!begun) return null;
  const close = begun[1] === "$$" ? "$$" : "\\]";
  const inner = [];
  for (let end = at; end < lines.length && (end === at || lines[end].trim()); end += 1) {
    const line = end === at ? begun[2] : lines[end];
    const stop = line.indexOf(close);
    if (stop >= 0) {
      const isAlone = /^\s*[.,;:]?\s*$/.test(line.slice(stop + 2)) && (inner.join("") + line.slice(0, stop)).trim();
      return isAlone ? { end: end + 1, formula: [...inner, line.slice(0, stop)].join("\n"), after: line.slice(stop + 2).trim() } : null;
    }
    inner.push(line);
  }
  const isOpen = close !== "$$" || !begun[2].trim();
  return isOpen ? { end: at + inner.length, formula: null } : null;
}

function render(block, way) {
  if (block.level) return inline(element(`h${block.level}`), block.said, way);
  switch (block.kind) {
    case "code":
      return code(block, way);
    case "indented":
      return code({ lines: ["", ...block.lines.map((line) => line.replace(INDENTED, ""))], language: "" }, way);
    case "formula": {
      const whole = block.lines.map((line) => line.trim()).join("\n");
      const made = element("p");
      made.append(formula(whole, block.formula, true, way));
      if (block.after) made.lastChild.append(block.after);
      return made;
    }
    case "rule":
      return element("hr");
    case "quote": {
      const quote = element("blockquote");
      const inner = block.lines.map((line) => line.replace(/^\s{0,3}>\s?/, "")).join("\n");
      for (const part of split(inner)) quote.append(render(part, way));
      return quote;
    }
    case "table":
      return table(block.lines, way);
    case "list":
      return list(block.lines, way);
    default:
      return inline(element("p"), block.lines.map((line) => line.trim()).join("\n"), way);
  }
}

function code(block, way) {
  const figure = element("div", "gw-code");
  const body = block.lines.slice(1, block.closed ? -1 : undefined).join("\n");
  const bar = element("div", "gw-code-bar");
  bar.append(element("span", "", block.language || "text"), copyButton(() => plain(body, way), "Copy code"));
  const pre = element("pre");
  pre.tabIndex = 0;
  pre.setAttribute("role", "group");
  pre.setAttribute("aria-label", "Code");
  const shown = element("code");
  for (const [kind, text] of pieces(body, block.language)) {
    if (!kind) words(shown, text, way);
    else shown.append(words(element("span", `gw-code-${kind}`), text, way));
  }
  pre.append(shown);
  figure.append(bar, pre);
  return figure;
}

function plain(text, way) {
  return [...text].filter((char) => !way.marks[char]).join("");
}

function table(lines, way) {
  const cells = (line) =>
    line.trim().replace(/^\|/, "").replace(/\|$/, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
  const frame = element("div", "gw-table");
  frame.tabIndex = 0;
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", "Table");
  const body = element("table");
  const head = element("tr");
  const sides = cells(lines[1]).map((mark) => (/^:.*:$/.test(mark) ? "center" : /:$/.test(mark) ? "right" : ""));
  const put = (row, kind, line) =>
    cells(line).forEach((cell, column) => {
      const made = inline(element(kind), cell, way);
      if (sides[column]) made.style.textAlign = sides[column];
      row.append(made);
    });
  put(head, "th", lines[0]);
  body.append(head);
  for (const line of lines.slice(2)) {
    const row = element("tr");
    put(row, "td", line);
    body.append(row);
  }
  frame.append(body);
  return frame;
}

function list(lines, way) {
  const first = lines[0].match(LIST);
  const made = element(isNumbered(first) ? "ol" : "ul");
  if (made.tagName === "OL" && parseInt(first[2], 10) !== 1) made.start = parseInt(first[2], 10);
  const depth = first[1].length;
  let item = null;
  for (const line of lines) {
    const match = line.match(LIST);
    if (match && match[1].length <= depth + 1) {
      const task = match[3].match(TASK);
      item = { inner: [task ? task[2] : match[3]], indent: match[1].length + match[2].length + 1 };
      made.append(Object.assign(element("li", task ? "gw-task" : ""), { _item: item }));
      if (task) made.lastChild.append(box(task[1] !== " "));
    } else {
      item.inner.push(line.slice(Math.min(item.indent, line.length - line.trimStart().length)));
    }
  }
  for (const li of made.children) {
    const parts = split(li._item.inner.join("\n"));
    parts.forEach((part, n) => {
      if (part.kind === "text" && n === 0) inline(li, part.lines.map((line) => line.trim()).join("\n"), way);
      else li.append(render(part, way));
    });
    delete li._item;
  }
  return made;
}

function box(isDone) {
  const made = element("span", isDone ? "gw-box gw-done" : "gw-box");
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", isDone ? "Done:" : "To do:");
  return made;
}

function inline(parent, text, way) {
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    words(parent, text.slice(from, match.index), way);
    parent.append(piece(match[0], match.groups, way));
    from = match.index + match[0].length;
  }
  return words(parent, text.slice(from), way);
}

function piece(whole, found, way) {
  if (found.code !== undefined) return words(element("code"), found.code.replace(/\n/g, " "), way);
  const alone = found.alone ?? found.alone2;
  if (alone !== undefined) return formula(whole, alone, true, way);
  const within = found.formula ?? found.formula2;
  if (within !== undefined) return formula(whole, within, false, way);
  if (found.escaped !== undefined) return document.createTextNode(found.escaped);
  if (found.picture !== undefined) return link(found.picture, found.alt || "picture", way, "gw-picture");
  if (found.address !== undefined) return link(found.address, found.label, way);
  if (found.cited !== undefined) return way.cite ? way.cite(whole, found.cited.match(/\d+/g).map(Number)) : document.createTextNode(whole);
  if (found.both !== undefined) {
    const both = element("em");
    both.append(inline(element("strong"), found.both, way));
    return both;
  }
  if (found.strong !== undefined) return inline(element("strong"), found.strong, way);
  const emphasis = found.emphasis ?? found.emphasis2;
  if (emphasis !== undefined) return inline(element("em"), emphasis, way);
  if (found.struck !== undefined) return inline(element("del"), found.struck, way);
  if (found.br !== undefined) return element("br");
  return link(found.bare, found.bare, way);
}

// `whole`: with its dollars or brackets. A seam within it stands behind it: it cannot be cut.
function formula(whole, source, isAlone, way) {
  const frame = element("span", isAlone ? "gw-formula gw-alone" : "gw-formula");
  const shown = element("code", "gw-tex", plain(whole, way));
  frame.append(source !== null && way.formula ? way.formula(plain(source, way), isAlone, shown) : shown);
  for (const char of whole) if (way.marks[char]) frame.append(way.marks[char]());
  return frame;
}

function link(address, label, way, kind = "") {
  address = decoded(plain(address, way));
  if (!SAFE_LINK.test(address)) return inline(element("span"), label, way);
  const made = element("a", kind);
  made.href = address;
  made.target = "_blank";
  made.rel = "noopener noreferrer";
  made.title = address;
  return words(made, label, way);
}

function words(parent, text, way) {
  let run = "";
  const isCode = parent.tagName === "CODE" || parent.className.startsWith("gw-code-");
  const flush = () => {
    if (isCode) parent.append(run);
    else
      run.split("\n").forEach((line, n) => {
        if (n) parent.append(element("br"));
        if (line) parent.append(decoded(line));
      });
    run = "";
  };
  for (const char of text) {
    if (way.marks[char]) {
      if (run) flush();
      parent.append(way.marks[char]());
    } else {
      run += char;
    }
  }
  if (run) flush();
  return parent;
}

function decoded(text) {
  return text.replace(/&(amp|lt|gt|quot|apos|#39|nbsp);/g, (whole, name) => ENTITIES[name]);
}

export function element(tag, kind = "", text = "") {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

export function copyButton(text, label) {
  const button = element("button", "gw-tool", label);
  button.type = "button";
  button.addEventListener("click", async () => {
    await copy(text());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const box = element("textarea"); // where the clipboard needs a secure address
    box.value = text;
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
}
