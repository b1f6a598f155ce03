// What every client script does besides asking: says its version, then acts on each line of standard input.
// The same protocol as `scripts/loop.py`.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

export const address = process.env.GATEWAY;
export const token = process.env.GATEWAY_TOKEN;
export const question = "Tell me.";
export const turns = [{ role: "user", content: question }];

export async function serve(name, acts) {
  const described = new URL(`./node_modules/${name}/package.json`, import.meta.url);
  say({ version: JSON.parse(readFileSync(described)).version, acts: Object.keys(acts) });
  for await (const line of createInterface({ input: process.stdin })) say(await done(acts[line.trim()]));
}

async function done(act) {
  const pieces = [];
  try {
    const result = await act((piece) => piece && pieces.push(piece));
    return { result: result === undefined ? pieces.join("") : result, pieces, error: null, message: "" };
  } catch (error) {
    return { result: null, pieces, error: error?.name ?? typeof error, message: told(error) };
  }
}

function told(error) {
  const words = [];
  for (let at = error; at; at = at.cause ?? at.lastError) words.push(String(at.message ?? at));
  return words.join(" / ");
}

function say(value) {
  process.stdout.write(JSON.stringify(value) + "\n");
}
