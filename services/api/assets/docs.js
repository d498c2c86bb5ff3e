// The reference of the API, made from /openapi.json. Texts go into the page as texts, never as HTML.
"use strict";

const at = (id) => document.getElementById(id);

function make(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

// Words between backticks are code.
const prose = (text) => (text || "").split("`").map((part, at) => (at % 2 ? make("code", { textContent: part }) : part));

const follow = (doc, schema) =>
  schema && schema.$ref ? follow(doc, schema.$ref.slice(2).split("/").reduce((value, part) => value[part], doc)) : schema;

function typeOf(schema) {
  if (!schema) return "any";
  if (schema.$ref) return schema.$ref.split("/").pop().replace(/Input$/, "");
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  const type = Array.isArray(schema.type) ? schema.type.filter((t) => t !== "null").join(" or ") : schema.type || "any";
  return schema.format ? `${type} (${schema.format})` : type;
}

function rows(entries) {
  const body = make("tbody");
  for (const { name, schema, description, required } of entries) {
    const label = make("td", { textContent: name });
    if (required) label.append(make("span", { className: "required", textContent: "required" }));
    body.append(make("tr", {}, label, make("td", { textContent: typeOf(schema) }), make("td", {}, ...prose(description))));
  }
  return make("table", {}, body);
}

function fieldsOf(doc, schema) {
  const found = follow(doc, schema) || {};
  const required = found.required || [];
  return Object.entries(found.properties || {}).map(([name, field]) => (
    { name, schema: field, description: field.description, required: required.includes(name) }));
}

const pretty = (value) => JSON.stringify(value, null, 2);

function tryIt(path, method, operation) {
  const parameters = operation.parameters || [];
  const inputs = new Map();
  const grid = make("div", { className: "fields" });
  parameters.forEach((parameter, index) => {
    const id = `${operation.operationId}-${index}`;
    const example = parameter.in === "path" && parameter.example !== undefined ? parameter.example : "";
    const input = make("input", { id, value: String(example), placeholder: String(parameter.example ?? ""), spellcheck: false });
    inputs.set(parameter, input);
    grid.append(make("label", { htmlFor: id, textContent: `${parameter.name} (${parameter.in})` }), input);
  });
  const media = operation.requestBody && operation.requestBody.content["application/json"];
  const body = media ? make("textarea", { value: pretty(media.example || {}), spellcheck: false, ariaLabel: "Body" }) : null;
  const send = make("button", { className: "send", type: "button", textContent: "Send" });
  const answer = make("div", { ariaLive: "polite" });

  const request = () => {
    let url = path;
    const query = new URLSearchParams();
    const headers = { Authorization: `Bearer ${at("key").value.trim()}` };
    for (const [parameter, input] of inputs) {
      if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value !== "" && parameter.in === "query") query.set(parameter.name, input.value);
      else if (input.value !== "" && parameter.in === "header") headers[parameter.name] = input.value;
    }
    if (body) headers["Content-Type"] = "application/json";
    const target = query.size ? `${url}?${query}` : url;
    return { target, options: { method: method.toUpperCase(), headers, body: body ? body.value : undefined } };
  };

  send.onclick = async () => {
    const { target, options } = request();
    answer.replaceChildren(make("p", { textContent: "..." }));
    try {
      const response = await fetch(target, options);
      const text = await response.text();
      let shown = text;
      try { shown = pretty(JSON.parse(text)); } catch { /* Not JSON: shown as it is. */ }
      const told = ["ratelimit", "ratelimit-policy", "retry-after", "idempotent-replayed"]
        .filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`);
      answer.replaceChildren(
        make("p", { className: "status", textContent: `${response.status} ${response.statusText}` }),
        make("pre", { textContent: [...told, "", shown].join("\n").trim() }));
    } catch (error) {
      answer.replaceChildren(make("p", { className: "status", textContent: `No answer: ${error.message}` }));
    }
  };

  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const curl = make("button", { type: "button", textContent: "as curl" });
  curl.onclick = () => {
    const { target, options } = request();
    const headers = Object.entries(options.headers).map(([name, value]) =>
      `  -H ${name === "Authorization" ? '"Authorization: Bearer $KEY"' : quote(`${name}: ${value}`)}`);
    const lines = [`curl -X ${options.method} ${quote(location.origin + target)}`, ...headers];
    if (options.body !== undefined) lines.push(`  -d ${quote(options.body)}`);
    answer.replaceChildren(make("pre", { textContent: lines.join(" \\\n") }));
  };
  const box = make("details", {}, make("summary", { textContent: "Try it" }), grid);
  if (body) box.append(body);
  box.append(make("p", {}, send, " ", curl), answer);
  return box;
}

function answers(doc, operation) {
  const box = make("details", {}, make("summary", { textContent: "Answers" }));
  for (const [status, response] of Object.entries(operation.responses)) {
    box.append(make("p", {}, make("span", { className: "status", textContent: `${status} ` }), ...prose(response.description)));
    const media = response.content && response.content["application/json"];
    if (media) {
      const fields = fieldsOf(doc, media.schema);
      if (fields.length) box.append(rows(fields));
      box.append(make("pre", { textContent: pretty(media.example) }));
    }
  }
  return box;
}

function describe(doc, path, method, operation) {
  const route = make("p", { className: "route" }, make("span", { className: "method", textContent: method.toUpperCase() }), path);
  const section = make("section", { id: operation.operationId }, make("h3", { textContent: operation.summary }), route,
    make("p", {}, ...prose(operation.description)),
    make("p", { className: "route", textContent: `gRPC ${operation["x-stonechat-rpc"]}` }));
  const parameters = (operation.parameters || []).map((it) => ({ ...it, name: `${it.name} (${it.in})` }));
  if (parameters.length) section.append(rows(parameters));
  const media = operation.requestBody && operation.requestBody.content["application/json"];
  if (media) {
    const fields = fieldsOf(doc, media.schema);
    if (fields.length) section.append(make("p", { textContent: "Body" }), rows(fields));
  }
  section.append(answers(doc, operation), tryIt(path, method, operation));
  return section;
}

function show(doc) {
  const main = at("operations");
  const nav = at("contents");
  main.replaceChildren(make("p", {}, ...prose(doc.info.description)));
  for (const tag of doc.tags) {
    nav.append(make("h2", { textContent: tag.name }));
    main.append(make("h2", { className: "group", textContent: tag.name }), make("p", {}, ...prose(tag.description)));
    for (const [path, operations] of Object.entries(doc.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        if (!operation.tags.includes(tag.name)) continue;
        nav.append(make("a", { href: `#${operation.operationId}`, textContent: operation.summary }));
        main.append(describe(doc, path, method, operation));
      }
    }
  }
  at("search").oninput = ({ target }) => {
    const words = target.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (text) => words.every((word) => text.toLowerCase().includes(word));
    for (const section of main.querySelectorAll("section")) {
      const title = section.querySelector("h3").textContent + section.querySelector(".route").textContent;
      section.hidden = !fits(title);
      nav.querySelector(`a[href="#${section.id}"]`).hidden = section.hidden;
    }
  };
  if (location.hash) at(location.hash.slice(1))?.scrollIntoView();
}

at("show").onclick = ({ target }) => {
  const key = at("key");
  key.type = key.type === "password" ? "text" : "password";
  target.textContent = key.type === "password" ? "show" : "hide";
};

// Only a development server has this.
fetch("/docs/dev.json").then(async (response) => {
  if (response.ok && !at("key").value) at("key").value = (await response.json()).server_key;
}).catch(() => {});
fetch("/openapi.json").then((response) => response.json()).then(show).catch((error) => {
  at("operations").replaceChildren(make("p", { textContent: `The document could not be loaded: ${error.message}` }));
});
