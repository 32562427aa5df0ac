// An object's picture out of a sheet of many, as an element of any size.

import { element } from "./dom.js";

/** A square that shows the row's part of its sheet; it says so where there is none. */
export function thumbnail(source, schema, row, words) {
  const found = source.thumbnail(row, schema); // of the explorer's a promise
  if (!found) return element("span", { class: "thumb none", role: "img", "aria-label": `${words}: no picture` }, "no picture");
  const made = element("span", { class: "thumb", role: "img", "aria-label": words });
  if (found instanceof Promise) found.then((place) => paint(made, place), () => made.classList.add("none"));
  else paint(made, found);
  return made;
}

function paint(made, { url, x, y, size, width, height }) {
  const share = (at, whole) => (whole > size ? (100 * at) / (whole - size) : 0);
  made.style.backgroundImage = `url("${url}")`;
  made.style.backgroundSize = `${(100 * width) / size}% ${(100 * height) / size}%`;
  made.style.backgroundPosition = `${share(x, width)}% ${share(y, height)}%`;
}

/** What a row is called: by its own catalogue, else by its id. */
export function nameOf(row) {
  return row.source_name ?? row.object_id;
}
