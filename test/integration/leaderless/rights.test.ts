import { afterAll, beforeAll, expect, it } from 'vitest';
import { counter, lww, quorum } from '../../../src/leaderless/index.ts';
import { IndependentServers } from './servers.ts';

let servers: IndependentServers;
beforeAll(async () => {
  servers = await IndependentServers.start();
});
afterAll(async () => servers?.[Symbol.asyncDispose]());

/** Of functions that PostgreSQL would rather take than its own, for what a quorum calls. */
const TRAPS = `CREATE ROLE app; CREATE TABLE public.seen (who text); GRANT ALL ON public.seen TO PUBLIC;
  CREATE FUNCTION public.note() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.seen SELECT current_user WHERE current_setting('application_name') LIKE 'lockstep leaderless%'; END $$;
  CREATE FUNCTION public.unnest(bigint[]) RETURNS SETOF bigint LANGUAGE plpgsql AS
    $$ BEGIN PERFORM public.note(); RETURN QUERY SELECT pg_catalog.unnest($1); END $$;
  CREATE FUNCTION public.array_to_string(text[], text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN PERFORM public.note(); RETURN pg_catalog.array_to_string($1, $2); END $$;
  CREATE FUNCTION public.same(text, text) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN PERFORM public.note(); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
  CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);
  ALTER DATABASE postgres SET search_path = public, pg_catalog`;

it("calls none of a database's own functions in place of PostgreSQL's", async () => {
  const clients = await Promise.all(servers.servers.map(({ server }) => server.connect()));
  try {
    for (const client of clients) await client.query(`${TRAPS}; ALTER DATABASE postgres SET role = app`);
    const opened = await servers.quorum();
    const names = opened.collection('names', lww<string>());
    await names.put('a', 'first');
    expect((await names.get('a')).value).toBe('first');
    await opened.collection('clicks', counter()).add('a', 2);
    await opened.status();
    for (const client of clients)
      expect((await client.query('SELECT who FROM public.seen')).rows).toEqual([]);
  } finally {
    for (const client of clients) await client.query('ALTER DATABASE postgres RESET role');
    await Promise.all(clients.map((client) => client.end()));
  }
});

it('uses no tables of another role', async () => {
  const [first] = servers.servers;
  if (first === undefined) throw new Error('no server');
  const client = await first.server.connect();
  try {
    await client.query('CREATE DATABASE squatted');
    const squatted = await first.server.connect('squatted');
    await squatted.query('CREATE SCHEMA lockstep_leaderless AUTHORIZATION app');
    await squatted.end();
    const nodes = servers.servers.map(({ name, url }) => ({
      name,
      url: name === first.name ? url.replace(/postgres$/, 'squatted') : url,
    }));
    const opened = await quorum({ nodes });
    try {
      const { nodes: seen } = await opened.status();
      expect(seen.find(({ name }) => name === first.name)).toMatchObject({
        state: 'refused',
        problem: expect.stringContaining('"app"'),
      });
    } finally {
      await opened.close();
    }
  } finally {
    await client.end();
  }
});
