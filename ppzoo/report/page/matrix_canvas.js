// The canvas of the confusion matrix: geometry and painting.

// Sides of cells in pixels: the smallest with a count, the smallest with labels, and the largest.
const CELL_WITH_COUNT = 20;
const CELL_WITH_LABEL = 12;
const LARGEST_CELL = 64;

/** Return the opacity of a cell: small shares of errors stay visible. */
function shade(share) {
  return share ? 0.06 + 0.94 * Math.sqrt(share) : 0;
}

// Geometry: x and y are the first visible column and row, in classes.

function layoutMatrix(view, width) {
  const context = view.canvas.getContext("2d");
  context.font = matrixFont();
  view.texts = new Map();
  view.widest = Math.max(...DATA.classes.map((_, index) => context.measureText(className(index).slice(0, 60)).width));
  view.width = width;
  placeMatrix(view, true);
  zoomTo(view, view.zoom, view.x, view.y);
}

/** Place the matrix next to its labels, or next to the titles of the axes if the cells are too small for labels. */
function placeMatrix(view, labeled) {
  const { classes, width, widest } = view;
  view.labeled = labeled;
  view.left = labeled ? Math.round(Math.max(40, Math.min(widest + 30, width * 0.28, 170))) : 44;
  view.size = Math.max(80, Math.min(width - view.left - 2, Math.max(240, classes * LARGEST_CELL), 720));
  view.flat = widest + 8 < view.size / classes;
  view.top = view.flat || !labeled ? 44 : view.left;
  view.height = view.top + view.size + 2;
}

function matrixFont(size = 12) {
  return `${size}px ${getComputedStyle(document.body).fontFamily}`;
}

/** Set the zoom (1: the complete matrix); keep the point (x, y) where it is or, with center, move it to the middle. */
function zoomTo(view, zoom, x, y, center = false) {
  const before = view.zoom;
  view.zoom = Math.max(1, Math.min(zoom, Math.max(1, (LARGEST_CELL * view.classes) / view.size)));
  placeMatrix(view, true);
  if (cellSize(view) < CELL_WITH_LABEL) placeMatrix(view, false);
  const span = view.classes / view.zoom;
  const keep = (first, point) => (center ? point - span / 2 : point - ((point - first) * before) / view.zoom);
  panTo(view, keep(view.x, x), keep(view.y, y));
}

function panTo(view, x, y) {
  const limit = (value) => Math.max(0, Math.min(value, view.classes - view.classes / view.zoom));
  [view.x, view.y] = [limit(x), limit(y)];
  view.canvas.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
}

function cellSize(view) {
  return (view.size * view.zoom) / view.classes;
}

/** Return the column and row, in classes, at a point of the canvas, or null outside of the matrix. */
function matrixPoint(view, event) {
  const box = view.canvas.getBoundingClientRect();
  const ratio = view.width / box.width;
  const x = view.x + ((event.clientX - box.left) * ratio - view.left) / cellSize(view);
  const y = view.y + ((event.clientY - box.top) * ratio - view.top) / cellSize(view);
  const inside = (value, first) => value >= first && value < first + view.classes / view.zoom;
  return inside(x, view.x) && inside(y, view.y) ? [x, y] : null;
}

// Painting

function paintMatrix(view) {
  const { canvas, width, height, left, top, size } = view;
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.aspectRatio = `${width} / ${height}`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.fillStyle = color("inset");
  context.fillRect(left, top, size, size);
  context.save();
  context.beginPath();
  context.rect(left, top, size, size);
  context.clip();
  paintCells(view, context);
  context.restore();
  context.strokeStyle = color("line");
  context.strokeRect(left + 0.5, top + 0.5, size - 1, size - 1);
  paintLabels(view, context);
}

