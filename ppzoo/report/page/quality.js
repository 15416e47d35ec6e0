// Sections of the report: summary, notes, curves, metrics per class, calibration, coverage.

function className(index) {
  return DATA.classes[index] ?? String(index);
}

/** Return the name of a class, or the names of several classes. */
function classNames(label) {
  const all = [label].flat();
  if (!all.length) return t("label.none");
  return all.flatMap((index, position) => [position ? ", " : null, name(className(index))]);
}

/** Return the metrics of the whole dataset: those of single classes are in a table. */
function overallMetrics(values) {
  const names = Object.keys(values ?? {}).filter((key) => !key.includes("_class"));
  const rank = (key) => (key === DATA.main ? 0 : key === "loss" ? 2 : 1);
  return names.sort((a, b) => rank(a) - rank(b));
}

// Summary

function drawSummary(section) {
  section.append(el("p", { class: "lead" }, mainSentence(), " ", weakestSentence()));
  if (DATA.interrupted) {
    section.append(el("p", { class: "banner" }, t("summary.interrupted", numbers(DATA.interrupted))));
  }
  const main = (key) => (key === DATA.main ? t("summary.main_metric") : null);
  const measured = overallMetrics(DATA.metrics).map((key) => [metricName(key), metric(DATA.metrics[key]), main(key)]);
  const { model, calibration, speed } = DATA;
  section.append(
    tiles([
      ...measured,
      calibration && [t("calibration.ece"), metric(calibration.ece)],
      [t("summary.images"), count(DATA.images)],
      [t("summary.classes"), count(DATA.classes.length)],
      model && [t("model.parameters"), scaled(model.parameters)],
      model?.flops && [t("model.flops"), scaled(model.flops)],
      speed?.images_per_second && [t("speed.images_per_second"), short(speed.images_per_second)],
    ]),
  );
}

function numbers(values) {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, count(value)]));
}

function mainSentence() {
  const images = plural("images", DATA.images);
  const key = DATA.main ?? overallMetrics(DATA.metrics)[0];
  if (!key) return t("summary.evaluated", { images });
  const value = el("strong", null, metric(DATA.metrics[key]));
  return nodes("summary.main", { value, metric: metricName(key), images });
}

function weakestSentence() {
  const { weakest } = DATA;
  if (!weakest) return null;
  if (weakest.recall === 1) return t("summary.perfect");
  const values = { name: el("strong", null, name(className(weakest.class))), recall: metric(weakest.recall) };
  if (weakest.mostly === null || weakest.mostly === undefined) return nodes("summary.weakest", values);
  const mostly = { mostly: el("strong", null, name(className(weakest.mostly))), share: percent(weakest.share) };
  return nodes("summary.weakest_mostly", { ...values, ...mostly });
}

function drawNotes(section) {
  section.append(el("ul", { class: "notes" }, DATA.notes.map((note) => el("li", { dir: "auto" }, note))));
}

// Curves

function curveKeys() {
  const keys = DATA.curves.flatMap(({ train, eval: evaluation }) => [...Object.keys(train ?? {}), ...Object.keys(evaluation ?? {})]);
  const base = (key) => (key.endsWith("_ema") && keys.includes(key.slice(0, -4)) ? key.slice(0, -4) : key);
  const names = overallMetrics(Object.fromEntries(keys.map((key) => [base(key), 0])));
  return [...names.filter((key) => key === "loss"), ...names.filter((key) => key !== "loss")];
}

/** Return the points of a curve, [epoch, value]. */
function curve(read) {
  const points = DATA.curves.map((entry) => [entry.epoch, read(entry)]);
  return points.filter(([, value]) => value !== null && value !== undefined);
}

function drawCurves(section) {
  const grid = el("div", { class: "panels" });
  for (const key of curveKeys()) {
    const series = [
      { title: t("curves.train"), points: curve(({ train }) => train?.[key]) },
      { title: t("curves.eval"), points: curve((entry) => entry.eval?.[key]) },
      { title: t("curves.ema"), points: curve((entry) => entry.eval?.[`${key}_ema`]) },
    ].filter(({ points }) => points.length);
    if (series.length) grid.append(epochChart(metricName(key), series, metric));
  }
  const rates = curve(({ lr }) => lr);
  if (rates.length) grid.append(epochChart(t("curves.lr"), [{ title: t("curves.lr"), points: rates }], short));
  section.append(grid);
}

