import { afterAll, beforeAll, expect, it } from 'vitest';
import { Applier } from '../../src/logical/apply/applier.ts';
import { Catalog } from '../../src/logical/apply/catalog.ts';
import type { PlanResult } from '../../src/logical/apply/core/table-plan.ts';
import { ensureOwnSchema } from '../../src/logical/apply/own-schema.ts';
import { Quarantine } from '../../src/logical/apply/quarantine.ts';
import { ApplySession } from '../../src/logical/apply/session.ts';
import { ChangeStream } from '../../src/logical/change-stream.ts';
import type { Relation } from '../../src/logical/core/relation.ts';
import { insertFollow } from '../../src/logical/follow/registry.ts';
import { createSlot } from '../../src/logical/slots.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import { until } from './fixture.ts';
import { readRows } from './following.ts';
import { builds, LogicalServers } from './logical-servers.ts';

const [binaries] = builds.slice(-1);
if (binaries === undefined) throw new Error('no PostgreSQL to test with');

let servers: LogicalServers;
let source: Awaited<ReturnType<LogicalServers['start']>>;
let target: Awaited<ReturnType<LogicalServers['start']>>;
beforeAll(async () => {
  servers = await LogicalServers.create(binaries);
  [source, target] = await Promise.all([servers.start('source'), servers.start('target')]);
});
afterAll(async () => servers[Symbol.asyncDispose]());

/** A catalog whose answer is long in coming. */
class SlowCatalog extends Catalog {
  isAsked = false;
  answer: () => void = () => undefined;
  readonly #mayAnswer = new Promise<void>((resolve) => (this.answer = resolve));

  override async plan(relation: Relation, format: 'binary' | 'text'): Promise<PlanResult> {
    this.isAsked = true;
    await this.#mayAnswer;
    return super.plan(relation, format);
  }
}

it('is not idle, and skips nothing, while a change that it has taken waits for what the catalog says', async () => {
  for (const { client } of [source, target]) await client.query('CREATE TABLE taken (id int PRIMARY KEY)');
  await source.client.query('CREATE PUBLICATION taken FOR TABLE taken');
  const slot = await createSlot({ from: source.url, slot: 'taken' });
  await slot.release();
  const position = slot.consistentLsn;
  await ensureOwnSchema(target.client);
  await insertFollow(target.client, {
    name: 'taken',
    sourceSystem: '1/x',
    slot: 'taken',
    publication: 'taken',
    position,
    history: null,
  });
  await source.client.query('INSERT INTO taken VALUES (1)');
  const session = await ApplySession.open({ to: target.url, follow: 'taken', synchronousCommit: 'off' });
  const stream = await ChangeStream.open({
    from: source.url,
    slot: 'taken',
    publications: ['taken'],
    format: 'binary',
    startLsn: position,
  });
  const catalog = new SlowCatalog(source.client, target.client);
  const applier = new Applier({
    stream,
    session,
    catalog,
    quarantine: await Quarantine.load(target.client, 'taken'),
    format: 'binary',
    position,
    copiedAt: new Map([['public.taken', position]]),
    exactXids: new Set(),
    onMissing: () => undefined,
  });
  const running = applier.run();
  try {
    await until('the change is taken', () => catalog.isAsked);
    const { rows } = await source.client.query('SELECT pg_current_wal_flush_lsn()::text AS lsn');
    await until('the server has sent everything', () => stream.serverLsn >= parseLsn(rows[0].lsn));
    expect(stream.isDrained).toBe(true);
    expect(applier.isIdle).toBe(false);
    await applier.skipTo(stream.serverLsn);
    expect(applier.appliedLsn).toBe(position);
    catalog.answer();
    await until('it is applied', () => applier.isIdle);
    expect(await readRows(target.client, 'taken')).toEqual(['(1)']);
    expect(applier.counts.transactions).toBe(1);
  } finally {
    catalog.answer();
    applier.stop();
    await running;
    stream.close();
    session.end();
  }
});