function paintCells(view, context) {
  const cell = cellSize(view);
  const gap = cell >= 8 ? 1 : 0;
  const span = view.classes / view.zoom;
  const visible = ({ label, predicted }) =>
    predicted > view.x - 1 && predicted < view.x + span && label > view.y - 1 && label < view.y + span;
  const colors = { right: color("right"), wrong: color("wrong") };
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.font = matrixFont(Math.max(10, Math.min(15, cell / 3.2)));
  const corner = (entry) => [view.left + (entry.predicted - view.x) * cell, view.top + (entry.label - view.y) * cell];
  for (const entry of view.cells.filter(visible)) {
    const [x, y] = corner(entry);
    context.globalAlpha = shade(entry.share);
    context.fillStyle = entry.label === entry.predicted ? colors.right : colors.wrong;
    context.fillRect(x + gap / 2, y + gap / 2, Math.max(1, cell - gap), Math.max(1, cell - gap));
    if (cell < CELL_WITH_COUNT) continue;
    context.globalAlpha = 1;
    const fill = entry.label === entry.predicted ? colors.right : colors.wrong;
    context.fillStyle = readableColor(fill, shade(entry.share));
    const texts = [count(entry.count), scaled(entry.count).replace("\u00a0", "")];
    const text = texts.find((option) => context.measureText(option).width <= cell - 4);
    if (text) context.fillText(text, x + cell / 2, y + cell / 2 + 1);
  }
  context.globalAlpha = 1;
  if (!view.chosen) return;
  const [x, y] = corner(view.chosen);
  const shown = Math.max(cell, 6);
  context.strokeStyle = color("text");
  context.lineWidth = 2;
  context.strokeRect(x + (cell - shown) / 2, y + (cell - shown) / 2, shown, shown);
  context.lineWidth = 1;
}

/** Return which of the two colors of text has the higher contrast to a cell with this color and opacity. */
function readableColor(fill, opacity) {
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) =>
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue) + 0.05;
  const ground = channels(color("inset"));
  const mixed = luminance(channels(fill).map((part, index) => opacity * part + (1 - opacity) * ground[index]));
  const contrast = (text) => Math.max(mixed, luminance(channels(text))) / Math.min(mixed, luminance(channels(text)));
  const [text, other] = [color("text"), color("on-color")];
  return contrast(text) >= contrast(other) ? text : other;
}

function paintLabels(view, context) {
  const cell = cellSize(view);
  context.font = matrixFont(11);
  context.fillStyle = color("muted");
  context.textBaseline = "alphabetic";
  context.textAlign = "right";
  context.fillText(`${t("confusion.label_axis")} ↓`, view.left - 6, view.top - 6);
  context.textAlign = "left";
  context.fillText(`${t("confusion.predicted_axis")} →`, view.left, 12);
  if (!view.labeled) return;
  context.fillStyle = color("text");
  context.font = matrixFont();
  context.textBaseline = "middle";
  for (let index = Math.ceil(view.x - 0.5); index + 0.5 < view.x + view.classes / view.zoom; index += 1) {
    const x = view.left + (index + 0.5 - view.x) * cell;
    context.save();
    context.translate(x, view.top - 8);
    if (!view.flat) context.rotate(-Math.PI / 2);
    context.textAlign = view.flat ? "center" : "left";
    context.fillText(
      fittingText(view, context, className(index), view.flat ? cell : view.top - 28),
      0,
      view.flat ? -4 : 0,
    );
    context.restore();
  }
  context.textAlign = "right";
  for (let index = Math.ceil(view.y - 0.5); index + 0.5 < view.y + view.classes / view.zoom; index += 1) {
    const y = view.top + (index + 0.5 - view.y) * cell;
    context.fillText(fittingText(view, context, className(index), view.left - 12), view.left - 8, y);
  }
}

/** Return a text that is cut to a width. */
function fittingText(view, context, text, width) {
  const key = `${Math.round(width)} ${text}`;
  if (!view.texts.has(key)) {
    let letters = [...text.slice(0, 200)];
    let fitting = text;
    while (letters.length && context.measureText(fitting).width > width) {
      letters = letters.slice(0, -1);
      fitting = `${letters.join("")}…`;
    }
    view.texts.set(key, fitting);
  }
  return view.texts.get(key);
}