function epochChart(title, series, value) {
  return lineChart({ title, series, value, xTitle: t("curves.epoch"), yTitle: "", integers: true });
}

// Metrics per class

function drawPerClass(section) {
  const value = (key, title, hint) => ({
    key,
    title,
    hint,
    number: true,
    value: (row) => row[key] ?? null,
    cell: (row) => barCell(metric(row[key]), row[key]),
  });
  const columns = [
    classColumn(({ class: index }) => index),
    value("precision", t("per_class.precision"), t("per_class.precision_hint")),
    value("recall", t("per_class.recall"), t("per_class.recall_hint")),
    value("f1", t("per_class.f1"), t("per_class.f1_hint")),
    countColumn("support", t("per_class.support"), ({ support }) => support),
  ];
  const sort = DATA.per_class.every(({ recall }) => recall === null) ? ["support", "descending"] : ["recall", "ascending"];
  section.append(classTable(columns, DATA.per_class, t("per_class.title"), sort));
}

function classColumn(read, key = "class", title = t("label.class")) {
  return { key, title, value: (row) => className(read(row)), cell: (row) => clipped(className(read(row))) };
}

function countColumn(key, title, read) {
  return { key, title, number: true, value: (row) => read(row) ?? null, cell: (row) => count(read(row)) };
}

/** Return a table with one row per class. */
function classTable(columns, rows, caption, sort) {
  return sortableTable(columns, rows, { caption, sort, search: (row) => columns[0].value(row), limit: 20 });
}

function drawLabelConfusion(section) {
  section.append(el("p", null, t("labels.text")));
  const column = (index, key) => countColumn(key, t(`labels.${key}`), (row) => row[index]);
  const columns = [classColumn((row) => row[0]), column(1, "tp"), column(2, "fp"), column(3, "fn"), column(4, "tn")];
  section.append(classTable(columns, DATA.label_confusion, t("labels.title"), ["fn", "descending"]));
}

// Calibration

function drawCalibration(section) {
  const { calibration } = DATA;
  const filled = calibration.bins.filter((bin) => bin.count > 0);
  const total = filled.reduce((sum, bin) => sum + bin.count, 0);
  const gap = filled.reduce((sum, bin) => sum + bin.count * (bin.confidence - bin.accuracy), 0) / total;
  const kind = Math.abs(gap) < 0.0005 ? "matched" : gap > 0 ? "over" : "under";
  const { temperature, ece_scaled: after } = calibration;
  const text = el("div", { class: "aside" }, el("p", null, t("calibration.text")));
  if (total) text.append(el("p", null, t(`calibration.${kind}`, { gap: (100 * Math.abs(gap)).toFixed(1) })));
  text.append(
    tiles([
      [t("calibration.ece"), metric(calibration.ece)],
      temperature && [t("calibration.temperature"), metric(temperature)],
      temperature && [t("calibration.after"), metric(after)],
    ]),
  );
  if (temperature) text.append(el("p", { class: "muted" }, t("calibration.scaling", { temperature: metric(temperature) })));
  section.append(el("div", { class: "split" }, reliabilityDiagram(filled), text));
}

const HISTOGRAM_HEIGHT = 76;

function reliabilityDiagram(bins) {
  const height = (width) => Math.min(width, 400) + HISTOGRAM_HEIGHT;
  const box = chart({ label: t("calibration.diagram"), height }, (root, width, whole) => {
    const titles = { xTitle: t("calibration.confidence"), yTitle: t("calibration.accuracy") };
    const scale = drawAxes(root, width, whole - HISTOGRAM_HEIGHT, { x: [0, 1], y: [0, 1], ...titles });
    root.append(...bins.flatMap((bin) => calibrationBars(bin, scale)));
    const ideal = { class: "ideal", x1: scale.x(0), y1: scale.y(0), x2: scale.x(1), y2: scale.y(1) };
    root.append(svg("line", ideal), histogram(bins, scale, whole));
    const show = (index) => ({ lines: binLines(bins[index]), marks: [binPoint(bins[index], scale)] });
    return { points: bins.map((bin) => [scale.x((bin.lower + bin.upper) / 2), scale.y(bin.accuracy)]), show, byX: true };
  });
  const keys = [["accuracy", "calibration.accuracy"], ["gap", "calibration.gap"], ["ideal", "calibration.ideal"]];
  const items = keys.map(([kind, key]) => el("li", null, el("i", { class: `swatch ${kind}` }), t(key)));
  return el("figure", { class: "panel" }, el("figcaption", null, t("calibration.diagram")), el("ul", { class: "legend" }, items), box);
}

