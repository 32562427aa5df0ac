// Where the pages' data come from. One interface, two implementations: files beside the page (static_source.js), and
// the explorer's service (served_source.js).

/**
 * @typedef {Object} Column
 * @property {string} name
 * @property {string} unit
 * @property {string} description
 * @property {string} ucd
 * @property {"number"|"text"|"flag"|"boolean"} kind
 *
 * @typedef {Object} Schema
 * @property {string} run
 * @property {number} rows           objects that can be shown
 * @property {number} objects        objects of the run
 * @property {Column[]} columns
 * @property {string[]} scores       columns in sigmas, what ranks first
 * @property {string|null} magnitude column by which brightness is chosen
 * @property {string[]} bands
 * @property {Object<string, {bit: number, words: string}>} flags
 * @property {string} explained      of which objects the report has that, and how one sees it of the others
 * @property {string[]} labels       classes that people gave
 * @property {{name: string, url: string}[]} viewers  with {ra}, {dec} and {fov} (degrees) in them
 *
 * @typedef {Object} Question
 * @property {Object|string} where   filters (filters.js); the explorer also takes an expression
 * @property {string} order          a column
 * @property {boolean} descending    missing values come last either way
 * @property {number} offset
 * @property {number} limit
 *
 * A Source has:
 *   schema() -> Promise<Schema>
 *   rows(Question) -> Promise<{total: number, rows: Object[]}>     a row: column -> value, ids as text
 *   placeOf(id, Question) -> Promise<number>                       its place in that order, -1 if it does not pass
 *   thumbnail(row, schema) -> {url, x, y, size, width, height} | null      a square of a picture, and that picture's size
 *   object(id) -> Promise<{row, pixels, explained} | null>
 *       pixels: null, or {bands, width, height, sigma, to_north}: of each band a Float32Array in sky sigmas, the
 *           first row on top, NaN where missing; degrees clockwise from up to north, or null
 *       explained: [{model, width, height, sigma}], the models' reconstructions, where there are any; the explorer's is
 *           a promise of them, each with its origin ("stored", "computed"), or without pixels and with a reason (why)
 *   brief(id) -> Promise<{row}>                                    the same without pixels
 *   tiles() -> Promise<Object>                                     a list a column: tile, ra, dec, objects, ranked, top ...
 *   similar(id, n) -> Promise<Object[]>                            rows, the nearest first; [] where unknown
 *   points({x, y, colour, where}) -> Promise<{x, y, colour: Float64Array, ids: string[]}>
 *   lasso(polygon, x, y) -> where                                  to be put into filters as `area`
 */

import { ServedSource } from "./served_source.js";
import { StaticSource } from "./static_source.js";

/** The source that the page names (<html data-source="static">, or "served"). */
export function openSource() {
  return document.documentElement.dataset.source === "served" ? new ServedSource() : new StaticSource();
}
