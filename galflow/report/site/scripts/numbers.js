// Numbers and positions as people read them, and positions as people write them.

/** A number with so many significant digits; a dash where there is none. */
export function significant(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return value.toLocaleString("en");
  if (size >= 1e5 || size < 1e-3) return value.toExponential(digits - 1);
  return Number(value.toPrecision(digits)).toString();
}

/** Robust standard deviations, with a sign. */
export function sigmas(value) {
  return value === null || value === undefined ? "not scored" : `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(1)} σ`;
}

/** 149.8 degrees as 09:59:12.00, 2.1 as +02:06:00.0. */
export function sexagesimal(ra, dec) {
  const parts = (value, digits) => {
    const unit = 10 ** digits;
    const all = Math.round(value * 3600 * unit);
    const whole = Math.floor(all / unit);
    const two = (n) => String(n).padStart(2, "0");
    const fraction = String(all % unit).padStart(digits, "0");
    return `${two(Math.floor(whole / 3600))}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}.${fraction}`;
  };
  return `${parts((((ra % 360) + 360) % 360) / 15, 2)} ${dec < 0 ? "−" : "+"}${parts(Math.abs(dec), 1)}`;
}

/** A range [low, high] of a column; `crosses`: of right ascension, over 0, as 350 to 10 and −10 to 10 degrees do. */
export function rangeOf(name, [low, high]) {
  if (name !== "ra" || low === null || high === null) return { low, high, crosses: false };
  if (high - low >= 360) return { low: null, high: null, crosses: false };
  const turned = (degrees) => (degrees >= 0 && degrees <= 360 ? degrees : ((degrees % 360) + 360) % 360);
  return { low: turned(low), high: turned(high), crosses: turned(low) > turned(high) };
}

const PLACE = /^\s*([+-]?\d+(?:\.\d+)?)[\s,]+([+-]?\d+(?:\.\d+)?)(?:[\s,]+(?:r\s*=?\s*)?(\d+(?:\.\d+)?)\s*(deg|'|"|arcmin|arcsec)?)?\s*$/;
const CLOCK = /^\s*(\d+)[:h\s]+(\d+)[:m\s]+(\d+(?:\.\d+)?)s?[\s,]+([+−-]?)(\d+)[:d\s]+(\d+)[:m\s]+(\d+(?:\.\d+)?)s?\s*$/;
const ARCMIN = 1 / 60;

/** The circle {ra, dec, radius} in degrees that a text names, as "150.1 2.2", "150.1 2.2 30 arcsec"; or null. */
export function placeOf(text) {
  const clock = CLOCK.exec(text);
  if (clock) {
    const [, h, m, s, sign, d, arcmin, arcsec] = clock;
    const dec = Number(d) + Number(arcmin) / 60 + Number(arcsec) / 3600;
    return { ra: 15 * (Number(h) + m / 60 + s / 3600), dec: sign === "-" || sign === "−" ? -dec : dec, radius: ARCMIN };
  }
  const found = PLACE.exec(text);
  if (!found || Math.abs(found[2]) > 90) return null;
  const unit = { deg: 1, "'": 1 / 60, arcmin: 1 / 60, '"': 1 / 3600, arcsec: 1 / 3600 }[found[4] ?? "arcmin"];
  return { ra: Number(found[1]), dec: Number(found[2]), radius: found[3] ? found[3] * unit : ARCMIN };
}

const RADIANS = Math.PI / 180;

/** Degrees on the sky between two positions in degrees (haversine: exact for near ones). */
export function separation(ra1, dec1, ra2, dec2) {
  const across = Math.sin(((ra2 - ra1) * RADIANS) / 2) ** 2;
  const up = Math.sin(((dec2 - dec1) * RADIANS) / 2) ** 2;
  const half = up + Math.cos(dec1 * RADIANS) * Math.cos(dec2 * RADIANS) * across;
  return (2 * Math.asin(Math.min(1, Math.sqrt(half)))) / RADIANS;
}
