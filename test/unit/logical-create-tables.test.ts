import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import pg from 'pg';
import { afterEach, expect, it } from 'vitest';
import { createMissingTables } from '../../src/logical/follow/create-tables.ts';

const LET_IN = Buffer.from('R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I', 'latin1');
const servers: Server[] = [];
const sockets = new Set<Socket>();

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

it("sends what the source says of a table's columns as one statement, not as a script", async () => {
  const heard: Buffer[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => heard.push(chunk));
    socket.once('data', () => socket.write(LET_IN));
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const target = new pg.Client({ host: '127.0.0.1', port, user: 'app', database: 'warehouse' });
  target.on('error', () => undefined);
  await target.connect();
  const send = target.query.bind(target) as (config: unknown) => Promise<unknown>;
  const hostile = 'int); ALTER ROLE app SUPERUSER; --';
  const columns = [{ name: 'id', type: hostile, collation: null, is_required: true, generated: null }];
  const source = { query: async (text: string) => ({ rows: text.includes('pg_index') ? [] : columns }) };
  const isCreateTable = (query: unknown): boolean => JSON.stringify(query).includes('CREATE TABLE');
  const watched = {
    query: async (query: unknown) => (isCreateTable(query) ? send(query) : { rows: [{ there: false }] }),
  };
  const creation = createMissingTables(source as never, watched as never, [
    { schema: 'public', name: 'orders' },
  ]);
  creation.catch(() => undefined);
  await expect.poll(() => Buffer.concat(heard).toString('latin1')).toContain(hostile);
  // Parse takes one statement; Query takes any number.
  expect(Buffer.concat(heard).toString('latin1')).toMatch(/P\0\0..\0CREATE TABLE/s);
  for (const socket of sockets) socket.destroy();
  await expect(creation).rejects.toThrow();
});
