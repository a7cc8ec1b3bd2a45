// Do labels lie among those of the training spectra? Two answers, both in shares of the labels' training ranges: how far
// they are from the convex hull of the training labels, and how far from the nearest training spectrum, compared with
// how far these are from each other. The hull is felt for by pairwise Frank-Wolfe steps (Lacoste-Julien & Jaggi 2015),
// which end with a proof: a point of the hull that is near, or a plane that parts the labels from all of it.

const RANGE = 0.8; // of scaled labels
const CLOSE = 0.002; // ranges by which the distance from the hull may be uncertain
const MOST_STEPS = 3000;
const SOME = 500; // training spectra whose distances from others are measured
const ON_HULL = 0.005; // ranges
const NEAR_HULL = 0.05;
const OFTEN = 0.95; // of the training spectra

export const VERDICTS = {
  inside: "among the training spectra",
  edge: "at the edge of the training spectra",
  outside: "outside the training spectra: the networks extrapolate",
};

function dot(a, at, b) {
  let sum = 0;
  for (let j = 0; j < b.length; j += 1) sum += a[at + j] * b[j];
  return sum;
}

function squaredDistance(a, at, b, from, length) {
  let sum = 0;
  for (let j = 0; j < length; j += 1) sum += (a[at + j] - b[from + j]) ** 2;
  return sum;
}

export class Coverage {
  // `scaled` (n * nLabel): scaled labels of the training spectra, or null where they are not known
  constructor(scaled, nLabel) {
    this.points = scaled && Float64Array.from(scaled, (value) => value / RANGE);
    this.nLabel = nLabel;
    this.n = scaled ? scaled.length / nLabel : 0;
    if (this.points) this.usual = this.usualDistances();
  }

  // Distances of training spectra from the nearest other one: increasing
  usualDistances() {
    const every = Math.max(Math.floor(this.n / SOME), 1);
    const found = [];
    for (let i = 0; i < this.n; i += every) {
      const own = this.points.subarray(i * this.nLabel, (i + 1) * this.nLabel);
      found.push(this.nearest(own, i));
    }
    return Float64Array.from(found).sort();
  }

  nearest(point, except = -1) {
    let least = Infinity;
    for (let i = 0; i < this.n; i += 1) {
      if (i !== except) {
        let sum = 0;
        for (let j = 0, at = i * this.nLabel; j < this.nLabel && sum < least; j += 1) {
          sum += (this.points[at + j] - point[j]) ** 2;
        }
        least = Math.min(least, sum);
      }
    }
    return Math.sqrt(least);
  }

  // `distance` of a point from the hull, and `away` (nLabel), the way from the nearest point of it
  fromHull(point) {
    const { points, nLabel, n } = this;
    const share = new Float64Array(n);
    const at = (i) => i * nLabel;
    let first = 0;
    for (let i = 1; i < n; i += 1) {
      const square = (one) => squaredDistance(points, at(one), point, 0, nLabel);
      if (square(i) < square(first)) first = i;
    }
    share[first] = 1;
    const gap = Float64Array.from(point, (value, j) => points[at(first) + j] - value);
    for (let step = 0; step < MOST_STEPS; step += 1) {
      const length = Math.sqrt(dot(gap, 0, gap));
      let [toward, from, least, most] = [0, first, Infinity, -Infinity];
      for (let i = 0; i < n; i += 1) {
        const along = dot(points, at(i), gap);
        if (along < least) [least, toward] = [along, i];
        if (share[i] > 0 && along > most) [most, from] = [along, i];
      }
      const parted = length ? (least - dot(point, 0, gap)) / length : 0; // no point of the hull is nearer than this
      if (length < CLOSE || length - Math.max(parted, 0) < CLOSE) break;
      const square = squaredDistance(points, at(toward), points, at(from), nLabel);
      if (square === 0) break;
      const moved = Math.min((most - least) / square, share[from]);
      share[toward] += moved;
      share[from] -= moved;
      if (share[from] < 1e-12) share[from] = 0;
      for (let j = 0; j < nLabel; j += 1) gap[j] += moved * (points[at(toward) + j] - points[at(from) + j]);
    }
    return { distance: Math.sqrt(dot(gap, 0, gap)), away: gap.map((value) => -value) };
  }

  // What is known of scaled labels x: `verdict`, `beyond` the range (label numbers), `outward` (label numbers), distances
  judge(x) {
    const beyond = x.map((value, j) => [value, j]).filter(([value]) => value < 0.1 - 1e-9 || value > 0.9 + 1e-9)
      .map(([, j]) => j);
    if (!this.points) return { verdict: beyond.length ? "outside" : "", beyond, outward: [] };
    const point = Float64Array.from(x, (value) => value / RANGE);
    const { distance, away } = this.fromHull(point);
    const nearest = this.nearest(point);
    const { usual } = this;
    const [typical, often, largest] = [0.5, OFTEN, 1].map((part) => usual[Math.round(part * (usual.length - 1))]);
    const isOutside = beyond.length > 0 || distance > NEAR_HULL || nearest > largest;
    const isInside = distance <= ON_HULL && nearest <= often;
    const strongest = Math.max(...away.map(Math.abs));
    const outward = distance > ON_HULL
      ? [...away.keys()].filter((j) => Math.abs(away[j]) > 0.5 * strongest) : [];
    return {
      verdict: isOutside ? "outside" : isInside ? "inside" : "edge",
      beyond, outward, away, distance, nearest, typical, largest,
    };
  }
}
