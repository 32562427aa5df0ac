// The bar above the gallery: search, order, and filters by kind, flag, label, brightness and tile.

import { element } from "./dom.js";
import { ARTEFACTS, noFilters } from "./filters.js";

const KEYS = [["/", "search"], ["← →", "walk"], ["+ −", "size"]];

/** {node, search, show(state)}; `changed` is called after each change of `state`, which is changed in place. */
export function filterForm(schema, state, changed, count, keys = KEYS) {
  const parts = [searchField, orderField, kindField, magnitudeField, labelField, tileField, flagField, scoreField]
    .map((make) => make(schema, state, changed))
    .filter(Boolean);
  const [search, ...others] = parts.map((part) => part.node);
  const show = (now) => parts.forEach((part) => part.show(now));
  const clear = () => {
    state.filters = noFilters();
    show(state);
    changed();
  };
  const node = element("form", { class: "filters", role: "search", "aria-label": "Filter and sort", onsubmit: (event) => event.preventDefault() },
    search,
    // Folded on a phone, where it would fill the first screen; elsewhere the style hides the summary.
    element("details", { class: "others", open: matchMedia("(min-width: 700px)").matches }, element("summary", {}, "Sort and filter"), element("div", { class: "fields" }, others)),
    element("div", { class: "result" }, count, element("button", { type: "button", onclick: clear }, "Show all"),
      element("span", { class: "keys soft" }, keys.map(([key, words]) => [element("kbd", {}, key), ` ${words} `]))));
  show(state);
  return { node, search: node.querySelector("input[type=search]"), show };
}

function field(words, ...inside) {
  return element("label", { class: "field" }, element("span", {}, words), ...inside);
}

function searchField(schema, state, changed) {
  const input = element("input", { type: "search", placeholder: "name, tile, or 150.12 +2.21 30\"", oninput: () => {
    state.filters.text = input.value;
    changed();
  } });
  return { node: field("Name or position", input), show: (now) => (input.value = now.filters.text) };
}

function orderField(schema, state, changed) {
  const sortable = schema.columns.filter(({ kind }) => kind !== "flag");
  const select = element("select", { onchange: () => {
    state.order = select.value;
    // What is more anomalous comes first: scores fall, ranks and p-values rise.
    state.descending = /_sigma$/.test(select.value) || schema.raw_scores.includes(select.value);
    button.setAttribute("aria-pressed", state.descending);
    changed();
  } }, sortable.map(({ name }) => element("option", { value: name }, name)));
  const button = element("button", { type: "button", class: "turn", title: "Largest first", "aria-label": "Largest first", onclick: () => {
    state.descending = !state.descending;
    button.setAttribute("aria-pressed", state.descending);
    changed();
  } }, "↓");
  const node = element("div", { class: "field" }, element("label", {}, element("span", {}, "Sort by"), select), button);
  return { node, show: (now) => {
    select.value = now.order;
    button.setAttribute("aria-pressed", now.descending);
  } };
}

function kindField(schema, state, changed) {
  if (!schema.classes.length) return null;
  const boxes = schema.classes.map((name) => {
    const box = element("input", { type: "checkbox", onchange: () => {
      state.filters.not = schema.classes.filter((other, i) => !boxes[i].box.checked);
      show(state);
      changed();
    } });
    return { name, box, node: element("label", { class: `chip ${name}` }, box, name) };
  });
  const button = element("button", { type: "button", class: "preset", onclick: () => {
    const there = ARTEFACTS.filter((name) => schema.classes.includes(name));
    state.filters.not = there.every((name) => state.filters.not.includes(name)) ? [] : there;
    show(state);
    changed();
  } }, "Galaxies only");
  const show = (now) => {
    boxes.forEach(({ name, box }) => (box.checked = !now.filters.not.includes(name)));
    button.setAttribute("aria-pressed", ARTEFACTS.every((name) => now.filters.not.includes(name) || !schema.classes.includes(name)));
  };
  return { show, node: element("fieldset", { class: "field" }, element("legend", {}, "Most probably"), button, boxes.map(({ node }) => node)) };
}

