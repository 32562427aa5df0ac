// The explorer's pages of maps: the sky or any two columns, and a model's latents; of millions of rows counts in cells,
// and points on them.

import { element, fill, settled } from "./dom.js";
import { fromAddress, noFilters, toAddress } from "./filters.js";
import { explorerBar } from "./explorer_bar.js";
import { mapButtons } from "./latents_page.js";
import { significant, sigmas } from "./numbers.js";
import { cividis, ends } from "./palette.js";
import { PointMap } from "./point_map.js";
import { nameOf, thumbnail } from "./thumbnail.js";

const CELLS = 256;
const HINT = "Draw a line around points to select them; click a point to open it; wheel or + and − to magnify.";

export async function mapPage(source, place) {
  const schema = await source.schema();
  const axes = numbersOf(schema).map((name) => ({ name, words: withUnit(schema, name) }));
  const first = schema.placed ? ["ra", "dec"] : ["x", "y"];
  await drawnMap(source, schema, place, { axes, first, beside: schema.latents && ["latents.html", "in the latents"] });
}

/** The map of the leading directions of a model's latents. */
export async function latentMapPage(source, place) {
  const schema = await source.schema();
  if (!schema.latents) {
    fill(place, element("p", { class: "empty" }, "This run has no latents that can be read. Name a model that encodes (a VAE, PCA) as output.similar in its specification and run it again: only the latents are made."));
    document.documentElement.dataset.ready = "1";
    return;
  }
  const { model, axes: names, shares, lost } = schema.latents;
  const axes = names.map((name, i) => ({ name, words: `latent direction ${i + 1} of ${model} (${(100 * shares[i]).toFixed(0)}% of the variance)` }));
  const note = lost.length ? element("p", { class: "note" }, `Without latents that can be read: ${lost.join("; ")}.`) : null;
  await drawnMap(source, schema, place, { axes, first: names, beside: ["map.html", "on the sky"], note });
}

/** What of all rows is drawn, and how. */
function drawnWords({ count, whole, ids }, everything) {
  const words = `${count.toLocaleString("en")} rows in view`;
  if (whole) return count || !everything ? words : `${words}: none that is selected has both numbers`;
  const points = ids.length ? `; the ${ids.length.toLocaleString("en")} highest-ranked of them also as points` : "";
  return `${words}, all counted in cells${points}`;
}

const numbersOf = ({ columns }) => columns.filter(({ kind }) => kind === "number").map(({ name }) => name);

function withUnit({ columns }, name) {
  const { unit } = columns.find((one) => one.name === name);
  return unit ? `${name} (${unit})` : name;
}

