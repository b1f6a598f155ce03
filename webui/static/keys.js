// Keyboard shortcuts: a list behind "?", and a switch for those whose keys mean something else.

import { element } from "./markdown.js";

export class Keys {
  constructor(page) {
    this.dialog = document.getElementById("gw-keys");
    this.switch = document.getElementById("gw-keys-on");
    this.switch.checked = localStorage.getItem("gateway.keys") !== "off";
    this.switch.addEventListener("change", () => localStorage.setItem("gateway.keys", this.switch.checked ? "on" : "off"));
    this.table = [
      ["Enter", "Send (Shift+Enter: new line)", null],
      ["Escape", "Stop the answer; close a drawer", () => page.escape()],
      ["Alt+N", "New chat", () => page.talk.new()],
      ["Alt+F", "Search conversations", () => page.focusSearch()],
      ["Alt+U", "Attach files", () => document.getElementById("gw-attach").click()],
      ["Alt+R", "Retry the last answer", () => page.retryLast()],
      ["Alt+E", "Edit the last question", () => page.editLast()],
      ["Alt+Z", "Undo the last exchange", () => page.undoLast()],
      ["Alt+C", "Copy the last answer", () => page.copyLast()],
      ["Alt+S", "Sources of the last answer", () => page.sourcesOfLast()],
      ["Alt+L", "Stay local, or not", () => page.toggleLocal()],
      ["Alt+T", "Light or dark", () => page.toggleTheme()],
      ["/", "Write a message", () => page.focusMessage()],
      ["?", "This list", () => this.show()],
    ];
    const list = document.getElementById("gw-keys-list");
    for (const [keys, words] of this.table) list.append(element("dt", "", keys), element("dd", "", words));
    document.getElementById("gw-help").addEventListener("click", () => this.show());
    addEventListener("keydown", (event) => this.press(event));
  }

  show() {
    if (!this.dialog.open) this.dialog.showModal();
  }

  press(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey) return;
    const isWriting = event.target.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select") != null;
    const letter = event.code?.startsWith("Key") ? event.code.slice(3) : event.key;
    const name = event.altKey ? `Alt+${letter}` : event.key;
    if (name === "Enter" || document.querySelector("dialog[open]")) return; // a dialog takes the keys
    if (!event.altKey && name !== "Escape" && isWriting) return;
    if (!this.switch.checked && name !== "Escape") return;
    const entry = this.table.find(([keys, , act]) => keys === name && act);
    if (!entry) return;
    if (name !== "Escape") event.preventDefault();
    entry[2]();
  }
}
