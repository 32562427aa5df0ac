// Colours of numbers: cividis, which looks alike with every kind of colour vision.

import { isDark } from "./theme.js";

const STOPS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
const RGB = STOPS.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));

const FROM_IN_THE_DARK = 0.25;

/** What gives [red, green, blue] of a share from 0 to 1 on this page: in the dark without the colours that are as dark. */
export function cividis() {
  const from = isDark() ? FROM_IN_THE_DARK : 0;
  return (share) => colour(from + (1 - from) * Math.max(0, Math.min(1, share)));
}

function colour(share) {
  const at = share * (RGB.length - 1);
  const from = Math.min(RGB.length - 2, Math.floor(at));
  return RGB[from].map((value, c) => Math.round(value + (at - from) * (RGB[from + 1][c] - value)));
}

/** The ends that hold 98% of the values that are numbers; [0, 1] where there are none. */
export function ends(values) {
  const known = Float64Array.from(values).filter(Number.isFinite).sort();
  if (!known.length) return [0, 1];
  const [low, high] = [0.01, 0.99].map((share) => known[Math.round(share * (known.length - 1))]);
  return high > low ? [low, high] : [low - 0.5, low + 0.5];
}
