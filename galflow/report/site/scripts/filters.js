// What the reader wants to see: the state of the filters, in an address, as a test of a row, and as an expression.

import { placeOf, rangeOf, separation } from "./numbers.js";

/**
 * text: part of a name, of a tile's name, or a position; tile: exactly; without, only: names of flags; not: classes
 * of the triage; label: of the labels; where: an expression, which the explorer alone takes; ranges: column -> [lowest, highest] with null for none; area: a lasso.
 */
export function noFilters() {
  return { text: "", tile: "", without: [], only: [], not: [], label: "", ranges: {}, area: null, where: "" };
}

export const ARTEFACTS = ["artefact", "star", "blend"];
/** Classes of the triage that are no galaxy of their own. */

/** The filters as the part of an address behind #, short where little is set. */
export function toAddress(filters, view = {}) {
  const words = new URLSearchParams();
  for (const name of ["text", "tile", "label", "where"]) if (filters[name]) words.set(name, filters[name]);
  for (const name of ["without", "only", "not"]) if (filters[name].length) words.set(name, filters[name].join(","));
  for (const [column, [low, high]] of Object.entries(filters.ranges)) words.set(`in.${column}`, `${low ?? ""}..${high ?? ""}`);
  if (filters.area) words.set("area", JSON.stringify(filters.area));
  for (const [name, value] of Object.entries(view)) if (value !== null && value !== "") words.set(name, value);
  return words.toString();
}

/** The filters that an address names; whatever it does not name is not filtered. */
export function fromAddress(address) {
  const filters = noFilters();
  for (const [name, value] of new URLSearchParams(address.replace(/^#/, ""))) {
    if (["text", "tile", "label", "where"].includes(name)) filters[name] = value;
    else if (["without", "only", "not"].includes(name)) filters[name] = value.split(",").filter(Boolean);
    else if (name === "area") filters.area = JSON.parse(value);
    else if (name.startsWith("in.")) filters.ranges[name.slice(3)] = value.split("..").map((one) => (one === "" ? null : Number(one)));
  }
  return filters;
}

/** Whether row i of columns (name -> array) passes; `bits`: flag -> its bit. */
export function matcher(filters, columns, bits) {
  const mask = (names) => names.reduce((sum, name) => sum | (bits[name] ?? 0), 0);
  const [without, only] = [mask(filters.without), mask(filters.only)];
  const tests = [];
  const { flags, triage, tile, label, ra, dec } = columns;
  if (without) tests.push((i) => (flags[i] & without) === 0);
  if (only) tests.push((i) => (flags[i] & only) !== 0);
  if (filters.not.length && triage) tests.push((i) => !filters.not.includes(triage[i]));
  if (filters.tile) tests.push((i) => tile[i] === filters.tile);
  if (filters.label) tests.push((i) => label?.[i] === filters.label);
  for (const [name, given] of Object.entries(filters.ranges)) {
    const values = columns[name];
    if (!values) continue;
    const { low, high, crosses } = rangeOf(name, given);
    if (crosses) tests.push((i) => values[i] !== null && (values[i] >= low || values[i] <= high));
    else tests.push((i) => values[i] !== null && (low === null || values[i] >= low) && (high === null || values[i] <= high));
  }
  if (filters.text) tests.push(textTest(filters.text, columns));
  if (filters.area) tests.push(areaTest(filters.area, columns));
  return (i) => tests.every((test) => test(i));
}

function textTest(text, { ra, dec, object_id: id, source_name: name, tile }) {
  const place = placeOf(text);
  if (place) return (i) => ra[i] !== null && separation(ra[i], dec[i], place.ra, place.dec) <= place.radius;
  const wanted = text.trim().toLowerCase();
  return (i) => id[i].includes(wanted) || name?.[i]?.toLowerCase().includes(wanted) || tile[i].toLowerCase().includes(wanted);
}

function areaTest({ x, y, points }, columns) {
  const [xs, ys] = [columns[x], columns[y]];
  return (i) => xs[i] !== null && ys[i] !== null && inside(points, xs[i], ys[i]);
}

/** Whether a point lies within a polygon [[x, y], ...] (a ray to the right crosses its border an odd number of times). */
export function inside(points, x, y) {
  let within = false;
  for (let i = 0, j = points.length - 1; i < points.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [points[i], points[j]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
  }
  return within;
}
