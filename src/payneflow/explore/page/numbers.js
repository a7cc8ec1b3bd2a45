// Numbers as they are shown.

// A round number near `value`: 1, 2 or 5 times a power of ten
export function roundNear(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((digit) => digit * power).reduce((best, one) =>
    (Math.abs(Math.log(one / value)) < Math.abs(Math.log(best / value)) ? one : best));
}

// Decimals in which a label of this range is shown: a thousandth of it
export function decimalsOf(range) {
  return Math.max(0, -Math.floor(Math.log10(range / 500)));
}

export function shown(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const isSmall = value !== 0 && Math.abs(value) < 1e-4;
  return (isSmall ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)))).replace("-", "−");
}

export function withUnit(name, unit) {
  return unit ? `${name} [${unit}]` : name;
}
