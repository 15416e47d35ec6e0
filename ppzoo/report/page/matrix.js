// The confusion matrix: a canvas that zooms and pans, the selected pair, and the most confused pairs.

/** Return cells { label, predicted, count, share, total }, by ascending share, so that large ones are painted last. */
function confusionCells() {
  const totals = new Map();
  for (const [label, , number] of DATA.confusion) totals.set(label, (totals.get(label) ?? 0) + number);
  const cells = DATA.confusion.map(([label, predicted, number]) => ({
    label,
    predicted,
    count: number,
    share: number / totals.get(label),
    total: totals.get(label),
  }));
  return cells.sort((a, b) => a.share - b.share);
}

function drawConfusion(section) {
  const cells = confusionCells();
  const details = el(
    "div",
    { class: "pair", "aria-live": "polite" },
    el("p", { class: "muted choose" }, t("confusion.choose")),
  );
  const select = (cell) => details.replaceChildren(...pairDetails(cell));
  const matrix = confusionMatrix(cells, select);
  const pairs = cells.filter(({ label, predicted }) => label !== predicted);
  const list = pairs.length ? pairTable(pairs, matrix.show) : el("p", null, t("confusion.no_errors"));
  section.append(el("p", null, t("confusion.text")));
  const right = el(
    "div",
    { class: "aside" },
    el("div", { class: "selection" }, el("h3", null, t("confusion.pair")), details),
    el("h3", null, t("confusion.pairs")),
    list,
  );
  section.append(el("div", { class: "split wide" }, matrix.element, right));
}

function pairTable(pairs, show) {
  const columns = [
    classColumn(({ label }) => label, "label", t("gallery.label")),
    { ...classColumn(({ predicted }) => predicted, "predicted", t("gallery.predicted")) },
    countColumn("count", t("summary.images"), (cell) => cell.count),
    {
      key: "share",
      title: t("confusion.share"),
      hint: t("confusion.share_hint"),
      number: true,
      value: ({ share }) => share,
      cell: ({ share }) => percent(share),
    },
  ];
  const search = ({ label, predicted }) => `${className(label)} ${className(predicted)}`;
  return sortableTable(columns, pairs.reverse(), {
    caption: t("confusion.pairs"),
    sort: ["count", "descending"],
    limit: 10,
    search,
    pick: show,
  });
}

/** Return a sentence about a cell, and the images of the gallery that belong to it. */
function pairDetails(cell) {
  const values = {
    images: el("strong", null, plural("images", cell.count)),
    label: el("strong", null, shortName(className(cell.label))),
    predicted: el("strong", null, shortName(className(cell.predicted))),
    share: percent(cell.share),
    total: count(cell.total),
  };
  const sentence = el("p", null, nodes(cell.total ? "confusion.sentence" : "confusion.no_images", values));
  const same = (image) => image.label === cell.label && image.predicted === cell.predicted;
  const files = new Map(
    galleryImages()
      .filter(same)
      .map((image) => [image.file, image]),
  );
  if (!files.size) return [sentence];
  return [
    sentence,
    el(
      "div",
      { class: "gallery small" },
      [...files.values()].slice(0, 6).map((image) => galleryFigure(image)),
    ),
  ];
}

/** Return { element, show(cell) }: the canvas with its controls. */
function confusionMatrix(cells, select) {
  const classes = DATA.classes.length;
  const at = new Map(cells.map((cell) => [cell.label * classes + cell.predicted, cell]));
  const totals = new Map(cells.map((cell) => [cell.label, cell.total]));
  const canvas = el("canvas", {
    tabindex: "0",
    role: "img",
    "aria-label": `${t("confusion.title")}. ${t("confusion.keys")}`,
  });
  const view = { canvas, classes, cells, zoom: 1, x: 0, y: 0, chosen: null, width: 0 };
  const cellAt = (label, predicted) =>
    at.get(label * classes + predicted) ?? { label, predicted, count: 0, share: 0, total: totals.get(label) ?? 0 };
  const choose = (cell) => {
    view.chosen = cell;
    paintMatrix(view);
    select(cell);
  };
  const show = (cell) => {
    if (view.size / classes < CELL_WITH_COUNT)
      zoomTo(view, (classes * CELL_WITH_COUNT * 1.5) / view.size, cell.predicted + 0.5, cell.label + 0.5, true);
    choose(cell);
  };
  moveMatrix(view, cellAt, choose);
  const box = el("div", { class: "matrix" }, canvas);
  whenSized(box, (width) => {
    layoutMatrix(view, width);
    paintMatrix(view);
  });
  whenThemed(() => view.width && paintMatrix(view));
  return { element: el("figure", { class: "panel" }, zoomButtons(view), matrixLegend(), box), show };
}

