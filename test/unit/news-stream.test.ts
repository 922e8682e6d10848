import fc from 'fast-check';
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import { nextBackoffMs } from '../../src/news/core/backoff.ts';
import { formatEvent, readEvents } from '../../src/news/event.ts';
import type { SignedEvent } from '../../src/news/event.ts';
import { NewsStream } from '../../src/news/news-stream.ts';
import { createNewsSigner, createNewsVerifier } from '../../src/news/signature.ts';

describe('readEvents', () => {
  test('reads names, several data lines, comments and any line end', () => {
    const { events, rest } = readEvents(
      ': hello\n\nevent: topology\r\nsignature: s\r\ndata: {"a":\r\ndata: 1}\r\n\r\ndata:x\n\nevent: ev',
    );
    expect(events).toEqual([
      { event: 'topology', data: '{"a":\n1}', signature: 's' },
      { event: 'message', data: 'x', signature: '' },
    ]);
    expect(rest).toBe('event: ev');
  });

  test('however the stream is cut, the same events come out', () => {
    const event = fc.record({
      event: fc.constantFrom('topology', 'event'),
      data: fc.json(),
      signature: fc.constantFrom('', 'abc'),
    });
    fc.assert(
      fc.property(fc.array(event), fc.array(fc.nat(30)), (sent, cuts) => {
        let left = sent
          .map(formatEvent)
          .join('')
          .replaceAll('\n', cuts.length % 2 === 0 ? '\n' : '\r\n');
        const chunks: string[] = [];
        for (const cut of cuts) {
          chunks.push(left.slice(0, cut));
          left = left.slice(cut);
        }
        const received: SignedEvent[] = [];
        let rest = '';
        for (const chunk of [...chunks, left]) {
          const read = readEvents(rest + chunk);
          received.push(...read.events);
          rest = read.rest;
        }
        expect(received).toEqual(sent);
      }),
    );
  });
});

test('backoff grows to two seconds and never beyond', () => {
  expect(nextBackoffMs(0, 1)).toBe(100);
  expect(nextBackoffMs(2, 0)).toBe(200);
  fc.assert(
    fc.property(fc.nat(10_000), fc.double({ min: 0, max: 1, noNaN: true }), (failures, random) => {
      const ms = nextBackoffMs(failures, random);
      expect(ms).toBeGreaterThanOrEqual(50);
      expect(ms).toBeLessThanOrEqual(2000);
    }),
  );
});

/** An agent that answers each connection as it is told, and an ear on it. */
async function listen(
  speak: (response: ServerResponse, connection: number) => void,
): Promise<
  AsyncDisposable & { readonly heard: string[]; readonly told: string[]; readonly stream: NewsStream }
> {
  let connections = 0;
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    speak(response, ++connections);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const heard: string[] = [];
  const told: string[] = [];
  const stream = new NewsStream({
    agentUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    verify: createNewsVerifier(signer.publicKey)!,
    clock: systemClock,
    onEvent: ({ data }) => heard.push(data) > 0,
    onSkipped: (event) => told.push(`skipped ${event}`),
    onLost: () => told.push('lost'),
  });
  return {
    heard,
    told,
    stream,
    [Symbol.asyncDispose]: async () => {
      stream.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const signer = createNewsSigner(Buffer.alloc(32, 1));

function signed(event: string, data: string, by = signer): string {
  return formatEvent({ event, data, signature: by.sign(event, data) });
}

describe('the news of an agent', () => {
  test('are what it signed, and nothing else', async () => {
    const other = createNewsSigner(Buffer.alloc(32, 2));
    const forgeries = [
      'event: topology\ndata: 1\n\n',
      signed('topology', '2').replace('data: 2', 'data: 3'),
      signed('event', '4').replace('event: event', 'event: topology'),
      signed('topology', '5', other),
      signed('topology', '6').replace(/signature: .*\n/, 'signature: ####\n'),
    ];
    await using agent = await listen((response) => {
      response.write(`: keep-alive\n\n${forgeries.join('')}`);
      response.write(signed('topology', '7'));
    });
    await expect.poll(() => agent.heard, { timeout: 10_000 }).toEqual(['7']);
    expect(agent.told).toEqual(forgeries.map(() => 'skipped topology'));
    expect(agent.stream.isLive).toBe(true);
    expect(createNewsVerifier('no key')).toBeNull();
  });

  test('go on after the connection has ended, and after an event without an end', async () => {
    await using agent = await listen((response, connection) => {
      response.write(signed('topology', String(connection)));
      if (connection === 1) response.end();
      if (connection === 2) response.write(`data: ${'x'.repeat(1_100_000)}`);
    });
    await expect.poll(() => agent.heard, { timeout: 10_000 }).toEqual(['1', '2', '3']);
    expect(agent.told).toEqual(['lost', 'lost']);
  });
});