function calibrationBars(bin, scale) {
  const [left, right] = [scale.x(bin.lower) + 1, scale.x(bin.upper) - 1];
  const bar = (kind, low, high) =>
    svg("rect", { class: `bin ${kind}`, x: left, width: Math.max(1, right - left), y: scale.y(high), height: scale.y(low) - scale.y(high) });
  const [low, high] = [bin.accuracy, bin.confidence].sort((a, b) => a - b);
  return [bar("accuracy", 0, bin.accuracy), bar("gap", low, high)];
}

function binPoint(bin, scale) {
  return [scale.x((bin.lower + bin.upper) / 2), scale.y(bin.accuracy)];
}

function binLines(bin) {
  return [
    el("strong", null, t("calibration.bin", { lower: bin.lower.toFixed(2), upper: bin.upper.toFixed(2) })),
    [t("calibration.confidence"), metric(bin.confidence)],
    [t("calibration.accuracy"), metric(bin.accuracy)],
    [t("summary.images"), count(bin.count)],
  ];
}

function histogram(bins, scale, whole) {
  const [top, bottom] = [whole - HISTOGRAM_HEIGHT + 22, whole - 4];
  const most = Math.max(1, ...bins.map((bin) => bin.count));
  const bars = bins.map((bin) => {
    const height = Math.max(1, ((bottom - top) * bin.count) / most);
    const [left, right] = [scale.x(bin.lower) + 1, scale.x(bin.upper) - 1];
    return svg("rect", { class: "bin count", x: left, width: Math.max(1, right - left), y: bottom - height, height });
  });
  const title = svg("text", { class: "axis-title", x: 0, y: top - 8 }, t("calibration.histogram"));
  const axis = svg("line", { class: "axis", x1: scale.left, x2: scale.right, y1: bottom, y2: bottom });
  return svg("g", { class: "grid" }, bars, axis, title);
}

// Accuracy against coverage

function drawCoverage(section) {
  const points = DATA.coverage.filter(({ accuracy }) => accuracy !== null);
  if (!points.length) return;
  const nearest = (share) => points.reduce((a, b) => (Math.abs(b.coverage - share) < Math.abs(a.coverage - share) ? b : a));
  const left = ({ coverage }) => Math.round(DATA.images * (1 - coverage));
  const example = nearest(0.9);
  const values = { threshold: metric(example.threshold), kept: percent(example.coverage), accuracy: metric(example.accuracy) };
  const text = el("div", { class: "aside" }, el("p", null, t("coverage.text")));
  text.append(el("p", null, t("coverage.example", { ...values, left: plural("images", left(example)) })));
  const rows = [...new Set([1, 0.95, 0.9, 0.8, 0.7, 0.5].map(nearest))];
  const column = (key, read, format) => ({ key, title: t(`coverage.${key}`), number: true, value: read, cell: (row) => format(read(row)) });
  const columns = [
    column("kept", (row) => row.coverage, percent),
    column("left", left, count),
    column("threshold", (row) => row.threshold, metric),
    column("accuracy", (row) => row.accuracy, metric),
  ];
  text.append(sortableTable(columns, rows, { caption: t("coverage.title"), sort: ["kept", "descending"] }));
  section.append(el("div", { class: "split" }, coverageChart(points, left), text));
}

function coverageChart(points, left) {
  const at = new Map(points.map((point) => [point.coverage, point]));
  return lineChart({
    title: t("coverage.chart"),
    series: [{ title: t("coverage.accuracy"), points: points.map(({ coverage, accuracy }) => [coverage, accuracy]) }],
    x: [0, 1],
    xTitle: t("coverage.kept"),
    yTitle: t("coverage.accuracy"),
    xText: (share) => percent(share, Number.isInteger(Math.round(share * 1e6) / 1e4) ? 0 : 1),
    lines: (share) => [
      [t("coverage.threshold"), metric(at.get(share).threshold)],
      [t("coverage.left"), count(left(at.get(share)))],
    ],
  });
}
