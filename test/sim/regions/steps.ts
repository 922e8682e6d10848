import { beginToWait, commitBatch, crash, lockBatch, mayBegin } from './apply-steps.ts';
import {
  advanceTransaction,
  begin,
  beginPromise,
  endPromise,
  lowestOf,
  prune,
  readOwn,
  rewrite,
} from './local-steps.ts';
import { mayJoin, takeJoinStep } from './joining.ts';
import { judge, judgeableOrphans, parentsAreHeld } from './orphans.ts';
import { carryOut, decidedKeys } from './priority.ts';
import { resolvableKeys, resolveConflict } from './resolving.ts';
import { empty, mayEmpty, mayTruncate, nextTruncate } from './truncate.ts';
import { clockOf, linkId, regionAt, WHOLE_TABLE } from './world.ts';
import type { RegionState, ScriptStep, World } from './world.ts';

/** Something that may happen next. */
export type Step =
  | { readonly kind: 'begin' | 'read-own' | 'promise' | 'end-promise' | 'prune'; readonly region: number }
  | { readonly kind: 'rewrite' | 'clock-back'; readonly region: number }
  | { readonly kind: 'stamp' | 'log' | 'show'; readonly region: number; readonly index: number }
  | { readonly kind: 'wait' | 'lock'; readonly from: number; readonly to: number; readonly count: number }
  | { readonly kind: 'commit' | 'crash' | 'empty'; readonly from: number; readonly to: number }
  | { readonly kind: 'judge' | 'resolve' | 'carry-out'; readonly region: number; readonly key: string }
  | { readonly kind: 'join' }
  | { readonly kind: 'tick'; readonly by: number };

const PROMISE_LIMIT = 40;
const CLOCK_STEP = 40;
const TRANSACTION_STEP = { open: 'stamp', stamped: 'log', logged: 'show' } as const;

export function possibleSteps(world: World): Step[] {
  const steps: Step[] = [];
  let clockWait = 0;
  const joins = mayJoin(world);
  if (joins === true) steps.push({ kind: 'join' });
  else clockWait = joins;
  for (const region of world.regions) {
    if (!region.isOpen) continue;
    localSteps(world, region, steps);
    const [next] = region.rewrites;
    if (next !== undefined && clockOf(world, region) <= next.afterUs)
      clockWait = Math.max(clockWait, next.afterUs - clockOf(world, region) + 1);
    for (const other of world.regions) {
      if (other === region || !other.isOpen) continue;
      clockWait = Math.max(clockWait, linkSteps(world, other, region, steps));
    }
  }
  if (clockWait > 0) steps.push({ kind: 'tick', by: clockWait });
  return steps;
}

function localSteps(world: World, region: RegionState, steps: Step[]): void {
  const { id } = region;
  const [next] = region.script;
  if (next !== undefined && region.open.length < 2 && next.every((one) => isFreeFor(world, region, one)))
    steps.push({ kind: 'begin', region: id });
  region.open.forEach(({ state }, index) => steps.push({ kind: TRANSACTION_STEP[state], region: id, index }));
  if (region.ownPosition < region.log.length) steps.push({ kind: 'read-own', region: id });
  if (region.promiseUnderWay === null) {
    if (region.promises.length < PROMISE_LIMIT) steps.push({ kind: 'promise', region: id });
  } else if (region.promiseUnderWay.waitsFor.every((xid) => region.open.every((one) => one.xid !== xid)))
    steps.push({ kind: 'end-promise', region: id });
  // Folding a journal and applying a batch take turns.
  const isFree =
    (world.mode === 'row' && !world.hasUniqueValues) ||
    world.regions.every((from) => !world.applying.has(linkId(from.id, id)));
  // What is aside is looked at once the own reader has passed.
  const mayLook = region.aside.size === 0 || region.ownPosition >= region.log.length;
  if (isFree && mayLook && (lowestOf(world, region) ?? -1) > region.lastPruned)
    steps.push({ kind: 'prune', region: id });
  for (const key of judgeableOrphans(world, region)) steps.push({ kind: 'judge', region: id, key });
  for (const key of resolvableKeys(region)) steps.push({ kind: 'resolve', region: id, key });
  for (const key of decidedKeys(region)) steps.push({ kind: 'carry-out', region: id, key });
  if (world.clockStepsLeft > 0) steps.push({ kind: 'clock-back', region: id });
  const [again] = region.rewrites;
  if (again !== undefined && clockOf(world, region) > again.afterUs && !region.locks.has(again.key))
    steps.push({ kind: 'rewrite', region: id });
}

