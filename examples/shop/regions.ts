import { defineRegions } from '../../src/multi-leader/index.ts';
import type { RegionsDefinition } from '../../src/multi-leader/index.ts';

/** The shop in several regions: they share all but the id by which a browser tells one database from another. */
const regions: RegionsDefinition = defineRegions({ except: ['shop_identity'] });

export default regions;
