// Slack's mrkdwn as elements: the safe subset that Slack itself shows. Nothing here ever becomes markup.

import { el, link } from "./dom.js";

const EMOJI = {
  white_check_mark: "✅", heavy_check_mark: "✔️", warning: "⚠️", bell: "🔔", rotating_light: "🚨", memo: "📝", bulb: "💡",
  chart_with_upwards_trend: "📈", chart_with_downwards_trend: "📉", bar_chart: "📊", speech_balloon: "💬", bow: "🙇",
  pray: "🙏", tada: "🎉", eyes: "👀", star: "⭐", red_circle: "🔴", large_green_circle: "🟢", large_yellow_circle: "🟡",
  large_blue_circle: "🔵", white_circle: "⚪", hourglass: "⌛", clock9: "🕘", wave: "👋", x: "❌", heart: "❤️",
  slightly_smiling_face: "🙂", package: "📦", pushpin: "📌", lock: "🔒", question: "❓", thumbsup: "👍", "+1": "👍", "-1": "👎",
};

export const emoji = (text) => text.replace(/:([a-z0-9_+-]+):/g, (whole, name) => EMOJI[name] ?? whole);
const unescape = (text) => text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");

/** Nodes of a mrkdwn text. `names` maps user and channel ids to names. */
export function mrkdwn(text, names = {}) {
  const nodes = [];
  const blocks = String(text).split(/```([\s\S]*?)```/);
  blocks.forEach((part, index) => {
    if (index % 2) nodes.push(el("pre", {}, unescape(part.replace(/^\n|\n$/g, ""))));
    else nodes.push(...lines(part, names));
  });
  return nodes;
}

function lines(text, names) {
  const nodes = [];
  let quote = null;
  const all = text.split("\n");
  all.forEach((line, index) => {
    const quoted = /^(&gt;|>)\s?/.exec(line);
    if (quoted) {
      if (!quote) nodes.push((quote = el("blockquote")));
      else quote.append("\n");
      quote.append(...inline(line.slice(quoted[0].length), names));
      return;
    }
    if (index > 0 && !quote) nodes.push("\n");
    quote = null;
    nodes.push(...inline(line, names));
  });
  return nodes;
}

const SPAN = /`([^`\n]+)`|<([^<>\n]+)>|(?<![\p{L}\p{N}])\*(\S(?:[^*\n]*\S)?)\*|(?<![\p{L}\p{N}])_(\S(?:[^_\n]*\S)?)_(?![\p{L}\p{N}])|(?<![\p{L}\p{N}~])~(\S(?:[^~\n]*\S)?)~/u;

function inline(text, names) {
  const nodes = [];
  let rest = text;
  for (let found = SPAN.exec(rest); found; found = SPAN.exec(rest)) {
    if (found.index) nodes.push(emoji(unescape(rest.slice(0, found.index))));
    const [whole, code, angle, bold, italic, strike] = found;
    if (code !== undefined) nodes.push(el("code", {}, unescape(code)));
    else if (angle !== undefined) nodes.push(reference(angle, names));
    else if (bold !== undefined) nodes.push(el("strong", {}, ...inline(bold, names)));
    else if (italic !== undefined) nodes.push(el("em", {}, ...inline(italic, names)));
    else nodes.push(el("s", {}, ...inline(strike, names)));
    rest = rest.slice(found.index + whole.length);
  }
  if (rest) nodes.push(emoji(unescape(rest)));
  return nodes;
}

function reference(inner, names) {
  const [target, label] = inner.split("|", 2).map(unescape);
  if (target.startsWith("@")) return el("span", { class: "mention" }, `@${label ?? names[target.slice(1)] ?? target.slice(1)}`);
  if (target.startsWith("#")) return el("span", { class: "mention" }, `#${label ?? names[target.slice(1)] ?? target.slice(1)}`);
  if (target.startsWith("!date^")) return el("span", {}, label ?? "");
  if (target.startsWith("!")) return el("span", { class: "mention loud" }, `@${label ?? target.slice(1)}`);
  return link(target, label ?? target);
}

/** Nodes of a text object (`plain_text` or `mrkdwn`). */
export function textOf(object, names = {}) {
  if (!object) return [];
  return object.type === "mrkdwn" ? mrkdwn(object.text, names) : [plainOf(object)];
}

/** A text object as plain text, for labels and options. */
export const plainOf = (object) => (object?.emoji === false ? (object.text ?? "") : emoji(object?.text ?? ""));

/** Nodes of a `rich_text` block. */
export function richText(block, names = {}) {
  return (block.elements ?? []).map((part) => richPart(part, names));
}

function richPart(part, names) {
  switch (part.type) {
    case "rich_text_list": {
      const items = (part.elements ?? []).map((item) => el("li", {}, richPart(item, names)));
      return el(part.style === "ordered" ? "ol" : "ul", { class: "rich-list" }, items);
    }
    case "rich_text_quote":
      return el("blockquote", {}, (part.elements ?? []).map((leaf) => richLeaf(leaf, names)));
    case "rich_text_preformatted":
      return el("pre", {}, (part.elements ?? []).map((leaf) => richLeaf(leaf, names)));
    default:
      return el("span", { class: "rich-section" }, (part.elements ?? []).map((leaf) => richLeaf(leaf, names)));
  }
}

function richLeaf(leaf, names) {
  let node;
  switch (leaf.type) {
    case "text": node = leaf.text ?? ""; break;
    case "link": node = link(leaf.url, leaf.text ?? leaf.url); break;
    case "emoji": node = EMOJI[leaf.name] ?? `:${leaf.name}:`; break;
    case "user": node = el("span", { class: "mention" }, `@${names[leaf.user_id] ?? leaf.user_id}`); break;
    case "channel": node = el("span", { class: "mention" }, `#${names[leaf.channel_id] ?? leaf.channel_id}`); break;
    case "broadcast": node = el("span", { class: "mention loud" }, `@${leaf.range}`); break;
    case "date": node = leaf.fallback ?? ""; break;
    default: node = "";
  }
  const style = leaf.style ?? {};
  if (style.code) node = el("code", {}, node);
  if (style.bold) node = el("strong", {}, node);
  if (style.italic) node = el("em", {}, node);
  if (style.strike) node = el("s", {}, node);
  return node;
}
