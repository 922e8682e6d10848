import type { ChaosResult } from './client-failover.ts';
import type { ClusterChaosResult } from './cluster-chaos.ts';

type Row = readonly [string, string | number];

interface Told {
  readonly rule: string;
  readonly what: string;
}

/** More of the same say no more. */
const SHOWN = 20;

export function renderClientResult(result: ChaosResult): string {
  const { unknown, unavailableMs } = result;
  const rows: Row[] = [
    ['Rounds', result.rounds],
    ['Faults', renderCounts(result.faults)],
    ['New leaders', result.failovers],
    ['Writes acknowledged', result.acknowledged],
    ['Synchronous ones lost', result.lost],
    ['Asynchronous ones lost', `${result.asyncLost} (allowed)`],
    ['Doubled', result.doubled],
    ['Two leaders at once', result.overlaps],
    ['Lost answers', `${unknown.met}, ${unknown.resolved} resolved by key, ${unknown.told} told as unknown`],
    ['Session reads, repeats', `${result.sessionReads}, ${result.repeats}`],
    ['Unavailable', `median ${unavailableMs.median} ms, worst ${unavailableMs.worst} ms`],
  ];
  return renderTable(rows, result.violations);
}

export function renderClusterResult(result: ClusterChaosResult): string {
  const { asyncLost, unavailableMs, overlapsAllowed } = result;
  const rows: Row[] = [
    ['Rounds', result.rounds],
    ['Faults', renderCounts(result.faults)],
    ...Object.entries(result.skipped).map(([fault, reason]): Row => [`Skipped ${fault}`, reason]),
    ['New leaders', result.failovers],
    ['Writes acknowledged', result.acknowledged],
    ['Synchronous ones lost', result.lost],
    [
      'Asynchronous ones lost',
      `${asyncLost.count}, from up to ${asyncLost.windowMs} ms before the fault (allowed)`,
    ],
    [
      'Two leaders at once',
      `${result.overlaps} acknowledgements, ${overlapsAllowed} of them allowed, latest ${result.overlapWorstMs} ms`,
    ],
    ['Unavailable', `median ${unavailableMs.median} ms, worst ${unavailableMs.worst} ms`],
    ...Object.entries(result.unavailableMsByFault).map(([fault, { median, worst }]): Row => [
      `  ${fault}`,
      `median ${median} ms, worst ${worst} ms`,
    ]),
  ];
  return renderTable(rows, result.violations);
}

function renderCounts(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}

function renderTable(rows: readonly Row[], violations: readonly Told[]): string {
  const table = rows.map(([name, value]) => `  ${name.padEnd(26)}${value}`).join('\n');
  const more = violations.length - SHOWN;
  const verdict =
    violations.length === 0
      ? '  Every promise held.'
      : [
          ...violations.slice(0, SHOWN).map(({ rule, what }) => `  BROKEN: ${rule}: ${what}`),
          ...(more > 0 ? [`  and ${more} more`] : []),
        ].join('\n');
  return `\n${table}\n\n${verdict}\n`;
}
