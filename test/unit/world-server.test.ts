import { afterEach, describe, expect, it } from 'vitest';
import type { WorldPicture } from '../../src/admin/world/world.ts';
import { startWorldServer } from '../../src/admin/world/world-server.ts';
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
      picture: async () => shown,
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
    expect(asked).toEqual(['cut eu us']);
  });

  it('shows rows of the app only to whoever has the token', async () => {
    const conflicts = [{ table: 'public.accounts', key: '1' }] as unknown as WorldPicture['conflicts'];
    const origin = await start([], { regions: [], conflicts });
    const look = async (headers: Record<string, string>): Promise<unknown> =>
      (await fetch(`${origin}/api/world`, { headers })).json();
    expect(await look({})).toEqual({ regions: [], conflicts: [] });
    expect(await look({ authorization: 'Bearer another-secret' })).toEqual({ regions: [], conflicts: [] });
    const authorization = 'Bearer a-secret-of-some-length';
    expect(await look({ authorization })).toEqual({ regions: [], conflicts });
  });
});
