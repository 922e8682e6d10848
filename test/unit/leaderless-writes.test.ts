import { describe, expect, it } from 'vitest';
import type { WriteLevel } from '../../src/leaderless/core/levels.ts';
import { NodeQueue } from '../../src/leaderless/nodes/node-queue.ts';
import { NodeFailure } from '../../src/leaderless/nodes/requests.ts';
import type { NodeReply, NodeRequest, NodeTransport } from '../../src/leaderless/nodes/requests.ts';
import { Replicas } from '../../src/leaderless/replicas.ts';
import { Roster } from '../../src/leaderless/roster.ts';
import { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';
import { runtimeOf } from './leaderless-runtime.ts';

/** What a node says to the first request, to the second, and so on; the last to all others. */
type Script = readonly { readonly afterMs: number; readonly says: NodeReply | NodeFailure }[];

const DONE = { kind: 'done' } as const;
const AWAY = new NodeFailure('the connection ended', { wasSent: false });
const TOO_FAR_AHEAD = new NodeFailure("the writer's clock is ahead", {
  wasSent: false,
  refusal: 'CLOCK_SKEW',
});
const OTHER_KIND = new NodeFailure('the collection "clocks" is of kind "map", not "lww"', {
  wasSent: false,
  refusal: 'CONFIG_INVALID',
});

function scripted(time: VirtualTime, script: Script): NodeTransport {
  let asked = 0;
  return {
    idle: 2,
    isUp: true,
    onChange: () => undefined,
    send: async (requests: readonly NodeRequest[]) => {
      const { afterMs, says } = script[Math.min(asked++, script.length - 1)]!;
      await time.sleep(afterMs);
      return requests.map(() => says);
    },
  };
}

/** How a write at `quorum` to three nodes ends. */
async function write(...scripts: readonly Script[]): Promise<unknown> {
  const time = new VirtualTime();
  const runtime = runtimeOf(time);
  const limits = { maxInFlight: 2, maxKeys: 10, maxBytes: 10_000 };
  const nodes = scripts.map((script, index) => {
    const queue = new NodeQueue(`q${index + 1}`, scripted(time, script), runtime, limits);
    return { queue, id: () => queue.name };
  });
  const replicas = new Replicas(new Roster(1, [nodes]), runtime, () => undefined);
  const collection = { name: 'prefs', kind: 'lww' } as const;
  const cell = { collection: 'prefs', key: 'k', item: '', actor: 'a', added: 1, removed: 0, bornAt: 1 };
  let end: unknown;
  replicas.write(collection, [{ store: 'tallies', ...cell }], 'quorum', 1_000).then(
    (result) => (end = result),
    (error: unknown) => (end = error),
  );
  await time.settleUntil(5_000, () => end !== undefined);
  return end;
}

describe('a write that a server refuses', () => {
  it('waits for one that failed once and then has it, and for one that is slow', async () => {
    const failedOnce = [
      { afterMs: 1, says: AWAY },
      { afterMs: 1, says: DONE },
    ];
    const refuses = [{ afterMs: 60, says: TOO_FAR_AHEAD }];
    const slow = [{ afterMs: 120, says: DONE }];
    expect(await write(failedOnce, refuses, slow)).toEqual({ answeredBy: ['q1', 'q3'] });
  });

  it('ends when all others have answered or refused it, and says why by what they are, not by their words', async () => {
    const says = (reply: NodeReply | NodeFailure): Script => [{ afterMs: 1, says: reply }];
    expect(await write(says(DONE), says(TOO_FAR_AHEAD), says(TOO_FAR_AHEAD))).toMatchObject({
      code: 'CLOCK_SKEW',
      outcome: 'unknown',
    });
    expect(await write(says(OTHER_KIND), says(OTHER_KIND), says(OTHER_KIND))).toMatchObject({
      code: 'CONFIG_INVALID',
      outcome: 'not-applied',
    });
  });
});

describe('new cells', () => {
  /** Writes of one turn, to two nodes that take all and one that is away: what the first one was asked, and whose keys were missed. */
  async function writeAtOnce(
    keys: readonly string[],
    levels: readonly WriteLevel[],
  ): Promise<{
    readonly asked: readonly (readonly string[])[];
    readonly missed: readonly string[];
    readonly ends: readonly unknown[];
  }> {
    const time = new VirtualTime();
    const runtime = runtimeOf(time);
    const asked: string[][] = [];
    const nodes = ['q1', 'q2', 'q3'].map((name) => {
      const transport: NodeTransport = {
        idle: 2,
        isUp: true,
        onChange: () => undefined,
        send: async (requests) => {
          await time.sleep(1);
          if (name === 'q3') throw AWAY;
          for (const request of requests)
            if (name === 'q1' && request.kind === 'merge') asked.push(request.cells.map(({ key }) => key));
          return requests.map(() => DONE);
        },
      };
      const queue = new NodeQueue(name, transport, runtime, { maxInFlight: 2, maxKeys: 256, maxBytes: 1e6 });
      return { queue, id: () => name };
    });
    const missed: string[] = [];
    const replicas = new Replicas(new Roster(1, [nodes]), runtime, ({ node, key }) => {
      if (node.name === 'q3') missed.push(key);
    });
    const collection = { name: 'prefs', kind: 'lww' } as const;
    const ends: unknown[] = [];
    keys.forEach((key, index) => {
      const cell = {
        collection: 'prefs',
        key,
        field: '',
        value: '1',
        at: index + 1,
        writer: 'w',
        expiresAtMs: null,
      };
      const level = levels[index % levels.length] ?? 'quorum';
      void replicas.writeNew(collection, [{ store: 'registers', ...cell }], level, 1_000).then(
        (result) => ends.push(result),
        (error: unknown) => ends.push(error),
      );
    });
    await time.settleUntil(5_000, () => ends.length === keys.length && missed.length === keys.length);
    return { asked, missed, ends };
  }

  it('of one turn and level share a request, and each of their keys is noted for a node that missed it', async () => {
    const { asked, missed, ends } = await writeAtOnce(['a', 'b', 'c'], ['quorum']);
    expect(asked).toEqual([['a', 'b', 'c']]);
    expect(missed).toEqual(['a', 'b', 'c']);
    expect(ends).toEqual(Array.from({ length: 3 }, () => ({ answeredBy: ['q1', 'q2'] })));
    const mixed = await writeAtOnce(['a', 'b', 'c'], ['quorum', 'one']);
    expect(mixed.asked).toEqual([['a'], ['b'], ['c']]);
    expect(mixed.ends).toHaveLength(3);
  });

  it('share no request that is large', async () => {
    const keys = Array.from({ length: 130 }, (_, index) => `k${index}`);
    const { asked, missed } = await writeAtOnce(keys, ['quorum']);
    expect(asked.map(({ length }) => length)).toEqual([64, 64, 2]);
    expect(missed).toHaveLength(130);
  });
});
