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

// What an element shows, but for the times in it, which go on by themselves.
const shown = new WeakMap();
const TIMES = /(data-(?:ago|ahead)="[^"]*"[^>]*>)[^<]*/g;

// Puts in, child by child, what differs: nothing flickers, and neither focus nor selection is lost.
export function replace(element, ...children) {
  const next = children.flat().filter((child) => child !== null && child !== undefined);
  const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).forEach((node) => node.remove());
  next.forEach((child, place) => {
    const mark = child.outerHTML.replace(TIMES, "$1");
    const old = element.children[place];
    if (old && shown.get(old) === mark) return;
    shown.set(child, mark);
    if (old) old.replaceWith(child);
    else element.append(child);
  });
  while (element.childNodes.length > next.length) element.lastChild.remove();
  if (focused && !element.contains(document.activeElement)) {
    [...element.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  }
}
