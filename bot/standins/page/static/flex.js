// LINE's Flex messages as elements, by the documented layout rules: flex weights, margins, named sizes and colours.

import { el, link, textWithLinks } from "./dom.js";

const TEXT = { xxs: 11, xs: 13, sm: 14, md: 16, lg: 19, xl: 22, xxl: 29, "3xl": 35, "4xl": 48, "5xl": 74 };
const SPACE = { none: 0, xs: 2, sm: 4, md: 8, lg: 12, xl: 16, xxl: 20 };
const BORDER = { none: 0, light: 0.5, normal: 1, "semi-bold": 2, medium: 3, bold: 4 };
const BUBBLE = { nano: 120, micro: 160, deca: 220, hecto: 241, kilo: 260, mega: 300, giga: 386 };
const ICON = { xxs: 11, xs: 13, sm: 14, md: 16, lg: 19, xl: 22, xxl: 29, "3xl": 35, "4xl": 48, "5xl": 74 };
const ALIGN = { start: "start", center: "center", end: "end" };
const JUSTIFY = {
  center: "center",
  "flex-start": "flex-start",
  "flex-end": "flex-end",
  "space-between": "space-between",
  "space-around": "space-around",
  "space-evenly": "space-evenly",
};
const ITEMS = { center: "center", "flex-start": "flex-start", "flex-end": "flex-end" };
const GRAVITY = { top: "flex-start", center: "center", bottom: "flex-end" };

