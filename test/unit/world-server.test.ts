import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { WorldPicture } from '../../src/admin/world/world.ts';
import { startWorldServer } from '../../src/admin/world/world-server.ts';
import { createWorldSource } from '../../src/cli/regions/world-source.ts';
import { freePort } from '../integration/fixture.ts';

const picture: WorldPicture = { regions: [], conflicts: [] };
let server: Awaited<ReturnType<typeof startWorldServer>> | null = null;

afterEach(async () => {
  await server?.close();
  server = null;
});

async function start(asked: string[] = [], shown: WorldPicture = picture): Promise<string> {
  server = await startWorldServer({
    port: await freePort(),
    source: {
      token: 'a-secret-of-some-length',
      picture: async (withRows) => {
        if (withRows) asked.push('rows');
        return shown;
      },
      setLink: async (a, b, verb) => void asked.push(`${verb} ${a} ${b}`),
    },
  });
  return new URL(server.url).origin;
}

describe('the picture of the regions', () => {
  it('is served with all that its page asks for', async () => {
    const origin = await start();
    const page = await (await fetch(`${origin}/`)).text();
    const named = [...page.matchAll(/(?:href|src)="([^"]+)"/g)].map((match) => match[1] ?? '');
    const script = await (await fetch(`${origin}/assets/world.js`)).text();
    const imported = [...script.matchAll(/from '([^']+)'/g)].map(
      (match) => new URL(match[1] ?? '', `${origin}/assets/world.js`).pathname,
    );
    expect(named.length).toBeGreaterThan(2);
    expect(imported.length).toBe(2);
    for (const path of [...named, ...imported])
      expect((await fetch(`${origin}${path}`)).status, path).toBe(200);
    expect(await (await fetch(`${origin}/api/world`)).json()).toEqual(picture);
    expect((await fetch(`${origin}/assets/nothing.js`)).status).toBe(404);
  });

  it('cuts and heals for whoever has the token, and nobody else', async () => {
    const asked: string[] = [];
    const origin = await start(asked);
    const post = (headers: Record<string, string>): Promise<Response> =>
      fetch(`${origin}/api/links/eu/us/cut`, { method: 'POST', headers });
    expect((await post({})).status).toBe(401);
    expect((await post({ authorization: 'Bearer another-secret' })).status).toBe(401);
    expect(asked).toEqual([]);
    expect((await post({ authorization: 'Bearer a-secret-of-some-length' })).status).toBe(200);
    expect(asked).toEqual(['cut eu us', 'rows']);
  });

  it('shows values of the app only to whoever has the token, and reads rows for nobody else', async () => {
    const conflicts = [{ table: 'public.accounts', key: '1' }] as unknown as WorldPicture['conflicts'];
    const link = { from: 'us', to: 'eu', state: 'stopped', applied: 0, lost: 0, lagMs: null };
    const region = { name: 'eu', kept: 0, parked: 0, appUrl: null };
    const detail = 'duplicate key (Key (email)=(ada@example.org) exists)';
    const regions = [{ ...region, problem: detail, links: [{ ...link, detail }] }];
    const asked: string[] = [];
    const origin = await start(asked, { regions, conflicts });
    const look = async (headers: Record<string, string>): Promise<unknown> =>
      (await fetch(`${origin}/api/world`, { headers })).json();
    const quiet = {
      regions: [{ ...region, problem: null, links: [{ ...link, detail: null }] }],
      conflicts: [],
    };
    expect(await look({})).toEqual(quiet);
    expect(await look({ authorization: 'Bearer another-secret' })).toEqual(quiet);
    expect(asked).toEqual([]);
    const authorization = 'Bearer a-secret-of-some-length';
    expect(await look({ authorization })).toEqual({ regions, conflicts });
    expect(asked).toEqual(['rows']);
  });

  it("has a secret of its own, for each run another one, and not that of the regions' processes", () => {
    const config = { definition: null, token: 'the-lasting-secret-of-all', regions: [] };
    const tokens = [1, 2].map(() => createWorldSource('nowhere', config, new Map()).token);
    expect(new Set([config.token, ...tokens]).size).toBe(3);
  });

  it('asks the regions once for all who look at the same time', async () => {
    let asked = 0;
    const region = createServer((socket) => {
      asked++;
      socket.destroy();
    });
    region.listen(0, '127.0.0.1');
    await once(region, 'listening');
    const { port } = region.address() as AddressInfo;
    const place = { name: 'eu', url: 'postgresql://localhost/none', host: '127.0.0.1', apiPort: port };
    const config = { definition: null, token: 'the-lasting-secret-of-all', regions: [place] };
    try {
      await createWorldSource('nowhere', config, new Map()).picture(false);
      const alone = asked;
      const source = createWorldSource('nowhere', config, new Map());
      await Promise.all([1, 2, 3].map(() => source.picture(false)));
      expect(alone).toBeGreaterThan(0);
      expect(asked).toBe(2 * alone);
    } finally {
      region.close();
    }
  });
});
