// Code in a few colours: comments, strings, numbers and the words of the common languages. No grammar, so nothing to be
// wrong about: `pieces(code, language)` gives `[kind, text]` in order, and their texts joined are the code.

const WORDS = new Set(
  ("and as assert async await bool boolean break case catch char class const continue def default defer del delete do " +
    "double elif else end enum except export extends extern false final finally float fn for from func function global go " +
    "goto if impl implements import in int interface is lambda let long loop match mod mut namespace new nil none not null " +
    "of or package pass private protected pub public raise range return self short sizeof static str string struct super " +
    "switch template then this throw trait true try type typeof undefined union unless unsigned until use using val var " +
    "virtual void where while with yield select insert update create drop table join on group by order having limit values set").split(" "),
);
const HASH = /^(py|python|sh|bash|zsh|shell|console|rb|ruby|yaml|yml|toml|r|perl|pl|make|makefile|dockerfile|ini|conf|elixir|julia|nix)$/;
const DASH = /^(sql|lua|haskell|hs|ada)$/;
const PLAIN = /^(|text|txt|plain|plaintext|markdown|md|diff|log|output|csv)$/;
const MARKUP = /^(html|xml|svg|vue)$/;

export function pieces(code, language) {
  const name = language.toLowerCase();
  if (PLAIN.test(name) || code.length > 100_000) return [["", code]];
  const comment = HASH.test(name) ? "#[^\\n]*" : DASH.test(name) ? "--[^\\n]*" : MARKUP.test(name) ? "<!--[\\s\\S]*?-->" : "//[^\\n]*|/\\*[\\s\\S]*?\\*/";
  const sign = new RegExp(
    `(${comment})|("""[\\s\\S]*?"""|'''[\\s\\S]*?'''|"(?:[^"\\\\\\n]|\\\\.)*"|'(?:[^'\\\\\\n]|\\\\.)*'|\`(?:[^\`\\\\]|\\\\.)*\`)` +
      "|(\\b\\d[\\w.]*)|([A-Za-z_]\\w*)",
    "g",
  );
  const found = [];
  let from = 0;
  for (const match of code.matchAll(sign)) {
    const kind = match[1] ? "comment" : match[2] ? "string" : match[3] ? "number" : isWord(match[4], name) ? "word" : "";
    if (!kind) continue;
    if (match.index > from) found.push(["", code.slice(from, match.index)]);
    found.push([kind, match[0]]);
    from = match.index + match[0].length;
  }
  found.push(["", code.slice(from)]);
  return found;
}

function isWord(text, language) {
  if (MARKUP.test(language)) return false;
  if (language === "sql") return WORDS.has(text.toLowerCase());
  return WORDS.has(text) || text === "None" || text === "True" || text === "False";
}
