import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import fc from 'fast-check';
import type pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import type { ClusterConfig } from '../../src/leader-follower/config/config.ts';
import { connectAsSuperuser } from '../../src/leader-follower/delayed/superuser.ts';
import { inspectQuorum } from '../../src/leaderless/inspect.ts';
import { PgNode } from '../../src/leaderless/nodes/pg-node.ts';
import { prepareSession } from '../../src/leader-follower/rescue/tables.ts';
import { connectToLeader } from '../../src/logical/endpoints.ts';
import { openSession } from '../../src/multi-leader/sessions.ts';
import { LogStream } from '../../src/postgres/log/log-stream.ts';
import { parametersOf } from '../../src/wire/core/query-part.ts';
import { readOnlyTables } from '../../src/wire/only-tables.ts';

const PASSWORD = 'a-secret-of-the-test';
const PASSWORD_MESSAGE = /p\0\0\0.a-secret-of-the-test/s;
const CLEARTEXT = Buffer.from('R\0\0\0\x08\0\0\0\x03', 'latin1');
const LET_IN = Buffer.from('R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I', 'latin1');
const servers: Server[] = [];
const sockets = new Set<Socket>();

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  for (const server of servers.splice(0)) server.close();
});

/** Whoever took the port of a server: it says this to the first message, and writes down all that it hears. */
async function impostor(words: Buffer): Promise<{ port: number; heard: () => string }> {
  const heard: Buffer[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => heard.push(chunk));
    socket.once('data', () => socket.write(words));
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    heard: () => Buffer.concat(heard).toString('latin1'),
  };
}

const urlOf = (port: number, parameters = ''): string =>
  `postgresql://app:${PASSWORD}@127.0.0.1:${port}/shop${parameters}`;

const node = (port: number): PgNode =>
  new PgNode(
    {
      name: 'n1',
      url: urlOf(port),
      connections: 1,
      connectTimeoutMs: 5_000,
      statementTimeoutMs: 5_000,
      maxClockAheadMs: 1_000,
      admit: () => Promise.resolve(),
    },
    { nowMs: () => 0, after: () => () => undefined, random: () => 0.5 } as never,
  );

const asReplicator = { host: '127.0.0.1', user: 'replicator', password: PASSWORD };
const config = { secrets: { superuser: PASSWORD } } as ClusterConfig;

const LOGINS: Readonly<Record<string, (port: number) => Promise<unknown>>> = {
  'a follow': (port) => connectToLeader(urlOf(port), { applicationName: 'test' }),
  'a region': (port) => openSession(urlOf(port), 'test'),
  'a quorum': (port) => node(port).withConnection(async () => undefined),
  'a rescue': (port) => connectAsSuperuser(config, { host: '127.0.0.1', port }, 'shop'),
  'a delayed node': (port) => LogStream.open({ ...asReplicator, port }, 'n5'),
};

describe.each(Object.entries(LOGINS))('the login of %s', (_, login) => {
  it('gives its password to no server that asks for it in clear', async () => {
    const { port, heard } = await impostor(CLEARTEXT);
    await expect(login(port)).rejects.toThrow(/for the password in clear/);
    expect(heard()).not.toContain(PASSWORD);
  });

  it('takes no server that asks for nothing for the one that knows the password', async () => {
    const { port, heard } = await impostor(LET_IN);
    await expect(login(port)).rejects.toThrow(/for no password/);
    expect(heard()).not.toContain('SELECT');
  });
});

describe('the status of a quorum', () => {
  it('gives the password to no server that asks for it in clear', async () => {
    const { port, heard } = await impostor(CLEARTEXT);
    const nodes = Array.from({ length: 3 }, (_, index) => ({ name: `n${index}`, url: urlOf(port) }));
    const found = await inspectQuorum(nodes);
    expect(found.nodes.map(({ problem }) => problem)).toEqual(
      nodes.map(() => expect.stringMatching(/for the password in clear/)),
    );
    expect(heard()).not.toContain(PASSWORD);
  });
});

function answering(row: object, texts: string[] = []): pg.Client {
  const query = async (text: string): Promise<object> => {
    texts.push(text);
    return { rows: [row] };
  };
  return { query } as never;
}

