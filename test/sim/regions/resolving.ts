import { findConflicts } from '../../../src/multi-leader/core/merge.ts';
import type { Operation } from '../../../src/multi-leader/core/merge.ts';
import { isSameImage } from '../../../src/multi-leader/core/image.ts';
import type { Answer, Question } from '../../../src/multi-leader/core/resolve-rule.ts';
import { COLUMN_RULES, regionAt, writeAtOnce } from './world.ts';
import type { RegionState, Row, World } from './world.ts';

/** Of two lists of words, all. */
export function uniteTags(a: string | null, b: string | null): string {
  return [...new Set(`${a ?? ''} ${b ?? ''}`.split(' ').filter((tag) => tag !== ''))].toSorted().join(' ');
}

interface Folded {
  readonly key: string;
  readonly base: Row | null;
  readonly operations: readonly Operation[];
}

/** As the shipped function of this name. */
export function noteOpenConflicts(world: World, region: RegionState, folded: Folded): void {
  if (world.resolver === null) return;
  if (!world.rules.isReferee(folded.key, world.regions.length, region.id)) return;
  if (findConflicts(folded.base, folded.operations, COLUMN_RULES).length > 0)
    region.openConflicts.push(folded);
}

/** Rows about which the resolver can be asked: nobody holds them. */
export function resolvableKeys(region: RegionState): string[] {
  return [...new Set(region.openConflicts.map(({ key }) => key))].filter((key) => !region.locks.has(key));
}

/** As the shipped `ConflictResolver`: what comes of it is a local change like any other. */
export function resolveConflict(world: World, id: number, key: string): void {
  const region = regionAt(world, id);
  const index = region.openConflicts.findIndex((open) => open.key === key);
  const [open] = region.openConflicts.splice(index, 1);
  if (index === -1 || open === undefined) return;
  const here = region.rows.get(key)?.row ?? null;
  const steps = world.rules.resolveRow(open.base, open.operations, COLUMN_RULES, here);
  let step = steps.next();
  while (step.done !== true) step = steps.next(answer(world, step.value));
  const { wanted } = step.value;
  if (isSameImage(wanted, here)) return;
  if (wanted !== null && here !== null && wanted[2] !== here[2])
    world.violations.push(`region ${id} decided about the count of ${key}`);
  writeAtOnce(world, region, { kind: wanted === null ? 'delete' : 'put', key, old: here, row: wanted });
}

/** A row that one of them kept stays, with the tags of both. It gives back the later one's count, which may lack others'. */
function answer(world: World, { a, b }: Question): Answer {
  world.asked++;
  const [one, other] = [a ?? b, b ?? a];
  if (one === null || other === null) return { kind: 'row', row: null };
  const more = world.resolver === 'grows' ? `g${world.asked}` : '';
  const tags = uniteTags(uniteTags(one[0] ?? null, other[0] ?? null), more);
  return { kind: 'row', row: [tags, other[1] ?? null, other[2] ?? null] };
}

/** Tags that somebody wrote, and that the row does not have in the end; where no row was ever deleted. */
export function findLostTags(world: World): string[] {
  const entries = world.regions.flatMap(({ log }) => log.flatMap(({ changes }) => changes));
  if (world.resolver === null || entries.some(({ kind }) => kind === 'delete')) return [];
  return world.keys.flatMap((key) => {
    const written = entries.filter((change) => change.key === key).map(({ row }) => row?.[0] ?? '');
    const all = uniteTags(written.join(' '), '').split(' ');
    const here = new Set((world.regions[0]?.rows.get(key)?.row[0] ?? '').split(' '));
    const lost = all.filter((tag) => tag !== '' && !here.has(tag));
    return lost.length === 0 ? [] : [`${key} has lost ${lost.join(' ')}`];
  });
}
