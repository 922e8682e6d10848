import type pg from 'pg';
import { readOnlyTables } from '../../wire/only-tables.ts';

/**
 * For a session that compares tables: each value has the same text on both servers, and nothing is read but tables. Throws
 * CONFIG_INVALID in a superuser's session on a server that is too old for that.
 */
export async function prepareReading(client: pg.Client): Promise<void> {
  await client.query(`SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET extra_float_digits = 3;
    SET timezone = 'UTC'; SET bytea_output = 'hex'; SET statement_timeout = 0; SET jit = off`);
  await readOnlyTables(client);
}