const length = (value, names) => {
  if (value === undefined) return undefined;
  if (Object.hasOwn(names, value)) return `${names[value]}px`;
  return /^\d+(\.\d+)?(px|%)$/.test(value) ? value : undefined;
};
const color = (value) => (/^#([0-9a-f]{6}|[0-9a-f]{8})$/i.test(value ?? "") ? value : undefined);

/**
 * A Flex container (bubble or carousel) as an element.
 * `act(action)` is called when something tappable is tapped; `alt` names the message for screen readers.
 */
export function flex(contents, alt, act) {
  const bubbles = contents.type === "carousel" ? (contents.contents ?? []) : [contents];
  const drawn = bubbles.map((bubble) => drawBubble(bubble, act));
  return contents.type === "carousel"
    ? el("div", { class: "fx-carousel", role: "group", "aria-label": alt, tabindex: 0 }, drawn)
    : el("div", { class: "fx-single", role: "group", "aria-label": alt }, drawn);
}

function drawBubble(bubble, act) {
  const part = (name) => {
    const box = bubble[name];
    if (!box) return null;
    const style = bubble.styles?.[name] ?? {};
    const node = el("div", { class: `fx-${name}`, style: { "background-color": color(style.backgroundColor) } });
    if (style.separator) node.append(el("div", { class: "fx-sep", style: { "background-color": color(style.separatorColor) } }));
    node.append(draw(box, { root: true, layout: "vertical", first: true, section: name }, act));
    return node;
  };
  const node = el("div", { class: "fx-bubble", style: { "--fx-width": `${BUBBLE[bubble.size] ?? BUBBLE.mega}px` } });
  node.append(...["header", "hero", "body", "footer"].map(part).filter(Boolean));
  return bubble.action ? tappable(node, bubble.action, act) : node;
}

function draw(item, inside, act) {
  const node = kinds[item.type]?.(item, inside, act) ?? el("span");
  place(node, item, inside);
  return item.action && item.type !== "button" ? tappable(node, item.action, act) : node;
}

/** Size and distance of a component inside its box. */
function place(node, item, inside) {
  const { root, layout, first, spacing } = inside;
  const style = node.style;
  if (!root) {
    const row = layout !== "vertical";
    const weight = item.flex ?? (row && item.type !== "icon" && item.type !== "separator" ? 1 : 0);
    if (item.type === "filler") style.setProperty("flex", `${item.flex ?? 1} 0 0`);
    else if (weight > 0) style.setProperty("flex", row ? `${weight} 1 0` : `${weight} 0 auto`);
    else style.setProperty("flex", "0 0 auto");
    if (row) style.setProperty("min-width", "0");
    const gap = first ? undefined : (length(item.margin, SPACE) ?? spacing);
    if (gap) style.setProperty(row ? "margin-left" : "margin-top", gap);
    if (item.gravity && layout === "horizontal") style.setProperty("align-self", GRAVITY[item.gravity] ?? "auto");
  }
  if (item.position === "absolute") style.setProperty("position", "absolute");
  for (const [name, property] of [["offsetTop", "top"], ["offsetBottom", "bottom"], ["offsetStart", "left"], ["offsetEnd", "right"]]) {
    const offset = length(item[name], SPACE);
    if (offset) {
      if (item.position !== "absolute") style.setProperty("position", "relative");
      style.setProperty(property, offset);
    }
  }
}

/** A button around (or instead of) a drawn component; its layout in the parent is kept. */
function tappable(node, action, act) {
  if (action.type === "uri") {
    const anchor = link(action.uri, ...node.childNodes);
    return dress(anchor, node);
  }
  // a box that holds buttons of its own cannot be a button itself: HTML forbids it, so it becomes a click area
  const nested = node.querySelector("button, a") !== null;
  const button = nested
    ? el("div", { role: "button", tabindex: 0 })
    : el("button", { type: "button", "aria-label": labelOf(node, action) });
  button.append(...node.childNodes);
  dress(button, node);
  button.addEventListener("click", () => act(action));
  if (nested) {
    button.addEventListener("keydown", (event) => {
      if (event.target !== button || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      act(action);
    });
  }
  return button;
}

function dress(outer, node) {
  outer.className = `${node.className} fx-tap`;
  outer.style.cssText = node.style.cssText;
  return outer;
}

function labelOf(node, action) {
  return node.textContent.trim() ? null : (action.label ?? action.displayText ?? null);
}

const kinds = {
  box(item, inside, act) {
    const layout = ["horizontal", "baseline", "vertical"].includes(item.layout) ? item.layout : "vertical";
    const gradient = item.background?.type === "linearGradient" ? item.background : null;
    const stops = gradient && [gradient.startColor, gradient.centerColor, gradient.endColor].map(color).filter(Boolean);
    const padding = (side) => length(item[`padding${side}`] ?? item.paddingAll, SPACE);
    const node = el("div", {
      class: `fx-box fx-${layout}${inside.root && item.paddingAll === undefined ? " fx-pad" : ""}`,
      style: {
        "background-color": color(item.backgroundColor),
        "background-image":
          stops?.length > 1 && /^\d+(\.\d+)?deg$/.test(gradient.angle) ? `linear-gradient(${gradient.angle}, ${stops.join(", ")})` : null,
        "border-radius": length(item.cornerRadius, SPACE),
        "border-width": length(item.borderWidth, BORDER),
        "border-color": color(item.borderColor),
        "border-style": item.borderWidth && item.borderWidth !== "none" ? "solid" : null,
        width: length(item.width, {}),
        height: length(item.height, {}),
        "max-width": length(item.maxWidth, {}),
        "max-height": length(item.maxHeight, {}),
        "justify-content": JUSTIFY[item.justifyContent],
        "align-items": ITEMS[item.alignItems],
        "padding-top": padding("Top"),
        "padding-bottom": padding("Bottom"),
        "padding-left": padding("Start"),
        "padding-right": padding("End"),
      },
    });
    const spacing = length(item.spacing, SPACE);
    (item.contents ?? []).forEach((child, index) => {
      node.append(draw(child, { layout, first: index === 0, spacing }, act));
    });
    return node;
  },
  text(item) {
    const node = el("p", {
      class: `fx-text${item.wrap ? " fx-wrap" : ""}`,
      style: {
        "font-size": length(item.size ?? "md", TEXT),
        "font-weight": item.weight === "bold" ? "700" : null,
        "font-style": item.style === "italic" ? "italic" : null,
        "text-decoration": { underline: "underline", "line-through": "line-through" }[item.decoration],
        "text-align": ALIGN[item.align],
        color: color(item.color),
        "line-height": item.lineSpacing ? `calc(1.4em + ${length(item.lineSpacing, {}) ?? "0px"})` : null,
      },
    });
    if (item.wrap && item.maxLines > 0) {
      node.classList.add("fx-clamp");
      node.style.setProperty("-webkit-line-clamp", String(item.maxLines));
    }
    if (item.contents?.length) {
      node.append(
        ...item.contents.map((span) =>
          el("span", {
            style: {
              "font-size": span.size ? length(span.size, TEXT) : null,
              "font-weight": span.weight === "bold" ? "700" : null,
              "font-style": span.style === "italic" ? "italic" : null,
              "text-decoration": { underline: "underline", "line-through": "line-through" }[span.decoration],
              color: color(span.color),
            },
          }, span.text ?? ""),
        ),
      );
    } else {
      node.append(...(item.action ? [item.text ?? ""] : textWithLinks(item.text ?? "")));
    }
    return node;
  },
  button(item, _inside, act) {
    const kind = ["primary", "secondary"].includes(item.style) ? item.style : "link";
    const props = {
      class: `fx-button fx-${kind}${item.height === "sm" ? " fx-small" : ""}`,
      style: { [kind === "link" ? "color" : "background-color"]: color(item.color) },
    };
    const label = item.action?.label ?? "";
    if (item.action?.type === "uri") {
      const anchor = link(item.action.uri, el("span", {}, label));
      anchor.className = props.class;
      if (props.style.color) anchor.style.setProperty("color", props.style.color);
      return anchor;
    }
    return el("button", { type: "button", ...props, on: { click: () => act(item.action) } }, el("span", {}, label));
  },
  separator(item, inside) {
    return el("div", {
      class: inside.layout === "vertical" ? "fx-sep" : "fx-sep fx-upright",
      style: { "background-color": color(item.color) },
    });
  },
  filler: () => el("div", { class: "fx-filler" }),
  spacer: (item) => el("div", { style: { height: length(item.size ?? "md", SPACE) } }),
  icon: (item) => el("span", { class: "fx-icon", style: { "font-size": length(item.size ?? "md", ICON) } }, "★"),
  image: () => el("div", { class: "fx-image", role: "img", "aria-hidden": "true" }),
};
