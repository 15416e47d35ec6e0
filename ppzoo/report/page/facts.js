// Sections of the report: data, model and speed, configuration, environment.

function drawData(section) {
  const { data } = DATA;
  section.append(el("h3", null, t("data.per_class")), ...imagesPerClass(data));
  if (data.sizes?.length) section.append(el("h3", null, t("data.sizes")), sizesTable(data));
  // Without training data, it is unknown whether there are duplicates.
  if (data.duplicates && data.train) section.append(el("h3", null, t("data.duplicates")), ...duplicates(data));
}

function imagesPerClass({ train, eval: evaluation }) {
  const parts = [
    ["train", train],
    ["eval", evaluation],
  ].filter(([, part]) => part);
  const summary = parts.map(([key, part]) => {
    const [least, most] = [Math.min(...part.per_class), Math.max(...part.per_class)];
    const range = t(least === most ? "data.equal" : "data.range", { least: count(least), most: count(most) });
    return [t(`data.${key}`), count(part.images), range];
  });
  const column = ([key, part]) => {
    const most = Math.max(1, ...part.per_class);
    const value = (index) => part.per_class[index] ?? null;
    const cell = (index) => barCell(count(value(index)), value(index) / most, key);
    return { key, title: t(`data.${key}`), number: true, value, cell };
  };
  const indices = DATA.classes.map((_, index) => index);
  const columns = [classColumn((index) => index), ...parts.map(column)];
  const sort = parts.length ? [parts[0][0], "ascending"] : ["class", "ascending"];
  const curve = indices.length > 20 && parts.length ? sortedCounts(parts) : null;
  return [tiles(summary), curve, classTable(columns, indices, t("data.per_class"), sort)].filter(Boolean);
}

/** Return a chart of the images per class, from the largest class to the smallest. */
function sortedCounts(parts) {
  const series = parts.map(([key, part]) => ({
    title: t(`data.${key}`),
    points: [...part.per_class].sort((a, b) => b - a).map((images, index) => [index + 1, images]),
  }));
  const most = Math.max(...series.flatMap(({ points }) => points.map(([, images]) => images)));
  const y = [0, roundRange([0, most])[1]];
  return lineChart({
    title: t("data.sorted"),
    series,
    y,
    xTitle: t("data.rank"),
    yTitle: t("summary.images"),
    integers: true,
    value: count,
  });
}

function sizesTable({ sizes, measured }) {
  // If there are many sizes, not all of them are listed.
  const total = measured ?? sizes.reduce((sum, [, , images]) => sum + images, 0);
  const most = Math.max(...sizes.map(([, , images]) => images));
  const columns = [
    { key: "size", title: t("data.size"), value: ([width, height]) => `${width} × ${height}` },
    {
      key: "images",
      title: t("summary.images"),
      number: true,
      value: (row) => row[2],
      cell: (row) => barCell(count(row[2]), row[2] / most),
    },
    {
      key: "share",
      title: t("data.share"),
      number: true,
      value: (row) => row[2] / total,
      cell: (row) => percent(row[2] / total),
    },
  ];
  return sortableTable(columns, sizes, { caption: t("data.sizes"), sort: ["images", "descending"], limit: 10 });
}

function duplicates({ duplicates: pairs, duplicate_count: number }) {
  const all = number ?? pairs.length;
  const sentence = el("p", null, all ? plural("data.duplicate_count", all) : t("data.no_duplicates"));
  if (!pairs.length) return [sentence];
  const file = (key) => ({
    key,
    title: t(`data.file_${key}`),
    value: (row) => row[key],
    cell: (row) => name(row[key]),
  });
  const options = {
    caption: t("data.duplicates"),
    sort: ["train", "ascending"],
    limit: 10,
    search: (row) => `${row.train} ${row.eval}`,
  };
  return [sentence, sortableTable([file("train"), file("eval")], pairs, options)];
}

function drawModel(section) {
  const { model, speed } = DATA;
  if (model) {
    const input = model.flops_input ? t("model.at_input", { size: model.flops_input.join(" × ") }) : null;
    section.append(
      tiles([
        [t("model.name"), name(model.name)],
        [t("model.parameters"), scaled(model.parameters), count(model.parameters)],
        model.flops && [t("model.flops"), scaled(model.flops), input],
        model.file_bytes && [t("model.file"), scaled(model.file_bytes, "B")],
      ]),
    );
  }
  if (!speed) return;
  section.append(
    el("h3", null, t("speed.title")),
    tiles([
      speed.images_per_second && [t("speed.images_per_second"), short(speed.images_per_second), batchText(speed)],
      speed.milliseconds_single && [
        t("speed.single"),
        t("speed.milliseconds", { n: short(speed.milliseconds_single) }),
      ],
      speed.engine && [t("speed.engine"), speed.engine],
    ]),
  );
}

function batchText({ batch_size: size }) {
  return size ? t("speed.batch", { n: count(size) }) : null;
}

function drawConfig(section) {
  section.append(
    el("pre", { tabindex: "0", "aria-label": t("config.title") }, DATA.config.split("\n").map(visible).join("\n")),
  );
}

function drawEnvironment(section) {
  const entries = Object.entries(DATA.environment).filter(([, value]) => value !== null);
  const title = (key) => (has(`environment.${key}`) ? t(`environment.${key}`) : key);
  section.append(
    facts(entries.map(([key, value]) => [title(key), typeof value === "number" ? count(value) : name(String(value))])),
  );
}
