// The explorer's page Table: rows and columns of the catalogue, sorted by a click, a page at a time.

import { element, fill, settled, typing } from "./dom.js";
import { explorerBar } from "./explorer_bar.js";
import { filterForm } from "./filter_form.js";
import { fromAddress, toAddress } from "./filters.js";
import { significant } from "./numbers.js";
import { thumbnail } from "./thumbnail.js";

const ROWS = 50;
const POSITIONS = new Set(["ra", "dec"]);
const FIRST = ["object_id", "ra", "dec", "tile", "anomaly_rank", "anomaly_score_sigma", "anomaly_q", "triage", "flags"];

export async function tablePage(source, place) {
  const schema = await source.schema();
  const state = readState(schema);
  const count = element("output", { class: "count", role: "status" });
  const head = element("thead", {});
  const body = element("tbody", {});
  const form = filterForm(schema, state, () => changed(), count, [["/", "search"], ["p", "page before"], ["n", "next page"]]);
  const bar = explorerBar(source, schema, state, () => changed());
  const pager = element("nav", { class: "tools", "aria-label": "Pages of the table" });
  const chooser = columnChooser(schema, state, () => changed(false));
  fill(place, bar.node, form.node, element("div", { class: "tools" }, pager, chooser),
    element("div", { class: "scroll rows", tabindex: 0, role: "region", "aria-label": "Rows" }, element("table", { class: "data" }, head, body)));

  let asked = 0;
  const apply = settled(show, 60);
  function changed(fromTheTop = true) {
    if (fromTheTop) state.offset = 0;
    const view = { sort: state.order, down: state.descending ? 1 : "", at: state.offset || "", columns: state.columns.join(",") };
    history.replaceState(null, "", `#${toAddress(state.filters, view)}`);
    bar.show(state);
    apply();
  }
  async function show() {
    const mine = ++asked;
    const started = performance.now();
    const question = { where: state.filters, order: state.order, descending: state.descending };
    const found = await source.rows({ ...question, offset: state.offset, limit: ROWS, columns: [...new Set([...shownColumns(state), "object_id", "row"])] });
    if (mine !== asked) return;
    count.textContent = `${found.total.toLocaleString("en")} of ${schema.rows.toLocaleString("en")}`;
    count.dataset.milliseconds = (performance.now() - started).toFixed(1);
    drawHead(head, schema, state, changed);
    fill(body, found.rows.map((row) => line(source, schema, state, row)));
    drawPager(pager, state, found.total, () => changed(false));
  }
  document.addEventListener("keydown", (event) => {
    if (typing(event)) return;
    if (event.key === "/") form.search.focus();
    else if (event.key === "PageDown" || event.key === "n") pager.querySelector("[data-step='1']")?.click();
    else if (event.key === "PageUp" || event.key === "p") pager.querySelector("[data-step='-1']")?.click();
    else return;
    event.preventDefault();
  });
  bar.show(state);
  await show();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

function readState(schema) {
  const words = new URLSearchParams(location.hash.replace(/^#/, ""));
  const there = new Set(schema.columns.map(({ name }) => name));
  const chosen = (words.get("columns")?.split(",") ?? [...FIRST, schema.magnitude]).filter((name) => there.has(name));
  const order = there.has(words.get("sort")) ? words.get("sort") : "anomaly_rank";
  return { filters: fromAddress(location.hash), order, descending: words.get("down") === "1", offset: Number(words.get("at") ?? 0), columns: chosen };
}

function drawHead(head, schema, state, changed) {
  const column = (name) => schema.columns.find((one) => one.name === name);
  const cell = (name) => {
    const { unit, description, kind } = column(name);
    const sorted = state.order === name ? (state.descending ? "descending" : "ascending") : null;
    const turn = () => {
      state.descending = state.order === name ? !state.descending : /_sigma$/.test(name) || schema.raw_scores.includes(name);
      state.order = name;
      changed();
    };
    return element("th", { scope: "col", class: kind === "text" ? "" : "n", "aria-sort": sorted, title: description },
      element("button", { type: "button", onclick: turn }, name, sorted ? (state.descending ? " ↓" : " ↑") : "", unit ? element("small", {}, ` ${unit}`) : null));
  };
  fill(head, element("tr", {}, element("th", { scope: "col" }, element("span", { class: "soft" }, "picture")), shownColumns(state).map(cell)));
}

/** The chosen columns, and the one that the rows are sorted by. */
function shownColumns({ columns, order }) {
  return [...new Set([...columns, order])];
}

function line(source, schema, state, row) {
  const address = `object.html#${new URLSearchParams({ id: row.object_id })}&${toAddress(state.filters, { sort: state.order, down: state.descending ? 1 : "" })}`;
  const cell = (name) => {
    const value = row[name];
    const { kind } = schema.columns.find((one) => one.name === name);
    if (name === "object_id") return element("td", {}, element("a", { href: address }, value));
    if (kind === "flag") return element("td", { class: "n", title: flagWords(schema, value) }, value ?? "–");
    if (kind !== "number" || typeof value !== "number") return element("td", {}, value === null ? "–" : String(value));
    return element("td", { class: "n" }, POSITIONS.has(name) ? value.toFixed(6) : significant(value, 4));
  };
  return element("tr", {}, element("td", { class: "small" }, element("a", { href: address, tabindex: -1, "aria-hidden": "true" }, thumbnail(source, schema, row, ""))), shownColumns(state).map(cell));
}

function flagWords(schema, value) {
  return Object.values(schema.flags).filter(({ bit }) => value & bit).map(({ words }) => words).join(", ") || "no flag";
}

function drawPager(pager, state, total, changed) {
  const last = Math.max(0, Math.floor((total - 1) / ROWS) * ROWS);
  const go = (offset) => () => {
    state.offset = Math.max(0, Math.min(last, offset));
    changed();
  };
  const button = (words, label, offset, step) => element("button", { type: "button", "aria-label": label, "data-step": step, disabled: offset < 0 || offset > last || offset === state.offset, onclick: go(offset) }, words);
  const input = element("input", { type: "number", min: 1, max: Math.max(1, total), value: Math.min(total, state.offset + 1), "aria-label": "First row of the page", onchange: () => go(Math.floor((Number(input.value) - 1) / ROWS) * ROWS)() });
  fill(pager, button("⇤", "First page", 0, null), button("← Before", "Page before", state.offset - ROWS, -1), button("Next →", "Next page", state.offset + ROWS, 1),
    button("⇥", "Last page", last, null), element("label", {}, "row ", input), element("span", { class: "soft" }, `to ${Math.min(total, state.offset + ROWS).toLocaleString("en")} of ${total.toLocaleString("en")}`));
}

function columnChooser(schema, state, changed) {
  const box = ({ name, unit, description }) => element("label", { title: description }, element("input", { type: "checkbox", checked: state.columns.includes(name), onchange: ({ target }) => {
    state.columns = target.checked ? [...state.columns, name] : state.columns.filter((other) => other !== name);
    changed();
  } }), ` ${name}`, unit ? element("small", { class: "soft" }, ` ${unit}`) : null);
  return element("details", { class: "field menu" }, element("summary", {}, "Shown columns"), element("div", { class: "drop" }, schema.columns.map(box)));
}
