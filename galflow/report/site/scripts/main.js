// What a page does once it is there: its own part, and the switch between light and dark.

import { gallery } from "./gallery.js";
import { openSource } from "./source.js";
import { themeSwitch } from "./theme.js";

/** Page (<body data-page>) -> what makes it live, given the source and the element with the id "live". */
const PAGES = { anomalies: gallery };

async function start() {
  document.documentElement.classList.add("live");
  themeSwitch(document.getElementById("theme"));
  const make = PAGES[document.body.dataset.page];
  const place = document.getElementById("live");
  if (!make || !place) return;
  try {
    await make(openSource(), place);
  } catch (error) {
    document.documentElement.classList.remove("live");
    place.textContent = `This part of the page cannot be shown: ${error.message}`;
    place.setAttribute("role", "alert");
    throw error;
  }
}

start();
