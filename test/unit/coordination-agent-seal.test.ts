import { once } from 'node:events';
import { createServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import type { ConsensusReply } from '../../src/consensus/acceptor.ts';
import { AgentSeal, SEAL_HEADER } from '../../src/coordination/agent-seal.ts';
import { askAgent } from '../../src/coordination/ask-agent.ts';
import { parseNodeId } from '../../src/model/node.ts';
import { close, sealOf, serveAcceptor, urlOf } from './coordination-cluster.ts';

const [A, B, C] = ['a', 'b', 'c'].map(parseNodeId) as [
  ReturnType<typeof parseNodeId>,
  ReturnType<typeof parseNodeId>,
  ReturnType<typeof parseNodeId>,
];
const PATH = '/v1/consensus';
const PEEK = { kind: 'peek', key: 'k' } as const;
const ACCEPTED: ConsensusReply = { kind: 'accepted' };

function ask(server: Server, seal = sealOf(A)): Promise<unknown> {
  const signal = AbortSignal.timeout(5_000);
  return askAgent(seal, { to: B, url: urlOf(server), method: 'POST', path: PATH, body: PEEK, signal });
}

async function serve(listener: RequestListener): Promise<Server> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** Runs `task` against a server that answers as `answer` says, given what it was asked. */
async function withFalseAcceptor(
  answer: (asked: { authorization: string; body: string }) => Promise<{ body: string; seal?: string }>,
  task: (server: Server) => Promise<void>,
): Promise<void> {
  const server = await serve((request, response) => {
    void (async () => {
      const authorization = request.headers.authorization ?? '';
      const { body, seal } = await answer({ authorization, body: await text(request) });
      if (seal !== undefined) response.setHeader(SEAL_HEADER, seal);
      response.end(body);
    })().catch(() => response.destroy());
  });
  try {
    await task(server);
  } finally {
    await close(server);
  }
}

describe('what agents ask each other', () => {
  test('a false acceptor is not listened to: one that makes answers up, echoes, or repeats recorded ones', async () => {
    const honest = await serveAcceptor({ handle: async () => ACCEPTED }, sealOf(B));
    try {
      expect(await ask(honest)).toEqual(ACCEPTED);
      // What it can know: everything that ever went by.
      let recorded: { body: string; seal: string } | null = null;
      await withFalseAcceptor(
        async ({ authorization, body }) => {
          const real = await fetch(`${urlOf(honest)}${PATH}`, {
            method: 'POST',
            headers: { authorization },
            body,
          });
          recorded = { body: await real.text(), seal: real.headers.get(SEAL_HEADER) ?? '' };
          return recorded;
        },
        async (relay) => expect(await ask(relay)).toEqual(ACCEPTED),
      );
      const falsehoods: Parameters<typeof withFalseAcceptor>[0][] = [
        async () => ({ body: JSON.stringify(ACCEPTED) }),
        async ({ authorization, body }) => ({ body, seal: authorization.split(' ')[5]! }),
        async () => recorded!,
      ];
      for (const falsehood of falsehoods) {
        await withFalseAcceptor(falsehood, async (server) => {
          await expect(ask(server)).rejects.toMatchObject({
            code: 'CONFIG_INVALID',
            message: expect.stringContaining("does not know this cluster's secrets"),
          });
        });
      }
    } finally {
      await close(honest);
    }
  });

  test('an answer that was changed on the way is refused', async () => {
    const honest = await serveAcceptor({ handle: async () => ACCEPTED }, sealOf(B));
    try {
      await withFalseAcceptor(
        async ({ authorization, body }) => {
          const real = await fetch(`${urlOf(honest)}${PATH}`, {
            method: 'POST',
            headers: { authorization },
            body,
          });
          await real.text();
          return { body: '{"kind":"promise"}', seal: real.headers.get(SEAL_HEADER) ?? '' };
        },
        async (server) => expect(ask(server)).rejects.toThrow('is not listened to'),
      );
    } finally {
      await close(honest);
    }
  });

  test('a request is good for one path, one body and one node', () => {
    const { authorization } = sealOf(A).seal({ to: B, method: 'POST', path: PATH, body: '{}' });
    const heard = sealOf(B).hear(authorization, 'POST', PATH);
    expect(heard).toMatchObject({ from: 'a', isOperator: false });
    heard.checkBody('{}');
    for (const other of ['', '{ }', '{}{}'])
      expect(() => heard.checkBody(other)).toThrow('changed on the way');
    const named = "in the name of a: it does not know this cluster's secrets";
    expect(() => sealOf(B).hear(authorization, 'POST', '/v1/fence')).toThrow(named);
    expect(() => sealOf(B).hear(authorization, 'GET', PATH)).toThrow(named);
    const [scheme, from, to, nonce, , code] = authorization.split(' ');
    const { authorization: another } = sealOf(A).seal({ to: B, method: 'POST', path: PATH, body: '{ }' });
    const exchanged = [scheme, from, to, nonce, another.split(' ')[4], code].join(' ');
    expect(() => sealOf(B).hear(exchanged, 'POST', PATH)).toThrow(named);
    expect(() => sealOf(C).hear(authorization, 'POST', PATH)).toThrow('meant for b, and this is c');
    expect(() => sealOf(C).hear(authorization.replace(' b ', ' c '), 'POST', PATH)).toThrow(named);
    expect(() => sealOf(B).hear(authorization.replace(' a ', ' c '), 'POST', PATH)).toThrow('name of c');
  });

  test('a request that comes again is told apart where that matters', () => {
    const other = sealOf(B);
    const [first, second] = [1, 2].map(() => sealOf(A).seal({ to: B, method: 'POST', path: PATH, body: '' }));
    const hear = (request: typeof first): boolean =>
      other.hear(request?.authorization, 'POST', PATH).isFirst();
    expect([hear(first), hear(first), hear(second), hear(first)]).toEqual([true, false, true, false]);
  });

  test('who overheard the token of people, or has another cluster, cannot ask', () => {
    const overheard = sealOf(A, 'a token').seal({ to: B, method: 'GET', path: PATH, body: '' });
    const secrets = { agent: 'a token', superuser: 'only for this test' };
    const other = new AgentSeal({ self: A, nodes: [A, B], cluster: 'other', secrets });
    const { authorization } = other.seal({ to: B, method: 'GET', path: PATH, body: '' });
    for (const header of [overheard.authorization, authorization]) {
      expect(() => sealOf(B).hear(header, 'GET', PATH)).toThrow('does not know this cluster');
    }
    expect(() => sealOf(B).hear('Bearer a token', 'GET', PATH)).toThrow(
      'for the agents of this cluster, and for who has its cluster.json',
    );
    expect(() => sealOf(B).hear(undefined, 'GET', PATH)).toThrow(
      'for the agents of this cluster, and for who has its cluster.json',
    );
  });

  test('a name that is no node of the cluster gets into no error text', () => {
    const header = 'Lockstep someone\u001b[31m b nonce code';
    expect(() => sealOf(B).hear(header, 'GET', PATH)).toThrow('in the name of an unknown node');
  });
});

describe('the lines of a link', () => {
  function open() {
    const request = sealOf(A).seal({ to: B, method: 'GET', path: '/v1/link', body: '' });
    const { header, lines } = sealOf(B).hear(request.authorization, 'GET', '/v1/link').openLink();
    return { request, header, opener: request.acceptLink(header), other: lines };
  }

  test('pass both ways, in order', () => {
    const { opener, other } = open();
    for (const line of ['{"id":1}', '', 'a b']) {
      expect(other.open(opener.seal(line))).toBe(line);
      expect(opener.open(other.seal(line))).toBe(line);
    }
  });

  test('are refused when changed, repeated, left out, sent back, or of another link', () => {
    const changed = open();
    expect(() =>
      changed.other.open(changed.opener.seal('{"supports":false}').replace('false', 'true')),
    ).toThrow();
    const repeated = open();
    const line = repeated.opener.seal('one');
    expect(repeated.other.open(line)).toBe('one');
    expect(() => repeated.other.open(line)).toThrow();
    const skipped = open();
    skipped.opener.seal('one');
    expect(() => skipped.other.open(skipped.opener.seal('two'))).toThrow();
    const echoed = open();
    expect(() => echoed.opener.open(echoed.opener.seal('one'))).toThrow();
    expect(() => open().other.open(open().opener.seal('one'))).toThrow();
  });

  test('a link is not opened to who repeats another answer', () => {
    const { header } = open();
    expect(() => open().request.acceptLink(header)).toThrow('is not listened to');
    expect(() => open().request.acceptLink(undefined)).toThrow('is not listened to');
    const { request, header: own } = open();
    expect(() => request.acceptLink(own.split(' ')[0])).toThrow('is not listened to');
  });
});
