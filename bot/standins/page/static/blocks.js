// Slack's Block Kit as elements, for messages and for modals.

import { el, link, safeUrl } from "./dom.js";
import { mrkdwn, plainOf, richText, textOf } from "./mrkdwn.js";

let fieldCount = 0;

/**
 * Blocks as nodes.
 * `use`: `names` (ids to names), `words`, `persons`, `channels`, `act(element, block, given)` for elements that act at
 * once (given: {value} or {selected}), `confirm(object)` → promise of yes or no; in a modal also `held` (its state.values),
 * `search(element, block, text)` → promise of options, `upload(file)` → promise of a file id.
 * `inModal`: fields keep what is entered until the modal is submitted (see `valuesOf`).
 */
export function drawBlocks(blocks, use, inModal = false) {
  return blocks.map((block) => kinds[block.type]?.(block, use, inModal) ?? unknown(block)).filter(Boolean);
}

function unknown(block) {
  const text = plainOf(block.text) || plainOf(block.title);
  return text ? el("div", { class: "b-section" }, text) : null;
}

const kinds = {
  header: (block) => el("p", { class: "b-header", role: "heading", "aria-level": 4 }, plainOf(block.text)),
  divider: () => el("hr", { class: "b-divider" }),
  section(block, use, inModal) {
    const text = block.text ? el("div", { class: "b-text" }, textOf(block.text, use.names)) : null;
    const fields = block.fields?.length
      ? el("div", { class: "b-fields" }, block.fields.map((field) => el("div", { class: "b-text" }, textOf(field, use.names))))
      : null;
    const accessory = block.accessory ? element(block.accessory, block, use, inModal, plainOf(block.text)) : null;
    return el("div", { class: `b-section${accessory ? " with-accessory" : ""}` },
      el("div", { class: "b-body" }, text, fields), accessory ? el("div", { class: "b-accessory" }, accessory) : null);
  },
  markdown: (block, use) => el("div", { class: "b-section" }, el("div", { class: "b-text" }, mrkdwn(block.text ?? "", use.names))),
  context: (block, use) =>
    el("div", { class: "b-context" }, (block.elements ?? []).map((part) =>
      part.type === "image" ? picture(part, use) : el("span", { class: "b-text" }, textOf(part, use.names)))),
  actions: (block, use, inModal) =>
    el("div", { class: `b-actions${isScale(block) ? " scale" : ""}`, role: "group" },
      (block.elements ?? []).map((part) => element(part, block, use, inModal))),
  input(block, use, inModal) {
    const label = `${plainOf(block.label)}${block.optional ? use.words.optional : ""}`;
    const hintId = block.hint ? `hint-${++fieldCount}` : null;
    const control = element(block.element, block, use, inModal, label, hintId);
    const grouped = ["checkboxes", "radio_buttons", "multi_static_select"].includes(block.element?.type);
    const node = grouped
      ? el("fieldset", { class: "b-input" }, el("legend", {}, label), control)
      : el("div", { class: "b-input" }, labelFor(control, label), control);
    node.dataset.block = block.block_id ?? "";
    if (!block.optional) node.dataset.needed = "yes";
    if (block.dispatch_action) node.dataset.dispatch = "yes";
    if (hintId) node.append(el("p", { class: "b-hint", id: hintId }, plainOf(block.hint)));
    node.append(el("p", { class: "b-error", role: "alert", hidden: true }));
    return node;
  },
  image: (block, use) =>
    el("figure", { class: "b-image" }, block.title ? el("figcaption", {}, plainOf(block.title)) : null, picture(block, use)),
  rich_text: (block, use) => el("div", { class: "b-section b-text" }, richText(block, use.names)),
  table(block, use) {
    const settings = block.column_settings ?? [];
    const cell = (tag) => (content, index) =>
      el(tag, { style: { "text-align": { right: "right", center: "center" }[settings[index]?.align] }, scope: tag === "th" ? "col" : null },
        content.type === "rich_text" ? richText(content, use.names) : String(content.text ?? content.value ?? ""));
    const [head, ...rows] = block.rows ?? [];
    return el("div", { class: "b-table", tabindex: 0, role: "region", "aria-label": block.caption ?? plainOf(block.title) ?? null },
      el("table", {},
        block.caption ? el("caption", {}, typeof block.caption === "string" ? block.caption : plainOf(block.caption)) : null,
        el("thead", {}, el("tr", {}, (head ?? []).map(cell("th")))),
        el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell("td")))))));
  },
};
kinds.data_table = kinds.table;

