/** Numbers in [0, 1) that follow from the seed alone. Source: mulberry32, T. Ettinger, public domain. */
export function createRandom(seed: number): () => number {
  // Seeds that follow each other begin far apart.
  let state = (seed * 0x9e3779b9) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One of the entries, each as likely as its weight says. `random` is a number in [0, 1). */
export function draw<T extends string>(weights: Readonly<Record<T, number>>, random: number): T {
  const entries = Object.entries<number>(weights) as [T, number][];
  let left = random * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [name, weight] of entries) {
    left -= weight;
    if (left < 0) return name;
  }
  return (entries.at(-1) as [T, number])[0];
}
