import type { FollowStatus } from '../status.ts';

/** What a follow says of itself, in Prometheus's text format. What is not known yet is left out. */
export function renderFollowMetrics(status: FollowStatus): string {
  const { position, quarantined, tables } = status;
  const gauges: readonly (readonly [string, string, number | null])[] = [
    [
      'up',
      'Whether it follows: 1, or 0 while it copies or something is in the way.',
      status.state === 'following' ? 1 : 0,
    ],
    ['lag_bytes', "Bytes of the source's log that are not in the target yet.", status.lagBytes],
    [
      'lag_seconds',
      'Age of the newest applied commit while there is more to apply.',
      inSeconds(status.lagMs),
    ],
    [
      'until_caught_up_seconds',
      'At the present rates; missing while it does not get closer.',
      status.caughtUpInSeconds,
    ],
    [
      'position_bytes',
      "The position in the source's log before which everything is in the target.",
      Number(position),
    ],
    ['quarantined_transactions', 'Transactions that could not be applied and wait for people.', quarantined],
    [
      'tables_copied',
      'Tables whose copy this process has done.',
      tables.filter(({ state }) => state === 'copied').length,
    ],
  ];
  const counters: readonly (readonly [string, string, number])[] = [
    ['transactions_total', 'Source transactions applied by this process.', status.transactions],
    ['changes_total', 'Changes of rows in them.', status.changes],
    ['written_rows_total', 'Rows written for them: changes of one row come to one.', status.rows],
    ['missing_rows_total', 'Rows that an update or delete did not find.', status.missingRows],
  ];
  return [
    ...gauges.flatMap((each) => lines(status.name, 'gauge', ...each)),
    ...counters.flatMap((each) => lines(status.name, 'counter', ...each)),
  ].join('');
}

function inSeconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1_000;
}

function lines(follow: string, type: string, name: string, help: string, value: number | null): string[] {
  if (value === null) return [];
  const full = `lockstep_follow_${name}`;
  return [`# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${full}{follow="${follow}"} ${value}\n`];
}
