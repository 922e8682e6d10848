import pg from 'pg';

/** What `lockstep dev --regions --prepare` runs in a test: one table whose columns merge, and one without. */
const client = new pg.Client({ connectionString: process.env['DATABASE_URL'] });
await client.connect();
await client.query(`
  CREATE TABLE IF NOT EXISTS things (id int PRIMARY KEY, name text, seen int NOT NULL DEFAULT 0);
  ALTER TABLE things REPLICA IDENTITY FULL;
  CREATE TABLE IF NOT EXISTS notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)`);
await client.end();
