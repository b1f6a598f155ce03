// "Erase": what is kept on this laptop, listed before it goes.

import { element } from "./markdown.js";
import { call } from "./net.js";

export class Eraser {
  constructor(page) {
    this.page = page;
    this.dialog = document.getElementById("gw-erasing");
    this.goes = document.getElementById("gw-goes");
    this.stays = document.getElementById("gw-stays");
    document.getElementById("gw-erase").addEventListener("click", () => this.ask());
    document.getElementById("gw-erase-all").addEventListener("click", () => this.act("POST", "erase", {}));
    document.getElementById("gw-erase-chats").addEventListener("click", () => this.act("DELETE", "chats"));
  }

  async ask() {
    try {
      const { goes, stays } = await call("GET", "erase");
      const rows = goes.map(({ name, holds, bytes }) => {
        const row = element("li", "", holds);
        row.append(element("span", "gw-quiet", ` (${name}, ${amount(bytes)})`));
        return row;
      });
      rows.push(element("li", "", "what this tab remembers: the message not sent yet, and its settings"));
      this.goes.replaceChildren(...rows);
      const told = [...stays, "what a provider was sent: that is with the provider"];
      this.stays.replaceChildren(...told.map((words) => element("li", "gw-quiet", words)));
      document.getElementById("gw-erase-chats").hidden = !goes.some(({ name }) => name === "conversations");
      this.dialog.returnValue = "";
      this.dialog.showModal();
    } catch (error) {
      this.page.say(error.message, true);
    }
  }

  async act(method, path, body) {
    this.dialog.close();
    this.page.talk.stopAll();
    try {
      const told = await call(method, path, body);
      const all = path === "erase";
      this.page.tabs.tell("erased", all);
      this.page.erased(all);
      if (told?.left.length) this.page.offer(`Not everything could be removed: ${told.left.join("; ")}`);
    } catch (error) {
      this.page.say(error.message, true);
    }
  }
}

function amount(bytes) {
  if (bytes < 10_000) return `${bytes} bytes`;
  return bytes < 10_000_000 ? `${Math.round(bytes / 1000)} kB` : `${Math.round(bytes / 1_000_000)} MB`;
}
