"use strict";
// Lists the operations of openapi.json.

function paragraph(text, className = "") {
  const result = document.createElement("p");
  result.textContent = text;
  result.className = className;
  return result;
}

function describe(path, method, operation) {
  const section = document.createElement("section");
  section.className = "operation";
  const title = document.createElement("h2");
  title.textContent = `${method.toUpperCase()} ${path}`;
  section.append(title, paragraph(operation.summary ?? ""));
  if (operation.description) section.append(paragraph(operation.description, "muted"));
  for (const parameter of operation.parameters ?? []) {
    section.append(paragraph(`${parameter.name} (${parameter.in}): ${parameter.description ?? "text"}`, "small"));
  }
  const types = Object.keys(operation.requestBody?.content ?? {});
  if (types.length) section.append(paragraph(`Content-Type: ${types.join(", ")}`, "small"));
  const statuses = Object.entries(operation.responses ?? {}).filter(([status]) => status !== "422");
  section.append(
    paragraph(statuses.map(([status, response]) => `${status} ${response.description}`).join("; "), "small muted"),
  );
  return section;
}

fetch("openapi.json")
  .then((response) => response.json())
  .then((document_) => {
    const sections = Object.entries(document_.paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, operation]) => describe(path, method, operation)),
    );
    document.getElementById("operations").replaceChildren(...sections);
  });
