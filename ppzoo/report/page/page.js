// The document: texts, numbers, elements, sections with a table of contents, tooltip, light and dark.
// All scripts of a page share one scope. A page ends with a call of drawPage(header, sections).

const TEXTS = JSON.parse(document.getElementById("texts").textContent);
const DATA = JSON.parse(document.getElementById("data").textContent);
const LANGUAGE = document.documentElement.lang;
const BETWEEN_SENTENCES = LANGUAGE.startsWith("zh") ? "" : " ";
const SVG = "http://www.w3.org/2000/svg";

// Texts

function has(key) {
  return Object.hasOwn(TEXTS, key);
}

/** Return the text of a key with its {placeholders} replaced. */
function t(key, values = {}) {
  if (!has(key)) throw new Error(`unknown text ${key}`);
  return TEXTS[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Like t, but returns a list of nodes, so that values can be elements. */
function nodes(key, values = {}) {
  if (!has(key)) throw new Error(`unknown text ${key}`);
  return TEXTS[key].split(/\{(\w+)\}/).map((part, index) => (index % 2 ? values[part] : part));
}

/** Return "1 image" or "10,000 images"; key.one is the singular, in languages that have it. */
function plural(key, number) {
  const single = new Intl.PluralRules(LANGUAGE).select(number) === "one" && has(`${key}.one`);
  return t(single ? `${key}.one` : key, { n: count(number) });
}

/** Return the notes of a report or run as sentences in the language of the page; without values, those in English. */
function noteTexts({ notes, note_values: values }) {
  return (notes ?? []).map((note, index) => (values ? noteText(...values[index]) : visible(note)));
}

function noteText(key, values) {
  const single = values.n === 1 && has(`note.${key}.one`);
  const shown = (value) => (typeof value === "number" ? count(value) : visible(String(value)));
  const entries = Object.entries(values).map(([name, value]) => [name, shown(value)]);
  return t(single ? `note.${key}.one` : `note.${key}`, Object.fromEntries(entries));
}

/** Return the displayed name of a metric of ppzoo eval. */
function metricName(name) {
  const suffix = ["tta", "ema"].find((one) => name.endsWith(`_${one}`));
  if (suffix) return t(`metric.with_${suffix}`, { metric: metricName(name.slice(0, -4)) });
  if (has(`metric.${name}`)) return t(`metric.${name}`);
  const top = /^top(\d+)$/.exec(name);
  return top ? t("metric.top", { k: top[1] }) : name;
}

// Numbers; null is a dash.

const DASH = "–";

function count(number) {
  return number === null || number === undefined ? DASH : number.toLocaleString(LANGUAGE);
}

/** Format with four digits, as Python's ".4f" does: exact halves, odd multiples of 1/32, are rounded to even. */
function metric(number) {
  if (number === null || number === undefined) return DASH;
  if (Math.abs(number * 32) % 2 !== 1) return number.toFixed(4);
  const below = Math.floor(number * 10000);
  return ((below % 2 ? below + 1 : below) / 10000).toFixed(4);
}

function percent(number, digits = 1) {
  if (number === null || number === undefined) return DASH;
  return `${(100 * number).toFixed(digits)}%`;
}

/** Format with about four digits: learning rates, seconds. */
function short(number) {
  if (number === null || number === undefined) return DASH;
  if (number !== 0 && (Math.abs(number) < 0.001 || Math.abs(number) >= 1e7)) return number.toExponential(2);
  return number.toLocaleString(LANGUAGE, { maximumSignificantDigits: 4 });
}

/** Format with a unit prefix: 1.25 M, 3.2 G. */
function scaled(number, unit = "") {
  if (number === null || number === undefined) return DASH;
  const prefixes = ["", "k", "M", "G", "T"];
  const power = number < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(number) / 3));
  const value = (number / 1000 ** power).toLocaleString(LANGUAGE, { maximumSignificantDigits: 3 });
  const suffix = prefixes[power] + unit;
  return suffix ? `${value}\u00a0${suffix}` : value;
}

// Elements

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Escape the characters of a name that are invisible or change the direction of the text, as errors.printable does. */
function visible(text) {
  const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  // Surrogates are bytes of file names that are not UTF-8; those of pairs do not match.
  return text.replace(/[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/gu, escaped);
}

/** Return a name of a class or file: its direction does not change the text around it. */
function name(text) {
  return el("bdi", { class: "name" }, visible(text));
}

/** Return the beginning of a long name, for sentences; the full name is its title. */
function shortName(text) {
  const letters = [...visible(text)];
  const shown = letters.length > 60 ? `${letters.slice(0, 60).join("")}…` : letters.join("");
  return el("bdi", { class: "name", title: visible(text) }, shown);
}

/** Return a name that is cut after two lines; the full name is its title. */
function clipped(text) {
  return el("bdi", { class: "name clipped", title: visible(text) }, visible(text));
}

/** Return tiles with a label, a value and a hint that can be missing. */
function tiles(entries) {
  const tile = ([label, value, hint]) => {
    const long = (value.textContent ?? value).length > 9;
    const content = el("dd", { class: long ? "long" : null }, value, hint && el("small", null, hint));
    return el("div", { class: "tile" }, el("dt", null, label), content);
  };
  return el("dl", { class: "tiles" }, entries.filter(Boolean).map(tile));
}

/** Return a list of labels and values, one per row. */
function facts(entries) {
  return el(
    "dl",
    { class: "facts" },
    entries.map(([label, value]) => [el("dt", null, label), el("dd", null, value)]),
  );
}

/** Return a button that is switched on and off; change(on) is called after each click. */
function switchButton(label, change) {
  const button = el("button", { type: "button", class: "switch", role: "switch", "aria-checked": "false" }, label);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-checked") !== "true";
    button.setAttribute("aria-checked", on);
    change(on);
  });
  return button;
}

