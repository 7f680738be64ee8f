// The menu of a Slack message: what can be done with it, by mouse and by keyboard.

import { el } from "./dom.js";

/**
 * A button that opens a menu at its first entry; there the arrows move, and Escape and Tab close it.
 * While it is closed, the arrows move between the menus of the messages, of which the Tab key reaches one (see `oneInTabOrder`).
 * `name` is what a screen reader says of the button; `items` are {text, chosen()}.
 */
export function messageMenu({ name, items }) {
  const list = el("div", { class: "menu", role: "menu", "aria-label": name, hidden: true });
  const button = el("button", { type: "button", class: "more", "aria-label": name, "aria-haspopup": "menu", "aria-expanded": "false", tabindex: -1 }, "⋯");
  const holder = el("div", { class: "message-menu" }, button, list);

  function open() {
    list.hidden = false;
    button.setAttribute("aria-expanded", "true");
    const room = holder.closest(".messages")?.getBoundingClientRect();
    list.classList.toggle("above", Boolean(room) && list.getBoundingClientRect().bottom > room.bottom);
    list.firstElementChild.focus({ preventScroll: true });
  }

  function close(back) {
    list.hidden = true;
    button.setAttribute("aria-expanded", "false");
    if (back) button.focus({ preventScroll: true });
  }

  list.append(...items.map(({ text, chosen }) =>
    el("button", { type: "button", role: "menuitem", tabindex: -1, on: { click: () => { close(true); chosen(); } } }, text)));
  button.addEventListener("click", () => (list.hidden ? open() : close(true)));
  button.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    move([...holder.closest(".messages").querySelectorAll(".more")], button, step);
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      move([...list.children], document.activeElement, step);
    } else if (event.key === "Escape") {
      event.preventDefault();
      close(true);
    } else if (event.key === "Tab") close(true);
  });
  holder.addEventListener("focusout", (event) => {
    if (!list.hidden && !holder.contains(event.relatedTarget)) close(false);
  });
  return holder;
}

function move(among, from, step) {
  const next = among[among.indexOf(from) + step];
  if (!next) return;
  if (next.classList.contains("more")) {
    from.tabIndex = -1;
    next.tabIndex = 0;
    next.scrollIntoView({ block: "nearest" });
  }
  next.focus();
}

/** One menu of all messages in `log` is reached by the Tab key: the one it was last on, else the newest. */
export function oneInTabOrder(log) {
  const menus = [...log.querySelectorAll(".more")];
  const held = menus.find((menu) => menu === document.activeElement) ?? menus.find((menu) => menu.tabIndex === 0) ?? menus.at(-1);
  for (const menu of menus) menu.tabIndex = menu === held ? 0 : -1;
}
