import { mayTakeValues } from '../../../src/multi-leader/core/park-rule.ts';
import { compareVersions, supersedes } from '../../../src/multi-leader/core/version.ts';
import type { Version } from '../../../src/multi-leader/core/version.ts';
import { createRandom } from '../../../src/testing/simulation/random.ts';

/** What becomes of a row whose unique value a later one holds, and of the later one: as shipped, or a mutant. */
export type UniqueRule = 'park' | 'drop-the-loser' | 'refuse-the-second' | 'never-bring-back';

interface Write {
  readonly key: string;
  readonly version: Version;
  /** Null of a delete. */
  readonly email: string | null;
}

/** Every key that was ever written; those that do not stand in the table are aside. */
interface Held {
  readonly version: Version;
  readonly email: string | null;
  readonly stands: boolean;
}

const REGIONS = 3;
const WRITES = 24;

/** Regions that write accounts with unique addresses, over links with any delay. Returns what they end with differently. */
export function runUnique(seed: number, rule: UniqueRule): string[] {
  const random = createRandom(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const logs: Write[][] = Array.from({ length: REGIONS }, () => []);
  const tables = Array.from({ length: REGIONS }, () => new Map<string, Held>());
  const positions = Array.from({ length: REGIONS }, () => Array.from({ length: REGIONS }, () => 0));
  let now = 0;
  const holdersOf = (table: Map<string, Held>, write: Write): [string, Held][] =>
    [...table].filter(([key, { email, stands }]) => stands && key !== write.key && email === write.email);

  /** The shipped order: a write that is later than what its key has, then its unique value. */
  function place(table: Map<string, Held>, write: Write): void {
    const { key, version, email } = write;
    const known = table.get(key);
    if (known !== undefined && !supersedes(version, known.version)) return;
    const holders = email === null ? [] : holdersOf(table, write);
    const mayTake = mayTakeValues(
      version,
      holders.map(([, held]) => held.version),
    );
    if (rule === 'refuse-the-second' && holders.length > 0) return;
    if (!mayTake) {
      table.set(key, { version, email: rule === 'drop-the-loser' ? null : email, stands: false });
      return;
    }
    for (const [other, held] of holders)
      table.set(other, { ...held, email: rule === 'drop-the-loser' ? null : held.email, stands: false });
    table.set(key, { version, email, stands: email !== null });
  }

  function bringBack(table: Map<string, Held>): void {
    if (rule === 'never-bring-back') return;
    const aside = [...table].filter(([, { stands, email }]) => !stands && email !== null);
    for (const [key, held] of aside.toSorted(([, a], [, b]) => compareVersions(b.version, a.version)))
      place(table, { key, version: held.version, email: held.email });
  }

  function writeLocally(region: number): void {
    const table = tables[region] ?? new Map<string, Held>();
    const email = random() < 0.2 ? null : 'abc'[below(3)];
    const write: Write = {
      key: `k${below(6)}`,
      version: { timeUs: ++now, region, lsn: BigInt(now) },
      email: email ?? null,
    };
    // Somebody who writes is refused a value that is taken here.
    if (write.email !== null && holdersOf(table, write).length > 0) return;
    place(table, write);
    logs[region]?.push(write);
  }

  function deliver(from: number, to: number): boolean {
    const write = logs[from]?.[positions[to]?.[from] ?? 0];
    const table = tables[to];
    if (from === to || write === undefined || table === undefined) return false;
    place(table, write);
    (positions[to] ?? [])[from] = (positions[to]?.[from] ?? 0) + 1;
    return true;
  }

  for (let i = 0; i < WRITES * 4; i++) {
    const step = random();
    if (step < 0.3) writeLocally(below(REGIONS));
    else if (step < 0.9) deliver(below(REGIONS), below(REGIONS));
    else bringBack(tables[below(REGIONS)] ?? new Map<string, Held>());
  }
  for (let from = 0; from < REGIONS; from++) for (let to = 0; to < REGIONS; to++) while (deliver(from, to));
  // As often as the region looks at what is aside: each look may free a value for the next.
  for (const table of tables) for (let round = 0; round < 10; round++) bringBack(table);
  const shown = tables.map((table) =>
    [...table]
      .filter(([, { stands }]) => stands)
      .map(([key, { email }]) => `${key}=${email}`)
      .toSorted()
      .join(' '),
  );
  return shown.every((rows) => rows === shown[0]) ? [] : [`regions differ: ${shown.join(' | ')}`];
}
