// Keeps the page in step with the demo: asks for the state it looks at whenever the server says that something changed.

import { el, grow, sendOnEnter, showNewest } from "./dom.js";
import { linePane } from "./line.js";
import { slackPane } from "./slack.js";

const lang = document.documentElement.lang;
const all = JSON.parse(document.body.dataset.words);
const words = all[lang];
const chosen = { line: remembered("line"), me: remembered("me"), channel: remembered("channel") };
const seen = { channels: null, people: null }; // newest entry seen per channel and customer
const unread = { channels: new Set(), people: new Set() };
let state = null;
let running = null; // the fetch under way
let again = false;
let following = ""; // "digest": after a week, the channel that gets a post is shown, of several the last in the list
let followed = -1; // the place in the list of the channel that was shown so
let view = remembered("view") === "slack" ? "slack" : "line";

const line = linePane({ words, post });
const slack = slackPane({ words, own: (spoken) => all[spoken], post, open: openByHand, confirm: ask });
const customer = document.getElementById("customer");
const me = document.getElementById("me");
const toast = document.getElementById("toast");

function remembered(name) {
  return sessionStorage.getItem(`koe.${name}`) ?? "";
}

function choose(name, value) {
  chosen[name] = value;
  sessionStorage.setItem(`koe.${name}`, value);
}

/** Fetches and draws the state; calls while one is under way are one more fetch after it. Done when drawn. */
function refresh() {
  again = true;
  running ??= catchUp().finally(() => (running = null));
  return running;
}

async function catchUp() {
  try {
    while (again) {
      again = false;
      const asked = { ...chosen };
      const answer = await fetch(`/state?${new URLSearchParams({ lang, ...asked })}`);
      if (!answer.ok) throw new Error(String(answer.status));
      const next = await answer.json();
      // the person may have chosen something else meanwhile: then this answer is about the wrong chat
      if (asked.line !== chosen.line || asked.me !== chosen.me || asked.channel !== chosen.channel) {
        again = true;
        continue;
      }
      // what is not there (any more) was answered with something else: from now on that is the choice
      choose("line", next.line.chosen);
      choose("me", next.slack.me);
      choose("channel", next.slack.channel);
      draw(next);
    }
  } catch (error) {
    if (!(error instanceof TypeError)) console.error(error);
    say(words.offline, true);
  }
}

function draw(next) {
  state = next;
  notice();
  document.getElementById("clock").textContent = state.clock;
  document.getElementById("busy").hidden = !state.busy;
  for (const button of document.querySelectorAll("[data-story]")) button.setAttribute("aria-disabled", String(state.busy));
  drawCustomers();
  fill(me, state.slack.persons.map((person) => ({ value: person.id, text: person.name })), state.slack.me);
  const active = state.line.people.find((person) => person.id === state.line.chosen);
  document.getElementById("line-sub").textContent = active?.blocked ? `${words.account} · ${words.blocked}` : words.account;
  line.show(state.line, lang);
  slack.show(state.slack, lang, unread.channels);
  drawViews();
}

/** What is new since it was last looked at: marks in the lists, and a sentence for what is not on the screen. */
function notice() {
  const channels = new Map(state.slack.channels.map((channel) => [channel.id, channel.latest]));
  const people = new Map(state.line.people.map((person) => [person.id, person.at]));
  if (seen.channels === null || seen.me !== state.slack.me) {
    seen.channels = channels;
    seen.me = state.slack.me;
    unread.channels.clear();
  }
  if (seen.people === null) seen.people = people;
  const posted = [];
  for (const channel of state.slack.channels) {
    const before = seen.channels.get(channel.id) ?? "";
    if (channel.latest && Number(channel.latest) > Number(before || 0)) {
      if (channel.id === state.slack.channel && onScreen("slack")) unread.channels.delete(channel.id);
      else {
        unread.channels.add(channel.id);
        if (following !== "digest" || channel.im) say(words.new_in.replace("{channel}", channel.im ? channel.name : `#${channel.name}`));
      }
      if (!channel.im) posted.push(channel);
    }
  }
  for (const person of state.line.people) {
    if (person.at > (seen.people.get(person.id) ?? 0)) {
      if (person.id === state.line.chosen && onScreen("line")) unread.people.delete(person.id);
      else unread.people.add(person.id);
    }
  }
  if (onScreen("slack")) unread.channels.delete(state.slack.channel);
  if (onScreen("line")) unread.people.delete(state.line.chosen);
  seen.channels = channels;
  seen.people = new Map([...seen.people, ...people]);
  if (following === "digest" && posted.length > 0 && !state.slack.modal) {
    // a channel named for a language is for who reads the page in it
    const found = posted.findLast(({ name }) => name.endsWith(`-${lang}`)) ?? posted.findLast(({ name }) => !/-(ja|en)$/.test(name));
    const there = state.slack.channels.find(({ id }) => id === state.slack.channel)?.name.endsWith(`-${lang}`);
    const place = state.slack.channels.indexOf(found);
    if (place > followed && !(there && !found.name.endsWith(`-${lang}`))) {
      followed = place;
      if (found.id !== state.slack.channel) openChannel(found.id);
    }
  }
}

function onScreen(name) {
  return !narrow.matches || view === name;
}

