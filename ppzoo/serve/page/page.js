"use strict";
// The page to drop an image on. All texts of the service are inserted as text, never as HTML.

const element = (id) => document.getElementById(id);
let models = [];
let image = null;
let hasPreview = false; // whether the browser can show the image
let best = null; // index and name of the most probable class of the image
let latest = 0; // number of the latest prediction; an older one that arrives later is ignored

function headers() {
  return element("token").value ? { Authorization: `Bearer ${element("token").value}` } : {};
}

async function request(path, options = {}, read = (response) => response.json()) {
  const response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  if (response.ok) return read(response);
  const content = await response.json();
  throw Object.assign(new Error(content.error || `status ${response.status}`), { status: response.status });
}

function postImage(operation, read) {
  const model = encodeURIComponent(element("model").value);
  const headers = { "Content-Type": "application/octet-stream" };
  return request(`v1/models/${model}:${operation}`, { method: "POST", body: image, headers }, read);
}

function showStatus(text, isError = false) {
  element("status").textContent = text;
  element("status").className = isError ? "error" : "muted";
}

function selectedModel() {
  return models.find((candidate) => candidate.name === element("model").value);
}

function describeModel() {
  const model = selectedModel();
  element("grad-cam").disabled = !model?.grad_cam;
  element("about").textContent =
    model && model.class_num
      ? `${model.class_num} classes, images of ${model.image_shape[1]} x ${model.image_shape[2]} pixels, engine ${model.engine}`
      : "";
  best = null;
  explain();
}

async function loadModels() {
  try {
    models = (await request("v1/models")).models;
  } catch (error) {
    showStatus(error.message, true);
    return;
  }
  element("model").replaceChildren(...models.map((model) => new Option(model.name, model.name)));
  describeModel();
  if (image) predict();
}

function showClasses(prediction) {
  const rows = prediction.class_ids.map((id, index) => {
    const item = document.createElement("li");
    const row = document.createElement("div");
    row.className = "row";
    const name = document.createElement("span");
    name.textContent = (prediction.label_names || [])[index] ?? `class ${id}`;
    const score = document.createElement("span");
    score.textContent = `${(100 * prediction.scores[index]).toFixed(1)}%`;
    row.append(name, score);
    const meter = document.createElement("meter");
    meter.value = prediction.scores[index];
    meter.setAttribute("aria-label", name.textContent);
    item.append(row, meter);
    return item;
  });
  element("classes").replaceChildren(...rows);
}

function showOverlay(source) {
  const overlay = element("overlay");
  URL.revokeObjectURL(overlay.src);
  overlay.hidden = !source;
  element("preview").hidden = Boolean(source) || !hasPreview;
  if (source) overlay.src = source;
}

function showOverlayStatus(text, isError = false) {
  element("overlay-status").textContent = text;
  element("overlay-status").className = isError ? "small error" : "small muted";
}

async function explain() {
  const number = latest;
  const model = selectedModel();
  showOverlay(null);
  showOverlayStatus(model && !model.grad_cam && model.grad_cam_problem ? `Grad-CAM is not available: ${model.grad_cam_problem}` : "");
  if (!element("grad-cam").checked || !model?.grad_cam || !best) return;
  const { id, name } = best;
  showOverlayStatus("Drawing Grad-CAM ...");
  const isCurrent = () => number === latest && element("grad-cam").checked;
  try {
    const picture = await postImage(`explain?class_id=${id}`, (response) => response.blob());
    if (!isCurrent()) return;
    showOverlay(URL.createObjectURL(picture));
    showOverlayStatus(`Grad-CAM of ${name}`);
  } catch (error) {
    if (isCurrent()) showOverlayStatus(error.message, true);
  }
}

async function predict() {
  const number = ++latest;
  best = null;
  explain();
  const topk = encodeURIComponent(element("topk").value || 5);
  showStatus("Predicting ...");
  element("classes").replaceChildren();
  try {
    const started = performance.now();
    const content = await postImage(`predict?topk=${topk}`);
    if (number !== latest) return;
    const total = performance.now() - started;
    const prediction = content.predictions[0];
    showClasses(prediction);
    const id = prediction.class_ids[0];
    best = id === undefined ? null : { id, name: (prediction.label_names || [])[0] ?? `class ${id}` };
    explain();
    showStatus(`${content.milliseconds.toFixed(1)} ms in the service, ${total.toFixed(1)} ms with the transfer`);
  } catch (error) {
    if (number === latest) showStatus(error.message, true);
  }
}

function choose(file) {
  if (!file) return;
  image = file;
  const preview = element("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  hasPreview = true;
  preview.onerror = () => {
    hasPreview = false;
    preview.hidden = true;
  };
  showOverlay(null);
  element("hint").textContent = file.name || "pasted image";
  if (models.length) predict();
}

const drop = element("drop");
element("options").addEventListener("submit", (event) => event.preventDefault());
element("file").addEventListener("change", (event) => choose(event.target.files[0]));
element("model").addEventListener("change", () => (describeModel(), image && predict()));
element("topk").addEventListener("change", () => image && predict());
element("token").addEventListener("change", loadModels);
element("grad-cam").addEventListener("change", explain);
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") choose(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => choose(event.clipboardData.files[0]));

// The description of the service states whether a token is needed, so no request has to fail first.
fetch("openapi.json")
  .then((response) => response.json())
  .then((description) => {
    if (!description.components?.securitySchemes) return loadModels();
    element("token-label").hidden = false;
    showStatus("Enter the token of the service.");
  });
