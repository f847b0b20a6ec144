/** A heaviest common subsequence of two sequences, as merge/diff.go has it. */

/** Of one table, and of all tables of one comparison: in cells. */
export const [maxCells, maxWork] = [2 << 20, 8 << 20];
/** What a common line is worth. Blank lines and rules must not hold apart what belongs together. */
export const [wordWeight, signWeight, blankWeight] = [1 << 12, 1 << 4, 1];
const perElement = 8; // cells that cost as much time as one element of cut

/** What may still be computed. */
export interface Work {
  cells: number;
}

/**
 * For each element of a its partner in b, or -1. Partners ascend. It takes from work the cells that it computes, and
 * finds fewer partners when there are not enough.
 */
export function diff(a: readonly number[], b: readonly number[], weight: (id: number) => number, work: Work): Int32Array {
  const match = new Int32Array(a.length).fill(-1);
  const compare = (i: number, j: number, k: number, l: number) => {
    while (i < j && k < l && a[i] === b[k]) match[i++] = k++;
    while (i < j && k < l && a[j - 1] === b[l - 1]) match[--j] = --l;
    const cells = (j - i) * (l - k);
    if (cells === 0) return;
    if (cells <= maxCells && cells <= work.cells) {
      work.cells -= cells;
      exact(i, j, k, l);
    } else cut(i, j, k, l);
  };

  /** Small ranges, by dynamic programming. */
  const exact = (i: number, j: number, k: number, l: number) => {
    const [both, down, right] = [0, 1, 2]; // the next step from a cell
    const [n, m] = [j - i, l - k];
    const steps = new Uint8Array(n * m);
    let [below, row] = [new Int32Array(m + 1), new Int32Array(m + 1)]; // the best of x+1, and of x
    for (let x = n - 1; x >= 0; x--) {
      const id = a[i + x]!;
      const w = weight(id);
      row[m] = 0;
      for (let y = m - 1; y >= 0; y--) {
        let [best, step] = [below[y]!, down];
        if (row[y + 1]! > best) [best, step] = [row[y + 1]!, right];
        if (b[k + y] === id && below[y + 1]! + w >= best) [best, step] = [below[y + 1]! + w, both];
        row[y] = best;
        steps[x * m + y] = step!;
      }
      [below, row] = [row, below];
    }
    for (let x = 0, y = 0; x < n && y < m; ) {
      const step = steps[x * m + y];
      if (step === both) match[i + x++] = k + y++;
      else if (step === down) x++;
      else y++;
    }
  };

  /** Large ranges, cut at the longest ascending sequence of elements that occur once in each (patience diff, Bram Cohen). */
  const cut = (i: number, j: number, k: number, l: number) => {
    if ((work.cells -= perElement * (j - i + l - k)) < 0) return;
    const inA = new Map<number, number>();
    const inB = new Map<number, { times: number; at: number }>();
    for (let x = i; x < j; x++) inA.set(a[x]!, (inA.get(a[x]!) ?? 0) + 1);
    for (let y = k; y < l; y++) inB.set(b[y]!, { times: (inB.get(b[y]!)?.times ?? 0) + 1, at: y });
    const pairs: [number, number][] = [];
    for (let x = i; x < j; x++) {
      const id = a[x]!;
      const there = inB.get(id);
      if (inA.get(id) === 1 && there?.times === 1 && weight(id) === wordWeight) pairs.push([x, there.at]);
    }
    for (const [x, y] of ascending(pairs)) {
      match[x] = y;
      compare(i, x, k, y);
      [i, k] = [x + 1, y + 1];
    }
    if (pairs.length) compare(i, j, k, l);
  };

  compare(0, a.length, 0, b.length);
  return match;
}

/** A longest subsequence of pairs whose second numbers ascend, as their first ones do (patience sorting). */
function ascending(pairs: [number, number][]): [number, number][] {
  const tops: number[] = []; // of each pile: the index of the pair with the lowest second number
  const before: number[] = [];
  pairs.forEach(([, at], n) => {
    let [low, high] = [0, tops.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (pairs[tops[middle]!]![1] < at) low = middle + 1;
      else high = middle;
    }
    before.push(low > 0 ? tops[low - 1]! : -1);
    tops[low] = n;
  });
  const longest: [number, number][] = [];
  for (let n = tops.at(-1) ?? -1; n >= 0; n = before[n]!) longest.push(pairs[n]!);
  return longest.reverse();
}
