import { request } from 'node:http';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { serveRegion } from '../../src/multi-leader/api.ts';
import type { RegionApi } from '../../src/multi-leader/api.ts';
import { freePort } from '../integration/fixture.ts';

const TOKEN = 'a-secret-of-some-length';
const opened: { close(): unknown }[] = [];

afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

async function start(asked: string[] = []): Promise<number> {
  const port = await freePort();
  const api = {
    status: async () => ({ name: 'eu' }),
    setCut: async (source: string, isCut: boolean) => void asked.push(`${isCut ? 'cut' : 'heal'} ${source}`),
  } as unknown as RegionApi;
  opened.push(await serveRegion({ api, host: '127.0.0.1', port, token: TOKEN }));
  return port;
}

function post(port: number, path: string, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request(
      { port, path, host: '127.0.0.1', method: 'POST', headers, agent: false },
      (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      },
    );
    asked.on('error', reject);
    opened.push({ close: () => asked.destroy() });
    // A body that was announced never comes.
    if (headers['content-length'] === undefined) asked.end();
    else asked.flushHeaders();
  });
}

describe("a region's process", () => {
  it('cuts and heals for whoever has the token, and nobody else', async () => {
    const asked: string[] = [];
    const port = await start(asked);
    expect(await (await fetch(`http://127.0.0.1:${port}/v1/region`)).json()).toEqual({ name: 'eu' });
    expect(await post(port, '/v1/links/us/cut', {})).toBe(401);
    expect(await post(port, '/v1/links/us/cut', { authorization: 'Bearer another' })).toBe(401);
    expect(asked).toEqual([]);
    expect(await post(port, '/v1/links/us/cut', { authorization: `Bearer ${TOKEN}` })).toBe(200);
    expect(await post(port, '/v1/links/us/heal', { authorization: `Bearer ${TOKEN}` })).toBe(200);
    expect(asked).toEqual(['cut us', 'heal us']);
  });

  it('reads no bodies, and is not filled by those who connect and say nothing', async () => {
    const port = await start();
    const authorization = `Bearer ${TOKEN}`;
    expect(await post(port, '/v1/links/us/cut', { authorization, 'content-length': '5' })).toBe(413);
    let ended = 0;
    for (let count = 0; count < 150; count += 1) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => undefined).once('close', () => (ended += 1));
      opened.push({ close: () => socket.destroy() });
    }
    await expect.poll(() => ended, { timeout: 15_000 }).toBeGreaterThanOrEqual(22);
    expect((await fetch(`http://127.0.0.1:${port}/v1/region`)).status).toBe(200);
  });
});
