// Broadening and radial velocity as fits have them (fitting/model.py): the flux is taken to places that are even in
// ln(wavelength), convolved with one kernel after the other, and taken by eight taps to where the data are.
import { unpack } from "./arrays.js";

export const C_KM_S = 299792.458;
const MOVING = { half: 4, beta: 7 };
const BROADENING = { half: 6, beta: 9 };
const INTERVALS = 1024;
const NARROWEST = 0.01; // places: less is no broadening

// Modified Bessel function of order 0, by its series
function bessel0(x) {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > 1e-17 * sum; k += 1) {
    term *= (0.5 * x) ** 2 / k ** 2;
    sum += term;
  }
  return sum;
}

// Weights of the 2 half pixels around a place that is t in 0 ... 1 after the middle one (engine/taps.py)
function tapWeights(t, { half, beta }) {
  const weights = new Float64Array(2 * half);
  let total = 0;
  for (let k = 0; k < 2 * half; k += 1) {
    const away = t - (k + 1 - half);
    const sinc = Math.abs(away) < 1e-12 ? 1 : Math.sin(Math.PI * away) / (Math.PI * away);
    weights[k] = sinc * (bessel0(beta * Math.sqrt(Math.max(1 - (away / half) ** 2, 0))) - 1);
    total += weights[k];
  }
  return weights.map((weight) => weight / total);
}

// The half kernel of a shape at 0, 1, 2, ... places, for a width in places (engine/profiles.py)
function halfKernel({ nodes, weights }, width) {
  const { half } = BROADENING;
  const kernel = new Float64Array(Math.floor(width * Math.max(...nodes)) + half + 1);
  nodes.forEach((node, k) => {
    const place = width * node;
    const whole = Math.floor(place);
    tapWeights(place - whole, BROADENING).forEach((weight, tap) => {
      const at = Math.abs(whole + tap + 1 - half);
      kernel[at] += weights[k] * weight * (at === 0 ? 1 : 0.5);
    });
  });
  return kernel;
}

function broadened(flux, kernel) {
  const reach = kernel.length - 1;
  const result = new Float64Array(flux.length).fill(NaN);
  for (let i = reach; i < flux.length - reach; i += 1) {
    let sum = kernel[0] * flux[i];
    for (let k = 1; k <= reach; k += 1) sum += kernel[k] * (flux[i - k] + flux[i + k]);
    result[i] = sum;
  }
  return result;
}

export class Mover {
  constructor(facts, wavelength) {
    const { moves } = facts;
    this.problem = moves.problem;
    this.segments = moves.segments;
    this.wavelength = wavelength;
    this.own = { wavelength, pixels: Int32Array.from(wavelength, (_, i) => i) };
    if (this.problem) return;
    this.step = moves.step;
    this.shapes = moves.shapes;
    this.counts = moves.counts;
    this.firsts = moves.firsts && unpack(moves.firsts);
    this.weights = moves.weights && unpack(moves.weights);
    this.starts = this.counts.map((_, s) => this.counts.slice(0, s).reduce((sum, count) => sum + count, 0));
    this.taps = Array.from({ length: INTERVALS + 1 }, (_, i) => tapWeights(i / INTERVALS, MOVING));
    Object.assign(this.own, this.placesOf(wavelength));
    if (this.firsts) return;
    this.segments.forEach(([first, stop]) => { // even pixels are places, to the last bit
      for (let i = first; i < stop; i += 1) this.own.place[i] = i - first;
    });
  }

  // Segment (-1: none) and place in it of wavelengths
  placesOf(wavelength) {
    const segment = new Int32Array(wavelength.length).fill(-1);
    const place = new Float64Array(wavelength.length);
    this.segments.forEach(([first], s) => {
      const begin = Math.log(this.wavelength[first]);
      wavelength.forEach((one, i) => {
        const within = (Math.log(one) - begin) / this.step;
        if (within > -0.5 && within < this.counts[s] - 0.5) {
          segment[i] = s;
          place[i] = within;
        }
      });
    });
    return { segment, place };
  }

  // An axis to take spectra to: the networks' pixel nearest to each wavelength, and where it lies
  target(wavelength) {
    const same = wavelength.length === this.wavelength.length && wavelength.every((one, i) => one === this.wavelength[i]);
    if (same) return this.own;
    const pixels = Int32Array.from(wavelength, (one) => nearest(this.wavelength, one));
    return { wavelength, pixels, ...(this.problem ? {} : this.placesOf(wavelength)) };
  }

  // Flux at the pixels of the networks -> at those of the target, moved by km/s and broadened by widths in km/s
  moved(flux, target, velocity, widths) {
    const kernels = this.problem ? [] : this.kernels(widths);
    if (target === this.own && !velocity && !kernels.length) return flux;
    if (this.problem) return Float64Array.from(target.pixels, (pixel, i) =>
      (Math.abs(this.wavelength[pixel] / target.wavelength[i] - 1) < 1e-7 ? flux[pixel] : NaN));
    const even = this.counts.map((_, s) =>
      kernels.reduce((values, kernel) => broadened(values, kernel), this.even(flux, s)));
    const shift = Math.atanh(velocity / C_KM_S) / this.step;
    return this.sampled(even, target, shift);
  }

  kernels(widths) {
    return Object.entries(widths).map(([name, width]) => [this.shapes[name], width / (C_KM_S * this.step)])
      .filter(([, width]) => width > NARROWEST)
      .map(([shape, width]) => halfKernel(shape, width));
  }

  even(flux, s) {
    const count = this.counts[s];
    if (!this.firsts) return flux.subarray(this.segments[s][0], this.segments[s][1]);
    return Float64Array.from({ length: count }, (_, i) => {
      const at = this.starts[s] + i;
      let sum = 0;
      let total = 0;
      for (let k = 0; k < 8; k += 1) {
        const weight = this.weights[8 * at + k];
        if (weight !== 0) sum += weight * flux[this.firsts[at] + k];
        total += weight;
      }
      return total ? sum : NaN;
    });
  }

  sampled(even, { segment, place }, shift) {
    const result = new Float64Array(place.length).fill(NaN);
    const { half } = MOVING;
    for (let i = 0; i < place.length; i += 1) {
      if (segment[i] >= 0) {
        const values = even[segment[i]];
        const at = place[i] - shift;
        const whole = Math.floor(at + 1e-9);
        const first = whole + 1 - half;
        const t = Math.max(at - whole, 0);
        if (t < 1e-6 && whole >= 0 && whole < values.length) {
          result[i] = values[whole];
        } else if (first >= 0 && first + 2 * half <= values.length) {
          const scaled = t * INTERVALS;
          const interval = Math.min(Math.floor(scaled), INTERVALS - 1);
          const [before, after, part] = [this.taps[interval], this.taps[interval + 1], scaled - interval];
          let sum = 0;
          for (let k = 0; k < 2 * half; k += 1) sum += (before[k] + part * (after[k] - before[k])) * values[first + k];
          result[i] = sum;
        }
      }
    }
    return result;
  }
}

export function nearest(increasing, wanted) {
  let low = 0;
  let high = increasing.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (increasing[middle] <= wanted) low = middle;
    else high = middle;
  }
  return wanted - increasing[low] <= increasing[high] - wanted ? low : high;
}