describe('the session of a superuser in the database of an app', () => {
  it("finds none of the app's functions and operators in place of PostgreSQL's", async () => {
    const { port, heard } = await impostor(CLEARTEXT);
    await expect(LOGINS['a rescue']?.(port)).rejects.toThrow();
    expect(heard()).toContain('options\0-c search_path=pg_catalog -c role=none\0');
    const texts: string[] = [];
    await prepareSession(answering({ is_superuser: 'on', set: 'view, foreign-table' }, texts));
    expect(texts.join(';').match(/search_path = [^;]*/g)).toEqual(['search_path = pg_catalog']);
  });

  it('is not used on a server that cannot be told to read no views', async () => {
    await expect(readOnlyTables(answering({ is_superuser: 'on', set: null }))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('15.8'),
    });
    await readOnlyTables(answering({ is_superuser: 'off', set: null }));
  });
});

describe('require_auth in a connection string', () => {
  it('allows another way by its name', async () => {
    const { port, heard } = await impostor(CLEARTEXT);
    const login = connectToLeader(urlOf(port, '?require_auth=scram-sha-256,password'), {
      applicationName: 'test',
    });
    login.catch(() => undefined);
    await expect.poll(heard).toMatch(PASSWORD_MESSAGE);
    for (const socket of sockets) socket.destroy();
    await expect(login).rejects.toThrow();
  });

  it('is read also behind a parameter with a ? in its value', async () => {
    const { port, heard } = await impostor(CLEARTEXT);
    const parameters = '?application_name=a?b&require_auth=scram-sha-256,password';
    const login = connectToLeader(urlOf(port, parameters), { applicationName: 'test' });
    login.catch(() => undefined);
    await expect.poll(heard).toMatch(PASSWORD_MESSAGE);
    for (const socket of sockets) socket.destroy();
    await expect(login).rejects.toThrow();
  });

  it('is refused when there is no such way', async () => {
    const login = connectToLeader(urlOf(1, '?require_auth=scram'), { applicationName: 'test' });
    await expect(login).rejects.toThrow(/"require_auth" in the URL is not usable/);
  });
});

describe('the parameters of a connection string', () => {
  it.each([
    `?application_name=a?b&password=${PASSWORD}`,
    `?password=&password=${PASSWORD}`,
    `?application_name=a?b&require_auth=scram-sha-256`,
  ])('hold a server to what they say: %s', async (parameters) => {
    const { port, heard } = await impostor(LET_IN);
    const url = `postgresql://app@127.0.0.1:${port}/shop${parameters}`;
    await expect(connectToLeader(url, { applicationName: 'test' })).rejects.toThrow(/for no password/);
    expect(heard()).not.toContain('SELECT');
  });

  it('are those that pg finds', () => {
    const text = fc.string({
      unit: fc.constantFrom('?', '#', '&', '=', '@', '/', '%41', 'a', 'b'),
      maxLength: 12,
    });
    fc.assert(
      fc.property(text, (rest) => {
        const url = `postgresql://u:p@h:1/db${rest}`;
        expect([...parametersOf(url)]).toEqual([...new URL(url).searchParams]);
      }),
      { numRuns: 1_000, examples: [['??a=b']] },
    );
  });
});

describe('options in a connection string', () => {
  const OWN = '-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3';

  it.each([
    ['', OWN],
    ['?options=', OWN],
    ['?options=-c%20datestyle%3DGerman%20-c%20work_mem%3D8MB', `-c datestyle=German -c work_mem=8MB ${OWN}`],
  ])('(%s) do not change the format in which changes are read', async (parameters, expected) => {
    const { port, heard } = await impostor(CLEARTEXT);
    const login = connectToLeader(urlOf(port, parameters), { applicationName: 'test', replication: true });
    await expect(login).rejects.toThrow();
    expect(heard()).toContain(`\0options\0${expected}\0`);
  });

  it('are all that is given where nothing is read as text', async () => {
    const { port, heard } = await impostor(CLEARTEXT);
    const login = connectToLeader(urlOf(port, '?options=-c%20work_mem%3D8MB'), { applicationName: 'test' });
    await expect(login).rejects.toThrow();
    expect(heard()).toContain('\0options\0-c work_mem=8MB\0');
  });
});
