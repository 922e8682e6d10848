import { counter, defineRegions } from '../../src/multi-leader/index.ts';
import type { RegionsDefinition } from '../../src/multi-leader/index.ts';

/** For a test of `lockstep dev --regions`. */
const definition: RegionsDefinition = defineRegions({ tables: { things: { seen: counter() } } });

export default definition;
