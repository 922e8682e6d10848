import { connect } from '../../src/index.ts';
import { createSchema } from './schema.ts';
import { settle } from './settle.ts';

/** Creates the shop's tables in the database that DATABASE_URL names, ready for regions.ts, and nothing in them. */
const url = process.env['DATABASE_URL'];
if (url === undefined) throw new Error('Set DATABASE_URL.');
const db = connect(url);
try {
  await settle(() => createSchema(db));
  await db.query('ALTER TABLE products REPLICA IDENTITY FULL');
} finally {
  await db.end();
}