/** `axes`: what may be across and up, {name, words}; `first`: what is at first; `beside`: address and words of the other map. */
async function drawnMap(source, schema, place, { axes, first, beside, note }) {
  const numbers = numbersOf(schema);
  const state = readState(axes.map(({ name }) => name), numbers, first);
  const choice = (words, key, names) => {
    const select = element("select", { onchange: () => {
      state[key] = select.value;
      changed(key !== "colour");
    } }, names.map((name) => element("option", { value: name }, name)));
    select.value = state[key];
    return element("label", {}, words, select);
  };
  const scale = element("span", { class: "scale" });
  const count = element("output", { class: "count", role: "status" });
  const chosen = element("p", { class: "more", role: "status" }, HINT);
  const bar = explorerBar(source, schema, state, () => changed(true));
  let drawn = null;
  let shown = "";
  let asked = 0;

  const map = new PointMap({ x: "", y: "", words: "Map of two columns: drag to draw a line around points, wheel or + and − to magnify, arrows to move" }, {
    under: (pen, toScreen) => drawn && !drawn.whole && drawDensity(pen, toScreen, drawn, map.axes.flipped),
    viewed: settled((frame) => fetchView([frame.x0, frame.x1, frame.y0, frame.y1]), 120),
    hover: async (id, data, at) => {
      if (id === null) return;
      const { row } = await source.brief(id);
      map.tell(at, thumbnail(source, schema, row, nameOf(row)), element("b", {}, `#${row.anomaly_rank ?? "–"} `), `${sigmas(row.anomaly_score_sigma)}${row.triage ? `, ${row.triage}` : ""}`);
    },
    pick: (id) => location.assign(`object.html#id=${encodeURIComponent(id)}`),
    lasso: async (polygon) => tellLasso(source.lasso(polygon, state.x, state.y)),
  });

  /** How many of the rows in the map lie within a line, and what may be done with them. */
  async function tellLasso(area) {
    const rows = await source.within(state.filters, area);
    const address = toAddress({ ...state.filters, area });
    const link = (page, words) => element("a", { class: "button", href: `${page}#${address}` }, words);
    const narrow = element("button", { type: "button", onclick: () => {
      state.filters.area = area;
      map.clearLasso();
      changed(true);
    } }, "Only these here");
    fill(chosen, element("b", {}, `${rows.toLocaleString("en")} rows within the line `),
      rows ? element("span", { class: "links" }, narrow, link("anomalies.html", "Show them"), link("table.html", "as a table"), beside ? link(...beside) : null) : null);
  }

  /** Whether a line narrows the map already, and what undoes it. */
  function tellArea() {
    const { area } = state.filters;
    const clear = element("button", { type: "button", onclick: () => {
      state.filters.area = null;
      changed(true);
    } }, "All rows again");
    const address = toAddress(state.filters);
    fill(chosen, area ? element("span", { class: "links" }, `Only rows within a line around ${area.x} and ${area.y}; “Take along” takes these. `, clear,
      beside ? element("a", { class: "button", href: `${beside[0]}#${address}` }, `Show them ${beside[1]}`) : null) : HINT);
  }

  async function fetchView(bounds, fit = false) {
    const key = JSON.stringify([bounds, state.x, state.y, state.colour, state.filters]);
    if (key === shown) return;
    shown = key;
    const mine = ++asked;
    const started = performance.now();
    const found = await source.points({ x: state.x, y: state.y, colour: state.colour, where: state.filters, bounds, cells: CELLS });
    if (mine !== asked) return;
    drawn = found;
    drawn.range = ends(found.colour.length ? found.colour : (found.means ?? []));
    count.textContent = drawnWords(found, !bounds);
    count.dataset.milliseconds = (performance.now() - started).toFixed(1);
    fill(scale, significant(drawn.range[0]), element("i", {}), significant(drawn.range[1]));
    if (fit) {
      const [x0, x1, y0, y1] = found.bounds;
      const [dx, dy] = [0.03 * (x1 - x0), 0.03 * (y1 - y0)];
      map.axes.frame = { x0: x0 - dx, x1: x1 + dx, y0: y0 - dy, y1: y1 + dy };
    }
    map.show(found, drawn.range, fit);
  }

  async function changed(fit) {
    const view = { x: state.x, y: state.y, colour: state.colour };
    history.replaceState(null, "", `#${toAddress(state.filters, view)}`);
    bar.show(state);
    tellArea();
    const words = (wanted) => axes.find(({ name }) => name === wanted).words;
    Object.assign(map.axes, { x: words(state.x), y: words(state.y), flipped: state.x === "ra", equal: state.x === "ra" && state.y === "dec" });
    await fetchView(null, fit);
  }
  const names = axes.map(({ name }) => name);
  fill(place, bar.node, note, element("div", { class: "tools" }, choice("Across", "x", names), choice("Up", "y", names), choice("Colour", "colour", numbers), scale, mapButtons(map), count), map.node, chosen);
  await changed(true);
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

function readState(names, numbers, first) {
  const words = new URLSearchParams(location.hash.replace(/^#/, ""));
  const pick = (key, among, ...others) => [words.get(key), ...others, ...among].find((name) => among.includes(name));
  return {
    filters: { ...noFilters(), ...fromAddress(location.hash) }, order: "anomaly_rank", descending: false,
    x: pick("x", names, first[0]), y: pick("y", names, first[1]), colour: pick("colour", numbers, "anomaly_score_sigma"),
  };
}

/** Cells by how many rows they hold, on a logarithmic scale from pale to strong. */
function drawDensity(pen, toScreen, { counts, means, across, down, bounds, range }, flipped) {
  const image = new ImageData(across, down);
  const colours = cividis();
  const most = Math.log1p(counts.reduce((a, b) => Math.max(a, b), 1));
  for (let line = 0; line < down; line++) {
    for (let column = 0; column < across; column++) {
      const cell = line * across + column;
      if (!counts[cell]) continue;
      const at = 4 * ((down - 1 - line) * across + (flipped ? across - 1 - column : column));
      const share = means && !Number.isNaN(means[cell]) ? (means[cell] - range[0]) / (range[1] - range[0]) : 0.3;
      image.data.set([...colours(share), 60 + 170 * (Math.log1p(counts[cell]) / most)], at);
    }
  }
  const layer = new OffscreenCanvas(across, down);
  layer.getContext("2d").putImageData(image, 0, 0);
  const [x0, x1, y0, y1] = bounds;
  const [ax, ay] = toScreen(x0, y1);
  const [bx, by] = toScreen(x1, y0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(layer, Math.min(ax, bx), ay, Math.abs(bx - ax), by - ay);
}
