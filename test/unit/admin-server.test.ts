import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { request } from 'node:http';
import { promisify } from 'node:util';

import { afterEach, describe, expect, test } from 'vitest';

import { createClusterSource } from '../../src/admin/cluster-source.ts';
import type { PageMessage } from '../../src/admin/core/outbox.ts';
import { EventReader, formatEvent } from '../../src/news/event.ts';
import { createNewsSigner, createNewsVerifier } from '../../src/news/signature.ts';
import { startAdminServer } from '../../src/admin/server.ts';
import { clusterEvent, node, scriptedSource, topology } from './admin-fixtures.ts';
import type { ScriptedSource } from './admin-fixtures.ts';

const closers: (() => void | Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function serve(start = topology() as ReturnType<typeof topology> | null) {
  const source = scriptedSource(start);
  const server = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    source,
    links: { shopUrl: 'http://127.0.0.1:3000' },
  });
  closers.push(() => server.close());
  return { source, server };
}

function command(url: string, source: ScriptedSource, body?: string): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${source.token}` },
    ...(body === undefined ? {} : { body }),
  });
}

/** Reads an event stream until `wanted` says so. */
async function readStream(url: string, wanted: (messages: readonly PageMessage[]) => boolean) {
  const response = await fetch(url, { signal: AbortSignal.timeout(10_000) });
  const messages: PageMessage[] = [];
  const reader = new EventReader();
  if (response.body === null) throw new Error('no stream');
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    messages.push(...reader.read(chunk));
    if (wanted(messages)) return messages;
  }
  throw new Error(`the stream ended after ${messages.map((message) => message.event).join(', ')}`);
}

describe('the page', () => {
  test('comes with a strict content security policy and only files of its own', async () => {
    const { server } = await serve();
    const page = await fetch(server.url);
    const html = await page.text();
    expect(page.status).toBe(200);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain('unsafe');
    expect(page.headers.get('access-control-allow-origin')).toBeNull();
    const links = [...html.matchAll(/(?:src|href)="([^"#][^"]*)"/g)].map((match) => match[1] ?? '');
    expect(links.length).toBeGreaterThan(3);
    for (const link of links) {
      expect(link).toMatch(/^\/assets\//);
      expect((await fetch(server.url + link)).status).toBe(200);
    }
  });

  test('every module that a module imports is served, and nothing outside the list', async () => {
    const { server } = await serve();
    const seen = new Set<string>();
    const pending = ['dashboard.js'];
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (seen.has(name)) continue;
      seen.add(name);
      const asset = await fetch(`${server.url}/assets/${name}`);
      expect([name, asset.status]).toEqual([name, 200]);
      expect(asset.headers.get('content-type')).toContain('text/javascript');
      for (const match of (await asset.text()).matchAll(/from '\.\/([^']+)'/g)) pending.push(match[1] ?? '');
    }
    expect(seen).toContain('uPlot.esm.js');
    for (const path of [
      '/assets/..%2fserver.ts',
      '/assets/%2e%2e/server.ts',
      '/assets/format.d.ts',
      '/nothing',
    ]) {
      expect((await fetch(server.url + path)).status).toBe(404);
    }
  });

  test('an unchanged file is not sent again', async () => {
    const { server } = await serve();
    const etag = (await fetch(`${server.url}/assets/dashboard.css`)).headers.get('etag') ?? '';
    const again = await fetch(`${server.url}/assets/dashboard.css`, { headers: { 'if-none-match': etag } });
    expect(again.status).toBe(304);
  });
});

describe('reading', () => {
  test('the topology, and 503 while there is none', async () => {
    const { server } = await serve();
    expect(await (await fetch(`${server.url}/api/topology`)).json()).toEqual(topology());
    const empty = await serve(null);
    const answer = await fetch(`${empty.server.url}/api/topology`);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ code: 'NO_LEADER', outcome: 'not-applied' });
  });

  test('a stream starts with the history and goes on with changes', async () => {
    const { server, source } = await serve();
    source.change({ kind: 'event', event: clusterEvent({ message: 'before' }) });
    const reading = readStream(`${server.url}/api/events`, (messages) => {
      if (messages.length === 1) {
        source.change({ kind: 'topology', topology: topology({ version: 2 }) });
        source.change({ kind: 'event', event: clusterEvent({ message: 'after' }) });
      }
      return ['topology', 'event', 'sample'].every((kind) =>
        messages.some((message) => message.event === kind),
      );
    });
    const messages = await reading;
    expect(messages[0]?.event).toBe('snapshot');
    expect(JSON.parse(messages[0]?.data ?? '')).toMatchObject({
      topology: { version: 1 },
      events: [{ message: 'before' }],
      samples: expect.any(Array),
      links: { shopUrl: 'http://127.0.0.1:3000' },
    });
    const event = messages.find((message) => message.event === 'event');
    expect(JSON.parse(event?.data ?? '')).toMatchObject({ message: 'after' });
    const later = await readStream(`${server.url}/api/events`, () => true);
    expect(JSON.parse(later[0]?.data ?? '').samples.length).toBeGreaterThan(0);
  });

  test('closing ends open streams and stops listening to the source', async () => {
    const { server, source } = await serve();
    const ended = readStream(`${server.url}/api/events`, (messages) => {
      if (messages.length === 1) void server.close();
      return false;
    });
    await expect(ended).rejects.toThrow();
    await server.close();
    expect(source.listenerCount()).toBe(0);
  });
});

describe('commands', () => {
  test('need the token', async () => {
    const { server, source } = await serve();
    for (const authorization of [undefined, 'Bearer wrong', 'Basic a-secret-token']) {
      const answer = await fetch(`${server.url}/api/nodes/n2/kill`, {
        method: 'POST',
        headers: authorization === undefined ? {} : { authorization },
      });
      expect(answer.status).toBe(401);
      expect(await answer.json()).toMatchObject({ outcome: 'not-applied' });
    }
    expect(source.calls).toEqual([]);
  });

  test('a foreign Host is refused, also for reading', async () => {
    const { server, source } = await serve();
    for (const [method, path] of [
      ['POST', '/api/nodes/n2/kill'],
      ['GET', '/api/topology'],
    ]) {
      const status = await new Promise<number | undefined>((resolve, reject) => {
        const sent = request(
          server.url + path,
          {
            method: method ?? '',
            headers: { host: 'rebound.example', authorization: `Bearer ${source.token}` },
          },
          (response) => resolve(response.resume().statusCode),
        );
        sent.on('error', reject).end();
      });
      expect(status).toBe(403);
    }
    expect(source.calls).toEqual([]);
  });

  test('kill, start and switchover reach the cluster', async () => {
    const { server, source } = await serve();
    expect((await command(`${server.url}/api/nodes/n2/kill`, source)).status).toBe(200);
    expect((await command(`${server.url}/api/nodes/n2/start`, source)).status).toBe(200);
    const switched = await command(`${server.url}/api/switchover`, source, '{"to":"n3"}');
    expect(await switched.json()).toEqual({ from: 'n1', to: 'n3', pausedMs: 120 });
    expect((await command(`${server.url}/api/switchover`, source)).status).toBe(200);
    expect(source.calls).toEqual(['kill n2', 'start n2', 'switchover n3', 'switchover (best)']);
  });

  test.each([
    [
      '/api/nodes/n9/kill',
      undefined,
      404,
      'There is no node "n9" in this cluster; its nodes are n1, n2, n3.',
    ],
    ['/api/switchover', '{"to":"n9"}', 404, 'There is no node "n9"'],
    ['/api/switchover', '{"too":"n2"}', 400, 'The body does not fit'],
    ['/api/switchover', 'nonsense', 400, 'The body is not JSON'],
    ['/api/switchover', `{"to":"${'x'.repeat(5000)}"}`, 413, 'larger than 4096 bytes'],
    ['/api/switchover', '{"to":"n1"}', 503, 'n1 cannot take over now'],
  ])('%s %s is answered with one clear sentence', async (path, body, status, message) => {
    const { server, source } = await serve();
    const answer = await command(server.url + path, source, body);
    const error = (await answer.json()) as { message: string; code: string; outcome: string };
    expect([answer.status, Object.keys(error)]).toEqual([status, ['code', 'message', 'outcome']]);
    expect(error.message).toContain(message);
    expect(error.outcome).toBe(status === 503 ? 'unknown' : 'not-applied');
  });
});

test('a port that is taken is one clear error', async () => {
  const { server, source } = await serve();
  await expect(startAdminServer({ host: '127.0.0.1', port: server.port, source })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: `Port ${server.port} on 127.0.0.1 is taken by another program; choose another one.`,
  });
});

interface AgentMessage extends PageMessage {
  readonly signature?: string;
}

/** An agent's event stream, as far as this room knows it. */
async function serveAgent(port: number, messages: () => readonly AgentMessage[]) {
  const server: Server = createServer((incoming, response) => {
    if (incoming.url !== '/v1/events') return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const say = (message: AgentMessage): string => formatEvent({ signature: '', ...message });
    response.write(`: hello\n\n${messages().map(say).join('')}`);
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  closers.push(close);
  const connections = promisify(server.getConnections.bind(server));
  return { port: (server.address() as AddressInfo).port, close, connections };
}

async function eventually(check: () => void): Promise<void> {
  await expect.poll(() => (check(), true), { timeout: 10_000, interval: 20 }).toBe(true);
}

test('a cluster source merges its agents, survives nonsense and comes back after they do', async () => {
  const shared = topology({ version: 4 });
  const first = await serveAgent(0, () => [
    { event: 'topology', data: JSON.stringify(topology({ version: 3 })) },
    { event: 'topology', data: '{"not":"a topology"}' },
    { event: 'event', data: JSON.stringify(clusterEvent({ at: 2, node: 'n1' })) },
  ]);
  const second = await serveAgent(0, () => [
    { event: 'topology', data: JSON.stringify(shared) },
    { event: 'event', data: JSON.stringify(clusterEvent({ at: 1, node: 'n2' })) },
  ]);
  const source = createClusterSource({
    verify: () => true,
    agentUrls: [first.port, second.port].map((port) => `http://127.0.0.1:${port}`),
    fallback: topology({ nodes: [node('n1')] }),
  });
  closers.push(() => source.close());
  expect(source.topology()?.nodes.map((one) => one.state)).toEqual(['unreachable']);
  const told: string[] = [];
  source.subscribe((change) => told.push(change.kind));
  await eventually(() => {
    expect(source.topology()?.version).toBe(4);
    expect(source.events().map((event) => event.node)).toEqual(['n2', 'n1']);
  });

  await second.close();
  await eventually(() => expect(source.topology()?.version).toBe(3));
  await first.close();
  await eventually(() =>
    expect(source.topology()?.nodes.map((one) => one.state)).toEqual(Array(3).fill('unreachable')),
  );

  await serveAgent(first.port, () => [
    { event: 'topology', data: JSON.stringify(topology({ version: 9 })) },
    { event: 'event', data: JSON.stringify(clusterEvent({ at: 2, node: 'n1' })) },
  ]);
  await eventually(() => expect(source.topology()?.version).toBe(9));
  expect(told.filter((kind) => kind === 'event')).toHaveLength(2);
});

