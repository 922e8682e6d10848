import { LockstepError } from '../../model/errors.ts';
import { formatLsn } from '../../model/lsn.ts';
import { parseTimeline, parseTimelineHistory } from '../../model/timeline.ts';
import type { TimelineHistory } from '../../model/timeline.ts';
import { connectToLeader } from '../endpoints.ts';

/** Which of the source's pasts its leader goes on from. Source: PostgreSQL documentation, TIMELINE_HISTORY. */
export async function readSourceHistory(from: string): Promise<TimelineHistory> {
  const client = await connectToLeader(from, { applicationName: 'lockstep follow', replication: true });
  try {
    const { rows } = await client.query<{ timeline: string | number }>('IDENTIFY_SYSTEM');
    const timeline = parseTimeline(Number(rows[0]?.timeline));
    // The first has no file.
    if (timeline === 1) return { timeline, ancestors: [] };
    const history = await client.query<{ content: Buffer | string }>(`TIMELINE_HISTORY ${timeline}`);
    const [row] = history.rows;
    if (row === undefined)
      throw new LockstepError('POSTGRES_FAILED', `The source has no history of its timeline ${timeline}.`);
    return parseTimelineHistory(timeline, row.content.toString());
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** As it is kept beside a position: the timeline, then its ancestors as in a history file. */
export function formatHistory({ timeline, ancestors }: TimelineHistory): string {
  return [timeline, ...ancestors.map((each) => `${each.timeline}\t${formatLsn(each.forkedAt)}`)].join('\n');
}

export function parseHistory(text: string): TimelineHistory {
  const [timeline, ...ancestors] = text.split('\n');
  return parseTimelineHistory(parseTimeline(Number(timeline)), ancestors.join('\n'));
}