const SMALLEST_WIDTH = 120;

/** Call draw(width) when the element has a width, and again when the width changes. */
function whenSized(element, draw) {
  let drawn = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width >= SMALLEST_WIDTH && width !== drawn) {
      drawn = width;
      requestAnimationFrame(() => draw(width));
    }
  }).observe(element);
}

// One tooltip for all charts. Screen readers announce its text.

const TIP = el("div", { id: "tip", role: "status", hidden: "" });

/** Show lines of text next to a point of the window; lines are [label, value] or a node. */
function showTip(x, y, lines) {
  const row = (line) =>
    Array.isArray(line) ? el("div", null, el("span", null, name(line[0])), el("b", null, line[1])) : line;
  TIP.replaceChildren(...lines.map(row));
  TIP.hidden = false;
  const { width, height } = TIP.getBoundingClientRect();
  const limit = document.documentElement.clientWidth - width - 8;
  TIP.style.left = `${Math.max(8, Math.min(x + 14, limit))}px`;
  TIP.style.top = `${y - height - 14 > 8 ? y - height - 14 : y + 18}px`;
}

function hideTip() {
  TIP.hidden = true;
}

addEventListener("scroll", hideTip, { passive: true });

// Light and dark. Print is always light.

const themeListeners = [];
const systemDark = matchMedia("(prefers-color-scheme: dark)");
let chosenTheme = null;

/** Call draw now and after each change of the colors: for canvases. */
function whenThemed(draw) {
  themeListeners.push(draw);
  draw();
}

function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
  for (const draw of themeListeners) draw();
}

function currentTheme() {
  return chosenTheme ?? (systemDark.matches ? "dark" : "light");
}

function themeButton() {
  const button = el("button", { type: "button", class: "theme" });
  const update = () => {
    applyTheme(currentTheme());
    button.replaceChildren(t(currentTheme() === "dark" ? "page.light" : "page.dark"));
  };
  button.addEventListener("click", () => {
    chosenTheme = currentTheme() === "dark" ? "light" : "dark";
    update();
  });
  systemDark.addEventListener("change", update);
  const printed = (printing) => applyTheme(printing ? "light" : currentTheme());
  matchMedia("print").addEventListener("change", (event) => printed(event.matches));
  addEventListener("beforeprint", () => printed(true));
  addEventListener("afterprint", () => printed(false));
  update();
  return button;
}

/** Return the value of a color of page.css, for canvases. */
function color(variable) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${variable}`).trim();
}

// Sections

/**
 * Draw the page.
 * header: { title, details: [text] }. sections: [{ id, title, draw(element) }]; a section that is null is skipped.
 */
function drawPage(header, sections) {
  const shown = sections.filter(Boolean);
  const main = el("main", { id: "main" });
  const contents = el("nav", { class: "contents", "aria-label": t("page.contents") });
  contents.append(
    el(
      "ul",
      null,
      shown.map(({ id, title }) => el("li", null, el("a", { href: `#${id}` }, title))),
    ),
  );
  const details = el(
    "p",
    { class: "details" },
    header.details.filter(Boolean).map((part) => el("span", null, part)),
  );
  const top = el(
    "header",
    { class: "top" },
    el("div", null, el("h1", null, name(header.title)), details),
    themeButton(),
  );
  const skip = el("a", { class: "skip", href: "#main" }, t("page.skip"));
  document.getElementById("page").append(skip, top, el("div", { class: "columns" }, contents, main), TIP);
  for (const section of shown) main.append(drawSection(section));
  markCurrentSection(contents, main);
}

function drawSection({ id, title, draw }) {
  const section = el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title));
  try {
    draw(section);
  } catch (error) {
    console.error(error);
    section.append(el("p", { class: "failed" }, t("page.failed", { error: error.message })));
  }
  return section;
}

/** Mark the section that is read in the table of contents. */
function markCurrentSection(contents, main) {
  const links = new Map([...contents.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
  const visible = new Set();
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) visible[isIntersecting ? "add" : "delete"](target.id);
      const current = [...links.keys()].find((id) => visible.has(id));
      for (const [id, link] of links) {
        if (id === current) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
      // In narrow windows, the contents are one row that scrolls.
      if (current) contents.scrollLeft = links.get(current).offsetLeft - 40;
    },
    { rootMargin: "-72px 0px -60% 0px" },
  );
  for (const section of main.children) observer.observe(section);
}
