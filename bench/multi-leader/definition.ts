import { defineRegions } from '../../src/multi-leader/index.ts';
import type { RegionsDefinition } from '../../src/multi-leader/index.ts';

/** What the regions of the bench share; the columns of one table merge. */
const definition: RegionsDefinition = defineRegions({ tables: { merged: {} } });
export default definition;
