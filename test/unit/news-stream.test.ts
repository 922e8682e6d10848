import fc from 'fast-check';
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import { nextBackoffMs } from '../../src/news/core/backoff.ts';
import { EventBudget } from '../../src/news/core/event-budget.ts';
import { EventReader, formatEvent } from '../../src/news/event.ts';
import type { SignedEvent } from '../../src/news/event.ts';
import { NewsStream } from '../../src/news/news-stream.ts';
import type { Clock } from '../../src/model/clock.ts';
import { createNewsSigner, createNewsVerifier } from '../../src/news/signature.ts';

/** Runs `work`; how long the texts were, taken together, that a method of strings or an expression was asked about. */
function countLooks(work: () => void): number {
  let looks = 0;
  const spies = (
    ['split', 'indexOf', 'search', 'match', 'matchAll', 'replace', 'slice', 'endsWith'] as const
  ).map((name) => {
    const real = String.prototype[name] as (...values: unknown[]) => unknown;
    return vi.spyOn(String.prototype, name as 'split').mockImplementation(function (
      this: string,
      ...values: unknown[]
    ) {
      looks += this.length;
      return Reflect.apply(real, this, values) as string[];
    });
  });
  try {
    work();
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return looks;
}

describe('EventReader', () => {
  test('reads names, several data lines, comments and any line end', () => {
    const reader = new EventReader();
    const events = reader.read(
      ': hello\n\nevent: topology\r\nsignature: s\r\ndata: {"a":\r\ndata: 1}\r\n\r\ndata:x\n\nevent: ev',
    );
    expect(events).toEqual([
      { event: 'topology', data: '{"a":\n1}', signature: 's' },
      { event: 'message', data: 'x', signature: '' },
    ]);
    expect(reader.pendingLength).toBe('event: ev'.length);
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
        const reader = new EventReader();
        for (const chunk of [...chunks, left]) received.push(...reader.read(chunk));
        expect(received).toEqual(sent);
        expect(reader.pendingLength).toBe(0);
      }),
    );
  });

  test.each([
    ['many lines', 'a\n'.repeat(100_000)],
    ['one line', `data: ${'a'.repeat(200_000)}`],
  ])('looks at an event of %s once, also when its end comes byte by byte', (_, start) => {
    const reader = new EventReader();
    const looks = countLooks(() => {
      reader.read(start);
      for (let n = 0; n < 1_000; n += 1) reader.read('b');
    });
    expect(reader.pendingLength).toBeGreaterThan(100_000);
    expect(looks).toBeGreaterThan(100_000);
    expect(looks).toBeLessThan(10 * start.length);
    expect(reader.read('\ndata: end\n\n')).toHaveLength(1);
  });
});

test('what anybody can repeat is checked no faster than agents speak, after the past that they tell at first', () => {
  const budget = new EventBudget(5_000);
  expect(budget.spend(600, 5_000)).toBe(0);
  let nowMs = 5_000;
  for (let spent = 0; spent < 4_000; spent += 300) nowMs += budget.spend(300, nowMs);
  expect(nowMs).toBeGreaterThan(5_000 + ((4_000 - 1_000) / 200) * 1_000);
  // An hour of silence earns no more than the first time.
  expect(budget.spend(1_000, nowMs + 3_600_000)).toBe(0);
  expect(budget.spend(200, nowMs + 3_600_000)).toBe(1_000);
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
  clock: Clock = systemClock,
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
    clock,
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

/** Of a connection and of a silence; other times are pauses. */
const isDeadline = (ms: number): boolean => ms === 2_000 || ms === 15_000;

/** The machine's clock, on which a pause is over at once, and is written down. */
function hurried(pauses: number[]): Clock {
  return {
    ...systemClock,
    after: (ms, run) => {
      if (!isDeadline(ms)) pauses.push(ms);
      return systemClock.after(isDeadline(ms) ? ms : 0, run);
    },
  };
}

const signer = createNewsSigner(Buffer.alloc(32, 1));

function signed(event: string, data: string, by = signer): string {
  return formatEvent({ event, data, signature: by.sign(event, data) });
}

describe('the news of an agent', () => {
  test('are what it signed, and nothing else; the first that is not ends the connection', async () => {
    const other = createNewsSigner(Buffer.alloc(32, 2));
    const forgeries = [
      'event: topology\ndata: 1\n\n',
      signed('topology', '2').replace('data: 2', 'data: 3'),
      signed('event', '4').replace('event: event', 'event: topology'),
      signed('topology', '5', other),
      signed('topology', '6').replace(/signature: .*\n/, 'signature: ####\n'),
    ];
    await using agent = await listen((response, connection) => {
      const forged = forgeries[connection - 1];
      if (forged === undefined) response.write(signed('topology', '7'));
      else response.write(`: keep-alive\n\n${forged.repeat(50)}${signed('topology', 'behind it')}`);
    }, hurried([]));
    await expect.poll(() => agent.heard, { timeout: 10_000 }).toEqual(['7']);
    expect(agent.told).toEqual(forgeries.flatMap(() => ['skipped topology', 'lost']));
    expect(agent.stream.isLive).toBe(true);
    expect(createNewsVerifier('no key')).toBeNull();
  });

  test('are asked for ever more slowly where something else stands behind what an agent once said', async () => {
    const pauses: number[] = [];
    await using agent = await listen(
      (response) => response.write(`${signed('topology', 'old')}data: forged\n\n`),
      hurried(pauses),
    );
    await expect.poll(() => pauses.length, { timeout: 10_000 }).toBeGreaterThan(2);
    expect(agent.heard.slice(0, 3)).toEqual(['old', 'old', 'old']);
    expect(pauses[0]).toBeGreaterThan(100);
    expect(pauses[2]).toBeGreaterThan(400);
  });

  test('that somebody repeats without an end are read no faster than agents speak', async () => {
    let nowMs = 0;
    const pauses: { readonly ms: number; readonly end: () => void }[] = [];
    const clock: Clock = {
      ...systemClock,
      nowMs: () => nowMs,
      after: (ms, end) => {
        if (!isDeadline(ms)) pauses.push({ ms, end });
        return () => undefined;
      },
    };
    await using agent = await listen(
      (response) => response.write(signed('topology', 'old').repeat(4_000)),
      clock,
    );
    while (agent.heard.length < 4_000) {
      await expect
        .poll(() => pauses.length > 0 || agent.heard.length === 4_000, { timeout: 10_000 })
        .toBe(true);
      const pause = pauses.shift();
      nowMs += pause?.ms ?? 0;
      pause?.end();
    }
    expect(nowMs).toBeGreaterThan(10_000);
    expect(agent.told).toEqual([]);
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

  test('are not waited for where an answer is said to be still to come', async () => {
    const after: Clock['after'] = (ms, run) => systemClock.after(isDeadline(ms) ? 600_000 : ms, run);
    await using stranger = await listen(
      (response, connection) => {
        if (connection > 1) response.write(signed('topology', String(connection)));
        else response.socket!.write('HTTP/1.1 102 Processing\r\n\r\n');
      },
      { ...systemClock, after },
    );
    await expect.poll(() => stranger.heard, { timeout: 10_000 }).toEqual(['2']);
    expect(stranger.told).toEqual(['lost']);
  });
});
