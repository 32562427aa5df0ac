// What the explorer has above its rows: an expression that selects them, and what takes them along.

import { element, fill } from "./dom.js";

const FORMATS = [
  ["parquet", "Parquet table"], ["fits", "FITS table"], ["votable", "VOTable"], ["csv", "CSV"],
  ["stamps", "FITS stamps (ZIP)"], ["png", "Contact sheet, PNG"], ["pdf", "Contact sheet, PDF"],
];

/** {node, show(state)}; `changed` is called after `state.filters.where` was changed. */
export function explorerBar(source, schema, state, changed) {
  const said = element("p", { class: "said", role: "status" });
  const input = element("input", {
    type: "text", id: "where", spellcheck: "false", autocomplete: "off", list: "columns", "aria-describedby": "where-said",
    placeholder: example(schema),
  });
  said.id = "where-said";
  const tell = (words, wrong = false) => {
    said.textContent = words;
    said.classList.toggle("wrong", wrong);
    input.toggleAttribute("aria-invalid", wrong);
  };
  const apply = async (event) => {
    event?.preventDefault();
    try {
      if (input.value.trim()) await source.check(input.value);
    } catch (error) {
      return tell(error.message, true);
    }
    tell("");
    state.filters.where = input.value.trim();
    changed();
  };
  const columns = element("datalist", { id: "columns" }, schema.columns.map(({ name, description }) => element("option", { value: name }, description)));
  const node = element("form", { class: "explorer-bar", onsubmit: apply, "aria-label": "Select by an expression" },
    element("label", { for: "where" }, "Rows where"), input, columns,
    element("button", { type: "submit" }, "Select"), columnHelp(schema, input), takeMenu(source, state, tell), said);
  return { node, show: (now) => (input.value = now.filters.where ?? "") };
}

function example(schema) {
  const score = schema.scores[0];
  const parts = [score && `${score} > 5`, schema.magnitude && `${schema.magnitude} < 20`, "flags & 4 == 0"];
  return parts.filter(Boolean).join(" and ");
}

/** The columns with their units and meanings; one that is chosen is put into the expression. */
function columnHelp(schema, input) {
  const put = (name) => {
    const plain = /^[A-Za-z_]\w*$/.test(name) ? name : `column("${name}")`;
    input.setRangeText(plain, input.selectionStart, input.selectionEnd, "end");
    input.focus();
  };
  const line = ({ name, unit, description }) => element("tr", {},
    element("th", { scope: "row" }, element("button", { type: "button", onclick: () => put(name) }, name)), element("td", {}, unit), element("td", {}, description));
  return element("details", { class: "field menu" }, element("summary", {}, "Columns"),
    element("div", { class: "drop wide" }, element("p", { class: "note" }, "Compare with < <= > >= == !=, join with and, or, not; in (…), is null, + − * / %, & for bits, sqrt, log10, abs, min, max …; texts in quotes."),
      element("table", { class: "columns" }, element("tbody", {}, schema.columns.map(line)))));
}

function takeMenu(source, state, tell) {
  const question = () => ({ where: state.filters, order: state.order, descending: state.descending });
  const limit = element("input", { type: "number", min: 1, step: 1, placeholder: "all", "aria-label": "Only the first so many rows" });
  const first = () => (limit.value.trim() === "" ? null : Number(limit.value));
  const tried = (work, words) => async () => {
    tell("Preparing …");
    try {
      tell(words(await work()));
    } catch (error) {
      tell(error.message, true);
    }
  };
  const buttons = FORMATS.map(([format, words]) => element("button", { type: "button", "data-format": format,
    onclick: tried(() => source.download(question(), format, first()), (rows) => `${rows.toLocaleString("en")} rows as ${words}: the download begins when the file is written.`) }, words));
  const send = element("button", { type: "button", onclick: tried(() => source.sendTable(question(), first()), ({ rows, told }) => `${rows.toLocaleString("en")} rows were sent to ${told.join(", ")}.`) }, "Send to TOPCAT, Aladin … (SAMP)");
  const drop = element("div", { class: "drop" });
  fill(drop, element("label", {}, "The first ", limit, " rows"), buttons, send);
  return element("details", { class: "field menu take" }, element("summary", {}, "Take along"), drop);
}
