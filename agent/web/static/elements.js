// Builds elements; text is text, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

export const glyph = (state) =>
  svg("svg", { class: "glyph", "aria-hidden": "true", width: 16, height: 16 }, svg("use", { href: `#g-${state}` }));

// Puts new children in only where something differs: nothing flickers, and neither focus nor selection is lost.
export function replace(element, ...children) {
  const next = document.createElement(element.tagName);
  next.append(...children.flat().filter((child) => child !== null && child !== undefined));
  if (element.innerHTML === next.innerHTML) return;
  const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  element.replaceChildren(...next.childNodes);
  if (focused) [...element.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
}
