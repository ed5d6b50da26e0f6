// Renders /openapi.json as a page to read: operations by tag, with parameters, bodies, answers and a
// call to copy. It loads nothing from elsewhere, and builds elements, never markup from text.
"use strict";

const METHODS = ["get", "head", "post", "put", "patch", "delete"];
const FOLD_DEPTH = 2; // deeper objects start folded

/** el makes an element: properties first, then children; strings become text. */
function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (key === "class") node.className = value;
    else if (value !== undefined && value !== null) node.setAttribute(key, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== "") node.append(child);
  }
  return node;
}

/** prose turns `code` marks of a description into elements. */
function prose(text) {
  return (text || "").split(/(`[^`]+`)/).map((part) =>
    part.length > 2 && part.startsWith("`") && part.endsWith("`") ? el("code", {}, part.slice(1, -1)) : part);
}

class Reference {
  constructor(doc) {
    this.doc = doc;
    this.entries = [];
  }

  /** resolve follows a $ref; name is that of the component, for its heading. */
  resolve(schema) {
    let name = "";
    while (schema && schema.$ref) {
      const path = schema.$ref.replace(/^#\//, "").split("/");
      name = path[path.length - 1];
      schema = path.reduce((at, key) => (at || {})[key.replace(/~1/g, "/").replace(/~0/g, "~")], this.doc);
    }
    return { schema: schema || {}, name };
  }

  typeOf(raw) {
    const { schema, name } = this.resolve(raw);
    let types = [].concat(schema.type || (schema.properties ? "object" : "any"));
    const nullable = types.includes("null");
    types = types.filter((t) => t !== "null");
    let text = types.join(" or ");
    if (types[0] === "array") text = "array of " + this.typeOf(schema.items || {});
    else if (name) text = name;
    else if (schema.additionalProperties && typeof schema.additionalProperties === "object") {
      text = "map of string to " + this.typeOf(schema.additionalProperties);
    } else if (schema.format) text += " (" + schema.format + ")";
    return nullable ? text + " or null" : text;
  }

  limits(raw) {
    const { schema } = this.resolve(raw);
    const told = [];
    if (schema.enum) told.push("one of " + schema.enum.join(", "));
    if (schema.default !== undefined) told.push("default " + JSON.stringify(schema.default));
    if (schema.minimum !== undefined) told.push("at least " + schema.minimum);
    if (schema.maximum !== undefined) told.push("at most " + schema.maximum);
    if (schema.minLength) told.push("at least " + schema.minLength + " characters");
    if (schema.maxLength) told.push("at most " + schema.maxLength + " characters");
    if (schema.pattern) told.push("matches " + schema.pattern);
    const example = schema.example !== undefined ? schema.example : (schema.examples || [])[0];
    if (example !== undefined) told.push("for example " + JSON.stringify(example));
    return told.length ? el("span", { class: "limits" }, told.join(" · ")) : null;
  }

  row(name, schema, required, description, depth, seen) {
    return el("tr", {},
      el("td", {}, el("code", {}, name), required && !this.answer ? el("span", { class: "must" }, "required") : null,
        el("span", { class: "type" }, this.typeOf(schema))),
      el("td", {}, prose(description || this.resolve(schema).schema.description), this.limits(schema),
        this.nested(schema, depth + 1, seen)));
  }

  /** nested shows the fields below an object, an array or a map of objects. */
  nested(raw, depth, seen) {
    let { schema, name } = this.resolve(raw);
    while (schema.type === "array" || [].concat(schema.type).includes("array") ||
      (schema.additionalProperties && typeof schema.additionalProperties === "object" && !schema.properties)) {
      ({ schema, name } = this.resolve(schema.items || schema.additionalProperties));
    }
    if (!schema.properties || seen.includes(name || schema)) return null;
    const fields = this.fields(schema, depth, seen.concat(name || schema));
    if (depth < FOLD_DEPTH) return fields;
    return el("details", {}, el("summary", {}, "fields of " + (name || "the object")), fields);
  }

  fields(schema, depth, seen) {
    const rows = Object.entries(schema.properties).map(([name, property]) =>
      this.row(name, property, (schema.required || []).includes(name), property.description, depth, seen));
    return el("div", { class: depth ? "fields" : "" }, el("table", {}, el("tbody", {}, rows)));
  }

  body(content, answer) {
    return Object.entries(content || {}).map(([type, media]) => {
      this.answer = answer;
      const shape = media.schema ? this.nested(media.schema, 0, []) : null;
      this.answer = false;
      const plain = media.schema && !shape && this.typeOf(media.schema) !== "any" ? ": " + this.typeOf(media.schema) : "";
      return el("div", {}, el("div", { class: "media" }, type + plain), shape, this.examples(media));
    });
  }

  examples(media) {
    const named = Object.entries(media.examples || {}).map(([name, e]) => [e.summary || name, this.resolve(e).schema.value]);
    if (media.example !== undefined) named.unshift(["Example", media.example]);
    return named.map(([name, value]) => el("details", {}, el("summary", {}, name),
      el("pre", {}, el("code", {}, typeof value === "string" ? value : JSON.stringify(value, null, 2)))));
  }

  parameters(operation) {
    const list = (operation.parameters || []).map((p) => this.resolve(p).schema);
    const places = [["path", "Path"], ["query", "Query"], ["header", "Headers"], ["cookie", "Cookies"]];
    return places.map(([place, title]) => {
      const rows = list.filter((p) => p.in === place)
        .map((p) => this.row(p.name, p.schema || {}, p.required, p.description, 1, []));
      return rows.length ? [el("h4", {}, title), el("table", {}, el("tbody", {}, rows))] : [];
    });
  }

  responses(operation) {
    const rows = Object.entries(operation.responses || {}).map(([status, raw]) => {
      const answer = this.resolve(raw).schema;
      const kind = status < "400" ? "ok" : status < "500" ? "bad" : "broken";
      const problem = Object.keys(answer.content || {}).every((t) => t.includes("problem"));
      const headers = Object.entries(answer.headers || {}).map(([name, h]) => {
        const header = this.resolve(h).schema;
        return this.row(name, header.schema || {}, false, header.description, 1, []);
      });
      return el("div", { class: "response" },
        el("span", { class: "status " + kind }, status), el("span", {}, prose(answer.description)),
        headers.length ? el("details", {}, el("summary", {}, "headers"), el("table", {}, el("tbody", {}, headers))) : null,
        problem && answer.content ? null : this.body(answer.content, true));
    });
    return rows.length ? [el("h4", {}, "Answers"), rows] : [];
  }

  /** call is the operation as a command to copy. */
  call(method, path, operation) {
    const parts = ["curl" + ({ get: "", head: " --head" }[method] ?? " -X " + method.toUpperCase())];
    if ((operation.security || []).length) parts.push('-H "Authorization: Bearer $DA_TOKEN"');
    const media = ((operation.requestBody || {}).content || {})["application/json"];
    if (media) {
      parts.push("-H 'Content-Type: application/json'");
      const example = media.example !== undefined ? media.example : this.sample(media.schema, []);
      parts.push("-d '" + JSON.stringify(example).replace(/'/g, "'\\''") + "'");
    }
    const query = (operation.parameters || []).filter((p) => p.in === "query" && p.required).map((p) => p.name + "=…");
    parts.push("'" + location.origin + path + (query.length ? "?" + query.join("&") : "") + "'");
    return el("pre", {}, el("code", {}, parts.join(" \\\n  ")));
  }

  /** sample invents a value that fits a schema, for the command. */
  sample(raw, seen) {
    const { schema, name } = this.resolve(raw);
    if (schema.example !== undefined) return schema.example;
    if ((schema.examples || []).length) return schema.examples[0];
    if (schema.default !== undefined) return schema.default;
    if (schema.enum) return schema.enum[0];
    const type = [].concat(schema.type)[0];
    if (name && seen.includes(name)) return null;
    const below = seen.concat(name || []);
    if (type === "array") return [this.sample(schema.items || {}, below)];
    if (schema.properties) {
      const required = Object.entries(schema.properties).filter(([key]) => (schema.required || []).includes(key));
      return Object.fromEntries(required.map(([key, value]) => [key, this.sample(value, below)]));
    }
    return { string: "…", integer: 1, number: 1, boolean: true, object: {} }[type] ?? null;
  }

  gate(operation) {
    const gate = operation["x-gate"] || ((operation.security || []).length ? "user" : "public");
    const text = { public: "public", user: "signed in", admin: "admin" }[gate] || gate;
    return el("span", { class: "gate " + gate }, text);
  }

  operation(method, path, operation) {
    const id = operation.operationId || method + path;
    const card = el("section", { class: "operation", id },
      el("div", { class: "head" }, el("span", { class: "verb " + method }, method.toUpperCase()),
        el("a", { class: "path", href: "#" + id }, path), this.gate(operation)),
      el("h3", {}, operation.summary || id), operation.description ? el("p", {}, prose(operation.description)) : null,
      this.call(method, path, operation), this.parameters(operation),
      operation.requestBody ? [el("h4", {}, "Body"), this.body(operation.requestBody.content)] : null,
      this.responses(operation));
    const link = el("a", { class: "op", href: "#" + id },
      el("span", { class: "verb " + method }, method.toUpperCase()), el("span", {}, operation.summary || path));
    const text = [method, path, operation.summary, operation.description].join(" ").toLowerCase();
    const entry = { card, link, text };
    this.entries.push(entry);
    return entry;
  }

  render(list, main) {
    const info = this.doc.info || {};
    document.getElementById("version").textContent = info.version || "";
    main.replaceChildren(el("header", {}, el("h1", {}, info.title || "API"), el("p", {}, prose(info.description)),
      el("p", {}, "The document behind this page: ", el("a", { href: "/openapi.json" }, "openapi.json"), ", ",
        el("a", { href: "/openapi.yaml" }, "openapi.yaml"), ".")));
    const byTag = new Map((this.doc.tags || []).map((tag) => [tag.name, { tag, operations: [] }]));
    for (const [path, item] of Object.entries(this.doc.paths || {})) {
      for (const method of METHODS.filter((m) => item[m])) {
        const name = (item[method].tags || ["Other"])[0];
        if (!byTag.has(name)) byTag.set(name, { tag: { name }, operations: [] });
        byTag.get(name).operations.push([method, path, item[method]]);
      }
    }
    this.groups = [];
    for (const { tag, operations } of byTag.values()) {
      if (!operations.length) continue;
      const entries = operations.map((o) => this.operation(...o));
      const heading = el("h2", {}, tag.name);
      const side = el("div", {}, heading, entries.map((e) => e.link));
      const section = el("section", { class: "group" }, el("h2", {}, tag.name), el("p", {}, prose(tag.description)),
        entries.map((e) => e.card));
      list.append(side);
      main.append(section);
      this.groups.push({ side, section, entries });
    }
    this.empty = el("div", { class: "none", hidden: "" }, "Nothing matches.");
    list.append(this.empty);
  }

  /** filter shows the operations that hold every word. */
  filter(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { side, section, entries } of this.groups) {
      let some = false;
      for (const e of entries) {
        const match = words.every((w) => e.text.includes(w));
        e.link.hidden = e.card.hidden = !match;
        e.link.style.display = match ? "" : "none";
        some = some || match;
        shown += match ? 1 : 0;
      }
      side.hidden = section.hidden = !some;
    }
    this.empty.hidden = shown > 0;
  }

  /** follow marks the operation that is being read. */
  follow() {
    const watch = new IntersectionObserver((changes) => {
      for (const change of changes) {
        if (!change.isIntersecting) continue;
        for (const e of this.entries) e.link.classList.toggle("on", e.card === change.target);
      }
    }, { rootMargin: "0px 0px -75% 0px" });
    for (const e of this.entries) watch.observe(e.card);
  }
}

async function start() {
  const main = document.getElementById("main");
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error("status " + answer.status);
    const reference = new Reference(await answer.json());
    reference.render(document.getElementById("list"), main);
    const search = document.getElementById("search");
    search.addEventListener("input", () => reference.filter(search.value));
    document.addEventListener("keydown", (e) => {
      if (e.key === "/" && document.activeElement !== search) {
        e.preventDefault();
        search.focus();
      }
    });
    reference.follow();
    if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView({ behavior: "instant" });
  } catch (problem) {
    main.replaceChildren(el("p", {}, "The OpenAPI document could not be loaded (" + problem.message + "). Reload the page to try again."));
  }
}

start();
