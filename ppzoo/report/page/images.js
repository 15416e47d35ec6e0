// Sections of the report: gallery and two-dimensional map.

const GALLERY = ["highest_loss", "least_confident", "confidently_wrong"];

function hasGallery() {
  return GALLERY.some((key) => DATA.gallery?.[key]?.length);
}

function galleryImages() {
  return GALLERY.flatMap((key) => DATA.gallery?.[key] ?? []);
}

function drawGallery(section) {
  if (galleryImages().some(({ overlay }) => overlay)) {
    const show = (on) => {
      for (const image of section.querySelectorAll("img[data-index]")) {
        const entry = galleryImages()[image.dataset.index];
        image.src = (on && entry.overlay) || entry.thumbnail;
      }
    };
    section.append(el("p", null, t("gallery.text")), switchButton(t("gallery.overlay"), show));
  }
  let index = 0;
  for (const key of GALLERY.filter((kind) => DATA.gallery[kind]?.length)) {
    section.append(el("h3", null, t(`gallery.${key}`)), el("p", { class: "muted" }, t(`gallery.${key}_text`)));
    section.append(
      el(
        "div",
        { class: "gallery" },
        DATA.gallery[key].map((image) => galleryFigure(image, index++)),
      ),
    );
  }
}

/** Return the last two parts of a path, folder and file, which differ between images. */
function fileEnd(path) {
  const parts = path.split(/[\\/]/);
  return parts.length > 2 ? `…/${parts.slice(-2).join("/")}` : path;
}

/** Return an image with its label, prediction and values; the index finds its overlay. */
function galleryFigure(image, index = null) {
  const plain = (label) => [label].flat().map(className).join(", ");
  const description = t("gallery.alt", {
    file: image.file,
    label: plain(image.label),
    predicted: plain(image.predicted),
  });
  const picture = image.thumbnail
    ? el("img", { src: image.thumbnail, alt: description, title: image.file, "data-index": index })
    : el("p", { class: "lost", title: image.file }, t("gallery.lost"));
  const { correct } = image; // not label === predicted: labels can be unknown for some classes
  const row = (title, value) => [el("dt", null, title), el("dd", null, value)];
  const mark = el(
    "span",
    { class: correct ? "mark right" : "mark wrong" },
    t(correct ? "gallery.right" : "gallery.wrong"),
  );
  const values = el(
    "dl",
    null,
    row(t("gallery.label"), el("span", { class: "clipped" }, classNames(image.label))),
    row(t("gallery.predicted"), el("span", { class: "clipped" }, classNames(image.predicted))),
    row(t("gallery.confidence"), metric(image.confidence)),
    row(t("metric.loss"), metric(image.loss)),
  );
  return el(
    "figure",
    { class: "image" },
    picture,
    el("figcaption", null, mark, values, el("small", null, name(fileEnd(image.file)))),
  );
}

// Map

const HUES = 8;
const NO_CLASS = -1; // of an image without labels
const SHAPES = ["M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-4,-4h8v8h-8z", "M0,-5L5,4H-5z", "M0,-5.5L5.5,0L0,5.5L-5.5,0z"];

function shapeOf(index) {
  return SHAPES[Math.floor(index / HUES) % SHAPES.length];
}

function drawMap(section) {
  const { map } = DATA;
  section.append(el("p", null, t(`map.${map.method}`), BETWEEN_SENTENCES, t("map.text")));
  let highlighted = null;
  let points = [];
  const labelOf = ([, , label]) => [label].flat()[0] ?? NO_CLASS;
  const dim = () => {
    const other = (point) => highlighted !== null && ![point[2]].flat().includes(highlighted);
    points.forEach((path, index) => path.classList.toggle("dim", other(map.points[index])));
  };
  const box = chart(
    { label: t("map.title"), height: (width) => Math.max(300, Math.min(560, width * 0.62)) },
    (root, width, height) => {
      const at = mapScale(map.points, width, height);
      points = map.points.map((point) => mapPoint(point, at(point), labelOf(point)));
      root.append(
        svg("rect", { class: "frame", x: 0.5, y: 0.5, width: width - 1, height: height - 1, rx: 6 }),
        ...points,
      );
      dim();
      const show = (index) => ({ lines: mapLines(map.points[index]), marks: [at(map.points[index])] });
      return { points: map.points.map(at), show };
    },
  );
  const select = (index) => {
    highlighted = index;
    dim();
  };
  section.append(
    ...mapLegend(
      [...new Set(map.points.map(labelOf))].sort((a, b) => a - b),
      select,
    ),
  );
  section.append(el("figure", { class: "panel map" }, box));
}

function mapScale(points, width, height) {
  const range = (axis) => {
    const values = points.map((point) => point[axis]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return low === high ? [low - 1, high + 1] : [low, high];
  };
  const [x, y] = [range(0), range(1)];
  const toPixel = (value, [low, high], size) => 14 + ((value - low) / (high - low)) * (size - 28);
  return (point) => [toPixel(point[0], x, width), height - toPixel(point[1], y, height)];
}

function mapPoint([, , label, predicted], [x, y], index) {
  const wrong = String(label) !== String(predicted); // numbers, or lists of them
  const transform = `translate(${x.toFixed(1)} ${y.toFixed(1)})`;
  const hue = index === NO_CLASS ? "no-class" : `hue-${index % HUES}`;
  const shape = index === NO_CLASS ? SHAPES[0] : shapeOf(index);
  return svg("path", { class: `point ${hue}${wrong ? " wrong" : ""}`, d: shape, transform });
}

function mapLines([, , label, predicted]) {
  const row = (title, value) => el("div", null, el("span", null, title), el("b", null, value));
  return [row(t("gallery.label"), classNames(label)), row(t("gallery.predicted"), classNames(predicted))];
}

/** Return the classes of the map, with a list that highlights one of them. */
function mapLegend(all, select) {
  const indices = all.filter((index) => index !== NO_CLASS);
  const distinct = indices.every((index) => index < HUES * SHAPES.length);
  const key = (index) =>
    svg(
      "svg",
      { class: `key hue-${index % HUES}`, viewBox: "-7 -7 14 14", "aria-hidden": "true" },
      svg("path", { d: shapeOf(index) }),
    );
  const items = distinct ? indices.map((index) => el("li", null, key(index), clipped(className(index)))) : [];
  const wrong = svg(
    "svg",
    { class: "key wrong", viewBox: "-7 -7 14 14", "aria-hidden": "true" },
    svg("path", { d: SHAPES[0] }),
  );
  items.push(el("li", null, wrong, t("map.wrong")), distinct ? null : el("li", null, t("map.repeated")));
  const options = indices.map((index) => el("option", { value: index }, className(index)));
  const list = el("select", null, el("option", { value: "" }, t("map.all")), options);
  list.addEventListener("change", () => select(list.value === "" ? null : Number(list.value)));
  return [el("label", { class: "choice" }, t("map.highlight"), list), el("ul", { class: "legend" }, items)];
}
