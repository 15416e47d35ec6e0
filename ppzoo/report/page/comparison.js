// The comparison of runs: results, differences in the configurations, curves, and tests on the same images.

const CURVES = 6; // the series that have a color
const runs = DATA.runs;
const runTitle = (index) => t("comparison.run", { n: index + 1 });

/** Return a run as it is named in the tables, with its folder as a hint. */
function runName(index) {
  return el("span", { title: visible(runs[index].folder) }, runTitle(index));
}

function drawRuns(section) {
  section.append(
    el("ol", null, runs.map(({ folder }) => el("li", null, name(folder)))),
    plainTable(t("comparison.results"), [t("comparison.result"), ...runs.map((_, index) => runName(index))], resultRows(), "number"),
  );
  const notes = runs.flatMap((run, index) => noteTexts(run).map((text) => `${runTitle(index)}${t("comparison.colon")}${text}`));
  if (notes.length)
    section.append(el("ul", { class: "notes" }, notes.map((note) => el("li", { dir: "auto" }, note))));
}

function resultRows() {
  const row = (title, read) => [title, ...runs.map((run) => read(run))];
  const best = (run) => (run.best === null ? DASH : `${metricName(run.main)} ${metric(run.best)}`);
  const others = [...new Set(runs.flatMap(({ metrics }) => Object.keys(metrics ?? {})))];
  return [
    row(t("comparison.best"), best),
    row(t("comparison.best_epoch"), (run) => count(run.best_epoch)),
    ...others.map((key) => row(metricName(key), (run) => metric(run.metrics?.[key]))),
    row(t("comparison.epochs"), (run) => count(run.epochs)),
    row(t("comparison.seconds"), (run) => duration(run.seconds)),
    row(t("speed.images_per_second"), (run) => count(rounded(run.images_per_second))),
  ];
}

/** Round as the text of `ppzoo compare` does. */
function rounded(number) {
  return number === null ? null : Math.round(number);
}

/** Format a duration as '1:02:03' or '2:03'. */
function duration(seconds) {
  if (seconds === null) return DASH;
  const total = rounded(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(total / 3600), Math.floor(total / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(total % 60)}` : `${minutes}:${two(total % 60)}`;
}

/** Format with two digits: "= 0.041", "= 1.4e-33"; a p-value is never 0. */
function pValue(number) {
  return number ? `= ${Number(number.toPrecision(2))}` : "< 2e-308";
}

/** Return a table without sorting: the first row has the titles, the first column the names of the rows. */
function plainTable(caption, titles, rows, cellClass = null) {
  const head = el("tr", null, titles.map((title, index) => el("th", { scope: "col", class: index ? cellClass : null }, title)));
  const body = rows.map(([first, ...cells]) =>
    el("tr", null, el("th", { scope: "row" }, first), cells.map((cell) => el("td", { class: cellClass }, cell))),
  );
  const table = el("table", null, el("caption", { class: "hidden" }, caption), el("thead", null, head), el("tbody", null, body));
  return el("div", { class: "table" }, el("div", { class: "scroll" }, table));
}

function drawTests(section) {
  for (const test of DATA.tests) section.append(el("p", null, testSentence(test)));
}

function testSentence(test) {
  const [first, second] = [runTitle(0), runTitle(test.second)];
  if (test.problem) {
    const reason = test.problem_values ? noteText(...test.problem_values) : visible(test.problem);
    return `${t("comparison.no_test", { first, second })}${BETWEEN_SENTENCES}${reason}`;
  }
  const [right, other] = test.right.map(count);
  const [only, onlyOther] = test.only.map(count);
  const counts = t("comparison.counts", { images: plural("images", test.images), first, second, right, other, only, onlyOther });
  const key = test.p_value < 0.05 ? "comparison.significant" : "comparison.chance";
  return [counts, t(key, { p: pValue(test.p_value) })].join(BETWEEN_SENTENCES);
}

function drawDifferences(section) {
  if (!DATA.differences.length) {
    section.append(el("p", null, t("comparison.same")));
    return;
  }
  const shown = (value) => (value === null ? DASH : clipped(typeof value === "string" ? value : JSON.stringify(value)));
  const rows = DATA.differences.map(({ key, values }) => [keyName(key), ...values.map(shown)]);
  const table = plainTable(t("comparison.differences"), [t("comparison.key"), ...runs.map((_, index) => runName(index))], rows);
  table.classList.add("settings");
  section.append(table);
}

/** Return the name of a key, whose lines break after dots. */
function keyName(key) {
  const parts = visible(key).split(/(?<=\.)/);
  return el("bdi", { class: "name" }, parts.flatMap((part) => [el("wbr"), part]));
}

function drawRunCurves(section) {
  if (runs.length > CURVES) section.append(el("p", null, t("comparison.first_runs", { n: CURVES })));
  const shown = runs.slice(0, CURVES);
  const keys = (part) => [...new Set(shown.flatMap(({ curves }) => (curves ?? []).flatMap((entry) => Object.keys(entry[part] ?? {}))))];
  const grid = el("div", { class: "panels" });
  for (const part of ["eval", "train"]) {
    for (const key of keys(part).filter((one) => !one.includes("_class")))
      grid.append(...runChart(t("comparison.part", { metric: metricName(key), part: t(`curves.${part}`) }), shown, (entry) => entry[part]?.[key], metric));
  }
  grid.append(...runChart(t("curves.lr"), shown, ({ lr }) => lr, short));
  section.append(grid);
}

/** Return a list with the chart of a value of all runs, or an empty list if no run has it. */
function runChart(title, shown, read, value) {
  const points = ({ curves }) =>
    (curves ?? []).map((entry) => [entry.epoch, read(entry)]).filter(([, y]) => y !== null && y !== undefined);
  const series = shown.map((run, index) => ({ title: runTitle(index), points: points(run) }));
  if (series.every((one) => !one.points.length)) return [];
  return [lineChart({ title, series, value, xTitle: t("curves.epoch"), yTitle: "", integers: true })];
}

drawPage({ title: t("comparison.title", { n: runs.length }), details: [] }, [
  { id: "runs", title: t("comparison.results"), draw: drawRuns },
  { id: "tests", title: t("comparison.tests"), draw: drawTests },
  { id: "differences", title: t("comparison.differences"), draw: drawDifferences },
  runs.some(({ curves }) => curves?.length) ? { id: "run_curves", title: t("curves.title"), draw: drawRunCurves } : null,
]);
