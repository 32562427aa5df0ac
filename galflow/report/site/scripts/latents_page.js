// The page Latents: where a model puts the objects, what of them is odd, and a line around some.

import { element, fill } from "./dom.js";
import { inside, noFilters, toAddress } from "./filters.js";
import { significant, sigmas } from "./numbers.js";
import { ends } from "./palette.js";
import { PointMap } from "./point_map.js";
import { nameOf, thumbnail } from "./thumbnail.js";

export async function latentsPage(source, place) {
  const schema = await source.schema();
  if (!schema.latents) return;
  const axes = schema.latents.shares.map((share, i) => ({ name: `latent_${i + 1}`, words: `component ${i + 1} (${(100 * share).toFixed(0)}% of the variance)` }));
  const numbers = schema.columns.filter(({ kind }) => kind === "number").map(({ name }) => name);
  const choice = (words, options, value, change) => {
    const select = element("select", { onchange: change }, options.map(({ name, words: said }) => element("option", { value: name }, said ?? name)));
    select.value = value;
    return { select, node: element("label", {}, words, select) };
  };
  const across = choice("Across", axes, axes[0].name, () => show());
  const up = choice("Up", axes, axes[1].name, () => show());
  const colour = choice("Colour", numbers.map((name) => ({ name })), "anomaly_score_sigma", () => show(false));
  const scale = element("span", { class: "scale" });
  const chosen = element("p", { class: "more", role: "status" }, "Draw a line around points to see them in the gallery; click a point to open it.");
  let points;

  const map = new PointMap({ x: "", y: "", words: "Map of latents: drag to draw a line around points, wheel or + and − to magnify, arrows to move" }, {
    hover: async (id, data, at) => {
      if (id === null) return;
      const { row } = await source.brief(id);
      map.tell(at, thumbnail(source, schema, row, nameOf(row)), element("b", {}, `#${row.anomaly_rank} `), `${sigmas(row.anomaly_score_sigma)}${row.triage ? `, ${row.triage}` : ""}`);
    },
    pick: (id) => location.assign(`object.html#id=${encodeURIComponent(id)}`),
    lasso: (polygon) => {
      const count = points.ids.filter((_, i) => inside(polygon, points.x[i], points.y[i])).length;
      const area = source.lasso(polygon, across.select.value, up.select.value);
      fill(chosen, element("b", {}, `${count.toLocaleString("en")} objects `), count
        ? element("a", { class: "button", href: `anomalies.html#${toAddress({ ...noFilters(), area })}` }, "Show them in the gallery") : "within the line");
    },
  });
  async function show(fit = true) {
    points = await source.points({ x: across.select.value, y: up.select.value, colour: colour.select.value, where: noFilters() });
    const range = ends(points.colour);
    map.axes.x = axes.find(({ name }) => name === across.select.value).words;
    map.axes.y = axes.find(({ name }) => name === up.select.value).words;
    fill(scale, significant(range[0]), element("i", {}), significant(range[1]));
    map.show(points, range, fit);
  }
  fill(place, element("div", { class: "tools" }, across.node, up.node, colour.node, scale, mapButtons(map)), map.node, chosen);
  await show();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

/** Buttons that do what wheel and drag do. */
export function mapButtons(map) {
  const drag = element("button", { type: "button", "aria-pressed": "false", onclick: () => {
    const moving = drag.getAttribute("aria-pressed") !== "true";
    drag.setAttribute("aria-pressed", moving);
    map.moving = moving;
  } }, "Drag moves");
  return element("span", { class: "tools" }, drag,
    element("button", { type: "button", onclick: () => map.zoom(0.7), "aria-label": "Magnify" }, "+"),
    element("button", { type: "button", onclick: () => map.zoom(1.4), "aria-label": "Show more" }, "−"),
    element("button", { type: "button", onclick: () => map.home() }, "All"));
}
