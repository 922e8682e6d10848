import { once } from 'node:events';
import { createServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import { describe, expect, test } from 'vitest';
import { AgentSeal, OPERATOR, SEAL_HEADER } from '../../src/coordination/agent-seal.ts';
import { askAsOperator, CHALLENGE_PATH } from '../../src/coordination/ask-as-operator.ts';
import { Challenges } from '../../src/coordination/challenges.ts';
import { parseNodeId } from '../../src/model/node.ts';
import { close, sealOf, urlOf } from './coordination-cluster.ts';

const B = parseNodeId('b');
const SECRETS = { agent: 'a token', superuser: 'only for this test' };
const operator = new AgentSeal({ self: OPERATOR, nodes: [B], cluster: 'shop', secrets: SECRETS });

async function withServer(listener: RequestListener, task: (server: Server) => Promise<void>): Promise<void> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await task(server);
  } finally {
    await close(server);
  }
}

function command(server: Server): Promise<unknown> {
  return askAsOperator(operator, {
    to: B,
    url: urlOf(server),
    path: '/v1/switchover',
    body: { to: 'c' },
    timeoutMs: 5_000,
  });
}

describe('a person who commands an agent', () => {
  test('sends no secret to whoever listens there, and believes none of it', async () => {
    const heard: string[] = [];
    await withServer(
      (request, response) => {
        heard.push(JSON.stringify(request.headers));
        request.on('data', (chunk: Buffer) => heard.push(chunk.toString()));
        request.on('end', () => {
          const body = request.url === CHALLENGE_PATH ? { challenge: 'x-y' } : { from: 'b', to: 'c' };
          response.writeHead(200, { [SEAL_HEADER]: 'made-up' }).end(JSON.stringify(body));
        });
      },
      async (server) => {
        await expect(command(server)).rejects.toMatchObject({
          code: 'CONFIG_INVALID',
          outcome: 'unknown',
          message: expect.stringContaining('is not listened to'),
        });
      },
    );
    expect(heard.join('\n')).toContain('Lockstep @operator b');
    for (const secret of Object.values(SECRETS)) expect(heard.join('\n')).not.toContain(secret);
  });

  test.each([
    ['is garbage', 'no challenge'],
    ['has a header in it', 'a\r\nx-evil: 1'],
    ['has no end', 'x'.repeat(5_000_000)],
  ])('asks for nothing where the challenge %s', async (_, challenge) => {
    let posts = 0;
    await withServer(
      (request, response) => {
        if (request.method === 'POST') posts += 1;
        response.end(JSON.stringify({ challenge }));
      },
      async (server) => {
        await expect(command(server)).rejects.toMatchObject({ code: 'NO_LEADER', outcome: 'not-applied' });
      },
    );
    expect(posts).toBe(0);
  });

  test('is told an error as the agent said it, and not as one in the middle changed it', async () => {
    for (const isChanged of [false, true]) {
      await withServer(
        (request, response) => {
          if (request.url === CHALLENGE_PATH) return response.end('{"challenge":"x-y"}');
          const answer = sealOf(B).hear(request.headers.authorization, 'POST', '/v1/switchover');
          const body = JSON.stringify({ code: 'NOT_LEADER', message: 'b follows', outcome: 'not-applied' });
          response
            .writeHead(isChanged ? 200 : 409, { [SEAL_HEADER]: answer.sealAnswer(409, body) })
            .end(body);
        },
        async (server) => {
          const expected = isChanged
            ? { code: 'CONFIG_INVALID', outcome: 'unknown' }
            : { code: 'NOT_LEADER', message: 'b follows', outcome: 'not-applied' };
          await expect(command(server)).rejects.toMatchObject(expected);
        },
      );
    }
  });
});

describe('a challenge', () => {
  test('is good once, for a while, and at the process that gave it out', () => {
    let nowMs = 5_000;
    const challenges = new Challenges(() => nowMs);
    const challenge = challenges.issue();
    expect(new Challenges(() => nowMs).accept(`${challenge}.a`)).toBe(false);
    expect([1, 2].map(() => challenges.accept(`${challenge}.a`))).toEqual([true, false]);
    expect(challenges.accept(`${challenge}.b`)).toBe(true);
    nowMs += 30_001;
    for (const nonce of [`${challenge}.a`, `${challenge}.c`]) expect(challenges.accept(nonce)).toBe(false);
  });

  test('cannot be made up, nor given a later time', () => {
    const challenges = new Challenges(() => 5_000);
    const [, code] = challenges.issue().split('-');
    for (const nonce of ['', '.', '-', 'zzz', `zzz-${code}.a`, `-${code}.a`, 'x'.repeat(10_000)])
      expect(challenges.accept(nonce)).toBe(false);
  });
});