/** A row of short numbers (0–10, 1–7) is drawn as one scale. */
function isScale(block) {
  const parts = block.elements ?? [];
  return parts.length >= 4 && parts.every((part) => part.type === "button" && plainOf(part.text).length <= 2);
}

function picture(image, use) {
  const file = image.slack_file?.id ? new URL(`files/${encodeURIComponent(image.slack_file.id)}`, location.href).href : "";
  const url = safeUrl(image.image_url ?? image.slack_file?.url ?? file);
  // pictures of this page's own address only: the content security policy would refuse any other
  if (url && new URL(url).origin === location.origin) return el("img", { src: url, alt: image.alt_text ?? "", loading: "lazy" });
  return el("div", { class: "b-picture", role: "img", "aria-label": image.alt_text ?? use.words.image_elsewhere },
    `${use.words.image_elsewhere}${image.alt_text ? `：${image.alt_text}` : ""}`);
}

function labelFor(control, text) {
  const field = control.matches("input, select, textarea") ? control : control.querySelector("input, select, textarea");
  if (field && !field.id) field.id = `field-${++fieldCount}`;
  return el("label", { for: field?.id }, text);
}

/** One interactive element. `label` names it where the block's own label does not stand beside it. */
function element(part, block, use, inModal, label = "", hintId = null) {
  if (!part) return el("span");
  const tell = (given) => use.act(part, block, given);
  const acts = !inModal || block.type !== "input" || block.dispatch_action;
  const keep = { "data-action": part.action_id, "data-type": part.type, "aria-describedby": hintId };
  const name = label ? null : (plainOf(part.placeholder) || part.action_id);
  // what a modal holds already: it is there again when the page is opened anew
  const held = use.held?.[block.block_id]?.[part.action_id] ?? {};
  switch (part.type) {
    case "button": {
      const style = { primary: " primary", danger: " danger" }[part.style] ?? "";
      if (part.url) {
        const anchor = link(part.url, plainOf(part.text));
        anchor.className = `b-button${style}`;
        anchor.addEventListener("click", () => tell({ value: part.value ?? null }));
        return anchor;
      }
      return el("button", {
        type: "button",
        class: `b-button${style}`,
        "data-action": part.action_id,
        "aria-label": part.accessibility_label,
        on: { click: async () => (!part.confirm || (await use.confirm(part.confirm))) && tell({ value: part.value ?? null }) },
      }, plainOf(part.text));
    }
    case "external_select":
      return searching(part, block, keep, use, acts && tell, name, held);
    case "file_input":
      return dropping(part, keep, use);
    case "static_select":
    case "users_select":
    case "conversations_select":
    case "channels_select":
    case "multi_static_select":
    case "multi_users_select":
      return part.type.startsWith("multi_") ? many(part, keep, use, acts && tell, "checkbox", held) : select(part, keep, use, acts && tell, name, held);
    case "overflow": {
      const node = select({ ...part, placeholder: { text: "⋯" } }, keep, use, tell, use.words.more, {});
      node.classList.add("overflow");
      return node;
    }
    case "radio_buttons":
      return many(part, keep, use, acts && tell, "radio", held);
    case "checkboxes":
      return many(part, keep, use, acts && tell, "checkbox", held);
    case "plain_text_input":
    case "number_input":
    case "email_text_input":
    case "url_text_input": {
      const long = part.multiline === true;
      const node = el(long ? "textarea" : "input", {
        ...keep,
        type: long ? null : part.type === "number_input" ? "text" : "text",
        inputmode: { number_input: "decimal", email_text_input: "email", url_text_input: "url" }[part.type],
        rows: long ? 4 : null,
        maxlength: part.max_length ?? 3000,
        placeholder: plainOf(part.placeholder) || null,
        "aria-label": name,
        autocomplete: "off",
        class: "b-field",
      });
      node.value = held.value ?? part.initial_value ?? "";
      if (acts && !long) {
        node.addEventListener("keydown", (event) => {
          if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
          event.preventDefault();
          tell({ value: node.value });
        });
      }
      return node;
    }
    case "datepicker":
    case "timepicker":
    case "datetimepicker": {
      const kind = { datepicker: "date", timepicker: "time", datetimepicker: "datetime-local" }[part.type];
      const node = el("input", { ...keep, type: kind, class: "b-field short", "aria-label": name });
      const moment = held.selected_date_time ?? part.initial_date_time; // seconds; the shop's clock is Tokyo's
      node.value = held.selected_date ?? held.selected_time ?? part.initial_date ?? part.initial_time ?? (moment ? new Date((moment + 9 * 3600) * 1000).toISOString().slice(0, 16) : "");
      if (acts) node.addEventListener("change", () => tell({ selected: node.value }));
      return node;
    }
    case "image":
      return picture(part, use);
    default:
      return el("span", { class: "b-hint" }, part.type);
  }
}

