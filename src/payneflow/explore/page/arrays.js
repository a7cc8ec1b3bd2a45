// Arrays of the facts (packed.py): base64 of little-endian numbers -> typed arrays, rows one after the other.

const KINDS = {
  f8: Float64Array, f4: Float32Array, i4: Int32Array, i2: Int16Array, u1: Uint8Array,
};

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export function unpack(packed) {
  const numbers = new KINDS[packed.type](bytesOf(packed.base64).buffer);
  return packed.scale ? multiplied(numbers, unpack(packed.scale)) : numbers;
}

// Whole numbers times the step of their row
function multiplied(steps, scale) {
  const values = new Float32Array(steps.length);
  const length = steps.length / scale.length;
  for (let row = 0; row < scale.length; row += 1) {
    for (let i = row * length; i < (row + 1) * length; i += 1) values[i] = steps[i] * scale[row];
  }
  return values;
}

// (n, nColumn) of 8 bits -> function of row and column
export function bytesByColumn(packed) {
  const numbers = unpack({ ...packed, scale: undefined });
  const low = unpack(packed.low);
  const step = unpack(packed.step);
  const [nRow, nColumn] = packed.shape;
  return { nRow, at: (row, column) => low[column] + step[column] * numbers[row * nColumn + column] };
}