function drawCustomers() {
  const options = state.line.people.map((person) => {
    const marks = [person.lang === "en" ? words.customer_en : words.customer_ja, person.blocked ? words.blocked : ""].filter(Boolean);
    return { value: person.id, text: `${unread.people.has(person.id) ? "● " : ""}${person.name}（${marks.join("・")}）`.replace(lang === "en" ? /（(.*)）$/ : /$^/, " ($1)") };
  });
  const hiddenCount = state.line.total - state.line.people.length;
  if (hiddenCount > 0) options.push({ value: "", text: words.customers_more.replace("{n}", String(hiddenCount)), off: true });
  fill(customer, options, state.line.chosen);
}

function fill(select, options, value) {
  const text = JSON.stringify(options);
  if (select.dataset.drawn !== text) {
    select.dataset.drawn = text;
    select.replaceChildren(...options.map((option) => el("option", { value: option.value, disabled: option.off }, option.text)));
  }
  if (select.value !== value) select.value = value;
}

const narrow = matchMedia("(max-width: 899px)");

function drawViews() {
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll(".views button")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === view));
    const fresh = button.dataset.view === "slack" ? unread.channels.size > 0 : unread.people.size > 0;
    button.querySelector(".dot").hidden = !fresh || button.dataset.view === view;
  }
}

function openView(name) {
  view = name;
  sessionStorage.setItem("koe.view", name);
  if (state) draw(state);
  for (const id of ["chat", "messages"]) {
    const list = document.getElementById(id);
    showNewest(list, list.lastElementChild);
  }
}

function openChannel(id) {
  choose("channel", id);
  unread.channels.delete(id);
  refresh();
}

/** Who opens a channel stays there. */
function openByHand(id) {
  following = "";
  openChannel(id);
}

/** Does something in the demo. The answer's body, or null after telling the person that it was not possible. */
async function post(action) {
  try {
    const answer = await fetch("/act", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(action) });
    const body = await answer.json();
    if (answer.ok) {
      refresh();
      return body;
    }
    say({ busy: words.still_busy, not_possible: words.gone, no_answer: words.no_answer }[body.error] ?? words.failed, true);
  } catch {
    say(words.failed, true);
  }
  refresh();
  return null;
}

let hush = 0;

function say(sentence, wrong = false) {
  clearTimeout(hush);
  toast.textContent = sentence;
  toast.classList.toggle("wrong", wrong);
  toast.hidden = false;
  hush = setTimeout(() => (toast.hidden = true), wrong ? 6000 : 3500);
}

/** Asks yes or no in a dialog of the page, as Slack does for a button with `confirm`. */
function ask({ title, text, yes, no, danger }) {
  const dialog = document.getElementById("confirm");
  return new Promise((resolve) => {
    const answer = (value) => () => dialog.close(value);
    dialog.replaceChildren(
      el("h3", { id: "confirm-title" }, title),
      el("p", {}, text),
      el("div", { class: "confirm-buttons" },
        el("button", { type: "button", class: "b-button", on: { click: answer("") } }, no || words.cancel),
        el("button", { type: "button", class: `b-button ${danger ? "danger" : "primary"}`, on: { click: answer("yes") } }, yes || words.ok)),
    );
    dialog.setAttribute("aria-labelledby", "confirm-title");
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });
}

for (const button of document.querySelectorAll("[data-story]")) {
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return say(words.still_busy);
    const what = button.dataset.story;
    const newcomer = document.querySelector("input[name=newcomer]:checked")?.value ?? lang;
    button.setAttribute("aria-disabled", "true");
    button.classList.add("running");
    following = what === "week_passes" ? "digest" : "";
    followed = -1;
    const done = await post({ do: "story", what, lang: newcomer });
    button.classList.remove("running");
    if (done?.line) {
      choose("line", done.line);
      openView("line");
    }
    await refresh();
    following = "";
    return undefined;
  });
}

for (const button of document.querySelectorAll(".views button")) {
  button.addEventListener("click", () => openView(button.dataset.view));
}

customer.addEventListener("change", () => {
  choose("line", customer.value);
  refresh();
});

me.addEventListener("change", () => {
  choose("me", me.value);
  choose("channel", "");
  refresh();
});

const lineForm = document.getElementById("line-form");
const lineText = document.getElementById("line-text");
sendOnEnter(lineText, lineForm);
lineForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = lineText.value.trim();
  if (!said || !chosen.line) return;
  lineText.value = "";
  grow(lineText);
  const done = await post({ do: "line.says", user: chosen.line, text: said });
  if (!done && !lineText.value) lineText.value = said;
});
document.getElementById("sticker").addEventListener("click", () => {
  if (chosen.line) post({ do: "line.sticker", user: chosen.line });
});

document.getElementById("photo").addEventListener("click", () => {
  if (chosen.line) post({ do: "line.photo", user: chosen.line });
});

/** The stream of changes; the browser reconnects by itself, and the first event after that brings the page up to date. */
let stream = null;

function listen() {
  stream?.close();
  stream = new EventSource("/changes");
  stream.addEventListener("change", () => refresh());
  stream.addEventListener("open", () => {
    if (toast.textContent === words.offline) toast.hidden = true;
  });
  stream.addEventListener("error", () => {
    say(words.offline, true);
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  });
}

// a hidden page holds no connection: browsers allow six to one address, and a person opens many tabs
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream?.close();
    stream = null;
  } else if (!stream) listen();
});
narrow.addEventListener("change", () => state && draw(state));
drawViews();
listen();