function optionsOf(part, use) {
  if (part.type.endsWith("users_select")) return [["", use.persons.map((person) => asOption(person.id, person.name))]];
  if (part.type === "channels_select" || part.type === "conversations_select") {
    return [["", use.channels.map((channel) => asOption(channel.id, channel.im ? channel.name : `#${channel.name}`))]];
  }
  if (part.option_groups) return part.option_groups.map((group) => [plainOf(group.label), group.options ?? []]);
  return [["", part.options ?? []]];
}

const asOption = (value, text) => ({ value, text: { type: "plain_text", text } });

function select(part, keep, use, tell, name, held) {
  const groups = optionsOf(part, use);
  const chosen = held.selected_option?.value ?? held.selected_user ?? held.selected_channel ?? held.selected_conversation;
  const initial = chosen ?? part.initial_option?.value ?? part.initial_user ?? part.initial_channel ?? part.initial_conversation ?? "";
  const flat = groups.flatMap(([, options]) => options);
  const draw = (option) => el("option", { value: option.value }, plainOf(option.text));
  const node = el("select", { ...keep, class: "b-select", "aria-label": name },
    el("option", { value: "" }, plainOf(part.placeholder) || use.words.choose),
    groups.map(([label, options]) => (label ? el("optgroup", { label }, options.map(draw)) : options.map(draw))));
  node.value = initial;
  node.chosen = () => flat.find((option) => option.value === node.value) ?? null;
  if (tell) {
    node.addEventListener("change", () => {
      const option = node.chosen();
      if (option) tell({ selected: /^(users|channels|conversations)_select$/.test(part.type) ? option.value : option });
    });
  }
  return node;
}

/** A field that asks the app what it offers while somebody types. */
function searching(part, block, keep, use, tell, name, held) {
  let option = held.selected_option ?? part.initial_option ?? null;
  let waiting = 0;
  const found = el("div", { class: "b-found", role: "group" });
  const field = el("input", { type: "text", class: "b-field", "aria-label": name, autocomplete: "off", placeholder: plainOf(part.placeholder) || null });
  field.value = option ? plainOf(option.text) : "";
  const node = el("div", { ...keep, class: "b-search" }, field, found);
  node.chosen = () => option;
  const choose = (offered) => {
    option = offered;
    field.value = plainOf(offered.text);
    found.replaceChildren();
    if (tell) tell({ selected: offered.value });
  };
  field.addEventListener("input", () => {
    option = null;
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const typed = field.value.trim();
      const offered = typed ? await use.search(part, block, typed) : [];
      if (field.value.trim() !== typed) return;
      found.replaceChildren(...offered.map((one) =>
        el("button", { type: "button", class: "b-button", on: { click: () => choose(one) } }, plainOf(one.text))));
    }, 200);
  });
  return node;
}

