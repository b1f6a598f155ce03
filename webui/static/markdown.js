// Markdown as elements. Text only ever becomes text nodes, so nothing in an answer can act; pictures become links.
//
// `fill(parent, text, marks)` renders again what changed since the last call and leaves the rest of `parent` alone.
// `marks` turns characters of Unicode's private area into elements (seams): {"\ue000": () => element}.

import { pieces } from "./highlight.js";

const SAFE_LINK = /^(https?:|mailto:)/i;
const LIST = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const FENCE = /^\s{0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const TABLE_LINE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const INLINE = new RegExp(
  [
    "(`+)([^`](?:[\\s\\S]*?[^`])?)\\1(?!`)", // 1, 2: code
    "\\\\([!-/:-@\\[-`{-~])", // 3: escaped
    "!\\[([^\\]\\n]*)\\]\\(\\s*<?([^)\\s>]*)>?[^)\\n]*\\)", // 4, 5: picture
    "\\[([^\\]\\n]+)\\]\\(\\s*<?([^)\\s>]*)>?(?:\\s+[\"'][^\\n]*?[\"'])?\\s*\\)", // 6, 7: link
    "[\\[【]((?:\\d{1,3})(?:\\s*[,;]\\s*\\d{1,3})*)[\\]】]", // 8: citation
    "\\*\\*(?=\\S)([\\s\\S]*?\\S)\\*\\*", // 9: strong
    "(?<![\\w*])\\*(?=[^\\s*])([^*]*?[^\\s*])\\*(?![\\w*])", // 10: emphasis
    "(?<!\\w)_(?=[^\\s_])([^_]*?[^\\s_])_(?!\\w)", // 11: emphasis
    "~~(?=\\S)([\\s\\S]*?\\S)~~", // 12: struck
    "(https?://[^\\s<>\"'`\\])]+[^\\s<>\"'`\\]).,;:!?])", // 13: bare address
  ].join("|"),
  "g",
);

export function fill(parent, text, marks = {}, cite = null) {
  const blocks = split(text);
  const old = parent._blocks || [];
  let same = 0;
  while (same < old.length && same < blocks.length && old[same].source === blocks[same].source) same += 1;
  while (parent.childNodes.length > same) parent.lastChild.remove();
  for (const block of blocks.slice(same)) parent.append(render(block, { marks, cite }));
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
  while (at < lines.length) {
    const line = lines[at];
    const fence = line.match(FENCE);
    let end = at + 1;
    if (!line.trim()) {
      at += 1;
    } else if (fence) {
      const close = new RegExp("^\\s{0,3}" + fence[1][0] + "{" + fence[1].length + ",}\\s*$");
      while (end < lines.length && !close.test(lines[end])) end += 1;
      take("code", Math.min(end + 1, lines.length), { language: fence[2].trim().split(/\s/)[0], closed: end < lines.length });
    } else if (/^\s{0,3}#{1,6}\s/.test(line)) {
      // No level is left out, whatever the answer does: readers jump from one to the next.
      const wanted = line.match(/#+/)[0].length + 2;
      level = Math.min(6, wanted, level + 1);
      take(`heading${level}`, end, { level });
    } else if (/^\s{0,3}([-*_])(\s*\1){2,}\s*$/.test(line)) {
      take("rule", end);
    } else if (/^\s{0,3}>/.test(line)) {
      while (end < lines.length && /^\s{0,3}>/.test(lines[end])) end += 1;
      take("quote", end);
    } else if (line.includes("|") && TABLE_LINE.test(lines[end] || "") && (lines[end] || "").includes("-")) {
      end += 1;
      while (end < lines.length && lines[end].includes("|") && lines[end].trim()) end += 1;
      take("table", end);
    } else if (LIST.test(line)) {
      while (end < lines.length && goesOn(lines, end)) end += 1;
      take("list", end);
    } else {
      while (end < lines.length && !begins(lines[end])) end += 1;
      take("text", end);
    }
  }
  return blocks;
}

function goesOn(lines, at) {
  if (lines[at].trim()) return LIST.test(lines[at]) || /^\s{2,}/.test(lines[at]) || !begins(lines[at]);
  const next = lines[at + 1] || "";
  return LIST.test(next) || (/^\s{2,}\S/.test(next) && next.trim() !== "");
}

function begins(line) {
  return !line.trim() || FENCE.test(line) || LIST.test(line) || /^\s{0,3}(#{1,6}\s|>)/.test(line);
}

function render(block, way) {
  if (block.level) {
    const said = block.lines[0].replace(/^\s*#{1,6}\s+/, "").replace(/\s+#+\s*$/, "");
    return inline(element(`h${block.level}`), said, way);
  }
  switch (block.kind) {
    case "code":
      return code(block, way);
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
  const made = element(/\d/.test(first[2]) ? "ol" : "ul");
  if (made.tagName === "OL" && parseInt(first[2], 10) !== 1) made.start = parseInt(first[2], 10);
  const depth = first[1].length;
  let item = null;
  for (const line of lines) {
    const match = line.match(LIST);
    if (match && match[1].length <= depth + 1) {
      item = { inner: [match[3]], indent: match[1].length + match[2].length + 1 };
      made.append(Object.assign(element("li"), { _item: item }));
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

function inline(parent, text, way) {
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    words(parent, text.slice(from, match.index), way);
    parent.append(piece(match, way));
    from = match.index + match[0].length;
  }
  return words(parent, text.slice(from), way);
}

function piece(match, way) {
  const [whole, , codeText, escaped, alt, picture, label, address, cited, strong, emphasis, emphasis2, struck, bare] = match;
  if (codeText !== undefined) return words(element("code"), codeText.replace(/\n/g, " "), way);
  if (escaped !== undefined) return document.createTextNode(escaped);
  if (picture !== undefined) return link(picture, alt || "picture", way, "gw-picture");
  if (address !== undefined) return link(address, label, way);
  if (cited !== undefined) return way.cite ? way.cite(whole, cited.match(/\d+/g).map(Number)) : document.createTextNode(whole);
  if (strong !== undefined) return inline(element("strong"), strong, way);
  if (emphasis !== undefined || emphasis2 !== undefined) return inline(element("em"), emphasis ?? emphasis2, way);
  if (struck !== undefined) return inline(element("del"), struck, way);
  return link(bare, bare, way);
}

function link(address, label, way, kind = "") {
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
        if (line) parent.append(line);
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
