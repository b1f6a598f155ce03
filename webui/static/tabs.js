// The tabs of this browser. One of them listens to the server for all: a browser opens no more than six connections
// to a host, and an event stream takes one for good. What one tab changes, the others show.

import { at } from "./net.js";

export class Tabs {
  // `hear.status(status)`, `hear.connected(is)`: from the server. `hear.chats()`, `hear.erased()`: from another tab.
  constructor(hear) {
    this.hear = hear;
    this.last = {};
    this.channel = new BroadcastChannel("gateway");
    this.channel.onmessage = ({ data }) => {
      if (data.kind === "who") this.source && this.repeat();
      else this.hear[data.kind]?.(data.value);
    };
    // Locks exist at secure addresses only, of which 127.0.0.1 and localhost are two.
    if (navigator.locks) navigator.locks.request("gateway.events", () => new Promise(() => this.listen()));
    else this.listen();
    this.channel.postMessage({ kind: "who" });
  }

  tell(kind, value = null) {
    this.channel.postMessage({ kind, value });
  }

  // To this tab and to the others.
  spread(kind, value) {
    this.last[kind] = value;
    this.hear[kind](value);
    this.tell(kind, value);
  }

  repeat() {
    for (const [kind, value] of Object.entries(this.last)) this.tell(kind, value);
  }

  listen() {
    this.source = new EventSource(at("../ai/events"));
    this.source.addEventListener("status", (event) => this.spread("status", { ...JSON.parse(event.data), heard: Date.now() }));
    this.source.addEventListener("open", () => this.spread("connected", true));
    this.source.addEventListener("error", () => {
      this.spread("connected", false);
      // A browser gives up for good after a reply that is no event stream (a proxy's error page, say).
      if (this.source.readyState === EventSource.CLOSED) {
        clearTimeout(this.again);
        this.again = setTimeout(() => this.listen(), 2000);
      }
    });
  }
}
