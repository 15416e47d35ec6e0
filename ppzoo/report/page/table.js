// Tables that are sorted by click and keyboard, searched, and limited to a number of rows.

/**
 * Return a table.
 * columns: [{ key, title, number: true for numbers, value(row), cell(row) -> node or text, hint }].
 * options: { caption, sort: [key, "ascending" | "descending"], limit, search(row) -> text, pick(row) on click }.
 */
function sortableTable(columns, rows, options) {
  const state = { key: options.sort[0], order: options.sort[1], limit: options.limit ?? 20, text: "" };
  const body = el("tbody");
  const headers = columns.map((column) => headerCell(column, state, () => draw()));
  const table = el("table", null, el("caption", { class: "hidden" }, options.caption));
  table.append(el("thead", null, el("tr", null, headers)), body);
  const status = el("span", { role: "status" });
  const more = el("button", { type: "button" }, t("table.more"));
  const all = el("button", { type: "button" });
  const foot = el("div", { class: "table-foot" }, status, more, all);

  function draw() {
    const found = matchingRows(rows, options.search, state.text);
    const ordered = sortedRows(
      found,
      columns.find(({ key }) => key === state.key),
      state.order,
    );
    body.replaceChildren(...ordered.slice(0, state.limit).map((row) => bodyRow(columns, row, options.pick)));
    headers.forEach((header, index) => {
      const sorted = columns[index].key === state.key;
      header.setAttribute("aria-sort", sorted ? state.order : "none");
    });
    const shown = Math.min(state.limit, found.length);
    status.replaceChildren(t("table.shown", { shown: count(shown), total: count(found.length) }));
    all.replaceChildren(t("table.all", { total: count(found.length) }));
    more.hidden = found.length <= shown + 50;
    all.hidden = found.length <= shown;
    foot.hidden = !state.text && rows.length <= shown;
  }
  more.addEventListener("click", () => draw((state.limit += 50)));
  all.addEventListener("click", () => draw((state.limit = rows.length)));
  draw();
  const search =
    options.search && rows.length > state.limit && searchField(options.caption, (text) => draw((state.text = text)));
  return el("div", { class: "table" }, search || null, el("div", { class: "scroll" }, table), foot);
}

function headerCell(column, state, draw) {
  const button = el("button", { type: "button", title: column.hint }, column.title);
  button.addEventListener("click", () => {
    const first = column.number ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    state.order = state.key === column.key && state.order === first ? other : first;
    state.key = column.key;
    draw();
  });
  return el("th", { scope: "col", class: column.number ? "number" : null, "data-key": column.key }, button);
}

function bodyRow(columns, row, pick) {
  const cell = (column, index) => {
    const content = column.cell ? column.cell(row) : column.value(row);
    const inner = pick && index === 0 ? el("button", { type: "button", class: "pick" }, content) : content;
    return el(index ? "td" : "th", { scope: index ? null : "row", class: column.number ? "number" : null }, inner);
  };
  return el("tr", pick ? { class: "picks", onclick: () => pick(row) } : null, columns.map(cell));
}

function searchField(label, change) {
  const input = el("input", {
    type: "search",
    placeholder: t("table.search"),
    "aria-label": `${t("table.search")}: ${label}`,
  });
  input.addEventListener("input", () => change(input.value.trim().toLocaleLowerCase(LANGUAGE)));
  return el("div", { class: "search" }, input);
}

function matchingRows(rows, search, text) {
  return text ? rows.filter((row) => search(row).toLocaleLowerCase(LANGUAGE).includes(text)) : [...rows];
}

/** Sort rows; unknown values are last in both orders, and rows with equal values keep their order. */
function sortedRows(rows, column, order) {
  const sign = order === "ascending" ? 1 : -1;
  const compare = column.number ? (a, b) => a - b : new Intl.Collator(LANGUAGE, { numeric: true }).compare;
  return rows.sort((first, second) => {
    const [a, b] = [column.value(first), column.value(second)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * compare(a, b);
  });
}

/** Return a number with a bar below it whose length is a share of the cell's width. */
function barCell(text, share, kind = "") {
  if (share === null || share === undefined) return text;
  const bar = el("i", { class: `bar ${kind}` });
  bar.style.width = `${Math.round(1000 * Math.max(0, Math.min(1, share))) / 10}%`;
  return [text, el("span", { class: "track", "aria-hidden": "true" }, bar)];
}
