import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { judgePositions } from '../core/position-rule.ts';
import { openSession } from '../sessions.ts';
import { markWentBack, readRegionWords } from '../setup/metadata.ts';
import type { RegionWords } from '../setup/metadata.ts';
import { nameFor } from '../setup/region-setup.ts';

export interface SourceWords extends RegionWords {
  readonly letGo: Lsn | null;
  readonly end: Lsn;
}

/** Asks a source what a link has to know before it reads its log. */
export async function askSource(source: { readonly url: string }, own: string): Promise<SourceWords> {
  const client = await openSession(source.url, 'words');
  try {
    const words = await readRegionWords(client);
    const { rows } = await client.query<{ end: string; letGo: string | null }>(
      `SELECT pg_current_wal_flush_lsn()::text AS end,
         (SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1 AND wal_status <> 'lost') AS "letGo"`,
      [nameFor(own)],
    );
    const letGo = rows[0]?.letGo ?? null;
    return { ...words, end: parseLsn(rows[0]?.end ?? '0/0'), letGo: letGo === null ? null : parseLsn(letGo) };
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Throws CONFIG_INVALID, with a sentence for people, where going on would lose something or let regions disagree. `client`: where
 * this region notes that it was put back, so that the others know it whenever they ask.
 */
export async function checkSource(
  client: pg.Client,
  { definition, isFounded, wentBack, letGo, end }: SourceWords,
  link: { readonly source: string; readonly own: string; readonly definition: string; readonly applied: Lsn },
): Promise<void> {
  const { source, own, applied } = link;
  if (definition !== link.definition) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Start regions ${source} and ${own} with the same definition: they would not agree about what they both write. The changes wait until then.`,
    );
  }
  const verdict = judgePositions({ isFounded, wentBack, letGo, end, applied });
  if (verdict === 'go') return;
  if (verdict === 'not-ready')
    throw new LockstepError('CONFIG_INVALID', 'The other region is not ready yet.', { retryable: true });
  if (verdict === 'target-went-back') await markWentBack(client);
  const remedy = 'Found the regions anew, as docs/multi-leader.md says under "A region that was put back"';
  const said = {
    'slot-gone': `${source} has no slot for ${own} any more: it was dropped, or given up because ${own} was away for too long, or the data of ${source} were put back from a backup. What ${source} wrote meanwhile cannot be had from its log`,
    'source-went-back': `the log of ${source} ends before what ${own} has of it: its data were put back to an earlier state, and lack what others have`,
    'target-went-back': `the data of ${own} were put back to an earlier state: ${source} has let go of changes that ${own} lacks`,
  };
  throw new LockstepError('CONFIG_INVALID', `${remedy}: ${said[verdict]}. Nothing is applied meanwhile.`);
}
