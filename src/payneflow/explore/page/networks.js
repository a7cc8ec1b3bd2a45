// The networks: scaled labels in, flux and its derivative by one of them out. The formulas of network.py and
// whole_spectrum.py, in double precision from weights of single precision. A pixel without a network gives NaN.
import { unpack } from "./arrays.js";

const SPAN = 0.8;
const OFFSET = 0.1;

export class Labels {
  constructor(labels) {
    this.all = labels;
  }

  scale(values) {
    return values.map((value, j) => {
      const { low, high } = this.all[j];
      return ((value - low) * SPAN) / (high - low) + OFFSET;
    });
  }

  unscale(scaled) {
    return scaled.map((value, j) => {
      const { low, high } = this.all[j];
      return ((value - OFFSET) * (high - low)) / SPAN + low;
    });
  }

  // Scaled labels that one unit of label j is
  steepness(j) {
    return SPAN / (this.all[j].high - this.all[j].low);
  }
}

class PixelNetworks {
  constructor(facts) {
    [this.w0, this.b0, this.w1, this.b1] = ["w_array_0", "b_array_0", "w_array_1", "b_array_1"].map((key) =>
      unpack(facts.weights[key]));
    this.nPixel = this.b1.length;
    [, this.nNeuron, this.nLabel] = facts.weights.w_array_0.shape;
    this.isLinear = facts.kind === "linear";
    [this.lowest, this.highest] = facts.flux_scale;
  }

  // Flux of pixel i at x
  pixel(i, x) {
    return this.of(i, i + 1, x, 0).flux[0];
  }

  // Flux of pixels first ... stop (exclusive), and its derivative by scaled label j
  of(first, stop, x, j) {
    const { nNeuron, nLabel, w0, b0, w1, b1, isLinear, lowest } = this;
    const width = this.highest - lowest;
    const labels = Float64Array.from(x);
    const flux = new Float64Array(stop - first);
    const slopes = new Float64Array(stop - first);
    let k = first * nNeuron;
    let at = k * nLabel;
    for (let i = first; i < stop; i += 1) {
      let z = b1[i];
      let slope = 0;
      for (let neuron = 0; neuron < nNeuron; neuron += 1, k += 1, at += nLabel) {
        let inside = b0[k];
        for (let l = 0; l < nLabel; l += 1) inside += w0[at + l] * labels[l];
        const hidden = 1 / (1 + Math.exp(-inside));
        z += w1[k] * hidden;
        slope += w1[k] * hidden * (1 - hidden) * w0[at + j];
      }
      const out = isLinear ? z : 1 / (1 + Math.exp(-z));
      flux[i - first] = lowest + width * (isLinear ? z : (out - OFFSET) / SPAN);
      slopes[i - first] = slope * width * (isLinear ? 1 : (out * (1 - out)) / SPAN);
    }
    return { flux, slope: slopes };
  }

  both(x, j) {
    return this.of(0, this.nPixel, x, j);
  }

  flux(x) {
    return this.both(x, 0).flux;
  }
}

class WholeSpectrumNetworks {
  constructor(facts) {
    const names = [0, 1, 2];
    this.w = names.map((layer) => unpack(facts.weights[`w_array_${layer}`]));
    this.b = names.map((layer) => unpack(facts.weights[`b_array_${layer}`]));
    this.leaky = facts.leaky_slope;
    this.nPixel = this.b[2].length;
    [this.lowest, this.highest] = facts.flux_scale;
  }

  times(layer, vector, row) {
    const n = vector.length;
    let sum = 0;
    for (let i = 0, at = row * n; i < n; i += 1, at += 1) sum += this.w[layer][at] * vector[i];
    return sum;
  }

  // What goes into the last layer at x, and its derivative by scaled label j
  hidden(x, j) {
    let values = Float64Array.from(x);
    let slopes = Float64Array.from(x, (_, l) => (l === j ? 1 : 0));
    for (const layer of [0, 1]) {
      const inside = Float64Array.from(this.b[layer], (bias, k) => bias + this.times(layer, values, k));
      const steep = inside.map((z) => (z > 0 ? 1 : this.leaky));
      slopes = Float64Array.from(inside, (_, k) => steep[k] * this.times(layer, slopes, k));
      values = inside.map((z, k) => z * steep[k]);
    }
    return { values, slopes };
  }

  out(i, values) {
    return this.lowest + (this.highest - this.lowest) * (this.times(2, values, i) + this.b[2][i]);
  }

  pixel(i, x) {
    return this.out(i, this.hidden(x, 0).values);
  }

  // Flux of all pixels at x, and its derivative by scaled label j
  both(x, j) {
    const { values, slopes } = this.hidden(x, j);
    const width = this.highest - this.lowest;
    const flux = new Float64Array(this.nPixel);
    const slope = new Float64Array(this.nPixel);
    for (let i = 0; i < this.nPixel; i += 1) {
      flux[i] = this.out(i, values);
      slope[i] = width * this.times(2, slopes, i);
    }
    return { flux, slope };
  }

  flux(x) {
    return this.both(x, 0).flux;
  }
}

export function networksOf(facts) {
  return facts.kind === "whole" ? new WholeSpectrumNetworks(facts) : new PixelNetworks(facts);
}
