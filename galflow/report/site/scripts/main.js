// What a page does once it is there: its own part, and the switch between light and dark.

import { gallery } from "./gallery.js";
import { labelPage } from "./label_page.js";
import { latentsPage } from "./latents_page.js";
import { latentMapPage, mapPage } from "./map_page.js";
import { objectPage } from "./object_page.js";
import { openSource } from "./source.js";
import { tablePage } from "./table_page.js";
import { themeSwitch } from "./theme.js";
import { tilesPage } from "./tiles_page.js";

/** Page (<body data-page>) -> what makes it live, given the source and the element with the id "live". */
const PAGES = { anomalies: gallery, object: objectPage, tiles: tilesPage, latents: latentsPage, table: tablePage, map: mapPage, label: labelPage };
/** Where the explorer's page is another than the report's of that name. */
const SERVED = { latents: latentMapPage };

async function start() {
  document.documentElement.classList.add("live");
  themeSwitch(document.getElementById("theme"));
  const current = document.querySelector("nav [aria-current]");
  if (current) current.parentElement.scrollLeft = current.offsetLeft - current.parentElement.clientWidth / 2;
  const name = document.body.dataset.page;
  const make = (document.documentElement.dataset.source === "served" && SERVED[name]) || PAGES[name];
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
