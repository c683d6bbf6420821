// From a drawing to the image that a network reads, as MNIST's authors made theirs.

export const SIDE = 28;
const BOX = 20;
const FAINT = 0.05;

// Average a line of any length down (or up) to `count` values, each over its share of the line.
function resample(line, count) {
  const step = line.length / count;
  return Array.from({ length: count }, (_, k) => {
    const [from, to] = [k * step, (k + 1) * step];
    let sum = 0;
    for (let i = Math.floor(from); i < Math.min(Math.ceil(to), line.length); i++)
      sum += line[i] * (Math.min(i + 1, to) - Math.max(i, from));
    return sum / step;
  });
}

const transpose = (rows) => rows[0].map((_, column) => rows.map((row) => row[column]));

// The rows and columns of the smallest box that holds all ink, as [first, behind the last], or null.
function bounds(rows) {
  const inked = rows.flatMap((row, y) => (row.some((ink) => ink > FAINT) ? [y] : []));
  return inked.length ? [inked[0], inked.at(-1) + 1] : null;
}

function centre(rows) {
  const total = rows.flat().reduce((sum, ink) => sum + ink, 0);
  return rows.reduce((sum, row, y) => sum + y * row.reduce((a, b) => a + b, 0), 0) / total;
}

// Where to put `length` pixels so that their centre of mass lies in the middle of the image, as far as they fit.
const shift = (middle, length) => Math.max(0, Math.min(SIDE - length, Math.round((SIDE - 1) / 2 - middle)));

// Return 28 x 28 values in [0, 1], row by row, 1 for ink; null if there is none. `rows` holds the same of a drawing.
export function asMnist(rows) {
  const vertical = bounds(rows);
  if (!vertical) return null;
  const horizontal = bounds(transpose(rows));
  const cut = rows.slice(...vertical).map((row) => row.slice(...horizontal));
  const longest = Math.max(cut.length, cut[0].length);
  const scaled = (length) => Math.max(1, Math.round((BOX * length) / longest));
  const wide = cut.map((row) => resample(row, scaled(row.length)));
  const small = transpose(transpose(wide).map((column) => resample(column, scaled(column.length))));
  const [top, left] = [shift(centre(small), small.length), shift(centre(transpose(small)), small[0].length)];
  const image = new Float32Array(SIDE * SIDE);
  small.forEach((row, y) => row.forEach((ink, x) => (image[(top + y) * SIDE + left + x] = ink)));
  return image;
}
