// Conversations: the list, its search, and what can be done with each.

import { element } from "./markdown.js";
import { at, call } from "./net.js";
import { marked } from "./words.js";

const $ = (id) => document.getElementById(id);

export class ChatList {
  constructor(page) {
    this.page = page;
    this.list = document.getElementById("gw-chats");
    this.search = document.getElementById("gw-search");
    this.search.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.refresh(), 150);
    });
    addEventListener("click", (event) => {
      for (const open of this.list.querySelectorAll("details[open]")) if (!open.contains(event.target)) open.open = false;
    });
    this.list.addEventListener("keydown", (event) => {
      const open = event.key === "Escape" && event.target.closest("details[open]");
      if (!open) return;
      open.open = false;
      open.querySelector("summary").focus();
    });
    $("gw-new").addEventListener("click", () => page.talk.new());
    $("gw-delete").addEventListener("click", () => this.delete());
  }

  async refresh() {
    const query = this.search.value.trim();
    const talk = this.page.talk;
    const open = talk.chat;
    const chats = await call("GET", `chats?q=${encodeURIComponent(query)}`).catch(() => null);
    if (!chats) return; // the page says when the server does not answer
    if (open && open === talk.chat && !query) talk.compare(chats);
    const shown = chats.filter((chat) => chat.turns || chat.documents || chat.id === this.page.talk.chat);
    // An answer that ends meanwhile must not close the menu, or the name, under the user's hands.
    this.isStale = this.list.querySelector("details[open], .gw-rename") !== null;
    if (this.isStale) return;
    this.list.replaceChildren(...shown.map((chat) => this.item(chat, query)));
    const none = $("gw-no-chats");
    none.hidden = shown.length > 0;
    none.textContent = query ? "Nothing found." : "Your conversations are kept here, on this laptop.";
  }

  item(chat, query = "") {
    const isOpen = chat.id === this.page.talk.chat;
    const item = element("li", isOpen ? "gw-chat gw-current" : "gw-chat");
    const open = element("button", "gw-open");
    open.type = "button";
    open.append(marked(element("span", "gw-title"), chat.title, query));
    if (chat.answering || this.page.talk.running.has(chat.id)) open.append(element("span", "gw-answering", "answering …"));
    else open.append(marked(element("span", "gw-quiet"), chat.hit || when(chat.updated), chat.hit ? query : ""));
    if (isOpen) open.setAttribute("aria-current", "true");
    open.addEventListener("click", () => this.page.talk.open(chat.id));
    const more = element("details", "gw-more");
    const handle = element("summary", "", "⋯");
    handle.setAttribute("aria-label", `More for ${chat.title}`);
    const menu = element("div", "gw-menu");
    const entry = (label, kind, act) => {
      const button = element("button", kind, label);
      button.type = "button";
      button.addEventListener("click", () => {
        more.open = false;
        handle.focus(); // where a dialog gives it back to
        act();
      });
      menu.append(button);
    };
    entry("Rename", "", () => this.rename(item, chat));
    for (const [ending, label] of [["md", "Markdown"], ["json", "JSON"], ["ipynb", "Notebook"]]) {
      const link = element("a", "", `Export as ${label}`);
      link.href = at(`chats/${chat.id}/export/${ending}`);
      link.download = "";
      link.addEventListener("click", () => (more.open = false));
      menu.append(link);
    }
    entry("Delete …", "gw-danger", () => this.ask(chat));
    more.addEventListener("toggle", () => {
      if (!more.open && this.isStale) this.refresh();
      const room = this.list.getBoundingClientRect().bottom - item.getBoundingClientRect().bottom;
      menu.classList.toggle("gw-up", room < menu.offsetHeight);
      if (more.open) for (const other of this.list.querySelectorAll("details[open]")) if (other !== more) other.open = false;
    });
    more.append(handle, menu);
    item.append(open, more);
    return item;
  }

  rename(item, chat) {
    const box = element("input", "gw-rename");
    box.value = chat.title;
    box.setAttribute("aria-label", "New name");
    item.replaceChildren(box);
    box.select();
    let isOver = false;
    const end = async (save) => {
      if (isOver) return;
      isOver = true;
      if (save && box.value.trim()) await this.page.told(call("PATCH", `chats/${chat.id}`, { title: box.value }));
      box.remove();
      this.page.chatsChanged();
    };
    box.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") end(true);
      if (event.key === "Escape") end(false);
    });
    box.addEventListener("blur", () => end(true));
  }

  ask(chat) {
    this.leaving = chat;
    $("gw-deleting-words").textContent = `“${chat.title}” goes for good, with its documents.`;
    $("gw-deleting").showModal();
  }

  async delete() {
    const chat = this.leaving;
    $("gw-deleting").close();
    $("gw-deleting-words").textContent = "";
    this.page.talk.forget(chat.id);
    if (!(await this.page.told(call("DELETE", `chats/${chat.id}`)))) return;
    $("gw-new").focus();
    if (chat.id === this.page.talk.chat) this.page.talk.new();
    this.page.chatsChanged();
  }
}

function when(stamp) {
  const then = new Date(stamp * 1000);
  const today = new Date().toDateString() === then.toDateString();
  return today ? then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : then.toLocaleDateString();
}