/** A field into which a file is dropped; it is with the app before the modal is sent, as in Slack. */
function dropping(part, keep, use) {
  let files = [];
  const accept = (part.filetypes ?? []).map((kind) => `.${kind}`).join(",");
  const field = el("input", { type: "file", class: "b-field", accept: accept || null });
  field.addEventListener("change", async () => {
    const given = await Promise.all([...field.files].slice(0, part.max_files ?? 10).map(use.upload));
    files = given.filter(Boolean);
  });
  const node = el("div", { ...keep, class: "b-search" }, field);
  node.files = () => files;
  return node;
}

function many(part, keep, use, tell, kind, held) {
  const options = optionsOf(part, use).flatMap(([, group]) => group);
  const chosen = held.selected_options ?? (held.selected_option ? [held.selected_option] : null);
  const initial = new Set(chosen?.map((option) => option.value) ?? held.selected_users ?? [...(part.initial_options ?? []).map((option) => option.value), part.initial_option?.value, ...(part.initial_users ?? [])]);
  const group = `group-${++fieldCount}`;
  const node = el("div", { ...keep, class: `b-many ${kind}`, role: kind === "radio" ? "radiogroup" : "group", "aria-label": plainOf(part.placeholder) || null },
    options.map((option) => {
      const box = el("input", { type: kind, name: group, value: option.value });
      box.checked = initial.has(option.value);
      return el("label", {}, box, el("span", {}, textOf(option.text, use.names),
        option.description ? el("small", {}, plainOf(option.description)) : null));
    }));
  node.chosen = () => options.filter((_, index) => node.querySelectorAll("input")[index].checked);
  if (tell) node.addEventListener("change", () => tell({ selected: kind === "radio" ? node.chosen()[0] : node.chosen() }));
  return node;
}

/** What is entered in a modal, in the form of Slack's `state.values`: {block_id: {action_id: {type, …}}}. */
export function valuesOf(root, blocks) {
  const values = {};
  for (const block of blocks) {
    const parts = block.type === "input" ? [block.element] : block.type === "section" ? [block.accessory] : (block.elements ?? []);
    for (const part of parts) {
      if (!part?.action_id || part.type === "button") continue;
      const node = root.querySelector(`[data-in="${CSS.escape(block.block_id ?? "")}"] [data-action="${CSS.escape(part.action_id)}"]`);
      if (node) (values[block.block_id] ??= {})[part.action_id] = { type: part.type, ...given(part, node) };
    }
  }
  return values;
}

function given(part, node) {
  switch (part.type) {
    case "static_select":
    case "external_select":
      return { selected_option: node.chosen() };
    case "file_input":
      return { files: node.files() };
    case "users_select":
      return { selected_user: node.value || null };
    case "channels_select":
      return { selected_channel: node.value || null };
    case "conversations_select":
      return { selected_conversation: node.value || null };
    case "multi_users_select":
      return { selected_users: node.chosen().map((option) => option.value) };
    case "multi_static_select":
    case "checkboxes":
      return { selected_options: node.chosen() };
    case "radio_buttons":
      return { selected_option: node.chosen()[0] ?? null };
    case "datepicker":
      return { selected_date: node.value || null };
    case "timepicker":
      return { selected_time: node.value || null };
    case "datetimepicker":
      return { selected_date_time: node.value ? Math.floor(new Date(`${node.value}:00+09:00`).getTime() / 1000) : null };
    default:
      return { value: node.value || null };
  }
}
