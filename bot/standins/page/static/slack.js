// The Slack window: one person's channels, messages and modal.

import { atNewest, el, grow, sendOnEnter, showNewest, when } from "./dom.js";
import { drawBlocks, valuesOf } from "./blocks.js";
import { messageMenu, oneInTabOrder } from "./menu.js";
import { mrkdwn, plainOf } from "./mrkdwn.js";

/** The app's Home, among the channels. */
const HOME = "HOME";

/**
 * Draws what one person sees in Slack and keeps it in step: a message is drawn anew only when it changed.
 * `own(lang)` are the words of Slack's controls in the person's language; `post(action)` does something as that person; `open(channel)` changes the channel; `confirm(object)` asks yes or no.
 */
export function slackPane({ words, own, post, open, confirm }) {
  const list = document.getElementById("channels");
  const log = document.getElementById("messages");
  const room = document.getElementById("room-name");
  const text = document.getElementById("slack-text");
  const form = document.getElementById("slack-form");
  const layer = document.getElementById("modal-layer");
  const workspace = document.getElementById("workspace");
  let state = null;
  let lang = "ja";
  let shown = "";
  let drawn = new Map();
  let days = "";
  let modalDrawn = "";
  let errorsDrawn = "";
  let listDrawn = "";
  let before = null; // what had the focus before the modal opened

  sendOnEnter(text, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = text.value.trim();
    if (!said || !state.channel) return;
    text.value = "";
    grow(text);
    const done = await post({ do: "slack.says", user: state.me, channel: state.channel, text: said });
    if (!done && !text.value) text.value = said;
  });

  document.getElementById("slash").addEventListener("click", () => {
    if (state?.channel) post({ do: "slack.says", user: state.me, channel: state.channel, text: "/survey" });
  });

  function show(next, language, unread) {
    state = next;
    lang = language;
    workspace.lang = layer.lang = state.lang;
    drawList(unread);
    drawMessages();
    drawModal();
  }

  function drawList(unread) {
    const text = JSON.stringify([state.channels.map(({ id, name, im, private: closed }) => [id, name, im, closed]), state.channel, [...unread]]);
    if (text === listDrawn) return;
    listDrawn = text;
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.channel : null;
    const item = (channel) => {
      const fresh = unread.has(channel.id);
      return el("li", {}, el("button", {
        type: "button",
        class: `channel${fresh ? " unread" : ""}${channel.im ? " im" : ""}`,
        "data-channel": channel.id,
        "aria-current": channel.id === state.channel ? "true" : null,
        on: { click: () => { open(channel.id); if (channel.id === HOME) post({ do: "slack.home", user: state.me }); } },
      }, el("span", { class: "sigil", "aria-hidden": "true" }, channel.im ? "●" : channel.private ? lock() : "#"),
        el("span", { class: "name" }, channel.name), fresh ? el("span", { class: "badge" }, el("span", { class: "hidden" }, words.unread)) : null));
    };
    const part = (title, channels) =>
      channels.length ? [el("p", { class: "list-title" }, title), el("ul", {}, channels.map(item))] : [];
    list.replaceChildren(
      ...part(words.channels, state.channels.filter((channel) => !channel.im)),
      ...part(words.dms, state.channels.filter((channel) => channel.im)),
    );
    if (focused) list.querySelector(`[data-channel="${CSS.escape(focused)}"]`)?.focus();
  }

  function drawMessages() {
    const channel = state.channels.find((one) => one.id === state.channel);
    const title = channel ? (channel.im ? channel.name : `#${channel.name}`) : "";
    room.textContent = title;
    form.hidden = state.channel === HOME;
    text.placeholder = words.message_slack.replace("{channel}", title);
    text.setAttribute("aria-label", text.placeholder);
    const where = `${state.me} ${state.channel}`;
    const fresh = where !== shown;
    const follow = fresh || atNewest(log);
    if (fresh) {
      shown = where;
      drawn = new Map();
      days = "";
      log.replaceChildren();
      log.setAttribute("aria-busy", "true");
    }
    const rows = threaded(state.messages);
    const order = [];
    let added = false;
    let day = "";
    let previous = null;
    for (const message of rows) {
      const ms = Number(message.ts) * 1000;
      const today = when(ms, lang, "day");
      if (today !== day && !message.reply) {
        day = today;
        order.push(divider(today));
        previous = null;
      }
      const joined = previous && previous.user === message.user && ms - Number(previous.ts) * 1000 < 300_000 && previous.reply === message.reply;
      previous = message;
      const text = JSON.stringify([message, joined]);
      const known = drawn.get(message.ts);
      if (known?.text === text) {
        order.push(known.node);
        continue;
      }
      const node = row(message, ms, joined);
      if (known) carry(known.node, node);
      else added = true;
      drawn.set(message.ts, { node, text });
      order.push(node);
    }
    const outline = JSON.stringify(rows.map((message) => message.ts));
    if (outline !== days || order.some((node) => !node.isConnected && !node.classList.contains("day"))) {
      days = outline;
      arrange(order);
    }
    if (rows.length === 0) log.replaceChildren(el("p", { class: "empty" }, words.channel_empty));
    const newest = order.at(-1);
    if (follow && (added || fresh)) showNewest(log, newest);
    oneInTabOrder(log);
    if (fresh) requestAnimationFrame(() => { showNewest(log, newest); log.setAttribute("aria-busy", "false"); });
  }

  /** Puts the nodes in this order, moving as few as possible so that the focus and what is typed stay. */
  function arrange(order) {
    const keep = new Set(order);
    for (const child of [...log.children]) if (!keep.has(child)) child.remove();
    order.forEach((node, index) => {
      if (log.children[index] !== node) log.insertBefore(node, log.children[index] ?? null);
    });
  }

  /** A changed message takes over the place and the focus of the one it replaces. */
  function carry(old, node) {
    const active = old.contains(document.activeElement) ? document.activeElement : null;
    const action = active?.dataset.action ?? active?.closest("[data-action]")?.dataset.action;
    const value = active?.value;
    old.replaceWith(node);
    if (!active) return;
    const same = action
      ? [...node.querySelectorAll(`[data-action="${CSS.escape(action)}"]`)]
          .flatMap((found) => [found, ...found.querySelectorAll("input")])
          .find((found) => found.tagName === active.tagName && (active.type !== "checkbox" || found.value === value))
      : null;
    const menu = active.classList.contains("more") ? node.querySelector(".more") : null;
    (menu ?? same ?? node.querySelector("button, select, input, textarea, a") ?? log).focus({ preventScroll: true });
  }

  function row(message, ms, joined) {
    const name = state.names[message.user] ?? message.user;
    const bot = state.bots.includes(message.user) || !(message.user in state.names);
    const use = {
      names: { ...state.names, ...Object.fromEntries(state.channels.map((channel) => [channel.id, channel.name])) },
      persons: state.persons,
      channels: state.channels,
      words: own(state.lang),
      confirm: (object) => confirm(plainObject(object)),
      act: (part, block, given) =>
        post({
          do: "slack.clicks",
          user: state.me,
          channel: state.channel,
          ts: message.ts,
          action_id: part.action_id ?? "",
          block_id: block.block_id ?? null,
          value: given.value ?? null,
          selected: given.selected ?? null,
        }),
    };
    // Slack offers shortcuts on what stands in a conversation, not on what one person alone is told, nor on a Home
    const offered = message.only_you || state.channel === HOME ? [] : state.shortcuts;
    const menu = offered.length
      ? messageMenu({
          name: words.message_menu.replace("{name}", name).replace("{time}", when(ms, lang, "time")),
          items: offered.map((shortcut) => ({
            text: shortcut.name,
            chosen: () => post({ do: "slack.shortcut", user: state.me, channel: state.channel, ts: message.ts, callback_id: shortcut.id }),
          })),
        })
      : null;
    const body = message.blocks.length
      ? el("div", { class: "blocks" }, drawBlocks(message.blocks, use))
      : el("div", { class: "b-text" }, mrkdwn(message.text ?? "", use.names));
    return el("article", { class: `post${message.reply ? " reply" : ""}${joined ? " joined" : ""}`, "aria-label": name },
      el("span", { class: `face ${bot ? "bot" : `tone${tone(message.user)}`}`, "aria-hidden": "true", lang: "ja" }, joined ? "" : bot ? "声" : [...name][0] ?? "?"),
      el("div", { class: "post-body" },
        message.only_you ? el("p", { class: "only-you" }, words.only_you) : null,
        joined ? null : el("p", { class: "byline" }, el("strong", {}, name), bot ? el("span", { class: "app" }, words.app) : null,
          el("time", {}, when(ms, lang, "time"))),
        body,
        message.edited ? el("span", { class: "edited" }, words.edited) : null),
      menu);
  }

  function drawModal() {
    const view = state.modal;
    const key = view ? JSON.stringify([state.me, view]) : "";
    if (key !== modalDrawn) {
      const opened = view && !modalDrawn;
      const kept = view && layer.firstElementChild ? layer.firstElementChild : null;
      modalDrawn = key;
      errorsDrawn = "";
      if (!view) {
        const hadFocus = layer.contains(document.activeElement) || document.activeElement === document.body;
        layer.replaceChildren();
        layer.hidden = true;
        workspace.inert = false;
        if (hadFocus) (before?.isConnected ? before : text).focus({ preventScroll: true });
        before = null;
      } else {
        if (opened) before = document.activeElement === document.body ? null : document.activeElement;
        const focused = kept?.contains(document.activeElement) ? document.activeElement.closest("[data-action]")?.dataset.action : null;
        const sheet = drawSheet(view);
        if (kept) carryFields(kept, sheet);
        layer.replaceChildren(sheet);
        layer.hidden = false;
        workspace.inert = true;
        const again = focused && sheet.querySelector(`[data-action="${CSS.escape(focused)}"]`);
        const first = sheet.querySelector(".sheet-body input, .sheet-body select, .sheet-body textarea, .sheet-body button");
        if (opened || kept?.dataset.view !== sheet.dataset.view || focused) {
          const target = again && !again.matches("input, select, textarea, button") ? again.querySelector("input") : again;
          (target || first || sheet.querySelector("button")).focus({ preventScroll: true });
        }
      }
    }
    const errors = JSON.stringify(state.errors);
    if (view && errors !== errorsDrawn) {
      errorsDrawn = errors;
      showErrors(layer.firstElementChild, state.errors);
    }
  }

  function carryFields(old, sheet) {
    if (old.dataset.view !== sheet.dataset.view) return;
    for (const field of old.querySelectorAll("input, select, textarea")) {
      const holder = field.closest("[data-action]");
      const block = field.closest("[data-in]");
      if (!holder || !block) continue;
      if (holder.classList.contains("b-search")) continue; // what is chosen there is part of the view's state
      const same = sheet.querySelector(`[data-in="${CSS.escape(block.dataset.in)}"] [data-action="${CSS.escape(holder.dataset.action)}"]`);
      if (!same) continue;
      if (field === holder) {
        if (same.tagName === field.tagName) same.value = field.value;
      } else {
        const box = [...same.querySelectorAll("input")].find((one) => one.value === field.value);
        if (box) box.checked = field.checked;
      }
    }
  }

  function drawSheet(view) {
    const use = {
      names: state.names,
      persons: state.persons,
      channels: state.channels,
      words: own(state.lang),
      confirm: (object) => confirm(plainObject(object)),
      held: view.state?.values,
      search: async (part, block, typed) => {
        const answer = await post({ do: "slack.types", user: state.me, action_id: part.action_id ?? "", block_id: block.block_id ?? null, text: typed });
        return answer?.options ?? [];
      },
      upload: async (file) => {
        const bytes = new Uint8Array(await file.arrayBuffer());
        const content = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        return (await post({ do: "slack.adds_file", user: state.me, name: file.name, content }))?.file ?? null;
      },
      act: (part, block, given) =>
        post({
          do: "slack.picks",
          user: state.me,
          action_id: part.action_id ?? "",
          block_id: block.block_id ?? null,
          selected: given.selected ?? given.value ?? null,
        }),
    };
    const close = () => post({ do: "slack.closes", user: state.me });
    const body = el("div", { class: "sheet-body" },
      (view.blocks ?? []).map((block) => el("div", { "data-in": block.block_id ?? "" }, drawBlocks([block], use, true))));
    const sheet = el("form", { class: "sheet", role: "dialog", "aria-label": plainOf(view.title) || own(state.lang).modal, "data-view": view.id ?? "", novalidate: true },
      el("header", {}, el("h3", {}, plainOf(view.title)),
        el("button", { type: "button", class: "icon", "aria-label": words.close, on: { click: close } }, "✕")),
      el("p", { class: "b-error trouble", role: "alert", hidden: true }),
      body,
      el("footer", {},
        el("button", { type: "button", class: "b-button", on: { click: close } }, plainOf(view.close) || own(state.lang).cancel),
        view.submit ? el("button", { type: "submit", class: "b-button primary" }, plainOf(view.submit) || own(state.lang).submit) : null));
    let sending = false;
    sheet.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (sending) return;
      const missing = {};
      const values = valuesOf(sheet, view.blocks ?? []);
      for (const block of view.blocks ?? []) {
        if (block.type === "input" && !block.optional && isEmpty(values[block.block_id]?.[block.element?.action_id])) missing[block.block_id] = own(state.lang).required;
      }
      showErrors(sheet, missing);
      if (Object.keys(missing).length) return;
      sending = true;
      errorsDrawn = "";
      await post({ do: "slack.submits", user: state.me, values });
      sending = false;
    });
    sheet.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing) {
        event.preventDefault();
        close();
      }
    });
    return sheet;
  }

  function showErrors(sheet, errors) {
    let first = null;
    const trouble = sheet.querySelector(".trouble"); // about the whole form
    trouble.textContent = errors[""] ?? "";
    trouble.hidden = !errors[""];
    for (const field of sheet.querySelectorAll(".b-input")) {
      const message = errors[field.dataset.block];
      const line = field.querySelector(".b-error");
      line.textContent = message ?? "";
      line.hidden = !message;
      const control = field.querySelector("input, select, textarea");
      if (message) {
        line.id ||= `error-${Math.random().toString(36).slice(2)}`;
        control?.setAttribute("aria-invalid", "true");
        control?.setAttribute("aria-errormessage", line.id);
        first ??= control;
      } else control?.removeAttribute("aria-invalid");
    }
    first?.focus();
  }

  return { show };
}

