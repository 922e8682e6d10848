/**
 * One sentence on how the regions are.
 * @param {import('../world.ts').WorldPicture} world
 * @returns {string}
 */
export function describeWorld(world) {
  const gone = world.regions.filter(({ links }) => links === null).map(({ name }) => name);
  if (gone.length > 0) return `The process of ${gone.join(' and ')} does not answer.`;
  const pairs = pairsOf(world);
  const failed = pairs.filter(({ state }) => state === 'failed' || state === 'held');
  if (failed.length > 0)
    return `Changes wait between ${failed.map(({ a, b }) => `${a} and ${b}`).join(', ')}.`;
  const cut = pairs.filter(({ state }) => state === 'cut');
  if (cut.length > 0)
    return `Cut apart: ${cut.map(({ a, b }) => `${a} and ${b}`).join(', ')}. All go on writing.`;
  return `${world.regions.length} regions, every link up.`;
}

const WORST_FIRST = ['cut', 'failed', 'held', 'connecting', 'streaming'];

/**
 * Each two regions once, with the worse state of the two links between them.
 * @param {import('../world.ts').WorldPicture} world
 * @returns {{ a: string, b: string, state: string }[]}
 */
export function pairsOf(world) {
  const pairs = new Map();
  for (const { from, to, state } of world.regions.flatMap(({ links }) => links ?? [])) {
    const [a, b] = [from, to].sort();
    const id = `${a} ${b}`;
    const other = pairs.get(id);
    const isWorse = other === undefined || WORST_FIRST.indexOf(state) < WORST_FIRST.indexOf(other.state);
    if (isWorse) pairs.set(id, { a, b, state });
  }
  return [...pairs.values()];
}

/** By decision, what became of the two; of the command `lockstep regions conflicts` too. */
export const DECISIONS = {
  merged: 'both are in the result',
  'later-wins': 'the later one stands',
  same: 'both did the same',
  resolved: 'the resolver decided',
  parked: 'parked, for a person to decide',
  'region-priority': 'the first region stands',
  'parent-restored': 'the parent came back',
  'orphan-deleted': 'the row without its parent was deleted',
};

/**
 * What happened, and for each column that it was about what was seen, written, and came of it.
 * @param {import('../world.ts').WorldConflict} conflict
 * @returns {{ title: string, lines: string[] }}
 */
export function describeConflict({
  table,
  key,
  kind,
  decision,
  earlier,
  later,
  before,
  seen,
  written,
  result,
}) {
  const first = earlier === null ? 'an earlier write' : earlier.region;
  const said = DECISIONS[/** @type {keyof typeof DECISIONS} */ (decision)] ?? decision;
  const title = `${later.at.slice(11, 19)}  ${table} ${key}: ${kind} by ${first} and ${later.region}; ${said}.`;
  const names = new Set([before, seen, written, result].flatMap((row) => Object.keys(row ?? {})));
  const lines = [...names].flatMap((name) => {
    const [was, saw, wrote, is] = [before, seen, written, result].map((row) =>
      row === null ? '(no row)' : (row[name] ?? 'NULL'),
    );
    if (was === saw && saw === wrote) return [];
    return [`${name}: ${later.region} saw ${saw} and wrote ${wrote}; it was ${was} and is ${is}`];
  });
  return { title, lines };
}
