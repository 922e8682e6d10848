import { request } from 'node:http';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { serveRegion } from '../../src/multi-leader/api.ts';
import type { RegionApi } from '../../src/multi-leader/api.ts';
import { createRegionSeal } from '../../src/multi-leader/seal.ts';
import type { AgentSeal } from '../../src/coordination/agent-seal.ts';
import { askAsOperator } from '../../src/coordination/ask-as-operator.ts';
import type { NodeId } from '../../src/model/node.ts';
import { freePort } from '../integration/fixture.ts';

const TOKEN = 'a-secret-of-some-length';
const REGIONS = ['eu', 'us'];
const opened: { close(): unknown }[] = [];

afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

const sealOf = (region: string | null, token = TOKEN): AgentSeal =>
  createRegionSeal({ region, regions: REGIONS, token });

function ask<T>(port: number, path: string, body?: unknown, token = TOKEN): Promise<T> {
  const url = `http://127.0.0.1:${port}`;
  const request = { to: 'eu' as NodeId, url, path, timeoutMs: 5_000 };
  return askAsOperator<T>(sealOf(null, token), { ...request, ...(body === undefined ? {} : { body }) });
}

async function start(asked: string[] = []): Promise<number> {
  const port = await freePort();
  const api = {
    status: async () => ({ name: 'eu' }),
    setCut: async (source: string, isCut: boolean) => void asked.push(`${isCut ? 'cut' : 'heal'} ${source}`),
  } as unknown as RegionApi;
  opened.push(await serveRegion({ api, host: '127.0.0.1', port, seal: sealOf('eu') }));
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
  it('answers, cuts and heals for whoever has the token, which is not sent, and for nobody else', async () => {
    const asked: string[] = [];
    const port = await start(asked);
    expect(await ask(port, '/v1/region')).toEqual({ name: 'eu' });
    expect((await fetch(`http://127.0.0.1:${port}/v1/region`)).status).toBe(401);
    expect(await post(port, '/v1/links/us/cut', {})).toBe(401);
    expect(await post(port, '/v1/links/us/cut', { authorization: `Bearer ${TOKEN}` })).toBe(401);
    await expect(ask(port, '/v1/links/us/cut', {}, 'another-secret-of-length')).rejects.toThrow();
    expect(asked).toEqual([]);
    await ask(port, '/v1/links/us/cut', {});
    await ask(port, '/v1/links/us/heal', {});
    expect(asked).toEqual(['cut us', 'heal us']);
  });

  it('takes a command once', async () => {
    const asked: string[] = [];
    const port = await start(asked);
    const { challenge } = (await (await fetch(`http://127.0.0.1:${port}/v1/challenge`)).json()) as {
      challenge: string;
    };
    const path = '/v1/links/us/cut';
    const sealed = sealOf(null).seal({ to: 'eu' as NodeId, method: 'POST', path, body: '' }, challenge);
    expect(await post(port, path, { authorization: sealed.authorization })).toBe(200);
    expect(await post(port, path, { authorization: sealed.authorization })).toBe(400);
    expect(asked).toEqual(['cut us']);
  });

  it('reads no bodies, and is not filled by those who connect and say nothing', async () => {
    const port = await start();
    expect(await post(port, '/v1/links/us/cut', { 'content-length': '5' })).toBe(413);
    let ended = 0;
    for (let count = 0; count < 150; count += 1) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => undefined).once('close', () => (ended += 1));
      opened.push({ close: () => socket.destroy() });
    }
    await expect.poll(() => ended, { timeout: 15_000 }).toBeGreaterThanOrEqual(22);
    expect(await ask(port, '/v1/region')).toEqual({ name: 'eu' });
  });
});