function zoomButtons(view) {
  if (view.classes <= 12) return null;
  const zoom = (factor) => () => {
    const middle = view.classes / view.zoom / 2;
    zoomTo(view, view.zoom * factor, view.x + middle, view.y + middle);
    paintMatrix(view);
  };
  const button = (key, factor) =>
    el(
      "button",
      { type: "button", "aria-label": t(`confusion.${key}`), onclick: zoom(factor) },
      { in: "+", out: "−" }[key],
    );
  const fit = el("button", { type: "button", onclick: zoom(0) }, t("confusion.fit"));
  return el(
    "div",
    { class: "controls" },
    button("in", 2),
    button("out", 0.5),
    fit,
    el("small", null, t("confusion.zoom_hint")),
  );
}

function matrixLegend() {
  const swatches = (kind) =>
    [0.01, 0.1, 0.5, 1].map((share) => {
      const swatch = el("i", { class: `swatch ${kind}` });
      swatch.style.opacity = shade(share);
      return el("span", null, swatch, percent(share, 0));
    });
  const row = (kind) => el("li", null, t(`confusion.${kind}`), swatches(kind));
  return el("ul", { class: "legend" }, row("right"), row("wrong"));
}

// Mouse, touch and keys

function moveMatrix(view, cellAt, choose) {
  const { canvas } = view;
  const pointers = new Map();
  let moved = false;
  const hover = (event) => {
    const point = matrixPoint(view, event);
    if (!point) return hideTip();
    const cell = cellAt(Math.floor(point[1]), Math.floor(point[0]));
    const row = (title, value) => el("div", null, el("span", null, title), el("b", null, value));
    return showTip(event.clientX, event.clientY, [
      row(t("gallery.label"), shortName(className(cell.label))),
      row(t("gallery.predicted"), shortName(className(cell.predicted))),
      [t("summary.images"), count(cell.count)],
      [t("confusion.share"), percent(cell.share)],
    ]);
  };
  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event);
    canvas.setPointerCapture(event.pointerId);
    moved = pointers.size > 1;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return hover(event);
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (!moved && Math.hypot(dx, dy) < 4) return undefined;
    moved = true;
    if (pointers.size > 1) pinch(view, pointers, event);
    else panTo(view, view.x - dx / cellSize(view), view.y - dy / cellSize(view));
    pointers.set(event.pointerId, event);
    hideTip();
    return paintMatrix(view);
  });
  canvas.addEventListener("pointerup", (event) => {
    const point = matrixPoint(view, event);
    if (!moved && point) choose(cellAt(Math.floor(point[1]), Math.floor(point[0])));
    pointers.delete(event.pointerId);
  });
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("dblclick", (event) => zoomAt(view, event, 2));
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoomAt(view, event, event.deltaY < 0 ? 1.25 : 0.8);
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => matrixKey(view, event, cellAt, choose));
}

function zoomAt(view, event, factor) {
  const point = matrixPoint(view, event);
  if (point) zoomTo(view, view.zoom * factor, ...point);
  paintMatrix(view);
}

function pinch(view, pointers, event) {
  const [other] = [...pointers.values()].filter(({ pointerId }) => pointerId !== event.pointerId);
  const before = pointers.get(event.pointerId);
  const distance = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1;
  zoomAt(view, other, distance(event, other) / distance(before, other));
}

function matrixKey(view, event, cellAt, choose) {
  const zoom = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 }[event.key];
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (event.ctrlKey || event.metaKey || (zoom === undefined && !step)) return;
  event.preventDefault();
  const { label, predicted } = view.chosen ?? { label: step ? -step[0] : 0, predicted: step ? -step[1] : 0 };
  if (step) {
    const limit = (index) => Math.max(0, Math.min(view.classes - 1, index));
    const cell = cellAt(limit(label + step[0]), limit(predicted + step[1]));
    const span = view.classes / view.zoom;
    const follow = (first, index) => Math.min(index, Math.max(first, index + 1 - span));
    panTo(view, follow(view.x, cell.predicted), follow(view.y, cell.label));
    choose(cell);
  } else {
    zoomTo(view, view.zoom * zoom, predicted + 0.5, label + 0.5);
    paintMatrix(view);
  }
}
