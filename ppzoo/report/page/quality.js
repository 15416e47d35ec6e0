// Sections of the report: summary, notes, curves, metrics per class.

function className(index) {
  return visible(DATA.classes[index] ?? String(index));
}

/** Return the name of a class, or the names of several classes. */
function classNames(label) {
  const all = [label].flat();
  if (!all.length) return t("label.none");
  return all.flatMap((index, position) => [position ? ", " : null, name(className(index))]);
}

/** Return the names of the metrics of the whole dataset, the main one first, the loss last: others are in a table. */
function overallMetrics(values) {
  const names = Object.keys(values ?? {}).filter((key) => !key.includes("_class"));
  const rank = (key) => (key === DATA.main ? 0 : key === "loss" ? 2 : 1);
  return names.sort((a, b) => rank(a) - rank(b));
}

// Summary

function drawSummary(section) {
  section.append(el("p", { class: "lead" }, mainSentence(), BETWEEN_SENTENCES, weakestSentence()));
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
  if (DATA.confusion?.every(([label, predicted]) => label === predicted)) return t("summary.perfect");
  if (!weakest) return null;
  const values = { name: el("strong", null, shortName(className(weakest.class))), recall: metric(weakest.recall) };
  if (weakest.mostly === null || weakest.mostly === undefined) return nodes("summary.weakest", values);
  const mostly = { mostly: el("strong", null, shortName(className(weakest.mostly))), share: percent(weakest.share) };
  return nodes("summary.weakest_mostly", { ...values, ...mostly });
}

function drawNotes(section) {
  section.append(
    el(
      "ul",
      { class: "notes" },
      noteTexts(DATA).map((note) => el("li", { dir: "auto" }, note)),
    ),
  );
}

// Curves

function curveKeys() {
  const keys = DATA.curves.flatMap(({ train, eval: evaluation }) => [
    ...Object.keys(train ?? {}),
    ...Object.keys(evaluation ?? {}),
  ]);
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
  const sort = DATA.per_class.every(({ recall }) => recall === null)
    ? ["support", "descending"]
    : ["recall", "ascending"];
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
