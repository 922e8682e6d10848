import type { ApplyServers } from '../apply/servers.ts';
import { differing, FollowProcess } from './follow-process.ts';

export interface MemoryResult {
  readonly rows: number;
  readonly peakMb: number | null;
  readonly differing: readonly string[];
}

const SCHEMA = (table: string): string =>
  `CREATE TABLE ${table} (id bigint PRIMARY KEY, customer_id int, note text, updated_at timestamptz)`;
const INSERT = (table: string, from: number, to: number): string =>
  `INSERT INTO ${table} SELECT g, g % 50000, rpad(md5(g::text), 60, 'x'), now() FROM generate_series(${from}, ${to}) g`;
const SMALL_ROWS = 50;

/** The follow's peak while it applies one transaction of so many rows. */
export async function runLargeTransaction(
  servers: ApplyServers,
  rows: number,
  signal: AbortSignal,
): Promise<MemoryResult> {
  const { source, target } = servers;
  for (const { client } of [source, target]) await client.query(SCHEMA('large'));
  await using follow = await FollowProcess.start(servers, 'large', ['large']);
  await follow.caughtUp(signal);
  await source.client.query(INSERT('large', 1, rows));
  await follow.caughtUp(signal);
  const peakMb = follow.peakMemoryMb;
  await follow.stop();
  return { rows, peakMb, differing: await differing(servers, ['large']) };
}

/** The follow's peak while its target hangs and the source commits so many rows, many in a large transaction and as many in small ones. */
export async function runHangingTarget(
  servers: ApplyServers,
  rows: number,
  signal: AbortSignal,
): Promise<MemoryResult> {
  const { source, target } = servers;
  for (const { client } of [source, target]) await client.query(SCHEMA('hang'));
  await using follow = await FollowProcess.start(servers, 'hang', ['hang']);
  await follow.caughtUp(signal);
  const { rows: backends } = await target.client.query<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE application_name = 'lockstep follow hang'`,
  );
  if (backends.length === 0) throw new Error('The follow has no connection to the target.');
  for (const { pid } of backends) process.kill(pid, 'SIGSTOP');
  try {
    await source.client.query(`DO $$ BEGIN FOR i IN 0..${rows / 2 / SMALL_ROWS - 1} LOOP
      ${INSERT('hang', 0, SMALL_ROWS - 1).replaceAll('SELECT g, g', `SELECT g + i * ${SMALL_ROWS}, g`)}; COMMIT; END LOOP; END $$`);
    await source.client.query(INSERT('hang', rows / 2, rows - 1));
    await untilStreamStands(servers, signal);
  } finally {
    for (const { pid } of backends) process.kill(pid, 'SIGCONT');
  }
  const peakMb = follow.peakMemoryMb;
  await follow.caughtUp(signal);
  await follow.stop();
  return { rows, peakMb, differing: await differing(servers, ['hang']) };
}

/** The walsender has sent nothing for a while: the follow takes no more. */
async function untilStreamStands({ source }: ApplyServers, signal: AbortSignal): Promise<void> {
  let sent = '';
  for (let unchanged = 0; unchanged < 5;) {
    signal.throwIfAborted();
    const { rows } = await source.client.query(
      `SELECT sent_lsn::text AS lsn, pg_sleep(1) FROM pg_stat_replication WHERE application_name = 'lockstep follow hang'`,
    );
    const now = String(rows[0]?.lsn);
    unchanged = now === sent ? unchanged + 1 : 0;
    sent = now;
  }
}
