// Sections of the report: calibration, accuracy against coverage.

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
  if (temperature)
    text.append(el("p", { class: "muted" }, t("calibration.scaling", { temperature: metric(temperature) })));
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
    return {
      points: bins.map((bin) => [scale.x((bin.lower + bin.upper) / 2), scale.y(bin.accuracy)]),
      show,
      byX: true,
    };
  });
  const keys = [
    ["accuracy", "calibration.accuracy"],
    ["gap", "calibration.gap"],
    ["ideal", "calibration.ideal"],
  ];
  const items = keys.map(([kind, key]) => el("li", null, el("i", { class: `swatch ${kind}` }), t(key)));
  return el(
    "figure",
    { class: "panel" },
    el("figcaption", null, t("calibration.diagram")),
    el("ul", { class: "legend" }, items),
    box,
  );
}

function calibrationBars(bin, scale) {
  const [left, right] = [scale.x(bin.lower) + 1, scale.x(bin.upper) - 1];
  const bar = (kind, low, high) =>
    svg("rect", {
      class: `bin ${kind}`,
      x: left,
      width: Math.max(1, right - left),
      y: scale.y(high),
      height: scale.y(low) - scale.y(high),
    });
  const [low, high] = [bin.accuracy, bin.confidence].sort((a, b) => a - b);
  const level = { class: "level", x1: left, x2: right, y1: scale.y(bin.accuracy), y2: scale.y(bin.accuracy) };
  return [bar("accuracy", 0, bin.accuracy), bar("gap", low, high), svg("line", level)];
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

function coveragePoints() {
  return (DATA.coverage ?? []).filter(({ accuracy }) => accuracy !== null);
}

function drawCoverage(section) {
  const points = coveragePoints();
  const nearest = (share) =>
    points.reduce((a, b) => (Math.abs(b.coverage - share) < Math.abs(a.coverage - share) ? b : a));
  const left = ({ coverage }) => Math.round(DATA.images * (1 - coverage));
  const example = nearest(0.9);
  const values = {
    threshold: metric(example.threshold),
    kept: percent(example.coverage),
    accuracy: metric(example.accuracy),
  };
  const text = el("div", { class: "aside" }, el("p", null, t("coverage.text")));
  text.append(el("p", null, t("coverage.example", { ...values, left: plural("images", left(example)) })));
  const rows = [...new Set([1, 0.95, 0.9, 0.8, 0.7, 0.5].map(nearest))];
  const column = (key, read, format) => ({
    key,
    title: t(`coverage.${key}`),
    number: true,
    value: read,
    cell: (row) => format(read(row)),
  });
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
