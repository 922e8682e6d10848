import { setTimeout as delay } from 'node:timers/promises';
import { insertFollow, removeFollow } from '../../src/logical/follow/registry.ts';
import { ensureOwnSchema, OWN_SCHEMA } from '../../src/logical/apply/own-schema.ts';
import { dropSlot } from '../../src/logical/slots.ts';
import { Follow } from '../../src/logical/follow/follow.ts';
import { readSource } from '../../src/logical/follow/source.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import type { ApplyLoad } from './loads.ts';
import { marker, slotName } from './servers.ts';
import type { ApplyServers } from './servers.ts';

const POLL_MS = 10;
const TIMEOUT_MS = 600_000;

/** How one round went. */
export interface ApplyRound {
  readonly seconds: number;
  /** Which tables differ afterwards; null when none does. */
  readonly difference: string | null;
}

export interface ApplyRoundOptions {
  /** Whether each commit of the target waits for its disk. */
  readonly isSynchronous: boolean;
  /** Where ours reaches the target, when something stands in between. */
  readonly targetUrl?: string;
  /** Once the backlog is applied, and before the rows are compared. */
  readonly whileFollowing?: () => Promise<void>;
  readonly signal: AbortSignal;
}

/** Applies the backlog with `lockstep follow`, from the moment it is told to until the last row is there. */
export async function applyWithLockstep(
  servers: ApplyServers,
  load: ApplyLoad,
  options: ApplyRoundOptions,
): Promise<ApplyRound> {
  await servers.reset(load);
  const { source, target } = servers;
  await ensureOwnSchema(target.client);
  await removeFollow(target.client, load.name);
  const slot = await source.client.query(
    'SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1',
    [slotName(load)],
  );
  const position = parseLsn(slot.rows[0].lsn);
  const { system } = await readSource(source.client);
  await insertFollow(target.client, {
    name: load.name,
    sourceSystem: system,
    slot: slotName(load),
    publication: slotName(load),
    position,
    history: null,
  });
  const names = [...load.tables, marker(load)];
  await target.client.query(
    `INSERT INTO ${OWN_SCHEMA}.follow_table SELECT $1, 'public', unnest($2::text[]), $3::pg_lsn, 0`,
    [load.name, names, slot.rows[0].lsn],
  );
  const follow = new Follow({
    from: source.url,
    to: options.targetUrl ?? target.url,
    name: load.name,
    tables: names.map((name) => ({ schema: 'public', name })),
    synchronousCommit: options.isSynchronous ? 'on' : 'off',
  });
  const stop = new AbortController();
  const startedAtMs = performance.now();
  const running = follow.run(stop.signal);
  try {
    await Promise.race([untilThrough(servers, load, options.signal), running]);
    const seconds = (performance.now() - startedAtMs) / 1_000;
    if (options.whileFollowing !== undefined) await Promise.race([options.whileFollowing(), running]);
    return { seconds, difference: await servers.compare(load) };
  } finally {
    stop.abort();
    await running;
    await dropWhenIdle(servers, load);
  }
}

/** Applies it with PostgreSQL's own subscription, from when it is enabled. */
export async function applyWithSubscription(
  servers: ApplyServers,
  load: ApplyLoad,
  options: ApplyRoundOptions,
): Promise<ApplyRound> {
  await servers.reset(load);
  const { source, target } = servers;
  const name = `s_${load.name}`;
  const settings = [
    'enabled = false',
    'create_slot = false',
    'copy_data = false',
    `slot_name = '${slotName(load)}'`,
    `streaming = ${servers.major >= 16 ? 'parallel' : 'on'}`,
    `synchronous_commit = ${options.isSynchronous ? 'on' : 'off'}`,
  ];
  await target.client.query(
    `CREATE SUBSCRIPTION ${name} CONNECTION '${connInfo(source.url)}' PUBLICATION ${slotName(load)} WITH (${settings.join(', ')})`,
  );
  const startedAtMs = performance.now();
  await target.client.query(`ALTER SUBSCRIPTION ${name} ENABLE`);
  try {
    await untilThrough(servers, load, options.signal);
    const seconds = (performance.now() - startedAtMs) / 1_000;
    return { seconds, difference: await servers.compare(load) };
  } finally {
    await target.client.query(`ALTER SUBSCRIPTION ${name} DISABLE`);
    await target.client.query(`ALTER SUBSCRIPTION ${name} SET (slot_name = NONE)`);
    await target.client.query(`DROP SUBSCRIPTION ${name}`);
    await dropWhenIdle(servers, load);
  }
}

async function untilThrough(servers: ApplyServers, load: ApplyLoad, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + TIMEOUT_MS;
  while (!(await servers.isThrough(load))) {
    signal.throwIfAborted();
    if (performance.now() > deadlineMs) throw new Error(`${load.name} was not applied in ${TIMEOUT_MS} ms.`);
    await delay(POLL_MS);
  }
}

/** A walsender lets go of its slot a moment after whoever has read it. */
async function dropWhenIdle(servers: ApplyServers, load: ApplyLoad): Promise<void> {
  for (;;) {
    try {
      return await dropSlot(servers.source.client, slotName(load));
    } catch (error) {
      if ((error as { code?: string }).code !== '55006') throw error;
      await delay(50);
    }
  }
}

function connInfo(url: string): string {
  const { hostname, port, username, password, pathname } = new URL(url);
  return `host=${hostname} port=${port} user=${username} password=${password} dbname=${pathname.slice(1)}`;
}
