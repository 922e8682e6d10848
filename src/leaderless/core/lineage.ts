import { compareBallots } from '../../consensus/ballot.ts';
import type { Ballot } from '../../consensus/ballot.ts';

/**
 * The ballots that a slot's value was built on, oldest first, as runs `proposer:from-to` joined by commas: a proposer that repeats
 * counts up by one. Kept within the value, so that whoever proposed can tell later whether it was chosen.
 */
export type Lineage = string;

/** Runs kept. A call that stayed unknown for longer than so many changes of proposer cannot be settled any more. */
const MAX_RUNS = 16;

interface Run {
  readonly proposer: string;
  readonly from: number;
  readonly to: number;
}

function parseRuns(lineage: Lineage): Run[] {
  if (lineage === '') return [];
  return lineage.split(',').map((text) => {
    const [proposer = '', span = ''] = text.split(':');
    const [from, to] = span.split('-').map(Number);
    return { proposer, from: from ?? 0, to: to ?? from ?? 0 };
  });
}

/** The lineage of a slot that is not there: whatever was proposed up to the floor may have been erased. Its run has no proposer. */
export function lineageAbove(floor: number): Lineage {
  return `:0-${floor}`;
}

/** The lineage with one more ballot, which must be the highest. */
export function extendLineage(lineage: Lineage, ballot: Ballot): Lineage {
  const cut = lineage.lastIndexOf(',');
  const last = parseRuns(lineage.slice(cut + 1))[0];
  if (last?.proposer === ballot.proposer && last.to + 1 === ballot.counter) {
    return `${lineage.slice(0, cut + 1)}${last.proposer}:${last.from}-${ballot.counter}`;
  }
  const runs = lineage === '' ? [] : lineage.split(',');
  return [...runs.slice(1 - MAX_RUNS), `${ballot.proposer}:${ballot.counter}-${ballot.counter}`].join(',');
}

/**
 * Whether a proposal was chosen, told by the lineage of a value that was chosen under a higher ballot, or under the same.
 * `unknown`: it is older than what the lineage reaches back to.
 */
export function judgeBallot(lineage: Lineage, ballot: Ballot): 'applied' | 'not-applied' | 'unknown' {
  const runs = parseRuns(lineage);
  const isIn = runs.some(
    ({ proposer, from, to }) =>
      proposer === ballot.proposer && ballot.counter >= from && ballot.counter <= to,
  );
  if (isIn) return 'applied';
  const oldest = runs[0];
  if (oldest?.proposer === '') return ballot.counter <= oldest.to ? 'unknown' : 'not-applied';
  if (oldest === undefined || runs.length < MAX_RUNS) return 'not-applied';
  return compareBallots(ballot, { counter: oldest.from, proposer: oldest.proposer }) < 0
    ? 'unknown'
    : 'not-applied';
}