function isFreeFor(world: World, region: RegionState, { key, isTruncate }: ScriptStep): boolean {
  return isTruncate ? mayTruncate(world, region) : !region.locks.has(key) && !region.locks.has(WHOLE_TABLE);
}

/** Returns how much time a batch lacks that waits for the clock. */
function linkSteps(world: World, from: RegionState, to: RegionState, steps: Step[]): number {
  const { rules } = world;
  const link = { from: from.id, to: to.id };
  const batch = world.applying.get(linkId(from.id, to.id));
  let clockWait = 0;
  const tryToLock = (count: number): void => {
    const verdict = mayBegin(world, from, to, count);
    if (verdict === true) steps.push({ kind: 'lock', ...link, count });
    else clockWait = Math.max(clockWait, verdict);
  };
  const truncate = nextTruncate(from, to);
  if (truncate !== null) {
    const verdict = mayEmpty(world, to, truncate);
    if (verdict === true) steps.push({ kind: 'empty', ...link });
    return verdict === true ? 0 : verdict;
  }
  if (batch === undefined) {
    const behind = from.log.length - (to.positions.get(from.id) ?? 0);
    for (const count of [1, 3]) {
      if (behind < 1 || (count > 1 && behind < 2)) continue;
      if (rules.missing === 'check-then-insert') steps.push({ kind: 'wait', ...link, count });
      else tryToLock(count);
    }
  } else if (batch.phase === 'waiting-to-check') {
    if (to.ownPosition >= (batch.waitsForOwn ?? 0)) tryToLock(batch.count);
  } else {
    const lack =
      rules.clockIsChecked === 'before-commit' ? rules.clockLack(clockOf(world, to), batch.highestUs) : 0;
    if (lack > 0) clockWait = lack;
    else if (
      (batch.waitsForOwn === null || to.ownPosition >= batch.waitsForOwn) &&
      !parentsAreHeld(world, to, batch.changes)
    )
      steps.push({ kind: 'commit', ...link });
    if (world.crashesLeft > 0) steps.push({ kind: 'crash', ...link });
  }
  return clockWait;
}

export function takeStep(world: World, step: Step): void {
  switch (step.kind) {
    case 'tick':
      world.now += step.by;
      break;
    case 'join':
      takeJoinStep(world);
      break;
    case 'begin':
      begin(world, step.region);
      break;
    case 'stamp':
    case 'log':
    case 'show':
      advanceTransaction(world, step.region, step.index);
      break;
    case 'read-own':
      readOwn(world, step.region);
      break;
    case 'promise':
      beginPromise(world, step.region);
      break;
    case 'end-promise':
      endPromise(world, step.region);
      break;
    case 'prune':
      prune(world, step.region);
      break;
    case 'judge':
      judge(world, step.region, step.key);
      break;
    case 'resolve':
      resolveConflict(world, step.region, step.key);
      break;
    case 'carry-out':
      carryOut(world, step.region, step.key);
      break;
    case 'rewrite':
      rewrite(world, step.region);
      break;
    case 'clock-back':
      world.clockStepsLeft--;
      regionAt(world, step.region).offset -= CLOCK_STEP;
      break;
    case 'wait':
      beginToWait(world, step.from, step.to, step.count);
      break;
    case 'lock':
      lockBatch(world, step.from, step.to, step.count);
      break;
    case 'commit':
      commitBatch(world, step.from, step.to);
      break;
    case 'empty':
      empty(world, step.from, step.to);
      break;
    case 'crash':
      crash(world, step.from, step.to);
      break;
  }
  skipApplied(world);
}

/** Readers pass applied commits by their origin, and learn the promises they come past. */
function skipApplied(world: World): void {
  for (const region of world.regions.filter(({ isOpen }) => isOpen)) {
    while (region.log[region.ownPosition]?.isApplied === true) {
      if (world.rules.rewritesBehindItself === 'own-past')
        region.highestUs = Math.max(region.highestUs, region.log[region.ownPosition]?.timeUs ?? 0);
      region.ownPosition++;
    }
    hear(region, region, region.ownPosition);
    for (const from of world.regions) {
      if (from === region || world.applying.has(linkId(from.id, region.id))) continue;
      let position = region.positions.get(from.id) ?? 0;
      while (from.log[position]?.isApplied === true) position++;
      region.positions.set(from.id, position);
      if (world.rules.promise !== 'last-applied-time') hear(region, from, position);
    }
  }
}

function hear(region: RegionState, from: RegionState, position: number): void {
  for (const promise of from.promises) {
    if (promise.position > position) continue;
    region.promised.set(from.id, Math.max(region.promised.get(from.id) ?? -1, promise.timeUs));
  }
}
