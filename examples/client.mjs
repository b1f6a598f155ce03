// Ask AI Gateway from Node 18 or newer, without a package.
//
//     node client.mjs                        a short tour
//     node client.mjs query "Why is the sky blue?"
//     node client.mjs stream "Why is the sky blue?"
//     node client.mjs rag FILE "What does it say about refunds?"
//     node client.mjs health
//
// AI_GATEWAY_URL says where the gateway is (http://127.0.0.1:8000), AI_GATEWAY_TOKEN is its token, if it wants one.
// The answer goes to standard output; who gave it, and what went wrong, to standard error.
// Exit code: 0 answered, 2 wrong usage, 3 no answer or one that was cut.

import { readFileSync } from "node:fs";
import { basename } from "node:path";

const USAGE = "usage: client [query PROMPT | stream PROMPT | rag FILE QUESTION | health]";
const URL_BASE = (process.env.AI_GATEWAY_URL || "http://127.0.0.1:8000").replace(/\/+$/, "");
const TOKEN = (process.env.AI_GATEWAY_TOKEN || "").trim();
const DEADLINE = 240; // seconds the gateway may take, all tiers together: a cold local model needs minutes
const PATIENCE = DEADLINE + 15; // seconds we wait: the gateway answers or explains itself by its deadline

// No proxy leads to this machine (Node 24 and later ask one when NODE_USE_ENV_PROXY is set).
process.env.no_proxy = ["127.0.0.1", "localhost", "[::1]", process.env.no_proxy || process.env.NO_PROXY || ""].join(",");

class WrongUsage extends Error {} // the message says what is wrong with the call
class NoAnswer extends Error {} // there is no answer, or half of one: the message says why, and what to do

async function query(prompt) {
  tell(await ask("/ai/query", { prompt }));
}

async function rag(document, question) {
  tell(await ask("/ai/query/rag", { prompt: question, documents: [document] }));
}

function tell(reply) {
  say(reply.response + "\n");
  for (const { n, document, start, end, cited } of reply.details.sources) {
    if (cited) say(`[${n}] ${document}, characters ${start} to ${end}\n`);
  }
  note(answeredBy(reply));
}

async function health() {
  for (const [name, value] of Object.entries(await ask("/health"))) say(`${name}: ${value}\n`);
}

/** Show the answer as it grows. Only `done` makes it whole: a stream that just ends was cut. */
async function stream(prompt) {
  let writer = "";
  const reply = await send("/ai/query", { prompt, stream: true }, "text/event-stream");
  for await (const [name, event] of events(reply.body)) {
    if (name === "meta") {
      writer = event.backend;
    } else if (name === "delta") {
      say(event.text);
    } else if (name === "segment") {
      const brokeOff = `\n[${writer} broke off (${event.reason}): `;
      writer = event.backend;
      // After a restart what was shown is void, and standard output has to say so.
      if (event.action === "restart") say(`${brokeOff}discard the text above, ${writer} starts anew]\n`);
      else note(`${brokeOff}${writer} goes on]`);
    } else if (name === "error") {
      throw new NoAnswer("\n" + explained(event));
    } else if (name === "done") {
      say("\n");
      note(answeredBy(event));
      return;
    }
  }
  throw new NoAnswer(
    "\nThe answer was cut: the stream ended without its end mark.\nCure: ask again; the text above is not whole",
  );
}

/** Server-sent events as [name, value]. An empty line ends an event; a line that begins with ":" is a comment. */
async function* events(body) {
  let [name, data] = ["", ""];
  for await (const line of lines(body)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "event") {
      name = value;
    } else if (field === "data") {
      data += value;
    } else if (!line && data) {
      yield [name, JSON.parse(data)];
      [name, data] = ["", ""];
    }
  }
}

async function* lines(body) {
  let rest = "";
  try {
    for await (const text of body.pipeThrough(new TextDecoderStream())) {
      const whole = (rest + text).split("\n"); // and only there: readline would split at U+2028 too
      rest = whole.pop();
      yield* whole.map((line) => line.replace(/\r$/, ""));
    }
  } catch {
    return; // the connection is gone: whoever reads us misses the end mark
  }
}

async function ask(path, body) {
  return read(await send(path, body, "application/json"));
}

/** The reply as soon as its head is here, or `NoAnswer`. */
async function send(path, body, mediaType) {
  const reply = await fetch(URL_BASE + path, {
    method: body ? "POST" : "GET",
    headers: { "Content-Type": "application/json", ...(TOKEN && { Authorization: `Bearer ${TOKEN}` }) },
    body: body && JSON.stringify({ ...body, details: true, deadline_s: DEADLINE }),
    signal: AbortSignal.timeout(PATIENCE * 1000),
  }).catch(() => {
    throw new NoAnswer(nobody());
  });
  const type = (reply.headers.get("content-type") || "").split(";")[0];
  if (reply.ok && type === mediaType) return reply;
  if (type === "application/problem+json") throw new NoAnswer(explained(await read(reply)));
  throw new NoAnswer(`What answers at ${URL_BASE} is not AI Gateway. Set AI_GATEWAY_URL to where it runs.`);
}

const read = (reply) =>
  reply.json().catch(() => {
    throw new NoAnswer(nobody());
  });

const nobody = () =>
  `No answer from ${URL_BASE}. Is the gateway running? Start it with "ai-gateway serve", or set AI_GATEWAY_URL.`;

/** An application/problem+json in words: what happened, at which tier, and what helps. */
function explained({ title, code, detail, attempts, cure }) {
  const tiers = attempts.map((a) => `  ${a.backend} ${a.outcome}: ${a.reason || "-"}`);
  return [`${title} (${code})`, detail, ...tiers, ...(cure ? [`Cure: ${cure}`] : [])].join("\n");
}

function answeredBy({ details, state }) {
  const writers = details.segments.map((segment) => segment.backend).join(", then ");
  // The finishes "length" and "content_filter" are answers cut short.
  return `[answered by ${writers}; finish: ${details.finish_reason}; Copilot's circuit: ${state}]`;
}

const say = (text) => process.stdout.write(text);
const note = (text) => process.stderr.write(text + "\n");

/** Any file: the gateway reads text, PDF, Word, HTML and others by their name and bytes. */
function documentOf(file) {
  try {
    return { name: basename(file), content_base64: readFileSync(file).toString("base64") };
  } catch {
    throw new WrongUsage(`Cannot read ${file}`);
  }
}

async function tour() {
  const text = "Customers may return items within 30 days. Later there are no refunds.";
  say("== health ==\n");
  await health();
  say("\n== query ==\n");
  await query("Why is the sky blue? Answer in one sentence.");
  say("\n== rag ==\n");
  await rag({ name: "policy.txt", text }, "How long may customers return items?");
  say("\n== stream ==\n");
  await stream("Tell me about lighthouses in two sentences.");
}

async function run(command, ...values) {
  if (!/^https?:\/\//.test(URL_BASE)) throw new WrongUsage("AI_GATEWAY_URL has to begin with http:// or https://");
  if (command === undefined) await tour();
  else if (command === "health" && values.length === 0) await health();
  else if (command === "query" && values.length === 1) await query(values[0]);
  else if (command === "stream" && values.length === 1) await stream(values[0]);
  else if (command === "rag" && values.length === 2) await rag(documentOf(values[0]), values[1]);
  else throw new WrongUsage(USAGE);
}

try {
  await run(...process.argv.slice(2));
} catch (error) {
  if (!(error instanceof WrongUsage || error instanceof NoAnswer)) throw error;
  note(error.message);
  process.exitCode = error instanceof WrongUsage ? 2 : 3;
}
