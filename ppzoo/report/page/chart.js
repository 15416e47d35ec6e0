// Charts in SVG: axes, lines, and values that are read by mouse, touch and arrow keys.

const STYLES = 6;

/** Return about `count` round numbers between low and high. */
function ticks(low, high, count = 5, integers = false) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  if (integers) step = Math.max(1, Math.round(step));
  const found = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1)
    found.push(index * step + 0);
  return found;
}

/** Return a range that begins and ends at round numbers and is not empty. */
function roundRange(values) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  const step = ticks(low, high)
    .slice(0, 2)
    .reduce((first, second) => second - first);
  return [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step];
}

/** Return the text of a tick, with as many digits as it needs to differ from its neighbors. */
function tickText(value, all) {
  const step = all.length > 1 ? Math.abs(all[1] - all[0]) : Math.abs(value) || 1;
  const largest = Math.max(...all.map(Math.abs));
  if (largest > 0 && (largest < 0.001 || largest >= 1e6))
    return value === 0 ? "0" : exponential(value, step);
  const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9)));
  return value.toLocaleString(LANGUAGE, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Return the shortest text such as "9.5e-5" that differs from the value by less than a hundredth of the step. */
function exponential(value, step) {
  const texts = [0, 1, 2, 3, 4, 5, 6].map((digits) => value.toExponential(digits));
  return texts.find((text) => Math.abs(Number(text) - value) < step / 100) ?? texts.at(-1);
}

/**
 * Draw grid and axes, and return the functions x and y from values to pixels, and the edges.
 * axes: { x: [low, high], y: [low, high], xTitle, yTitle, xText(value), yText(value), integers }; with integers, the
 * ticks of x are integers.
 */
function drawAxes(root, width, height, axes) {
  const yTicks = ticks(...axes.y, 7); // not 5: roundRange adds up to two steps to a range of about five
  const yTexts = yTicks.map((value) => (axes.yText ? axes.yText(value) : tickText(value, yTicks)));
  const left = 14 + 7 * Math.max(...yTexts.map((text) => text.length));
  const edges = { left, right: width - 22, top: axes.yTitle ? 26 : 10, bottom: height - 42 };
  const x = (value) => left + ((value - axes.x[0]) / (axes.x[1] - axes.x[0])) * (edges.right - left);
  const y = (value) => edges.bottom - ((value - axes.y[0]) / (axes.y[1] - axes.y[0])) * (edges.bottom - edges.top);
  const xTicks = ticks(...axes.x, Math.max(2, Math.floor((edges.right - left) / 54)), axes.integers);
  const grid = svg("g", { class: "grid" });
  const label = (className, at, text, anchor) =>
    svg("text", { class: className, x: at[0], y: at[1], "text-anchor": anchor }, text);
  yTicks.forEach((value, index) => {
    grid.append(svg("line", { x1: left, x2: edges.right, y1: y(value), y2: y(value) }));
    grid.append(label("tick", [left - 8, y(value) + 4], yTexts[index], "end"));
  });
  for (const value of xTicks) {
    const text = axes.xText ? axes.xText(value) : tickText(value, xTicks);
    grid.append(svg("line", { class: "mark", x1: x(value), x2: x(value), y1: edges.bottom, y2: edges.bottom + 5 }));
    grid.append(label("tick", [x(value), edges.bottom + 19], text, "middle"));
  }
  grid.append(svg("line", { class: "axis", x1: left, x2: edges.right, y1: edges.bottom, y2: edges.bottom }));
  grid.append(
    label("axis-title", [edges.right, height - 6], axes.xTitle, "end"),
    label("axis-title", [0, 12], axes.yTitle, "start"),
  );
  root.append(grid);
  return { x, y, ...edges };
}

/**
 * Return a chart that is redrawn at each width.
 * options: { label, height(width) }. draw(root, width, height) returns { points: [[x, y]], show(index), byX }:
 * points are pixels that can be inspected, the nearest one by x alone if byX is true. show returns
 * { lines, marks, line }: the tooltip's lines, [x, y] of the marks, and [top, bottom] of a vertical line, if any.
 */
function chart(options, draw) {
  const root = svg("svg", { role: "img", tabindex: "0", "aria-label": `${options.label}. ${t("chart.keys")}` });
  const box = el("div", { class: "chart" }, root);
  let drawn = null;
  whenSized(box, (width) => {
    const height = options.height ? options.height(width) : Math.round(Math.max(220, Math.min(320, width * 0.5)));
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    root.replaceChildren();
    drawn = { ...draw(root, width, height), width };
    drawn.marks = svg("g", { class: "marks" });
    root.append(drawn.marks);
  });
  inspectable(root, () => drawn);
  return box;
}

/** Show the values of the nearest point: on hover, on touch, and by arrow keys. */
function inspectable(root, current) {
  let index = null;
  const hide = () => {
    current()?.marks.replaceChildren();
    hideTip();
  };
  const show = (next) => {
    const drawn = current();
    if (!drawn?.points.length) return;
    index = Math.max(0, Math.min(drawn.points.length - 1, next));
    const { lines, marks, line } = drawn.show(index);
    const [x, y] = drawn.points[index];
    const guide = line && svg("line", { class: "guide", x1: x, x2: x, y1: line[0], y2: line[1] });
    drawn.marks.replaceChildren(
      ...[guide, ...marks.map(([cx, cy]) => svg("circle", { cx, cy, r: 5 }))].filter(Boolean),
    );
    const box = root.getBoundingClientRect();
    const ratio = box.width / drawn.width;
    showTip(box.left + x * ratio, box.top + (marks[0]?.[1] ?? y) * ratio, lines);
  };
  const point = (event) => {
    const drawn = current();
    if (!drawn) return;
    const box = root.getBoundingClientRect();
    const ratio = drawn.width / box.width;
    const nearest = nearestPoint(drawn, (event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio);
    if (nearest === null) hide();
    else show(nearest);
  };
  root.addEventListener("pointermove", point);
  root.addEventListener("pointerdown", point);
  // After a touch, the values stay until the page is scrolled or touched somewhere else.
  root.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && hide());
  root.addEventListener("blur", hide);
  root.addEventListener("keydown", (event) => {
    const last = (current()?.points.length ?? 1) - 1;
    const next = { ArrowRight: (index ?? -1) + 1, ArrowLeft: (index ?? last + 1) - 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") hide();
    if (next === undefined) return;
    event.preventDefault();
    show(next);
  });
}

function nearestPoint({ points, byX }, x, y) {
  let [best, distance] = [null, byX ? Infinity : 24];
  points.forEach(([px, py], index) => {
    const away = byX ? Math.abs(px - x) : Math.hypot(px - x, py - y);
    if (away < distance) [best, distance] = [index, away];
  });
  return best;
}

/**
 * Return a figure with lines over a common x.
 * options: { title, xTitle, yTitle, series: [{ title, points: [[x, y]] }], x and y: [low, high], integers,
 * xText(x) and yText(y) for ticks, value(y) and lines(x) for the tooltip }.
 * Titles are strings; names of files are escaped. Colors and dashes, from page.css, repeat after six series.
 */
function lineChart(options) {
  const { series } = options;
  const all = series.flatMap(({ points }) => points);
  const xs = [...new Set(all.map(([x]) => x))].sort((a, b) => a - b);
  const xRange = options.x ?? (xs.length > 1 ? [xs[0], xs.at(-1)] : [xs[0] - 0.5, xs[0] + 0.5]);
  const yRange = options.y ?? roundRange(all.map(([, y]) => y));
  const axes = { ...options, x: xRange, y: yRange };
  const box = chart({ label: options.title }, (root, width, height) => {
    const scale = drawAxes(root, width, height, axes);
    series.forEach(({ points }, index) => root.append(drawLine(points, scale, index)));
    const show = (index) => {
      const found = series.flatMap(({ title, points }) =>
        points.filter(([x]) => x === xs[index]).map(([, y]) => [title, y]),
      );
      const head = el(
        "strong",
        null,
        `${options.xTitle} ${options.xText ? options.xText(xs[index]) : count(xs[index])}`,
      );
      const rows = found.map(([title, y]) => [title, (options.value ?? metric)(y)]);
      const marks = found.map(([, y]) => [scale.x(xs[index]), scale.y(y)]);
      return { lines: [head, ...rows, ...(options.lines?.(xs[index]) ?? [])], marks, line: [scale.top, scale.bottom] };
    };
    return { points: xs.map((x) => [scale.x(x), (scale.top + scale.bottom) / 2]), show, byX: true };
  });
  return el(
    "figure",
    { class: "panel" },
    el("figcaption", null, options.title),
    series.length > 1 ? legend(series) : null,
    box,
  );
}

function drawLine(points, scale, index) {
  const at = points.map(([x, y]) => `${scale.x(x).toFixed(1)},${scale.y(y).toFixed(1)}`);
  const group = svg("g", { class: `series series-${index % STYLES}` }, svg("polyline", { points: at.join(" ") }));
  if (points.length <= 30)
    points.forEach(([x, y]) => group.append(svg("circle", { cx: scale.x(x), cy: scale.y(y), r: 3 })));
  return group;
}

function legend(series) {
  const key = (index) => {
    const line = svg("line", { x1: 1, x2: 23, y1: 5, y2: 5 });
    return svg("svg", { class: `key series-${index % STYLES}`, viewBox: "0 0 24 10", "aria-hidden": "true" }, line);
  };
  return el(
    "ul",
    { class: "legend" },
    series.map(({ title }, index) => el("li", null, key(index), name(title))),
  );
}
