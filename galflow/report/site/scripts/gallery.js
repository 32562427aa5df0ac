// The page Anomalies: all objects that the source has, as pictures, sorted and filtered.

import { element, fill, settled, typing } from "./dom.js";
import { explorerBar } from "./explorer_bar.js";
import { filterForm } from "./filter_form.js";
import { fromAddress, toAddress } from "./filters.js";
import { Grid } from "./grid.js";
import { significant, sigmas } from "./numbers.js";
import { nameOf, thumbnail } from "./thumbnail.js";

const SIZES = [96, 132, 190, 260];

export async function gallery(source, place) {
  const schema = await source.schema();
  const state = readState(schema);
  const count = element("output", { class: "count", role: "status" });
  const list = element("ul", { class: "grid", "aria-label": "Objects" });
  const form = filterForm(schema, state, () => changed(), count);
  const empty = element("p", { class: "empty", hidden: true }, "No object passes these filters.");
  const bar = source.check ? explorerBar(source, schema, state, () => changed()) : null;
  bar?.show(state);
  fill(place, bar?.node, form.node, element("div", { class: "viewport" }, list), empty);

  const fetch = async (offset, limit) => {
    const started = performance.now();
    const found = await source.rows({ where: state.filters, order: state.order, descending: state.descending, offset, limit });
    const all = schema.rows.toLocaleString("en");
    count.textContent = `${found.total.toLocaleString("en")} of ${source.check ? `${all} rows` : `the ${all} highest-ranked objects`}`;
    count.dataset.milliseconds = (performance.now() - started).toFixed(1);
    count.dataset.asked = Number(count.dataset.asked ?? 0) + 1;
    empty.hidden = found.total > 0;
    return found;
  };
  const size = () => ({ least: SIZES[state.size], caption: 44, gap: 10 });
  const grid = new Grid(list, size(), fetch, (row, at) => cell(source, schema, row, state, at));
  // A service is not asked at each letter; what lies in the browser answers at once.
  const apply = settled(() => grid.reset(), source.check ? 160 : 30);
  function changed() {
    const view = { sort: state.order, down: state.descending ? 1 : "", size: state.size };
    history.replaceState(null, "", `#${toAddress(state.filters, view)}`);
    grid.size = size();
    bar?.show(state);
    apply();
  }
  addEventListener("hashchange", () => {
    Object.assign(state, readState(schema));
    form.show(state);
    bar?.show(state);
    grid.size = size();
    grid.reset();
  });
  document.addEventListener("keydown", (event) => key(event, grid, form, state, changed));
  await grid.reset();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

function readState(schema) {
  const words = new URLSearchParams(location.hash.replace(/^#/, ""));
  const order = schema.columns.some(({ name }) => name === words.get("sort")) ? words.get("sort") : "anomaly_rank";
  const size = Number(words.get("size") ?? 1);
  const descending = words.get("down") === "1";
  return { filters: fromAddress(location.hash), order, descending, size: size in SIZES ? size : 1 };
}

/** One object: its picture, and below it the rank, what it is sorted by, and what it is taken for. */
function cell(source, schema, row, state, at) {
  const words = `${nameOf(row)}, rank ${row.anomaly_rank ?? "none"}`;
  const value = state.order === "anomaly_rank" ? sigmas(row.anomaly_score_sigma) : significant(row[state.order]);
  const address = `object.html#${new URLSearchParams({ id: row.object_id })}&${toAddress(state.filters, { sort: state.order, down: state.descending ? 1 : "" })}`;
  const brightness = schema.magnitude && row[schema.magnitude] !== null ? `${row[schema.magnitude].toFixed(1)} mag` : "";
  return element("li", {},
    element("a", { href: address, title: words, tabindex: at === 0 ? 0 : -1 },
      thumbnail(source, schema, row, words),
      element("span", { class: "line" }, element("b", {}, `#${row.anomaly_rank ?? "–"}`), element("span", {}, value)),
      element("span", { class: "line soft" }, element("span", {}, brightness), element("span", { class: `kind ${row.triage ?? ""}` }, row.label ?? row.triage ?? ""))));
}

/** Arrows walk through the grid, / searches, + and - change the size. */
function key(event, grid, form, state, changed) {
  if (typing(event)) return;
  const at = Number(document.activeElement?.closest("[data-place]")?.dataset.place ?? -1);
  const { across } = grid.layout;
  const page = across * Math.max(1, Math.floor(innerHeight / grid.layout.height) - 1);
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, PageDown: page, PageUp: -page, l: 1, h: -1, j: across, k: -across };
  if (event.key in steps && (at >= 0 || "lhjk".includes(event.key))) grid.go(at < 0 ? 0 : at + steps[event.key]);
  else if (event.key === "Home" && at >= 0) grid.go(0);
  else if (event.key === "End" && at >= 0) grid.go(grid.total - 1);
  else if (event.key === "/") form.search.focus();
  else if ("+-".includes(event.key)) {
    state.size = Math.max(0, Math.min(SIZES.length - 1, state.size + (event.key === "+" ? 1 : -1)));
    changed();
  } else return;
  event.preventDefault();
}