function range(words, column, state, changed, unit = "") {
  const set = () => {
    const [from, to] = [low, high].map((input) => (input.value.trim() === "" ? null : Number(input.value)));
    if (from === null && to === null) delete state.filters.ranges[column()];
    else state.filters.ranges[column()] = [from, to];
    changed();
  };
  const input = (which) => element("input", { type: "number", step: "any", placeholder: which, "aria-label": `${words}: ${which}`, oninput: set });
  const [low, high] = [input("from"), input("to")];
  const show = (now) => {
    const [from, to] = now.filters.ranges[column()] ?? [null, null];
    low.value = from ?? "";
    high.value = to ?? "";
  };
  return { show, inputs: [low, " – ", high, unit] };
}

function magnitudeField(schema, state, changed) {
  if (!schema.magnitude) return null;
  const made = range("Magnitude", () => schema.magnitude, state, changed);
  return { show: made.show, node: element("fieldset", { class: "field" }, element("legend", {}, `Magnitude (${schema.magnitude})`), made.inputs) };
}

function scoreField(schema, state, changed) {
  const numbers = schema.columns.filter(({ kind, name }) => kind === "number" && name !== schema.magnitude);
  const select = element("select", { "aria-label": "Column of the range", onchange: () => made.show(state) }, numbers.map(({ name }) => element("option", { value: name }, name)));
  const made = range("Range", () => select.value, state, changed);
  select.value = numbers.some(({ name }) => name === "anomaly_score_sigma") ? "anomaly_score_sigma" : select.value;
  const show = (now) => {
    const set = Object.keys(now.filters.ranges).find((name) => name !== schema.magnitude && numbers.some((column) => column.name === name));
    if (set) select.value = set;
    made.show(now);
  };
  return { show, node: element("fieldset", { class: "field" }, element("legend", {}, "Range of"), select, made.inputs) };
}

function labelField(schema, state, changed) {
  if (!schema.labels.length) return null;
  const select = element("select", { onchange: () => {
    state.filters.label = select.value;
    changed();
  } }, element("option", { value: "" }, "any"), schema.labels.map((name) => element("option", { value: name }, name)));
  return { node: field("Label", select), show: (now) => (select.value = now.filters.label) };
}

function tileField(schema, state, changed) {
  if (schema.tiles.length < 2) return null;
  const input = element("input", { type: "text", list: "tiles", placeholder: "any", onchange: () => {
    state.filters.tile = input.value.trim();
    changed();
  } });
  const names = element("datalist", { id: "tiles" }, schema.tiles.slice(0, 2000).map((name) => element("option", { value: name })));
  return { node: element("div", { class: "field" }, element("label", {}, element("span", {}, "Tile"), input), names), show: (now) => (input.value = now.filters.tile) };
}

function flagField(schema, state, changed) {
  const names = Object.keys(schema.flags);
  if (!names.length) return null;
  const selects = names.map((name) => {
    const select = element("select", { onchange: () => {
      state.filters.without = names.filter((_, i) => selects[i].value === "without");
      state.filters.only = names.filter((_, i) => selects[i].value === "only");
      show(state);
      changed();
    } }, [["", "any"], ["without", "without"], ["only", "only with"]].map(([value, words]) => element("option", { value }, words)));
    return select;
  });
  const summary = element("summary", {}, "Flags");
  const show = (now) => {
    selects.forEach((select, i) => (select.value = now.filters.without.includes(names[i]) ? "without" : now.filters.only.includes(names[i]) ? "only" : ""));
    const set = now.filters.without.length + now.filters.only.length;
    summary.textContent = set ? `Flags (${set})` : "Flags";
  };
  const node = element("details", { class: "field menu" }, summary,
    element("div", { class: "drop" }, names.map((name, i) => element("label", {}, selects[i], schema.flags[name].words))));
  return { node, show };
}
