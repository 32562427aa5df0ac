// An object's pictures: in colour or one band, at the reader's stretch, with the models' reconstructions and residuals.

import { element, fill } from "./dom.js";
import { brightest, drawColour, drawGrey, drawResidual } from "./stretch.js";
import { nameOf, thumbnail } from "./thumbnail.js";

const RESIDUAL_LIMIT = 10;
const KINDS = ["asinh", "log", "sqrt", "linear"];
// What the reader chose stays from object to object.
const chosen = { band: null, kind: "asinh", white: null, softening: null, black: 0, limit: RESIDUAL_LIMIT, smooth: false };

export function pictures(source, schema, { row, pixels, explained }) {
  if (!pixels) {
    return element("section", { class: "panel" }, element("div", { class: "large" }, thumbnail(source, schema, row, nameOf(row))),
      element("p", { class: "note" }, "Of this object the report has its thumbnail alone; its pixels lie in the run's cutouts: galflow.open_run(…).cutout(id)."));
  }
  const bands = pixels.bands;
  const channels = (schema.channels.length === 3 ? schema.channels : [schema.channels[0], schema.channels.at(-1), schema.channels.at(-1)]).map((name) => bands.indexOf(name));
  const canvas = element("canvas", { role: "img", "aria-label": `Object ${nameOf(row)}` });
  const small = bands.map(() => element("canvas", { "aria-hidden": "true" }));
  const models = [];
  const peak = brightest(pixels.sigma);
  const white = () => chosen.white ?? schema.display.white;
  const stretch = () => ({ kind: chosen.kind, softening: chosen.softening ?? schema.display.softening ?? 3, white: white(), black: chosen.black });
  const one = bands.length === 1;
  const large = element("div", { class: "large" }, canvas, compass(pixels.to_north), ruler(schema));

  const redraw = () => {
    const at = stretch();
    if (chosen.band === null && !one) drawColour(canvas, pixels, channels, at);
    else drawGrey(canvas, pixels, pixels.sigma[chosen.band ?? 0], at);
    small.forEach((each, band) => drawGrey(each, pixels, pixels.sigma[band], at));
    for (const { model, sigma, canvases: [made, left], caption } of models) {
      const band = chosen.band ?? strongest(pixels.sigma, sigma);
      if (chosen.band === null && !one) drawColour(made, { ...pixels, sigma }, channels, at);
      else drawGrey(made, pixels, sigma[chosen.band ?? 0], at);
      drawResidual(left, pixels, pixels.sigma[band], sigma[band], chosen.limit);
      made.setAttribute("aria-label", `Reconstruction by ${model}`);
      left.setAttribute("aria-label", `Data minus reconstruction by ${model} in band ${bands[band]}, from −${chosen.limit} to +${chosen.limit} sky sigmas`);
      caption.textContent = `residual in ${bands[band]}, ±${chosen.limit} σ`;
    }
    large.classList.toggle("smooth", chosen.smooth);
  };
  const buttons = [];
  const choose = (band) => {
    chosen.band = band;
    buttons.forEach(([button, own]) => button.setAttribute("aria-pressed", own === band));
    redraw();
  };
  const button = (band, words, picture) => {
    const made = element("button", { type: "button", "aria-pressed": chosen.band === band, onclick: () => choose(band) }, picture ?? null, words);
    buttons.push([made, band]);
    return made;
  };
  if (chosen.band !== null && chosen.band >= bands.length) chosen.band = null;
  const node = element("section", { class: "panel" }, large, sliders(schema, { white, stretch, peak, redraw }, one ? null : button(null, "Colour")),
    element("div", { class: "bands", role: "group", "aria-label": "Bands" }, bands.map((name, band) => button(band, name, small[band]))));
  const panel = element("section", { class: "panel explained", hidden: true });
  const explain = (found) => {
    models.push(...found.filter(({ sigma }) => sigma).map((one) => ({ ...one, canvases: [0, 1].map(() => element("canvas", { role: "img" })), caption: element("figcaption", {}) })));
    panel.hidden = !found.length && !schema.explained;
    if (!found.length) fill(panel, element("h2", {}, TITLE), element("p", { class: "note" }, schema.explained ?? ""));
    else fill(panel, ...explanation(models, found.filter(({ sigma }) => !sigma), redraw));
    redraw();
  };
  if (explained instanceof Promise) {
    panel.hidden = false;
    fill(panel, element("h2", {}, TITLE), element("p", { class: "note", role: "status" }, "Asking the models …"));
    explained.then(explain, (error) => fill(panel, element("h2", {}, TITLE), element("p", { class: "note", role: "alert" }, error.message)));
    redraw();
  } else explain(explained);
  return [node, panel];
}

