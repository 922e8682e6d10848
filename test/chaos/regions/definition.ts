import { counter, defineRegions, lastWriteWins } from '../../../src/multi-leader/index.ts';
import type { RegionsDefinition } from '../../../src/multi-leader/index.ts';

const definition: RegionsDefinition = defineRegions({
  tables: { counted: { '*': lastWriteWins(), n: counter() }, merged: { n: counter() } },
  foreignKeys: { 'items.order_id': 'restore-parent', 'photos.album_id': 'delete-orphan' },
});
export default definition;
