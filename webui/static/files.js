// Documents of a chat: dropped, pasted or chosen; read on the server; listed with what was wrong with them.

import { element } from "./markdown.js";
import { call, send } from "./net.js";

const AT_A_TIME = 3;

export class Files {
  constructor(page) {
    this.page = page;
    this.list = document.getElementById("gw-documents");
    const chooser = document.getElementById("gw-files");
    document.getElementById("gw-attach").addEventListener("click", () => chooser.click());
    chooser.addEventListener("change", () => {
      this.add([...chooser.files]);
      chooser.value = "";
    });
    const drop = document.getElementById("gw-drop");
    let depth = 0;
    const isFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
    addEventListener("dragenter", (event) => {
      if (isFiles(event)) drop.hidden = !(depth += 1);
    });
    addEventListener("dragleave", (event) => {
      if (isFiles(event)) drop.hidden = !(depth = Math.max(0, depth - 1));
    });
    addEventListener("dragover", (event) => isFiles(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      depth = 0;
      drop.hidden = true;
      if (!isFiles(event)) return;
      event.preventDefault();
      this.add([...event.dataTransfer.files]);
    });
    addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files || [])];
      if (files.length) this.add(files);
    });
  }

  // When every file that was dropped has been read or refused: a question waits for them.
  async settled() {
    while (this.work) await this.work.catch(() => {});
  }

  show(documents) {
    this.list.replaceChildren(...documents.map((told) => this.item(told)));
  }

  async add(files) {
    const work = Promise.all([this.work, this.read(files)]);
    this.work = work;
    await work.catch((error) => this.page.say(error.message, true));
    if (this.work === work) this.work = null;
    this.page.chatsChanged();
  }

  async read(files) {
    const { id: chat } = await this.page.talk.ensure();
    const queue = files.map((file) => [file, this.waiting(file)]);
    const worker = async () => {
      for (let next = queue.shift(); next; next = queue.shift()) await this.load(chat, ...next);
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  }

  waiting(file) {
    const item = element("li", "gw-document gw-loading");
    const bar = element("progress");
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", `Reading ${file.name}`);
    item.append(element("span", "gw-title", file.name), bar);
    this.list.append(item);
    return item;
  }

  async load(chat, file, item) {
    const bar = item.querySelector("progress");
    try {
      const path = `chats/${chat}/documents?name=${encodeURIComponent(file.name)}`;
      const told = await send(path, file, (part) => {
        if (part < 1) bar.value = part;
        else bar.removeAttribute("value"); // it is being read
      });
      if (this.page.talk.chat === chat) item.replaceWith(this.item(told));
    } catch (error) {
      item.remove();
      if (this.page.talk.chat !== chat) return this.page.say(error.message, true);
      this.refuse(error.message);
    }
  }

  item(told) {
    const item = element("li", "gw-document");
    item.append(element("span", "gw-title", told.name), element("span", "gw-quiet", size(told.chars)));
    for (const warning of told.warnings) {
      item.append(element("span", "gw-warning", `! ${warning}`));
      item.lastChild.dataset.note = `${told.name}: ${warning}`;
    }
    const button = this.closer(`Remove ${told.name}`, async () => {
      try {
        await call("DELETE", `chats/${this.page.talk.chat}/documents/${told.id}`);
      } catch (error) {
        if (error.status !== 404) return this.page.say(error.message, true);
      }
      item.remove();
    });
    item.append(button);
    return item;
  }

  // Before those that went well, because it must be seen; several are one line, which opens.
  refuse(message) {
    let box = this.list.querySelector(".gw-refusals");
    if (!box) {
      box = element("li", "gw-refusals");
      const fold = element("details");
      const count = element("span");
      count.setAttribute("role", "alert");
      const head = element("summary");
      head.append(count);
      fold.append(head, element("ul"));
      box.append(fold, this.closer("Dismiss all", () => box.remove()));
      this.list.prepend(box);
    }
    const item = element("li", "gw-document gw-refused");
    item.append(element("span", "gw-title", message), this.closer("Dismiss", () => { item.remove(); this.countRefused(box); }));
    box.querySelector("ul").append(item);
    this.countRefused(box);
  }

  countRefused(box) {
    const count = box.querySelectorAll(".gw-refused").length;
    if (!count) return box.remove();
    const fold = box.querySelector("details");
    if (count === 1) fold.open = true;
    else if (box.classList.contains("gw-single")) fold.open = false;
    box.classList.toggle("gw-single", count === 1);
    box.querySelector("summary span").textContent = count === 1 ? "1 file was not read" : `${count} files were not read`;
  }

  closer(label, act) {
    const button = element("button", "gw-tool", "✕");
    button.type = "button";
    button.setAttribute("aria-label", label);
    button.addEventListener("click", act);
    return button;
  }
}

function size(chars) {
  return chars < 10_000 ? `${chars} characters` : `${Math.round(chars / 1000)} thousand characters`;
}