function plainObject(object) {
  return { title: plainOf(object.title), text: plainOf(object.text), yes: plainOf(object.confirm), no: plainOf(object.deny), danger: object.style === "danger" };
}

function isEmpty(value) {
  if (!value) return true;
  const { type: _, ...rest } = value;
  return Object.values(rest).every((one) => one === null || one === undefined || one === "" || (Array.isArray(one) && one.length === 0));
}

/** Replies stand under the message they answer. */
function threaded(messages) {
  const replies = new Map();
  const known = new Set(messages.map((message) => message.ts));
  const rows = [];
  for (const message of messages) {
    const parent = message.thread && message.thread !== message.ts && known.has(message.thread) ? message.thread : "";
    if (parent) replies.set(parent, [...(replies.get(parent) ?? []), { ...message, reply: true }]);
  }
  for (const message of messages) {
    if (message.thread && message.thread !== message.ts && known.has(message.thread)) continue;
    rows.push({ ...message, reply: false }, ...(replies.get(message.ts) ?? []));
  }
  return rows;
}

function divider(day) {
  return el("p", { class: "day" }, el("span", {}, day));
}

function tone(id) {
  return [...id].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % 4;
}

function lock() {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  const path = document.createElementNS(ns, "path");
  path.setAttribute("d", "M4.5 7V5a3.5 3.5 0 0 1 7 0v2M3.5 7h9v6.5h-9z");
  svg.append(path);
  return svg;
}
