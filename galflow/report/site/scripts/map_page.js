// The explorer's page of maps: the sky, or any two columns; of millions of rows counts in cells, and points on them.

import { element, fill, settled } from "./dom.js";
import { fromAddress, noFilters, toAddress } from "./filters.js";
import { explorerBar } from "./explorer_bar.js";
import { mapButtons } from "./latents_page.js";
import { significant, sigmas } from "./numbers.js";
import { cividis, ends } from "./palette.js";
import { PointMap } from "./point_map.js";
import { nameOf, thumbnail } from "./thumbnail.js";

const CELLS = 256;

export async function mapPage(source, place) {
  const schema = await source.schema();
  const numbers = schema.columns.filter(({ kind }) => kind === "number").map(({ name }) => name);
  const state = readState(schema, numbers);
  const choice = (words, key) => {
    const select = element("select", { onchange: () => {
      state[key] = select.value;
      changed(key !== "colour");
    } }, numbers.map((name) => element("option", { value: name }, name)));
    select.value = state[key];
    return element("label", {}, words, select);
  };
  const scale = element("span", { class: "scale" });
  const count = element("output", { class: "count", role: "status" });
  const chosen = element("p", { class: "more", role: "status" }, "Draw a line around points to select them; click a point to open it; wheel or + and − to magnify.");
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
    lasso: async (polygon) => {
      const area = source.lasso(polygon, state.x, state.y);
      const { rows } = await source.json("selections", {}, { method: "POST", body: JSON.stringify(area) });
      const address = toAddress({ ...state.filters, area });
      fill(chosen, element("b", {}, `${rows.toLocaleString("en")} rows within the line `),
        rows ? [element("a", { class: "button", href: `anomalies.html#${address}` }, "Show them"), " ", element("a", { class: "button", href: `table.html#${address}` }, "as a table")] : null);
    },
  });

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
    count.textContent = `${found.count.toLocaleString("en")} rows in view${found.whole ? "" : `, the ${found.ids.length.toLocaleString("en")} highest-ranked as points`}`;
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
    const column = (name) => schema.columns.find((one) => one.name === name);
    const words = (name) => `${name}${column(name).unit ? ` (${column(name).unit})` : ""}`;
    Object.assign(map.axes, { x: words(state.x), y: words(state.y), flipped: state.x === "ra", equal: state.x === "ra" && state.y === "dec" });
    await fetchView(null, fit);
  }
  fill(place, bar.node, element("div", { class: "tools" }, choice("Across", "x"), choice("Up", "y"), choice("Colour", "colour"), scale, mapButtons(map), count), map.node, chosen);
  await changed(true);
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

function readState(schema, numbers) {
  const words = new URLSearchParams(location.hash.replace(/^#/, ""));
  const pick = (key, ...others) => [words.get(key), ...others, ...numbers].find((name) => numbers.includes(name));
  const colour = pick("colour", "anomaly_score_sigma");
  return { filters: { ...noFilters(), ...fromAddress(location.hash) }, order: "anomaly_rank", descending: false, x: pick("x", "ra"), y: pick("y", "dec"), colour };
}

/** Cells by how many rows they hold, on a logarithmic scale from pale to strong. */
function drawDensity(pen, toScreen, { counts, means, across, down, bounds, range }, flipped) {
  const image = new ImageData(across, down);
  const most = Math.log1p(counts.reduce((a, b) => Math.max(a, b), 1));
  for (let line = 0; line < down; line++) {
    for (let column = 0; column < across; column++) {
      const cell = line * across + column;
      if (!counts[cell]) continue;
      const at = 4 * ((down - 1 - line) * across + (flipped ? across - 1 - column : column));
      const share = means && !Number.isNaN(means[cell]) ? (means[cell] - range[0]) / (range[1] - range[0]) : 0.3;
      image.data.set([...cividis(share), 60 + 170 * (Math.log1p(counts[cell]) / most)], at);
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
