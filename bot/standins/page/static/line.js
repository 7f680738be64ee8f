// The phone: one customer's LINE chat.

import { atNewest, el, link, showNewest, textWithLinks, when } from "./dom.js";
import { flex } from "./flex.js";

/**
 * Draws the chat of one customer and keeps it in step: entries are only added, so what is there stays as it is.
 * `post(action)` does something as the customer.
 */
export function linePane({ words, post }) {
  const chat = document.getElementById("chat");
  const quick = document.getElementById("quick");
  const time = document.getElementById("phone-time");
  let shown = "";
  let drawn = new Map();
  let quickDrawn = "";
  let lastDay = "";

  // one row, as on a phone; a mouse wheel moves it sideways
  quick.addEventListener("wheel", (event) => {
    if (quick.scrollWidth <= quick.clientWidth || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    event.preventDefault();
    quick.scrollLeft += event.deltaY;
  }, { passive: false });

  function show(state, lang) {
    const customer = state.people.find((person) => person.id === state.chosen);
    const spoken = customer?.lang === "en" ? "en" : "ja";
    const fresh = state.chosen !== shown;
    const follow = fresh || atNewest(chat);
    if (fresh) {
      shown = state.chosen;
      drawn = new Map();
      lastDay = "";
      chat.replaceChildren();
      chat.lang = spoken;
      quick.lang = spoken;
      chat.setAttribute("aria-busy", "true"); // a whole chat is not news: it is not read out
    }
    const kept = new Set(state.chat.map((entry) => entry.id));
    for (const [id, known] of drawn) if (!kept.has(id)) remove(known.node), drawn.delete(id);
    let added = false;
    let spoke = false; // the customer's own words are always shown
    for (const entry of state.chat) {
      const text = JSON.stringify(entry.message);
      const known = drawn.get(entry.id);
      if (known && known.text === text) continue;
      const node = row(entry, state.chosen, spoken, lang);
      if (known) known.node.replaceWith(node);
      else {
        const day = when(entry.at, spoken, "day");
        if (day !== lastDay) chat.append(el("p", { class: "day" }, el("span", {}, day)));
        lastDay = day;
        chat.append(node);
        added = true;
        spoke ||= entry.from === "user";
      }
      drawn.set(entry.id, { node, text });
    }
    if (state.chat.length === 0) {
      chat.replaceChildren(el("p", { class: "empty" }, customer ? words.chat_empty : words.no_customer));
      chat.querySelector(".empty").lang = lang;
    } else chat.querySelector(".empty")?.remove();
    const last = state.chat.at(-1);
    time.textContent = last ? when(last.at, spoken, "time") : "";
    const newest = last ? drawn.get(last.id).node : undefined;
    if ((follow && (added || fresh)) || spoke) showNewest(chat, newest);
    if (fresh) requestAnimationFrame(() => { showNewest(chat, newest); chat.setAttribute("aria-busy", "false"); });
    drawQuick(state, newest, follow || spoke);
  }

  function remove(node) {
    if (node.previousElementSibling?.classList.contains("day") && !node.nextElementSibling?.classList.contains("row")) {
      node.previousElementSibling.remove();
    }
    node.remove();
  }

  function row(entry, user, spoken, lang) {
    const at = el("time", { class: "at" }, when(entry.at, spoken, "time"));
    const body = bubble(entry, user, lang);
    if (entry.from === "user") return el("div", { class: "row mine" }, at, body);
    return el("div", { class: "row theirs" }, el("span", { class: "avatar", "aria-hidden": "true", lang: "ja" }, "声"), body, at);
  }

  function bubble(entry, user, lang) {
    const message = entry.message;
    const act = (action) => tap(user, action);
    switch (message.type) {
      case "text":
        return el("div", { class: "bubble" }, textWithLinks(message.text));
      case "flex":
        return flex(message.contents, message.altText, act);
      case "template":
        return template(message, act);
      case "sticker":
        return el("div", { class: "sticker-shown", role: "img", "aria-label": words.sticker_alt }, face());
      case "image":
        return el("div", { class: "bubble photo" }, words.photo_alt);
      case "unsent":
        return el("div", { class: "bubble faint", lang }, words.unsent);
      default:
        return el("div", { class: "bubble faint", lang }, words.unsupported.replace("{type}", message.type));
    }
  }

  function template(message, act) {
    const inner = message.template ?? {};
    return el("div", { class: "template", role: "group", "aria-label": message.altText },
      inner.title ? el("p", { class: "template-title" }, inner.title) : null,
      el("p", {}, inner.text ?? ""),
      el("div", { class: `template-actions ${inner.type === "confirm" ? "two" : ""}` },
        (inner.actions ?? []).map((action) => control(action, "template-action", act))));
  }

  function control(action, className, act) {
    if (action.type === "uri") {
      const anchor = link(action.uri, action.label ?? action.uri);
      anchor.className = className;
      return anchor;
    }
    return el("button", { type: "button", class: className, on: { click: () => act(action) } }, action.label ?? "");
  }

  function tap(user, action) {
    if (action?.type === "postback") {
      const shownText = action.displayText ?? action.text ?? "";
      return post({ do: "line.taps", user, data: action.data, display_text: shownText });
    }
    if (action?.type === "message") return post({ do: "line.says", user, text: action.text });
    return undefined;
  }

  function drawQuick(state, newest, follow) {
    const text = JSON.stringify([state.chosen, state.quick]);
    if (text === quickDrawn) return;
    quickDrawn = text;
    const hadFocus = quick.contains(document.activeElement);
    quick.replaceChildren(
      ...state.quick.map((item) => control(item.action ?? item, "chip", (action) => tap(state.chosen, action))),
    );
    quick.hidden = state.quick.length === 0;
    quick.scrollLeft = 0;
    if (follow) requestAnimationFrame(() => showNewest(chat, newest));
    // tapping a chip removes it: the focus goes on to the next question's first chip, or to the text field
    if (hadFocus) (quick.firstElementChild ?? document.getElementById("line-text")).focus({ preventScroll: true });
  }

  return { show };
}

function face() {
  const svg = (tag, attributes, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  return svg("svg", { viewBox: "0 0 100 100", "aria-hidden": "true" },
    svg("circle", { cx: 50, cy: 52, r: 40, fill: "#ffd976", stroke: "#b98a1d", "stroke-width": 3 }),
    svg("path", { d: "M32 46q5-8 10 0M58 46q5-8 10 0", fill: "none", stroke: "#6b4a00", "stroke-width": 4, "stroke-linecap": "round" }),
    svg("path", { d: "M34 62q16 16 32 0", fill: "none", stroke: "#6b4a00", "stroke-width": 4, "stroke-linecap": "round" }));
}
