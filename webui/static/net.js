// The page's own routes, and the server's. Addresses are relative to the page, wherever it is served.

const base = new URL("./", document.baseURI);
export const at = (path) => new URL(path, base);

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const AWAY = "The server does not answer.";

// Nothing came back, or it ended early.
export class Unreachable extends Error {
  constructor() {
    super(AWAY);
  }
}

async function refusal(reply) {
  const words = `The server answered with error ${reply.status}.`;
  try {
    return new Refused(reply.status, (await reply.json()).detail || words);
  } catch {
    return new Refused(reply.status, words);
  }
}

// Browsers word it each in their own way ("Failed to fetch"), none for people.
async function reached(work) {
  try {
    return await work;
  } catch (error) {
    throw error instanceof TypeError ? new Unreachable() : error;
  }
}

export async function call(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const reply = await reached(fetch(at(path), options));
  if (!reply.ok) throw await refusal(reply);
  return reply.status === 204 ? null : reached(reply.json());
}

// Calls `hear(name, value)` for each event of the answer; returns when it has ended well.
export async function events(path, body, signal, hear) {
  const headers = { "content-type": "application/json" };
  const reply = await reached(fetch(at(path), { method: "POST", headers, body: JSON.stringify(body), signal }));
  if (!reply.ok) throw await refusal(reply);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reached(reader.read());
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const told = part.match(/^event: (.*)\ndata: (.*)$/s);
      if (told) hear(told[1], JSON.parse(told[2]));
    }
  }
}

// Sends a file's bytes; `progress` hears of the part that has left.
export function send(path, file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", at(path));
    request.setRequestHeader("content-type", "application/octet-stream");
    request.upload.onprogress = (event) => event.total && progress(event.loaded / event.total);
    request.onerror = () => reject(new Refused(0, `${file.name}: the server does not answer`));
    request.onload = () => {
      let told = {};
      try {
        told = JSON.parse(request.responseText);
      } catch {
        told = { detail: `${file.name}: error ${request.status}` };
      }
      if (request.status < 300) resolve(told);
      else reject(new Refused(request.status, told.detail));
    };
    request.send(file);
  });
}