test('the source also follows agents of nodes that came later, and no more those that went', async () => {
  const fourth = await serveAgent(0, () => [
    { event: 'event', data: JSON.stringify(clusterEvent({ node: 'n4' })) },
  ]);
  const urlOf = (port: number): string => `http://127.0.0.1:${port}`;
  let listed: Parameters<typeof topology>[0] = {};
  const news = (): readonly AgentMessage[] => [{ event: 'topology', data: JSON.stringify(topology(listed)) }];
  const seed = await serveAgent(0, news);
  const own = node('n1', { agentUrl: urlOf(seed.port) });
  const nonsense = ['no url', 'ftp://10.0.0.1/'].map((agentUrl, index) =>
    node(`n${index + 5}`, { agentUrl }),
  );
  listed = { version: 1, nodes: [own, ...nonsense, node('n4', { agentUrl: urlOf(fourth.port) })] };
  const source = createClusterSource({ verify: () => true, agentUrls: [urlOf(seed.port)] });
  closers.push(() => source.close());
  await eventually(() => expect(source.events().map((event) => event.node)).toEqual(['n4']));
  expect(await fourth.connections()).toBe(1);

  listed = { version: 2, nodes: [own] };
  await seed.close();
  await serveAgent(seed.port, news);
  await eventually(() => expect(source.topology()?.nodes).toHaveLength(1));
  await expect.poll(() => fourth.connections(), { timeout: 10_000, interval: 20 }).toBe(0);
});

