/** Keys that every contestant works on. */
export const KEY_COUNT = 10_000;

/** About 60 bytes as JSON, as a small setting or a seat has. */
export interface Value {
  readonly owner: string;
  readonly seat: string;
  readonly paid: number;
}

export function keyOf(index: number): string {
  return `key-${String(index).padStart(6, '0')}`;
}

export function valueOf(turn: number): Value {
  return { owner: 'ada.lovelace@example.com', seat: '12A', paid: turn };
}

/** Keys of all callers in a scattered order, the same for every contestant. */
export function scatteredKeys(): () => string {
  let state = 1;
  return () => {
    // Source: the "minimal standard" generator of Park and Miller.
    state = (state * 48_271) % 2_147_483_647;
    return keyOf(state % KEY_COUNT);
  };
}

/** A caller's own keys, one after another: no two callers ever change one key at once. */
export function ownKeys(callers: number): (caller: number) => string {
  const turns = new Uint32Array(callers);
  const each = Math.floor(KEY_COUNT / callers);
  return (caller) => {
    const turn = (turns[caller] ?? 0) % each;
    turns[caller] = turn + 1;
    return keyOf(caller + turn * callers);
  };
}
