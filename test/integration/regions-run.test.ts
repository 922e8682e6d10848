import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createToken, writeRegions } from '../../src/cli/regions/regions-folder.ts';
import { freePort, until } from './fixture.ts';
import { builds, LogicalServers } from './logical-servers.ts';
import { Running } from './server-machine.ts';

describe('the process of a region that cannot run', () => {
  let servers: LogicalServers;
  let state: string;
  let url: string;
  beforeAll(async () => {
    const [build] = builds;
    if (build === undefined) throw new Error('there is no PostgreSQL');
    servers = await LogicalServers.create(build);
    const { client, url: own } = await servers.start('eu');
    await client.query('CREATE TABLE notes (v text PRIMARY KEY)');
    url = own;
    state = await mkdtemp(join(tmpdir(), 'lockstep-running-'));
  });
  afterAll(async () => {
    await servers?.[Symbol.asyncDispose]();
    await rm(state, { recursive: true, force: true });
  });

  async function run(definition: string | null, apiPort: number): Promise<string> {
    const other = { name: 'us', url: 'postgresql://127.0.0.1:1/shop', host: '127.0.0.1', apiPort: 1 };
    await writeRegions(state, {
      definition,
      token: createToken(),
      regions: [{ name: 'eu', url, host: '127.0.0.1', apiPort }, other],
    });
    const words = ['regions', 'run', 'eu', '--state', state, '--until-stdin-closes'];
    const region = new Running(words, 'pipe');
    try {
      await until('it has ended', () => region.hasEnded, 60_000);
      expect(await region.ended).toBe(1);
      return region.printed;
    } finally {
      await region.kill();
    }
  }

  it('says what is wrong in its definition, and ends', async () => {
    const definition = join(state, 'definition.mjs');
    await writeFile(definition, `export default { foreignKeys: { 'notes.v': 'delete-orphan' } };`);
    const said = await run(definition, await freePort());
    expect(said).toContain(
      'Correct the definition, or what it names: notes.v in foreignKeys is no foreign key of one column.',
    );
    expect(said).not.toContain('except');
  });

  it('says that its port is taken, and ends', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    try {
      await once(taken, 'listening');
      const { port } = taken.address() as AddressInfo;
      expect(await run(null, port)).toContain(`Port ${port} is in use`);
    } finally {
      taken.close();
    }
  });
});