test('a cluster source takes nothing that no agent of the cluster signed', async () => {
  const [signer, other] = [1, 2].map((byte) => createNewsSigner(Buffer.alloc(32, byte)));
  const sign = (event: string, value: unknown, by = signer!): AgentMessage => {
    const data = JSON.stringify(value);
    return { event, data, signature: by.sign(event, data) };
  };
  const forged = topology({ version: 1e15, term: 1e9, leader: null, nodes: [node('n9')] });
  const genuine = topology({ version: 4 });
  const taken = await serveAgent(0, () => [
    { event: 'topology', data: JSON.stringify(forged) },
    sign('topology', forged, other),
    { ...sign('topology', genuine), data: JSON.stringify(forged) },
    sign('event', clusterEvent({ node: 'n9' }), other),
  ]);
  const agent = await serveAgent(0, () => [
    sign('topology', genuine),
    sign('event', clusterEvent({ node: 'n1' })),
  ]);
  const source = createClusterSource({
    agentUrls: [taken.port, agent.port].map((port) => `http://127.0.0.1:${port}`),
    verify: createNewsVerifier(signer!.publicKey)!,
  });
  closers.push(() => source.close());
  await eventually(() => expect(source.topology()).toEqual(genuine));
  await eventually(() => expect(source.events().map((event) => event.node)).toEqual(['n1']));
});
