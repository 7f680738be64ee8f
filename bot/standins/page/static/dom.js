// Elements without markup: everything that people or the bot wrote reaches the page as text nodes only.

/** A new element. `props`: class, attributes, `style` (object, set through the CSSOM as the CSP asks), `on` (listeners). */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "style") setStyle(node, value);
    else if (name === "on") for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function setStyle(node, style) {
  for (const [name, value] of Object.entries(style)) {
    if (value !== undefined && value !== null) node.style.setProperty(name, String(value));
  }
}

/** The address if it may be opened from the page (web pages and telephone numbers), else "". */
export function safeUrl(url) {
  try {
    const parsed = new URL(url);
    return ["http:", "https:", "tel:", "mailto:"].includes(parsed.protocol) ? parsed.href : "";
  } catch {
    return "";
  }
}

/** A link that opens elsewhere, or plain text when its address is not one to open. */
export function link(url, ...children) {
  const href = safeUrl(url);
  return href ? el("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...children) : el("span", {}, ...children);
}

/** Text with its line breaks, and with web addresses as links. */
export function textWithLinks(text) {
  return String(text)
    .split(/(https?:\/\/[^\s<>「」（）]+)/u)
    .map((part, index) => (index % 2 ? link(part, part) : part))
    .filter((part) => part !== "");
}

const formats = new Map();

/** A time in Tokyo, in the reader's language; `kind` is "time" (10:00) or "day" (11月19日（木）). */
export function when(ms, lang, kind) {
  const key = `${lang} ${kind}`;
  if (!formats.has(key)) {
    const shape =
      kind === "time"
        ? { hour: "2-digit", minute: "2-digit", hour12: false }
        : { month: lang === "ja" ? "long" : "short", day: "numeric", weekday: "short" };
    formats.set(key, new Intl.DateTimeFormat(lang === "ja" ? "ja-JP" : "en-GB", { ...shape, timeZone: "Asia/Tokyo" }));
  }
  const text = formats.get(key).format(new Date(ms));
  return lang === "ja" ? text.replace("(", "（").replace(")", "）") : text;
}

const left = new WeakMap(); // where a list was left by us: standing there still, nobody has scrolled it since

/** True when the list stands at its newest entry (or nearly), so that a new one may scroll it. */
export function atNewest(list) {
  return list.scrollHeight - list.scrollTop - list.clientHeight < 80 || left.get(list) === list.scrollTop;
}

/** Scrolls a list to its end, or to the start of its newest entry when that is taller than the list. */
export function showNewest(list, newest) {
  list.scrollTop = list.scrollHeight;
  if (newest?.isConnected && newest.offsetHeight > list.clientHeight) {
    list.scrollTop += newest.getBoundingClientRect().top - list.getBoundingClientRect().top;
  }
  left.set(list, list.scrollTop);
}

/** Enter sends, Shift+Enter breaks the line, and Enter that ends a Japanese conversion does neither. */
export function sendOnEnter(textarea, form) {
  textarea.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    form.requestSubmit();
  });
  textarea.addEventListener("input", () => grow(textarea));
}

export function grow(textarea) {
  textarea.style.setProperty("height", "auto");
  textarea.style.setProperty("height", `${Math.min(textarea.scrollHeight, 120)}px`);
}
