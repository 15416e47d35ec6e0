// The report of a run or an export: which sections there are, and in which order.

const multiLabel = DATA.task === "multi_label";

function filled(list) {
  return Boolean(list?.length);
}

function created() {
  if (!DATA.created) return null;
  const date = new Date(DATA.created);
  return Number.isNaN(date.getTime())
    ? DATA.created
    : date.toLocaleString(LANGUAGE, { dateStyle: "medium", timeStyle: "short" });
}

function section(isShown, id, draw, title = t(`${id}.title`)) {
  return isShown ? { id, title, draw } : null;
}

drawPage(
  {
    title: DATA.title,
    details: [
      t(`header.${DATA.kind === "export" ? "export" : "run"}`),
      name(DATA.source),
      plural("images", DATA.images),
      created(),
    ],
  },
  [
    section(true, "summary", drawSummary),
    section(filled(DATA.notes), "notes", drawNotes),
    section(filled(DATA.curves), "curves", drawCurves),
    section(filled(DATA.per_class), "per_class", drawPerClass),
    section(DATA.confusion && !multiLabel, "confusion", drawConfusion),
    section(filled(DATA.label_confusion), "labels", drawLabelConfusion),
    section(DATA.calibration, "calibration", drawCalibration),
    section(filled(coveragePoints()), "coverage", drawCoverage),
    section(hasGallery(), "gallery", drawGallery),
    section(filled(DATA.map?.points), "map", drawMap),
    section(DATA.data, "data", drawData),
    section(DATA.model || DATA.speed, "model", drawModel),
    section(DATA.config, "config", drawConfig),
    section(DATA.environment, "environment", drawEnvironment),
  ],
);
