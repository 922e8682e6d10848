/** Keys in the order of their bytes, as PostgreSQL's collation "C" sorts them. */

/** Keys that one node gave, in order. `isWhole`: it has no more. */
export interface KeyPage {
  readonly keys: readonly string[];
  readonly isWhole: boolean;
}

const LAST_BEFORE_SURROGATES = 0xd7_ff;
const FIRST_AFTER_SURROGATES = 0xe0_00;
const LAST_CODE_POINT = 0x10_ff_ff;

/** The first text behind all that start with `prefix`; null when there is none. */
export function endOfPrefix(prefix: string): string | null {
  const points = Array.from(prefix, (character) => character.codePointAt(0) ?? 0);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    if (last === LAST_CODE_POINT) continue;
    const next = last === LAST_BEFORE_SURROGATES ? FIRST_AFTER_SURROGATES : last + 1;
    return String.fromCodePoint(...points, next);
  }
  return null;
}

/** The first text behind `key`. */
export function nextKey(key: string): string {
  return `${key}\u0001`;
}

export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/**
 * The keys of several nodes as one page. It ends where the first of them was cut off: behind that a node may have keys that
 * it has not given. `isWhole`: no node has more.
 */
export function joinPages(pages: readonly KeyPage[]): KeyPage {
  const ends = pages.flatMap(({ keys, isWhole }) => (isWhole ? [] : [keys.at(-1) ?? ''])).sort(compareKeys);
  const end = ends[0];
  const all = [...new Set(pages.flatMap(({ keys }) => keys))].sort(compareKeys);
  if (end === undefined) return { keys: all, isWhole: true };
  return { keys: all.filter((key) => compareKeys(key, end) <= 0), isWhole: false };
}