function sliders(schema, { white, stretch, peak, redraw }, colour) {
  const most = Math.max(10, peak, schema.display.white);
  const range = element("input", { type: "range", min: 0, max: 1000, step: 1, "aria-label": "White at, in sky sigmas" });
  const words = element("output", {});
  const toSlider = (value) => (1000 * Math.log(value)) / Math.log(most);
  const update = () => {
    range.value = toSlider(Math.max(1, white()));
    words.textContent = `${white().toPrecision(2).replace(/e\+?/, "e")} σ`;
    redraw();
  };
  range.addEventListener("input", () => {
    chosen.white = Math.exp((range.value / 1000) * Math.log(most));
    update();
  });
  const kind = element("select", { "aria-label": "Stretch", onchange: () => {
    chosen.kind = kind.value;
    redraw();
  } }, KINDS.map((name) => element("option", { value: name }, name)));
  kind.value = chosen.kind;
  const smooth = element("input", { type: "checkbox", onchange: () => {
    chosen.smooth = smooth.checked;
    redraw();
  } });
  smooth.checked = chosen.smooth;
  const reset = () => {
    Object.assign(chosen, { kind: "asinh", white: null, softening: null, black: 0 });
    kind.value = "asinh";
    update();
  };
  const own = () => {
    chosen.white = peak;
    update();
  };
  update();
  return element("div", { class: "stretch" }, colour, element("label", {}, "Stretch", kind), element("label", {}, "White at", range, words),
    element("button", { type: "button", onclick: own }, "Its own peak"), element("button", { type: "button", onclick: reset }, "As in the report"), element("label", {}, smooth, "smooth"));
}

const TITLE = "What the models make of it";
/** Where a reconstruction is from, of those that say it. */
const ORIGINS = { stored: "out of the run's stored residual pictures", computed: "computed now by the trained model" };

/** The panel's content; `lacking`: models without a reconstruction, {model, why}. */
function explanation(models, lacking, redraw) {
  const limit = element("input", { type: "range", min: 0, max: 3, step: 0.05, value: Math.log10(chosen.limit), "aria-label": "Ends of the residuals, in sky sigmas" });
  limit.addEventListener("input", () => {
    chosen.limit = Number((10 ** limit.value).toPrecision(2));
    redraw();
  });
  return [element("h2", {}, TITLE),
    models.length ? element("div", { class: "stretch" }, element("label", {}, "Residuals at their own scale", limit)) : null,
    models.map(({ model, origin, canvases: [made, left], caption }) => element("div", {}, element("h3", {}, model, origin ? element("small", { class: "soft" }, ` ${ORIGINS[origin]}`) : null), element("div", { class: "bands" },
      element("figure", { class: "small" }, made, element("figcaption", {}, "reconstruction")),
      element("figure", { class: "small" }, left, caption)))),
    lacking.map(({ model, why }) => element("p", { class: "note" }, `${model}: no reconstruction; ${why}`))];
}

/** The band in which a model leaves most. */
function strongest(data, model) {
  const left = data.map((band, b) => band.reduce((sum, value, p) => (Number.isNaN(value) ? sum : sum + (value - model[b][p]) ** 2), 0));
  return left.indexOf(Math.max(...left));
}

const SVG = "http://www.w3.org/2000/svg";

function drawn(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Arrows to north and east, `angle` degrees clockwise from up; nothing where north is not known. */
function compass(angle) {
  if (angle === null || angle === undefined) return null;
  const arrow = (turn, letter) => drawn("g", { transform: `rotate(${turn} 44 44)` },
    drawn("path", { d: "M44 44 V16 M39 22 L44 15 L49 22", fill: "none", stroke: "#fff", "stroke-width": 2 }),
    drawn("text", { x: 44, y: 10, fill: "#fff", "font-size": 12, "text-anchor": "middle", transform: `rotate(${-turn} 44 7)` }, letter));
  return drawn("svg", { class: "compass", viewBox: "0 0 64 64", role: "img", "aria-label": `North is ${Math.round(angle)} degrees clockwise from up, east to its left` }, arrow(angle, "N"), arrow(angle - 90, "E"));
}

/** A bar of a round number of arcsec, a fifth to a half of the picture. */
function ruler({ cutout_pixels: side, pixel_scale_arcsec: scale }) {
  if (!scale) return null;
  const whole = side * scale;
  const length = [60, 30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1].find((arcsec) => arcsec <= whole / 2.5) ?? whole / 3;
  const bar = element("span", { class: "ruler" }, `${length}″`);
  bar.style.width = `${(100 * length) / whole}%`;
  return bar;
}
