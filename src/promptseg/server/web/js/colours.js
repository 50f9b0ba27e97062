// Which colour a label gets: far from its neighbours in the list, and seen on most photos.

// Those of the library's pictures, so that an exported overlay looks like the page.
const PALETTE = [
  "#1e88ff",
  "#ffb000",
  "#d633cb",
  "#00c9b7",
  "#ff6e40",
  "#7e57ff",
  "#bedc28",
  "#ff69a0",
  "#0096c7",
  "#b07c4c",
];
// Turning by the golden angle comes near no earlier hue for as long as possible.
const GOLDEN_ANGLE = 137.50776;
const LIGHTNESSES = [0.72, 0.6, 0.82];
const CHROMA = 0.14;

/** The colour of the label that is `index`th in the list; without end. */
export function colourAt(index) {
  if (index < PALETTE.length) return PALETTE[index];
  const hue = (index * GOLDEN_ANGLE * Math.PI) / 180;
  return fromOklch(LIGHTNESSES[index % LIGHTNESSES.length], CHROMA, hue);
}

/** The first colour that none of the labels has. */
export function nextColour(labels) {
  const taken = new Set(labels.map((label) => label.colour));
  let index = 0;
  while (taken.has(colourAt(index))) index += 1;
  return colourAt(index);
}

/** The colour of an object: its label's, or of its own when it has none. */
export function colourOf(object, labels) {
  const label =
    object.label === null ? undefined : labels.find(({ name }) => name === object.label);
  return label?.colour ?? colourAt(numberOf(object.id) % PALETTE.length);
}

/** A number that only the letters of an id decide. */
function numberOf(id) {
  let number = 0;
  for (const letter of id) number = (number * 31 + letter.codePointAt(0)) >>> 0;
  return number;
}

/** "#rrggbb" of a colour in Oklch; B. Ottosson, "A perceptual color space", 2020. */
function fromOklch(lightness, chroma, hue) {
  const [a, b] = [chroma * Math.cos(hue), chroma * Math.sin(hue)];
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return toHex([
    4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
    -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
    -0.0041960863 * long - 0.7034186147 * middle + 1.707614701 * short,
  ]);
}

function toHex(light) {
  const levels = light.map((value) => {
    const inside = Math.min(1, Math.max(0, value));
    const encoded = inside <= 0.0031308 ? 12.92 * inside : 1.055 * inside ** (1 / 2.4) - 0.055;
    return Math.round(255 * encoded)
      .toString(16)
      .padStart(2, "0");
  });
  return `#${levels.join("")}`;
}
